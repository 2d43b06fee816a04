"""One rise and one fall."""

from __future__ import annotations

import jax
from jax.typing import ArrayLike

from lrjax import _checks
from lrjax.schedules._curve import Curve, prints_as_call, through
from lrjax.schedules._pairs import add, as_float, multiply, real, whole
from lrjax.schedules._position import Position
from lrjax.schedules._shapes import ShapeLike, checked_shape
from lrjax.typing import Schedule


@prints_as_call
def one_cycle(
    peak_value: ArrayLike,
    total_steps: ArrayLike,
    *,
    peak_fraction: ArrayLike = 0.3,
    div_factor: ArrayLike = 25.0,
    final_div_factor: ArrayLike = 1e4,
    anneal: ShapeLike = "cosine",
    three_phase: bool = False,
) -> Schedule:
    """A rise to the peak at a fraction of the run and a fall far below the start.

    From ``init = peak_value / div_factor`` at step 0 to ``peak_value`` at ``peak_fraction * total_steps`` (not
    rounded) to ``init / final_div_factor`` at ``total_steps``; with ``three_phase`` back to ``init`` at
    ``2 * peak_fraction * total_steps`` first.

    Args:
        peak_value: Highest rate, a non-negative scalar.
        total_steps: Steps of the whole run.
        peak_fraction: Where in the run the peak lies, 0 to 1 (to 0.5 with ``three_phase``).
        div_factor: The peak over the first rate.
        final_div_factor: The first rate over the last.
        anneal: Shape of every phase: a name or a function as ``decay`` in :func:`wsd`.
        three_phase: Whether the fall mirrors the rise before it goes below the start.

    Returns:
        A schedule: steps of any shape to float32 of that shape.

    Raises:
        ValueError: Where a value is out of range.

    Example:
        >>> import lrjax
        >>> schedule = lrjax.one_cycle(0.1, 1000)
        >>> print([round(float(schedule(step)), 7) for step in (0, 300, 1000)])
        [0.004, 0.1, 4e-07]

    Source: Smith and Topin, arXiv:1708.07120; two phases and factors as in fastai and ``torch.optim.lr_scheduler``,
    whose ends lie one step earlier.
    """
    peak = _checks.number("one_cycle", "peak_value", peak_value, low=0)
    total = _checks.count("one_cycle", "total_steps", total_steps, low=1)
    three_phase = _checks.flag("one_cycle", "three_phase", three_phase)
    fraction = _checks.number("one_cycle", "peak_fraction", peak_fraction, low=0, high=0.5 if three_phase else 1)
    first_factor = _checks.number("one_cycle", "div_factor", div_factor, above=0)
    last_factor = _checks.number("one_cycle", "final_div_factor", final_div_factor, above=0)
    shape = checked_shape("one_cycle", "anneal", anneal)
    return Curve(_one_cycle, (peak, total, fraction, first_factor, last_factor), (shape, three_phase))


def _one_cycle(
    position: Position,
    peak: jax.Array,
    total: jax.Array,
    fraction: jax.Array,
    first_factor: jax.Array,
    last_factor: jax.Array,
    anneal: ShapeLike,
    three_phase: bool,  # noqa: FBT001
) -> jax.Array:
    init = as_float(peak) / as_float(first_factor)
    end = init / as_float(last_factor)
    peak_at = multiply(real(fraction), whole(total))
    if three_phase:
        knots = [whole(0), peak_at, add(peak_at, peak_at), whole(total)]
        return through(position, knots, [init, peak, init, end], [anneal] * 3)
    return through(position, [whole(0), peak_at, whole(total)], [init, peak, end], [anneal] * 2)


