"""A log as a table of comma-separated values."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping
from typing import Any

from lrjax.monitors.loggers.line_file import Form, LineFile
from lrjax.monitors.loggers.logger import Logger


def csv_logger(path: str | os.PathLike[str], *, purge_step: int | None = None) -> Logger:
    r"""Logs to a CSV file, a row for every call and a column for every name, readable at every moment.

    A row is in the file when the call returns, and stays there if the process is killed. An existing log is
    continued, without the unfinished last line that a kill may leave. A new name becomes a new last column,
    empty in the rows above: the file is written anew beside the old one, and takes its place when it is whole.
    Numbers are written such that they read back exactly, NaN and infinities as ``nan``, ``inf`` and ``-inf``,
    which Python's ``float``, NumPy and pandas read. Of several processes, let only one log to a file.

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
        >>> from lrjax.monitors import csv_logger
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with csv_logger(f"{folder}/log.csv") as logger:
        ...         logger(0, {"loss": 2.5})
        ...         logger(1, {"loss": float("nan"), "learning_rate": {"head": 0.1}})
        ...     with open(f"{folder}/log.csv") as file:
        ...         print(file.read(), end="")
        step,loss,learning_rate/head
        0,2.5,
        1,nan,0.1

    Source:
        The format is RFC 4180 by Python's ``csv``, with ``\n`` at the end of lines; ``purge_step`` is that of
        TensorBoard's ``SummaryWriter``.
    """
    file = LineFile("csv_logger", path, purge_step, _FORM)
    columns = next(csv.reader(file.lines()[:1]), [])

    def write(step: int, named: Mapping[str, int | float]) -> None:
        values = {"step": step, **named}
        new = [name for name in values if name not in columns]
        if new:
            wider = [*columns, *new]
            file.replace([_line(wider), *(row + "," * len(new) for row in file.lines()[1:])])
            columns[:] = wider
        file.append(_line(values.get(name, "") for name in columns))

    return Logger(write, file.close)


def _line(cells: Iterable[Any]) -> str:
    """A line of the table."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(cells)
    return text.getvalue()


def _step_of(line: str) -> int:
    """The step of a row, -1 of the header."""
    cell = line.partition(",")[0]
    return -1 if cell == "step" else int(cell)


_FORM = Form("a log of csv_logger, whose first column is step", "step,", _step_of)
