"""What was compared before the rule "auto" was settled, on the half of the tasks that is for choosing.

Every variant spends the same lane-steps on a grid of rates: 16 for so many steps, 8 for twice as many, or 16 of which
the better half goes on at each of four rungs. Its rule answers for the full run of every cell.

    python benchmarks/regret_variants.py [--repeats 4]
"""

from __future__ import annotations

import argparse
import itertools
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace

import jax
import numpy as np
import regret_tasks as tasks
from regret import BUDGETS, Cell, Truth
from regret_truth import TRUTH

import lrjax

HALVED = "16 rates, halved"
Rule = Callable[[lrjax.RangeTest, Cell], float]
READINGS = sorted(
    {0, *np.round(5 * 1.15 ** np.arange(34)).astype(int).tolist(), *(b // k for b in BUDGETS for k in (8, 16))}
)


def final(test: lrjax.RangeTest) -> tuple[np.ndarray, np.ndarray]:
    """Rates, and what they ended with less the start, at most 0."""
    losses = test.validation_losses[:, 0].astype(np.float64)
    return test.learning_rates, np.where(np.isfinite(losses[:, -1]), np.fmin(losses[:, -1] - losses[0, 0], 0.0), 0.0)


def lowest(test: lrjax.RangeTest, _: Cell) -> float:
    rates, losses = final(test)
    return float(rates[losses.argmin()])


def within(part: float) -> Rule:
    """The smallest rate within a part of the way from the best to the start."""

    def rule(test: lrjax.RangeTest, _: Cell) -> float:
        rates, losses = final(test)
        return float(rates[np.argmax(losses - losses.min() <= -part * losses.min())])

    return rule


def kernel(decades: float) -> Rule:
    """The lowest of a Gaussian average over the logarithm of the rate; rates beyond the grid count as lost."""

    def rule(test: lrjax.RangeTest, _: Cell) -> float:
        rates, losses = final(test)
        powers = np.log10(rates)
        step = powers[1] - powers[0]
        padded = np.pad(losses, 8)
        places = np.concatenate([powers[0] - step * np.arange(8, 0, -1), powers, powers[-1] + step * np.arange(1, 9)])
        weights = np.exp(-0.5 * ((places - powers[:, None]) / decades) ** 2)
        return float(rates[(weights @ padded / weights.sum(axis=1)).argmin()])

    return rule


def quadratic(test: lrjax.RangeTest, _: Cell) -> float:
    """The vertex of a parabola through the five rates around the lowest."""
    rates, losses = final(test)
    best = int(losses.argmin())
    near = slice(max(0, best - 2), best + 3)
    curvature, slope, _constant = np.polyfit(np.log10(rates[near]), losses[near], 2)
    vertex = -slope / (2 * curvature) if curvature > 0 else np.log10(rates[best])
    return float(10 ** np.clip(vertex, *np.log10(rates[near][[0, -1]])))


def extrapolated(test: lrjax.RangeTest, cell: Cell) -> float:
    """The lowest where each lane's loss goes on in the logarithm of the steps as in its last half."""
    rates, losses = final(test)
    recent = test.validation_steps >= test.steps_done / 2
    times = np.log(test.validation_steps[recent] / test.steps_done)
    curves = test.validation_losses[:, 0, recent].astype(np.float64)
    slopes = (curves @ (times - times.mean())) / np.sum((times - times.mean()) ** 2)
    gained = np.where(np.isfinite(slopes), np.minimum(slopes, 0.0) * np.log(cell[3] / test.steps_done), 0.0)
    return float(rates[(losses + gained).argmin()])


def progress(test: lrjax.RangeTest, cell: Cell) -> float:
    """The rule "auto" of lrjax for a run of that length."""
    effective = cell[3] // 2 if cell[2] == "cosine" else cell[3]  # the mean of a cosine is a half
    return lrjax.suggest(test, horizon=effective).learning_rate


def cut(test: lrjax.RangeTest, steps: int, rates: slice = slice(None)) -> lrjax.RangeTest:
    """The first steps of some of the rates."""
    read = test.validation_steps <= steps
    names = ("learning_rates", "status", "lost_at")
    return replace(
        test,
        losses=test.losses[rates, :, :steps],
        validation_steps=test.validation_steps[read],
        validation_losses=test.validation_losses[rates][..., read],
        steps_done=steps,
        **{name: getattr(test, name)[rates] for name in names},
    )


def halved(test: lrjax.RangeTest, budget: int) -> lrjax.RangeTest:
    """As if the better half of the rates had gone on at a sixteenth, an eighth, a quarter and a half of the steps."""
    steps = min(test.steps_done, budget // 3)
    test = cut(test, steps)
    losses, live = test.validation_losses.copy(), np.arange(len(test.learning_rates))
    status, lost_at = test.status.copy(), test.lost_at.copy()
    for rung in (steps // 16, steps // 8, steps // 4, steps // 2):
        place = np.abs(test.validation_steps - rung).argmin()
        order = np.argsort(np.nan_to_num(losses[live, 0, place], nan=np.inf), kind="stable")
        dropped, live = live[order[len(live) // 2 :]], np.sort(live[order[: len(live) // 2]])
        losses[dropped, :, place + 1 :] = np.nan
        status[dropped], lost_at[dropped] = "dropped", rung
    return replace(test, validation_losses=losses, status=status, lost_at=lost_at)


def tests(task: tasks.Task, optimizer: str, repeat: int) -> dict[tuple[str, int], lrjax.RangeTest]:
    """By the schedule's shape and the budget, 16 rates; the constant one at full length under budget 0."""
    longest = max(READINGS)
    batches = lrjax.minibatches(task.train, task.batch_size, longest, jax.random.key(repeat))
    found = {}
    for schedule, steps, budget in (("constant", longest, 0), *(("cosine", b // 16, b) for b in BUDGETS)):
        found[schedule, budget] = lrjax.range_test(
            task.loss_fn,
            task.init,
            batches,
            lambda peak, schedule=schedule, steps=steps: tasks.OPTIMIZERS[optimizer](
                tasks.SCHEDULES[schedule](peak, steps)
            ),
            tasks.RATES[optimizer][::2],
            steps=steps,
            seeds=[repeat],
            validation=task.validation,
            validation_steps=[step for step in READINGS if step <= steps] if schedule == "constant" else [0, steps],
        )
    return found


RULES: dict[str, Rule] = {
    "lowest": lowest,
    "within 1%": within(0.01),
    "within 2%": within(0.02),
    "kernel of 0.2 decades": kernel(0.2),
    "kernel of 0.4 decades": kernel(0.4),
    "local quadratic": quadratic,
    "extrapolated curves": extrapolated,
    "equal progress": progress,
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Variants of the rule, on the tasks for choosing.")
    parser.add_argument("--repeats", type=int, default=4)
    repeats = range(parser.parse_args().repeats)
    known = dict(np.load(TRUTH))
    regrets: dict = defaultdict(lambda: defaultdict(list))
    for name, make in tasks.CHOOSING.items():
        task = make()
        for optimizer, repeat in itertools.product(tasks.OPTIMIZERS, repeats):
            run = tests(task, optimizer, repeat)
            plain = run["constant", 0]
            for budget in BUDGETS:
                shapes = {
                    "16 rates": cut(plain, budget // 16),
                    "8 rates, twice as long": cut(plain, budget // 8, slice(None, None, 2)),
                    HALVED: halved(plain, budget),
                }
                for cell in itertools.product([name], [optimizer], tasks.SCHEDULES, tasks.HORIZONS):
                    truth = Truth(known, cell, "validation")
                    for (shape, test), (rule, read) in itertools.product(shapes.items(), RULES.items()):
                        if shape != HALVED or rule in ("lowest", "equal progress"):  # one rate is left for the others
                            regrets[budget, shape, rule][cell].append(truth(read(test, cell)))
                    shaped = plain if cell[2] == "constant" else run["cosine", budget]
                    answer = lowest(cut(shaped, budget // 16), cell)
                    regrets[budget, "16 rates, the schedule's shape", "lowest"][cell].append(truth(answer))
        print(f"{name}: done", flush=True)
    print("\n| lane-steps | grid | rule | mean | worst |\n|---|---|---|---|---|")
    for (budget, shape, rule), by_cell in sorted(regrets.items()):
        means = [np.mean(values) for values in by_cell.values()]
        print(f"| {budget} | {shape} | {rule} | {np.mean(means):.3f} | {np.max(means):.3f} |")


if __name__ == "__main__":
    main()
