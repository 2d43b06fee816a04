"""Several tests one after another that are parts of one: each on the same batches, each with a folder of its own."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from lrjax import _checks
from lrjax.finder import execution
from lrjax.finder.batches import CHUNK_SHARE, Source
from lrjax.finder.execution import Execution
from lrjax.finder.recording import Recording, is_pulled_once


class Stages(AbstractContextManager["Stages"]):
    """The options and the batches of every stage.

    Batches that an iterable yields are recorded as the first stage pulls them: in memory up to a part of the budget, in
    temporary files beyond it.
    """

    def __init__(self, how: Execution, batches: Any) -> None:
        """Refuse a checkpoint's folder with anything but stages in it; no batch is pulled yet."""
        self._how, self._batches = how, batches
        self.source: Source = execution.source_of(how, batches)
        self._recording = None
        if is_pulled_once(batches, self.source):
            self._recording = Recording(self.source, how.budget // CHUNK_SHARE)
        if how.checkpoint is not None:
            self._check_folder()

    def at(self, number: int) -> tuple[Execution, Any]:
        """The options and the batches of a stage."""
        how = self._how
        if how.checkpoint is not None:
            how = how._replace(checkpoint=Path(how.checkpoint) / f"stage_{number}")
        if self._recording is not None:
            self._recording.rewind()
        return how, self._recording or self._batches

    def __exit__(self, *_: object) -> None:
        """Remove what was recorded."""
        if self._recording is not None:
            self._recording.close()

    def _check_folder(self) -> None:
        """Refuse what can hold no stages, or holds something else."""
        call, path = self._how.call, self._how.checkpoint
        if not isinstance(path, str | os.PathLike):
            _checks.refuse_type(call, "checkpoint", "a path", path)
        folder = Path(path).absolute()
        foreign = [entry.name for entry in folder.glob("*") if not entry.match("stage_*")]
        if foreign or (folder.exists() and not folder.is_dir()):
            got = f"{folder}, {f'one that holds {foreign[0]}' if foreign else 'a file'}; nothing is changed"
            _checks.refuse(call, "checkpoint", "a new folder or one of this very test", got)
