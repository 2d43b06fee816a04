"""What an answer is read from: the curves of a test, by an objective."""

from __future__ import annotations

from typing import Any, Protocol, TypeGuard

import numpy as np

from lrjax import _checks

OBJECTIVES = ("validation", "training")


class Curves(Protocol):
    """The part of a range test that an answer is read from."""

    @property
    def learning_rates(self) -> np.ndarray:
        """The rates, ``[K]``."""

    @property
    def losses(self) -> np.ndarray:
        """Training losses, ``[K, R, S]``, NaN once a lane is lost."""

    @property
    def validation_losses(self) -> np.ndarray:
        """Validation losses, ``[K, R, V]``, NaN once a lane is lost; V is 0 without validation."""


class Ramp(Protocol):
    """The part of a ramp test that an answer is read from."""

    @property
    def learning_rates(self) -> np.ndarray:
        """The rate of every update, ``[S]``, rising."""

    @property
    def losses(self) -> np.ndarray:
        """Training losses, ``[R, S]``, NaN once a seed is lost."""

    @property
    def validation_steps(self) -> np.ndarray:
        """The updates that came before each validation, ``[V]``."""

    @property
    def validation_losses(self) -> np.ndarray:
        """Validation losses, ``[R, V]``, NaN once a seed is lost; V is 0 without validation."""

    @property
    def spacing(self) -> str:
        """``"exponential"`` or ``"linear"``."""

    @property
    def smoothing(self) -> float:
        """The part of the smoothed loss that is carried over from one step to the next."""

    @property
    def stopped_at(self) -> np.ndarray:
        """The step at which a rival would have stopped, ``[R]``, -1 where it would not."""


def is_ramp(result: Any) -> TypeGuard[Ramp]:
    """Whether a result is of one run with a rising rate for every seed."""
    return hasattr(result, "stopped_at")


def checked_objective(call: str, result: Any, objective: str | None, kinds: str = "a RangeTest") -> str:
    """The loss to read a result by: the one asked for, else validation where it was measured."""
    if not all(hasattr(result, name) for name in ("learning_rates", "losses", "validation_losses")):
        _checks.refuse_type(call, "result", kinds, result)
    has_validation = result.validation_losses.shape[-1] > 0
    if objective is None:
        objective = "validation" if has_validation else "training"
    _checks.choice(call, "objective", objective, OBJECTIVES)
    if objective == "validation" and not has_validation:
        _checks.refuse(call, "objective", "'training' for a result without validation", repr(objective))
    return objective


def by_rate(result: Curves, objective: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rates rising, ``[K]``, with the ``start_and_final`` of their lanes."""
    order = np.argsort(result.learning_rates)
    losses = (result.losses if objective == "training" else result.validation_losses)[order]
    return result.learning_rates[order], *start_and_final(losses, objective)


def start_and_final(losses: np.ndarray, objective: str) -> tuple[np.ndarray, np.ndarray]:
    """The loss at the start, ``[R]``, and the loss that each lane ended with, ``[K, R]``, NaN where it was lost.

    ``losses`` are ``[K, R, S or V]`` with the rates rising. All rates start alike; where the first validation came
    after some updates, the smallest rate that was finite then stands for the start.
    """
    losses = np.where(np.isfinite(losses), losses, np.nan).astype(np.float64)
    first = losses[:, :, 0]
    earliest = np.isfinite(first).argmax(axis=0)
    start = np.take_along_axis(first, earliest[None], axis=0)[0]
    return start, last_tenth(losses).mean(axis=-1) if objective == "training" else losses[:, :, -1]


def last_tenth(losses: np.ndarray) -> np.ndarray:
    """The last tenth of the steps, at least one, on the last axis."""
    return losses[..., -max(1, round(losses.shape[-1] / 10)) :]
