"""Which value of a second hyperparameter a grid test speaks for."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, TypeGuard

import numpy as np

from lrjax.finder.reading.curves import Curves

TOLERANCE = 0.02
"""The part of the way from the best score to the loss at the start that still counts as best."""

KERNEL = np.array([0.25, 0.5, 0.25])
"""How much a rate's neighbours say about it."""


class Grid(Curves, Protocol):
    """The part of a grid test that an answer is read from."""

    @property
    def name(self) -> str:
        """The hyperparameter other than the rate."""

    @property
    def values(self) -> np.ndarray:
        """Its values, ``[M]``."""

    def at(self, value: float) -> Curves:
        """The range test of a value."""

    def final(self, objective: str) -> tuple[np.ndarray, np.ndarray]:
        """The loss at the start, ``[R]``, and at the end, ``[K, M, R]``."""


class Choice(NamedTuple):
    """A value, and the sentence that says why."""

    value: float
    at_boundary: bool
    reason: str


def is_grid(result: Any) -> TypeGuard[Grid]:
    """Whether a result is of rates and one other hyperparameter."""
    return hasattr(result, "values") and hasattr(result, "at")


def chosen_value(grid: Grid, objective: str) -> Choice:
    """The first value, in the order given, that is about as good as the best.

    The score of a value is ``min_k sum_j kernel[j] * L[k + j]``, with ``L`` the mean over the seeds of its final
    losses: a rate counts with its neighbours, so that a lucky lane does not make a value look good, and a value that is
    good at many rates wins. Rates beyond the grid, lanes that were lost and those that ended above their start count as
    ended at their start. A value is about as good where its score is within 2% of the best, on the way from the start,
    or within the standard error of their difference over the seeds.
    """
    start, final = grid.final(objective)
    name, started = grid.name, np.isfinite(start)
    if not (final < start).any():
        return Choice(grid.values[0].item(), at_boundary=True, reason=f"No {name} tested is better than another.")
    order = np.argsort(grid.learning_rates)
    scores = _scores(start[started], np.fmin(final, start)[order][..., started])
    means = scores.mean(axis=1)
    best = int(means.argmin())
    apart = scores - scores[best]
    error = apart.std(axis=1, ddof=1) / np.sqrt(apart.shape[1]) if apart.shape[1] > 1 else np.zeros(len(means))
    is_good = means - means[best] <= np.fmax(TOLERANCE * (start[started].mean() - means[best]), error)
    first = int(is_good.argmax())
    value, edge = grid.values[first].item(), _edge(grid, best, is_good)
    why = f"the best one tested ({means[best]:.3g}, a rate and its neighbours taken together)"
    if first != best:
        why = f"the first one within {TOLERANCE:.0%} or the seeds' standard error of {grid.values[best]:.4g}, {why}"
    return Choice(value, bool(edge), f"That is with {name} {value:.4g}, {why}{edge}.")


def _scores(start: np.ndarray, final: np.ndarray) -> np.ndarray:
    """The score of each value on each seed, ``[M, R]``, of finals ``[K, M, R]`` with the rates rising."""
    beyond = np.broadcast_to(start, (1, *final.shape[1:]))
    padded = np.concatenate([beyond, final, beyond])
    windows = np.stack([padded[shift : shift + len(final)] for shift in range(len(KERNEL))])
    smooth = np.tensordot(KERNEL, windows, 1)
    best = smooth.mean(axis=-1).argmin(axis=0)
    scores: np.ndarray = smooth[best, np.arange(smooth.shape[1])]
    return scores


def _edge(grid: Grid, best: int, is_good: np.ndarray) -> str:
    """Which way to extend the values, empty where the best is inside or its neighbour is as good; 0 has none below."""
    order = np.argsort(grid.values)
    place = int(np.flatnonzero(order == best)[0])
    if len(order) == 1 or is_good[order[1 if place == 0 else place - 1]]:
        return ""
    value = grid.values[best]
    if place == len(order) - 1:
        return f"; that is the largest {grid.name} tested, so extend its values beyond {value:.4g}"
    if place == 0 and value != 0:
        return f"; that is the smallest {grid.name} tested, so extend its values below {value:.4g}"
    return ""
