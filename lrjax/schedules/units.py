"""Schedules written in epochs, tokens or examples, read in steps."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrjax import _checks
from lrjax.schedules import _pairs
from lrjax.schedules._curve import Curve, prints_as_call, read
from lrjax.schedules._pairs import int32, known, real, whole
from lrjax.schedules._position import Position
from lrjax.typing import Schedule


@prints_as_call
def per_epoch(schedule: Schedule, steps_per_epoch: ArrayLike, *, staircase: bool = False) -> Schedule:
    """A schedule written in epochs.

    ``f(step) = schedule(step / steps_per_epoch)``, with the fraction of the epoch unless ``staircase``.

    Args:
        schedule: A schedule whose step is an epoch; one that is not of lrjax gets the epoch as a float.
        steps_per_epoch: Updates in an epoch, at least 1.
        staircase: Whether the value changes only between epochs.

    Returns:
        A schedule: steps of any shape to float32 of that shape.

    Raises:
        TypeError: Where ``schedule`` is not a function.
        ValueError: Where ``steps_per_epoch`` is no whole number from 1.

    Example:
        >>> from lrjax.schedules import cosine, per_epoch
        >>> schedule = per_epoch(cosine(0.1, 10), 100)
        >>> print([round(float(schedule(step)), 3) for step in (0, 500, 1000)])
        [0.1, 0.05, 0.0]
    """
    _checks.function("per_epoch", "schedule", schedule, "of the epoch")
    length = _checks.count("per_epoch", "steps_per_epoch", steps_per_epoch, low=1)
    return Curve(_per_epoch, (length,), (schedule, _checks.flag("per_epoch", "staircase", staircase)))


def _per_epoch(
    position: Position,
    length: jax.Array,
    schedule: Schedule,
    staircase: bool,  # noqa: FBT001
) -> jax.Array:
    epoch = position.step // int32(length)
    in_epoch = Position(position.step - epoch * int32(length), position.part)
    part = None if staircase else _pairs.divide(in_epoch.real, whole(length))
    return read(schedule, Position(epoch, part))


@prints_as_call
def in_units(schedule: Schedule, units_per_step: ArrayLike, *, staircase: bool = False) -> Schedule:
    """A schedule written in tokens, examples or anything else that grows by a fixed amount a step.

    ``f(step) = schedule(step * units_per_step)``. The schedule's own counts end at 2**31 - 1: write tokens in
    millions, with ``units_per_step = batch_size * sequence_length / 1e6``.

    Args:
        schedule: A schedule whose step is a unit; one that is not of lrjax gets the units as a float.
        units_per_step: Units that one update takes, above 0.
        staircase: Whether parts of a unit are left out.

    Returns:
        A schedule: steps of any shape to float32 of that shape.

    Raises:
        TypeError: Where ``schedule`` is not a function.
        ValueError: Where ``units_per_step`` is not above 0.

    Example:
        >>> from lrjax.schedules import in_units, warmup_cosine
        >>> in_million_tokens = warmup_cosine(3e-4, 10_000, warmup_steps=200)
        >>> schedule = in_units(in_million_tokens, 1024 * 4096 / 1e6)
        >>> print(round(float(schedule(24)), 6), round(float(schedule(2385)), 6))
        0.000151 0.0
    """
    _checks.function("in_units", "schedule", schedule, "of the units")
    units = _checks.number("in_units", "units_per_step", units_per_step, above=0)
    return Curve(_in_units, (units,), (schedule, _checks.flag("in_units", "staircase", staircase)))


def _in_units(
    position: Position,
    units: jax.Array,
    schedule: Schedule,
    staircase: bool,  # noqa: FBT001
) -> jax.Array:
    seen = _pairs.multiply(position.real, real(units))
    inside = seen.hi < _checks.MAX_STEPS
    seen = _pairs.choose(inside, seen, known(0.0))
    floor = jnp.floor(seen.hi)
    rest = _pairs.add(real(seen.hi - floor), real(seen.lo))
    carried = jnp.floor(rest.hi)
    part = _pairs.subtract(rest, real(carried))
    step = jnp.where(inside, floor.astype(jnp.int32) + carried.astype(jnp.int32), _checks.MAX_STEPS)
    return read(schedule, Position(step, None if staircase else part))
