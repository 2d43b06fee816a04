"""The losses of a range test over rate and time: what a run of another length is read from."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

FIRST = 10
"""Updates before a reading counts: momentum and the averages of Adam still fill up."""

RATIO = 1.2
"""Between the steps of neighbouring readings of the training loss."""


class Run(NamedTuple):
    """The run that a rate is for.

    Attributes:
        steps: Its length.
        span: The sum of its schedule's multipliers; its steps where the rate is constant.
        is_as_tested: Whether it is that of the test's lanes, since nothing else was said.
    """

    steps: int
    span: float
    is_as_tested: bool


def run_of(result: Any, horizon: int | None) -> Run:
    """The run of so many steps; by default that which the test was told, else the schedule's, else the test's own."""
    total = len(result.multipliers)
    steps = horizon or result.horizon or total or result.steps_done
    span = steps / total * float(result.multipliers.sum()) if total else float(steps)
    is_told = horizon is not None or result.horizon is not None
    return Run(steps, span, not is_told and steps == result.steps_done)


class Surface(NamedTuple):
    """Readings of a range test.

    Attributes:
        rates: ``[K]``, rising.
        steps: ``[J]``, the updates before each reading, rising.
        progress: ``[J]``, the sum of the schedule's multipliers over those updates.
        start: The loss before any update, averaged over the seeds.
        changes: ``[K, R, J]``, the loss less that at the start, at most 0; 0 once a lane is lost, NaN where it was not
            read.
    """

    rates: np.ndarray
    steps: np.ndarray
    progress: np.ndarray
    start: float
    changes: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """Over the seeds, ``[K, J]``."""
        means: np.ndarray = self.changes.mean(axis=1)
        return means


def surface(result: Any, objective: str, start: np.ndarray) -> Surface:
    """The readings of a result, those of seeds whose loss is finite before any update.

    Where the test saw a schedule to its end, only what lanes ended with stands for what a run ends with.

    Args:
        result: A ``RangeTest``.
        objective: ``"validation"`` or ``"training"``.
        start: ``[R]``, the loss before any update.
    """
    order, started = np.argsort(result.learning_rates), np.isfinite(start)
    steps, losses = _validation(result) if objective == "validation" else _training(result)
    multipliers = result.multipliers
    progress = np.cumsum([0.0, *(multipliers if len(multipliers) else np.ones(result.steps_done))])[steps]
    complete = 0 < len(multipliers) <= result.steps_done
    read = (steps >= (result.steps_done if complete else min(FIRST, steps[-1]))) & (progress > 0)
    losses = losses[..., read]
    missing = np.where(result.status == "diverged", 0.0, np.nan)[..., None]
    changes = np.where(np.isfinite(losses), np.fmin(losses - start[:, None], 0.0), missing)
    rates, at_start = result.learning_rates[order], float(start[started].mean())
    return Surface(rates, steps[read], progress[read], at_start, changes[order][:, started])


def _validation(result: Any) -> tuple[np.ndarray, np.ndarray]:
    """When lanes were validated, and the losses."""
    return result.validation_steps, result.validation_losses.astype(np.float64)


def _training(result: Any) -> tuple[np.ndarray, np.ndarray]:
    """Evenly spaced moments in the logarithm of the steps, and the mean loss since shortly before each."""
    count = result.losses.shape[-1]
    powers = np.arange(int(np.log(max(count, 2)) / np.log(RATIO)) + 1)
    steps = np.unique(np.round(count / RATIO**powers).astype(int).clip(1))
    losses = np.where(np.isfinite(result.losses), result.losses, np.nan).astype(np.float64)
    sums = np.cumsum(np.pad(losses, [(0, 0), (0, 0), (1, 0)]), axis=-1)
    before = np.minimum(np.round(steps / RATIO).astype(int), steps - 1)
    return steps, (sums[..., steps] - sums[..., before]) / (steps - before)
