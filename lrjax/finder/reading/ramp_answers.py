"""The rules on a ramp test: each seed's curve by itself, then the seeds together."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lrjax.finder.reading.answers import Answer, no_answer
from lrjax.finder.reading.curves import Ramp
from lrjax.finder.reading.ramp_curves import finite_count, smoothed_change
from lrjax.finder.reading.rules import Curve, Rule

FIRST = 10
"""One in so many steps is left out at the start of an exponential ramp, where nothing has happened yet."""

LAST = 5
"""Steps left out at its end, where the loss runs away."""

LEAST = 3
"""The fewest losses that make a curve."""

NOT_FINITE = "The loss is not finite before any update, so look for the fault in the data, the model or loss_fn."
TOO_FEW = "The ramp has fewer than 3 steps before its loss is lost or runs away, so lower min_value or take more steps."
TOO_FEW_VALIDATIONS = (
    "Fewer than 3 validations come before the loss is lost or runs away, so give more validation_steps, "
    "lower min_value, or read objective='training'."
)
FLAT = "No rate of the ramp changed the loss, so raise max_value or take more steps."

_STILL_FALLING = "; the loss has not risen at the largest rate, so raise max_value"
_NEVER_FELL = "; the loss does not fall below its start, so lower min_value or take more steps"
_OUTSIDE = "; that is not inside the ramp, so lower min_value"


class _Part(NamedTuple):
    """The part of a seed's ramp that can be read."""

    at: np.ndarray
    """The updates by whose rates the losses go, ``[N]``."""
    losses: np.ndarray
    """``[N]``."""
    end: int
    """The updates of the ramp that are read."""
    is_whole: bool
    """Whether these are all."""


def ramp_answer(rule: Rule, ramp: Ramp, objective: str) -> Answer:
    """The geometric mean of the seeds' answers, between the smallest and the largest of them.

    A seed's curve ends where the ramp was stopped (that step included) or lost. Training losses are smoothed;
    validation losses are not, and the one after ``v`` updates goes by the rate of update ``v - 1``, which made it.
    Of an exponential ramp the first tenth of the steps is left out and, by the rules that look for a descent, the last
    5, as the rivals do, wherever at least half of the points remain. A linear ramp, whose first tenth of steps holds
    most of its decades, is read whole. The loss at the start is the first that is read.
    """
    rates, advices, troubles = [], [], []
    for seed in range(len(ramp.losses)):
        part = _part(ramp, seed, objective)
        trouble = _trouble(part, objective)
        at, curve = (part.at, None) if trouble else _curve(rule, ramp, part)
        point = None if curve is None else rule.find(curve)
        if curve is None or point is None:
            troubles.append(trouble or rule.missing)
            continue
        rates.append(rule.factor * float(ramp.learning_rates[at[point]]))
        is_last = part.is_whole and (at[point] == part.at[-1] or part.losses.argmin() == len(part.losses) - 1)
        advices.append(_NEVER_FELL if curve.losses.min() >= curve.start else _STILL_FALLING if is_last else "")
    if not rates:
        order = [NOT_FINITE, TOO_FEW, TOO_FEW_VALIDATIONS, FLAT, rule.missing]
        return no_answer(float(ramp.learning_rates[0]), min(troubles, key=order.index))
    low, high = min(rates), max(rates)
    rate = float(np.clip(np.exp(np.mean(np.log(np.sort(rates)))), low, high))
    of_most = [advice for advice in (_NEVER_FELL, _STILL_FALLING) if 2 * advices.count(advice) > len(advices)]
    advice = of_most[0] if of_most else _OUTSIDE if rate <= ramp.learning_rates[0] else ""
    loss = "validation loss" if objective == "validation" else "smoothed training loss"
    text = rule.text.format(loss=loss, factor=rule.factor)
    reason = f"{rate:.3g} is {text}; {_about_seeds(len(ramp.losses), len(rates), low, high)}{advice}."
    return Answer(rate, low, high, bool(advice), reason)


def _part(ramp: Ramp, seed: int, objective: str) -> _Part:
    """What can be read of a seed."""
    steps = ramp.losses.shape[1]
    stop = int(ramp.stopped_at[seed])
    end = finite_count(ramp.losses[seed]) if stop < 0 else stop + 1
    if objective == "training":
        losses = smoothed_change(ramp.losses[seed, :end], ramp.smoothing)
        return _Part(np.arange(end), losses, end, is_whole=end == steps)
    values = ramp.validation_losses[seed, ramp.validation_steps <= end].astype(np.float64)
    values = values[: finite_count(values)]
    is_whole = end == steps and len(values) == len(ramp.validation_steps)
    made_at = ramp.validation_steps[: len(values)] - 1
    return _Part(made_at[made_at >= 0], values[made_at >= 0], end, is_whole)


def _trouble(part: _Part, objective: str) -> str:
    """Why a seed has no curve, empty where it has one."""
    if part.end == 0:
        return NOT_FINITE
    if len(part.losses) < LEAST:
        return TOO_FEW if objective == "training" else TOO_FEW_VALIDATIONS
    return FLAT if np.ptp(part.losses) == 0 else ""


def _curve(rule: Rule, ramp: Ramp, part: _Part) -> tuple[np.ndarray, Curve]:
    """What a rule reads of a part: the updates by whose rates the losses go, and the losses."""
    kept = np.ones(len(part.at), bool)
    if ramp.spacing == "exponential":
        last = part.end - LAST if rule.cuts_end else part.end
        inner = (part.at >= len(ramp.learning_rates) // FIRST) & (part.at < last)
        kept = inner if 2 * inner.sum() >= len(inner) else kept
    at, losses = part.at[kept], part.losses[kept]
    return at, Curve(at * (len(at) - 1) / (at[-1] - at[0]), losses, float(losses[0]))


def _about_seeds(seeds: int, answering: int, low: float, high: float) -> str:
    """What the interval is worth."""
    if seeds == 1:
        return "one seed gives no interval, so give seeds= for one"
    if answering == 1:
        return f"only one of {seeds} seeds carries an answer, which gives no interval"
    who = f"{seeds} seeds" if answering == seeds else f"those {answering} of {seeds} seeds that carry an answer"
    return f"the geometric mean of {who}, which answer {low:.3g} to {high:.3g}"
