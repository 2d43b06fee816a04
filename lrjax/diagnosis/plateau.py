"""Plateaus: a loss that hardly moves from the start on, or that stops when the schedule is over."""

from __future__ import annotations

import numpy as np

from lrjax.diagnosis.curves import LEAST_IN_BLOCK
from lrjax.diagnosis.findings import Finding
from lrjax.diagnosis.inputs import Run
from lrjax.diagnosis.reading import FALLEN, Reading
from lrjax.diagnosis.remedies import against_plateau
from lrjax.diagnosis.wording import level_text, times_scatter

STRAIGHT = 0.25
"""Of the fall: a run with more of it in its second half is far from arriving."""

_HALF_WAY = 0.36  # of the run: where the rates of a cosine have half their sum, if they are not known
_MOVED = 0.15  # of what the run gained: a loss that fell by more went on without the rate
_GONE = 0.05  # of the largest rate: with less a run hardly moves
_EARLY = 0.5  # of the run: a schedule that is over before leaves more steps unused than it uses


def plateau_from_start(run: Run, read: Reading) -> Finding | None:
    """A loss that fell by less than its scatter, or that falls at the end as it did at the start."""
    course = f"The loss went from {level_text(read.start)} to {level_text(read.end)}"
    share = later_share(run, read)
    if not read.fell:
        evidence = f"{course}{times_scatter(read.fall, read.noise)}: it hardly moved."
    elif share > STRAIGHT and read.fall < FALLEN * read.noise:
        evidence = f"{course}, {share:.0%} of it late in the run: so straight a line has only begun to fall."
    else:
        return None
    return Finding("plateau_from_start", (0, run.steps - 1), evidence, "warning", against_plateau(run))


def plateau(run: Run, read: Reading) -> Finding | None:
    """A loss that stands still since the schedule took the rate away, early in the run."""
    rates = run.learning_rates
    if rates is None or not (rates > 0).any():
        return None
    stop = int(np.flatnonzero(rates >= _GONE * np.nanmax(rates))[-1]) + 1
    after = int(np.searchsorted(read.curve.steps, stop))
    if stop > _EARLY * run.steps or after + LEAST_IN_BLOCK > len(read.curve.values):
        return None
    then = read.curve.level(after, after + max(LEAST_IN_BLOCK, len(read.curve.values) // 10))
    if then.value - read.end.value > _MOVED * max(read.gained, 0.0):
        return None
    evidence = (
        f"The learning rate was down to {_GONE:.0%} of its peak at step {stop} of {run.steps}, and since then the loss "
        f"stands still: {level_text(then)}, {level_text(read.end)}."
    )
    remedy = (f"Stretch the schedule over the {run.steps} steps of the run.", *against_plateau(run))
    return Finding("plateau", (stop, run.steps - 1), evidence, "warning", remedy)


def later_share(run: Run, read: Reading) -> float:
    """Which part of the fall comes in the second half of the run, half counted in the sum of the rates."""
    steps, values = read.curve.steps, read.curve.values
    if run.learning_rates is None:
        half = int(_HALF_WAY * len(values))
    else:
        travelled = np.cumsum(np.nan_to_num(run.learning_rates, posinf=0.0))[steps]
        half = int(np.searchsorted(travelled, travelled[-1] / 2))
    width = max(2, min(half, len(values) // 20))
    then = read.curve.level(max(0, half - width), half + width)
    return (then.value - read.end.value) / read.fall if read.fall > 0 else 0.0
