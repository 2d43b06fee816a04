"""Triangles without an end."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrjax import _checks
from lrjax.schedules._curve import Curve, prints_as_call, progress_between
from lrjax.schedules._pairs import add, as_float, exp2, int32, negative, power, real, whole
from lrjax.schedules._position import Position
from lrjax.schedules._shapes import blend, linear
from lrjax.typing import Schedule

_MODES = ("triangular", "triangular2", "exp_range")


@prints_as_call
def cyclic(
    base_value: ArrayLike,
    peak_value: ArrayLike,
    up_steps: ArrayLike,
    *,
    down_steps: ArrayLike | None = None,
    mode: str = "triangular",
    decay_rate: ArrayLike = 1.0,
) -> Schedule:
    """Triangles between two values, for ever.

    ``f(step) = base_value + (peak_value - base_value) * height * scale`` with ``height`` 0 at the start of a cycle, 1
    after ``up_steps`` and 0 again after ``down_steps`` more; ``scale`` is 1, ``2**-cycle`` or ``decay_rate**step``.

    Args:
        base_value: Value at the ends of a cycle, a non-negative scalar.
        peak_value: Value at its peak; below ``base_value`` it is a trough, as momentum wants it.
        up_steps: Steps from base to peak.
        down_steps: Steps from peak to base; None for ``up_steps``.
        mode: ``"triangular"``, ``"triangular2"`` (each cycle half as high) or ``"exp_range"``.
        decay_rate: Factor of the height a step in mode ``"exp_range"``, above 0 and at most 1.

    Returns:
        A schedule: steps of any shape to float32 of that shape.

    Raises:
        ValueError: Where a value is out of range, or a cycle has no steps.

    Example:
        >>> from lrjax.schedules import cyclic
        >>> schedule = cyclic(0.0, 0.1, 10, mode="triangular2")
        >>> print([round(float(schedule(step)), 3) for step in (0, 5, 10, 20, 30)])
        [0.0, 0.05, 0.1, 0.0, 0.05]

    Source: Smith, arXiv:1506.01186.
    """
    base = _checks.number("cyclic", "base_value", base_value, low=0)
    peak = _checks.number("cyclic", "peak_value", peak_value, low=0)
    up = _checks.count("cyclic", "up_steps", up_steps)
    down = up if down_steps is None else _checks.count("cyclic", "down_steps", down_steps)
    factor = _checks.number("cyclic", "decay_rate", decay_rate, above=0, high=1)
    if _checks.all_concrete(up, down) and up + down == 0:
        _checks.refuse("cyclic", "up_steps", "at least 1 where down_steps is 0", "0")
    return Curve(_cyclic, (base, peak, up, down, factor), (_checks.choice("cyclic", "mode", mode, _MODES),))


def _cyclic(
    position: Position,
    base: jax.Array,
    peak: jax.Array,
    up: jax.Array,
    down: jax.Array,
    factor: jax.Array,
    mode: str,
) -> jax.Array:
    # uint32 holds the longest cycle, up_steps + down_steps
    step = jnp.asarray(position.step).astype(jnp.uint32)
    period = jnp.maximum(int32(up).astype(jnp.uint32) + int32(down).astype(jnp.uint32), 1)
    cycle = step // period
    in_cycle = Position((step - cycle * period).astype(jnp.int32), position.part)
    peak_at = whole(up)
    rise = progress_between(in_cycle, whole(0), peak_at)
    fall = progress_between(in_cycle, peak_at, add(peak_at, whole(down)))
    top = as_float(peak)
    if mode != "triangular":
        halvings = whole(cycle.astype(jnp.int32))
        scale = exp2(negative(halvings)) if mode == "triangular2" else power(real(factor), position.real)
        top = blend(as_float(base), top, 1 - scale, scale)
    up_side, down_side = linear(rise, as_float(base), top), linear(fall, top, as_float(base))
    return jnp.where(in_cycle.reached(peak_at), down_side, up_side)
