"""``learning_rates="auto"``: which rates to test next, and for how long, given what those before did.

A coarse grid over all rates that anyone uses comes first, for a few steps. Where its best lies at an edge, the grid is
extended there; then what is left of the budget goes into a few long lanes around the best: long ones see how far a run
can go before it overfits, which many short ones do not. All stages run on the same batches with the same seeds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from lrjax import _checks
from lrjax.finder import arguments
from lrjax.finder.merge import merge
from lrjax.finder.reading.curves import by_rate, checked_objective
from lrjax.finder.result import RangeTest, counted

BUDGET = 5760
"""Lane-steps by default: 16 rates, 3 seeds, 120 steps."""

RATES = 16
"""Rates of as many steps that are paid for where only the number of steps is given."""

COARSE_LOWEST, COARSE_HIGHEST = 1e-6, 10.0
"""The first and the last rate of the coarse grid, a rate for every decade."""

COARSE_STEPS, COARSE_FEWEST = 30, 5
"""The most updates of a coarse lane, and the fewest."""

COARSE_SHARE, EXTENDED_SHARE = 0.4, 0.6
"""The most of the budget that the coarse grid takes, and with what extends it."""

EXTENSION = 2
"""Rates added beyond an edge at a time."""

FINE_TOP, FINE_SPAN = 0.2, 1.2
"""Decades from the best of the coarse grid up to the largest fine rate, and from there down to the smallest."""

FINE_NARROWEST, FINE_WIDEST = 0.1, 0.8
"""Decades between fine rates, at least and at most."""

FINE_RATES, FINE_LONG = 3, 200
"""Fine rates, one fewer where they would otherwise run for fewer steps than this; more where lanes have a last step."""

READ_FROM, READ_RATIO = 10, 1.2
"""The first of the numbers of updates after which to validate by default, and from each to the next."""

_LIMITS = (np.log10(float(np.finfo(np.float32).tiny)), np.log10(float(np.finfo(np.float32).max)))


class Allocation(NamedTuple):
    """What may be spent.

    Attributes:
        budget: Lane-steps.
        seeds: How many each rate is run with.
        coarse_steps: Updates of a coarse lane.
        longest: The most updates of a fine lane, or None.
    """

    budget: int
    seeds: int
    coarse_steps: int
    longest: int | None

    def fine(self, spent: int) -> tuple[int, int]:
        """How many fine rates there are, and for how many steps, once so many lane-steps are spent."""
        left = (self.budget - spent) // self.seeds
        rates = FINE_RATES if left // FINE_RATES >= FINE_LONG else FINE_RATES - 1
        steps = left // rates if self.longest is None else min(left // rates, self.longest)
        return (left // steps if steps == self.longest else rates), steps


def allocated(
    call: str, budget: int | None, steps: int | None, seeds: int, length: int | None, total: int | None
) -> Allocation:
    """What may be spent, as the user asked.

    Args:
        call: The function that the user called.
        budget: Lane-steps, or None.
        steps: The most updates of a lane, or None.
        seeds: How many there are.
        length: How many batches there are, None where they do not say.
        total: Steps of the schedule, None where it does not say.
    """
    if steps is not None:
        steps = int(_checks.count(call, "steps", steps, low=1))
    if budget is None:
        budget = BUDGET if steps is None else RATES * seeds * steps
    budget = int(_checks.count(call, "budget", budget, low=1))
    bounds = [steps] if steps is not None else [bound for bound in (length, total) if bound is not None]
    longest = min(bounds) if bounds else None
    rates = len(_coarse())
    coarse = min(COARSE_STEPS, int(COARSE_SHARE * budget) // (rates * seeds))
    coarse = coarse if longest is None else min(coarse, longest)
    least = int(np.ceil(rates * seeds * COARSE_FEWEST / COARSE_SHARE))
    if coarse < COARSE_FEWEST and (longest is None or longest >= COARSE_FEWEST):
        _checks.refuse(call, "budget", f"at least {least:,} lane-steps for {counted(seeds, 'seed')}", f"{budget:,}")
    coarse = max(1, coarse)
    fewest = seeds * (rates * coarse + (FINE_RATES - 1) * (steps or coarse))
    if budget < fewest:
        what = f"{rates} rates x {coarse} steps and {FINE_RATES - 1} rates x {steps or coarse} steps"
        _checks.refuse(
            call, "budget", f"at least {fewest:,} lane-steps, {what}, each x {counted(seeds, 'seed')}", f"{budget:,}"
        )
    return Allocation(budget, seeds, coarse, longest)


def searched(run: Callable[[np.ndarray, int, int], RangeTest], allocation: Allocation) -> RangeTest:
    """Stages of rates within the budget, joined into one result with its rates rising.

    Args:
        run: ``run(rates, steps, stage)``: the range test of distinct rates, with the same seeds and batches each time.
        allocation: What may be spent.
    """
    steps, seeds = allocation.coarse_steps, allocation.seeds
    stages = [run(10.0 ** _coarse(), steps, 0)]
    whole, spent, note = stages[0], seeds * steps * len(_coarse()), ""
    while whole.steps_done == steps:
        center = _center(whole)
        added = _beyond(np.log10(whole.learning_rates), center.direction)
        cost = seeds * steps * len(added)
        is_fine = not cost or spent + cost > EXTENDED_SHARE * allocation.budget
        if is_fine:
            count, length = allocation.fine(spent)
            powers = _around(center.power + _risen(whole), count)
            powers = powers[(powers > _LIMITS[0]) & (powers < _LIMITS[1])]
        if center.direction is None or (is_fine and length < steps):
            break
        stage = run(10.0**powers, length, len(stages)) if is_fine else run(10.0**added, steps, len(stages))
        if stage.steps_done < steps:
            note = f"A further stage ended after {stage.steps_done} steps and is left out. {stage.note}".strip()
            break
        spent += seeds * (length * len(powers) if is_fine else cost)
        stages.append(stage)
        if is_fine:
            whole = _joined(whole, stage)
            break
        whole = merge([whole, stage])
    return _rising(replace(whole, note=" ".join(filter(None, [_summary(stages), whole.note, note]))))


def reading_steps(call: str, given: Any, steps: int, coarse_steps: int) -> list[int]:
    """The numbers of updates after which a stage is validated: its last, and those of the user, if any, before it."""
    if given is not None:
        asked = arguments.validation_steps(call, given, _checks.MAX_STEPS)
        return sorted({*(step for step in asked if step < steps), steps})
    powers = np.arange(int(np.log(max(steps / READ_FROM, 1.0)) / np.log(READ_RATIO)) + 1)
    between = np.round(READ_FROM * READ_RATIO**powers).astype(int)
    return sorted({0, min(coarse_steps, steps), *between[between < steps].tolist(), steps})


def _coarse() -> np.ndarray:
    """The coarse grid, as powers of ten."""
    low, high = np.log10([COARSE_LOWEST, COARSE_HIGHEST])
    return np.linspace(low, high, round(high - low) + 1)


class _Center(NamedTuple):
    """Where the best is, as a power of ten, and which way the grid ends there: 1, -1 or 0; None where no rate helps."""

    power: float
    direction: int | None


def _center(result: RangeTest) -> _Center:
    """Where to look next; the rates are read as ``suggest`` reads them."""
    rates, start, final = by_rate(result, checked_objective("range_test", result, None))
    powers, started = np.log10(rates), np.isfinite(start)
    if not started.any():
        return _Center(float(powers[0]), None)
    if (final < start).any():
        best = int(np.fmin(final - start, 0.0)[:, started].mean(axis=1).argmin())
        edges = {0: -1, len(powers) - 1: 1}
        return _Center(float(powers[best]), edges.get(best, 0))
    # The best, if there is one, is between the rates that do nothing and those that are lost.
    unmoved = final[0] + np.abs(final[0] - start)  # apart from what batches differ by
    idle = int(np.flatnonzero((final <= unmoved).any(axis=1)).max(initial=-1))
    if idle in (-1, len(powers) - 1):
        return _Center(float(powers[idle and -1]), -1 if idle < 0 else 1)
    return _Center(float(powers[idle : idle + 2].mean()), 0)


def _risen(result: RangeTest) -> float:
    """How far the schedule rose in these lanes, as a power of ten: what was best under a part of the rate."""
    highest = float(result.multipliers[: result.steps_done].max(initial=0.0))
    return float(np.log10(highest)) if 0 < highest < 1 else 0.0


def _beyond(powers: np.ndarray, direction: int | None) -> np.ndarray:
    """Powers of ten beyond an edge."""
    edge = powers.max() if direction == 1 else powers.min()
    added = [edge + direction * place for place in range(1, EXTENSION + 1)] if direction else []
    return np.array([power for power in added if _LIMITS[0] < power < _LIMITS[1]])


def _around(power: float, count: int) -> np.ndarray:
    """So many powers of ten about this one, more of them below."""
    span = np.clip(FINE_SPAN, FINE_NARROWEST * (count - 1), FINE_WIDEST * (count - 1))
    top = power + FINE_TOP + max(0.0, float(span) - FINE_SPAN) / 3
    return np.linspace(top - span, top, count)


def _joined(coarse: RangeTest, fine: RangeTest) -> RangeTest:
    """Both as one test as long as the fine one, which drops the coarse lanes where they ended."""
    powers = np.log10(fine.learning_rates)
    apart = np.abs(np.log10(coarse.learning_rates)[:, None] - powers).min(axis=1) > FINE_NARROWEST / 2
    ended = np.isin(coarse.status[apart], ("finite", "high"))
    steps = sorted({*coarse.validation_steps.tolist(), *fine.validation_steps.tolist()})

    def widened(part: RangeTest) -> RangeTest:
        readings = np.full((*part.status.shape, len(steps)), np.nan, part.validation_losses.dtype)
        readings[..., np.searchsorted(steps, part.validation_steps)] = part.validation_losses
        return replace(part, validation_steps=np.array(steps, np.int64), validation_losses=readings)

    missing = [(0, 0), (0, 0), (0, fine.steps_done - coarse.steps_done)]
    dropped = replace(
        coarse,
        learning_rates=coarse.learning_rates[apart],
        losses=np.pad(coarse.losses[apart], missing, constant_values=np.nan),
        validation_losses=coarse.validation_losses[apart],
        status=np.where(ended, "dropped", coarse.status[apart]),
        lost_at=np.where(ended, coarse.steps_done, coarse.lost_at[apart]),
        steps_done=fine.steps_done,
        note="",  # what it says of its batches, the longer one says better
        schedules=tuple(text for text, stays in zip(coarse.schedules, apart, strict=False) if stays),
    )
    return merge([widened(fine), widened(dropped)])


def _rising(result: RangeTest) -> RangeTest:
    """The result with its rates in rising order."""
    order = np.argsort(result.learning_rates)
    names = ("learning_rates", "losses", "validation_losses", "status", "lost_at")
    schedules = tuple(result.schedules[place] for place in order if result.schedules)
    return replace(result, schedules=schedules, **{name: getattr(result, name)[order] for name in names})


def _summary(stages: list[RangeTest]) -> str:
    """What was run, as a sentence."""
    parts = [
        f"{counted(len(rates), 'rate')} from {rates.min():.3g} to {rates.max():.3g} for {counted(steps, 'step')}"
        for rates, steps in ((stage.learning_rates, stage.steps_done) for stage in stages)
    ]
    lanes = sum(stage.status.size for stage in stages)
    spent = sum(stage.status.size * stage.steps_done for stage in stages)
    return f"learning_rates='auto' tested {', then '.join(parts)}: {lanes} lanes, {spent:,} lane-steps."
