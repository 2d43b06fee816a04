"""How much is lost in the full run by training at the rate that a test answered.

``regret = clip((L(found) - L_best) / (L_start - L_best), 0, 1)``, with ``L`` the final loss of a full run at a rate,
the mean over seeds that no rule sees, interpolated over the logarithm of the rate between runs that were really
trained (regret_truth.npz, which regret_truth.py made); ``L_start`` is the smaller of the loss at init and that of a
constant prediction. Tasks, data and networks are in regret_tasks.py: on one half the constants of the rule "auto"
were chosen (regret_variants.py compares what was tried), on the other it is reported. The floor is what an oracle
scores, which picks the best rate by one half of the seeds of the truth and is measured by the other half.

    python benchmarks/regret.py [choosing|reporting] [--repeats 6] [--output regret.png]
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import re
import time
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import jax
import matplotlib as mpl
import numpy as np
import regret_rules
import regret_tasks as tasks
from regret_truth import TRUTH

import lrjax

BUDGETS = (640, 1920, 3720)
RAMP_STEPS = 100
FIXED = {
    "fixed: SGD 0.1, AdamW 1e-3": {"sgd": 0.1, "adamw": 1e-3},
    "fixed: SGD 0.01, AdamW 3e-4": {"sgd": 0.01, "adamw": 3e-4},
}
OBJECTIVES = ("validation", "training")
AUTO = "lrjax auto"
Cell = tuple[str, str, str, int]


class Truth:
    """The final losses of full runs in one cell, by one objective."""

    def __init__(self, known: dict[str, np.ndarray], cell: Cell, objective: str) -> None:
        """Cap the losses at the start and average them over the seeds."""
        place = OBJECTIVES.index(objective)
        losses = known["/".join(map(str, cell))][..., place].astype(np.float64)
        self.start = float(known[f"{cell[0]}/start"][place])
        self.rates = tasks.RATES[cell[1]]
        self.losses = np.where(np.isfinite(losses), np.minimum(losses, self.start), self.start)  # [rates, seeds]
        self.regrets = self._regrets(self.losses)

    def _regrets(self, losses: np.ndarray) -> np.ndarray:
        mean = losses.mean(axis=1)
        return np.clip((mean - mean.min()) / (self.start - mean.min()), 0, 1)

    def __call__(self, rate: float) -> float:
        """The regret of a rate; beyond the grid that of its end, and all of it where there is no answer."""
        return float(np.interp(np.log(rate), np.log(self.rates), self.regrets)) if np.isfinite(rate) else 1.0

    @property
    def floor(self) -> float:
        """The regret of the best by one half of the seeds, measured by the other, both ways."""
        half = self.losses.shape[1] // 2
        parts = self.losses[:, :half], self.losses[:, half:]
        return float(np.mean([self._regrets(b)[a.mean(axis=1).argmin()] for a, b in (parts, parts[::-1])]))


def ramps(task: tasks.Task, optimizer: str, count: int, repeat: int) -> list[dict[str, float]]:
    """What every rule answers on ``count`` ramps, each from weights of its own."""
    steps = RAMP_STEPS
    batches = lrjax.minibatches(task.train, task.batch_size, steps, jax.random.key(repeat))
    seeds = range(100 * repeat, 100 * repeat + count)
    result = lrjax.ramp_test(task.loss_fn, task.init, batches, tasks.OPTIMIZERS[optimizer], steps=steps, seeds=seeds)
    answers = [regret_rules.answers(result.learning_rates, losses) for losses in result.losses.astype(np.float64)]
    for seed, answer in enumerate(answers):
        alone = {name: getattr(result, name)[seed : seed + 1] for name in ("seeds", "losses", "status", "lost_at")}
        alone["validation_losses"] = result.validation_losses[seed : seed + 1]
        answer["lrjax ramp"] = lrjax.suggest(dataclasses.replace(result, **alone)).learning_rate
    return answers


def auto(task: tasks.Task, optimizer: str, schedule: str, horizon: int, budget: int, repeat: int) -> lrjax.RangeTest:
    """The range test of lrjax within a budget."""
    batches = lrjax.minibatches(task.train, task.batch_size, budget // 2, jax.random.key(repeat))
    return lrjax.range_test(
        task.loss_fn,
        task.init,
        batches,
        lambda peak: tasks.OPTIMIZERS[optimizer](tasks.SCHEDULES[schedule](peak, horizon)),
        "auto",
        budget=budget,
        horizon=horizon,
        seeds=[repeat],
        validation=task.validation,
    )


def geometric_mean(rates: list[float]) -> float:
    finite = [rate for rate in rates if np.isfinite(rate) and rate > 0]
    return float(np.exp(np.mean(np.log(finite)))) if finite else float("nan")


class Found(NamedTuple):
    """What every rule answered within every budget, and what that took."""

    answers: dict[tuple[str, int], dict[tuple[Cell, str], list[float]]]
    """Of each cell and objective, in every repeat."""
    costs: dict[tuple[str, int], list[tuple[float, float]]]
    """Lane-steps and seconds."""


def collect(half: dict, repeats: int) -> Found:
    """Every rule on every cell of these tasks."""
    found = Found(defaultdict(lambda: defaultdict(list)), defaultdict(list))
    for name, make in half.items():
        task = make()
        for optimizer, repeat in itertools.product(tasks.OPTIMIZERS, range(repeats)):
            cells = [(name, optimizer, *rest) for rest in itertools.product(tasks.SCHEDULES, tasks.HORIZONS)]
            read_ramps(found, task, cells, repeat)
            for cell, objective in itertools.product(cells, OBJECTIVES):
                for rule, rates in FIXED.items():
                    found.answers[rule, 0][cell, objective].append(rates[optimizer])
            for cell, budget in itertools.product(cells, BUDGETS):
                begin = time.perf_counter()
                result = auto(task, *cell[1:], budget, repeat)
                spent = int(re.search(r" lanes, ([\d,]+) lane-steps", result.note)[1].replace(",", ""))
                found.costs[AUTO, budget].append((spent, time.perf_counter() - begin))
                for objective in OBJECTIVES:
                    answer = lrjax.suggest(result, objective=objective).learning_rate
                    found.answers[AUTO, budget][cell, objective].append(answer)
        print(f"{name}: done", flush=True)
    return found


def read_ramps(found: Found, task: tasks.Task, cells: list[Cell], repeat: int) -> None:
    """The rules of one ramp, and of as many as each budget pays for; a ramp knows neither schedule nor horizon."""
    begin = time.perf_counter()
    every = ramps(task, cells[0][1], BUDGETS[-1] // RAMP_STEPS, repeat)
    seconds = (time.perf_counter() - begin) / len(every)
    for budget, rule in itertools.product((RAMP_STEPS, *BUDGETS), every[0]):
        few = every[: budget // RAMP_STEPS]
        found.costs[rule, budget].append((len(few) * RAMP_STEPS, seconds * len(few)))
        for cell, objective in itertools.product(cells, OBJECTIVES):
            found.answers[rule, budget][cell, objective].append(geometric_mean([ramp[rule] for ramp in few]))


def scored(found: Found, key: tuple[str, int], truths: dict[Cell, Truth], objective: str) -> dict[Cell, float]:
    """The regret of a rule in every cell, the mean over the repeats."""
    answers = found.answers[key]
    return {cell: float(np.mean([truth(rate) for rate in answers[cell, objective]])) for cell, truth in truths.items()}


def report(found: Found, truths: dict[Cell, Truth], objective: str) -> None:
    """The table of one objective, and the worst cells of lrjax's rule."""
    floors = np.array([truth.floor for truth in truths.values()])
    print(f"\n## {objective} loss, {len(truths)} cells; floor: mean {floors.mean():.3f}, worst {floors.max():.3f}\n")
    print("| lane-steps | rule | mean | worst | spread between seeds, decades | spent | seconds, warm |")
    print("|---|---|---|---|---|---|---|")
    for key in sorted(found.answers, key=lambda key: (key[1], key[0] != AUTO, key[0])):
        regrets = list(scored(found, key, truths, objective).values())
        spread = np.mean([np.nanstd(np.log10(found.answers[key][cell, objective])) for cell in truths])
        spent, seconds = np.median(found.costs.get(key, [(0, 0.0)]), axis=0)
        row = f"{np.mean(regrets):.3f} | {np.max(regrets):.3f} | {spread:.2f} | {spent:.0f} | {seconds:.2f}"
        print(f"| {key[1] or '-'} | {key[0]} | {row} |")
    for budget in BUDGETS:
        regrets = scored(found, (AUTO, budget), truths, objective)
        print(f"\nWorst cells of {AUTO} at {budget:,} lane-steps:\n")
        for cell in sorted(regrets, key=regrets.__getitem__, reverse=True)[:5]:
            truth = truths[cell]
            good = truth.rates[truth.regrets <= 0.03]
            answers = ", ".join(f"{rate:.2g}" for rate in found.answers[AUTO, budget][cell, objective])
            where = f"regret at most 0.03 from {good.min():.2g} to {good.max():.2g}, floor {truth.floor:.3f}"
            print(f"- {regrets[cell]:.3f}, {' '.join(map(str, cell))}: {answers}; {where}")


