"""The picture of a range test of a GAN."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lrjax import _checks
from lrjax.finder.gan.answers import GanSuggestion
from lrjax.finder.gan.result import GanRangeTest
from lrjax.finder.gan.suggest import gan_suggest
from lrjax.finder.gan.surface import heights
from lrjax.finder.gan.table import troubles
from lrjax.plot import _cells
from lrjax.plot._axes import COLORS, axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKERS = {
    "collapsed": "v",
    "discriminator wins": "+",
    "discriminator loses": "_",
    "diverged": "x",
    "dropped": ".",
}
"""What marks a pair of which half of the lanes or more are in that trouble."""

LABELS = {
    "scales": "scale: geometric mean of both rates",
    "ratios": "ratio: discriminator's rate / generator's",
    "generator_learning_rates": "generator's learning rate",
    "discriminator_learning_rates": "discriminator's learning rate",
}


def gan_grid(result: GanRangeTest, suggestion: GanSuggestion | None = None, *, ax: Axes | None = None) -> Axes:
    """The metric, or the distance from balance, at every pair of rates of a GAN.

    A grid is a heat map over its two axes, both logarithmic; listed pairs are dots over both rates, where dotted lines
    join rates of one ratio. The colour is the mean of the seeds that were not lost, geometric where all are positive,
    and the darker the better; a mark says where half of the lanes or more collapsed, let the discriminator win or lose,
    or diverged; the suggestion is a ring, from which the scales and ratios that single seeds answer reach out.

    Args:
        result: What ``lrjax.gan_range_test`` returned.
        suggestion: What to mark; by default ``gan_suggest(result)``.
        ax: Where to draw; by default a new figure.

    Returns:
        The matplotlib axes; ``axes.figure.savefig("grid.png")`` writes the picture.

    Raises:
        ImportError: Where matplotlib is missing.
        TypeError: Where an argument is of the wrong kind.

    Example:
        >>> import jax, jax.numpy as jnp, lrjax.plot
        >>> def generator_loss(generator, discriminator, batch, rng):
        ...     return jnp.mean(jax.nn.softplus(-discriminator * (generator + jax.random.normal(rng, (64,)))))
        >>> def discriminator_loss(discriminator, generator, batch, rng):
        ...     real, fake = discriminator * batch, discriminator * (generator + jax.random.normal(rng, (64,)))
        ...     return jnp.mean(jax.nn.softplus(fake) + jax.nn.softplus(-real))
        >>> params, batches = (jnp.array(0.0), jnp.array(0.1)), jnp.ones((20, 64))
        >>> rates = {"scales": [1e-3, 1e-2, 1e-1], "ratios": [1.0, 4.0]}
        >>> result = lrjax.gan_range_test(generator_loss, discriminator_loss, params, batches, **rates)
        >>> lrjax.plot.gan_grid(result).get_xlabel()
        'scale: geometric mean of both rates'
    """
    call = "plot.gan_grid"
    if not isinstance(result, GanRangeTest):
        _checks.refuse_type(call, "result", "a GanRangeTest", result)
    if suggestion is None:
        suggestion = gan_suggest(result)
    elif not isinstance(suggestion, GanSuggestion):
        _checks.refuse_type(call, "suggestion", "a GanSuggestion", suggestion)
    ax = axes(call, ax)
    known = heights(result)
    names = list(result.axes) or ["generator_learning_rates", "discriminator_learning_rates"]
    x, y = (getattr(result, name) for name in names)
    style: dict[str, Any] = {"cmap": "viridis", "norm": _cells.norm(known.of_pairs)}
    if result.axes:
        colored = _heat_map(ax, list(result.axes.values()), known.of_pairs, style)
    else:
        colored = ax.scatter(x, y, c=known.of_pairs, s=120, edgecolors="white", linewidths=0.5, zorder=2, **style)
    ax.set_xscale("log")
    ax.set_yscale("log")
    if names[0] != "scales":
        _ratio_lines(ax, x, y)
    _mark_troubles(ax, x, y, troubles(result.status))
    _mark_suggestion(ax, names, suggestion)
    ax.set_xlabel(LABELS[names[0]])
    ax.set_ylabel(LABELS[names[1]])
    ax.legend(frameon=False, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3, borderaxespad=0.2, fontsize="small")
    what = f"metric after {result.steps_done:,} steps" if known.objective == "metric" else "distance from balance"
    ax.figure.colorbar(colored, ax=ax, label=what)
    return ax


def _heat_map(ax: Any, values: list[np.ndarray], heights: np.ndarray, style: dict[str, Any]) -> Any:
    """A cell a pair, the first axis to the right."""
    orders = [np.argsort(axis) for axis in values]
    cells = heights.reshape(len(values[0]), len(values[1]))[np.ix_(*orders)]
    borders = [_cells.edges(axis[order]) for axis, order in zip(values, orders, strict=True)]
    return ax.pcolormesh(*borders, cells.T, edgecolors="white", linewidth=0.3, **style)


def _ratio_lines(ax: Any, x: np.ndarray, y: np.ndarray) -> None:
    """Where both rates stand in one ratio, a power of ten, within the axes as they are."""
    limits = np.array([ax.get_xlim(), ax.get_ylim()])
    low, high = np.log10(y.min() / x.max()), np.log10(y.max() / x.min())
    for power in range(int(np.ceil(low)), int(np.floor(high)) + 1):
        ratio = 10.0**power
        left, right = max(limits[0, 0], limits[1, 0] / ratio), min(limits[0, 1], limits[1, 1] / ratio)
        if left >= right:
            continue
        ax.plot([left, right], [left * ratio, right * ratio], color="white", linewidth=2.2, alpha=0.5, zorder=1)
        ax.plot([left, right], [left * ratio, right * ratio], color="black", linewidth=0.7, linestyle=":", zorder=1)
        ax.annotate(
            f"ratio {ratio:g}",
            (right, right * ratio),
            xytext=(-3, -3),
            textcoords="offset points",
            ha="right",
            va="top",
            fontsize="x-small",
            path_effects=_halo(),
        )
    ax.set_xlim(limits[0])
    ax.set_ylim(limits[1])


def _mark_troubles(ax: Any, x: np.ndarray, y: np.ndarray, words: list[str]) -> None:
    """A mark at each pair in trouble, a legend entry for each trouble."""
    for word, marker in MARKERS.items():
        places = [place for place, found in enumerate(words) if found == word]
        if places:
            line: dict[str, Any] = {"linestyle": "none", "markersize": 6, "zorder": 3, "path_effects": _halo()}
            ax.plot(x[places], y[places], marker=marker, color=COLORS["diverged"], label=word, **line)


def _halo() -> list[Any]:
    """A white rim, by which dark things are seen on dark cells."""
    from matplotlib import patheffects

    return [patheffects.withStroke(linewidth=2.5, foreground="white")]


def _mark_suggestion(ax: Any, names: list[str], suggestion: GanSuggestion) -> None:
    """A ring at the suggested pair; over scales and ratios also what single seeds answer."""
    generator, discriminator = suggestion.generator_learning_rate, suggestion.discriminator_learning_rate
    color, text = COLORS["suggestion"], f"suggestion: {generator:.3g} and {discriminator:.3g}"
    x, y = generator, discriminator
    if names[0] == "scales":
        x, y = suggestion.scale, suggestion.ratio
        ax.plot([suggestion.scale_low, suggestion.scale_high], [y, y], color=color, linewidth=1.5, zorder=4)
        ax.plot([x, x], [suggestion.ratio_low, suggestion.ratio_high], color=color, linewidth=1.5, zorder=4)
    ring: dict[str, Any] = {"marker": "o", "markersize": 15, "markerfacecolor": "none", "markeredgewidth": 2.5}
    ax.plot([x], [y], color=color, linestyle="none", zorder=4, label=text, **ring)
