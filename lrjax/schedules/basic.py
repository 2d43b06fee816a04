"""Curves of one phase."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrjax import _checks
from lrjax.schedules._curve import Curve, latest, prints_as_call, progress_between, through
from lrjax.schedules._pairs import as_float, whole
from lrjax.schedules._position import Position
from lrjax.schedules._shapes import of_power
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


@prints_as_call
def linear(init_value: ArrayLike, end_value: ArrayLike, steps: ArrayLike) -> Schedule:
    """A straight line from one value to another, held after it.

    ``f(step) = init_value + (end_value - init_value) * min(step, steps) / steps``

    Args:
        init_value: Value at step 0, a non-negative scalar.
        end_value: Value at ``steps`` and after it.
        steps: Length of the line; 0 gives ``end_value`` at once.

    Returns:
        A schedule: steps of any shape to float32 of that shape.

    Raises:
        ValueError: Where a value is negative or not finite, or ``steps`` is no whole number.

    Example:
        >>> from lrjax.schedules import linear
        >>> print([round(float(linear(0.1, 0.0, 10)(step)), 3) for step in (0, 4, 10, 99)])
        [0.1, 0.06, 0.0, 0.0]
    """
    return _one_phase("linear", "linear", init_value, end_value, steps)


@prints_as_call
def cosine(init_value: ArrayLike, steps: ArrayLike, *, end_value: ArrayLike = 0.0) -> Schedule:
    """Half a cosine from one value to another, held after it.

    ``f(step) = end_value + (init_value - end_value) * (1 + cos(pi * min(step, steps) / steps)) / 2``

    Args:
        init_value: Value at step 0, a non-negative scalar.
        steps: Length of the half cosine; 0 gives ``end_value`` at once.
        end_value: Value at ``steps`` and after it.

    Returns:
        A schedule: steps of any shape to float32 of that shape.

    Raises:
        ValueError: Where a value is negative or not finite, or ``steps`` is no whole number.

    Example:
        >>> from lrjax.schedules import cosine
        >>> print([round(float(cosine(0.1, 10)(step)), 3) for step in (0, 5, 10, 99)])
        [0.1, 0.05, 0.0, 0.0]

    Source: Loshchilov and Hutter, arXiv:1608.03983.
    """
    return _one_phase("cosine", "cosine", init_value, end_value, steps)


def _one_phase(call: str, shape: str, init_value: ArrayLike, end_value: ArrayLike, steps: ArrayLike) -> Curve:
    init = _checks.number(call, "init_value", init_value, low=0)
    end = _checks.number(call, "end_value", end_value, low=0)
    return Curve(_phase, (init, end, _checks.count(call, "steps", steps)), (shape,))


def _phase(position: Position, init: jax.Array, end: jax.Array, steps: jax.Array, shape: str) -> jax.Array:
    return through(position, [whole(0), whole(steps)], [init, end], [shape])


@prints_as_call
def polynomial(init_value: ArrayLike, end_value: ArrayLike, steps: ArrayLike, *, power: ArrayLike = 1.0) -> Schedule:
    """A power of what is left of the run, from one value to another, held after it.

    ``f(step) = end_value + (init_value - end_value) * (1 - min(step, steps) / steps)**power``

    Args:
        init_value: Value at step 0, a non-negative scalar.
        end_value: Value at ``steps`` and after it.
        steps: Length of the curve; 0 gives ``end_value`` at once.
        power: Exponent, above 0; 1 is a straight line.

    Returns:
        A schedule: steps of any shape to float32 of that shape.

    Raises:
        ValueError: Where a value is out of range, or ``steps`` is no whole number.

    Example:
        >>> from lrjax.schedules import polynomial
        >>> print([round(float(polynomial(0.1, 0.0, 10, power=2)(step)), 3) for step in (0, 5, 10, 99)])
        [0.1, 0.025, 0.0, 0.0]
    """
    init = _checks.number("polynomial", "init_value", init_value, low=0)
    end = _checks.number("polynomial", "end_value", end_value, low=0)
    length = _checks.count("polynomial", "steps", steps)
    return Curve(_polynomial, (init, end, length, _checks.number("polynomial", "power", power, above=0)))


def _polynomial(position: Position, init: jax.Array, end: jax.Array, steps: jax.Array, power: jax.Array) -> jax.Array:
    progress = progress_between(position, whole(0), whole(steps))
    curve = of_power(power)(progress, as_float(init), as_float(end))
    return latest(position, [(whole(0), curve), (whole(steps), as_float(end))])
