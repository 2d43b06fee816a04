"""Logging that a training loop does not wait for."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lrjax import _checks
from lrjax.monitors.loggers.logger import LogFn, Logger, close
from lrjax.monitors.loggers.rows import Row, numbers, scalars


def buffered(logger: LogFn, *, capacity: int = 1000) -> BufferedLogger:
    """Logs in the background: the call returns before the device has the values, and before they are written.

    A thread waits for the values in turn and hands them to ``logger`` as Python numbers, as soon as they are
    there. They are copied on the device first, so that the next step may take their memory by donation. Where
    ``capacity`` rows wait, the call waits too. What ``logger`` raises is raised by the next call,
    by ``flush()`` or by ``close()``, and the rows after it are logged still.

    A program that ends, also by an error, logs what waits; a kill loses it.

    Args:
        logger: A function of ``(step, {name: value})``; it is called in the thread, and closed at the end.
        capacity: Most rows that wait, at least 1.

    Returns:
        A ``BufferedLogger``: call it with ``(step, {name: value})``, ``flush()`` it to read what was logged,
        then ``close()`` it, or use ``with``.

    Raises:
        TypeError: An argument, the step, a name or a value is of the wrong kind.
        ValueError: ``capacity`` is no positive count; a value is an array of several; a name is ``step``, empty,
            of several lines, or there twice; the logger is closed.

    Example:
        >>> import tempfile
        >>> import jax, jax.numpy as jnp
        >>> from lrjax.monitors import buffered, csv_logger, read_log
        >>> step = jax.jit(lambda x: (0.5 * x, {"loss": x**2}), donate_argnums=0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with buffered(csv_logger(f"{folder}/log.csv")) as logger:
        ...         x = jnp.float32(1.0)
        ...         for i in range(3):
        ...             x, metrics = step(x)
        ...             logger(i, metrics)
        ...     print(read_log(f"{folder}/log.csv")["loss"])
        [1.     0.25   0.0625]
    """
    _checks.function("buffered", "logger", logger, "(step, metrics)")
    return BufferedLogger(logger, _checks.count("buffered", "capacity", capacity, low=1))


class BufferedLogger(Logger):
    """What ``buffered`` makes: a ``Logger`` with ``flush()``."""

    def __init__(self, logger: LogFn, capacity: int) -> None:
        """Start the thread."""
        super().__init__(logger, self._drain)
        self._logger, self._capacity = logger, capacity
        self._rows: deque[Row] = deque()
        self._changed = threading.Condition()
        self._ended = self._awaits_device = False
        self._errors: list[BaseException] = []
        self._thread = threading.Thread(target=self._work, name="lrjax.buffered", daemon=True)
        self._thread.start()

    def flush(self) -> None:
        """Wait until all is written that was logged, by compiled programs under way too."""
        jax.effects_barrier()  # type: ignore[no-untyped-call]
        with self._changed:
            self._changed.wait_for(lambda: not self._rows)
        self._raise_errors()

    def __call__(self, step: Any, metrics: Mapping[str, Any]) -> None:
        """Log the metrics of a step, later."""
        row = _held(*scalars(step, metrics))
        with self._changed:
            self._changed.wait_for(lambda: not self._end.alive or self._has_room(row))
            self._require_open()
            self._rows.append(row)
            self._changed.notify_all()
        self._raise_errors()

    def _has_room(self, row: Row) -> bool:
        """Whether a row may be added.

        While the thread waits for a device, rows of numbers always may: they may come from callbacks of the
        very program that is waited for, which would never end if they had to wait.
        """
        return len(self._rows) < self._capacity or (self._awaits_device and not _arrays(*row))

    def _work(self) -> None:
        """Write row after row, in the thread."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._rows or self._ended)
                if not self._rows:
                    return
                step, named = self._rows[0]
                self._awaits_device = bool(_arrays(step, named))
                self._changed.notify_all()
            try:
                row = numbers(step, named)
                self._awaits_device = False
                self._logger(*row)
            except BaseException as error:  # noqa: BLE001 (raised where the caller is)
                self._errors.append(error)
            with self._changed:
                self._rows.popleft()
                self._awaits_device = False
                self._changed.notify_all()

    def _drain(self) -> None:
        """Write what waits, end the thread and close the logger."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._thread.join()
        try:
            close(self._logger)
        finally:
            self._raise_errors()

    def _raise_errors(self) -> None:
        """Raise the first error of the thread that was not raised yet."""
        errors, self._errors = self._errors, []
        if len(errors) > 1:
            errors[0].add_note(f"rows after it that were not logged either: {len(errors) - 1}")
        if errors:
            raise errors[0]


def _arrays(step: Any, named: Mapping[str, Any]) -> list[jax.Array]:
    """The values of a row that a device has."""
    return [value for value in (step, *named.values()) if isinstance(value, jax.Array)]


@jax.jit
def _copies(arrays: list[jax.Array]) -> list[jax.Array]:
    """Copies that no donation can take, computed when the arrays are, by one call for all."""
    return [jnp.copy(array) for array in arrays]


def _held(step: Any, named: Mapping[str, Any]) -> Row:
    """A row that nobody else can change or delete."""
    held = {"step": step, **named}
    by_device: dict[Any, dict[str, jax.Array]] = {}
    for name, value in held.items():
        if isinstance(value, jax.Array):
            local = value.addressable_data(0)  # of an array of several processes, one may compute its own part only
            by_device.setdefault(local.device, {})[name] = local
        elif isinstance(value, np.ndarray):
            held[name] = value.copy()
    for arrays in by_device.values():
        # Under jax.set_mesh, jit takes arrays of the whole mesh only; device_put costs some microseconds an array more.
        own = _copies if jax.sharding.get_abstract_mesh().empty else partial(jax.device_put, may_alias=False)
        held.update(zip(arrays, own(list(arrays.values())), strict=True))
    return held.pop("step"), held
