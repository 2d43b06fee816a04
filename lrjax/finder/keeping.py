"""Which lanes go on: all of them, those still finite, or at every rung the better ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from lrjax import _checks

CHECKS = 10
"""Evenly spaced numbers of updates after which lanes that are not finite are dropped."""


@dataclass(frozen=True)
class Halving:
    """Keep the better part of the lanes at each of some rungs, so that most updates go to the best ones.

    Rung ``r`` of ``rungs`` lies after ``steps * fraction**(rungs - r)`` updates. Of the ``n`` lanes left, the
    ``ceil(fraction * n)`` with the lowest value go on: the validation there, or without one the mean of the last tenth
    of the updates; in a range test the mean over the seeds, so that a rate is kept or dropped as a whole.
    Lanes that are not finite go first.

    A rate that wins in the long run may trail early on, and the sooner so the fewer updates come before a rung:
    the ranking is safer on the training loss than on a validation loss that is about to turn.

    Args:
        fraction: The part that is kept at each rung, more than 0 and less than 1.
        rungs: How many times lanes are compared.

    Raises:
        TypeError: Where an argument is of the wrong kind.
        ValueError: Where a number is out of range.

    Example:
        >>> from lrjax.finder import Halving
        >>> Halving(fraction=0.5, rungs=2).at(100)
        [25, 50]

    Source: Jamieson and Talwalkar, arXiv:1502.07943; Li et al., arXiv:1810.05934.
    """

    fraction: float = 0.5
    rungs: int = 4

    def __post_init__(self) -> None:
        """Check the numbers."""
        fraction = _checks.number("Halving", "fraction", self.fraction, above=0, below=1)
        object.__setattr__(self, "fraction", float(fraction))
        object.__setattr__(self, "rungs", _checks.count("Halving", "rungs", self.rungs, low=1))

    def at(self, steps: int) -> list[int]:
        """The numbers of updates after which lanes are compared, in a run of ``steps``; rungs that coincide are one."""
        places = (round(steps * self.fraction**power) for power in range(self.rungs, 0, -1))
        return sorted({place for place in places if 0 < place < steps})

    def kept(self, scores: np.ndarray) -> np.ndarray:
        """Which of the ``scores``, ``[n]``, are among the lowest; equal ones by their order."""
        order = np.argsort(np.where(np.isfinite(scores), scores, np.inf), kind="stable")
        kept = np.zeros(len(scores), bool)
        kept[order[: math.ceil(self.fraction * len(scores))]] = True
        return kept


Keep: TypeAlias = Literal["finite", "all"] | Halving


def checked(call: str, keep: Any) -> Keep:
    """``keep`` as the user may give it."""
    if isinstance(keep, Halving):
        return keep
    known = ("finite", "all")
    if not isinstance(keep, str):
        _checks.refuse_type(call, "keep", "'finite', 'all' or Halving(...)", keep)
    if keep not in known:
        _checks.refuse(call, "keep", "'finite', 'all' or Halving(...)", repr(keep))
    return keep  # type: ignore[return-value]


def drop_checks(keep: Keep, steps: int) -> list[int]:
    """Numbers of updates after which lanes that are not finite are dropped."""
    if keep == "all":
        return []
    return sorted({round(steps * part / CHECKS) for part in range(1, CHECKS)} - {0, steps})
