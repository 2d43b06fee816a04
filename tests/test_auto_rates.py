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
from test_suggest import NAN, result, two_step

from lrjax.finder import Halving, range_test, refining, suggest
from lrjax.finder.batches import EndOfBatches, batch_source
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
    """A test of one seed or more whose final loss is ``final(log10(rate))``, from a start of 1; it counts its rates."""

    def __init__(self, final, seeds=1):  # noqa: D107
        self.final, self.seeds, self.stages = final, seeds, []

    def __call__(self, rates, stage):  # noqa: D102
        assert stage == len(self.stages)
        self.stages.append(rates)
        losses = np.array([[self.final(power)] * self.seeds for power in np.log10(rates)])
        return result(rates, two_step(1.0, losses))


def saturating(center):
    """Falls as the rate grows, and is lost a decade and a half above the center."""
    return lambda power: 1 / (1 + 10 ** (2 * (power - center))) if power < center + 1.5 else NAN


@settings(max_examples=60, deadline=None)
@given(center=st.floats(-8, 4), most=st.integers(16, 40))
def test_the_answer_is_found_within_the_budget_wherever_it_is(center, most):
    run = Curve(saturating(center))
    found = refining.searched(run, most)
    rates = found.learning_rates
    assert len(rates) == sum(map(len, run.stages)) <= most
    assert (np.diff(np.log10(rates)) > 0.9 * refining.FINE_SPACING).all()
    # within 2% of the best from 0.85 decades above the center on
    assert abs(np.log10(suggest(found).learning_rate) - (center + 0.85)) < 0.75
    assert not suggest(found).at_boundary
    np.testing.assert_allclose(found.losses[:, 0, -1], [run.final(power) for power in np.log10(rates)], rtol=1e-4)
    assert found.note.startswith("learning_rates='auto' tested ")
    assert found.note.endswith(f": {len(rates)} lanes, {2 * len(rates)} lane-steps.")


@settings(max_examples=60, deadline=None)
@given(
    finals=st.lists(st.sampled_from([NAN, 0.2, 0.5, 1.0, 2.0, float("inf")]), min_size=1, max_size=30),
    most=st.integers(refining.COARSE_FEWEST, 30),
    seeds=st.integers(1, 2),
)
def test_whatever_the_losses_no_rate_is_tested_twice_and_no_more_than_paid_for(finals, most, seeds):
    run = Curve(lambda power: finals[int(abs(7 * power)) % len(finals)], seeds)
    found = refining.searched(run, most)
    assert len(found.learning_rates) == sum(map(len, run.stages)) <= most
    assert (np.diff(found.learning_rates.astype(np.float32)) > 0).all()
    assert found.learning_rates.astype(np.float32).min() > 0
    assert np.isfinite(found.learning_rates.astype(np.float32)).all()


@pytest.mark.parametrize(
    ("final", "direction"),
    [(saturating(4.0), 1), (saturating(-11.0), -1), (lambda _: 1.0, 1), (lambda _: NAN, -1)],
    ids=["best beyond the largest", "best beyond the smallest", "nothing moves", "all lost"],
)
def test_an_edge_with_the_best_is_extended_before_anything_is_refined(final, direction):
    run = Curve(final)
    refining.searched(run, 16)
    low, high = refining.COARSE_LOWEST, refining.COARSE_HIGHEST
    assert len(run.stages[1]) == refining.EXTENSION
    assert ((run.stages[1] > high) if direction > 0 else (run.stages[1] < low)).all()


def test_between_rates_that_do_nothing_and_rates_that_are_lost_it_looks_closer():
    run = Curve(lambda power: 1.0 if power < -1.5 else NAN)
    refining.searched(run, 16)
    assert ((run.stages[1] > 10**-2) & (run.stages[1] < 10**-1)).all()


def test_a_loss_that_is_lost_from_the_start_costs_the_coarse_grid_only():
    def run(rates, stage):
        assert stage == 0
        return result(rates, np.full((len(rates), 1, 2), NAN))

    assert suggest(refining.searched(run, 30)).reason.startswith("The loss is not finite before any update")


