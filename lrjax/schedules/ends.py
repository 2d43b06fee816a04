"""A beginning or an end for any schedule."""

from __future__ import annotations

import jax
from jax.typing import ArrayLike

from lrjax import _checks
from lrjax.schedules._curve import Curve, latest, phase, prints_as_call, read
from lrjax.schedules._pairs import add, as_float, int32, whole
from lrjax.schedules._position import Position
from lrjax.schedules._shapes import ShapeLike, checked_shape
from lrjax.typing import Schedule


@prints_as_call
def with_warmup(schedule: Schedule, warmup_steps: ArrayLike, *, init_value: ArrayLike = 0.0) -> Schedule:
    """A linear rise to the first value of a schedule, and then the whole schedule.

    ``f(step) = init_value + (schedule(0) - init_value) * step / warmup_steps`` in the warmup, then
    ``schedule(step - warmup_steps)``: the warmup comes on top of the schedule's own length.

    Args:
        schedule: Any schedule.
        warmup_steps: Steps of the warmup; 0 leaves the schedule as it is.
        init_value: Value at step 0, a non-negative scalar.

    Returns:
        A schedule: steps of any shape to float32 of that shape.

    Raises:
        TypeError: Where ``schedule`` is not a function.
        ValueError: Where a value is out of range.

    Example:
        >>> from lrjax.schedules import cosine, with_warmup
        >>> schedule = with_warmup(cosine(0.1, 100), 10)
        >>> print([round(float(schedule(step)), 3) for step in (0, 5, 10, 60, 110)])
        [0.0, 0.05, 0.1, 0.05, 0.0]
    """
    _checks.function("with_warmup", "schedule", schedule, "of the step")
    warmup = _checks.count("with_warmup", "warmup_steps", warmup_steps)
    init = _checks.number("with_warmup", "init_value", init_value, low=0)
    return Curve(_with_warmup, (warmup, init), (schedule,))


def _with_warmup(position: Position, warmup: jax.Array, init: jax.Array, schedule: Schedule) -> jax.Array:
    peak = read(schedule, Position(int32(0)))
    rise = phase(position, whole(0), whole(warmup), as_float(init), peak, "linear")
    return latest(position, [(whole(0), rise), (whole(warmup), read(schedule, position.counted_from(warmup)))])


@prints_as_call
def with_cooldown(
    schedule: Schedule,
    start_step: ArrayLike,
    decay_steps: ArrayLike,
    *,
    decay: ShapeLike = "1-sqrt",
    end_value: ArrayLike = 0.0,
) -> Schedule:
    """Leave a schedule at a step and cool down from there.

    ``f(step) = schedule(step)`` before ``start_step``, then
    ``end_value + (schedule(start_step) - end_value) * fall(q)`` with ``q = (step - start_step) / decay_steps``;
    ``end_value`` from ``start_step + decay_steps`` on.

    Args:
        schedule: Any schedule.
        start_step: Step at which the cooldown begins.
        decay_steps: Steps of the cooldown; 0 drops at once.
        decay: ``fall``: a name or a function as in :func:`wsd`.
        end_value: Value at the end, a non-negative scalar.

    Returns:
        A schedule: steps of any shape to float32 of that shape.

    Raises:
        TypeError: Where ``schedule`` is not a function.
        ValueError: Where a value is out of range.

    Example:
        >>> from lrjax.schedules import constant, with_cooldown
        >>> schedule = with_cooldown(constant(0.1), 50, 10, decay="linear")
        >>> print([round(float(schedule(step)), 3) for step in (0, 50, 55, 60)])
        [0.1, 0.1, 0.05, 0.0]

    Source: Hägele et al., arXiv:2405.18392.
    """
    _checks.function("with_cooldown", "schedule", schedule, "of the step")
    start = _checks.count("with_cooldown", "start_step", start_step)
    length = _checks.count("with_cooldown", "decay_steps", decay_steps)
    end = _checks.number("with_cooldown", "end_value", end_value, low=0)
    shape = checked_shape("with_cooldown", "decay", decay)
    return Curve(_with_cooldown, (start, length, end), (schedule, shape))


def _with_cooldown(
    position: Position, start: jax.Array, length: jax.Array, end: jax.Array, schedule: Schedule, decay: ShapeLike
) -> jax.Array:
    left_at = read(schedule, Position(int32(start)))
    stop = add(whole(start), whole(length))
    fall = phase(position, whole(start), stop, left_at, as_float(end), decay)
    pieces = [(whole(0), read(schedule, position)), (whole(start), fall), (stop, as_float(end))]
    return latest(position, pieces)
