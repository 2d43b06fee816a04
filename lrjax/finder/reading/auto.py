"""The rule "auto" of a range test."""

from __future__ import annotations

import numpy as np

from lrjax.finder.reading.answers import Answer, about_edge, about_seeds

TOLERANCE = 0.01
"""The part of the way from the best loss to the loss at the start that still counts as best."""


def auto(rates: np.ndarray, start: np.ndarray, final: np.ndarray, objective: str) -> Answer:
    """The smallest rate that is nearly as good as the best.

    ``min {rate : (L(rate) - L_best) / (L_start - L_best) <= 0.01}``, with ``L`` the mean over the seeds of the final
    loss. A lane that was lost, or that ended above its start, counts as ended at its start.

    Args:
        rates: ``[K]``, rising.
        start: ``[R]``, the loss before any update; NaN where it is not finite.
        final: ``[K, R]``, the loss that each lane ended with; NaN where it was lost. At least one is below its start.
        objective: What loss that is, for the reason.
    """
    started = np.isfinite(start)
    change = np.fmin(final[:, started] - start[started], 0.0)
    mean = change.mean(axis=1)
    answer, best = _smallest_near_best(mean), int(mean.argmin())
    alone = [_smallest_near_best(seed) for seed in change.T if seed.any()]
    low, high = rates[min([answer, *alone])], rates[max([answer, *alone])]
    at_boundary = answer == 0 or best in (0, len(rates) - 1)
    at_start = start[started].mean()
    reason = (
        f"{rates[answer]:.3g} is the smallest rate within {TOLERANCE:.0%} of the best final {objective} loss "
        f"({at_start + mean[best]:.3g} at {rates[best]:.3g}, from {at_start:.3g} at the start)"
        f"; {about_seeds(change.shape[1], low, high)}{about_edge(rates, rates[answer], best)}."
    )
    return Answer(float(rates[answer]), float(low), float(high), at_boundary, reason)


def _smallest_near_best(change: np.ndarray) -> int:
    """The first rate whose loss, less that at the start, is within the tolerance of the smallest."""
    return int(np.argmax(change - change.min() <= TOLERANCE * -change.min()))
