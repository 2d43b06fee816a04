"""Reading a log back, whichever file it is in."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lrjax import _checks
from lrjax.monitors.loggers.line_file import whole_lines


def read_log(path: str | os.PathLike[str], names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Reads a log of ``csv_logger`` or ``jsonl_logger`` into arrays, also while it is being written.

    A step is there once, in ascending order, with the last value logged for each name: of rows that arrive out
    of order, of training and validation metrics in rows of their own, and of steps that a resumed run took
    again. The unfinished last line that a kill may leave does not count.

    Args:
        path: The file.
        names: The names that are wanted, and only the steps at which all of them were logged. None gives every
            name and every step, with NaN where a name was not logged.

    Returns:
        A dict of ``step``, int64 [N], and of every name, float64 [N].

    Raises:
        TypeError: ``names`` is not a sequence of strings.
        ValueError: A line is not one of a log; a name is nowhere in the log.

    Example:
        >>> import tempfile
        >>> from lrjax.monitors import jsonl_logger, read_log
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with jsonl_logger(f"{folder}/log.jsonl") as logger:
        ...         for step in range(4):
        ...             logger(step, {"loss": 1 / (1 + step)})
        ...         logger(3, {"validation_loss": 0.5})
        ...     log = read_log(f"{folder}/log.jsonl")
        ...     validation = read_log(f"{folder}/log.jsonl", ["validation_loss"])
        >>> print(log["step"], log["loss"].round(2), log["validation_loss"])
        [0 1 2 3] [1.   0.5  0.33 0.25] [nan nan nan 0.5]
        >>> print(validation["step"], validation["validation_loss"])
        [3] [0.5]
    """
    lines = whole_lines(Path(path).read_bytes())
    merged: dict[int, dict[str, float]] = {}
    rows = _json_rows(path, lines) if lines and lines[0].startswith("{") else _csv_rows(path, lines)
    for step, values in rows:
        merged.setdefault(step, {}).update(values)
    known = list(dict.fromkeys(name for values in merged.values() for name in values))
    wanted = known if names is None else _checks.sequence("read_log", "names", names, "names")
    for name in wanted:
        _checks.choice("read_log", "names", name, known)
    steps = sorted(step for step, values in merged.items() if names is None or all(name in values for name in wanted))
    columns = {name: np.array([merged[step].get(name, np.nan) for step in steps], np.float64) for name in wanted}
    return {"step": np.array(steps, np.int64), **columns}


def _json_rows(path: Any, lines: list[str]) -> Iterator[tuple[int, dict[str, float]]]:
    """Steps and values of JSON lines."""
    for i, line in enumerate(lines):
        try:
            row = json.loads(line)
            yield int(row.pop("step")), {name: float(value) for name, value in row.items()}
        except (ValueError, TypeError, KeyError, AttributeError):
            _refuse_line(path, i, line)


def _csv_rows(path: Any, lines: list[str]) -> Iterator[tuple[int, dict[str, float]]]:
    """Steps and values of a table."""
    header = next(csv.reader(lines[:1]), ["step"])
    if header[:1] != ["step"]:
        _refuse_line(path, 0, lines[0])
    for i, line in enumerate(lines[1:]):
        step, *cells = line.split(",")
        try:
            pairs = zip(header[1:], cells, strict=True)
            yield int(step), {name: float(cell) for name, cell in pairs if cell}
        except ValueError:
            _refuse_line(path, i + 1, line)


def _refuse_line(path: Any, i: int, line: str) -> None:
    """Say which line is not one of a log."""
    _checks.refuse(
        "read_log",
        "path",
        "a log of csv_logger or jsonl_logger",
        f"{str(path)!r} with line {i + 1}: {_checks.shown(line)}",
    )
