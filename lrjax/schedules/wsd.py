"""Warmup, stable, decay."""

from __future__ import annotations

import jax
from jax.typing import ArrayLike

from lrjax import _checks
from lrjax.schedules._curve import Curve, prints_as_call, through
from lrjax.schedules._pairs import subtract, whole
from lrjax.schedules._position import Position
from lrjax.schedules._shapes import ShapeLike, checked_shape
from lrjax.typing import Schedule


@prints_as_call
def wsd(
    peak_value: ArrayLike,
    total_steps: ArrayLike,
    *,
    warmup_steps: ArrayLike,
    decay_steps: ArrayLike,
    decay: ShapeLike = "1-sqrt",
    init_value: ArrayLike = 0.0,
    end_value: ArrayLike = 0.0,
) -> Schedule:
    """Warmup, a stable phase at the peak, and a cooldown at the end of the run.

    ``f(step) = init_value + (peak_value - init_value) * step / warmup_steps`` in the warmup, ``peak_value`` until
    ``total_steps - decay_steps``, then ``end_value + (peak_value - end_value) * fall(q)`` with
    ``q = (step - total_steps + decay_steps) / decay_steps``; ``end_value`` from ``total_steps`` on.

    Args:
        peak_value: Rate of the stable phase, a non-negative scalar.
        total_steps: Steps of the whole run, warmup and cooldown included.
        warmup_steps: Steps of the warmup; 0 starts at the peak.
        decay_steps: Steps of the cooldown (optax's ``decay_steps`` are ``total_steps`` here).
        decay: ``fall``: ``"linear"``, ``"cosine"``, ``"1-sqrt"``, ``"exponential"``, ``"inverse"``, ``"square"``,
            ``"mirror_cosine"``, or a function of q in [0, 1] that goes from 1 to 0.
        init_value: Rate at step 0.
        end_value: Rate at ``total_steps`` and after it.

    Returns:
        A schedule: steps of any shape to float32 of that shape.

    Raises:
        ValueError: Where a value is out of range, or warmup and cooldown are longer than the run.

    Example:
        >>> import lrjax
        >>> schedule = lrjax.wsd(1e-3, 1000, warmup_steps=100, decay_steps=200, decay="linear")
        >>> print([round(float(schedule(step)), 6) for step in (0, 50, 100, 800, 900, 1000)])
        [0.0, 0.0005, 0.001, 0.001, 0.0005, 0.0]

    Source: MiniCPM, arXiv:2404.06395; cooldown shapes, Hägele et al., arXiv:2405.18392.
    """
    peak = _checks.number("wsd", "peak_value", peak_value, low=0)
    total = _checks.count("wsd", "total_steps", total_steps, low=1)
    warmup = _checks.count("wsd", "warmup_steps", warmup_steps)
    cooldown = _checks.count("wsd", "decay_steps", decay_steps)
    init = _checks.number("wsd", "init_value", init_value, low=0)
    end = _checks.number("wsd", "end_value", end_value, low=0)
    _checks.at_most("wsd", "warmup_steps", warmup, "total_steps", total)
    _checks.at_most("wsd", "decay_steps", cooldown, "total_steps - warmup_steps", total, warmup)
    return Curve(_wsd, (peak, total, warmup, cooldown, init, end), (checked_shape("wsd", "decay", decay),))


def _wsd(
    position: Position,
    peak: jax.Array,
    total: jax.Array,
    warmup: jax.Array,
    cooldown: jax.Array,
    init: jax.Array,
    end: jax.Array,
    decay: ShapeLike,
) -> jax.Array:
    decay_start = subtract(whole(total), whole(cooldown))
    knots = [whole(0), whole(warmup), decay_start, whole(total)]
    return through(position, knots, [init, peak, peak, end], ["linear", "hold", decay])
