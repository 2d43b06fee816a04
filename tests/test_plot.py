"""What the pictures show."""

from __future__ import annotations

import dataclasses
import sys

import matplotlib as mpl
import numpy as np
import optax
import pytest
from matplotlib import pyplot as plt
from test_suggest import NAN, RATES, result, two_step

import lrjax.plot
from lrjax.finder import suggest

mpl.use("Agg")


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def line(axes, label):
    return next(line for line in axes.get_lines() if line.get_label() == label)


def drawn(test, **arguments):
    axes = lrjax.plot.range_test(test, **arguments)
    axes.figure.canvas.draw()
    return axes


FINALS = [[1.9, 1.7], [1.0, 1.2], [1.1, 0.9], [1.5, NAN], [NAN, NAN]]


def test_range_test_shows_lines_bands_losses_and_the_suggestion():
    test = result(RATES[::-1], two_step(2.0, FINALS)[::-1], two_step(2.0, FINALS)[::-1] + 0.5)
    axes = drawn(test)
    assert axes.get_xscale() == "log"
    np.testing.assert_array_equal(line(axes, "training").get_xdata(), RATES)
    np.testing.assert_allclose(line(axes, "training").get_ydata(), [1.8, 1.1, 1.0, 1.75, 2.0], rtol=1e-6)
    np.testing.assert_allclose(line(axes, "validation").get_ydata(), [2.3, 1.6, 1.5, 2.25, 2.5], rtol=1e-6)
    np.testing.assert_allclose(line(axes, "loss at the start").get_ydata(), 2.5)
    np.testing.assert_array_equal(line(axes, "seeds diverged").get_xdata(), [1.0, 10.0])
    answer = suggest(test)
    assert answer.low < answer.high
    np.testing.assert_array_equal(line(axes, "suggestion").get_xdata(), answer.learning_rate)
    assert [text.get_text() for text in axes.texts] == [f"{answer.learning_rate:.3g}"]
    band = axes.collections[0].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == (pytest.approx(0.9), pytest.approx(2.0))
    interval = axes.patches[0].get_extents().transformed(axes.transData.inverted())
    np.testing.assert_allclose([interval.x0, interval.x1], [answer.low, answer.high])
    labels = {text.get_text() for text in axes.get_legend().get_texts()}
    assert labels == {"training", "validation", "loss at the start", "seeds diverged", "suggestion"}


def test_dropped_rates_are_points_at_their_last_loss():
    losses = np.array([[[2, 1.9, NAN]], [[2, 1.5, 1.0]], [[2, 1.2, 0.8]], [[2, 1.7, NAN]], [[2, NAN, NAN]]])
    status = np.array([["dropped"], ["finite"], ["finite"], ["dropped"], ["diverged"]])
    axes = drawn(dataclasses.replace(result(RATES, losses), status=status))
    np.testing.assert_array_equal(line(axes, "training").get_xdata(), [0.01, 0.1, 10.0])
    np.testing.assert_allclose(line(axes, "training").get_ydata(), [1.0, 0.8, 2.0])
    points = line(axes, "training, when dropped")
    np.testing.assert_array_equal(points.get_xdata(), [0.001, 1.0])
    np.testing.assert_allclose(points.get_ydata(), [1.9, 1.7])


def test_one_exploded_lane_does_not_set_the_height():
    axes = drawn(result(RATES, two_step(2.0, [[1.9], [1.2], [1.0], [1.5], [1e30]])))
    low, high = axes.get_ylim()
    assert 0.8 < low < 1.0
    assert 2.0 < high < 2.5


def test_a_wide_range_of_positive_losses_is_logarithmic():
    assert drawn(result(RATES, two_step(2.0, [[1.9], [0.2], [0.01], [1.5], [NAN]]))).get_yscale() == "log"
    assert drawn(result(RATES, two_step(2.0, [[1.9], [-0.2], [0.01], [1.5], [NAN]]))).get_yscale() == "linear"


