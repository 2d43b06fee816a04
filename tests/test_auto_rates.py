"""``learning_rates="auto"``: what the search finds, what it spends, and that its stages are one test."""

from __future__ import annotations

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_suggest import NAN, result

from lrjax.finder import Halving, range_test, refining, suggest
from lrjax.finder.batches import EndOfBatches, batch_source
from lrjax.finder.reading import transfer
from lrjax.finder.recording import Recording

STEPS = 12
GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(STEPS, 8, 3)).astype(np.float32)
Y = (X @ np.float32([1, -2, 0.5]) + 0.1 * GENERATOR.normal(size=(STEPS, 8))).astype(np.float32)
HELD_OUT = (X[5] + 0.5, Y[5])


def loss_fn(params, batch):
    return jnp.mean((batch[0] @ params - batch[1]) ** 2)


def init(key):
    return 0.1 * jax.random.normal(key, (3,))


class Curve:
    """A test of one seed or more whose loss falls evenly from 1 to ``final(log10(rate))``; it counts what it does."""

    def __init__(self, final, seeds=1):  # noqa: D107
        self.final, self.seeds, self.stages, self.steps = final, seeds, [], []

    def __call__(self, rates, steps, stage):  # noqa: D102
        assert stage == len(self.stages)
        self.stages.append(rates)
        self.steps.append(steps)
        finals = np.array([self.final(power) for power in np.log10(rates)])[:, None, None]
        losses = 1 + (finals - 1) * np.linspace(0, 1, steps)
        losses[..., 0] = 1.0
        return result(rates, np.repeat(losses, self.seeds, axis=1))

    @property
    def spent(self):
        """Lane-steps."""
        return sum(len(rates) * steps for rates, steps in zip(self.stages, self.steps, strict=True)) * self.seeds


def saturating(center):
    """Falls as the rate grows, and is lost a decade and a half above the center."""
    return lambda power: 1 / (1 + 10 ** (2 * (power - center))) if power < center + 1.5 else NAN


def searched(run, budget, steps=None, length=None, total=None):
    allocation = refining.allocated("range_test", budget, steps, run.seeds, length, total)
    return refining.searched(run, allocation)


@settings(max_examples=60, deadline=None)
@given(center=st.floats(-8, 4), budget=st.integers(640, 6000))
def test_the_answer_is_found_within_the_budget_wherever_it_is(center, budget):
    run = Curve(saturating(center))
    found = searched(run, budget)
    assert 0.8 * budget < run.spent <= budget
    assert len(found.learning_rates) == len(set(found.learning_rates.astype(np.float32)))
    # the loss is lost from 1.5 decades above the center, and hardly better than a decade below that
    best = suggest(found, horizon=run.steps[-1]).learning_rate
    assert center + 0.3 < np.log10(best) < center + 1.5 + 2 * transfer.PROGRESS_WIDTH + 0.01
    assert f": {sum(map(len, run.stages))} lanes, {run.spent:,} lane-steps." in found.note


@settings(max_examples=60, deadline=None)
@given(
    finals=st.lists(st.sampled_from([NAN, 0.2, 0.5, 1.0, 2.0, 1e30]), min_size=1, max_size=30),
    budget=st.integers(200, 5000),
    seeds=st.integers(1, 2),
    steps=st.sampled_from([None, 1, 20, 40]),
    length=st.sampled_from([None, 7, 100]),
)
def test_whatever_the_losses_no_rate_is_tested_twice_and_no_more_than_paid_for(finals, budget, seeds, steps, length):
    run = Curve(lambda power: finals[int(abs(7 * power)) % len(finals)], seeds)
    if steps == 40 and budget < 1000:
        budget = 1000
    found = searched(run, budget, steps, length)
    assert run.spent <= budget
    assert max(run.steps) <= (steps or length or budget)
    assert (np.diff(found.learning_rates.astype(np.float32)) > 0).all()
    assert found.learning_rates.astype(np.float32).min() > 0
    assert np.isfinite(found.learning_rates.astype(np.float32)).all()
    assert (np.diff(found.validation_steps) > 0).all()
    assert np.isfinite(suggest(found).learning_rate)


@pytest.mark.parametrize(
    ("final", "direction"),
    [(saturating(4.0), 1), (saturating(-11.0), -1), (lambda _: 1.0, 1), (lambda _: NAN, -1)],
    ids=["best beyond the largest", "best beyond the smallest", "nothing moves", "all lost"],
)
def test_an_edge_with_the_best_is_extended_before_anything_is_refined(final, direction):
    run = Curve(final)
    searched(run, 1920)
    low, high = refining.COARSE_LOWEST, refining.COARSE_HIGHEST
    assert len(run.stages[1]) == refining.EXTENSION
    assert run.steps[1] == run.steps[0]
    assert ((run.stages[1] > high) if direction > 0 else (run.stages[1] < low)).all()


