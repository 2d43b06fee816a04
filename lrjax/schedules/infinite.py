"""A run without an end."""

from __future__ import annotations

import jax
from jax.typing import ArrayLike

from lrjax import _checks
from lrjax.schedules._curve import Curve, prints_as_call, through
from lrjax.schedules._pairs import add, whole
from lrjax.schedules._position import Position
from lrjax.typing import Schedule


@prints_as_call
def infinite(
    peak_value: ArrayLike,
    constant_value: ArrayLike,
    *,
    warmup_steps: ArrayLike,
    cosine_steps: ArrayLike,
    init_value: ArrayLike = 0.0,
) -> Schedule:
    """Warmup, half a cosine down to a constant, and that constant for ever.

    ``f(warmup_steps) = peak_value``, ``f(step) = constant_value`` from ``warmup_steps + cosine_steps`` on; leave it at
    any step with :func:`with_cooldown`.

    Args:
        peak_value: Rate at ``warmup_steps``, a non-negative scalar.
        constant_value: Rate of the phase without an end.
        warmup_steps: Steps of the warmup; 0 starts at the peak.
        cosine_steps: Steps from the peak to the constant.
        init_value: Rate at step 0.

    Returns:
        A schedule: steps of any shape to float32 of that shape.

    Raises:
        ValueError: Where a value is out of range.

    Example:
        >>> from lrjax.schedules import infinite, with_cooldown
        >>> schedule = infinite(1e-3, 1e-4, warmup_steps=100, cosine_steps=400)
        >>> print([round(float(schedule(step)), 6) for step in (0, 100, 500, 10**9)])
        [0.0, 0.001, 0.0001, 0.0001]
        >>> print(round(float(with_cooldown(schedule, 1000, 100, decay="linear")(1050)), 6))
        5e-05

    Source: Singh et al., arXiv:2503.02844.
    """
    peak = _checks.number("infinite", "peak_value", peak_value, low=0)
    floor = _checks.number("infinite", "constant_value", constant_value, low=0)
    warmup = _checks.count("infinite", "warmup_steps", warmup_steps)
    fall = _checks.count("infinite", "cosine_steps", cosine_steps)
    init = _checks.number("infinite", "init_value", init_value, low=0)
    return Curve(_infinite, (peak, floor, warmup, fall, init))


def _infinite(
    position: Position, peak: jax.Array, floor: jax.Array, warmup: jax.Array, fall: jax.Array, init: jax.Array
) -> jax.Array:
    knots = [whole(0), whole(warmup), add(whole(warmup), whole(fall))]
    return through(position, knots, [init, peak, floor], ["linear", "cosine"])
