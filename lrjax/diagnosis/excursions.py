"""Where the loss stands above every level that it had reached before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lrjax.diagnosis.reading import Reading

SPIKE = 4.0
"""Times what peaks usually reach around it that make a rise a spike, whatever the tails of the noise."""

_SIGMAS = 8.0  # of the scatter: peaks among the few steps of a block say little
_CLIMB = 6.0  # standard errors: more than tells two levels apart, as one of them is the lowest of many
_SMALLEST = 0.15  # of what the run gained: a smaller rise costs nothing, unless it undoes much of the run
_SEEN = 0.05  # of what the run gained: no rise by less counts
_UNDONE = 4  # a rise to where the loss was at a quarter of the steps so far undoes the rest of them


@dataclass(frozen=True)
class Excursion:
    """A stretch in which the loss stands above where it was.

    Attributes:
        first: Its first step.
        last: Its last step.
        peak: The highest loss in it, NaN or infinite where the loss was.
        peak_step: Where.
        before: The lowest level before it.
        scatter: Of the losses before it, from step to step.
        sudden: Whether a loss in it stands out from its neighbours, as one of a bad batch does; else the level climbed.
        returned: Whether the loss came back to that level, or as near as noise lets one tell; at least half of the way.
    """

    first: int
    last: int
    peak: float
    peak_step: int
    before: float
    scatter: float
    sudden: bool
    returned: bool


def excursions(read: Reading, losses: np.ndarray) -> tuple[Excursion, ...]:
    """All stretches in which the loss stands above the lowest level before by more than noise."""
    found, steps = read.curve, len(losses)
    at = np.searchsorted([block.first for block in found.blocks], np.arange(steps), side="right") - 1
    at = np.maximum(at, 0)
    lowest = np.minimum.accumulate(np.concatenate([[read.start.value], found.medians[:-1]]))
    rises = losses - lowest[at]
    undone = found.medians[np.arange(len(found.blocks)) // _UNDONE] - lowest
    worth = np.clip(undone, _SEEN * read.gained, _SMALLEST * read.gained)
    height = np.maximum(np.maximum(SPIKE * found.usual, _SIGMAS * found.noise), worth)
    climb = np.maximum(_CLIMB * found.errors, _SMALLEST * read.gained)
    climbed = found.medians - lowest > climb
    with np.errstate(invalid="ignore"):
        # A comparison with NaN is false.
        high = ~(rises <= height[at])
    above = np.flatnonzero(high | climbed[at])
    if not len(above):
        return ()
    gap = max(1, steps // len(found.blocks))
    parts = np.split(above, np.flatnonzero(np.diff(above) > gap) + 1)
    result = []
    for part in parts:
        first, last = int(part[0]), int(part[-1])
        values = losses[first : last + 1]
        peak = first + int(np.argmax(np.where(np.isnan(values), np.inf, values)))
        block = at[first]
        after = losses[last + 1 :]
        after = after[np.isfinite(after)]
        half = max(_CLIMB * found.errors[block], (losses[peak] - lowest[block]) / 2)
        result.append(
            Excursion(
                first,
                last,
                float(losses[peak]),
                peak,
                float(lowest[block]),
                float(found.noise[block]),
                bool(high[first : last + 1].any()),
                bool(len(after) and np.median(after[:gap]) <= lowest[block] + min(climb[block], half)),
            )
        )
    return tuple(result)