def test_one_seed_has_no_band_and_no_interval():
    axes = drawn(result(RATES, two_step(2.0, [[1.9], [1.2], [1.0], [1.5], [1.6]])))
    assert not axes.collections
    assert not axes.patches
    assert "seeds diverged" not in {line.get_label() for line in axes.get_lines()}


@pytest.mark.parametrize("finals", [[[NAN]] * 5, [[2.0]] * 5, [[3.0]] * 5])
@pytest.mark.parametrize("start", [2.0, NAN])
def test_results_without_an_answer_are_drawn(start, finals):
    drawn(result(RATES, two_step(start, finals)))


def test_a_suggestion_and_axes_can_be_given():
    test = result(RATES, two_step(2.0, [[1.9], [1.2], [1.0], [1.5], [1.6]]))
    other = suggest(result(RATES, two_step(2.0, [[1.0], [1.2], [1.3], [1.5], [1.6]])))
    axes = plt.figure().add_subplot()
    assert lrjax.plot.range_test(test, other, ax=axes) is axes
    np.testing.assert_array_equal(line(axes, "suggestion").get_xdata(), 0.001)


def test_schedules_are_drawn_by_name():
    axes = lrjax.plot.schedule(
        {"cosine": optax.cosine_decay_schedule(1.0, 10), "constant": optax.constant_schedule(0.5)}, 10
    )
    np.testing.assert_array_equal(line(axes, "cosine").get_xdata(), np.arange(11))
    np.testing.assert_allclose(
        line(axes, "cosine").get_ydata(), (1 + np.cos(np.pi * np.arange(11) / 10)) / 2, atol=1e-6
    )
    np.testing.assert_allclose(line(axes, "constant").get_ydata(), 0.5)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["cosine", "constant"]


def test_one_schedule_has_no_legend_and_long_runs_are_thinned():
    axes = lrjax.plot.schedule(lrjax.warmup_cosine(1e-3, 10**6, warmup_steps=10**5), 10**6)
    steps = axes.get_lines()[0].get_xdata()
    assert axes.get_legend() is None
    assert len(steps) == 2000
    assert (steps[0], steps[-1]) == (0, 10**6)


SCHEDULE = optax.constant_schedule(0.5)
TEST = result(RATES, two_step(2.0, [[1.9], [1.2], [1.0], [1.5], [1.6]]))


@pytest.mark.parametrize(
    ("wrong", "kind", "text"),
    [
        (
            lambda: lrjax.plot.range_test([1]),
            TypeError,
            "`plot.range_test(result=...)` must be a RangeTest, got [1] (list)",
        ),
        (
            lambda: lrjax.plot.range_test(TEST, 0.1),
            TypeError,
            "`plot.range_test(suggestion=...)` must be a Suggestion, got 0.1 (float)",
        ),
        (
            lambda: lrjax.plot.range_test(TEST, ax="left"),
            TypeError,
            "`plot.range_test(ax=...)` must be matplotlib axes, got 'left' (str)",
        ),
        (
            lambda: lrjax.plot.schedule({}, 10),
            ValueError,
            "`plot.schedule(schedules=...)` must be a schedule or a dict with at least one, got an empty dict",
        ),
        (
            lambda: lrjax.plot.schedule({"a": 0.1}, 10),
            TypeError,
            "`plot.schedule(schedules=...)` must be a function of the step, or a dict of such functions, got 0.1 (float)",
        ),
        (lambda: lrjax.plot.schedule(SCHEDULE, 0), ValueError, "`plot.schedule(steps=...)` must be at least 1, got 0"),
    ],
)
def test_wrong_calls_are_answered(wrong, kind, text):
    with pytest.raises(kind) as caught:
        wrong()
    assert str(caught.value) == text


@pytest.mark.parametrize("call", [lambda: lrjax.plot.range_test(TEST), lambda: lrjax.plot.schedule(SCHEDULE, 10)])
def test_without_matplotlib_it_says_what_to_install(call, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"needs matplotlib: pip install 'lrjax\[plot\]'"):
        call()
