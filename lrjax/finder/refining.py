"""``learning_rates="auto"``: which rates to test next, given what those before did.

A coarse grid over all rates that anyone uses comes first. Where its best lies at an edge, the grid is extended there;
then what is left of the budget goes into the basin around the best. All stages run on the same batches with the same
seeds, so that they merge into one range test.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from lrjax import _checks
from lrjax.finder.curves import by_rate, checked_objective
from lrjax.finder.merge import merge
from lrjax.finder.result import RangeTest, counted
from lrjax.finder.suggest import suggest

RATES = 16
"""Rates that are paid for where no budget is given."""

BUDGET = 5760
"""The most lane-steps by default where the number of steps is not given either: 16 rates, 3 seeds, 120 steps."""

COARSE_LOWEST, COARSE_HIGHEST = 1e-6, 10.0
"""The first and the last rate of the coarse grid."""

COARSE_SPACING = 1.0
"""Decades between rates of the coarse grid, and of what extends it; more where the coarse share pays for fewer."""

COARSE_SHARE = 0.5
"""The part of the rates that the coarse grid may take."""

COARSE_FEWEST = 5
"""Rates that the coarse grid takes whatever its share; a budget for fewer is refused."""

EXTENSION = 2
"""Rates added beyond an edge at a time."""

BASIN_TOLERANCE = 0.02
"""The part of the way from the best loss to the loss at the start within which neighbours of the best are its basin."""

FINE_SPACING = 0.1
"""The smallest distance between rates, in decades; where a basin is filled, its surroundings are refined."""

FINE_STAGES = 1
"""Stages over which the refinement is spread; each looks for the basin anew."""

_LIMITS = (np.log10(float(np.finfo(np.float32).tiny)), np.log10(float(np.finfo(np.float32).max)))


def affordable(call: str, budget: int | None, steps: int | None, seeds: int, length: int | None) -> tuple[int, int]:
    """Updates of a lane, and how many rates can be paid for.

    Args:
        call: The function that the user called.
        budget: Lane-steps, or None.
        steps: Updates of a lane, or None.
        seeds: How many there are.
        length: How many batches there are, None where they do not say.
    """
    if budget is not None:
        budget = _checks.count(call, "budget", budget, low=1)
    if steps is None:
        steps = max(1, (BUDGET if budget is None else budget) // (RATES * seeds))
        steps = steps if length is None else min(steps, length)
    else:
        steps = int(_checks.count(call, "steps", steps, low=1))
    rates = RATES if budget is None else budget // (seeds * steps)
    if rates < COARSE_FEWEST:
        least = f"{COARSE_FEWEST} rates x {seeds} seeds x {steps} steps, {COARSE_FEWEST * seeds * steps:,} lane-steps"
        _checks.refuse(call, "budget", f"at least {least}", f"{budget:,}")
    return steps, rates


def searched(run: Callable[[np.ndarray, int], RangeTest], most: int) -> RangeTest:
    """Stages of rates until ``most`` have been tested, merged into one result with its rates rising.

    Args:
        run: ``run(rates, stage)``: the range test of distinct rates, with the same seeds, steps and batches each time.
        most: Rates in all stages together.
    """
    stages = [run(10.0 ** _coarse(most), 0)]
    whole, left, fine_stages = stages[0], most - len(stages[0].learning_rates), FINE_STAGES
    while left and fine_stages and _is_readable(whole):
        powers, low, high = _bracket(whole)
        added = _beyond(powers, low, high)[:left]
        if not len(added):
            added = _between(powers, low, high, -(-left // fine_stages))
            fine_stages -= 1
        if not len(added):
            break
        stage = run(10.0**added, len(stages))
        if stage.steps_done != whole.steps_done:
            note = f"A further stage ended after {stage.steps_done} steps and is left out. {stage.note}"
            whole = replace(whole, note=f"{whole.note} {note}".strip())
            break
        stages.append(stage)
        whole = merge([whole, stage])
        left -= len(added)
    return _rising(replace(whole, note=f"{_summary(stages)} {whole.note}".strip()))


def _coarse(most: int) -> np.ndarray:
    """The coarse grid, as powers of ten."""
    low, high = np.log10([COARSE_LOWEST, COARSE_HIGHEST])
    full = round((high - low) / COARSE_SPACING) + 1
    return np.linspace(low, high, min(full, max(COARSE_FEWEST, round(COARSE_SHARE * most))))


def _is_readable(result: RangeTest) -> bool:
    """Whether the loss is finite before any update, without which no rate is better than another."""
    return bool(np.isfinite(_read(result)[1]).any())


def _read(result: RangeTest) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rates rising, ``[K]``, the losses at the start, ``[R]``, and at the end, ``[K, R]``, as ``suggest`` does."""
    return by_rate(result, checked_objective("range_test", result, None))


