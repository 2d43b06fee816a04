"""A log for TensorBoard."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lrjax import _checks
from lrjax.monitors.loggers.logger import Logger
from lrjax.monitors.loggers.rows import MAX_STEP


def tensorboard_logger(log_dir: str | os.PathLike[str], *, purge_step: int | None = None) -> Logger:
    """Logs to an event file of TensorBoard, which ``tensorboard --logdir log_dir`` shows.

    A row is in the file when the call returns, and stays there if the process is killed. TensorBoard keeps
    float32, and shows names with the same part before a slash together.

    Args:
        log_dir: The folder of the run.
        purge_step: The step at which a run goes on from a checkpoint: TensorBoard hides what the run before
            logged at it and at later steps. None hides nothing.

    Returns:
        A ``Logger``: call it with ``(step, {name: value})``, then ``close()`` it, or use ``with``.

    Raises:
        ImportError: tensorboardX is not installed.
        TypeError: An argument, the step, a name or a value is of the wrong kind.
        ValueError: ``purge_step`` or the step is no count; a value is an array of several; a name is ``step``,
            empty, of several lines, or there twice; the logger is closed.

    Example:
        >>> import tempfile
        >>> from lrjax.monitors import tensorboard_logger
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with tensorboard_logger(folder) as logger:
        ...         logger(0, {"loss": 2.5, "learning_rate": 0.1})

    Source:
        https://tensorboardx.readthedocs.io
    """
    if not isinstance(log_dir, str | os.PathLike):
        _checks.refuse_type("tensorboard_logger", "log_dir", "the path of a folder", log_dir)
    if purge_step is not None:
        purge_step = _checks.count("tensorboard_logger", "purge_step", purge_step, high=MAX_STEP)
    try:
        from tensorboardX.proto.event_pb2 import Event, SessionLog
        from tensorboardX.proto.summary_pb2 import Summary
        from tensorboardX.record_writer import masked_crc32c
    except ImportError as error:
        raise ImportError("`tensorboard_logger` needs tensorboardX: pip install 'lrjax[tensorboard]'") from error
    folder = Path(log_dir)
    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / f"events.out.tfevents.{time.time_ns()}.{os.getpid()}").open("xb")

    # Not by SummaryWriter: a kill loses what its queue holds, and to flush it waits for the disk, in every row.
    def append(**event: Any) -> None:
        data = Event(wall_time=time.time(), **event).SerializeToString()
        length = struct.pack("<Q", len(data))
        file.write(b"".join(part + struct.pack("<I", masked_crc32c(part)) for part in (length, data)))
        file.flush()

    append(file_version="brain.Event:2")
    if purge_step is not None:
        append(step=purge_step, session_log=SessionLog(status=SessionLog.START))

    def write(step: int, named: Mapping[str, int | float]) -> None:
        values = [Summary.Value(tag=name, simple_value=value) for name, value in named.items()]
        append(step=step, summary=Summary(value=values))

    return Logger(write, file.close)
