"""A sweep as it was asked for, checked, before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from lrjax.finder import keeping
from lrjax.finder.batches import Source
from lrjax.finder.checkpoint import Checkpoint
from lrjax.finder.history import History
from lrjax.finder.keeping import Halving, Keep
from lrjax.finder.plan import Plan
from lrjax.finder.processes import Processes
from lrjax.finder.segments import Lane, Loop
from lrjax.typing import PyTree


class Readings(NamedTuple):
    """The batches at which every lane is evaluated, their values averaged, and after which numbers of updates."""

    batches: Sequence[PyTree]
    steps: Sequence[int]


class Request(NamedTuple):
    """A sweep as the user asked for it, checked.

    Attributes:
        call: The function that the user called.
        loop: What a lane does.
        lane: One lane, traced.
        hyperparams: A pytree of host arrays that lead with the lanes.
        shared: What every lane is started with besides.
        source: The batches.
        steps: Updates of a lane.
        readings: What to evaluate lanes on, and when.
        metric: By which lanes are lost and compared.
        keep: Which lanes go on.
        units: ``[lanes]``: lanes of one number are kept or dropped together.
        plan: An explicit plan, or None for one that is chosen.
        processes: Who takes part.
        budget: Bytes for each device.
        checkpoint: Where to save, or None.
        fields: What a checkpoint must agree in, by name.
        watch: Is told the metrics' history, the updates that a wave has done, and those of the whole.
    """

    call: str
    loop: Loop
    lane: Lane
    hyperparams: PyTree
    shared: PyTree
    source: Source
    steps: int
    readings: Readings
    metric: str
    keep: Keep
    units: np.ndarray
    plan: Plan | None
    processes: Processes
    budget: int
    checkpoint: Checkpoint | None
    fields: dict[str, str]
    watch: Callable[[History, int, float], None]

    @property
    def rungs(self) -> list[int]:
        """After which numbers of updates lanes are compared."""
        return self.keep.at(self.steps) if isinstance(self.keep, Halving) else []

    @property
    def boundaries(self) -> list[int]:
        """Numbers of updates at which something is decided or read, and the last."""
        checks = keeping.drop_checks(self.keep, self.steps)
        return sorted({*self.readings.steps, *self.rungs, *checks, self.steps} - {0})

    @property
    def chunks(self) -> list[int]:
        """The numbers of steps of the chunks of batches, one after another."""
        gaps = np.diff([0, *self.boundaries])
        most = self.source.most
        return [int(min(most, gap - start)) for gap in gaps for start in range(0, gap, most)]

    @property
    def first_stop(self) -> int:
        """Where the first chunk ends at the latest."""
        return self.boundaries[0]
