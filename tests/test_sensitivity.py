"""The learning-rate sensitivity, against values computed by hand."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from test_suggest import NAN, RATES, result, two_step

from lrjax.finder import sensitivity


def test_losses_above_the_start_and_lost_lanes_count_as_the_start():
    # start 2; above the best of 1.0: 0.5, 0, 0.2, 1 (ended at 5), 1 (lost)
    tested = result(RATES, two_step(2.0, [[1.5], [1.0], [1.2], [5.0], [NAN]]))
    assert sensitivity(tested) == pytest.approx(2.7 / 5)


def test_seeds_are_averaged_before_the_best_is_taken():
    # means over the seeds 1.5, 1.25, 2 (one lane lost, one at its start)
    tested = result(RATES[:3], two_step(2.0, [[1.0, 2.0], [1.3, 1.2], [NAN, 2.5]]))
    assert sensitivity(tested) == pytest.approx((0.25 + 0.0 + 0.75) / 3)


def test_a_seed_that_starts_lost_is_left_out():
    losses = two_step(2.0, [[1.0, 1.0], [1.5, 1.0]])
    losses[:, 1] = NAN
    assert sensitivity(result(RATES[:2], losses)) == pytest.approx(0.25)


def test_training_losses_are_those_of_the_last_tenth():
    falling = np.linspace(2.0, 1.0, 20)[None, None] * np.ones((2, 1, 1))
    falling[1, 0, -2:] = [1.4, 1.6]  # a mean of 1.5
    last = falling[0, 0, -2:].mean()
    assert sensitivity(result(RATES[:2], falling)) == pytest.approx((1.5 - last) / 2, rel=1e-6)


def test_validation_where_it_was_measured():
    training = two_step(2.0, [[1.0], [1.5]])
    tested = result(RATES[:2], training, validation=two_step(3.0, [[2.5], [2.1]]))
    assert sensitivity(tested) == pytest.approx(0.2)
    assert sensitivity(tested, "training") == pytest.approx(0.25)


@pytest.mark.parametrize("finals", [[[NAN], [NAN]], [[2.0], [3.0]]], ids=["lost", "no better"])
def test_without_an_answer_it_is_nan(finals):
    assert math.isnan(sensitivity(result(RATES[:2], two_step(2.0, finals))))


def test_it_does_not_matter_where_the_best_is():
    finals = np.array([1.9, 1.6, 1.2, 1.0, 1.3])
    assert sensitivity(result(RATES, two_step(2.0, finals[:, None]))) == pytest.approx(
        sensitivity(result(RATES, two_step(2.0, finals[[0, 2, 3, 4, 1]][:, None])))
    )


finals = hnp.arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(1, 3)), elements=st.floats(-4, 4, width=16))


@settings(max_examples=60, deadline=None)
@given(finals=finals, shift=st.integers(-8, 8), scale=st.sampled_from([0.25, 2.0]), seed=st.integers(0, 99))
def test_shifts_do_not_change_it_scales_scale_it_and_the_order_of_rates_is_free(finals, shift, scale, seed):
    rates = np.geomspace(1e-3, 1.0, len(finals))
    value = sensitivity(result(rates, two_step(1.0, finals)))
    order = np.random.default_rng(seed).permutation(len(finals))
    same = sensitivity(result(rates[order], two_step(1.0, finals)[order]))
    moved = sensitivity(result(rates, scale * two_step(1.0, finals) + shift))
    assert same == pytest.approx(value, rel=1e-6, nan_ok=True)
    assert moved == pytest.approx(scale * value, rel=1e-4, abs=1e-5, nan_ok=True)
    assert math.isnan(value) or 0.0 <= value <= 5.0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: sensitivity(0.5), TypeError, "`sensitivity(result=...)` must be a RangeTest, got 0.5 (float)"),
        (
            lambda: sensitivity(result(RATES[:1], two_step(2.0, [[1.0]])), "test"),
            ValueError,
            "`sensitivity(objective=...)` must be one of 'validation', 'training', got 'test'",
        ),
        (
            lambda: sensitivity(result(RATES[:1], two_step(2.0, [[1.0]])), "validation"),
            ValueError,
            "`sensitivity(objective=...)` must be 'training' for a result without validation, got 'validation'",
        ),
    ],
    ids=["result", "objective", "validation"],
)
def test_wrong_calls_are_refused_by_name(call, error, message):
    with pytest.raises(error, match="^" + re.escape(message)):
        call()
