"""Schedules made of schedules."""

from __future__ import annotations

from collections.abc import Sequence

import jax
from jax.typing import ArrayLike

from lrjax import _checks
from lrjax.schedules._curve import Curve, latest, prints_as_call, read
from lrjax.schedules._pairs import whole
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
    members = tuple(schedules)
    if not members:
        _checks.refuse("join", "schedules", "at least one schedule", "none")
    for i, member in enumerate(members):
        _checks.function("join", f"schedules[{i}]", member, "of the step")
    starts = [_checks.count("join", f"boundaries[{i}]", boundary) for i, boundary in enumerate(boundaries)]
    if len(starts) != len(members) - 1:
        needed = f"one fewer than the schedules ({len(members) - 1})"
        _checks.refuse("join", "boundaries", needed, f"{len(starts)}")
    for i in range(1, len(starts)):
        _checks.at_least("join", f"boundaries[{i}]", starts[i], f"boundaries[{i - 1}]", starts[i - 1])

    return Curve(_joined, (tuple(starts),), members)


def _joined(position: Position, starts: tuple[jax.Array, ...], *members: Schedule) -> jax.Array:
    pieces = [(whole(0), read(members[0], position))]
    for start, member in zip(starts, members[1:], strict=True):
        pieces.append((whole(start), read(member, position.counted_from(start))))
    return latest(position, pieces)
