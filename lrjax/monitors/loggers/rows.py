"""A row of a log: one step and its metrics, checked before their values are there, then read as Python numbers."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from lrjax import _checks

Row: TypeAlias = tuple[Any, dict[str, Any]]
"""A step and scalars by name."""

MAX_STEP = 2**63 - 1  # a step may count tokens
_CALL = "logger"


def scalars(step: Any, metrics: Mapping[str, Any], *, traced: bool = False) -> Row:
    """The row with nested names joined by a slash, all checked that can be without waiting for a device."""
    if not isinstance(metrics, Mapping):
        _checks.refuse_type(_CALL, "metrics", "a dict of numbers by name", metrics)
    _check_scalar("step", step, traced=traced)
    named: dict[str, Any] = {}
    for name, value in _flat(metrics, ""):
        if name == "step":
            _checks.refuse(
                _CALL, "metrics", "a dict without 'step', which the first argument gives", _checks.shown(value)
            )
        if name in named:
            _checks.refuse(_CALL, "metrics", "a dict of distinct names", f"{name!r} twice")
        _check_scalar(f"metrics[{name!r}]", value, traced=traced)
        named[name] = value
    return step, named


def numbers(step: Any, named: Mapping[str, Any]) -> tuple[int, dict[str, int | float]]:
    """A checked row as Python numbers, once the device has them."""
    for value in (step, *named.values()):
        if isinstance(value, jax.Array):
            value.copy_to_host_async()  # all at once, before the first is waited for
    return (
        _checks.count(_CALL, "step", step, high=MAX_STEP),
        {name: number(value) for name, value in named.items()},
    )


def number(value: Any) -> int | float:
    """A checked scalar as a Python number of the same value; True is 1."""
    kind = type(value) if isinstance(value, int | float) else _kind(value.dtype)
    return float(value) if issubclass(kind, float) else int(value)


@functools.cache  # JAX's answer takes as long as reading the value
def _kind(dtype: Any) -> type:
    """The Python type of the numbers of a dtype, object of anything else."""
    if jnp.issubdtype(dtype, np.floating):
        return float
    return int if jnp.issubdtype(dtype, np.integer) or jnp.issubdtype(dtype, np.bool_) else object


def _flat(metrics: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """Names and values, those of a dict within by ``outer/inner``."""
    for name, value in metrics.items():
        if not isinstance(name, str):
            _checks.refuse_type(_CALL, "metrics", "a dict whose names are strings", name)
        if not name or "\n" in name or "\r" in name:
            _checks.refuse(_CALL, "metrics", "a dict whose names are not empty and of one line", repr(name))
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}/")
        else:
            yield prefix + name, value


def _check_scalar(argument: str, value: Any, *, traced: bool) -> None:
    """Refuse what is not a real number, whether or not its value is known yet."""
    if isinstance(value, int | float):
        return
    if not isinstance(value, np.generic | np.ndarray | jax.Array):
        _checks.refuse_type(_CALL, argument, "a number", value)
    if _checks.is_traced(value) and not traced:
        raise TypeError(
            f"`{_CALL}({argument}=...)` has no value inside jit: call `log_callback(logger)` there, not `logger`"
        )
    if value.shape != ():
        got = f"an array of shape {value.shape}; log its mean, or each entry by a name"
        _checks.refuse(_CALL, argument, "a number", got)
    if _kind(value.dtype) is object:
        raise TypeError(f"`{_CALL}({argument}=...)` must be a number, got dtype {value.dtype}")