def test_between_rates_that_do_nothing_and_rates_that_are_lost_it_looks_closer():
    run = Curve(lambda power: 1.0 if power < -1.5 else NAN)
    searched(run, 1920)
    assert run.stages[1].min() < 10**-1.5 < run.stages[1].max() < 10**-1


def test_a_loss_that_is_lost_from_the_start_costs_the_coarse_grid_only():
    def run(rates, steps, stage):
        assert stage == 0
        return result(rates, np.full((len(rates), 1, steps), NAN))

    found = refining.searched(run, refining.allocated("range_test", 1920, None, 1, None, None))
    assert suggest(found).reason.startswith("The loss is not finite before any update")


def test_a_stage_that_ended_too_early_is_left_out():
    whole = Curve(saturating(-2.0))

    def run(rates, steps, stage):
        made = whole(rates, steps, stage)
        return made if stage == 0 else dataclasses.replace(made, steps_done=1, note="The device failed.")

    run.seeds = 1
    found = searched(run, 1920)
    assert len(whole.stages) == 2
    np.testing.assert_array_equal(found.learning_rates, whole.stages[0])
    assert found.note.endswith("A further stage ended after 1 steps and is left out. The device failed.")


def test_coarse_lanes_count_as_dropped_and_make_way_for_longer_ones_of_their_rate():
    run = Curve(saturating(-2.0))
    found = searched(run, 1920)
    fine = run.stages[1]
    assert run.steps == [30, 560]
    np.testing.assert_allclose(np.log10(fine), [-2.0, -1.4, -0.8], atol=1e-6)  # the best of the coarse grid is 0.1
    np.testing.assert_allclose(np.log10(found.learning_rates), [-6, -5, -4, -3, -2, -1.4, -1, -0.8, 0, 1], atol=1e-6)
    assert found.status.ravel().tolist() == [
        *["dropped"] * 4,
        "finite",
        "finite",
        "dropped",
        "finite",
        *["diverged"] * 2,
    ]
    assert found.lost_at.ravel().tolist() == [*[30] * 4, -1, -1, 30, -1, *[1] * 2]
    np.testing.assert_allclose(found.losses[4, 0], run(fine[:1], 560, 2).losses[0, 0])
    assert np.isfinite(found.losses[0, 0, :30]).all()
    assert np.isnan(found.losses[0, 0, 30:]).all()


@pytest.mark.parametrize(("warmup", "moved"), [(0, 0.0), (300, -1.0), (10**9, 0.0)], ids=["none", "long", "at 0"])
def test_coarse_lanes_within_a_warmup_speak_for_the_part_of_the_rate_that_they_had(warmup, moved):
    run = Curve(saturating(-2.0))

    def warmed(rates, steps, stage):
        multipliers = np.minimum((np.arange(3000) + 1) / warmup, 1.0) if warmup else np.ones(3000)
        return dataclasses.replace(
            run(rates, steps, stage), multipliers=multipliers if warmup < 3000 else np.zeros(3000)
        )

    warmed.seeds = 1
    searched(warmed, 1920)
    np.testing.assert_allclose(np.log10(run.stages[1]), np.array([-2.0, -1.4, -0.8]) + moved, atol=1e-6)


def everything(params, batch, state, rng):
    keep = jax.random.bernoulli(rng, 0.8, (3,))
    return loss_fn(params * keep, batch) + 0.1 * state["mean"] ** 2, {"mean": 0.9 * state["mean"] + batch[1].mean()}


def evaluate(params, batch, state):
    return loss_fn(params, batch) + 0.1 * state["mean"] ** 2


EVERYTHING = {
    "rng": jax.random.key(3),
    "model_state": {"mean": jnp.zeros(())},
    "validation": HELD_OUT,
    "evaluate": evaluate,
    "seeds": [4, 1],
    "steps": STEPS,
}


def assert_same_lanes(found, plain):
    for field in dataclasses.fields(plain):
        if field.name not in ("plan", "note"):
            one, other = getattr(found, field.name), getattr(plain, field.name)
            if isinstance(one, np.ndarray) and one.dtype.kind == "f":
                np.testing.assert_allclose(one, other, rtol=1e-4)
            else:
                np.testing.assert_array_equal(one, other)


def assert_same_where_read(found, plain):
    """Lanes of several stages, which are not all as long, against lanes that all are."""
    for one, other in ((found.losses, plain.losses), (found.validation_losses, plain.validation_losses)):
        read = np.isfinite(one)
        np.testing.assert_allclose(one[read], other[read], rtol=1e-4)


