"""Rates that fall as a root or an inverse of time, without an end."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrjax import _checks
from lrjax.schedules._curve import Curve, latest, phase, prints_as_call
from lrjax.schedules._pairs import add, as_float, choose, divide, int32, known, whole
from lrjax.schedules._position import Position
from lrjax.typing import Schedule

_TIMESCALE_WITHOUT_WARMUP = 10_000


@prints_as_call
def inverse_sqrt(
    peak_value: ArrayLike,
    *,
    warmup_steps: ArrayLike,
    timescale: ArrayLike | None = None,
    init_value: ArrayLike = 0.0,
) -> Schedule:
    """Linear warmup, then the inverse square root of time.

    ``f(step) = init_value + (peak_value - init_value) * step / warmup_steps`` in the warmup, then
    ``peak_value * sqrt(timescale / (step - warmup_steps + timescale))``.

    Args:
        peak_value: Rate at ``warmup_steps``, a non-negative scalar.
        warmup_steps: Steps of the warmup; 0 starts at the peak.
        timescale: Steps after the peak in which the rate falls to ``sqrt(1/2)`` of it; None for ``warmup_steps``,
            or 10,000 where there is no warmup.
        init_value: Rate at step 0.

    Returns:
        A schedule: steps of any shape to float32 of that shape.

    Raises:
        ValueError: Where a value is out of range.

    Example:
        >>> from lrjax.schedules import inverse_sqrt
        >>> schedule = inverse_sqrt(1e-3, warmup_steps=100)
        >>> print([round(float(schedule(step)), 6) for step in (0, 50, 100, 400)])
        [0.0, 0.0005, 0.001, 0.0005]

    Source: Vaswani et al., arXiv:1706.03762; the timescale as in T5 and Transformers.
    """
    peak = _checks.number("inverse_sqrt", "peak_value", peak_value, low=0)
    warmup = _checks.count("inverse_sqrt", "warmup_steps", warmup_steps)
    init = _checks.number("inverse_sqrt", "init_value", init_value, low=0)
    scales = () if timescale is None else (_checks.count("inverse_sqrt", "timescale", timescale, low=1),)
    return Curve(_inverse_sqrt, (peak, warmup, init, scales))


def _inverse_sqrt(
    position: Position, peak: jax.Array, warmup: jax.Array, init: jax.Array, scales: tuple[jax.Array, ...]
) -> jax.Array:
    steps = int32(warmup)
    scale = whole(scales[0] if scales else jnp.where(steps > 0, steps, _TIMESCALE_WITHOUT_WARMUP))
    gone = position.since(whole(warmup))
    gone = choose(gone.hi > 0, gone, known(0.0))
    decay = as_float(peak) * jnp.sqrt(divide(scale, add(gone, scale)).hi)
    rise = phase(position, whole(0), whole(warmup), as_float(init), as_float(peak), "linear")
    return latest(position, [(whole(0), rise), (whole(warmup), decay)])


@prints_as_call
def inverse_time(
    init_value: ArrayLike, *, decay_rate: ArrayLike, steps: ArrayLike, staircase: bool = False
) -> Schedule:
    """The inverse of time.

    ``f(step) = init_value / (1 + decay_rate * step / steps)``, the quotient rounded down with ``staircase``.

    Args:
        init_value: Rate at step 0, a non-negative scalar.
        decay_rate: What one period adds to the divisor, a non-negative scalar.
        steps: Steps of a period, at least 1.
        staircase: Whether the rate changes only every ``steps`` steps.

    Returns:
        A schedule: steps of any shape to float32 of that shape.

    Raises:
        ValueError: Where a value is out of range.

    Example:
        >>> from lrjax.schedules import inverse_time
        >>> schedule = inverse_time(0.1, decay_rate=1.0, steps=100)
        >>> print([round(float(schedule(step)), 4) for step in (0, 100, 300)])
        [0.1, 0.05, 0.025]
    """
    init = _checks.number("inverse_time", "init_value", init_value, low=0)
    rate = _checks.number("inverse_time", "decay_rate", decay_rate, low=0)
    length = _checks.count("inverse_time", "steps", steps, low=1)
    return Curve(_inverse_time, (init, rate, length), (_checks.flag("inverse_time", "staircase", staircase),))


def _inverse_time(
    position: Position,
    init: jax.Array,
    rate: jax.Array,
    steps: jax.Array,
    staircase: bool,  # noqa: FBT001
) -> jax.Array:
    periods = whole(position.step // int32(steps)) if staircase else divide(position.real, whole(steps))
    return as_float(init) / (1 + as_float(rate) * periods.hi)
