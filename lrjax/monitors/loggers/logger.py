"""What every logger is: a function of the step and its metrics, with an end."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self, TypeAlias

import jax

from lrjax.monitors.loggers.rows import numbers, scalars

LogFn: TypeAlias = Callable[[Any, Mapping[str, Any]], object]
"""A function of ``(step, {name: value})``."""


class Logger:
    """A function of ``(step, {name: value})``: ``logger(10, {"loss": 0.5})``.

    The step is a whole number. A value is a number or a scalar of NumPy or JAX, of any real dtype; a dict of
    them, such as a rate for each label, is logged by ``name/label``. Threads may share a logger. It ends with
    ``close()``, at the end of a ``with`` block, or with the program.

    Args:
        write: Takes a whole step and Python numbers by name, in one thread at a time.
        close: Is called once, at the end.
    """

    def __init__(self, write: Callable[[int, dict[str, int | float]], object], close: Callable[[], object]) -> None:
        """Open, until the program ends at the latest."""
        self._write = write
        self._lock = threading.Lock()
        self._end = weakref.finalize(self, close)

    def __call__(self, step: Any, metrics: Mapping[str, Any]) -> None:
        """Log the metrics of a step."""
        # Not under the lock, which callbacks of the program that is waited for may need.
        row = numbers(*scalars(step, metrics))
        with self._lock:
            self._require_open()
            self._write(*row)

    def close(self) -> None:
        """Wait for the callbacks of compiled programs under way, write what is left and let go of the file."""
        try:
            jax.effects_barrier()  # type: ignore[no-untyped-call]
        finally:
            self._end()

    def __enter__(self) -> Self:
        """The logger, closed at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close, whether or not the block raised."""
        self.close()

    def _require_open(self) -> None:
        """Refuse a row after the end."""
        if not self._end.alive:
            raise ValueError("this logger is closed: log before `close()`, inside of the `with` block")


def close(logger: LogFn) -> None:
    """Close a logger that can be; a plain function has no end."""
    if hasattr(logger, "close"):
        logger.close()
