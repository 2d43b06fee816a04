"""Curves of one phase."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrjax import _checks
from lrjax.schedules._curve import Curve, prints_as_call
from lrjax.schedules._pairs import as_float
from lrjax.schedules._position import Position
from lrjax.typing import Schedule


@prints_as_call
def constant(value: ArrayLike) -> Schedule:
    """The same rate at every step.

    ``f(step) = value``

    Args:
        value: The rate, a non-negative scalar.

    Returns:
        A schedule: steps of any shape to float32 of that shape.

    Raises:
        ValueError: Where ``value`` is negative or not finite.

    Example:
        >>> import lrjax
        >>> print(lrjax.constant(0.1)(7))
        0.1
    """
    return Curve(_constant, (_checks.number("constant", "value", value, low=0),))


def _constant(position: Position, value: jax.Array) -> jax.Array:
    return jnp.full(position.step.shape, as_float(value))