def test_a_stage_that_ended_elsewhere_is_left_out():
    whole = Curve(saturating(-2.0))

    def run(rates, stage):
        made = whole(rates, stage)
        return made if stage == 0 else dataclasses.replace(made, steps_done=1, note="The device failed.")

    found = refining.searched(run, 16)
    assert len(whole.stages) == 2
    np.testing.assert_array_equal(found.learning_rates, whole.stages[0])
    assert found.note.endswith("A further stage ended after 1 steps and is left out. The device failed.")


def test_many_rates_fill_the_basin_and_then_its_surroundings():
    run = Curve(saturating(-2.0))
    found = refining.searched(run, 60)
    assert len(found.learning_rates) == 60
    near = np.log10(found.learning_rates)
    assert np.diff(near[(near > -2.5) & (near < -0.5)]).max() < 1.5 * refining.FINE_SPACING


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
    assert found.losses.shape == (refining.RATES, 2, STEPS)
    plain = range_test(everything, init, (X, Y), optax.adam, found.learning_rates, **EVERYTHING)
    assert_same_lanes(found, plain)
    said = re.fullmatch(
        r"learning_rates='auto' tested (\d+) rates from \S+ to \S+, then (\d+) rates from \S+ to \S+: "
        rf"32 lanes, {32 * STEPS} lane-steps\.",
        found.note,
    )
    assert sum(map(int, said.groups())) == refining.RATES


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
    kept = ~(found.status == "dropped").ravel()
    assert 0 < kept.sum() < len(kept) == 200 // STEPS
    np.testing.assert_allclose(found.losses[kept], plain.losses[kept], rtol=1e-4)
    assert found.note.endswith("The 5 batches were gone through 2.4 times.")


def test_batches_that_end_early_end_every_stage_there():
    def failing():
        yield from zip(X[:7], Y[:7], strict=True)
        raise OSError("disk")

    found = range_test(loss_fn, init, failing(), optax.sgd, "auto", steps=20)
    assert (found.steps_done, found.losses.shape) == (7, (refining.RATES, 1, 7))
    plain = range_test(loss_fn, init, (X[:7], Y[:7]), optax.sgd, found.learning_rates)
    np.testing.assert_allclose(found.losses, plain.losses, rtol=1e-4)
    assert f"{refining.RATES} lanes, {7 * refining.RATES} lane-steps. The batches ended after 7 of 20" in found.note
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
    ("budget", "steps", "seeds", "length", "expected"),
    [
        (None, None, 3, 1000, (120, 16)),
        (None, None, 3, None, (120, 16)),
        (None, None, 1, 1000, (360, 16)),
        (None, None, 3, 20, (20, 16)),
        (None, 1000, 3, 20, (1000, 16)),
        (640, None, 1, None, (40, 16)),
        (640, None, 1, 20, (20, 32)),
        (640, 40, 2, 20, (40, 8)),
        (3720.0, 120.0, 1, 20, (120, 31)),
        (639, 40, 2, 20, (40, 7)),
        (refining.COARSE_FEWEST, None, 1, 7, (1, refining.COARSE_FEWEST)),
    ],
)
def test_what_a_budget_pays_for(budget, steps, seeds, length, expected):
    assert refining.affordable("range_test", budget, steps, seeds, length) == expected
    assert expected[0] * expected[1] * seeds <= (budget or np.inf)


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
            call(budget=1000, steps=100, seeds=3),
            ValueError,
            "`range_test(budget=...)` must be at least 5 rates x 3 seeds x 100 steps, 1,500 lane-steps, got 1,000",
        ),
        (call(steps=0), ValueError, "`range_test(steps=...)` must be at least 1, got 0"),
        (call(checkpoint=3), TypeError, "`range_test(checkpoint=...)` must be a path, got 3 (int)"),
    ],
    ids=["rates", "both", "no budget", "kind", "too small", "steps", "checkpoint"],
)
def test_wrong_calls_are_answered(wrong, kind, text):
    with pytest.raises(kind, match="^" + re.escape(text)):
        wrong()
