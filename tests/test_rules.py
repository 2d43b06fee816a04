"""The rules, against the vectors that their authors published and against loops written from their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lrjax.finder.reading.rules import RULES, Curve, edge, minimum, rise, slide, steepest, valley


def curve(losses, positions=None, start=None):
    losses = np.array(losses, np.float64)
    positions = np.arange(len(losses)) if positions is None else np.array(positions, np.float64)
    return Curve(positions, losses, float(losses[0]) if start is None else start)


@pytest.mark.parametrize(
    ("losses", "index"), [([10, 8, 4, 1, 4, 16], 2), ([1, 0, 1, 2, 3, 4], 0), ([0, 1, 2, 3, 4, 3], 5)]
)
def test_steepest_has_torch_lr_finders_vectors(losses, index):
    assert steepest(curve(losses)) == index


def test_steepest_has_ignites_vector():
    found = steepest(curve(np.linspace(-5, 5, 100) ** 2 + 0.05))
    assert np.linspace(0.01, 10, 100)[found] == pytest.approx(0.110909, abs=5e-7)


OWN_RATES = 10 ** (-7 + 0.08 * np.arange(10, 95))
OWN_LOSSES = 0.3 + 2 / (1 + np.exp(3 * (np.log10(OWN_RATES) + 2.5))) + 0.5 * OWN_RATES**2


@pytest.mark.parametrize(("rule", "index"), [(valley, 32), (minimum, 67), (steepest, 46)])
def test_rules_agree_with_the_finders_on_a_smooth_curve(rule, index):
    assert rule(curve(OWN_LOSSES)) == index


def test_the_answers_of_steep_are_one_of_fastai_torch_lr_finder_and_ignite():
    forward = np.diff(OWN_LOSSES) / np.diff(np.log(OWN_RATES))
    assert forward.argmin() == np.gradient(OWN_LOSSES).argmin() == steepest(curve(OWN_LOSSES))


def fastai_valley(losses):
    """``start + ⌊(e - start) / 3⌋ + ⌊(e - start) / 6⌋`` of the longest strictly falling subsequence."""
    d = [1] * len(losses)
    for i in range(len(losses)):
        d[i] = 1 + max((d[j] for j in range(i) if losses[j] > losses[i]), default=0)
    e = d.index(max(d))
    start = e - d[e]
    return max(0, start + (e - start) // 3 + (e - start) // 6)


def fastai_slide(losses):
    g = np.gradient(losses)
    n, r, left = len(losses), -1, -16
    answer = left
    while left >= -n and abs(g[r] - g[left]) > 0.005:
        answer, r, left = left, r - 1, left - 1
    return n + answer


def ignite_steepest(losses):
    falling = losses[: np.argmin(losses) + 1]
    return 1 + np.argmin([(falling[i + 1] - falling[i - 1]) / 2 for i in range(1, len(falling) - 1)])


curves = hnp.arrays(np.float64, st.integers(2, 40), elements=st.integers(-6, 6).map(float))


@settings(max_examples=60, deadline=None)
@given(curves)
def test_rules_are_the_loops_of_their_definitions(losses):
    assert valley(curve(losses)) == fastai_valley(losses.tolist())
    assert minimum(curve(losses)) == np.argmin(losses)
    if np.argmin(losses) >= 2:
        assert steepest(curve(losses)) == ignite_steepest(losses)
    else:
        assert steepest(curve(losses)) == np.gradient(losses).argmin()


@settings(max_examples=40, deadline=None)
@given(st.integers(16, 40), st.integers(0, 99), st.sampled_from([0.001, 0.01, 1.0]))
def test_slide_is_the_loop_of_its_definition(count, seed, height):
    losses = height * np.random.default_rng(seed).normal(size=count).cumsum()
    assert slide(curve(losses)) == fastai_slide(losses)


def test_slide_by_hand():
    # flat, then rising by 1 a point from point 10 on: slopes 0 up to 9, 0.5 at 10, then 1; 20 points
    rising = [0.0] * 11 + list(range(1, 10))
    # windows from the right: (4, 19) 0 and 1, ..., (0, 15) 0 and 1: all differ, so the leftmost
    assert slide(curve(rising)) == 0
    # 30 points: windows (14, 29) 1 and 1 agree at once, so the first left end
    assert slide(curve([0.0] * 11 + list(range(1, 20)))) == 14
    # falling by 1 up to point 3, flat up to 19, rising to 29: (14, 29) differ, ..., (4, 19) 0 and 0.5, (3, 18) -0.5 and
    # 0, (2, 17) -1 and 0 ... differ to the left end
    assert slide(curve([3, 2, 1, *[0] * 17, *range(1, 11)])) == 0


@pytest.mark.parametrize("count", range(1, 16))
def test_slide_needs_16_points(count):
    assert slide(curve(np.arange(count)[::-1])) is None
    assert "16 rates" in RULES["slide"].missing


def test_slopes_go_by_the_positions():
    # slopes between points: -2 / 1, -3 / 2, -1 / 1, 0; over equal distances the second would be the steepest
    losses = [6.0, 4.0, 1.0, 0.0, 0.0]
    assert steepest(curve(losses)) == 1
    # three-point slopes: at 1 (1/2 * -3 + 4 * ... by the formula of a parabola through unequal points)
    positions = [0.0, 0.5, 3.0, 3.5, 4.0]
    x, y = np.array(positions), np.array(losses)
    slopes = [np.polyval(np.polyder(np.polyfit(x[i - 1 : i + 2], y[i - 1 : i + 2], 2)), x[i]) for i in (1, 2)]
    assert steepest(curve(losses, positions)) == 1 + int(np.argmin(slopes))


@pytest.mark.parametrize(
    ("losses", "index"),
    [
        ([2.0, 1.0, 1.049, 1.051, 3.0], 2),  # within 5% of the fall of 1 up to 1.05
        ([2.0, 1.0, 1.0, 1.0, 1.0], 4),  # never rises
        ([1.0, 1.01, 2.0], 0),  # never falls, so any rise counts
        ([2.0, 1.1, 1.0, 1.04, 1.2, 0.999, 5.0], 5),
        ([3.0], 0),
    ],
)
def test_rise(losses, index):
    assert rise(curve(losses)) == index
    assert rise(curve(np.array(losses) * 4 - 7)) == index


@pytest.mark.parametrize(
    ("losses", "start", "index"),
    [
        ([1.9, 1.0, 1.5, 2.0, 1.5], 2.0, 2),  # back at the start at index 3, whatever comes after
        ([1.9, 1.0, 1.5], 2.0, 2),
        ([2.5, 1.0, 1.5, 2.1], 2.0, 2),  # small rates above the start do not count
        ([1.5, 2.5, 1.0, 2.5], 2.0, 2),
        ([2.0, 2.1], 2.0, None),
    ],
)
def test_edge(losses, start, index):
    assert edge(curve(losses, start=start)) == index


@settings(max_examples=40, deadline=None)
@given(curves, st.sampled_from([0.5, 4.0]), st.integers(-9, 9))
def test_shift_and_scale(losses, scale, shift):
    plain, moved, scaled = curve(losses), curve(losses + shift), curve(losses * scale)
    for name, rule in RULES.items():
        assert rule.find(moved) == rule.find(plain), name
        if name != "slide":
            assert rule.find(scaled) == rule.find(plain), name


def test_the_scale_matters_to_slide():
    losses = np.random.default_rng(0).normal(size=40)
    assert slide(curve(losses)) == 0  # every window differs
    assert slide(curve(1e-4 * losses)) == 24  # none does


@settings(max_examples=40, deadline=None)
@given(curves)
def test_what_comes_after_a_rise_above_the_start_does_not_move_edge_or_rise(losses):
    assume(losses.min() < losses[0])
    whole = curve([*losses, losses[0] + 1])
    assert edge(whole) == edge(curve(losses))
    assert rise(whole) == rise(curve(losses))
