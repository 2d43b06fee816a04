"""Gradient norms: too large, or vanished while there is everything to learn."""

from __future__ import annotations

import numpy as np

from lrjax.diagnosis.curves import Level, curve
from lrjax.diagnosis.findings import Finding
from lrjax.diagnosis.inputs import Run
from lrjax.diagnosis.remedies import against_large_gradients, against_vanishing_gradients
from lrjax.diagnosis.wording import steps_text

UNSTABLE = 100.0
"""Norm above which a gradient is unstable; from 0.1 to 10 it is healthy. Absolute: it does not scale with the loss."""

VANISHING = 0.01
"""Norm below which a gradient that has everything to learn from has vanished: a tenth of the least healthy one."""

_PART = 0.2  # of the run: a norm that is out of its range for less passes by itself


def large_gradients(run: Run) -> Finding | None:
    """Norms that are unstable for a good part of the run."""
    if run.gradient_norms is None or np.mean(run.gradient_norms > UNSTABLE) <= _PART:
        return None
    blocks = _blocks(run)
    high = [block for block in blocks if block.value > UNSTABLE] or [max(blocks, key=lambda block: block.value)]
    return _finding(high, f"above {UNSTABLE:g} is unstable", against_large_gradients(run, high[-1].last))


def vanishing_gradients(run: Run) -> Finding | None:
    """Norms that have vanished for most of a run that does not learn."""
    low = [block for block in _blocks(run) if block.value < VANISHING]
    if len(low) <= len(_blocks(run)) / 2:
        return None
    return _finding(low, f"below {VANISHING:g} nothing is learnt", against_vanishing_gradients())


def _blocks(run: Run) -> tuple[Level, ...]:
    """The levels of the norms."""
    return () if run.gradient_norms is None else curve(run.gradient_norms).blocks


def _finding(blocks: list[Level], limit: str, remedy: tuple[str, ...]) -> Finding:
    """Norms beyond a limit."""
    first, last = blocks[0].first, blocks[-1].last
    middle = float(np.median([block.value for block in blocks]))
    evidence = f"The gradient norm is about {middle:.3g} in {steps_text(first, last)}: 0.1 to 10 is healthy, {limit}."
    return Finding("gradient_norm", (first, last), evidence, "warning", remedy)
