"""What the picture of a ramp shows."""

from __future__ import annotations

import sys

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot as plt
from test_suggest_rules import NAN, ramp

import lrjax.plot
from lrjax.finder import suggest

mpl.use("Agg")


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def drawn(*arguments, **keywords):
    axes = lrjax.plot.ramp_test(*arguments, **keywords)
    axes.figure.canvas.draw()
    return axes


def line(axes, label):
    return next(line for line in axes.get_lines() if line.get_label() == label)


def test_the_picture_of_a_ramp():
    falling = np.r_[np.full(10, 3.0), np.linspace(3.0, 1.0, 21), [5.0, 8.9, 9.1, 1e6]]
    losses = np.stack([falling, np.r_[falling[:32] + 0.5, [NAN] * 3]])
    validation = np.float64([[3.0, 2.5, 2.0, 9.0], [3.0, 2.0, 1.5, NAN]])
    tested = ramp(losses, None, validation, [0, 10, 20, 35], stop_factor=4.0)
    axes = drawn(tested)
    rates = tested.learning_rates
    assert axes.get_xscale() == "log"
    assert axes.get_ylim()[1] < 5  # what blew up is out of the picture
    smooth = line(axes, "training")
    np.testing.assert_array_equal(smooth.get_xdata(), rates[:32])
    np.testing.assert_allclose(smooth.get_ydata(), falling[:32] + 0.25)
    np.testing.assert_array_equal(line(axes, "validation").get_xdata(), rates[[9, 19]])
    np.testing.assert_allclose(line(axes, "validation").get_ydata(), [2.25, 1.75])
    np.testing.assert_array_equal(line(axes, "stopped").get_xdata(), rates[33])
    np.testing.assert_array_equal(line(axes, "lost").get_xdata(), rates[31])
    answer = suggest(tested)
    np.testing.assert_array_equal(line(axes, "suggestion").get_xdata(), answer.learning_rate)
    assert [text.get_text() for text in axes.texts] == [f"{answer.learning_rate:.3g}"]
    bands = [collection.get_paths()[0].vertices[:, 1] for collection in axes.collections]
    assert [(band.min(), band.max()) for band in bands] == [(1.0, 5.5), (1.5, 2.5)]


def test_pictures_of_linear_ramps_groups_and_given_suggestions():
    falling = np.linspace(3.0, 1.0, 20)
    groups = {"weights": ramp([falling, falling + 1], smoothing=0.5), "bias": ramp([falling**2])}
    linear = ramp([np.linspace(3, 1, 20)], np.linspace(0.1, 2.0, 20), spacing="linear", smoothing=0.5)
    own = suggest(linear, "minimum")
    given_axes = plt.figure().add_subplot()
    axes = drawn(linear, own, ax=given_axes)
    assert axes is given_axes
    assert axes.get_xscale() == "linear"
    np.testing.assert_array_equal(line(axes, "suggestion").get_xdata(), own.learning_rate)
    np.testing.assert_allclose(line(axes, "training, smoothed").get_ydata(), linear.smoothed[0])
    axes = drawn(groups)
    np.testing.assert_allclose(line(axes, "weights, training").get_ydata(), groups["weights"].smoothed.mean(axis=0))
    answers = {label: suggest(result, "minimum") for label, result in groups.items()}
    axes = drawn(groups, answers)
    for label, answer in answers.items():
        np.testing.assert_array_equal(line(axes, f"{label}, suggestion").get_xdata(), answer.learning_rate)
    assert len({text.get_position()[1] for text in axes.texts} | {text.xy[1] for text in axes.texts}) >= 2


@pytest.mark.parametrize(
    "losses", [[[NAN] * 8], [[2.0] * 8], [np.arange(8.0)], [[2.0]], [[NAN] * 8, [3.0, 2.0, 1.0, 9.0, 1, 2, 3, 4]]]
)
def test_any_ramp_is_drawn(losses):
    drawn(ramp(losses))


@pytest.mark.parametrize(
    ("wrong", "kind", "text"),
    [
        (
            lambda: lrjax.plot.ramp_test([1]),
            TypeError,
            "`plot.ramp_test(result=...)` must be a RampTest or a dict of them, got [1] (list)",
        ),
        (
            lambda: lrjax.plot.ramp_test({}),
            ValueError,
            "`plot.ramp_test(result=...)` must be a RampTest or a dict with at least one, got an empty dict",
        ),
        (
            lambda: lrjax.plot.ramp_test(ramp([[1.0]]), 0.1),
            TypeError,
            "`plot.ramp_test(suggestion=...)` must be a Suggestion, got 0.1 (float)",
        ),
        (
            lambda: lrjax.plot.ramp_test({"a": ramp([[1.0]])}, {}),
            ValueError,
            "`plot.ramp_test(suggestion=...)` must be a dict of a Suggestion for every label, a, got none",
        ),
    ],
)
def test_wrong_pictures_are_answered(wrong, kind, text):
    with pytest.raises(kind) as caught:
        wrong()
    assert str(caught.value) == text


def test_without_matplotlib_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"`plot.ramp_test` needs matplotlib: pip install 'lrjax\[plot\]'"):
        lrjax.plot.ramp_test(ramp([[2.0, 1.0, 3.0]]))
