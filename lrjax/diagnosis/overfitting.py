"""Overfitting: the validation loss rises while the training loss does not."""

from __future__ import annotations

import numpy as np

from lrjax.diagnosis.curves import scatter
from lrjax.diagnosis.findings import Finding
from lrjax.diagnosis.inputs import Run
from lrjax.diagnosis.reading import SIGNIFICANT, Reading
from lrjax.diagnosis.remedies import against_overfitting
from lrjax.diagnosis.wording import level_text

_LOST = 0.03  # of what validation had gained: to lose less is the rule when data are used to the end

_FEWEST = 4  # validation losses that show a turn: two on either side


def overfitting(run: Run, read: Reading) -> Finding | None:
    """A validation loss that ends well above its lowest, while the training loss went on."""
    if run.validation_losses is None or run.validation_steps is None:
        return None
    finite = np.isfinite(run.validation_losses)
    values, steps = run.validation_losses[finite], run.validation_steps[finite]
    if len(values) < _FEWEST:
        return None
    lowest = int(np.argmin(values))
    end = float(np.median(values[-max(1, len(values) // 10) :]))
    noise = scatter(values[lowest:])
    if end - values[lowest] <= max(SIGNIFICANT * noise, _LOST * (values[0] - values[lowest])):
        return None
    at = int(np.searchsorted(read.curve.steps, steps[lowest]))
    width = max(2, len(read.curve.values) // 20)
    then = read.curve.level(max(0, at - width), at + width)
    if read.end.value > then.value:
        return None
    best = int(steps[lowest])
    evidence = (
        f"The validation loss rose from {values[lowest]:.3g} at step {best} to {end:.3g} at the end, while the "
        f"training loss went from {level_text(then)} to {level_text(read.end)}. The learning rate is not to blame."
    )
    return Finding("overfitting", (best, run.steps - 1), evidence, "warning", against_overfitting(best))
