"""Spikes: rises of the loss from which it came back, by a bad batch or by the schedule."""

from __future__ import annotations

import numpy as np

from lrjax.diagnosis.excursions import Excursion
from lrjax.diagnosis.findings import Finding
from lrjax.diagnosis.inputs import Run
from lrjax.diagnosis.remedies import against_bad_batches, against_events
from lrjax.diagnosis.wording import listed, number_text, steps_text, times_scatter

_MANY = 5  # of a run: fewer may be bad batches
_CHANGED = 1.3  # ratio of rates within 2% of a run that counts as an event: smooth schedules change less


def spikes(run: Run, rises: tuple[Excursion, ...]) -> list[Finding]:
    """The rises as findings: those that come with a change of the rate in one, the others in another."""
    events = {rise: event_before(run, rise) for rise in rises if rise.returned}
    by_schedule = [rise for rise, event in events.items() if event]
    by_batch = [rise for rise, event in events.items() if not event]
    found = []
    if by_batch:
        places = listed(steps_text(rise.first, rise.last) for rise in by_batch)
        found.append(_finding(by_batch, "", "warning", against_bad_batches(run, places)))
    if by_schedule:
        event = f" The learning rate {events[_worst(by_schedule)]} just before."
        found.append(_finding(by_schedule, event, "note", against_events(run)))
    return found


def _worst(rises: list[Excursion]) -> Excursion:
    """The highest rise; one to NaN is higher than all."""
    return max(rises, key=lambda rise: np.inf if np.isnan(rise.peak) else rise.peak - rise.before)


def _finding(rises: list[Excursion], event: str, severity: str, remedy: tuple[str, ...]) -> Finding:
    """One finding of all rises of a cause."""
    worst = _worst(rises)
    others = [f"step {rise.peak_step}" for rise in rises if rise is not worst]
    more = f" So it did, less, at {listed(others)}." if others else ""
    rise = times_scatter(worst.peak - worst.before, worst.scatter)
    evidence = (
        f"The loss rose from {worst.before:.3g} to {number_text(worst.peak)} at step {worst.peak_step}{rise}, "
        f"and came back after step {worst.last}.{event}{more}"
    )
    return Finding("spike", (worst.first, worst.last), evidence, severity, remedy)


def recurring(run: Run, rises: tuple[Excursion, ...]) -> tuple[Excursion, ...]:
    """The rises that no change of the rate explains, where they are more than bad batches and go on; else none."""
    unexplained = tuple(rise for rise in rises if not event_before(run, rise))
    goes_on = len(unexplained) >= _MANY and unexplained[-2].first >= run.steps // 2
    return unexplained if goes_on else ()


def event_before(run: Run, rise: Excursion) -> str | None:
    """What the schedule did just before a rise, if anything."""
    if run.learning_rates is None:
        return None
    reach = max(2, run.steps // 50)
    rates = run.learning_rates[max(0, rise.first - reach) : rise.first + 1]
    before, now = float(rates[0]), float(rates[-1])
    if now > _CHANGED * before:
        return f"rose from {before:.3g} to {now:.3g}"
    if before > _CHANGED * now:
        return f"fell from {before:.3g} to {now:.3g}"
    return None