@pytest.fixture(scope="module")
def searched_all():
    """Every option at once, on batches that can be pulled only once; and how many were pulled."""
    pulled = []

    def once():
        for pair in zip(X, Y, strict=True):
            pulled.append(pair)
            yield pair

    return range_test(everything, init, once(), optax.adam, "auto", **EVERYTHING), len(pulled)


def test_the_stages_are_one_range_test_of_all_their_rates(searched_all):
    found, pulled = searched_all
    assert pulled == STEPS
    said = re.fullmatch(
        r"learning_rates='auto' tested 8 rates from 1e-06 to 10 for (\d+) steps, then (\d+) rates from \S+ to \S+ "
        rf"for {STEPS} steps: \d+ lanes, (\d+) lane-steps\.",
        found.note,
    )
    coarse_steps, fine, spent = map(int, said.groups())
    assert spent == 2 * (8 * coarse_steps + fine * STEPS) <= 2 * refining.RATES * STEPS
    is_coarse = (found.status == "dropped").all(axis=1)
    assert (~is_coarse).sum() == fine
    assert set(found.lost_at[is_coarse].ravel()) == {coarse_steps}
    options = EVERYTHING | {"validation_steps": found.validation_steps.tolist()}
    plain = range_test(everything, init, (X, Y), optax.adam, found.learning_rates, **options)
    assert_same_where_read(found, plain)
    assert np.isfinite(found.losses[is_coarse][..., :coarse_steps]).all()
    assert np.isfinite(found.losses[~is_coarse]).all()
    assert np.isfinite(found.validation_losses[~is_coarse]).all()


class Shuffling:
    """A loader that has a length, and other batches in every pass."""

    def __init__(self):  # noqa: D107
        self.passes = []

    def __len__(self):  # noqa: D105
        return 5

    def __iter__(self):  # noqa: D105
        self.passes.append(np.random.default_rng(len(self.passes)).permutation(STEPS)[:5])
        return ((X[place], Y[place]) for place in self.passes[-1])


def test_all_stages_see_the_batches_that_the_first_one_pulled():
    """Rungs and passes too."""
    loader = Shuffling()
    found = range_test(loss_fn, init, loader, optax.sgd, "auto", steps=STEPS, keep=Halving(0.5, 1), budget=200)
    assert len(loader.passes) == 3
    places = np.concatenate(loader.passes)[:STEPS]
    plain = range_test(loss_fn, init, (X[places], Y[places]), optax.sgd, found.learning_rates, keep="all")
    assert_same_where_read(found, plain)
    assert 0 < (found.status == "finite").sum() < (found.learning_rates > 1e-4).sum()
    assert found.note.endswith("The 5 batches were gone through 2.4 times.")


def test_batches_that_end_early_end_every_stage_there():
    def failing():
        yield from zip(X[:7], Y[:7], strict=True)
        raise OSError("disk")

    found = range_test(loss_fn, init, failing(), optax.sgd, "auto", steps=20)
    assert (found.steps_done, found.losses.shape) == (7, (8, 1, 7))
    plain = range_test(loss_fn, init, (X[:7], Y[:7]), optax.sgd, found.learning_rates)
    np.testing.assert_allclose(found.losses, plain.losses, rtol=1e-4)
    assert "8 lanes, 56 lane-steps. The batches ended after 7 of 16" in found.note
    assert found.note.count("disk") == 1


def test_a_search_resumes_stage_by_stage_and_refuses_what_is_none(tmp_path):
    arguments = (loss_fn, init, list(zip(X, Y, strict=True)), optax.sgd, "auto")
    first = range_test(*arguments, checkpoint=tmp_path / "search")
    stages = sorted((tmp_path / "search").iterdir())
    assert [stage.name for stage in stages] == ["stage_0", "stage_1"]
    before = {path: path.stat().st_mtime_ns for stage in stages for path in stage.rglob("*") if path.is_file()}
    again = range_test(*arguments, checkpoint=str(tmp_path / "search"))
    assert_same_lanes(again, first)
    assert before.items() <= {path: path.stat().st_mtime_ns for path in before}.items()

    with pytest.raises(ValueError, match=r"stage_1, one with other learning_rates; nothing is changed$"):
        range_test(*arguments, checkpoint=tmp_path / "search", budget=20 * STEPS)
    with pytest.raises(ValueError, match=r"search, one that holds stage_\d; nothing is changed$"):
        range_test(*arguments[:-1], [0.1], checkpoint=tmp_path / "search")
    (tmp_path / "notes").write_text("mine")
    for folder, got in (("", "one that holds notes"), ("notes", "a file")):
        with pytest.raises(ValueError, match=rf"a new folder or one of this very test, got \S+, {got}; nothing"):
            range_test(*arguments, checkpoint=tmp_path / folder)


