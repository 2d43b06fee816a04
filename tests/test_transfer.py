"""What a test answers for a run of another length: closed forms of the loss over progress, and invariances."""

from __future__ import annotations

import dataclasses
import math
import re

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_suggest import NAN, result
from test_suggest import results as any_results

import lrjax
from lrjax.finder import merge, range_test, suggest
from lrjax.finder.reading.surface import surface
from lrjax.finder.reading.transfer import _found

RATES = np.geomspace(1e-4, 10, 16)
STEPS = 200
BEST = 3.0  # of the progress, rate x steps


def valley(progress):
    """Lowest at BEST and symmetric about it in the logarithm, 4 at the start."""
    return np.minimum(4.0, np.log10(np.maximum(progress, 1e-9) / BEST) ** 2)


def flowing(loss=valley, rates=RATES, steps=STEPS, multipliers=None, **changes):
    """A test whose lanes have the loss of their progress, validated every 10 steps, with a training loss that tells nothing."""
    at = np.arange(0, steps + 1, 10)
    done = np.cumsum([0.0, *np.ones(steps)]) if multipliers is None else np.cumsum([0.0, *multipliers])
    validation = loss(rates[:, None, None] * done[at])
    test = result(rates, np.full((len(rates), 1, steps), 4.0), validation)
    extra = {} if multipliers is None else {"multipliers": np.asarray(multipliers)}
    return dataclasses.replace(test, validation_steps=at, **extra, **changes)


@pytest.mark.parametrize("horizon", [50, 150, 201, 600, 3000, 10**6])
def test_the_rate_that_makes_the_best_progress(horizon):
    answer = suggest(flowing(), horizon=horizon)
    assert answer.learning_rate == pytest.approx(BEST / horizon, rel=0.2)
    assert suggest(flowing(horizon=horizon)) == answer


def test_a_falling_loss_is_answered_with_the_most_progress_seen():
    answer = suggest(flowing(lambda progress: 4 / (1 + progress), RATES[:11]), horizon=2000)
    assert RATES[10] / 10 <= answer.learning_rate < 1.6 * RATES[10] / 10  # readings around are averaged
    assert "the loss was still falling there, so a longer test may find a larger rate" in answer.reason
    assert answer.at_boundary  # the largest rate tested was the best
    assert answer.reason.endswith(f"so extend them beyond {RATES[10]:.3g}.")


def test_rates_that_break_are_not_answered_however_short_the_run():
    def breaking(progress):
        losses = 4 / (1 + progress)
        losses[RATES > 0.1] = 4.0
        return losses

    for horizon in (100, 150, 300):
        answer = suggest(flowing(breaking), horizon=horizon)
        assert answer.learning_rate < 0.15
        assert not answer.at_boundary


def test_the_schedule_counts_by_what_it_makes_of_the_rate():
    total = 1000
    cosine = 0.5 * (1 + np.cos(np.pi * np.arange(total) / total))
    test = flowing(multipliers=cosine, horizon=None)
    assert suggest(test).learning_rate == pytest.approx(BEST / cosine.sum(), rel=0.2)
    stretched = suggest(test, horizon=5 * total)
    assert stretched.learning_rate == pytest.approx(BEST / (5 * cosine.sum()), rel=0.2)
    assert stretched.reason.startswith(
        f"In 5,000 steps {stretched.learning_rate:.3g} makes the progress (rate x steps)"
    )


