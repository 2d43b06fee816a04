"""The rivals' rules on a range test, whose points are runs of their own."""

from __future__ import annotations

import numpy as np

from lrjax.finder.reading.answers import Answer, about_edge, about_seeds, no_answer
from lrjax.finder.reading.rules import Curve, Rule


def range_answer(rule: Rule, rates: np.ndarray, start: np.ndarray, final: np.ndarray, objective: str) -> Answer:
    """A rule on the mean over the seeds, with the interval from each seed alone.

    Nothing is cut off at either end, as no point has a history; a lane that was lost, or that ended above its start,
    counts as ended at its start. Losses are read less the start, so that a shift of all of them changes no digit.

    Args:
        rule: Which.
        rates: ``[K]``, rising; those that are equal in float32 are averaged.
        start: ``[R]``, the loss before any update; NaN where it is not finite.
        final: ``[K, R]``, the loss that each lane ended with; NaN where it was lost. At least one is below its start.
        objective: What loss that is, for the reason.
    """
    _, first = np.unique(rates.astype(np.float32), return_index=True)
    rates = rates[first]
    started = np.isfinite(start)
    change = np.fmin(final[:, started] - start[started], 0.0)
    change = np.add.reduceat(change, first) / np.diff([*first, len(change)])[:, None]

    def found(losses: np.ndarray) -> int | None:
        return rule.find(Curve(_positions(rates), losses, 0.0))

    mean = change.mean(axis=1)
    together, best = found(mean), int(mean.argmin())
    if together is None:
        return no_answer(float(rates[0]), rule.missing)
    alone = [found(seed) for seed in change.T if seed.any()]
    points = [together, *(point for point in alone if point is not None)]
    rate, low, high = (rule.factor * float(rates[point]) for point in (together, min(points), max(points)))
    last = len(rates) - 1
    beyond = f"; the loss has not risen at the largest rate tested, so extend the rates beyond {rates[-1]:.3g}"
    advice = beyond if best < together == last else about_edge(rates, rate, best)
    reason = (
        f"{rate:.3g} is {rule.text.format(loss=f'final {objective} loss', factor=rule.factor)}"
        f"; {about_seeds(change.shape[1], low, high)}{advice}."
    )
    at_boundary = rate <= rates[0] or together == last or best in (0, last)
    return Answer(rate, low, high, bool(at_boundary), reason)


def _positions(rates: np.ndarray) -> np.ndarray:
    """The logarithms of the rates, in units of their mean distance."""
    logs: np.ndarray = np.log(rates)
    return logs if len(logs) == 1 else logs * (len(logs) - 1) / (logs[-1] - logs[0])
