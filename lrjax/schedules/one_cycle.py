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