def draw(found: Found, truths: dict[Cell, Truth], path: Path) -> None:
    """The validation regret of every cell, a point each, rule by rule, with the mean as a bar."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    keys = [(AUTO, budget) for budget in BUDGETS]
    keys += [(rule, budget) for rule, budget in sorted(found.answers) if budget in (0, BUDGETS[-1]) and rule != AUTO]
    figure, ax = plt.subplots(figsize=(9, 0.42 * len(keys) + 1.2), layout="constrained")
    for row, key in enumerate(keys):
        regrets = np.array(list(scored(found, key, truths, "validation").values()))
        color = "#c8102e" if key[0] == AUTO else "#8a8f98"
        heights = row + np.random.default_rng(0).uniform(-0.2, 0.2, len(regrets))
        ax.plot(regrets, heights, ".", color=color, alpha=0.6)
        ax.plot([regrets.mean()] * 2, [row - 0.35, row + 0.35], color=color, linewidth=2.5)
        ax.annotate(f"{regrets.mean():.3f}", (1.02, row), va="center", color=color, annotation_clip=False)
    names = [f"{rule}, {budget:,} lane-steps" if budget else rule for rule, budget in keys]
    ax.set(xlim=(-0.01, 1.01), xlabel="regret in validation loss: a point a cell, a bar the mean (right)")
    ax.set_yticks(range(len(keys)), names)
    ax.invert_yaxis()
    ax.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)
    print(f"\nPicture: {path}")


def main() -> None:
    parser = argparse.ArgumentParser(description="The regret of rules that find a learning rate.")
    parser.add_argument("half", nargs="?", choices=("choosing", "reporting"), default="reporting")
    parser.add_argument("--repeats", type=int, default=6)
    parser.add_argument("--output", type=Path, default=Path("regret.png"))
    arguments = parser.parse_args()
    half = {"choosing": tasks.CHOOSING, "reporting": tasks.REPORTING}[arguments.half]
    known = dict(np.load(TRUTH))
    cells = list(itertools.product(half, tasks.OPTIMIZERS, tasks.SCHEDULES, tasks.HORIZONS))
    found = collect(half, arguments.repeats)
    for objective in OBJECTIVES:
        report(found, {cell: Truth(known, cell, objective) for cell in cells}, objective)
    draw(found, {cell: Truth(known, cell, "validation") for cell in cells}, arguments.output)


if __name__ == "__main__":
    main()
