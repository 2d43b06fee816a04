"""Which learning rate a test of many rates speaks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lrjax import _checks

TOLERANCE = 0.02
"""The part of the way from the best loss to the loss at the start that still counts as best."""

RULES = ("auto",)
OBJECTIVES = ("validation", "training")


class Curves(Protocol):
    """The part of a result that an answer is read from."""

    @property
    def learning_rates(self) -> np.ndarray:
        """The rates, ``[K]``."""

    @property
    def losses(self) -> np.ndarray:
        """Training losses, ``[K, R, S]``, NaN once a lane is lost."""

    @property
    def validation_losses(self) -> np.ndarray:
        """Validation losses, ``[K, R, V]``, NaN once a lane is lost; V is 0 without validation."""


@dataclass(frozen=True)
class Suggestion:
    """A learning rate, and how far to trust it.

    Attributes:
        learning_rate: The answer.
        low: The smallest answer of the seeds taken one by one (and of all together).
        high: The largest.
        rule: The rule that answered.
        objective: The loss that it makes small, ``"validation"`` or ``"training"``.
        at_boundary: Whether the answer, or the best rate, is at the edge of the rates tested.
        reason: One sentence: why this rate, or what to do where the test carries no answer.
    """

    learning_rate: float
    low: float
    high: float
    rule: str
    objective: str
    at_boundary: bool
    reason: str


def suggest(result: Curves, rule: str = "auto", objective: str | None = None) -> Suggestion:
    """The smallest rate that is nearly as good as the best.

    ``min {rate : (L(rate) - L_best) / (L_start - L_best) <= 0.02}``, with ``L`` the mean over the seeds of the final
    loss: the last validation loss, or the mean of the last tenth of the training losses. A lane that was lost, or that
    ended above its start, counts as ended at its start. The interval comes from the same rule on each seed alone.

    Args:
        result: What ``range_test`` returned.
        rule: ``"auto"``, the rule above.
        objective: ``"validation"`` or ``"training"``; by default validation where the result has it.

    Returns:
        The suggestion. A test that carries no answer gives one too, whose reason says what to do.

    Raises:
        TypeError: Where an argument is of the wrong kind.
        ValueError: Where the rule or the objective is unknown, or validation is asked for and was not measured.

    Example:
        >>> import jax.numpy as jnp, numpy as np, optax
        >>> from lrjax.finder import range_test, suggest
        >>> def loss_fn(params, batch):
        ...     return jnp.mean((batch @ params - 1.0) ** 2)
        >>> batches = np.ones((20, 4, 2), np.float32)
        >>> result = range_test(loss_fn, jnp.zeros(2), batches, optax.sgd, [0.001, 0.01, 0.1, 1.0])
        >>> print(suggest(result).learning_rate)
        0.1

    Source: the rule of the lowest regret among those measured for lrjax on short parallel tests.
    """
    objective = checked_objective("suggest", result, objective)
    _checks.choice("suggest", "rule", rule, RULES)
    rates, start, final = by_rate(result, objective)
    started = np.isfinite(start)
    if not (final < start).any():
        smallest = float(rates[0])
        reason = _advice(rates, start, final)
        return Suggestion(smallest, smallest, smallest, rule, objective, at_boundary=True, reason=reason)

    start, final = start[started], np.fmin(final, start)[:, started]
    mean = final.mean(axis=1)
    answer, best = _smallest_near_best(final, start), int(mean.argmin())
    improving = (final < start).any(axis=0)
    alone = [_smallest_near_best(final[:, [seed]], start[[seed]]) for seed in np.flatnonzero(improving)]
    low, high = rates[min([answer, *alone])], rates[max([answer, *alone])]
    at_boundary = answer == 0 or best in (0, len(rates) - 1)
    reason = (
        f"{rates[answer]:.3g} is the smallest rate within {TOLERANCE:.0%} of the best final {objective} loss "
        f"({mean[best]:.3g} at {rates[best]:.3g}, from {start.mean():.3g} at the start)"
        f"; {_about_seeds(start.size, low, high)}{_about_edge(rates, answer, best)}."
    )
    return Suggestion(float(rates[answer]), float(low), float(high), rule, objective, at_boundary, reason)


def checked_objective(call: str, result: Curves, objective: str | None) -> str:
    """The loss to read a result by: the one asked for, else validation where it was measured."""
    if not all(hasattr(result, name) for name in ("learning_rates", "losses", "validation_losses")):
        _checks.refuse_type(call, "result", "a RangeTest", result)
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


def _smallest_near_best(final: np.ndarray, start: np.ndarray) -> int:
    """The first rate whose mean over the seeds is within the tolerance of the smallest."""
    mean = final.mean(axis=1)
    return int(np.argmax(mean - mean.min() <= TOLERANCE * (start.mean() - mean.min())))


def _about_seeds(seeds: int, low: float, high: float) -> str:
    """What the interval is worth."""
    if seeds == 1:
        return "one seed gives no interval, so give seeds= for one"
    answers = f"all answer {low:.3g}" if low == high else f"answer {low:.3g} to {high:.3g}"
    return f"its {seeds} seeds alone {answers}, which covers initialisation only, as they share the batches"


def _about_edge(rates: np.ndarray, answer: int, best: int) -> str:
    """Which way to extend the rates, empty where both rates lie inside."""
    if len(rates) == 1:
        return "; it is the only rate tested, so test more around it"
    if best == len(rates) - 1:
        return f"; the best is the largest rate tested, so extend the rates beyond {rates[-1]:.3g}"
    if answer == 0:
        return f"; it is the smallest rate tested, so extend the rates below {rates[0]:.3g}"
    return ""


def _advice(rates: np.ndarray, start: np.ndarray, final: np.ndarray) -> str:
    """What to do where no lane ended below its start."""
    if not np.isfinite(start).any():
        return "The loss is not finite before any update, so look for the fault in the data, the model or loss_fn."
    unmoved = (final == start).any(axis=1)
    if not unmoved.any():
        return f"Every rate was lost or ended above its start, so test rates below {rates[0]:.3g} or take more steps."
    largest = rates[unmoved].max()
    return f"No rate brought the loss down, so test rates above {largest:.3g}, closer together, or take more steps."
