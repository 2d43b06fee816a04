"""The loss on average over parts of a run: the means of batches are the loss on all examples, whatever their noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lrjax.diagnosis.reading import SIGNIFICANT, Reading
from lrjax.diagnosis.wording import steps_text

_PARTS = 20  # whose means are compared: 5% of the run each
_LEAST = 5  # losses of a part


@dataclass(frozen=True)
class GivenUp:
    """What a loss gave up again of what it had gained.

    Attributes:
        share: The part of it.
        since: The first step after the best part.
        evidence: Both averages and where they were.
    """

    share: float
    since: int
    evidence: str


def given_up(read: Reading) -> GivenUp | None:
    """From the best part of the run to its last tenth, where the means differ by more than chance."""
    values, steps = read.curve.values, read.curve.steps
    if len(values) < _PARTS * _LEAST:
        return None
    parts = np.array_split(values, _PARTS)
    edges = np.cumsum([0, *map(len, parts)])
    means = np.array([part.mean() for part in parts])
    errors = np.array([part.std() / np.sqrt(len(part)) for part in parts])
    errors = np.maximum(errors, np.median(errors))  # the part with the lowest mean is one with little scatter by chance
    best, end = int(means.argmin()), float(means[-2:].mean())
    gained, lost = read.start.value - means[best], end - means[best]
    error = float(np.hypot(errors[best], np.hypot(*errors[-2:]) / 2))
    if gained <= SIGNIFICANT * errors[best] or lost <= SIGNIFICANT * error:
        return None
    where = steps_text(int(steps[edges[best]]), int(steps[edges[best + 1] - 1]))
    last = steps_text(int(steps[edges[-3]]), int(steps[-1]))
    share = float(lost / gained)
    gone = "as much as" if share >= 1 else f"{share:.0%} of what"
    evidence = (
        f"The loss rose from {means[best]:.3g} on average in {where} to {end:.3g} in {last}: {gone} it had gained is "
        "gone."
    )
    return GivenUp(share, int(steps[edges[best + 1] - 1]), evidence)
