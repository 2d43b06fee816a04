"""What all pictures share: the axes they are drawn on, and the colours of what they show."""

from __future__ import annotations

from typing import Any

import numpy as np

from lrjax import _checks
from lrjax.finder.reading.suggest import Suggestion

COLORS = {
    "training": "#8a8f98",
    "validation": "#1f5fa8",
    "suggestion": "#c8102e",
    "diverged": "#3a3f47",
    "generator": "#2e8b57",
    "discriminator": "#7b3fa0",
    "learning rate": "#1f5fa8",
    "gradient norm": "#3a3f47",
}


def import_pyplot(call: str) -> Any:
    """``matplotlib.pyplot``, or how to get it."""
    try:
        from matplotlib import pyplot as plt
    except ImportError as error:
        raise ImportError(f"`{call}` needs matplotlib: pip install 'lrjax[plot]'") from error
    return plt


def axes(call: str, ax: Any) -> Any:
    """The axes given, or those of a new figure."""
    plt = import_pyplot(call)
    if ax is None:
        return plt.subplots(figsize=(8, 4.5), layout="constrained")[1]
    if not isinstance(ax, plt.Axes):
        _checks.refuse_type(call, "ax", "matplotlib axes", ax)
    return ax


def scale_losses(ax: Any, final: np.ndarray, start: np.ndarray) -> bool:
    """Let an axis of losses reach from the best final one to the highest start, where any is below it.

    The axis is logarithmic where these are far apart.
    """
    if not start.size or not final.size or final.min() >= start.max():
        return False
    top, bottom = float(start.max()), float(final.min())
    if bottom > 0 and top > 5 * bottom:
        ax.set_yscale("log")
        margin = (top / bottom) ** 0.1
        ax.set_ylim(bottom / margin, top * margin**1.5)
    else:
        margin = 0.1 * (top - bottom)
        ax.set_ylim(bottom - margin, top + 1.5 * margin)
    return True


def mark_suggestion(
    ax: Any, suggestion: Suggestion, color: str = COLORS["suggestion"], label: str = "suggestion", height: float = 0.04
) -> None:
    """A line at the suggested rate with its value, and the interval of the seeds; the axis of rates has its limits."""
    ax.axvline(suggestion.learning_rate, color=color, linewidth=1.5, label=label)
    if suggestion.low < suggestion.high:
        ax.axvspan(suggestion.low, suggestion.high, color=color, alpha=0.1, linewidth=0)
    place = ax.transAxes.inverted().transform(ax.transData.transform((suggestion.learning_rate, 1.0)))[0]
    left_half = place < 0.5
    ax.annotate(
        f"{suggestion.learning_rate:.3g}",
        (suggestion.learning_rate, height),
        xycoords=ax.get_xaxis_transform(),
        xytext=(6 if left_half else -6, 0),
        textcoords="offset points",
        ha="left" if left_half else "right",
        color=color,
        fontweight="bold",
    )
