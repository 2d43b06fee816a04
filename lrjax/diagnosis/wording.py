"""Numbers of a run as its evidence has them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from lrjax.diagnosis.curves import Level


def steps_text(first: int, last: int) -> str:
    """A range of steps in a sentence."""
    return f"step {first}" if first == last else f"steps {first} to {last}"


def number_text(value: float) -> str:
    """Three digits of a number, or the word for none."""
    return f"{value:.3g}" if np.isfinite(value) else "NaN" if np.isnan(value) else "infinite"


def level_text(level: Level) -> str:
    """A level and where it was read."""
    return f"{level.value:.3g} ({steps_text(level.first, level.last)})"


def times_scatter(change: float, scatter: float) -> str:
    """A change in units of the scatter from step to step, where there is any."""
    return f", {change / scatter:.3g} times its scatter" if scatter > 0 and np.isfinite(change) else ""


def listed(parts: Iterable[str]) -> str:
    """a, b and c."""
    *most, last = parts
    return f"{', '.join(most)} and {last}" if most else last
