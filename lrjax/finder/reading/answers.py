"""What a rule answers, and the sentences that answers of several rules share."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Answer(NamedTuple):
    """A rate with its interval, and the sentence that says why."""

    learning_rate: float
    low: float
    high: float
    at_boundary: bool
    reason: str


def no_answer(smallest: float, reason: str) -> Answer:
    """The smallest rate, the safest one, where the data carry no answer."""
    return Answer(smallest, smallest, smallest, at_boundary=True, reason=reason)


def none_fell(rates: np.ndarray, start: np.ndarray, final: np.ndarray) -> str:
    """What to do where no lane of a range test ended below its start."""
    if not np.isfinite(start).any():
        return "The loss is not finite before any update, so look for the fault in the data, the model or loss_fn."
    unmoved = (final == start).any(axis=1)
    if not unmoved.any():
        return f"Every rate was lost or ended above its start, so test rates below {rates[0]:.3g} or take more steps."
    largest = rates[unmoved].max()
    return f"No rate brought the loss down, so test rates above {largest:.3g}, closer together, or take more steps."


def about_seeds(seeds: int, low: float, high: float) -> str:
    """What the interval is worth."""
    if seeds == 1:
        return "one seed gives no interval, so give seeds= for one"
    answers = f"all answer {low:.3g}" if low == high else f"answer {low:.3g} to {high:.3g}"
    return f"its {seeds} seeds alone {answers}, which covers initialisation only, as they share the batches"


def about_edge(rates: np.ndarray, answer: float, best: int) -> str:
    """Which way to extend the rates of a range test, empty where both the answer and the best lie inside."""
    if len(rates) == 1:
        return "; it is the only rate tested, so test more around it"
    if best == len(rates) - 1:
        return f"; the best is the largest rate tested, so extend the rates beyond {rates[-1]:.3g}"
    if answer <= rates[0]:
        place = "is the smallest rate" if answer == rates[0] else "lies below the rates"
        return f"; it {place} tested, so extend the rates below {rates[0]:.3g}"
    return ""
