"""The rule "auto" for a run of another length than its test: the rate that makes the progress of the best moment."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lrjax.finder.reading.answers import Answer, about_seeds
from lrjax.finder.reading.surface import Run, Surface

SPACING = 0.02
"""Decades between the rates that are considered."""

PROGRESS_WIDTH = 0.1
"""Decades of progress over which readings are averaged, the standard deviation of their weights."""

RATE_WIDTH = 0.12
"""Decades of rate, beyond the nearest lane's, over which the weight of a reading falls to 1/e."""

LIMIT = 1.0
"""Decades below the best rate at the latest moment, the least that is answered where the loss was still falling."""

END = 1.5
"""From the best moment to the end of its lane, the most for it to count as the end."""

FALLING_SPAN, FALLING_ERRORS = 2.5, 4.0
"""A loss is still falling where its slope over the steps since that part of them is negative by so many errors."""

CUTOFF = 2.0
"""Standard deviations beyond which a reading has no weight."""


class Found(NamedTuple):
    """What a surface says of a run: powers of ten, and where the best moment was."""

    power: float
    """Of the rate that answers."""
    latest: float
    """Of the rate that was best at the latest moment that the test and the run share."""
    lane: int
    moment: int
    is_falling: bool
    """Whether the test ended before the best moment of so long a run."""
    is_limited: bool
    """Whether the rate would otherwise be less."""


def transferred(surface: Surface, run: Run, objective: str) -> Answer:
    """The rate for a run of another length, from readings of lanes at equal progress.

    ``progress = rate * sum(multiplier(step))``, the sum over the steps so far, with ``multiplier`` the part that the
    schedule makes of the rate. Lanes of small rates pass through the same losses at equal progress, one sooner, one
    later. So ``L(rate) = average of the readings at progress rate * span``, the nearest rates weighing most; the answer
    is the smallest rate whose ``L`` is within its standard error of the lowest, among those up to the best rate at the
    latest moment that test and run share. Where the loss was still falling there, a tenth of that best rate is the
    least that is answered.

    Args:
        surface: What was read, when; at least one loss below its start.
        run: How long it is, and ``sum(multiplier(step))`` over it.
        objective: What loss it is, for the reason.
    """
    span = run.span
    found = _found(surface, surface.mean, span)
    alone = [_found(surface, seed, span) for seed in surface.changes.transpose(1, 0, 2) if (seed < 0).any()]
    powers = [found.power, *(seed.power for seed in alone)]
    rate, low, high = (float(10.0**power) for power in (found.power, min(powers), max(powers)))
    lowest, largest = surface.rates[0], surface.rates[-1]
    at_boundary = bool(
        found.latest <= np.log10(lowest) + SPACING / 2 or found.latest >= np.log10(largest) - SPACING / 2
    )
    moment, step = surface.rates[found.lane], int(surface.steps[found.moment])
    loss = surface.start + surface.mean[found.lane, found.moment]
    seen = f"({loss:.3g} at {moment:.3g} after {step:,} steps, from {surface.start:.3g} at the start)"
    falling = "the loss was still falling there, so a longer test may find a larger rate"
    if found.is_limited:
        reason = (
            f"{rate:.3g} is a tenth of the rate that was best at the end {seen}: {run.steps:,} steps are too many more "
            f"to say how much less is right; {falling}"
        )
    else:
        reason = (
            f"In {run.steps:,} steps {rate:.3g} makes the progress (rate x steps) at which the {objective} loss was "
            f"lowest, within its noise {seen}{f'; {falling}' if found.is_falling else ''}"
        )
    reason += f"; {about_seeds(surface.changes.shape[1], low, high)}"
    if at_boundary:
        beyond = f"beyond {largest:.3g}" if found.latest > np.log10(lowest) + SPACING else f"below {lowest:.3g}"
        reason += f"; the best is at the edge of the rates tested, so extend them {beyond}"
    return Answer(rate, low, high, at_boundary, reason + ".")


