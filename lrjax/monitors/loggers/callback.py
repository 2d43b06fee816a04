"""Logging from inside of compiled code."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_batching import custom_vmap

from lrjax import _checks
from lrjax.monitors.loggers.logger import LogFn
from lrjax.monitors.loggers.rows import number, scalars


def log_callback(logger: LogFn, *, every: int = 1) -> Callable[[Any, Mapping[str, Any]], None]:
    """Makes a logger callable inside of ``jit``, ``scan``, ``cond``, ``grad`` and ``vmap``.

    ``log(step, metrics)`` calls ``logger`` from the compiled program, by ``jax.debug.callback``, where
    ``step % every == 0``; other steps send nothing. The program does not wait for an order among the rows, so they may
    arrive in any: the step is in the row, and ``read_log`` sorts by it. Under ``vmap`` a row has every lane's
    value, by ``name[0]``, ``name[1]`` and so on; what all lanes share keeps its name. Under ``shard_map`` every
    device sends a row: reduce before. What ``jax.checkpoint`` computes again may be logged again, to the same effect.

    A CPU runs the callback as a part of the program: with ``buffered(logger)`` that does not wait for the writing.
    An error of the logger fails the program: JAX raises it, as its runtime error, where the results are asked
    for. ``close()`` and ``flush()`` of a logger wait for the programs under way, as ``jax.effects_barrier()`` does.

    Args:
        logger: A function of ``(step, {name: value})``, called with Python numbers.
        every: Steps from one row to the next, at least 1.

    Returns:
        The function ``log(step, metrics)``, of integer step and scalars.

    Raises:
        TypeError: An argument, the step, a name or a value is of the wrong kind.
        ValueError: ``every`` is no positive count; a value is an array of several, other than by ``vmap``; a name
            is ``step``, empty, of several lines, or there twice.

    Example:
        >>> import tempfile
        >>> import jax, jax.numpy as jnp
        >>> from lrjax.monitors import csv_logger, log_callback, read_log
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with csv_logger(f"{folder}/log.csv") as logger:
        ...         log = log_callback(logger, every=2)
        ...         def step(x, i):
        ...             log(i, {"loss": x**2})
        ...             return 0.5 * x, None
        ...         x, _ = jax.lax.scan(step, jnp.float32(1.0), jnp.arange(5))
        ...     log = read_log(f"{folder}/log.csv")
        >>> print(log["step"], log["loss"])
        [0 2 4] [1.         0.0625     0.00390625]

    Source:
        https://docs.jax.dev/en/latest/external-callbacks.html
    """
    _checks.function("log_callback", "logger", logger, "(step, metrics)")
    every = _checks.count("log_callback", "every", every, low=1)

    @custom_vmap
    def send(step: Any, named: Mapping[str, Any]) -> jax.Array:
        # Every array of a callback costs as much as some hundred numbers: those of a kind go as one.
        kinds: dict[Any, list[str]] = {}
        for name, value in named.items():
            kinds.setdefault((value.shape, value.dtype), []).append(name)

        def receive(step: Any, *stacks: Any) -> None:
            arrays = {
                name: value
                for names, stack in zip(kinds.values(), stacks, strict=True)
                for name, value in zip(names, np.asarray(stack), strict=True)
            }
            for at, values in _rows(np.asarray(step), {name: arrays[name] for name in named}):
                if at % every == 0:  # a vmapped cond runs both branches
                    logger(at, values)

        jax.debug.callback(receive, step, *(jnp.stack([named[name] for name in names]) for names in kinds.values()))
        return jnp.zeros((), bool)  # custom_vmap needs a result

    @send.def_vmap
    def send_lanes(_: int, in_batched: Any, step: Any, named: Any) -> tuple[jax.Array, bool]:
        # An axis for every vmap in every value, of size 1 in what all its lanes share.
        step, named = jax.tree.map(
            lambda x, batched: x if batched else jnp.expand_dims(x, 0), (step, named), tuple(in_batched)
        )
        return send(step, named), False

    def log(step: Any, metrics: Mapping[str, Any]) -> None:
        step, named = scalars(step, metrics, traced=True)
        due = every == 1 or step % every == 0
        row = jax.lax.stop_gradient(jax.tree.map(jnp.asarray, (step, named)))
        if _checks.is_traced(due):
            sent = jax.lax.cond(due, send, lambda *_: jnp.zeros((), bool), *row)
        elif due:
            sent = send(*row)
        else:
            return
        # Never run: an effect that needs what was sent, since JAX 0.7 sees none in custom_vmap and would drop it.
        jax.lax.cond(sent, lambda: jax.debug.callback(lambda: None), lambda: None)

    return log


def _rows(step: np.ndarray, named: Mapping[str, np.ndarray]) -> Iterator[tuple[int, dict[str, int | float]]]:
    """A row for every step that lanes are at, from arrays with an axis for every vmap."""
    if step.ndim == 0:
        yield int(step), {name: number(value) for name, value in named.items()}
        return
    shape = np.broadcast_shapes(step.shape, *(value.shape for value in named.values()))
    for at in np.unique(step):
        values = {}
        for lane in np.argwhere(np.broadcast_to(step == at, shape)):
            for name, value in named.items():
                own = [(i, size) for i, size in zip(lane, value.shape, strict=True) if size > 1]
                label = f"[{','.join(str(i) for i, _ in own)}]" if own else ""
                values[name + label] = number(value[tuple(np.where(np.array(value.shape) > 1, lane, 0))])
        yield int(at), values
