"""Too short a warmup: the loss bursts in the first steps, and the run recovers."""

from __future__ import annotations

from lrjax.diagnosis.excursions import Excursion
from lrjax.diagnosis.findings import Finding
from lrjax.diagnosis.inputs import Run
from lrjax.diagnosis.reading import Reading
from lrjax.diagnosis.remedies import against_short_warmup, largest_rate
from lrjax.diagnosis.wording import number_text, times_scatter

_EARLY = 0.2  # part of a run in which a burst is one of the warmup: twice the longest that guides name
_FULL = 0.5  # of the largest rate: a rate that went on to be twice as large without a burst was not too large


def short_warmup(run: Run, read: Reading, rises: tuple[Excursion, ...]) -> Finding | None:
    """The first rise of the loss above its start, where the run recovered from it."""
    early = [rise for rise in rises if rise.first < _EARLY * run.steps and rise.returned]
    early = [rise for rise in early if not rise.peak <= read.start.value and _at_full_rate(run, rise.peak_step)]
    if not early:
        return None
    burst = early[0]
    rate = largest_rate(run, burst.peak_step)
    by_then = "" if rate is None else f" The learning rate had reached {rate:.3g} by then."
    rise = times_scatter(burst.peak - read.start.value, burst.scatter)
    evidence = (
        f"The loss rose from {read.start.value:.3g} at its start to {number_text(burst.peak)} at step "
        f"{burst.peak_step}{rise}, and came back after step {burst.last}.{by_then}"
    )
    remedy = against_short_warmup(run, burst.peak_step)
    return Finding("short_warmup", (burst.first, burst.last), evidence, "warning", remedy)


def _at_full_rate(run: Run, step: int) -> bool:
    """Whether the rate had come to its height, as far as is known: a burst before that is none of the rate."""
    reached, height = largest_rate(run, step), largest_rate(run, run.steps)
    return reached is None or height is None or reached >= _FULL * height
