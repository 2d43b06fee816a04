"""A log as lines of JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

from lrjax.monitors.loggers.line_file import Form, LineFile
from lrjax.monitors.loggers.logger import Logger


def jsonl_logger(path: str | os.PathLike[str], *, purge_step: int | None = None) -> Logger:
    """Logs to a file of JSON lines, an object for every call, readable at every moment.

    A row is in the file when the call returns, and stays there if the process is killed. An existing log is
    continued, without the unfinished last line that a kill may leave. Every row has its own names, so that
    a new one costs nothing. Numbers are written such that they read back exactly; NaN and infinities as ``NaN``,
    ``Infinity`` and ``-Infinity``, which Python's ``json`` and pandas read and strict JSON does not have (pandas reads
    the last digit with ``precise_float=True``).
    Of several processes, let only one log to a file.

    Args:
        path: The file; missing folders are made.
        purge_step: The step at which a run goes on from a checkpoint: rows of it and of later steps, left by
            the run before, are removed. None keeps them; ``read_log`` then takes the last value of a step.

    Returns:
        A ``Logger``: call it with ``(step, {name: value})``, then ``close()`` it, or use ``with``.

    Raises:
        TypeError: An argument, the step, a name or a value is of the wrong kind.
        ValueError: ``path`` is a folder or a file of another kind; ``purge_step`` or the step is no count; a
            value is an array of several; a name is ``step``, empty, of several lines, or there twice; the
            logger is closed.

    Example:
        >>> import tempfile
        >>> from lrjax.monitors import jsonl_logger
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with jsonl_logger(f"{folder}/log.jsonl") as logger:
        ...         logger(0, {"loss": 2.5})
        ...         logger(1, {"loss": float("nan"), "learning_rate": {"head": 0.1}})
        ...     with open(f"{folder}/log.jsonl") as file:
        ...         print(file.read(), end="")
        {"step": 0, "loss": 2.5}
        {"step": 1, "loss": NaN, "learning_rate/head": 0.1}

    Source:
        https://jsonlines.org, by Python's ``json``; ``purge_step`` is that of TensorBoard's ``SummaryWriter``.
    """
    file = LineFile("jsonl_logger", path, purge_step, _FORM)

    def write(step: int, named: Mapping[str, int | float]) -> None:
        file.append(json.dumps({"step": step, **named}, ensure_ascii=False))

    return Logger(write, file.close)


_FORM = Form(
    'a log of jsonl_logger, whose lines begin with {"step": ', '{"step": ', lambda line: int(json.loads(line)["step"])
)
