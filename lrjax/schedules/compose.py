"""Schedules made of schedules."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrjax import _checks
from lrjax.schedules._curve import Curve, latest, prints_as_call, read
from lrjax.schedules._pairs import as_float, whole
from lrjax.schedules._position import Position
from lrjax.typing import Schedule


@prints_as_call
def join(schedules: Sequence[Schedule], boundaries: Sequence[ArrayLike]) -> Schedule:
    """One schedule after another, each counting from its own boundary.

    ``f(step) = schedules[i](step - boundaries[i - 1])`` for ``boundaries[i - 1] <= step < boundaries[i]``.

    Args:
        schedules: At least one schedule; any ``optax.Schedule`` will do.
        boundaries: The steps at which the second and every later schedule begins, not decreasing.

    Returns:
        A schedule: steps of any shape to float32 of that shape.

    Raises:
        TypeError: Where a member of ``schedules`` is not a function.
        ValueError: Where there is not one boundary fewer than there are schedules, or they decrease.

    Example:
        >>> import lrjax
        >>> schedule = lrjax.join([lrjax.constant(0.1), lrjax.constant(0.01)], [100])
        >>> print(schedule(99), schedule(100))
        0.1 0.01
    """
    members = _checks.sequence("join", "schedules", schedules, "schedules")
    if not members:
        _checks.refuse("join", "schedules", "at least one schedule", "none")
    for i, member in enumerate(members):
        _checks.function("join", f"schedules[{i}]", member, "of the step")
    starts = _checks.counts("join", "boundaries", boundaries)
    if len(starts) != len(members) - 1:
        needed = f"one fewer than the schedules ({len(members) - 1})"
        _checks.refuse("join", "boundaries", needed, f"{len(starts)}")
    _checks.not_decreasing("join", "boundaries", starts)

    return Curve(_joined, (starts,), members)


def _joined(position: Position, starts: tuple[jax.Array, ...], *members: Schedule) -> jax.Array:
    pieces = [(whole(0), read(members[0], position))]
    for start, member in zip(starts, members[1:], strict=True):
        pieces.append((whole(start), read(member, position.counted_from(start))))
    return latest(position, pieces)


@prints_as_call
def scale_by(schedule: Schedule, factor: ArrayLike) -> Schedule:
    """A schedule times a number, such as a larger batch or a layer's share.

    ``f(step) = factor * schedule(step)``

    Args:
        schedule: Any schedule.
        factor: A non-negative scalar.

    Returns:
        A schedule: steps of any shape to float32 of that shape.

    Raises:
        TypeError: Where ``schedule`` is not a function.
        ValueError: Where ``factor`` is negative or not finite.

    Example:
        >>> from lrjax.schedules import constant, scale_by
        >>> print(round(float(scale_by(constant(0.1), 0.5)(0)), 3))
        0.05
    """
    _checks.function("scale_by", "schedule", schedule, "of the step")
    return Curve(_scaled, (_checks.number("scale_by", "factor", factor, low=0),), (schedule,))


def _scaled(position: Position, factor: jax.Array, schedule: Schedule) -> jax.Array:
    return as_float(factor) * read(schedule, position)


@prints_as_call
def clamp(schedule: Schedule, min_value: ArrayLike, max_value: ArrayLike) -> Schedule:
    """A schedule kept between two values.

    ``f(step) = min(max(schedule(step), min_value), max_value)``

    Args:
        schedule: Any schedule.
        min_value: The floor, a non-negative scalar.
        max_value: The ceiling, at least ``min_value``.

    Returns:
        A schedule: steps of any shape to float32 of that shape.

    Raises:
        TypeError: Where ``schedule`` is not a function.
        ValueError: Where a bound is negative or not finite, or the ceiling lies below the floor.

    Example:
        >>> from lrjax.schedules import clamp, linear
        >>> print([round(float(clamp(linear(0.1, 0.0, 10), 0.02, 0.05)(step)), 3) for step in (0, 7, 10)])
        [0.05, 0.03, 0.02]
    """
    _checks.function("clamp", "schedule", schedule, "of the step")
    low = _checks.number("clamp", "min_value", min_value, low=0)
    high = _checks.number("clamp", "max_value", max_value, low=0)
    _checks.at_least("clamp", "max_value", high, "min_value", low)
    return Curve(_clamped, (low, high), (schedule,))


def _clamped(position: Position, low: jax.Array, high: jax.Array, schedule: Schedule) -> jax.Array:
    return jnp.minimum(jnp.maximum(read(schedule, position), as_float(low)), as_float(high))
