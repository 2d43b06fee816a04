"""A linear rise to the peak and one fall to the end."""

from __future__ import annotations

import jax
from jax.typing import ArrayLike

from lrjax import _checks
from lrjax.schedules._curve import Curve, prints_as_call, through
from lrjax.schedules._pairs import whole
from lrjax.schedules._position import Position
from lrjax.typing import Schedule


@prints_as_call
def warmup_cosine(
    peak_value: ArrayLike,
    total_steps: ArrayLike,
    *,
    warmup_steps: ArrayLike,
    init_value: ArrayLike = 0.0,
    end_value: ArrayLike = 0.0,
) -> Schedule:
    """Linear warmup, then half a cosine down to the end.

    ``f(step) = init_value + (peak_value - init_value) * step / warmup_steps`` in the warmup, then
    ``end_value + (peak_value - end_value) * (1 + cos(pi * u)) / 2`` with
    ``u = (step - warmup_steps) / (total_steps - warmup_steps)``; ``end_value`` from ``total_steps`` on.

    Args:
        peak_value: Rate at ``warmup_steps``, a non-negative scalar.
        total_steps: Steps of the whole run, warmup included.
        warmup_steps: Steps of the warmup; 0 starts at the peak.
        init_value: Rate at step 0.
        end_value: Rate at ``total_steps`` and after it.

    Returns:
        A schedule: steps of any shape to float32 of that shape.

    Raises:
        ValueError: Where a value is out of range, or the warmup is longer than the run.

    Example:
        >>> import lrjax
        >>> schedule = lrjax.warmup_cosine(1e-3, 1000, warmup_steps=100)
        >>> print([round(float(schedule(step)), 6) for step in (0, 50, 100, 550, 1000)])
        [0.0, 0.0005, 0.001, 0.0005, 0.0]

    Source: Loshchilov and Hutter, arXiv:1608.03983; warmup as in Goyal et al., arXiv:1706.02677.
    """
    return _warmup_then("warmup_cosine", "cosine", peak_value, total_steps, warmup_steps, init_value, end_value)


@prints_as_call
def warmup_linear(
    peak_value: ArrayLike,
    total_steps: ArrayLike,
    *,
    warmup_steps: ArrayLike,
    init_value: ArrayLike = 0.0,
    end_value: ArrayLike = 0.0,
) -> Schedule:
    """Linear warmup, then a straight line down to the end.

    ``f(step) = init_value + (peak_value - init_value) * step / warmup_steps`` in the warmup, then
    ``end_value + (peak_value - end_value) * (total_steps - step) / (total_steps - warmup_steps)``; ``end_value`` from
    ``total_steps`` on.

    Args:
        peak_value: Rate at ``warmup_steps``, a non-negative scalar.
        total_steps: Steps of the whole run, warmup included.
        warmup_steps: Steps of the warmup; 0 starts at the peak.
        init_value: Rate at step 0.
        end_value: Rate at ``total_steps`` and after it.

    Returns:
        A schedule: steps of any shape to float32 of that shape.

    Raises:
        ValueError: Where a value is out of range, or the warmup is longer than the run.

    Example:
        >>> from lrjax.schedules import warmup_linear
        >>> schedule = warmup_linear(1e-3, 1000, warmup_steps=100)
        >>> print([round(float(schedule(step)), 6) for step in (0, 50, 100, 550, 1000)])
        [0.0, 0.0005, 0.001, 0.0005, 0.0]

    Source: Goyal et al., arXiv:1706.02677; to zero, Bergsma et al., arXiv:2502.15938.
    """
    return _warmup_then("warmup_linear", "linear", peak_value, total_steps, warmup_steps, init_value, end_value)


def _warmup_then(
    call: str,
    shape: str,
    peak_value: ArrayLike,
    total_steps: ArrayLike,
    warmup_steps: ArrayLike,
    init_value: ArrayLike,
    end_value: ArrayLike,
) -> Curve:
    peak = _checks.number(call, "peak_value", peak_value, low=0)
    total = _checks.count(call, "total_steps", total_steps, low=1)
    warmup = _checks.count(call, "warmup_steps", warmup_steps)
    init = _checks.number(call, "init_value", init_value, low=0)
    end = _checks.number(call, "end_value", end_value, low=0)
    _checks.at_most(call, "warmup_steps", warmup, "total_steps", total)
    return Curve(_rise_and_fall, (peak, total, warmup, init, end), (shape,))


def _rise_and_fall(
    position: Position,
    peak: jax.Array,
    total: jax.Array,
    warmup: jax.Array,
    init: jax.Array,
    end: jax.Array,
    shape: str,
) -> jax.Array:
    return through(position, [whole(0), whole(warmup), whole(total)], [init, peak, end], ["linear", shape])
