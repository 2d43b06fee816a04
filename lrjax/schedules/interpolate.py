"""Through given points."""

from __future__ import annotations

from collections.abc import Sequence

import jax
from jax.typing import ArrayLike

from lrjax import _checks
from lrjax.schedules._curve import Curve, prints_as_call, through
from lrjax.schedules._pairs import whole
from lrjax.schedules._position import Position
from lrjax.schedules._shapes import ShapeLike, checked_shape
from lrjax.typing import Schedule


@prints_as_call
def interpolate(
    boundaries: Sequence[ArrayLike], values: Sequence[ArrayLike], *, shape: ShapeLike = "linear"
) -> Schedule:
    """The curve through given points, held before the first and after the last.

    ``f(boundaries[i]) = values[i]``; between two of them
    ``f(step) = values[i + 1] + (values[i] - values[i + 1]) * fall(q)``.

    Args:
        boundaries: Steps of the points, not decreasing; of equal ones the later counts, which is a jump.
        values: One non-negative value for every boundary.
        shape: ``fall``: a name or a function as ``decay`` in :func:`wsd`.

    Returns:
        A schedule: steps of any shape to float32 of that shape.

    Raises:
        ValueError: Where the two lengths differ, there is no point, or the boundaries decrease.

    Example:
        >>> from lrjax.schedules import interpolate
        >>> schedule = interpolate([0, 10, 30], [0.0, 0.1, 0.02])
        >>> print([round(float(schedule(step)), 3) for step in (0, 5, 10, 20, 30, 99)])
        [0.0, 0.05, 0.1, 0.06, 0.02, 0.02]
    """
    knots = _checks.counts("interpolate", "boundaries", boundaries)
    heights = _checks.numbers("interpolate", "values", values, low=0)
    if not knots:
        _checks.refuse("interpolate", "boundaries", "at least one step", "none")
    if len(heights) != len(knots):
        _checks.refuse("interpolate", "values", f"one for each of the {len(knots)} boundaries", str(len(heights)))
    _checks.not_decreasing("interpolate", "boundaries", knots)
    return Curve(_interpolate, (knots, heights), (checked_shape("interpolate", "shape", shape),))


def _interpolate(
    position: Position, knots: tuple[jax.Array, ...], heights: tuple[jax.Array, ...], shape: ShapeLike
) -> jax.Array:
    return through(position, [whole(knot) for knot in knots], heights, [shape] * (len(knots) - 1))
