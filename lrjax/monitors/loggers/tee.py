"""One log into several."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from lrjax import _checks
from lrjax.monitors.loggers.logger import LogFn, Logger, close


def tee(*loggers: LogFn) -> Logger:
    """Logs every row to each of several loggers.

    Each gets the row as Python numbers, even where one before it raises: ``buffered(tee(...))`` waits for none.

    Args:
        *loggers: Functions of ``(step, {name: value})``.

    Returns:
        A ``Logger`` whose end is the end of each.

    Raises:
        TypeError: One is not a function.

    Example:
        >>> import tempfile
        >>> from lrjax.monitors import csv_logger, tee
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with tee(csv_logger(f"{folder}/log.csv"), print) as logger:
        ...         logger(0, {"loss": 2.5})
        0 {'loss': 2.5}
    """
    for i, logger in enumerate(loggers):
        _checks.function("tee", f"loggers[{i}]", logger, "(step, metrics)")

    def write(step: int, named: Mapping[str, int | float]) -> None:
        with contextlib.ExitStack() as calls:
            for logger in reversed(loggers):
                calls.callback(logger, step, named)

    def end() -> None:
        with contextlib.ExitStack() as calls:
            for logger in reversed(loggers):
                calls.callback(close, logger)

    return Logger(write, end)