class _Readings(NamedTuple):
    """The readings of a surface, ``[N]`` each; rates and progress as powers of ten."""

    lanes: np.ndarray
    moments: np.ndarray
    rates: np.ndarray
    progress: np.ndarray
    losses: np.ndarray
    noise: np.ndarray
    """The variance of a reading, from how it stands out between its lane's neighbouring ones; NaN where it has none."""

    def weights(self, powers: np.ndarray, span: float) -> np.ndarray:
        """What each reading says of rates over such a run, ``[P, N]``: nothing where no lane has made the progress."""
        ahead = (self.progress - (powers + np.log10(span))[:, None]) / PROGRESS_WIDTH
        apart = np.abs(self.rates - powers[:, None]) / RATE_WIDTH
        near = np.abs(ahead) < CUTOFF
        nearest = np.where(near, apart, np.inf).min(axis=1, keepdims=True)
        return np.where(near, np.exp(-0.5 * ahead**2 - apart + np.where(np.isfinite(nearest), nearest, 0.0)), 0.0)

    def averages(self, powers: np.ndarray, span: float) -> np.ndarray:
        """The loss of each rate, ``[P]``, infinite where there is nothing to average."""
        weights = self.weights(powers, span)
        total = weights.sum(axis=1)
        return np.where(total > 0, weights @ self.losses / np.where(total > 0, total, 1.0), np.inf)

    def error(self, power: float, span: float) -> float:
        """The standard error of such an average."""
        weights = np.where(np.isfinite(self.noise), self.weights(np.array([power]), span)[0], 0.0)
        total = weights.sum()
        variance = np.sum(weights**2) / total**2 * (weights @ np.nan_to_num(self.noise)) / total if total > 0 else 0.0
        return float(np.sqrt(variance))


def _readings(surface: Surface, changes: np.ndarray) -> _Readings:
    """Those of ``changes [K, J]`` that are there."""
    second = changes[:, :-2] - 2 * changes[:, 1:-1] + changes[:, 2:]
    noise = np.full(changes.shape, np.nan)
    noise[:, 1:-1] = second**2 / 6
    lanes, moments = np.nonzero(np.isfinite(changes))
    rates = np.log10(surface.rates)[lanes]
    progress = rates + np.log10(surface.progress[moments])
    return _Readings(lanes, moments, rates, progress, changes[lanes, moments], noise[lanes, moments])


def _found(surface: Surface, changes: np.ndarray, span: float) -> Found:
    """The answer of readings ``[K, J]``."""
    readings = _readings(surface, changes)
    shared = min(float(surface.progress.max()), span)
    lowest, largest = np.log10(surface.rates[0] * shared / span), np.log10(surface.rates[-1])
    powers = np.append(np.arange(lowest, largest, SPACING), largest)

    latest = float(powers[readings.averages(powers, shared).argmin()])
    believed = np.where(powers <= latest, readings.averages(powers, span), np.inf)
    best = int(believed.argmin())
    near = believed <= believed[best] + readings.error(powers[best], span)
    power = float(powers[near.argmax()]) if np.isfinite(believed[best]) else latest
    place = int(readings.weights(np.array([power]), span)[0].argmax())
    lane, moment = int(readings.lanes[place]), int(readings.moments[place])
    own = readings.moments[readings.lanes == lane]
    is_last = surface.steps[own].max() <= END * surface.steps[moment] and span > surface.progress[moment]
    is_falling = bool(is_last and _is_falling(np.log(surface.steps[own]), changes[lane, own]))
    least = latest - LIMIT if is_falling else power
    return Found(max(power, least), latest, lane, moment, is_falling, power < least)


def _is_falling(times: np.ndarray, losses: np.ndarray) -> bool:
    """Whether a lane's loss, over the logarithm of its steps, falls at the end by more than it scatters."""
    recent = times >= times.max() - np.log(FALLING_SPAN)
    times, losses = times[recent] - times[recent].mean(), losses[recent] - losses[recent].mean()
    if len(times) < 4:  # too few to tell a fall from scatter
        return bool(losses[-1] <= losses.min())
    slope = times @ losses / (times @ times)
    error = np.sqrt(np.sum((losses - slope * times) ** 2) / (len(times) - 2) / (times @ times))
    return bool(slope < -FALLING_ERRORS * error)
