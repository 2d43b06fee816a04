"""The picture of a test of rates and one other hyperparameter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lrjax import _checks
from lrjax.finder.grid_result import GridTest
from lrjax.finder.reading.suggest import Suggestion, suggest
from lrjax.plot import _cells
from lrjax.plot._axes import COLORS, axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def grid_test(result: GridTest, suggestion: Suggestion | None = None, *, ax: Axes | None = None) -> Axes:
    """The final loss of every learning rate and value of the other hyperparameter, as a heat map.

    The colour of a cell is the mean over the seeds, where losses above the start and seeds that were lost count as
    ended at the start, so that one exploded lane hides nothing; a cross where a seed diverged; the suggestion framed.
    The axis of rates is logarithmic, the values lie side by side in rising order.

    Args:
        result: What ``lrjax.finder.grid_test`` returned.
        suggestion: What to mark, and the objective to show; by default ``suggest(result)``.
        ax: Where to draw; by default a new figure.

    Returns:
        The matplotlib axes; ``axes.figure.savefig("grid.png")`` writes the picture.

    Raises:
        ImportError: Where matplotlib is missing.
        TypeError: Where an argument is of the wrong kind.

    Example:
        >>> import jax.numpy as jnp, numpy as np, optax, lrjax.plot
        >>> from lrjax.finder import grid_test
        >>> def loss_fn(params, batch):
        ...     return jnp.mean((batch @ params - 1.0) ** 2)
        >>> batches, momentum = np.ones((20, 4, 2)), {"momentum": [0.0, 0.5, 0.9]}
        >>> result = grid_test(loss_fn, jnp.zeros(2), batches, optax.sgd, [0.001, 0.01, 0.1], momentum)
        >>> print(lrjax.plot.grid_test(result).get_ylabel())
        momentum
    """
    call = "plot.grid_test"
    if not isinstance(result, GridTest):
        _checks.refuse_type(call, "result", "a GridTest", result)
    if suggestion is None:
        suggestion = suggest(result)
    elif not isinstance(suggestion, Suggestion):
        _checks.refuse_type(call, "suggestion", "a Suggestion", suggestion)
    value = suggestion.hyperparams.get(result.name)
    if value not in result.values:
        known = ", ".join(f"{known:.4g}" for known in result.values)
        requirement = f"one with a {result.name} of {known}, as suggest(result) gives"
        _checks.refuse(call, "suggestion", requirement, "none" if value is None else f"{value:.4g}")
    ax = axes(call, ax)

    order, rows = np.argsort(result.learning_rates), np.argsort(result.values)
    rates, values = result.learning_rates[order], result.values[rows]
    start, final = result.final(suggestion.objective)
    started = np.isfinite(start)
    capped = np.fmin(final, start)[order][:, rows]
    losses = capped[..., started if started.any() else ~started].mean(axis=-1)
    edges = _cells.edges(rates)
    lines = np.arange(len(values) + 1) - 0.5
    mesh = ax.pcolormesh(
        edges, lines, losses.T, cmap="viridis", norm=_cells.norm(losses), edgecolors="white", linewidth=0.3
    )
    ax.set_xscale("log")
    ax.set_yticks(range(len(values)), [f"{value:.4g}" for value in values])
    lost = (result.status[order][:, rows] == "diverged").any(axis=-1)
    if lost.any():
        columns, places = np.nonzero(lost)
        style: dict[str, Any] = {"marker": "x", "linestyle": "none", "label": "seeds diverged"}
        ax.plot(rates[columns], places, color=COLORS["diverged"], **style)
    _frame(ax, edges, int(np.flatnonzero(values == value)[0]), result.name, suggestion)
    ax.set_xlabel("learning rate")
    ax.set_ylabel(result.name)
    ax.legend(frameon=False, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, borderaxespad=0.3)
    ax.figure.colorbar(mesh, ax=ax, label=f"final {suggestion.objective} loss")
    return ax


def _frame(ax: Any, edges: np.ndarray, place: int, name: str, suggestion: Suggestion) -> None:
    """The suggested cell."""
    from matplotlib.patches import Rectangle

    column = int(np.clip(np.searchsorted(edges, suggestion.learning_rate) - 1, 0, len(edges) - 2))
    left, right = edges[column : column + 2]
    label = f"suggestion: {suggestion.learning_rate:.3g}, {name} {suggestion.hyperparams[name]:.4g}"
    style: dict[str, Any] = {"fill": False, "edgecolor": COLORS["suggestion"], "linewidth": 3, "label": label}
    ax.add_patch(Rectangle((left, place - 0.5), right - left, 1, **style))
