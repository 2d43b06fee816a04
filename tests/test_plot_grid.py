"""The heat map of a grid test and the comparison of range tests: what they show, and what they refuse."""

from __future__ import annotations

import re
import sys

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import LogNorm
from test_grid_test import BOWL, grid_of
from test_suggest import NAN, RATES, result, two_step

import lrjax.plot
from lrjax.finder import sensitivity, suggest

mpl.use("Agg")


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


FINALS = np.array(
    [[[1.9, 1.7], [1.8, 1.8]], [[1.0, 1.2], [3.0, 1.5]], [[0.9, 0.7], [1.0, NAN]], [[NAN, NAN], [NAN, 2.5]]]
)
GRID = grid_of(FINALS[[2, 0, 3, 1]], [0.1, 0.0], rates=[0.1, 0.001, 1.0, 0.01])


def test_a_heat_map_has_a_cell_for_every_pair_with_losses_capped_at_the_start():
    axes = lrjax.plot.grid_test(GRID)
    axes.figure.canvas.draw()
    mesh = axes.collections[0]
    # rows are the values rising, 0 and 0.1; lost seeds and losses above 2 count as 2
    np.testing.assert_allclose(
        np.reshape(mesh.get_array(), (2, 4)), [[1.8, 1.75, 1.5, 2.0], [1.8, 1.1, 0.8, 2.0]], rtol=1e-6
    )
    assert axes.get_xscale() == "log"
    edges = mesh.get_coordinates()[0, :, 0]
    np.testing.assert_allclose(edges, 10 ** np.arange(-3.5, 1.0), rtol=1e-6)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["0", "0.1"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("learning rate", "weight_decay")
    assert [other.get_ylabel() for other in axes.figure.axes if other is not axes] == ["final training loss"]
    crosses = next(line for line in axes.get_lines() if line.get_label() == "seeds diverged")
    assert set(zip(crosses.get_xdata(), crosses.get_ydata(), strict=True)) == {(0.1, 0), (1.0, 0), (1.0, 1)}


def test_the_suggested_cell_is_framed():
    answer = suggest(GRID)
    assert (answer.learning_rate, answer.hyperparams) == (0.1, {"weight_decay": 0.1})
    axes = lrjax.plot.grid_test(GRID)
    (frame,) = axes.patches
    assert frame.get_label() == "suggestion: 0.1, weight_decay 0.1"
    left, bottom = frame.get_xy()
    np.testing.assert_allclose([left, left + frame.get_width()], [10**-1.5, 10**-0.5])
    assert (bottom, frame.get_height()) == (0.5, 1)
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert texts == ["seeds diverged", "suggestion: 0.1, weight_decay 0.1"]
    other = lrjax.plot.grid_test(GRID, suggest(grid_of(BOWL[:, None], [0.0])))
    assert other.patches[0].get_xy()[1] == -0.5


@pytest.mark.parametrize(
    ("finals", "is_log"),
    [([[1.0, 0.2], [1.5, 0.5]], True), ([[1.0, 0.5], [1.5, 0.7]], False), ([[1.0, -0.3], [1.5, 0.0]], False)],
    ids=["far apart", "close", "negative"],
)
def test_colours_follow_the_logarithm_of_losses_far_apart(finals, is_log):
    axes = lrjax.plot.grid_test(grid_of(finals, [0.0, 0.1], rates=[0.1, 1.0]))
    axes.figure.canvas.draw()
    assert isinstance(axes.collections[0].norm, LogNorm) == is_log


@pytest.mark.parametrize("final", [1.0, 2.0, NAN])
def test_a_single_cell_is_drawn_too(final):
    grid = grid_of([[final]], [3], name="warmup", rates=[0.1])
    axes = lrjax.plot.grid_test(grid, ax=plt.subplots()[1])
    axes.figure.canvas.draw()
    assert axes.patches[0].get_label() == "suggestion: 0.1, warmup 3"


def test_a_grid_that_is_lost_from_the_start_is_drawn_too():
    lost = grid_of(np.full((2, 2), NAN), [0.0, 0.1], rates=[0.1, 1.0], start=NAN)
    lrjax.plot.grid_test(lost).figure.canvas.draw()


ADAMW = result(RATES, two_step(2.0, [[1.5, 1.7], [1.0, 1.2], [1.2, 1.4], [5.0, 1.5], [NAN, NAN]]))
LION = result(RATES[1:4], two_step(2.0, [[0.3], [0.5], [1.0]]), validation=two_step(2.5, [[0.4], [0.5], [1.0]]))


def test_a_comparison_has_a_line_for_every_test_with_its_best_loss_and_sensitivity():
    axes = lrjax.plot.comparison({"AdamW": ADAMW, "Lion": LION})
    axes.figure.canvas.draw()
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("learning rate", "final training loss")
    lines = {line.get_label(): line for line in axes.get_lines()}
    # AdamW above its best of 1.1: 0.5, 0, 0.2, 0.65, 0.9; Lion above 0.3: 0, 0.2, 0.7
    first, second = lines["AdamW: best 1.1, sensitivity 0.45"], lines["Lion: best 0.3, sensitivity 0.3"]
    np.testing.assert_allclose(first.get_ydata(), [1.6, 1.1, 1.3, 1.75, 2.0], rtol=1e-6)
    np.testing.assert_allclose(second.get_xdata(), RATES[1:4])
    assert first.get_color() != second.get_color()
    assert len(axes.collections) == 1  # the band of the two seeds
    dots = [(*line.get_xdata(), *line.get_ydata()) for line in axes.get_lines() if line.get_marker() == "o"][:2]
    np.testing.assert_allclose(
        dots, [(suggest(ADAMW).learning_rate, 1.1), (suggest(LION).learning_rate, 0.3)], rtol=1e-6
    )
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert texts == ["AdamW: best 1.1, sensitivity 0.45", "Lion: best 0.3, sensitivity 0.3", "suggestion"]


def test_it_compares_by_validation_where_all_have_it_or_as_asked():
    by_validation = lrjax.plot.comparison({"Lion": LION})
    assert by_validation.get_ylabel() == "final validation loss"
    assert by_validation.get_lines()[0].get_label() == f"Lion: best 0.4, sensitivity {sensitivity(LION):.3g}"
    assert lrjax.plot.comparison({"Lion": LION}, objective="training").get_ylabel() == "final training loss"
    axes = plt.subplots()[1]
    assert lrjax.plot.comparison({"Lion": LION}, ax=axes) is axes


@pytest.mark.parametrize(("start", "final"), [(2.0, NAN), (2.0, 3.0), (NAN, NAN)])
def test_a_test_in_which_nothing_fell_is_named_as_such(start, final):
    lost = result(RATES, two_step(start, np.full((5, 2), final)))
    axes = lrjax.plot.comparison({"AdamW": ADAMW, "lost": lost})
    axes.figure.canvas.draw()
    assert "lost: no loss fell" in [text.get_text() for text in axes.get_legend().get_texts()]


@pytest.mark.parametrize(
    ("wrong", "kind", "text"),
    [
        (
            lambda: lrjax.plot.grid_test(ADAMW),
            TypeError,
            "`plot.grid_test(result=...)` must be a GridTest, got RangeTest(5 rates from 0.001 to 10, 2 seeds, 2 steps)",
        ),
        (
            lambda: lrjax.plot.grid_test(GRID, 0.1),
            TypeError,
            "`plot.grid_test(suggestion=...)` must be a Suggestion, got 0.1 (float)",
        ),
        (
            lambda: lrjax.plot.grid_test(GRID, suggest(ADAMW)),
            ValueError,
            "`plot.grid_test(suggestion=...)` must be one with a weight_decay of 0.1, 0, as suggest(result) gives, got none",
        ),
        (
            lambda: lrjax.plot.grid_test(GRID, suggest(grid_of(BOWL[:, None], [0.5]))),
            ValueError,
            "`plot.grid_test(suggestion=...)` must be one with a weight_decay of 0.1, 0, as suggest(result) gives, got 0.5",
        ),
        (
            lambda: lrjax.plot.grid_test(GRID, ax=3),
            TypeError,
            "`plot.grid_test(ax=...)` must be matplotlib axes, got 3 (int)",
        ),
        (
            lambda: lrjax.plot.comparison(ADAMW),
            TypeError,
            "`plot.comparison(results=...)` must be a dict of range tests by name, got RangeTest(",
        ),
        (
            lambda: lrjax.plot.comparison({}),
            ValueError,
            "`plot.comparison(results=...)` must be a dict of range tests by name, at least one, got none",
        ),
        (
            lambda: lrjax.plot.comparison({"AdamW": ADAMW, "grid": GRID}),
            TypeError,
            "`plot.comparison(results['grid']=...)` must be a RangeTest, got GridTest(",
        ),
        (
            lambda: lrjax.plot.comparison({"AdamW": ADAMW, "Lion": LION}, objective="validation"),
            ValueError,
            "`plot.comparison(objective=...)` must be 'training' for a result without validation, got 'validation'",
        ),
        (
            lambda: lrjax.plot.comparison({"AdamW": ADAMW}, objective="test"),
            ValueError,
            "`plot.comparison(objective=...)` must be one of 'validation', 'training', got 'test'",
        ),
    ],
)
def test_wrong_calls_are_answered(wrong, kind, text):
    with pytest.raises(kind, match="^" + re.escape(text)):
        wrong()


@pytest.mark.parametrize("call", [lambda: lrjax.plot.grid_test(GRID), lambda: lrjax.plot.comparison({"AdamW": ADAMW})])
def test_without_matplotlib_it_says_what_to_install(call, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"needs matplotlib: pip install 'lrjax\[plot\]'"):
        call()
