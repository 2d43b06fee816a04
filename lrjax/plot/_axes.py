"""What all pictures share: the axes they are drawn on, and the colours of what they show."""

from __future__ import annotations

from typing import Any

from lrjax import _checks

COLORS = {"training": "#8a8f98", "validation": "#1f5fa8", "suggestion": "#c8102e", "diverged": "#3a3f47"}


def axes(call: str, ax: Any) -> Any:
    """The axes given, or those of a new figure."""
    try:
        from matplotlib import pyplot as plt
        from matplotlib.axes import Axes
    except ImportError as error:
        raise ImportError(f"`{call}` needs matplotlib: pip install 'lrjax[plot]'") from error
    if ax is None:
        return plt.subplots(figsize=(8, 4.5), layout="constrained")[1]
    if not isinstance(ax, Axes):
        _checks.refuse_type(call, "ax", "matplotlib axes", ax)
    return ax
