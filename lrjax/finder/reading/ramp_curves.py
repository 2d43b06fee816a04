"""What is made of the losses along a ramp: the smoothed curve, and where it has run away."""

from __future__ import annotations

import numpy as np

WARM_IN = 10
"""A ramp's part, one in so many steps, within which it is never stopped."""

LEAST_WARM_IN = 5

RESOLUTION = float(np.finfo(np.float32).eps)
"""The relative difference below which two losses are the same but for rounding."""


def smoothed_change(losses: np.ndarray, smoothing: float) -> np.ndarray:
    """The smoothed losses less the first loss, on the last axis, in float64.

    ``m[i] = smoothing * m[i - 1] + (1 - smoothing) * (losses[i] - losses[0])``, from ``m[-1] = 0``, over its weights'
    sum ``1 - smoothing**(i + 1)``. Less the first loss, so that a shift of all losses changes no digit.
    """
    with np.errstate(invalid="ignore", over="ignore"):  # lost losses
        change = losses.astype(np.float64) - losses[..., :1]
        smoothed: np.ndarray = np.empty_like(change)
        mean: np.ndarray = np.zeros(change.shape[:-1])
        for i in range(change.shape[-1]):
            mean = smoothing * mean + (1 - smoothing) * change[..., i]
            smoothed[..., i] = mean / (1 - smoothing ** (i + 1))
    return smoothed


def finite_count(losses: np.ndarray) -> int:
    """How many losses come before the first that is not finite; they are ``[S]``."""
    lost = np.flatnonzero(~np.isfinite(losses))
    return int(lost[0]) if lost.size else len(losses)


def stopped_at(losses: np.ndarray, smoothing: float, stop_factor: float | None) -> int:
    """The first step at which a ramp's loss has run away, -1 where it has not; ``losses`` are ``[S]``.

    The first ``i > w`` with ``smoothed[i] - best > stop_factor * spread``, where ``best`` is the smallest smoothed loss
    so far, ``spread`` the range of the raw losses up to its step or to ``w``, whichever is later, and
    ``w = max(S // 10, 5)``. The spread holds the fall as well as the noise between batches, so that neither a first
    loss that happens to be low nor a loss that has not moved yet ends a ramp, and it does not depend on where the loss
    has its zero. It counts as no smaller than the rounding of the losses.
    """
    count = finite_count(losses)
    warm_in = max(losses.shape[-1] // WARM_IN, LEAST_WARM_IN)
    if stop_factor is None or count <= warm_in:
        return -1
    raw = losses[:count].astype(np.float64)
    smoothed = smoothed_change(raw, smoothing)
    best = np.minimum.accumulate(smoothed)
    steps = np.arange(count)
    at_best = np.maximum.accumulate(np.where(smoothed == best, steps, 0))
    upto = np.maximum(at_best, warm_in)
    spread = np.maximum.accumulate(raw)[upto] - np.minimum.accumulate(raw)[upto]
    rounding = RESOLUTION * np.maximum.accumulate(np.abs(raw))
    ran_away = (steps > warm_in) & (smoothed - best > stop_factor * np.maximum(spread, rounding))
    return int(ran_away.argmax()) if ran_away.any() else -1
