"""The picture of a schedule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from lrjax import _checks
from lrjax.plot._axes import axes
from lrjax.typing import Schedule

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MAX_POINTS = 2000


def schedule(schedules: Schedule | Mapping[str, Schedule], steps: int, *, ax: Axes | None = None) -> Axes:
    """One schedule, or several by name, over the steps of a run.

    ``learning_rate = schedule(step)`` at the steps 0 to ``steps``, evenly thinned beyond 2,000 of them.

    Args:
        schedules: A schedule, or a dict of names to schedules.
        steps: The last step drawn.
        ax: Where to draw; by default a new figure.

    Returns:
        The matplotlib axes.

    Raises:
        ImportError: Where matplotlib is missing.
        TypeError: Where an argument is of the wrong kind.
        ValueError: Where ``steps`` is out of range or the dict is empty.

    Example:
        >>> import lrjax, lrjax.plot
        >>> axes = lrjax.plot.schedule({"cosine": lrjax.warmup_cosine(1e-3, 1000, warmup_steps=100)}, 1000)
        >>> print(axes.get_xlabel(), "|", axes.get_ylabel())
        step | learning rate
    """
    call = "plot.schedule"
    named = schedules if isinstance(schedules, Mapping) else {"": schedules}
    if not named:
        _checks.refuse(call, "schedules", "a schedule or a dict with at least one", "an empty dict")
    for value in named.values():
        _checks.function(call, "schedules", value, "of the step, or a dict of such functions")
    steps = _checks.count(call, "steps", steps, low=1)
    ax = axes(call, ax)

    points = np.unique(np.linspace(0, steps, min(steps + 1, _MAX_POINTS)).round().astype(np.int64))
    for name, value in named.items():
        ax.plot(points, np.broadcast_to(np.asarray(value(points)), points.shape), label=name, linewidth=1.8)
    ax.set_xlabel("step")
    ax.set_ylabel("learning rate")
    ax.set_xlim(0, steps)
    ax.set_ylim(bottom=min(0.0, ax.get_ylim()[0]))
    ax.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
    ax.grid(visible=True, alpha=0.25)
    ax.spines[["top", "right"]].set_visible(False)
    if any(named):
        ax.legend(frameon=False)
    return ax
