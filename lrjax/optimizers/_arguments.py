"""Argument checks that the optimizers share."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lrjax import _checks
from lrjax.optimizers.decay_mask import compiled, decay_mask


def number(call: str, argument: str, value: Any, **bounds: float) -> Any:
    """A finite scalar within the ``bounds`` of ``_checks.number``; a traced one in float32 or wider.

    Half precision would round a decay of 0.999 to 1.
    """
    scalar = _checks.number(call, argument, value, **bounds)
    if _checks.is_traced(scalar):
        return scalar.astype(jnp.promote_types(scalar.dtype, jnp.float32))
    return scalar


def number_or_schedule(call: str, argument: str, value: Any, **bounds: float) -> Any:
    """A ``number``, or a function of the step, which has no value to check yet."""
    if callable(value):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | np.generic | np.ndarray | jax.Array):
        _checks.refuse_type(call, argument, "a number or a schedule", value)
    return number(call, argument, value, **bounds)


def learning_rate(call: str, argument: str, value: Any) -> Any:
    """A rate of at least zero, or a schedule of rates."""
    return number_or_schedule(call, argument, value, low=0.0)


def decay(call: str, argument: str, value: Any) -> Any:
    """The decay of a moving average: from 0 to less than 1."""
    return number(call, argument, value, low=0.0, below=1.0)


def moment_dtype(call: str, argument: str, value: Any) -> Any:
    """A floating or complex dtype, or None for the parameters' own."""
    if value is None:
        return None
    try:
        dtype = jnp.dtype(value)
    except TypeError:
        _checks.refuse_type(call, argument, "a floating dtype or None", value)
    if not jnp.issubdtype(dtype, jnp.inexact):
        _checks.refuse(call, argument, "a floating dtype or None", str(dtype))
    return dtype


def scheduled_decay(call: str, argument: str, value: Any) -> Any:
    """A ``decay``, or a schedule of them."""
    return number_or_schedule(call, argument, value, low=0.0, below=1.0)


def betas(call: str, value: Any) -> tuple[Any, Any]:
    """The decays of the first moment, which may be a schedule, and of the second."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        _checks.refuse_type(call, "betas", "a pair of decays", value)
    return scheduled_decay(call, "betas[0]", value[0]), decay(call, "betas[1]", value[1])


def weight_decay(call: str, argument: str, value: Any) -> Any:
    """A decay per step of at least zero, or a schedule of them."""
    return number_or_schedule(call, argument, value, low=0.0)


def mask(call: str, argument: str, value: Any) -> Any:
    """What ``optax.masked`` takes: a tree of booleans, a function that makes one, or None; a pattern is made one."""
    if value is None or callable(value):
        return value
    if isinstance(value, str):
        compiled(call, argument, value)
        return partial(decay_mask, exclude=value)
    requirement = "a tree of booleans, a function that makes one from the parameters, a regular expression or None"
    if isinstance(value, bool | np.generic | np.ndarray | jax.Array):
        hint = (
            "; under optax.inject_hyperparams a function needs static_args=('mask',), else it is called as a schedule"
        )
        _checks.refuse_type(call, argument, requirement + hint, value)
    for leaf in jax.tree.leaves(value):
        if not isinstance(leaf, bool | np.bool_):
            _checks.refuse_type(call, argument, requirement, leaf)
    return value


def max_norm(call: str, value: Any) -> Any:
    """A positive number, a tracer, a schedule, or None."""
    return None if value is None else number_or_schedule(call, "max_norm", value, above=0.0)
