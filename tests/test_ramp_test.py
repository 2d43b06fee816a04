"""What ramp_test computes, against loops written by hand; its stop and its print."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from test_suggest_rules import NAN, ramp

import lrjax
from lrjax.finder import ramp_test, suggest

STEPS = 12
GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(STEPS, 8, 2)).astype(np.float32)
Y = (X @ np.float32([1, -2]) + 0.1 * GENERATOR.normal(size=(STEPS, 8))).astype(np.float32)
START = {"w": np.float32([0.1, 0.2]), "b": np.float32(0.5)}
HELD_OUT = (X[5] + 0.5, Y[5])


def loss_fn(params, batch):
    x, y = batch
    return jnp.mean((x @ params["w"] + params["b"] - y) ** 2)


def init(key):
    return {"w": jax.random.normal(key, (2,)), "b": jnp.zeros(())}


def momentum(rate):
    return optax.sgd(rate, momentum=0.9)


def by_group(rates):
    transforms = {"weights": momentum(rates["weights"]), "bias": momentum(rates["bias"])}
    return lrjax.param_groups(transforms, {"weights": "^w", "bias": "^b"})


def by_hand(rates, start=START, bias_rates=None):
    """Float64 losses before every update of heavy-ball descent at its own rate, and validation losses after each."""
    bias_rates = rates if bias_rates is None else bias_rates
    w, b = np.float64(start["w"]), np.float64(start["b"])
    velocity_w, velocity_b = 0.0, 0.0
    losses, held_out = [], [((HELD_OUT[0] @ w + b - HELD_OUT[1]) ** 2).mean()]
    for step, (rate, bias_rate) in enumerate(zip(rates, bias_rates, strict=True)):
        x, y = X[step % STEPS].astype(np.float64), Y[step % STEPS].astype(np.float64)
        error = x @ w + b - y
        losses.append((error**2).mean())
        velocity_w = 0.9 * velocity_w + 2 * (error[:, None] * x).mean(axis=0)
        velocity_b = 0.9 * velocity_b + 2 * error.mean()
        w, b = w - rate * velocity_w, b - bias_rate * velocity_b
        held_out.append(((HELD_OUT[0] @ w + b - HELD_OUT[1]) ** 2).mean())
    return np.array(losses), np.array(held_out)


def run(**changes):
    arguments = {"params": START, "batches": (X, Y), "optimizer": momentum, "min_value": 1e-3, "max_value": 0.1}
    return ramp_test(loss_fn, **(arguments | {"steps": STEPS} | changes))


@pytest.fixture(scope="module")
def exponential():
    """A ramp of two seeds, validated after every update."""
    return run(params=init, seeds=[3, 1], validation=HELD_OUT, validation_steps=range(STEPS + 1))


@pytest.fixture(scope="module")
def groups():
    """The ramps of two groups."""
    return run(optimizer=by_group, groups={"weights": 0.01, "bias": 0.002}, params=init, seeds=[3, 1])


def test_losses_and_validation_are_those_of_a_loop_by_hand(exponential):
    rates = 1e-3 * 100 ** (np.arange(STEPS) / (STEPS - 1))
    np.testing.assert_allclose(exponential.learning_rates, rates, rtol=1e-12)
    np.testing.assert_array_equal(exponential.validation_steps, np.arange(STEPS + 1))
    for row, seed in enumerate([3, 1]):
        losses, held_out = by_hand(rates, init(jax.random.key(seed)))
        np.testing.assert_allclose(exponential.losses[row], losses, rtol=1e-4)
        np.testing.assert_allclose(exponential.validation_losses[row], held_out, rtol=1e-4)
    assert exponential.seeds.tolist() == [3, 1]
    assert exponential.steps_done == STEPS


def test_a_linear_ramp_from_one_start_goes_through_the_batches_again():
    result = run(spacing="linear", steps=STEPS + 3, validation=HELD_OUT)
    rates = 1e-3 + (0.1 - 1e-3) * np.arange(STEPS + 3) / (STEPS + 2)
    np.testing.assert_allclose(result.learning_rates, rates, rtol=1e-12)
    losses, held_out = by_hand(rates)
    np.testing.assert_allclose(result.losses[0], losses, rtol=1e-4)
    # 25 parts of 15 steps are all of them
    np.testing.assert_array_equal(result.validation_steps, np.arange(STEPS + 4))
    np.testing.assert_allclose(result.validation_losses[0], held_out, rtol=1e-4)
    assert result.note == "The 12 batches were gone through 1.25 times."


@pytest.mark.parametrize(("spacing", "second"), [("exponential", 1e-4), ("linear", 1e-5 + 0.025 - 2.5e-6)])
def test_both_ends_of_the_ramp_are_exact(spacing, second):
    rates = run(min_value=1e-5, max_value=0.1, steps=5, spacing=spacing).learning_rates
    assert (rates[0], rates[-1]) == (1e-5, 0.1)
    assert rates[1] == pytest.approx(second)
    if spacing == "exponential":
        np.testing.assert_allclose(rates, [1e-5, 1e-4, 1e-3, 1e-2, 1e-1], rtol=1e-12)


def test_groups_are_ramped_one_at_a_time(groups):
    assert list(groups) == ["weights", "bias"]
    rates = 1e-3 * 100 ** (np.arange(STEPS) / (STEPS - 1))
    for row, seed in enumerate([3, 1]):
        start = init(jax.random.key(seed))
        np.testing.assert_allclose(
            groups["weights"].losses[row], by_hand(rates, start, np.full(STEPS, 0.002))[0], rtol=1e-4
        )
        np.testing.assert_allclose(
            groups["bias"].losses[row], by_hand(np.full(STEPS, 0.01), start, rates)[0], rtol=1e-4
        )
    assert groups["bias"].note == "The rate of 'bias' is ramped while 'weights' held 0.01."
    np.testing.assert_array_equal(groups["bias"].learning_rates, groups["weights"].learning_rates)
    alone = run(optimizer=lambda rates: momentum(rates["all"]), groups={"all": 1.0}, params=init, seeds=[3, 1])
    assert alone["all"].note == "The rate of 'all' is ramped."


def diverging(params, batch):
    """1, less what has been descended; NaN from a descent of 0.5 on."""
    return jnp.where(params < 0.5, 1 - params, jnp.nan) + 0 * batch.sum()


def test_a_loss_that_is_not_finite_ends_its_seed():
    # descends by the rates: 0.1, 0.2, 0.4 are 0.7 in all, so update 3 sees NaN
    result = ramp_test(
        diverging, jnp.zeros(()), np.zeros((5, 1)), optax.sgd, min_value=0.1, max_value=1.6, steps=5, smoothing=0.0
    )
    np.testing.assert_allclose(result.losses, [[1.0, 0.9, 0.7, NAN, NAN]], rtol=1e-6)
    assert result.lost_at.tolist() == [3]
    assert result.status.tolist() == ["diverged"]
    assert result.stopped_at.tolist() == [-1]
    assert "0.4 (lost)" in str(result)


def test_batches_that_end_early_end_the_ramp():
    def three():
        yield from [(X[i], Y[i]) for i in range(3)]

    result = run(batches=three(), validation=HELD_OUT, validation_steps=[0, 12])
    assert result.losses.shape == (1, 3)
    assert result.learning_rates.shape == (3,)
    assert (result.steps_done, result.validation_steps.tolist()) == (3, [0, 3])
    assert result.note.startswith("The batches ended after 3 of 12 steps")
    assert suggest(result).learning_rate == 1e-3
    assert "from 0.001 to" in str(result)


@settings(max_examples=40, deadline=None)
@given(
    hnp.arrays(np.float64, st.integers(1, 20), elements=st.floats(-100, 100)),
    st.floats(0, 0.99),
)
def test_smoothing_is_the_weighted_mean(losses, smoothing):
    weights = [smoothing ** np.arange(i, -1.0, -1) for i in range(len(losses))]
    expected = [np.average(losses[: i + 1], weights=weights[i]) for i in range(len(losses))]
    np.testing.assert_allclose(ramp(losses[None], smoothing=smoothing).smoothed[0], expected, rtol=1e-9, atol=1e-9)


def test_no_smoothing_is_the_losses_and_a_lost_seed_is_lost_for_good():
    tested = ramp([[3.0, 2.0, NAN, 1.0], [4.0, 1.0, 5.0, 2.0]])
    np.testing.assert_array_equal(tested.smoothed[:, [0, 1]], tested.losses[:, [0, 1]])
    np.testing.assert_array_equal(tested.smoothed[1], tested.losses[1])
    np.testing.assert_array_equal(dataclasses.replace(tested, smoothing=0.5).smoothed[0], [3.0, 7 / 3, NAN, NAN])


# The stop.


def stop(losses, **fields):
    return int(ramp([losses], **{"stop_factor": 4.0} | fields).stopped_at[0])


BLOWN_UP = np.r_[np.full(10, 3.0), np.linspace(3.0, 1.0, 21), [5.0, 8.9, 9.1, 50.0]]


def test_a_ramp_stops_where_it_has_risen_by_four_times_its_range():
    assert stop(BLOWN_UP) == 33  # the best is 1, the range up to it 2: above 9
    assert stop(BLOWN_UP, stop_factor=1.9) == 31
    assert stop(BLOWN_UP, stop_factor=24.6) == -1
    assert stop(BLOWN_UP, stop_factor=None) == -1


@pytest.mark.parametrize("shift", [-3.0, -1000.0, 1000.0])
def test_the_height_of_the_loss_and_its_sign_stop_nothing(shift):
    assert stop(BLOWN_UP + shift) == 33
    assert stop(8 * BLOWN_UP + shift) == 33
    falling = np.linspace(3.0, -40.0, 50)
    assert stop(falling + shift, smoothing=0.9) == -1


def test_early_noise_stops_nothing():
    noise = np.random.default_rng(0).normal(size=(200, 100))
    for smoothing in (0.0, 0.98):
        tested = ramp(1.0 + 0.1 * noise, smoothing=smoothing, stop_factor=4.0)
        assert (tested.stopped_at == -1).all()
    # the lowest loss comes first, and nothing falls below it
    assert stop([1.0, *1.5 + 0.1 * noise[0]]) == -1
    # a loss that does not move but for its last digit, and then falls
    still = np.full(60, 2.3, np.float32)
    still[30] = np.nextafter(np.float32(2.3), np.float32(9))
    still[40:] -= np.linspace(0, 1, 20)
    assert stop(still) == -1


def test_within_the_first_tenth_nothing_stops():
    losses = np.r_[[1.0, 1.1], np.full(8, 1000.0), np.full(90, 1.0)]
    assert stop(losses) == -1
    # ten steps of noise of 0.1, then a jump of 0.5
    assert stop(np.r_[[1.0, 1.1] * 5, 1.0, 1.5, np.full(88, 1.0)]) == 11
    # at least five
    assert stop([1.0, 1.1, 1.0, 1.1, 1.0, 9.0, 1.0, 1.0]) == -1
    assert stop([1.0, 1.1, 1.0, 1.1, 1.0, 1.0, 9.0, 1.0]) == 6
    assert stop([1.0, 1.1, 1.0, 1.1, 1.0, 9.0, 1.0, 1.0], stop_factor=0.5) == -1


def test_a_stop_after_a_loss_is_none():
    assert stop([*BLOWN_UP[:32], NAN, 1e9, 1e9]) == -1
    assert stop([NAN] * 20) == -1


# What a person sees.


def test_print_shows_each_seed_the_reason_and_the_note(exponential, groups):
    lines = str(exponential).splitlines()
    assert repr(exponential) == "RampTest(12 steps from 0.001 to 0.1, exponential, 2 seeds)"
    assert lines[0] == "12 steps, exponential, from 0.001 to 0.1"
    assert lines[1].split("  ") == [
        "seed",
        "lowest training",
        "at rate",
        "lowest validation",
        "at rate",
        "read to",
        "suggestion",
    ]
    first = lines[2].split()
    lowest = exponential.validation_losses[0].argmin()
    assert first[0] == "3"
    assert first[3:5] == [
        f"{exponential.validation_losses[0, lowest]:.4g}",
        f"{exponential.learning_rates[lowest - 1]:.3g}",
    ]
    assert lines[4] == suggest(exponential).reason
    assert len(lines) == 5
    assert str(groups["bias"]).splitlines()[-1] == groups["bias"].note


def test_a_print_of_many_seeds_and_of_a_lost_one():
    lines = str(ramp(np.r_[np.ones((29, 8)), [[NAN] * 8]])).splitlines()
    assert lines[0].endswith("; 24 of 30 seeds shown")
    assert len(lines) == 1 + 1 + 24 + 1
    stopped = ramp([BLOWN_UP], np.arange(1.0, 36), stop_factor=4.0)
    assert str(stopped).splitlines()[2].split()[:5] == ["0", "1", "31", "34", "(stopped)"]
    assert str(ramp([[NAN] * 8])).splitlines()[2].split() == ["0", "-", "-", "1e-05", "(lost)", "1e-05"]


# Wrong calls.

BUILT = (
    "`ramp_test(optimizer=...)` must be a function of the learning rate, got a built optimizer: "
    "pass optax.adamw, not optax.adamw(1e-3)"
)
NO_SEEDS = (
    "`ramp_test(seeds=...)` must be left out where seeds change nothing (params is no function of a key or "
    "ignores it, and there is no rng that loss_fn uses), got 2 seeds"
)


@pytest.mark.parametrize(
    ("changes", "kind", "text"),
    [
        ({"steps": 1}, ValueError, "`ramp_test(steps=...)` must be at least 2, got 1"),
        ({"min_value": 0.0}, ValueError, "`ramp_test(min_value=...)` must be greater than 0, got 0.0"),
        ({"min_value": 1e-40}, ValueError, "`ramp_test(min_value=...)` must be at least 1.17549e-38, got 1e-40"),
        (
            {"min_value": 0.2},
            ValueError,
            "`ramp_test(max_value=...)` must be greater than min_value, got 0.1 with 0.2",
        ),
        (
            {"spacing": "log"},
            ValueError,
            "`ramp_test(spacing=...)` must be one of 'exponential', 'linear', got 'log'",
        ),
        ({"smoothing": 1.0}, ValueError, "`ramp_test(smoothing=...)` must be less than 1, got 1.0"),
        ({"stop_factor": 0}, ValueError, "`ramp_test(stop_factor=...)` must be greater than 0, got 0"),
        (
            {"optimizer": optax.sgd(0.1)},
            TypeError,
            BUILT,
        ),
        (
            {"groups": [0.1]},
            TypeError,
            "`ramp_test(groups=...)` must be a dict from labels to rates, got [0.1] (list)",
        ),
        (
            {"groups": {}},
            ValueError,
            "`ramp_test(groups=...)` must be a dict with at least one label, got an empty dict",
        ),
        (
            {"groups": {"w": -1.0}},
            ValueError,
            "`ramp_test(groups['w']=...)` must be at least 0, got -1.0",
        ),
        (
            {"seeds": 2},
            ValueError,
            NO_SEEDS,
        ),
        (
            {"evaluate": loss_fn},
            ValueError,
            "`ramp_test(evaluate=...)` must be left out where there is no validation=, got a function",
        ),
    ],
)
def test_wrong_calls_are_refused_by_name(changes, kind, text):
    with pytest.raises(kind) as caught:
        run(**changes)
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("optimizer", "labels", "kind", "text"),
    [
        (
            optax.sgd,
            ["weights"],
            TypeError,
            "`ramp_test(optimizer=...)` must be a function of a dict of rates for groups=: unsupported operand type(s)",
        ),
        (
            by_group,
            ["weights"],
            ValueError,
            "`ramp_test(groups=...)` must be a dict with every label that optimizer asks for, such as 'bias', got weights",
        ),
        (
            lambda rates: optax.sgd(rates["weights"]),
            ["weights", "bias"],
            ValueError,
            "`ramp_test(optimizer=...)` must be a function that uses every rate it is given, got one that leaves",
        ),
        (
            lambda rates: optax.sgd(float(rates["weights"])),
            ["weights"],
            TypeError,
            "`ramp_test(optimizer=...)` must build its optimizer from traced hyperparameters (a Python `if`, `float`",
        ),
    ],
)
def test_an_optimizer_of_other_rates_than_those_of_the_groups(optimizer, labels, kind, text):
    with pytest.raises(kind) as caught:
        run(optimizer=optimizer, groups=dict.fromkeys(labels, 0.1))
    assert str(caught.value).startswith(text)
