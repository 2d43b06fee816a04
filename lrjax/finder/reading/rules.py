"""The rules by which finders read one curve of losses over rates, as pure functions of the curve.

| rule | answer | where it is known from |
|---|---|---|
| ``steepest`` | the steepest descent on the way to the minimum | ignite, torch-lr-finder; fastai's ``steep`` |
| ``valley`` | halfway down the longest descent | fastai |
| ``slide`` | where a window slid down from the largest rate finds its two slopes alike | fastai |
| ``minimum`` | a tenth of the rate of the minimum | fastai |
| ``one_decade_below`` | a tenth of the rate from which on the loss rises | practitioners' reading of the plot |
| ``edge`` | a fraction of the rate up to which the loss stays below its start | the theory of stability |

Slopes are over the points' ``positions``: on a ramp its steps, as the finders above have it, which on an exponential
ramp is the logarithm of the rate, and in a range test the logarithm of the rate. Lightning's slope over the raw rate,
which on an exponential ramp favours small rates, is not offered.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

WINDOW = 15
"""The number of points between the two slopes that ``slide`` compares."""

SLIDE_TOLERANCE = 0.005
"""The difference of slopes, in units of the loss a point, up to which ``slide`` takes them for equal."""

RISE = 0.05
"""The part of its fall by which the loss stands above its minimum where it is said to rise."""


BEGUN = 0.01
"""The part of its whole fall by which the loss has fallen where the descent of ``begun_valley`` begins."""


class Curve(NamedTuple):
    """Losses at rising rates; N of each, at least one, all finite."""

    positions: np.ndarray
    """Strictly rising; 1 apart in the mean."""
    losses: np.ndarray
    start: float
    """The loss before any update, or where the curve begins."""


def steepest(curve: Curve) -> int:
    """Where the loss falls steepest before its minimum.

    ``argmin(gradient(losses)[1:e])``, with ``e`` the index of the minimum and central differences, as ignite has it;
    where fewer than three points lead to the minimum, ``argmin`` over all points, the ends included, which is
    torch-lr-finder's rule.
    """
    if len(curve.losses) == 1:
        return 0
    slopes = np.gradient(curve.losses, curve.positions)
    lowest = int(curve.losses.argmin())
    return int(slopes.argmin() if lowest < 2 else 1 + slopes[1:lowest].argmin())


def valley(curve: Curve) -> int:
    """Halfway down the longest descent.

    With ``d[i] = 1 + max(d[j] : j < i, losses[j] > losses[i])`` the length of the longest strictly falling subsequence
    that ends at ``i``, ``e`` the first index where it is largest, and ``start = e - d[e]``:
    ``start + d[e] // 3 + d[e] // 6``, at least 0. As fastai has it.
    """
    lowest_ends: list[float] = []  # of the falling subsequences of every length, negated
    longest, end = 0, 0
    for i, loss in enumerate(-curve.losses):
        length = bisect_left(lowest_ends, loss) + 1
        lowest_ends[length - 1 : length] = [loss]
        if length > longest:
            longest, end = length, i
    return max(0, end - longest + longest // 3 + longest // 6)


def begun_valley(curve: Curve) -> int:
    """The valley of what comes after the loss has fallen by 1% of its whole fall.

    The valley counts points, so that on a curve without noise, such as a validation loss, which falls a little at every
    rate, however small, it depends on where the rates begin.
    """
    fall = curve.losses[0] - curve.losses.min()
    begin = int(np.argmax(curve.losses <= curve.losses[0] - BEGUN * fall))
    return begin + valley(curve._replace(positions=curve.positions[begin:], losses=curve.losses[begin:]))


def slide(curve: Curve) -> int | None:
    """The last left end of a window that slides down from the largest rate while the slopes at its ends differ.

    ``r, l = -1, -16``, then while ``l >= -N`` and ``|slope[r] - slope[l]| > 0.005``: the answer is ``l``, and both go
    one to the left. As fastai has it; None for fewer than 16 points, where there is no window.
    """
    first_left = len(curve.losses) - WINDOW - 1
    if first_left < 0:
        return None
    slopes = np.gradient(curve.losses, curve.positions)
    alike = np.flatnonzero(np.abs(slopes[WINDOW:] - slopes[:-WINDOW]) <= SLIDE_TOLERANCE)  # by the left end
    return min(int(alike[-1]) + 1, first_left) if alike.size else 0


def minimum(curve: Curve) -> int:
    """The smallest loss."""
    return int(curve.losses.argmin())


def rise(curve: Curve) -> int:
    """The last rate, from the minimum on, before the loss rises.

    It rises where it stands more than 5% of its fall above its minimum, the fall being ``start - minimum``. The last of
    all where it never does.
    """
    lowest = int(curve.losses.argmin())
    above = curve.losses[lowest:] - curve.losses[lowest]
    fall = max(curve.start - curve.losses[lowest], 0.0)
    return lowest + _first(above > RISE * fall) - 1


def edge(curve: Curve) -> int | None:
    """The largest rate up to which, from that of the minimum on, the loss stays below its start; None if it never is.

    A diagnostic of where training breaks, not of where it is best: a ReLU network under cross-entropy rarely breaks.
    """
    lowest = int(curve.losses.argmin())
    last = lowest + _first(curve.losses[lowest:] >= curve.start) - 1
    return last if last >= lowest else None


def _first(condition: np.ndarray) -> int:
    """The index of the first that holds, or the length where none does."""
    return int(condition.argmax()) if condition.any() else len(condition)


class Rule(NamedTuple):
    """A rule, and how it is spoken of."""

    find: Callable[[Curve], int | None]
    """The point that the rule finds, None where the curve has no such point."""
    factor: float
    """What the rate of that point is multiplied with."""
    text: str
    """What the answer is, with places for the loss and the factor."""
    cuts_end: bool
    """Whether the last points of a ramp are left out."""
    missing: str = ""
    """Why the curve has no such point, and what to do."""


RULES = {
    "steepest": Rule(steepest, 1.0, "where the {loss} falls steepest", cuts_end=True),
    "valley": Rule(valley, 1.0, "halfway down the longest descent of the {loss}", cuts_end=True),
    "slide": Rule(
        slide,
        1.0,
        "where a window that slides down from the largest rate finds the slopes of the {loss} alike",
        cuts_end=True,
        missing=f"Slide needs slopes {WINDOW} points apart, so test at least {WINDOW + 1} rates or name another rule.",
    ),
    "minimum": Rule(minimum, 0.1, "a tenth of the rate of the lowest {loss}", cuts_end=True),
    "one_decade_below": Rule(rise, 0.1, "one decade below the rate at which the {loss} starts to rise", cuts_end=False),
    "edge": Rule(
        edge,
        0.5,
        "{factor:.3g} of the largest rate up to which the {loss} stays below its start",
        cuts_end=False,
        missing="The loss is nowhere below its start, so test smaller rates or take more steps.",
    ),
}
"""By name; the factor of the edge is a default."""

AUTO_OF_RAMPS = Rule(
    begun_valley,
    1.0,
    "halfway down the longest descent of the {loss} from where it has begun to fall",
    cuts_end=True,
)