@prints_as_call
def one_cycle_momentum(
    total_steps: ArrayLike,
    *,
    max_value: ArrayLike = 0.95,
    base_value: ArrayLike = 0.85,
    peak_fraction: ArrayLike = 0.3,
    anneal: ShapeLike = "cosine",
    three_phase: bool = False,
) -> Schedule:
    """The momentum that goes with :func:`one_cycle`: low where the rate is high.

    From ``max_value`` at step 0 to ``base_value`` at ``peak_fraction * total_steps`` and back to ``max_value``, at
    ``total_steps`` or, with ``three_phase``, at ``2 * peak_fraction * total_steps``, where it stays.

    Args:
        total_steps: Steps of the whole run.
        max_value: Momentum at the start and the end, 0 to 1.
        base_value: Momentum at the peak of the rate, 0 to 1.
        peak_fraction: Where in the run that peak lies, as in :func:`one_cycle`.
        anneal: Shape of every phase, as in :func:`one_cycle`.
        three_phase: As in :func:`one_cycle`.

    Returns:
        A schedule: steps of any shape to float32 of that shape.

    Raises:
        ValueError: Where a value is out of range.

    Example:
        >>> from lrjax.schedules import one_cycle_momentum
        >>> print([round(float(one_cycle_momentum(1000)(step)), 3) for step in (0, 300, 1000)])
        [0.95, 0.85, 0.95]

    Source: Smith and Topin, arXiv:1708.07120.
    """
    total = _checks.count("one_cycle_momentum", "total_steps", total_steps, low=1)
    high = _checks.number("one_cycle_momentum", "max_value", max_value, low=0, high=1)
    low = _checks.number("one_cycle_momentum", "base_value", base_value, low=0, high=1)
    three_phase = _checks.flag("one_cycle_momentum", "three_phase", three_phase)
    most = 0.5 if three_phase else 1
    fraction = _checks.number("one_cycle_momentum", "peak_fraction", peak_fraction, low=0, high=most)
    shape = checked_shape("one_cycle_momentum", "anneal", anneal)
    return Curve(_one_cycle_momentum, (total, high, low, fraction), (shape, three_phase))


def _one_cycle_momentum(
    position: Position,
    total: jax.Array,
    high: jax.Array,
    low: jax.Array,
    fraction: jax.Array,
    anneal: ShapeLike,
    three_phase: bool,  # noqa: FBT001
) -> jax.Array:
    trough = multiply(real(fraction), whole(total))
    back = add(trough, trough) if three_phase else whole(total)
    return through(position, [whole(0), trough, back], [high, low, high], [anneal] * 2)


@prints_as_call
def slanted_triangular(
    peak_value: ArrayLike, total_steps: ArrayLike, *, cut_fraction: ArrayLike = 0.1, ratio: ArrayLike = 32.0
) -> Schedule:
    """A short straight rise and a long straight fall back to where it began.

    From ``peak_value / ratio`` at step 0 to ``peak_value`` at ``cut_fraction * total_steps`` (not rounded) and back
    at ``total_steps``.

    Args:
        peak_value: Highest rate, a non-negative scalar.
        total_steps: Steps of the whole run.
        cut_fraction: Where in the run the peak lies, 0 to 1.
        ratio: The peak over the first and last rate.

    Returns:
        A schedule: steps of any shape to float32 of that shape.

    Raises:
        ValueError: Where a value is out of range.

    Example:
        >>> from lrjax.schedules import slanted_triangular
        >>> schedule = slanted_triangular(0.032, 100)
        >>> print([round(float(schedule(step)), 4) for step in (0, 10, 55, 100)])
        [0.001, 0.032, 0.0165, 0.001]

    Source: Howard and Ruder, arXiv:1801.06146, where the peak's step is rounded down.
    """
    peak = _checks.number("slanted_triangular", "peak_value", peak_value, low=0)
    total = _checks.count("slanted_triangular", "total_steps", total_steps, low=1)
    cut = _checks.number("slanted_triangular", "cut_fraction", cut_fraction, low=0, high=1)
    ratio = _checks.number("slanted_triangular", "ratio", ratio, above=0)
    return Curve(_one_cycle, (peak, total, cut, ratio, 1.0), ("linear", False))
