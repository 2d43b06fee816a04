"""The picture of a range test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lrjax import _checks
from lrjax.finder.reading.curves import start_and_final
from lrjax.finder.reading.suggest import Suggestion, suggest
from lrjax.finder.result import RangeTest
from lrjax.plot._axes import COLORS, axes, mark_suggestion, scale_losses

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def range_test(result: RangeTest, suggestion: Suggestion | None = None, *, ax: Axes | None = None) -> Axes:
    """The loss that every learning rate ended with, over a logarithmic axis of rates.

    A line an objective, the mean over the seeds, in a band from the smallest seed to the largest; a cross at the top
    where a seed diverged, which counts as ended at its start; hollow points for rates that were dropped, at their last
    loss; the loss at the start dotted; the suggestion marked with its value. Losses far above the start leave the
    picture at the top, so that one exploded lane hides nothing.

    Args:
        result: What ``lrjax.finder.range_test`` returned.
        suggestion: What to mark; by default ``suggest(result)``.
        ax: Where to draw; by default a new figure.

    Returns:
        The matplotlib axes; ``axes.figure.savefig("range.png")`` writes the picture.

    Raises:
        ImportError: Where matplotlib is missing.
        TypeError: Where an argument is of the wrong kind.

    Example:
        >>> import jax.numpy as jnp, numpy as np, optax, lrjax.plot
        >>> from lrjax.finder import range_test
        >>> def loss_fn(params, batch):
        ...     return jnp.mean((batch @ params - 1.0) ** 2)
        >>> result = range_test(loss_fn, jnp.zeros(2), np.ones((20, 4, 2)), optax.sgd, [0.001, 0.01, 0.1])
        >>> print(lrjax.plot.range_test(result).get_xscale())
        log
    """
    call = "plot.range_test"
    if not isinstance(result, RangeTest):
        _checks.refuse_type(call, "result", "a RangeTest", result)
    if suggestion is None:
        suggestion = suggest(result)
    elif not isinstance(suggestion, Suggestion):
        _checks.refuse_type(call, "suggestion", "a Suggestion", suggestion)
    ax = axes(call, ax)

    order = np.argsort(result.learning_rates)
    rates = result.learning_rates[order]
    curves = {"training": result.losses[order]}
    if result.validation_steps.size:
        curves["validation"] = result.validation_losses[order]
    ends = {objective: start_and_final(losses, objective) for objective, losses in curves.items()}

    ax.set_xscale("log")
    dropped = (result.status[order] == "dropped").any(axis=1)
    for objective, (start, final) in ends.items():
        shown = np.where(np.isfinite(final), final, start)
        _line_and_band(ax, rates[~dropped], shown[~dropped], objective)
        if dropped.any():
            _mark_dropped(ax, rates[dropped], curves[objective][dropped], objective)
    _mark_start(ax, [start for start, _ in ends.values()], [final for _, final in ends.values()])
    lost = (result.status[order] == "diverged").any(axis=1)
    if lost.any():
        heights = np.full(lost.sum(), 0.96)
        style: dict[str, Any] = {
            "color": COLORS["diverged"],
            "marker": "x",
            "linestyle": "none",
            "label": "seeds diverged",
        }
        ax.plot(rates[lost], heights, transform=ax.get_xaxis_transform(), **style)
    mark_suggestion(ax, suggestion)
    ax.set_xlabel("learning rate")
    ax.set_ylabel("final loss")
    ax.grid(visible=True, which="major", alpha=0.25)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False)
    return ax


def _line_and_band(ax: Any, rates: np.ndarray, final: np.ndarray, objective: str) -> None:
    """The mean over the seeds, and the band between the smallest and the largest."""
    color = COLORS[objective]
    ax.plot(rates, final.mean(axis=1), color=color, linewidth=1.8, marker=".", label=objective)
    if final.shape[1] > 1:
        ax.fill_between(rates, final.min(axis=1), final.max(axis=1), color=color, alpha=0.2, linewidth=0)


def _mark_dropped(ax: Any, rates: np.ndarray, losses: np.ndarray, objective: str) -> None:
    """The loss that each rate had when it was dropped, the mean over the seeds."""
    read = np.isfinite(losses)
    last = losses.shape[-1] - 1 - read[..., ::-1].argmax(axis=-1, keepdims=True)
    values = np.take_along_axis(losses, last, axis=-1)[..., 0].mean(axis=1)
    style: dict[str, Any] = {"marker": "o", "markerfacecolor": "none", "markersize": 5, "linestyle": "none"}
    ax.plot(rates, values, color=COLORS[objective], label=f"{objective}, when dropped", **style)


def _mark_start(ax: Any, starts: list[np.ndarray], finals: list[np.ndarray]) -> None:
    """The loss at the start, which with the best one sets the height of the picture."""
    start = [float(np.mean(values[np.isfinite(values)])) for values in starts if np.isfinite(values).any()]
    final = np.concatenate([values[np.isfinite(values)] for values in finals])
    if scale_losses(ax, final, np.array(start)):
        ax.axhline(start[-1], color=COLORS["diverged"], linewidth=1, linestyle=":", label="loss at the start")
