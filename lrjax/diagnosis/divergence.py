"""Divergence: the loss is lost, is above its start in the end or on average, or lost most of what it had gained."""

from __future__ import annotations

import numpy as np

from lrjax.diagnosis import averages
from lrjax.diagnosis.excursions import Excursion
from lrjax.diagnosis.findings import Finding
from lrjax.diagnosis.inputs import Array, Run
from lrjax.diagnosis.reading import FALLEN, SIGNIFICANT, Reading, differ
from lrjax.diagnosis.remedies import against_divergence
from lrjax.diagnosis.spikes import recurring
from lrjax.diagnosis.wording import level_text, number_text, times_scatter

_KEPT = 0.55  # of what the run had gained: with less left, the weights of before were better; half, as losses are noisy
_BACK = 0.25  # of it: a loss that comes so near to its best again and again bounces
_FEWEST = 5  # losses of the end
_SKEWED = 2.0  # units of noise: the mean of squared noise lies 0.7 above its median, a start is known to half a unit


def lost(losses: Array) -> tuple[int, str] | None:
    """From which step on most losses are no number, and what they are; None where the run ends in numbers."""
    finite = np.isfinite(losses)
    last = max(1, len(losses) // 10)
    if finite[-1] and finite[-last:].mean() >= 0.5:
        return None
    since = np.flatnonzero(np.cumsum(finite[::-1])[::-1] * 2 < np.arange(len(losses), 0, -1))
    step = int(since[np.flatnonzero(~finite[since])[0]])
    return step, number_text(losses[step])


def divergence(run: Run, losses: Array, read: Reading | None, rises: tuple[Excursion, ...] = ()) -> Finding | None:
    """A loss that is gone, or that rose and stayed there, or that is thrown up ever again for nothing."""
    gone = lost(losses)
    if gone:
        step, what = gone
        before = f", after {losses[step - 1]:.3g} the step before" if step else ""
        return _finding(run, step, f"The loss is {what} from step {step} on{before}.")
    if read is None:
        return None
    lowest = float(np.quantile(read.curve.values[-max(_FEWEST, len(read.curve.values) // 10) :], 0.1))
    above = differ(read.end, read.start) and lowest > read.start.value
    gained = read.gained if differ(read.start, read.best) else 0.0
    given_up = differ(read.end, read.best) and read.fall < _KEPT * gained
    if above or (given_up and lowest > read.best.value + _BACK * gained):
        return _rose(run, read)
    fallen_back = averages.given_up(read)
    if fallen_back and fallen_back.share > 1 - _KEPT:
        return _finding(run, fallen_back.since, fallen_back.evidence)
    return _bounces(run, read) or _risen(run, read) or _thrown_up(run, read, rises)


def _finding(run: Run, step: int, evidence: str) -> Finding:
    """Divergence from a step on."""
    return Finding("divergence", (step, run.steps - 1), evidence, "critical", against_divergence(run, step))


def _rose(run: Run, read: Reading) -> Finding:
    """The finding of a rise from the lowest level, or from the start where none is lower, to the end."""
    low = read.best if differ(read.start, read.best) else read.start
    ceiling = low.value + max(SIGNIFICANT * low.scatter, low.peak)
    below = np.flatnonzero(read.curve.medians <= ceiling)
    since = read.curve.blocks[below[-1]].first if len(below) else 0
    step = int(read.curve.steps[np.argmax((read.curve.steps >= since) & (read.curve.values > ceiling))])
    rise = times_scatter(read.end.value - low.value, low.scatter)
    evidence = (
        f"The loss rose from {level_text(low)} to {level_text(read.end)}{rise}; "
        f"it left the lower level at step {step} and did not come back."
    )
    return _finding(run, step, evidence)


def _bounces(run: Run, read: Reading) -> Finding | None:
    """A loss that on average is above its start, though its median is not: again and again it is thrown far off."""
    values = read.curve.values
    quarter = len(values) // 4
    if not quarter:
        return None
    start = max(read.start.value, float(values[0]))
    # Of both quarters of the second half: a bad batch is in one of them.
    mean = min(float(np.mean(part)) for part in (values[-2 * quarter : -quarter], values[-quarter:]))
    if mean <= start + _SKEWED * max(read.noise, read.end.error):
        return None
    step = int(read.curve.steps[-2 * quarter])
    evidence = (
        f"From step {step} on the loss is {mean:.3g} or more on average, above the {start:.3g} of its start, with a "
        f"median of {level_text(read.end)}: it is thrown far off again and again."
    )
    return _finding(run, step, evidence)


def _thrown_up(run: Run, read: Reading, rises: tuple[Excursion, ...]) -> Finding | None:
    """Spikes ever again in a loss that did not visibly fall."""
    rises = recurring(run, rises)
    if not rises or read.fall >= FALLEN * read.noise:
        return None
    evidence = (
        f"The loss was thrown up {len(rises)} times, to {number_text(max(rise.peak for rise in rises))} at most, the "
        f"last time at step {rises[-1].peak_step}, and fell by next to nothing in all: from {level_text(read.start)} "
        f"to {level_text(read.end)}."
    )
    return _finding(run, rises[0].first, evidence)


def _risen(run: Run, read: Reading) -> Finding | None:
    """A loss that visibly rose above its start, and came back to it but not visibly below: what was learnt is gone."""
    top = max(read.curve.blocks, key=lambda block: block.value)
    visible = FALLEN * read.noise
    rose = top.value - read.start.value > visible and differ(top, read.start)
    if not rose or read.fall > visible:
        return None
    evidence = (
        f"The loss rose from {level_text(read.start)} to {level_text(top)} and ends at {level_text(read.end)}, hardly "
        "below its start: what the weights had learnt is gone."
    )
    return _finding(run, top.first, evidence)
