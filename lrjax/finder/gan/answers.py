"""Which pair of rates a test of a GAN speaks for, and how far to trust it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, TypeGuard

import numpy as np


@dataclass(frozen=True)
class GanSuggestion:
    """A pair of learning rates, and how far to trust it.

    Attributes:
        generator_learning_rate: The generator's.
        discriminator_learning_rate: The discriminator's.
        scale_low: The smallest scale, the geometric mean of both rates, that a seed taken by itself answers.
        scale_high: The largest.
        ratio_low: The smallest ratio, the discriminator's rate over the generator's, that a seed answers.
        ratio_high: The largest.
        objective: What it makes small, ``"metric"`` or ``"balance"``.
        at_boundary: Whether the answer is at the edge of what was tested.
        reason: Why this pair, or what to do where the test carries no answer; and how far it reaches.
    """

    generator_learning_rate: float
    discriminator_learning_rate: float
    scale_low: float
    scale_high: float
    ratio_low: float
    ratio_high: float
    objective: str
    at_boundary: bool
    reason: str

    @property
    def scale(self) -> float:
        """The geometric mean of both rates."""
        return float(np.sqrt(self.generator_learning_rate * self.discriminator_learning_rate))

    @property
    def ratio(self) -> float:
        """The discriminator's rate over the generator's."""
        return self.discriminator_learning_rate / self.generator_learning_rate


class GanCurves(Protocol):
    """The part of the result of a ``gan_range_test`` that an answer is read from."""

    @property
    def generator_learning_rates(self) -> np.ndarray:
        """``[K]``."""

    @property
    def discriminator_learning_rates(self) -> np.ndarray:
        """``[K]``."""

    @property
    def scales(self) -> np.ndarray:
        """``[K]``."""

    @property
    def ratios(self) -> np.ndarray:
        """``[K]``."""

    @property
    def axes(self) -> dict[str, np.ndarray]:
        """The values of each axis of the grid, by the attribute that has it for every pair."""

    @property
    def signals(self) -> dict[str, np.ndarray]:
        """The signals of balance, ``[K, R, S]`` each."""

    @property
    def validation_steps(self) -> np.ndarray:
        """``[V]``."""

    @property
    def validation_losses(self) -> np.ndarray:
        """``[K, R, V]``."""

    @property
    def status(self) -> np.ndarray:
        """``[K, R]``."""

    @property
    def steps_done(self) -> int:
        """GAN steps done."""


class GanRamp(Protocol):
    """The part of the result of a ``gan_ramp_test`` that an answer is read from."""

    @property
    def ratio(self) -> float:
        """The discriminator's rate over the generator's."""

    @property
    def scales(self) -> np.ndarray:
        """The geometric mean of both rates at every step, ``[S]``."""

    @property
    def warmup_steps(self) -> int:
        """Steps before the ramp."""

    @property
    def validation_steps(self) -> np.ndarray:
        """``[V]``."""

    @property
    def validation_losses(self) -> np.ndarray:
        """``[R, V]``."""


def is_ramp(result: Any) -> TypeGuard[GanRamp]:
    """Whether a result is of one run with rising rates for every seed."""
    return hasattr(result, "scales") and hasattr(result, "warmup_steps")


def is_range(result: Any) -> TypeGuard[GanCurves]:
    """Whether a result is of one run for every pair of rates and seed."""
    return hasattr(result, "generator_learning_rates") and hasattr(result, "signals") and not is_ramp(result)
