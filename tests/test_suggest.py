"""What suggest answers, on results written by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lrjax.finder import Plan, RangeTest, Suggestion, suggest


def result(rates, losses, validation=None):
    """A result of ``losses [K, R, S]``; ``validation [K, R, V]``."""
    losses = np.array(losses, np.float32)
    validation = (
        np.zeros((*losses.shape[:2], 0), np.float32) if validation is None else np.array(validation, np.float32)
    )
    return RangeTest(
        learning_rates=np.array(rates, np.float64),
        seeds=np.arange(losses.shape[1]),
        losses=losses,
        validation_steps=np.arange(validation.shape[-1]),
        validation_losses=validation,
        status=np.where(np.isnan(losses).any(axis=-1), "diverged", "finite"),
        lost_at=np.where(np.isnan(losses).any(axis=-1), np.isnan(losses).argmax(axis=-1), -1),
        steps_done=losses.shape[-1],
        plan=Plan(1),
        note="",
    )


def two_step(start, finals):
    """Losses ``[K, R, 2]`` that begin at ``start`` and end at ``finals [K, R]``."""
    finals = np.array(finals, np.float32)
    return np.stack([np.full_like(finals, start), finals], axis=-1)


NAN = float("nan")
RATES = [0.001, 0.01, 0.1, 1.0, 10.0]


def test_smallest_rate_within_one_percent_of_the_best():
    # best 1.00 at 0.1, start 2: within 1% means at most 1.01
    answer = suggest(result(RATES, two_step(2.0, [[1.5], [1.009], [1.0], [1.5], [NAN]])))
    assert answer == Suggestion(
        learning_rate=0.01,
        low=0.01,
        high=0.01,
        rule="auto",
        objective="training",
        at_boundary=False,
        reason="0.01 is the smallest rate within 1% of the best final training loss (1 at 0.1, from 2 at the start); "
        "one seed gives no interval, so give seeds= for one.",
    )
    above = suggest(result(RATES, two_step(2.0, [[1.5], [1.011], [1.0], [1.5], [NAN]])))
    assert above.learning_rate == 0.1


def test_seeds_are_averaged_and_give_the_interval():
    finals = [[1.9, 1.9, 1.9], [1.0, 1.5, 1.2], [1.1, 1.0, 1.1], [1.3, 1.0, 1.0], [1.9, 1.9, 1.9]]
    answer = suggest(result(RATES, two_step(2.0, finals)))
    assert (answer.low, answer.learning_rate, answer.high) == (0.01, 0.1, 1.0)
    assert answer.reason.endswith(
        "its 3 seeds alone answer 0.01 to 1, which covers initialisation only, as they share the batches."
    )


def test_lost_lanes_and_lanes_above_their_start_count_as_their_start():
    # At 1.0 a seed is lost and another exploded: (2 + 2 + 0.1) / 3 is worse than 1.2 at 0.1.
    finals = [[1.9] * 3, [1.9] * 3, [1.2] * 3, [NAN, 1e30, 0.1], [NAN] * 3]
    assert suggest(result(RATES, two_step(2.0, finals))).learning_rate == 0.1
    # Capped, one exploded seed of three leaves 1.0 the best: (0.1 + 0.1 + 2) / 3.
    finals = [[1.9] * 3, [1.9] * 3, [1.2] * 3, [0.1, 0.1, 1e30], [NAN] * 3]
    answer = suggest(result(RATES, two_step(2.0, finals)))
    assert answer.learning_rate == 1.0
    assert "(0.733 at 1, from 2 at the start)" in answer.reason


def test_training_loss_is_the_mean_of_the_last_tenth():
    losses = np.full((3, 1, 40), 2.0)
    losses[:, 0, -4:] = [[1.5, 1.5, 1.5, 1.5], [1.6, 1.0, 1.0, 1.6], [1.0, 1.0, 1.9, 1.9]]
    assert suggest(result(RATES[:3], losses)).learning_rate == 0.01
    assert "(1.3 at 0.01, from 2 at the start)" in suggest(result(RATES[:3], losses)).reason


def test_validation_is_the_objective_where_there_is_one():
    training = two_step(2.0, [[1.9], [1.8], [1.0], [0.5], [0.1]])
    validation = np.array([[[3, 2.9]], [[3, 2.0]], [[3, 2.5]], [[3, 3.5]], [[3, NAN]]])
    test = result(RATES, training, validation)
    assert (suggest(test).objective, suggest(test).learning_rate) == ("validation", 0.01)
    assert (suggest(test, objective="training").objective, suggest(test, objective="training").learning_rate) == (
        "training",
        10.0,
    )
    assert suggest(test, "auto", "validation") == suggest(test)


def test_first_validation_after_some_updates_takes_the_smallest_rate_for_the_start():
    validation = np.array([[[2.0, 1.9]], [[1.5, 1.2]], [[1.1, 1.0]], [[90.0, 80.0]], [[NAN, NAN]]])
    answer = suggest(result(RATES, np.ones((5, 1, 3)), validation))
    assert answer.learning_rate == 0.1
    assert "from 2 at the start" in answer.reason
    validation[0] = NAN
    assert "from 1.5 at the start" in suggest(result(RATES, np.ones((5, 1, 3)), validation)).reason


@pytest.mark.parametrize(
    ("finals", "learning_rate", "at_boundary", "advice"),
    [
        (
            [1.9, 1.5, 1.3, 1.1, 1.0],
            10.0,
            True,
            "; the best is the largest rate tested, so extend the rates beyond 10.",
        ),
        ([1.0, 1.5, 1.6, 1.7, 1.8], 0.001, True, "; it is the smallest rate tested, so extend the rates below 0.001."),
        ([1.0, 1.0, 1.0, 1.0, 0.999], 0.001, True, "so extend the rates beyond 10."),
        ([1.9, 1.5, 1.0, 1.1, 1.2], 0.1, False, "so give seeds= for one."),
    ],
)
def test_boundaries(finals, learning_rate, at_boundary, advice):
    answer = suggest(result(RATES, two_step(2.0, np.array(finals)[:, None])))
    assert (answer.learning_rate, answer.at_boundary) == (learning_rate, at_boundary)
    assert answer.reason.endswith(advice)


@pytest.mark.parametrize(
    ("start", "finals", "reason"),
    [
        (2.0, [NAN] * 5, "Every rate was lost or ended above its start, so test rates below 0.001 or take more steps."),
        (
            2.0,
            [2.5, 3, NAN, 3, 4],
            "Every rate was lost or ended above its start, so test rates below 0.001 or take more steps.",
        ),
        (
            2.0,
            [2.0] * 5,
            "No rate brought the loss down, so test rates above 10, closer together, or take more steps.",
        ),
        (
            2.0,
            [2.0, 2.0, NAN, NAN, NAN],
            "No rate brought the loss down, so test rates above 0.01, closer together, or take more steps.",
        ),
        (
            NAN,
            [NAN] * 5,
            "The loss is not finite before any update, so look for the fault in the data, the model or loss_fn.",
        ),
    ],
)
def test_data_without_an_answer_say_what_to_do(start, finals, reason):
    answer = suggest(result(RATES, two_step(start, np.array(finals)[:, None])))
    assert answer == Suggestion(0.001, 0.001, 0.001, "auto", "training", at_boundary=True, reason=reason)


def test_one_rate():
    answer = suggest(result([0.1], two_step(2.0, [[1.0]])))
    assert (answer.learning_rate, answer.at_boundary) == (0.1, True)
    assert answer.reason.endswith("; it is the only rate tested, so test more around it.")


def test_suggestion_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        suggest(result([0.1], two_step(2.0, [[1.0]]))).learning_rate = 1.0


shapes = st.tuples(st.integers(1, 6), st.integers(1, 3), st.integers(1, 12))
anything = st.one_of(st.floats(width=32), st.sampled_from([0.0, 1.0, NAN, float("inf"), 3e38, -3e38, 1e-45]))


@st.composite
def results(draw, elements=anything):
    losses = draw(shapes.flatmap(lambda shape: hnp.arrays(np.float32, shape, elements=elements)))
    rates = np.array(draw(st.permutations(range(losses.shape[0])))) * 1.0
    validation = losses[..., ::-1] if draw(st.booleans()) else None
    return result(10.0**-rates, losses, validation)


@settings(max_examples=150, deadline=None)
@given(results())
def test_any_curves_get_a_suggestion_from_the_grid_whatever_their_order(test):
    answer = suggest(test)
    assert answer.learning_rate in test.learning_rates
    assert test.learning_rates.min() <= answer.low <= answer.learning_rate <= answer.high <= test.learning_rates.max()
    assert answer.reason.endswith(".")
    order = np.random.default_rng(0).permutation(len(test.learning_rates))
    shuffled = dataclasses.replace(
        test,
        learning_rates=test.learning_rates[order],
        losses=test.losses[order],
        validation_losses=test.validation_losses[order],
    )
    assert suggest(shuffled) == answer
    assert str(test).count("\n->") == 1


@settings(max_examples=100, deadline=None)
@given(results(st.integers(0, 64).map(lambda n: n / 8)), st.integers(-8, 8))
def test_the_answer_does_not_depend_on_the_height_of_the_loss(test, shift):
    moved = dataclasses.replace(
        test, losses=test.losses + np.float32(shift), validation_losses=test.validation_losses + np.float32(shift)
    )
    first, second = suggest(test), suggest(moved)
    fields = ("learning_rate", "low", "high", "at_boundary")
    assert [getattr(first, name) for name in fields] == [getattr(second, name) for name in fields]
