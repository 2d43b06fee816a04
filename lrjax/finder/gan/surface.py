"""The answer of a range test of a GAN: the lowest place of a surface over both rates."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lrjax.finder.gan.answers import GanCurves, GanSuggestion
from lrjax.finder.gan.balance import GAN_REMEDIES, distance_from_balance

WINDOW = 1.0
"""Standard deviation of the window in decades of either rate."""

REACH = 5
"""A test speaks for runs of about so many times its steps."""

SAME = 1e-6
"""Logarithms that differ by less are of one value."""


class Heights(NamedTuple):
    """What lanes are judged by; smaller is better."""

    objective: str
    """``"metric"`` or ``"balance"``."""
    measured: np.ndarray
    """``[K, R]``; NaN where a lane was lost or dropped."""
    start: float
    """The metric before any step; NaN where it was not measured."""
    is_logarithmic: bool
    values: np.ndarray
    """``[K, R]`` without NaN: a lane that was lost, or ended worse than it began, counts as ended where it began; a
    lost one as the worst of the others where that was not measured. By its logarithm where all are positive."""

    @property
    def of_pairs(self) -> np.ndarray:
        """``[K]``, the mean of the seeds that were not lost, geometric where all are positive; NaN without any."""
        known = np.log(self.measured) if self.is_logarithmic else self.measured
        means = np.array([pair[~np.isnan(pair)].mean() if not np.isnan(pair).all() else np.nan for pair in known])
        return np.exp(means) if self.is_logarithmic else means


def heights(result: GanCurves) -> Heights:
    """The last reading of the metric, or the distance from balance where there is no metric."""
    start = np.nan
    if result.validation_losses.shape[-1]:
        objective, readings = "metric", result.validation_losses.astype(np.float64)
        measured, first = readings[..., -1], readings[..., 0]
        if result.validation_steps[0] == 0 and len(result.validation_steps) > 1 and np.isfinite(first).any():
            start = float(first[np.isfinite(first)].mean())
    else:
        objective, measured = "balance", distance_from_balance(result.signals)
    measured = np.where(np.isfinite(measured), measured, np.nan)
    worst = np.nanmax(measured, initial=-np.inf) if np.isnan(start) else start
    values = np.fmin(measured, worst)
    is_logarithmic = bool(values.min() > 0 and np.isfinite(values).all())
    return Heights(objective, measured, start, is_logarithmic, np.log(values) if is_logarithmic else values)


def smoothed(rates: np.ndarray, values: np.ndarray) -> np.ndarray:
    """At every pair ``k`` of the rates ``[K, 2]`` the value of a quadratic that is fitted to the pairs around it.

    ``sum_j w[j] * (values[j] - quadratic(log10(rates[j] / rates[k])))**2`` with ``w[j] = exp(-|log10(rates[j] /
    rates[k])|**2 / 2)``: a lucky lane among worse neighbours is not believed, and the edge of the grid is neither
    favoured nor shunned.
    """
    powers = np.log10(rates) / WINDOW
    fitted = np.empty(len(values))
    for k, center in enumerate(powers):
        g, d = (powers - center).T
        root = np.exp(-(g**2 + d**2) / 4)
        terms = np.stack([np.ones_like(g), g, d, g * g, g * d, d * d], axis=1)
        fitted[k] = np.linalg.lstsq(terms * root[:, None], values * root)[0][0]
    return fitted


def surface_answer(result: GanCurves) -> GanSuggestion:
    """The pair with the lowest smoothed mean over the seeds."""
    rates = np.stack([result.generator_learning_rates, result.discriminator_learning_rates], axis=1)
    known = heights(result)
    if np.isnan(known.measured).all():
        advice = "Every lane was lost, so test lower rates, or look for the fault in the data or the losses."
        return _no_answer(rates, known.objective, advice)
    if not (np.isnan(known.start) or (known.measured < known.start).any()):
        advice = "No pair brought the metric below its start, so test other rates or take more steps."
        return _no_answer(rates, known.objective, advice)
    best = int(smoothed(rates, known.values.mean(axis=1)).argmin())
    alone = rates[[best, *(int(smoothed(rates, seed).argmin()) for seed in known.values.T)]]
    scales, ratios = np.sqrt(alone.prod(axis=1)), alone[:, 1] / alone[:, 0]
    edge = _about_edge(result, best)
    reach = f"It speaks for runs of up to about {REACH * result.steps_done:,} steps; longer ones prefer smaller ratios."
    return GanSuggestion(
        generator_learning_rate=float(rates[best, 0]),
        discriminator_learning_rate=float(rates[best, 1]),
        scale_low=float(scales.min()),
        scale_high=float(scales.max()),
        ratio_low=float(ratios.min()),
        ratio_high=float(ratios.max()),
        objective=known.objective,
        at_boundary=bool(edge),
        reason=f"{_why(result, known, best, scales, ratios)}{edge}. {reach}",
    )


def _no_answer(rates: np.ndarray, objective: str, reason: str) -> GanSuggestion:
    """The pair of the smallest scale, where the lanes carry no answer."""
    generator, discriminator = map(float, rates[rates.prod(axis=1).argmin()])
    scale, ratio = (generator * discriminator) ** 0.5, discriminator / generator
    return GanSuggestion(
        generator, discriminator, scale, scale, ratio, ratio, objective, at_boundary=True, reason=reason
    )


def _why(result: GanCurves, known: Heights, best: int, scales: np.ndarray, ratios: np.ndarray) -> str:
    """How low the best pair is, what its seeds say, and whether something is wrong with it."""
    at, height = f"Scale {scales[0]:.3g} at ratio {ratios[0]:.3g}", f"{known.of_pairs[best]:.3g}"
    if known.objective == "metric":
        parts = [f"{at} lies lowest on the smoothed surface (metric {height} after {result.steps_done:,} steps)"]
    else:
        signals = ", ".join(result.signals).replace("_", " ")
        parts = [f"{at} is closest to balance ({height} by {signals}), a weak sign beside a metric, so give evaluate="]
    seeds = len(scales) - 1
    if seeds == 1:
        parts.append("one seed gives no interval, so give seeds= for one")
    else:
        alone = f"scales {_span(scales)} and ratios {_span(ratios)}"
        answers = "all answer it" if len(set(zip(scales, ratios, strict=True))) == 1 else f"answer {alone}"
        parts.append(f"its {seeds} seeds alone {answers}, though they share the batches")
    words, counts = np.unique(result.status[best], return_counts=True)
    worst = str(words[counts.argmax()])
    if worst in GAN_REMEDIES or worst == "diverged":
        parts.append(f"its lanes ended {worst!r}, so look at their samples first")
    return "; ".join(parts)


def _span(numbers: np.ndarray) -> str:
    """``low to high``, or the one number."""
    low, high = (f"{number:.3g}" for number in (numbers.min(), numbers.max()))
    return low if low == high else f"{low} to {high}"


def _about_edge(result: GanCurves, best: int) -> str:
    """Which way to extend the grid, empty where the answer lies inside."""
    advice = []
    for name in result.axes or ("scales", "ratios"):
        numbers = np.log(getattr(result, name))
        value, called = f"{getattr(result, name)[best]:.3g}", name.replace("_", " ")
        if np.ptp(numbers) < SAME:
            continue
        if numbers[best] > numbers.max() - SAME:
            advice.append(f"; that is the largest of {called}, so extend them beyond {value}")
        elif numbers[best] < numbers.min() + SAME:
            advice.append(f"; that is the smallest of {called}, so extend them below {value}")
    return "".join(advice)
