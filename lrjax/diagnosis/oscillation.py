"""Oscillation: a loss that swings by a good part of what it gained, without falling."""

from __future__ import annotations

import numpy as np

from lrjax.diagnosis import averages
from lrjax.diagnosis.curves import memory
from lrjax.diagnosis.excursions import Excursion
from lrjax.diagnosis.findings import Finding
from lrjax.diagnosis.inputs import Run
from lrjax.diagnosis.reading import Reading, differ
from lrjax.diagnosis.remedies import against_oscillation
from lrjax.diagnosis.spikes import event_before, recurring
from lrjax.diagnosis.wording import level_text, number_text, steps_text

_SWING = 0.25  # of what the run gained: smaller swings cost little
_LOST = 0.25  # the same for a level given up again
_MEMORY = 0.15  # correlation of neighbours: more than batches cause, which are drawn anew for every step
_ALTERNATING = -0.5  # the same for up and down in turn: epochs of few batches cause half of it
_CHANCE = 2.0  # standard errors of that correlation: 1 in 40 by chance
_FALLING = 0.25  # of the swing: a half that falls by more is still descending


def oscillation(run: Run, read: Reading, rises: tuple[Excursion, ...]) -> Finding | None:
    """A loss that swings by the weights and not by the batches, or cannot hold its best level, or spikes ever again."""
    return _given_up(run, read) or _swings(run, read) or _spikes(run, rises) or _climbs(run, read, rises)


def _spikes(run: Run, rises: tuple[Excursion, ...]) -> Finding | None:
    """More spikes than bad batches explain, in the second half of the run too."""
    rises = recurring(run, rises)
    if not rises:
        return None
    peak = max(rise.peak for rise in rises)
    evidence = (
        f"The loss rose {len(rises)} times far above its noise, to {number_text(peak)} at most, the last time at step "
        f"{rises[-1].peak_step}: it comes back each time, and does not settle."
    )
    return _finding(run, rises[0].first, evidence)


def _climbs(run: Run, read: Reading, rises: tuple[Excursion, ...]) -> Finding | None:
    """A level that climbs and comes back, where no batch stands out: the weights went there and not one step."""
    climbs = [
        rise
        for rise in rises
        if not rise.sudden and rise.returned and rise.peak < read.start.value and not event_before(run, rise)
    ]
    if not climbs:
        return None
    worst = max(climbs, key=lambda rise: rise.peak - rise.before)
    evidence = (
        f"The level of the loss climbed from {worst.before:.3g} to {number_text(worst.peak)} in "
        f"{steps_text(worst.first, worst.last)} and came back, with no single batch that stands out."
    )
    return _finding(run, climbs[0].first, evidence)


def _given_up(run: Run, read: Reading) -> Finding | None:
    """An end well above the best level, though below the start."""
    lost = read.end.value - read.best.value
    told_apart = differ(read.end, read.best) and differ(read.start, read.end)
    if not told_apart or lost <= max(_LOST * read.gained, read.noise):
        on_average = averages.given_up(read)
        if on_average and on_average.share > _LOST:
            return _finding(run, on_average.since, on_average.evidence)
        return None
    evidence = (
        f"The loss rose from {level_text(read.best)} to {level_text(read.end)} and stays there: "
        f"{lost / read.gained:.0%} of what it had gained is gone again."
    )
    return _finding(run, read.best.last, evidence)


def _swings(run: Run, read: Reading) -> Finding | None:
    """A second half that swings far more than it falls."""
    half = len(read.curve.values) // 2
    values = read.curve.values[half:]
    low, high = np.quantile(values, [0.1, 0.9])
    middle = len(values) // 2
    falling = np.median(values[:middle]) - np.median(values[middle:])
    if high - low <= max(_SWING * read.gained, read.end.error) or falling > _FALLING * (high - low):
        return None
    kept = memory(values)
    if _ALTERNATING <= kept <= max(_MEMORY, _CHANCE / float(np.sqrt(len(values)))):
        return None
    first = int(read.curve.steps[half])
    evidence = (
        f"The loss swings between {low:.3g} and {high:.3g} in {steps_text(first, run.steps - 1)} without falling, and "
        f"not by the noise of batches; in all it went from {level_text(read.start)} to {level_text(read.end)}."
    )
    return _finding(run, first, evidence)


def _finding(run: Run, first: int, evidence: str) -> Finding:
    """Oscillation from a step on."""
    return Finding("oscillation", (first, run.steps - 1), evidence, "critical", against_oscillation(run))