@pytest.mark.parametrize(
    ("budget", "steps", "seeds", "length", "total", "coarse_steps", "fine"),
    [
        (None, None, 3, None, None, 30, (3, 560)),
        (None, None, 3, 100, None, 30, (16, 100)),
        (None, None, 3, 1000, 250, 30, (6, 250)),
        (None, 1000, 3, 20, None, 30, (15, 1000)),
        (640, None, 1, None, None, 30, (2, 200)),
        (1920.0, None, 1, None, 3000, 30, (3, 560)),
        (640, None, 1, 20, None, 20, (24, 20)),
        (640, 40, 2, 20, None, 16, (4, 40)),
        (100, None, 1, 1, None, 1, (92, 1)),
    ],
)
def test_what_a_budget_pays_for(budget, steps, seeds, length, total, coarse_steps, fine):
    allocation = refining.allocated("range_test", budget, steps, seeds, length, total)
    assert allocation.coarse_steps == coarse_steps
    assert allocation.fine(8 * seeds * coarse_steps) == fine
    assert seeds * (8 * coarse_steps + fine[0] * fine[1]) <= allocation.budget


@pytest.mark.parametrize("memory_bytes", [0, 100, 10**9])
def test_a_recording_hands_out_the_same_batches_again_however_many_at_a_time(memory_bytes):
    recording = Recording(batch_source("range_test", zip(X, Y, strict=True)), memory_bytes)
    pulled = [recording.take(count) for count in (3, 1, 5)]
    for counts in [(3, 1, 5, 3), (2, 7, 3, 2, 9), (12, 12, 12, 12)]:
        recording.rewind()
        chunks = [recording.take(count) for count in counts]
        assert all(chunk.steps <= count for chunk, count in zip(chunks, counts, strict=True))
        for place, whole in enumerate((X, Y)):
            got = np.concatenate([chunk.batches[place][: chunk.steps] for chunk in chunks])
            np.testing.assert_array_equal(got, whole[: len(got)])
            assert len(got) >= 9
        assert {chunk.batches[0].shape for chunk in chunks} == {(recording.most, 8, 3)}
    np.testing.assert_array_equal(pulled[2].batches[0][:5], X[4:9])
    recording.close()


def test_a_recording_ends_where_the_source_did():
    recording = Recording(batch_source("range_test", zip(X[:2], Y[:2], strict=True)), 10**9)
    for _ in range(2):
        assert recording.take(9).steps == 2
        with pytest.raises(EndOfBatches, match="the iterable was exhausted"):
            recording.take(1)
        recording.rewind()


def call(**changes):
    """A right call but for ``changes``."""
    arguments = {
        "loss_fn": loss_fn,
        "params": init,
        "batches": (X, Y),
        "optimizer": optax.sgd,
        "learning_rates": "auto",
    }
    return lambda: range_test(**(arguments | changes))


@pytest.mark.parametrize(
    ("wrong", "kind", "text"),
    [
        (
            call(learning_rates="Auto"),
            TypeError,
            "`range_test(learning_rates=...)` must be 'auto' or a sequence of rates, got 'Auto' (str)",
        ),
        (
            call(learning_rates=[0.1], budget=100),
            ValueError,
            "`range_test(budget=...)` must be left out where learning_rates are given, got 100",
        ),
        (call(budget=0), ValueError, "`range_test(budget=...)` must be at least 1, got 0"),
        (call(budget="much"), TypeError, "`range_test(budget=...)` must be a whole number, got 'much' (str)"),
        (
            call(budget=983, steps=100, seeds=3),
            ValueError,
            "`range_test(budget=...)` must be at least 984 lane-steps, 8 rates x 16 steps and 2 rates x 100 steps, each",
        ),
        (
            call(budget=99),
            ValueError,
            "`range_test(budget=...)` must be at least 100 lane-steps for 1 seed, got 99",
        ),
        (call(steps=0), ValueError, "`range_test(steps=...)` must be at least 1, got 0"),
        (call(checkpoint=3), TypeError, "`range_test(checkpoint=...)` must be a path, got 3 (int)"),
    ],
    ids=["rates", "both", "no budget", "kind", "too small", "smallest", "steps", "checkpoint"],
)
def test_wrong_calls_are_answered(wrong, kind, text):
    with pytest.raises(kind, match="^" + re.escape(text)):
        wrong()