def test_of_a_schedule_seen_to_its_end_only_the_ends_count():
    halves = np.repeat([1.0, 0.0], STEPS // 2)
    loss = np.full((len(RATES), 1, 21), 4.0)
    loss[:, 0, -1] = valley(RATES * halves.sum())
    loss[:, 0, 5] = 0.0  # before the rate has come down
    test = dataclasses.replace(flowing(multipliers=halves), validation_losses=loss)
    assert suggest(test, horizon=1000).learning_rate == pytest.approx(BEST / 500, rel=0.2)
    assert suggest(test).reason.startswith("0.0")  # as tested: a rate of the grid
    assert suggest(test).learning_rate in RATES


def test_training_losses_are_averaged_over_recent_steps():
    steps = np.arange(STEPS)
    losses = valley(RATES[:, None, None] * steps) + 0.3 * (-1.0) ** steps
    answer = suggest(result(RATES, np.minimum(losses, 4.0)), horizon=1000)
    assert answer.objective == "training"
    assert answer.learning_rate == pytest.approx(BEST / 1000, rel=0.35)  # windows look back


def test_dropped_lanes_count_as_far_as_they_came():
    """The lane that passes the best moment early and was then dropped."""
    test = flowing()
    losses = test.validation_losses.copy()
    fast = RATES > 0.01
    dropped = np.where(fast, "dropped", "finite")[:, None]
    for lane in np.flatnonzero(fast):
        losses[lane, 0, test.validation_steps > 100] = NAN
    test = dataclasses.replace(test, validation_losses=losses, status=dropped, lost_at=np.where(fast, 100, -1)[:, None])
    assert suggest(test, horizon=3000).learning_rate == pytest.approx(BEST / 3000, rel=0.2)


def test_seeds_give_the_interval():
    first, second = flowing(), flowing(lambda progress: valley(progress / 4))
    both = merge([first, dataclasses.replace(second, seeds=np.array([1]))])
    answer = suggest(both, horizon=1000)
    assert answer.low == pytest.approx(BEST / 1000, rel=0.2)
    assert answer.high == pytest.approx(4 * BEST / 1000, rel=0.2)
    assert answer.learning_rate == pytest.approx(2 * BEST / 1000, rel=0.2)
    assert f"its 2 seeds alone answer {answer.low:.3g} to {answer.high:.3g}" in answer.reason


def test_the_reason_says_where_the_best_moment_was():
    answer = suggest(flowing(), horizon=3000)
    moment = re.search(r"\((\S+) at (\S+) after (\S+) steps, from 4 at the start\); one seed gives", answer.reason)
    loss, rate, step = (float(text.replace(",", "")) for text in moment.groups())
    assert rate * step == pytest.approx(BEST, rel=0.3)
    assert loss == pytest.approx(valley(rate * step), rel=0.02, abs=1e-4)


@settings(max_examples=60, deadline=None)
@given(test=any_results(), horizon=st.integers(1, 10**6), seed=st.integers(0, 9))
def test_any_curves_get_an_answer_for_any_run_whatever_the_order(test, horizon, seed):
    answer = suggest(test, horizon=horizon)
    assert 0 < answer.low <= answer.learning_rate <= answer.high <= test.learning_rates.max() * (1 + 1e-9)
    assert answer.reason.endswith(".")
    order = np.random.default_rng(seed).permutation(len(test.learning_rates))
    names = ("learning_rates", "losses", "validation_losses", "status", "lost_at")
    shuffled = dataclasses.replace(test, **{name: getattr(test, name)[order] for name in names})
    assert suggest(shuffled, horizon=horizon) == answer


@settings(max_examples=40, deadline=None)
@given(
    center=st.floats(-1, 1),
    shift=st.integers(-8, 8),
    scale=st.sampled_from([0.25, 1.0, 8.0]),
    horizon=st.integers(20, 5000),
)
def test_shift_and_scale_of_the_loss_do_not_matter(center, shift, scale, horizon):
    test = flowing(lambda progress: valley(progress / 10**center))
    moved = dataclasses.replace(test, validation_losses=scale * test.validation_losses.astype(np.float64) + shift)
    one, other = suggest(test, horizon=horizon), suggest(moved, horizon=horizon)
    assert math.log10(one.learning_rate) == pytest.approx(math.log10(other.learning_rate), abs=0.021)
    assert one.at_boundary == other.at_boundary


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), horizon=st.integers(201, 2000))
def test_no_longer_run_gets_a_rate_above_the_best_of_the_latest_moment(seed, horizon):
    """Whatever a lane did at the same progress earlier on."""
    test = flowing(lambda progress: np.random.default_rng(seed).uniform(0, 4, progress.shape), RATES[::3])
    readings = surface(test, "validation", np.array([4.0]))
    found = _found(readings, readings.mean, float(horizon))
    assert found.power <= found.latest


def test_a_real_test_passes_on_its_schedule_and_its_run():
    def loss_fn(params, batch):
        return jnp.mean((batch @ params - 1.0) ** 2)

    def factory(peak):
        return optax.sgd(lrjax.warmup_cosine(peak, 400, warmup_steps=100))

    batches = np.ones((40, 4, 2), np.float32)
    scheduled = range_test(loss_fn, jnp.zeros(2), batches, factory, [0.01, 0.1])
    expected = np.where(
        np.arange(400) < 100, np.arange(400) / 100, 0.5 * (1 + np.cos(np.pi * (np.arange(400) - 100) / 300))
    )
    np.testing.assert_allclose(scheduled.multipliers, expected, atol=1e-6)
    assert suggest(scheduled).reason.startswith("0.01 is a tenth of the rate that was best at the end (")
    assert (
        ": 400 steps are too many more to say how much less is right; the loss was still" in suggest(scheduled).reason
    )
    plain = range_test(loss_fn, jnp.zeros(2), batches, optax.sgd, [0.01, 0.1], horizon=200)
    assert plain.multipliers.size == 0
    assert plain.horizon == 200
    assert suggest(plain).reason.startswith("In 200 steps 0.02")
    assert "In 200 steps" in str(plain)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: suggest(flowing(), horizon=0), ValueError, "`suggest(horizon=...)` must be at least 1, got 0"),
        (
            lambda: suggest(flowing(), horizon="long"),
            TypeError,
            "`suggest(horizon=...)` must be a whole number, got 'long' (str)",
        ),
        (
            lambda: suggest(flowing(), "valley", horizon=100),
            ValueError,
            "`suggest(horizon=...)` must be left out where the rule is not a range test's 'auto', got it with 'valley'",
        ),
        (
            lambda: range_test(max, jnp.zeros(2), np.ones((3, 1)), optax.sgd, [0.1], horizon=1.5),
            ValueError,
            "`range_test(horizon=...)` must be a whole number, got 1.5",
        ),
    ],
    ids=["zero", "kind", "rule", "range test"],
)
def test_wrong_calls_are_answered(call, error, message):
    with pytest.raises(error, match="^" + re.escape(message)):
        call()
