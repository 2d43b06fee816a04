"""A constant factor for every so many steps."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrjax import _checks
from lrjax.schedules._curve import Curve, prints_as_call
from lrjax.schedules._pairs import Pair, as_float, divide, int32, power, real, whole
from lrjax.schedules._position import Position
from lrjax.typing import Schedule


@prints_as_call
def exponential(
    init_value: ArrayLike,
    *,
    decay_rate: ArrayLike,
    steps: ArrayLike,
    staircase: bool = False,
    end_value: ArrayLike | None = None,
) -> Schedule:
    """A constant factor for every ``steps`` steps, smoothly or at once.

    ``f(step) = init_value * decay_rate**(step / steps)``, the quotient rounded down with ``staircase``; never
    beyond ``end_value``.

    Args:
        init_value: Rate at step 0, a non-negative scalar.
        decay_rate: The factor, above 0; above 1 it needs an ``end_value``.
        steps: Steps that one factor takes, at least 1.
        staircase: Whether the rate changes only every ``steps`` steps.
        end_value: The bound: a floor where ``decay_rate`` is below 1, else a ceiling. None for no bound.

    Returns:
        A schedule: steps of any shape to float32 of that shape.

    Raises:
        ValueError: Where a value is out of range.

    Example:
        >>> from lrjax.schedules import exponential
        >>> schedule = exponential(0.1, decay_rate=0.5, steps=10)
        >>> print([round(float(schedule(step)), 5) for step in (0, 5, 10, 20)])
        [0.1, 0.07071, 0.05, 0.025]
    """
    init = _checks.number("exponential", "init_value", init_value, low=0)
    highest = 1 if end_value is None else float("inf")
    factor = _checks.number("exponential", "decay_rate", decay_rate, above=0, high=highest)
    length = _checks.count("exponential", "steps", steps, low=1)
    bounds = () if end_value is None else (_checks.number("exponential", "end_value", end_value, low=0),)
    return Curve(_exponential, (init, factor, length, bounds), (_checks.flag("exponential", "staircase", staircase),))


def _exponential(
    position: Position,
    init: jax.Array,
    factor: jax.Array,
    steps: jax.Array,
    bounds: tuple[jax.Array, ...],
    staircase: bool,  # noqa: FBT001
) -> jax.Array:
    periods = whole(position.step // int32(steps)) if staircase else divide(position.real, whole(steps))
    value = decayed(as_float(init), factor, periods)
    for bound in bounds:
        inside = jnp.where(as_float(factor) < 1, value > as_float(bound), value < as_float(bound))
        value = jnp.where(inside, value, as_float(bound))
    return value


def decayed(init: jax.Array, factor: jax.Array, periods: Pair) -> jax.Array:
    """``init * factor**periods``."""
    return init * power(real(factor), periods)


@prints_as_call
def step_decay(init_value: ArrayLike, step_size: ArrayLike, *, decay_rate: ArrayLike = 0.1) -> Schedule:
    """A cut of the rate every ``step_size`` steps.

    ``f(step) = init_value * decay_rate**(step // step_size)``

    Args:
        init_value: Rate at step 0, a non-negative scalar.
        step_size: Steps between two cuts, at least 1.
        decay_rate: Factor of a cut, above 0 and at most 1.

    Returns:
        A schedule: steps of any shape to float32 of that shape.

    Raises:
        ValueError: Where a value is out of range.

    Example:
        >>> from lrjax.schedules import step_decay
        >>> print([round(float(step_decay(0.1, 30)(step)), 5) for step in (0, 29, 30, 60)])
        [0.1, 0.1, 0.01, 0.001]
    """
    init = _checks.number("step_decay", "init_value", init_value, low=0)
    size = _checks.count("step_decay", "step_size", step_size, low=1)
    factor = _checks.number("step_decay", "decay_rate", decay_rate, above=0, high=1)
    return Curve(_exponential, (init, factor, size, ()), (True,))


@prints_as_call
def multistep(init_value: ArrayLike, boundaries: Sequence[ArrayLike], *, decay_rate: ArrayLike = 0.1) -> Schedule:
    """A cut of the rate at each of the given steps.

    ``f(step) = init_value * decay_rate**(number of boundaries <= step)``; a boundary given twice cuts twice.

    Args:
        init_value: Rate at step 0, a non-negative scalar.
        boundaries: The steps of the cuts, in any order.
        decay_rate: Factor of a cut, above 0 and at most 1.

    Returns:
        A schedule: steps of any shape to float32 of that shape.

    Raises:
        ValueError: Where a value is out of range, or there is no boundary.

    Example:
        >>> from lrjax.schedules import multistep
        >>> print([round(float(multistep(0.1, [30, 60])(step)), 5) for step in (0, 29, 30, 60)])
        [0.1, 0.1, 0.01, 0.001]
    """
    init = _checks.number("multistep", "init_value", init_value, low=0)
    cuts = _checks.counts("multistep", "boundaries", boundaries)
    if not cuts:
        _checks.refuse("multistep", "boundaries", "at least one step", "none")
    return Curve(_multistep, (init, _checks.number("multistep", "decay_rate", decay_rate, above=0, high=1), cuts))


def _multistep(position: Position, init: jax.Array, factor: jax.Array, cuts: tuple[jax.Array, ...]) -> jax.Array:
    passed = sum(position.reached(whole(cut)).astype(jnp.int32) for cut in cuts)
    return decayed(as_float(init), factor, whole(passed))
