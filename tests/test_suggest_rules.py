"""What suggest answers by the rules known from other finders, of range tests and of ramps written by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from test_suggest import NAN, RATES, anything, result, results, two_step

from lrjax.finder import Plan, RampTest, sensitivity, suggest


def ramp(losses, rates=None, validation=None, validation_steps=None, **fields):
    """A ramp of ``losses [R, S]``, unsmoothed; ``validation [R, V]`` at ``validation_steps``."""
    losses = np.array(losses, np.float64)
    seeds, steps = losses.shape
    validation = np.zeros((seeds, 0)) if validation is None else np.array(validation, np.float64)
    lost = ~np.isfinite(losses)
    return RampTest(
        learning_rates=np.geomspace(1e-5, 0.1, steps) if rates is None else np.array(rates, np.float64),
        seeds=np.arange(seeds),
        losses=losses,
        validation_steps=np.array([] if validation_steps is None else validation_steps, np.int64),
        validation_losses=validation,
        status=np.where(lost.any(axis=1), "diverged", "finite"),
        lost_at=np.where(lost.any(axis=1), lost.argmax(axis=1), -1),
        steps_done=steps,
        plan=Plan(1),
        note="",
        **{"spacing": "exponential", "smoothing": 0.0, "stop_factor": None} | fields,
    )


# The rules known from elsewhere, on range tests.

OWN_RATES = 10 ** (-7 + 0.08 * np.arange(100))
OWN_LOSSES = 0.3 + 2 / (1 + np.exp(3 * (np.log10(OWN_RATES) + 2.5))) + 0.5 * OWN_RATES**2


@pytest.mark.parametrize(("rule", "index", "factor"), [("steepest", 46, 1), ("valley", 32, 1), ("minimum", 67, 0.1)])
def test_range_tests_and_ramps_have_the_answers_of_the_finders(rule, index, factor):
    part = slice(10, 95)
    expected = factor * OWN_RATES[part][index]
    tested = result(OWN_RATES[part], two_step(2.3, OWN_LOSSES[part, None]))
    assert suggest(tested, rule).learning_rate == pytest.approx(expected)
    assert suggest(ramp(OWN_LOSSES[None], OWN_RATES), rule).learning_rate == pytest.approx(expected)


def test_rules_read_the_mean_of_the_seeds_and_each_seed_for_the_interval():
    # the mean is 1.9, 1.4, 1.2, 1.3, 1.95: lowest at 0.1, as in seed 0; seed 1 at 0.01; seed 2, lost at 0.1, at 1
    finals = [[1.9, 1.9, 1.9], [1.6, 1.0, 1.6], [0.4, 1.2, NAN], [1.4, 1.3, 1.2], [1.95, 7.0, 1.9]]
    answer = suggest(result(RATES, two_step(2.0, finals)), "minimum")
    assert [answer.low, answer.learning_rate, answer.high] == pytest.approx([0.001, 0.01, 0.1])
    assert answer.rule == "minimum"
    assert answer.reason == (
        "0.01 is a tenth of the rate of the lowest final training loss; its 3 seeds alone answer 0.001 to 0.1, which "
        "covers initialisation only, as they share the batches."
    )


def test_slopes_of_a_range_test_are_over_the_logarithm_of_its_rates():
    # by points (0.9 - 1.9) / 2 is steeper than (0.55 - 1.2) / 2; by decades, of parabolas through three points,
    # (4 * 0.9 - 3.75 * 1.2 - 0.25 * 1.9) / 2.5 = -0.55 is less steep than (0.55 - 1.2) / 1
    rates, finals = [1e-4, 1e-2, 10**-1.5, 0.1, 1.0], [1.9, 1.2, 0.9, 0.55, 2.0]
    tested = result(rates, two_step(2.0, np.array(finals)[:, None]))
    assert suggest(tested, "steepest").learning_rate == rates[2]


def test_a_lane_above_its_start_counts_as_its_start():
    finals = [[1.9, 1.9], [1.5, 1.5], [0.2, 1e30], [1.4, 1.4], [1.9, 1.9]]  # at 0.1 a mean of 1.1
    assert suggest(result(RATES, two_step(2.0, finals)), "minimum").learning_rate == pytest.approx(0.01)


def test_edge_and_one_decade_below_may_leave_the_grid():
    finals = np.array([1.9, 1.0, 1.01, 1.5, NAN])[:, None]
    tested = result(RATES, two_step(2.0, finals))
    assert suggest(tested, "edge").learning_rate == 0.5
    assert suggest(tested, "edge", fraction=0.3).learning_rate == 0.3
    assert suggest(tested, "edge", fraction=1).learning_rate == 1.0
    assert (
        "0.3 of the largest rate up to which the final training loss stays"
        in suggest(tested, "edge", fraction=0.3).reason
    )
    assert suggest(tested, "one_decade_below").learning_rate == pytest.approx(0.01)
    assert not suggest(tested, "one_decade_below").at_boundary


@pytest.mark.parametrize(
    ("rule", "finals", "advice"),
    [
        ("edge", [1.9, 1.0, 1.2, 1.5, 1.9], "; the loss has not risen at the largest rate tested, so extend the rates"),
        ("valley", [1.9, 1.8, 1.7, 1.6, 1.5], "; the best is the largest rate tested, so extend the rates beyond 10."),
        ("minimum", [1.0, 1.5, 1.6, 1.7, 1.8], "; it lies below the rates tested, so extend the rates below 0.001."),
        ("valley", [1.0, 1.5, 1.6, 1.7, 1.8], "; it is the smallest rate tested, so extend the rates below 0.001."),
    ],
)
def test_boundaries_of_the_other_rules(rule, finals, advice):
    answer = suggest(result(RATES, two_step(2.0, np.array(finals)[:, None])), rule)
    assert answer.at_boundary
    assert advice in answer.reason


def test_slide_needs_sixteen_rates():
    answer = suggest(result(RATES, two_step(2.0, [[1.9], [1.5], [1.0], [1.1], [1.2]])), "slide")
    assert (answer.learning_rate, answer.low, answer.high, answer.at_boundary) == (0.001, 0.001, 0.001, True)
    assert answer.reason == "Slide needs slopes 15 points apart, so test at least 16 rates or name another rule."


ALL_RULES = ["auto", "steepest", "valley", "slide", "minimum", "one_decade_below", "edge"]


@pytest.mark.parametrize("rule", ALL_RULES)
def test_a_range_test_that_carries_no_answer_says_so_by_any_rule(rule):
    answer = suggest(result(RATES, two_step(2.0, [[NAN]] * 5)), rule)
    assert answer.reason.startswith("Every rate was lost or ended above its start, so test rates below 0.001")
    assert (answer.rule, answer.learning_rate) == (rule, 0.001)


# Ramps.


@pytest.mark.parametrize(
    ("losses", "index"), [([10, 8, 4, 1, 4, 16], 2), ([1, 0, 1, 2, 3, 4], 0), ([0, 1, 2, 3, 4, 3], 5)]
)
def test_a_ramp_has_torch_lr_finders_vectors(losses, index):
    for stop_factor in (None, 4.0):
        tested = ramp([losses], np.geomspace(1e-5, 1.0, 6), stop_factor=stop_factor)
        assert suggest(tested, "steepest").learning_rate == pytest.approx(10.0 ** (index - 5))


def test_a_linear_ramp_has_ignites_vector_as_its_slopes_are_over_steps():
    losses = np.linspace(-5, 5, 100) ** 2 + 0.05
    tested = ramp([losses], np.linspace(0.01, 10, 100), spacing="linear")
    assert suggest(tested, "steepest").learning_rate == pytest.approx(0.110909, abs=5e-7)


def test_the_answer_of_a_ramp_is_the_geometric_mean_of_its_seeds():
    losses = 3.0 + np.zeros((3, 9))
    losses[[0, 1, 2], [3, 5, 7]] = 1.0
    tested = ramp(losses, 10.0 ** np.arange(-8, 1))
    answer = suggest(tested, "minimum")
    assert [answer.low, answer.learning_rate, answer.high] == pytest.approx([1e-6, 1e-4, 1e-2])
    assert answer.reason == (
        "0.0001 is a tenth of the rate of the lowest smoothed training loss; the geometric mean of 3 seeds, which answer "
        "1e-06 to 0.01."
    )
    assert not answer.at_boundary


def test_auto_of_a_ramp_is_the_valley_from_where_the_loss_has_begun_to_fall():
    # of the 90 points read, 60 fall by a millionth each, 20 by a twentieth, 10 rise; 1% of the fall is the first of 20
    losses = np.r_[[2.0] * 10, 2.0 - 1e-6 * np.arange(60), 2.0 - 0.05 * np.arange(1, 21), np.linspace(1.1, 2.0, 15)]
    tested = ramp(np.stack([losses, np.roll(losses, 4)]), np.geomspace(1e-7, 10.0, 105))
    answer = suggest(tested)
    # start = -1 from the first of 20 on, then 20 // 3 + 20 // 6 further
    expected = tested.learning_rates[[70 - 1 + 9, 74 - 1 + 9]]
    assert [answer.low, answer.high] == pytest.approx(expected)
    assert answer.learning_rate == pytest.approx(np.sqrt(np.prod(expected)))
    assert answer.rule == "auto"
    valley = suggest(tested, "valley")
    assert valley.low == pytest.approx(tested.learning_rates[10 - 1 + 80 // 3 + 80 // 6])


def test_the_ends_of_a_ramp_are_left_out_where_enough_remains():
    losses = np.full(40, 3.0)
    losses[[3, 20, 36]] = [0.0, 1.0, 0.5]  # 4 steps at the start and 5 at the end are left out
    tested = ramp([losses])
    assert suggest(tested, "minimum").learning_rate == pytest.approx(0.1 * tested.learning_rates[20])
    # those that look for a rise read on to the end
    assert suggest(tested, "one_decade_below").learning_rate == pytest.approx(0.1 * tested.learning_rates[36])
    # nothing is left out of a linear ramp, or where less than half would remain
    linear = dataclasses.replace(tested, spacing="linear")
    assert suggest(linear, "minimum").learning_rate == pytest.approx(0.1 * tested.learning_rates[3])
    losses[12:] = NAN
    assert suggest(ramp([losses]), "minimum").learning_rate == pytest.approx(0.1 * tested.learning_rates[3])


def test_a_ramp_is_read_up_to_its_stop_and_to_where_it_is_lost():
    losses = np.concatenate([np.linspace(3.0, 1.0, 30), np.linspace(2.0, 40.0, 20), np.zeros(10)])
    whole, stopped = ramp([losses]), ramp([losses], stop_factor=4.0)
    assert suggest(whole, "minimum").learning_rate == pytest.approx(0.1 * whole.learning_rates[50])
    assert stopped.stopped_at[0] == 34  # the first above 1 + 4 * 2
    assert suggest(stopped, "minimum").learning_rate == pytest.approx(0.1 * whole.learning_rates[29])
    assert suggest(stopped, "edge", fraction=1.0).learning_rate == pytest.approx(whole.learning_rates[30])
    losses[40] = NAN
    assert suggest(ramp([losses]), "minimum").learning_rate == pytest.approx(0.1 * whole.learning_rates[29])


def test_validation_goes_by_the_rate_of_the_update_before_it():
    rates = 10.0 ** np.arange(-7, 1)
    validation = [[5.0, 4.0, 1.0, 2.0, 2.5]]  # after 0, 2, 4, 6 and 8 updates
    tested = ramp(np.ones((1, 8)), rates, validation, [0, 2, 4, 6, 8])
    answer = suggest(tested, "minimum")
    assert answer.objective == "validation"
    assert answer.learning_rate == pytest.approx(0.1 * rates[3])
    assert "lowest validation loss" in answer.reason
    assert suggest(tested, "minimum", "training").reason.startswith("No rate of the ramp changed the loss")
    # what was validated after a stop is not read
    losses = [[3.0, 2.0, 2.0, 2.0, 2.0, 2.0, 90.0, 90.0]]
    late = ramp(losses, rates, [[5.0, 4.0, 3.0, 2.0, 1.0]], [0, 2, 4, 6, 8], stop_factor=4.0)
    assert suggest(late, "minimum").learning_rate == pytest.approx(0.1 * rates[5])


FALLING, RISING = np.linspace(3.0, 1.0, 40), np.linspace(1.0, 3.0, 40)


@pytest.mark.parametrize(
    ("losses", "rule", "reason"),
    [
        ([[NAN] * 8], "auto", "The loss is not finite before any update, so look for the fault in the data, the model"),
        ([[2.0] * 8], "auto", "No rate of the ramp changed the loss, so raise max_value or take more steps."),
        ([[2.0, 1.0]], "auto", "The ramp has fewer than 3 steps before its loss is lost or runs away, so lower"),
        ([[2.0, 1.0, NAN, 3.0]], "minimum", "The ramp has fewer than 3 steps before its loss is lost or runs away"),
        ([[2.0, 1.0, 0.5, 3.0]], "slide", "Slide needs slopes 15 points apart, so test at least 16 rates"),
        ([[2.0, 2.5, 2.0, 3.0]], "edge", "The loss is nowhere below its start, so test smaller rates or take more"),
        ([[NAN] * 8, [2.0] * 8], "auto", "The loss is not finite before any update"),
    ],
)
def test_ramps_without_an_answer_say_what_to_do(losses, rule, reason):
    answer = suggest(ramp(losses), rule)
    assert answer.reason.startswith(reason)
    assert answer.reason.endswith(".")
    assert (answer.learning_rate, answer.low, answer.high, answer.at_boundary) == (1e-5, 1e-5, 1e-5, True)


def test_too_few_validations_say_what_to_do():
    tested = ramp([FALLING], validation=[[3.0, 2.0, 1.0]], validation_steps=[0, 20, 40])
    assert suggest(tested).reason == (
        "Fewer than 3 validations come before the loss is lost or runs away, so give more validation_steps, lower "
        "min_value, or read objective='training'."
    )


@pytest.mark.parametrize(
    ("losses", "rule", "said", "at_boundary"),
    [
        ([FALLING], "valley", "give seeds= for one; the loss has not risen at the largest rate, so raise", True),
        ([RISING], "valley", "; the loss does not fall below its start, so lower min_value or take more steps.", True),
        ([FALLING, FALLING, RISING], "valley", "; the loss has not risen at the largest rate, so raise", True),
        # of points 4 to 34, the first, and the 15th of 31 that fall
        ([FALLING, RISING], "valley", "; the geometric mean of 2 seeds, which answer 2.57e-05 to 0.000702.", False),
        (
            [np.r_[RISING[::-1][:5], RISING[:35]]],
            "one_decade_below",
            "; that is not inside the ramp, so lower min_value.",
            True,
        ),
        ([FALLING, [2.0] * 40, [NAN] * 40], "valley", "; only one of 3 seeds carries an answer, which gives no", True),
        ([FALLING] * 2 + [[NAN] * 40], "valley", "; the geometric mean of those 2 of 3 seeds that carry an", True),
    ],
)
def test_what_a_reason_says_of_seeds_and_ends(losses, rule, said, at_boundary):
    answer = suggest(ramp(losses), rule)
    assert said in answer.reason
    assert answer.at_boundary == at_boundary


def test_sensitivity_refuses_a_ramp():
    with pytest.raises(TypeError, match=r"^`sensitivity\(result=...\)` must be a RangeTest, got RampTest\(8 steps"):
        sensitivity(ramp(np.ones((1, 8))))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"rule": "valley", "fraction": 0.5},
            ValueError,
            "`suggest(fraction=...)` must be left out where the rule is not 'edge', got 0.5 with 'valley'",
        ),
        (
            {"fraction": 0.5},
            ValueError,
            "`suggest(fraction=...)` must be left out where the rule is not 'edge', got 0.5 with 'auto'",
        ),
        ({"rule": "edge", "fraction": 0}, ValueError, "`suggest(fraction=...)` must be greater than 0, got 0"),
        ({"rule": "edge", "fraction": 1.5}, ValueError, "`suggest(fraction=...)` must be at most 1, got 1.5"),
        ({"rule": "edge", "fraction": "half"}, TypeError, "`suggest(fraction=...)` must be a number, got 'half' (str)"),
        (
            {"objective": "validation"},
            ValueError,
            "`suggest(objective=...)` must be 'training' for a result without validation, got 'validation'",
        ),
    ],
)
def test_wrong_calls_are_refused_by_name(arguments, error, message):
    with pytest.raises(error) as caught:
        suggest(ramp(np.ones((1, 8))), **arguments)
    assert str(caught.value) == message


# Any data.


@st.composite
def ramps(draw, elements=anything, smoothing=(0.0, 0.98)):
    losses = draw(
        st.tuples(st.integers(1, 3), st.integers(1, 30)).flatmap(
            lambda shape: hnp.arrays(np.float32, shape, elements=elements)
        )
    )
    steps = losses.shape[1]
    at = sorted(draw(st.sets(st.integers(0, steps)))) if draw(st.booleans()) else []
    validation = np.concatenate([losses[:, :1], losses], axis=1)[:, at][:, ::-1]
    rates = np.geomspace(1e-7, 10.0, steps)
    if draw(st.booleans()):
        rates = np.maximum(rates, rates[steps // 2])  # a plateau
    return ramp(
        losses,
        rates,
        validation,
        at,
        smoothing=draw(st.sampled_from(smoothing)),
        stop_factor=draw(st.sampled_from([None, 4.0])),
        spacing=draw(st.sampled_from(["exponential", "linear"])),
    )


def is_sound(answer):
    return (
        np.isfinite([answer.low, answer.learning_rate, answer.high]).all()
        and 0 < answer.low <= answer.learning_rate <= answer.high
        and answer.reason.endswith(".")
        and answer.reason[0] != "."
    )


@settings(max_examples=60, deadline=None)
@given(ramps(), st.integers(0, 99))
def test_any_ramp_gets_a_suggestion_by_every_rule_whatever_the_order_of_its_seeds(tested, seed):
    order = np.random.default_rng(seed).permutation(len(tested.seeds))
    names = ("seeds", "losses", "validation_losses", "status", "lost_at")
    shuffled = dataclasses.replace(tested, **{name: getattr(tested, name)[order] for name in names})
    for rule in ALL_RULES:
        answer = suggest(tested, rule)
        assert is_sound(answer)
        assert suggest(shuffled, rule) == answer
    assert str(tested).count("\n") >= len(tested.seeds) + 1


@settings(max_examples=60, deadline=None)
@given(results(), st.booleans())
def test_any_range_test_gets_a_suggestion_by_every_rule(test, repeated):
    if repeated:
        rates = np.repeat(test.learning_rates[: (len(test.learning_rates) + 1) // 2], 2)[: len(test.learning_rates)]
        test = dataclasses.replace(test, learning_rates=rates)
    for rule in ALL_RULES:
        assert is_sound(suggest(test, rule))


eighths = st.integers(0, 64).map(lambda n: n / 8)


@settings(max_examples=40, deadline=None)
@given(results(eighths), st.integers(-8, 8), st.sampled_from([0.5, 8.0]), st.integers(0, 99))
def test_range_answers_move_with_neither_shift_nor_scale_nor_order(test, shift, scale, seed):
    moved = dataclasses.replace(test, losses=test.losses + shift, validation_losses=test.validation_losses + shift)
    scaled = dataclasses.replace(test, losses=test.losses * scale, validation_losses=test.validation_losses * scale)
    order = np.random.default_rng(seed).permutation(len(test.learning_rates))
    names = ("learning_rates", "losses", "validation_losses", "status", "lost_at")
    shuffled = dataclasses.replace(test, **{name: getattr(test, name)[order] for name in names})
    for rule in ALL_RULES:
        assert numbers(suggest(moved, rule)) == numbers(suggest(test, rule))
        assert suggest(shuffled, rule) == suggest(test, rule)
        if rule != "slide":
            assert numbers(suggest(scaled, rule)) == numbers(suggest(test, rule))


@settings(max_examples=40, deadline=None)
@given(ramps(eighths, smoothing=(0.0, 0.9)), st.integers(-8, 8), st.sampled_from([0.5, 8.0]))
def test_ramp_answers_move_with_neither_shift_nor_scale(tested, shift, scale):
    moved = dataclasses.replace(
        tested, losses=tested.losses + shift, validation_losses=tested.validation_losses + shift
    )
    scaled = dataclasses.replace(
        tested, losses=tested.losses * scale, validation_losses=tested.validation_losses * scale
    )
    np.testing.assert_array_equal(moved.stopped_at, tested.stopped_at)
    np.testing.assert_array_equal(scaled.stopped_at, tested.stopped_at)
    for rule in ALL_RULES:
        assert numbers(suggest(moved, rule)) == numbers(suggest(tested, rule))
        if rule != "slide":
            assert numbers(suggest(scaled, rule)) == numbers(suggest(tested, rule))


def numbers(answer):
    return answer.learning_rate, answer.low, answer.high, answer.at_boundary
