"""What the picture of a training run shows."""

from __future__ import annotations

import sys

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot as plt

import lrjax.plot
from lrjax.diagnosis import Diagnosis, Finding

mpl.use("Agg")

STEPS = np.arange(300)
FALLING = 2.0 * 0.98**STEPS
SPIKED = Diagnosis((Finding("spike", (40, 50), "the loss doubled", "warning", ("look at the batch",)),))
HEALTHY = Diagnosis((Finding("healthy", (0, 299), "the loss fell", "note", ()),))


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def drawn(*arguments, **named):
    figure = lrjax.plot.training(*arguments, **named)
    figure.canvas.draw()
    return figure.axes


def line(axes, label):
    return next(line for line in axes.get_lines() if line.get_label() == label)


def bands(axes):
    return [patch.get_extents().transformed(axes.transData.inverted()) for patch in axes.patches]


def test_a_panel_for_what_is_given_each_over_the_same_steps():
    axes = drawn(FALLING, learning_rates=STEPS / 300, gradient_norms=FALLING, diagnosis=HEALTHY)
    assert [ax.get_ylabel() for ax in axes] == ["loss", "learning rate", "gradient norm"]
    assert [ax.get_xlabel() for ax in axes] == ["", "", "step"]
    assert {ax.get_xlim() for ax in axes} == {(0, 299)}
    np.testing.assert_array_equal(line(axes[1], "learning rate").get_ydata(), STEPS / 300)
    assert len(drawn(FALLING, diagnosis=HEALTHY)) == 1


def test_the_raw_loss_and_the_means_of_its_hundredths():
    axes = drawn(FALLING, diagnosis=HEALTHY)[0]
    raw, means = axes.get_lines()
    np.testing.assert_array_equal(raw.get_ydata(), FALLING)
    np.testing.assert_allclose(means.get_ydata(), FALLING.reshape(100, 3).mean(axis=1))
    np.testing.assert_allclose(means.get_xdata(), STEPS.reshape(100, 3).mean(axis=1))


def test_a_short_run_is_drawn_as_it_is():
    lines = drawn(FALLING[:99], diagnosis=HEALTHY)[0].get_lines()
    assert len(lines) == 1
    np.testing.assert_array_equal(lines[0].get_ydata(), FALLING[:99])


def test_validation_is_spread_over_the_run_or_lies_at_its_steps():
    axes = drawn(FALLING, validation_losses=[3.0, 2.0, 1.0], diagnosis=HEALTHY)[0]
    np.testing.assert_array_equal(line(axes, "validation").get_xdata(), [0, 149.5, 299])
    axes = drawn(FALLING, validation_losses=([0, 100], [3.0, 2.0]), diagnosis=HEALTHY)[0]
    np.testing.assert_array_equal(line(axes, "validation").get_xdata(), [0, 100])


def test_losses_of_a_gan():
    axes = drawn(None, generator_losses=FALLING, discriminator_losses=FALLING + 1, diagnosis=HEALTHY)[0]
    assert {"generator", "discriminator"} < {line.get_label() for line in axes.get_lines()}


def test_findings_are_bands_over_all_panels_named_in_the_legend():
    axes = drawn(FALLING, learning_rates=STEPS / 300, diagnosis=SPIKED)
    for ax in axes:
        (band,) = bands(ax)
        np.testing.assert_allclose([band.x0, band.x1], [39.5, 50.5])
    labels = [text.get_text() for text in axes[0].get_legend().get_texts()]
    assert labels == ["training", "spike (warning, steps 40 to 50)"]
    assert axes[0].get_title(loc="left") == "spike"


def test_a_healthy_run_has_no_band_and_says_so():
    axes = drawn(FALLING, diagnosis=HEALTHY)[0]
    assert not axes.patches
    assert axes.get_title(loc="left") == "healthy"


def test_the_diagnosis_is_made_where_none_is_given():
    lost = np.where(STEPS < 200, FALLING, np.nan)
    axes = drawn(lost)[0]
    assert axes.get_title(loc="left").startswith("divergence")
    cross = line(axes, "training not finite")
    np.testing.assert_array_equal(cross.get_xdata(), [200])


@pytest.mark.parametrize(
    ("losses", "scale", "low", "high"),
    [
        (FALLING, "log", FALLING.min(), 2.0),
        (FALLING + 10, "linear", 10 + FALLING.min(), 12.0),
        (FALLING - 5, "linear", FALLING.min() - 5, -3.0),
        (np.where(STEPS < 200, FALLING, 1e30), "log", FALLING[199], 200.0),
    ],
    ids=["far apart", "near", "negative", "runs away"],
)
def test_the_axis_of_losses(losses, scale, low, high):
    axes = drawn(losses, diagnosis=HEALTHY)[0]
    assert axes.get_yscale() == scale
    bottom, top = axes.get_ylim()
    reach = np.log(high / low) if scale == "log" else high - low
    for border, edge in ((low, bottom), (top, high)):
        gap = np.log(border / edge) if scale == "log" else border - edge
        assert 0 < gap < 0.1 * reach


def test_nothing_but_nan_is_drawn():
    assert drawn(np.full(50, np.nan))[0].get_title(loc="left") == "divergence"


def test_it_draws_where_it_is_told():
    figure = plt.figure()
    left, right = figure.subfigures(1, 2)
    assert lrjax.plot.training(FALLING, diagnosis=HEALTHY, figure=right) is right
    assert not left.axes
    assert len(right.axes) == 1


def test_wrong_arguments():
    with pytest.raises(TypeError, match=r"`plot.training\(diagnosis=...\)` must be a Diagnosis, got 'healthy' \(str\)"):
        lrjax.plot.training(FALLING, diagnosis="healthy")
    with pytest.raises(ValueError, match="gradient_norms"):
        lrjax.plot.training(FALLING, gradient_norms=FALLING[:10])
    with pytest.raises(TypeError, match=r"`plot.training\(figure=...\)` must be a figure of matplotlib, got 3 \(int\)"):
        lrjax.plot.training(FALLING, figure=3)


def test_missing_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"`plot.training` needs matplotlib: pip install 'lrjax\[plot\]'"):
        lrjax.plot.training(FALLING, diagnosis=HEALTHY)