def _bracket(result: RangeTest) -> tuple[np.ndarray, int, int]:
    """The rates as powers of ten, ``[K]``, and the places next to the basin of the best; -1 or K beyond an edge."""
    rates, start, final = _read(result)
    powers, count = np.log10(rates), len(rates)
    if not (final < start).any():  # the basin, if there is one, is between the rates too small and those too large
        unmoved = final[0] + np.abs(final[0] - start)  # apart from what batches differ by
        too_small = np.flatnonzero((final <= unmoved).any(axis=1)).max(initial=-1)
        return powers, int(too_small), int(too_small) + 1
    start, final = start[np.isfinite(start)], np.fmin(final, start)[:, np.isfinite(start)]
    mean = final.mean(axis=1)
    near = mean - mean.min() <= BASIN_TOLERANCE * (start.mean() - mean.min())
    best = first = last = int(mean.argmin())
    while first and near[first - 1]:
        first -= 1
    while last < count - 1 and near[last + 1]:
        last += 1
    answer = np.searchsorted(rates, suggest(result).learning_rate, side="right") - 1
    first = min(first, int(answer))
    return powers, first - 1, count if best == count - 1 else min(last + 1, count - 1)


def _beyond(powers: np.ndarray, low: int, high: int) -> np.ndarray:
    """Powers of ten beyond an edge where the basin is not enclosed."""
    if low >= 0 and high < len(powers):
        return np.zeros(0)
    edge, direction = (powers[-1], 1) if high == len(powers) else (powers[0], -1)
    added = [edge + direction * COARSE_SPACING * place for place in range(1, EXTENSION + 1)]
    return np.array([power for power in added if _LIMITS[0] < power < _LIMITS[1]])


def _between(powers: np.ndarray, low: int, high: int, count: int) -> np.ndarray:
    """So many powers of ten between these places, evenly spaced; around them too where they would be too close."""
    gaps, parts = np.diff(powers), np.ones(len(powers) - 1, int)
    places = np.arange(len(gaps))
    while parts.sum() - len(gaps) < count:
        inside = (places >= low) & (places < high)
        widest = int(np.where(inside, gaps / parts, 0.0).argmax())
        if inside.any() and gaps[widest] / (parts[widest] + 1) >= FINE_SPACING * (1 - 1e-6):
            parts[widest] += 1
        elif inside.all():
            break
        else:
            low, high = low - 1, high + 1
    added = [
        power + gap * np.arange(1, number) / number for power, gap, number in zip(powers, gaps, parts, strict=False)
    ]
    return np.concatenate(added)


def _rising(result: RangeTest) -> RangeTest:
    """The result with its rates in rising order."""
    order = np.argsort(result.learning_rates)
    names = ("learning_rates", "losses", "validation_losses", "status", "lost_at")
    schedules = tuple(result.schedules[place] for place in order if result.schedules)
    return replace(result, schedules=schedules, **{name: getattr(result, name)[order] for name in names})


def _summary(stages: list[RangeTest]) -> str:
    """What was run, as a sentence."""
    spans = [(len(rates), rates.min(), rates.max()) for rates in (stage.learning_rates for stage in stages)]
    parts = [f"{counted(number, 'rate')} from {low:.3g} to {high:.3g}" for number, low, high in spans]
    lanes = sum(stage.status.size for stage in stages)
    spent = sum(stage.status.size * stage.steps_done for stage in stages)
    return f"learning_rates='auto' tested {', then '.join(parts)}: {lanes} lanes, {spent:,} lane-steps."
