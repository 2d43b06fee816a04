"""Levels and scatter of a noisy curve, by medians, so that no single step decides."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from lrjax.diagnosis.inputs import Array

Steps = npt.NDArray[np.int64]

BLOCKS = 50
"""Parts into which a run is cut: 2% of it each, so that a warmup of 5% is seen."""

LEAST_IN_BLOCK = 4
"""Steps of a block at least: with fewer neither a median nor a scatter says anything."""

_MANY = 50  # values of which the tenths are known, and with them the error of a median whatever the noise
_AROUND = 20  # values on either side that tell the scatter too: that of few may come out as next to none
_NEAR = 5  # blocks on either side that count as near: a fifth of the run in all
_SIGMA = 1.4826  # standard deviations of a normal variable for each median absolute deviation
_ROUNDING = float(np.finfo(np.float32).eps)  # losses come in float32: no level is known better
_MEDIAN_ERROR = 1.2533  # standard error of the median of n normal variables, in sigma / sqrt(n)


@dataclass(frozen=True)
class Level:
    """Where a curve lies between two steps.

    Attributes:
        first: The first step.
        last: The last.
        value: The median.
        scatter: Standard deviation from step to step around the trend, there and next to it.
        error: Standard error of the median.
        peak: How far the highest value lies above the median.
    """

    first: int
    last: int
    value: float
    scatter: float
    error: float
    peak: float


@dataclass(frozen=True)
class Curve:
    """The finite values of a curve, and its levels.

    Attributes:
        steps: ``[n]``, the steps of the finite values.
        values: ``[n]``, the finite values.
        lost: The steps of those that are not finite.
        blocks: Levels of equal parts of the finite values, in order.
    """

    steps: Steps
    values: Array
    lost: Steps
    blocks: tuple[Level, ...]

    @property
    def medians(self) -> Array:
        """The levels' values."""
        return np.array([block.value for block in self.blocks])

    @property
    def usual(self) -> Array:
        """What peaks around each block reach: the median of those near it, or what both sides reach."""
        peaks = np.array([block.peak for block in self.blocks])
        # The next but one, as a burst may reach into the next.
        before, after = np.roll(peaks, 2), np.roll(peaks, -2)
        before[:2], after[-2:] = after[:2], before[-2:]
        usual: Array = np.maximum(_near(peaks), np.minimum(before, after))
        return usual

    @property
    def errors(self) -> Array:
        """The levels' errors, of the blocks near each one together."""
        return _near(np.array([block.error for block in self.blocks]))

    @property
    def noise(self) -> Array:
        """The levels' scatters, of the blocks near each one together."""
        return _near(np.array([block.scatter for block in self.blocks]))

    def level(self, start: int, stop: int) -> Level:
        """The level of the finite values ``start`` up to ``stop``."""
        first, end, _ = slice(start, stop).indices(len(self.values))
        return _level(self.steps, self.values, first, end)


def curve(values: Array, steps: Steps | None = None) -> Curve:
    """The curve through these values, one a step unless ``steps`` says otherwise."""
    steps = np.arange(len(values)) if steps is None else steps
    finite = np.isfinite(values)
    at, kept = steps[finite], values[finite]
    count = min(BLOCKS, len(kept) // LEAST_IN_BLOCK) or min(1, len(kept))
    edges = np.linspace(0, len(kept), count + 1).astype(int) if count else np.zeros(1, int)
    blocks = tuple(_level(at, kept, a, b) for a, b in pairwise(edges))
    return Curve(at, kept, steps[~finite], blocks)


def _level(steps: Steps, curve_values: Array, start: int, stop: int) -> Level:
    """The level of the values ``start`` up to ``stop`` of a curve, at least one; the scatter is of those around too."""
    values = curve_values[start:stop]
    count, value = len(values), float(np.median(values))
    spread = scatter(curve_values[max(0, start - _AROUND) : stop + _AROUND])
    error = _MEDIAN_ERROR * spread / float(np.sqrt(count))
    if count >= _MANY:
        # Of noise with a tail on one side the median is known better than its scatter says.
        low, high = np.quantile(values, [0.5 - 1 / np.sqrt(count), 0.5 + 1 / np.sqrt(count)])
        error = min(error, float(high - low) / 4)
    error = max(error, _ROUNDING * abs(value))
    return Level(int(steps[start]), int(steps[stop - 1]), value, spread, error, float(values.max() - value))


def _near(of_blocks: Array) -> Array:
    """The median of the blocks around each block."""
    return np.array([np.median(of_blocks[max(0, i - _NEAR) : i + _NEAR + 1]) for i in range(len(of_blocks))])


def scatter(values: Array) -> float:
    """Standard deviation of independent noise on a trend, from the differences of neighbours; 0 for under three."""
    if len(values) < 3:
        return 0.0
    differences = np.diff(values)
    return float(_SIGMA * np.median(np.abs(differences - np.median(differences))) / np.sqrt(2))


def memory(values: Array) -> float:
    """Correlation of neighbours around a straight line: 0 for the noise of batches, which begins anew every step."""
    clipped = np.clip(values, *np.quantile(values, [0.05, 0.95]))
    at = np.arange(len(values)) - (len(values) - 1) / 2
    around = clipped - clipped.mean()
    around -= at * (at @ around) / (at @ at)
    power = float(around @ around)
    return float(around[1:] @ around[:-1]) / power if power > 0 else 0.0
