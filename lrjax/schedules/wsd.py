"""Warmup, stable, decay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

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


@prints_as_call
def wsd_cycles(
    peak_value: ArrayLike,
    cycle_ends: Sequence[ArrayLike],
    *,
    warmup_steps: ArrayLike,
    decay_steps: ArrayLike,
    decay: ShapeLike = "inverse",
    init_value: ArrayLike = 0.0,
    end_value: ArrayLike = 0.0,
) -> Schedule:
    """Several cooldowns in one run: each leaves a checkpoint, and the next cycle goes on from it at the peak.

    ``f(step) = wsd(step - start)`` in the cycle from one of the ``cycle_ends`` to the next; only the first warms up,
    and each of the others is at ``peak_value`` from its first step.

    Args:
        peak_value: Rate of the stable phases, a non-negative scalar.
        cycle_ends: The steps at which a cooldown is over, increasing; the last is the end of the run.
        warmup_steps: Steps of the one warmup.
        decay_steps: Steps of every cooldown.
        decay: ``fall``, as in :func:`wsd`.
        init_value: Rate at step 0.
        end_value: Rate at which a cooldown ends.

    Returns:
        A schedule: steps of any shape to float32 of that shape.

    Raises:
        ValueError: Where a value is out of range, the ends do not increase, or a cycle is shorter than its phases.

    Example:
        >>> from lrjax.schedules import wsd_cycles
        >>> schedule = wsd_cycles(1e-3, [100, 300], warmup_steps=10, decay_steps=20, end_value=1e-4)
        >>> print([round(float(schedule(step)), 5) for step in (0, 10, 90, 100, 290, 300)])
        [0.0, 0.001, 0.00018, 0.001, 0.00018, 0.0001]

    Source: WSD-S, Wen et al., arXiv:2410.05192.
    """
    ends = _checks.counts("wsd_cycles", "cycle_ends", cycle_ends, low=1)
    if not ends:
        _checks.refuse("wsd_cycles", "cycle_ends", "at least one step", "none")
    _checks.not_decreasing("wsd_cycles", "cycle_ends", ends)
    peak = _checks.number("wsd_cycles", "peak_value", peak_value, low=0)
    warmup = _checks.count("wsd_cycles", "warmup_steps", warmup_steps)
    cooldown = _checks.count("wsd_cycles", "decay_steps", decay_steps)
    init = _checks.number("wsd_cycles", "init_value", init_value, low=0)
    end = _checks.number("wsd_cycles", "end_value", end_value, low=0)
    shape = checked_shape("wsd_cycles", "decay", decay)
    _checks.at_most("wsd_cycles", "warmup_steps", warmup, "cycle_ends[0]", ends[0])
    _checks.at_most("wsd_cycles", "decay_steps", cooldown, "cycle_ends[0] - warmup_steps", ends[0], warmup)
    for i in range(1, len(ends)):
        bound = f"cycle_ends[{i}] - cycle_ends[{i - 1}]"
        _checks.at_most("wsd_cycles", "decay_steps", cooldown, bound, ends[i], ends[i - 1])
    return Curve(_wsd_cycles, (peak, ends, warmup, cooldown, init, end), (shape,))


def _wsd_cycles(
    position: Position,
    peak: jax.Array,
    ends: tuple[jax.Array, ...],
    warmup: jax.Array,
    cooldown: jax.Array,
    init: jax.Array,
    end: jax.Array,
    decay: ShapeLike,
) -> jax.Array:
    knots, values, shapes = [whole(0), whole(warmup)], [init, peak], [cast("ShapeLike", "linear")]
    for i, cycle_end in enumerate(ends):
        # Two knots on the same step are a jump: the cooldown's end, and the peak that follows it.
        restart = [] if i == 0 else [whole(ends[i - 1])]
        knots += [*restart, subtract(whole(cycle_end), whole(cooldown)), whole(cycle_end)]
        values += [peak] * len(restart) + [peak, end]
        shapes += ["hold"] * len(restart) + ["hold", decay]
    return through(position, knots, values, shapes)
