"""Cosine annealing with warm restarts."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from lrjax import _checks
from lrjax.schedules import _shapes
from lrjax.schedules._curve import Curve, prints_as_call, progress_between
from lrjax.schedules._pairs import Pair, add, as_float, choose, float_dtype, int32, known, multiply, subtract, whole
from lrjax.schedules._position import Position
from lrjax.schedules.exponential import decayed
from lrjax.typing import Schedule

_MOST_GROWING_CYCLES = 32
_NEVER = -1


@prints_as_call
def cosine_restarts(
    peak_value: ArrayLike,
    cycle_steps: ArrayLike,
    *,
    cycle_factor: ArrayLike = 1,
    peak_factor: ArrayLike = 1.0,
    end_value: ArrayLike = 0.0,
) -> Schedule:
    """Half a cosine again and again, each cycle longer by a factor, each peak lower by another.

    In cycle i, which begins at ``start = cycle_steps * (cycle_factor**i - 1) / (cycle_factor - 1)`` and takes
    ``length = cycle_steps * cycle_factor**i``: ``f(step) = end_value + (peak_value * peak_factor**i - end_value) *
    (1 + cos(pi * (step - start) / length)) / 2``. The next peak takes the place of the floor.

    Args:
        peak_value: Rate at step 0, a non-negative scalar.
        cycle_steps: Steps of the first cycle, at least 1.
        cycle_factor: Length of a cycle over that of the one before, a whole number from 1.
        peak_factor: Peak of a cycle over that of the one before, above 0 and at most 1.
        end_value: The floor towards which every cycle falls.

    Returns:
        A schedule: steps of any shape to float32 of that shape.

    Raises:
        ValueError: Where a value is out of range.

    Example:
        >>> from lrjax.schedules import cosine_restarts
        >>> schedule = cosine_restarts(0.1, 10, cycle_factor=2, peak_factor=0.5)
        >>> print([round(float(schedule(step)), 4) for step in (0, 5, 10, 20, 30)])
        [0.1, 0.05, 0.05, 0.025, 0.025]

    Source: Loshchilov and Hutter, arXiv:1608.03983; the cycle is found with integers, not with a logarithm.
    """
    peak = _checks.number("cosine_restarts", "peak_value", peak_value, low=0)
    first = _checks.count("cosine_restarts", "cycle_steps", cycle_steps, low=1)
    growth = _checks.count("cosine_restarts", "cycle_factor", cycle_factor, low=1)
    factor = _checks.number("cosine_restarts", "peak_factor", peak_factor, above=0, high=1)
    end = _checks.number("cosine_restarts", "end_value", end_value, low=0)
    # Known cycles are laid out now, so that a training step holds a table and no loop.
    cycles = (_known_cycles if _checks.all_concrete(first, growth) else _traced_cycles)(first, growth)
    return Curve(_cosine_restarts, (peak, first, growth, factor, end, cycles))


class _Cycles(NamedTuple):
    """Start (int32, or ``_NEVER``) and length of every cycle."""

    start: jax.Array
    length: Pair


def _known_cycles(first: int, growth: int) -> _Cycles:
    """All the cycles that begin in the int32 range, from exact integers."""
    starts, lengths = [0], [first]
    while len(starts) < _MOST_GROWING_CYCLES:
        starts.append(starts[-1] + lengths[-1])
        lengths.append(lengths[-1] * growth if starts[-1] <= _checks.MAX_STEPS else first)
    inside = [start if start <= _checks.MAX_STEPS else _NEVER for start in starts]
    high = np.asarray(lengths, float_dtype())
    low = np.asarray([length - int(hi) for length, hi in zip(lengths, high, strict=True)], float_dtype())
    return _Cycles(jnp.asarray(inside, jnp.int32), Pair(jnp.asarray(high), jnp.asarray(low)))


def _traced_cycles(first: jax.Array, growth: jax.Array) -> _Cycles:
    """The same for numbers that are not known yet."""

    def cycle(carry: _Cycles, _: None) -> tuple[_Cycles, _Cycles]:
        room = subtract(whole(_checks.MAX_STEPS), whole(carry.start))
        fits = (carry.start != _NEVER) & (subtract(carry.length, room).hi <= 0)
        steps = choose(fits, carry.length, known(0.0))
        start = carry.start + steps.hi.astype(jnp.int32) + steps.lo.astype(jnp.int32)
        return _Cycles(jnp.where(fits, start, _NEVER), multiply(carry.length, whole(growth))), carry

    carry = _Cycles(jnp.zeros((), jnp.int32), whole(first))
    return jax.lax.scan(cycle, carry, length=_MOST_GROWING_CYCLES)[1]


def _cosine_restarts(
    position: Position,
    peak: jax.Array,
    first: jax.Array,
    growth: jax.Array,
    factor: jax.Array,
    end: jax.Array,
    cycles: _Cycles,
) -> jax.Array:
    step, first = jnp.asarray(position.step), int32(first)
    equal = int32(growth) == 1
    grown = jnp.sum((step[..., None] >= cycles.start) & (cycles.start != _NEVER), axis=-1) - 1
    cycle = jnp.where(equal, step // first, grown)
    start = whole(jnp.where(equal, cycle * first, cycles.start[grown]))
    length = choose(equal, whole(first), Pair(cycles.length.hi[grown], cycles.length.lo[grown]))
    progress = progress_between(position, start, add(start, length))
    return _shapes.cosine(progress, decayed(as_float(peak), factor, whole(cycle)), as_float(end))
