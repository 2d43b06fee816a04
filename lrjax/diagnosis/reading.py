"""The loss of a run, read once for all signs: where it starts, how low it comes and where it ends."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from lrjax.diagnosis.curves import Curve, Level, curve
from lrjax.diagnosis.inputs import Array

SIGNIFICANT = 4.0
"""Standard errors that tell two levels apart: 1 in 30,000 by chance, as a run has some fifty and the errors err too."""

FALLEN = 3.0
"""Units of noise: a fall by less is hardly seen among the losses, and has begun only, unless it has come to rest."""

_FIRST = 5  # losses whose median is the start: as many as hide an outlier, as few as training hardly changes

_MANY_LATER = 100  # losses of the second half: a first loss below all of so many was not that low by chance


@dataclass(frozen=True)
class Reading:
    """The loss of a run.

    Attributes:
        curve: Its finite values and their levels.
        start: The level before training: of the first few losses, or the first alone where the next have left it.
        best: The lowest level of a block of the run.
        end: The level of the last tenth.
        fell: Whether the end lies below the start, or below the first tenth.
        noise: Scatter from step to step, the median over the run.
    """

    curve: Curve
    start: Level
    best: Level
    end: Level
    fell: bool
    noise: float

    @property
    def fall(self) -> float:
        """How far the end lies below the start."""
        return self.start.value - self.end.value

    @property
    def gained(self) -> float:
        """How far the best level lies below the start."""
        return self.start.value - self.best.value


def reading(losses: Array) -> Reading:
    """What is read of a loss with at least one finite value."""
    found = curve(losses)
    noise = float(np.median([block.scatter for block in found.blocks]))
    tenth = max(min(_FIRST, len(found.values)), len(found.values) // 10)
    best = min(found.blocks, key=lambda block: block.value)
    start, end = _start(found), found.level(-tenth, len(found.values))
    fell = differ(start, end) or differ(found.level(0, tenth), end) or _fell_on_average(found.values)
    return Reading(found, start, best, end, fell, noise)


def _fell_on_average(values: Array) -> bool:
    """Whether the mean of the last tenth lies below that of the first by more than chance."""
    tenth = len(values) // 10
    if tenth < _FIRST:
        return False
    first, last = values[:tenth], values[-tenth:]
    error = float(np.hypot(first.std(), last.std()) / np.sqrt(tenth))
    return float(first.mean() - last.mean()) > SIGNIFICANT * error


def differ(high: Level, low: Level) -> bool:
    """Whether ``high`` lies above ``low`` by more than chance."""
    return high.value - low.value > SIGNIFICANT * float(np.hypot(high.error, low.error))


def _start(found: Curve) -> Level:
    """The level of the losses before training has changed them, of as many as do not tell."""
    single = float(found.noise[0])
    first = found.level(0, _FIRST)
    at, alone, later = int(found.steps[0]), float(found.values[0]), found.values[len(found.values) // 2 :]
    if len(later) >= _MANY_LATER and later.min() > alone:
        return Level(at, at, alone, single, 0.0, 0.0)
    if abs(alone - first.value) > SIGNIFICANT * single:
        return Level(at, at, alone, single, single, 0.0)
    return replace(first, error=min(first.error, single))
