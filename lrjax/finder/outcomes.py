"""What became of lanes that differ by setting and seed."""

from __future__ import annotations

from typing import Any

import numpy as np

from lrjax.finder import execution
from lrjax.finder.execution import Ran
from lrjax.finder.reading.curves import last_tenth


def outcomes(ran: Ran, shape: tuple[int, ...]) -> dict[str, Any]:
    """The fields that the results of such tests share, the lanes in this ``shape``, ``[*settings, seeds]``.

    A lane is ``"high"`` where its last validation loss is above the first or, without validation, where every one of
    the last tenth of its losses is above the first.
    """
    losses = ran.metrics["loss"].reshape(*shape, ran.steps_done)
    validation_losses = ran.readings.reshape(*shape, len(ran.validation_steps))
    lost_at, status = (part.reshape(shape) for part in execution.lost_and_status(ran))
    high: np.ndarray = np.all(last_tenth(losses) > losses[..., :1], axis=-1)
    if len(ran.validation_steps) > 1:
        high = validation_losses[..., -1] > validation_losses[..., 0]
    return {
        "losses": losses,
        "validation_steps": ran.validation_steps,
        "validation_losses": validation_losses,
        "status": np.where((status == "finite") & high, "high", status),
        "lost_at": lost_at,
        "steps_done": ran.steps_done,
        "plan": ran.plan,
        "note": ran.note,
    }
