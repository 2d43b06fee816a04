"""How much is lost in the full run by training at the rate that a test answered.

``regret = clip((L(found) - L_best) / (L_start - L_best), 0, 1)``, with ``L`` the final loss of a full run at a rate, the
mean over seeds that no rule sees, interpolated over the logarithm of the rate between runs that were really trained
(regret_truth.npz, made by regret_truth.py); ``L_start`` is the smaller of the loss at init and that of a constant
prediction. Tasks, data and networks are in regret_tasks.py: on one half the constants of the rule "auto" were chosen,
on the other it is reported. The floor is what an oracle scores, which picks the best rate by one half of the seeds of
the truth and is measured by the other half.

    python benchmarks/regret.py [choosing|reporting] [--repeats 6] [--output regret.png]
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections import defaultdict
from pathlib import Path

import jax
import numpy as np
import regret_rules
import regret_tasks as tasks

import lrjax
from regret_truth import TRUTH

BUDGETS = (640, 1920, 3720)
RAMP_STEPS = 100
FIXED = {"sgd": {"fixed 0.1": 0.1, "fixed 0.01": 0.01}, "adamw": {"fixed 1e-3": 1e-3, "fixed 3e-4": 3e-4}}
Cell = tuple[str, str, str, int]


class Truth:
    """The final losses of full runs in one cell, by one objective."""

    def __init__(self, known: dict[str, np.ndarray], cell: Cell, objective: str) -> None:
        """Cap the losses at the start and average them over the seeds."""
        place = ("validation", "training").index(objective)
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


def collect(half: dict, repeats: int) -> tuple[dict, dict]:
    """``found[rule, budget][cell, objective]``, the answers of every repeat, and ``[rule, budget]`` lane-steps, seconds."""
    found: dict = defaultdict(lambda: defaultdict(list))
    costs: dict = defaultdict(list)
    for name, make in half.items():
        task = make()
        for optimizer in tasks.OPTIMIZERS:
            cells = [(name, optimizer, schedule, h) for schedule in tasks.SCHEDULES for h in tasks.HORIZONS]
            for repeat in range(repeats):
                begin = time.perf_counter()
                every = ramps(task, optimizer, BUDGETS[-1] // RAMP_STEPS, repeat)
                seconds = (time.perf_counter() - begin) / len(every)
                for budget in (RAMP_STEPS, *BUDGETS):
                    few = every[: budget // RAMP_STEPS]
                    for rule in every[0]:
                        costs[rule, budget].append((len(few) * RAMP_STEPS, seconds * len(few)))
                        for cell in cells:
                            for objective in ("validation", "training"):
                                answer = geometric_mean([ramp[rule] for ramp in few])
                                found[rule, budget][cell, objective].append(answer)
                for cell in cells:
                    for rule, rate in FIXED[optimizer].items():
                        for objective in ("validation", "training"):
                            found["fixed " + ("high" if rate in (0.1, 1e-3) else "low"), 0][cell, objective].append(rate)
                    for budget in BUDGETS:
                        begin = time.perf_counter()
                        result = auto(task, *cell[1:], budget, repeat)
                        seconds = time.perf_counter() - begin
                        for objective in ("validation", "training"):
                            answer = lrjax.suggest(result, objective=objective).learning_rate
                            found["lrjax auto", budget][cell, objective].append(answer)
                        spent = int(result.note.split(" lanes, ")[1].split(" ")[0].replace(",", ""))
                        costs["lrjax auto", budget].append((spent, seconds))
            print(f"{name} {optimizer}: done", flush=True)
    return found, costs


def main() -> None:
    parser = argparse.ArgumentParser(description="The regret of rules that find a learning rate.")
    parser.add_argument("half", nargs="?", choices=("choosing", "reporting"), default="reporting")
    parser.add_argument("--repeats", type=int, default=6)
    parser.add_argument("--output", type=Path, default=Path("regret.png"))
    arguments = parser.parse_args()
    half = {"choosing": tasks.CHOOSING, "reporting": tasks.REPORTING}[arguments.half]
    known = dict(np.load(TRUTH))
    found, costs = collect(half, arguments.repeats)
    for objective in ("validation", "training"):
        report(found, costs, known, objective)


def report(found: dict, costs: dict, known: dict, objective: str) -> None:
    """The table of one objective, and the worst cells of lrjax's rule."""
    cells = sorted({cell for cell, _ in next(iter(found.values()))})
    truths = {cell: Truth(known, cell, objective) for cell in cells}
    floors = np.array([truths[cell].floor for cell in cells])
    print(f"\n## {objective}: {len(cells)} cells, floor {floors.mean():.3f} mean, {floors.max():.3f} worst\n")
    print("| lane-steps | rule | mean | worst | seed spread, decades | spent | seconds |\n|---|---|---|---|---|---|---|")
    for rule, budget in sorted(found, key=lambda key: (key[1], key[0] != "lrjax auto", key[0])):
        answers = [found[rule, budget][cell, objective] for cell in cells]
        regrets = [np.mean([truths[cell](a) for a in some]) for cell, some in zip(cells, answers, strict=True)]
        spread = np.mean([np.nanstd(np.log10(some)) for some in answers])
        spent, seconds = np.median(costs.get((rule, budget), [(0, 0.0)]), axis=0)
        row = f"{np.mean(regrets):.3f} | {np.max(regrets):.3f} | {spread:.2f} | {spent:.0f} | {seconds:.2f}"
        print(f"| {budget or '-'} | {rule} | {row} |")
    for budget in BUDGETS:
        regrets = {c: np.mean([truths[c](a) for a in found["lrjax auto", budget][c, objective]]) for c in cells}
        print(f"\nWorst cells of lrjax auto at {budget} lane-steps:")
        for cell in sorted(cells, key=regrets.get, reverse=True)[:6]:
            truth = truths[cell]
            good = truth.rates[truth.regrets <= 0.03]
            answers = ", ".join(f"{rate:.2g}" for rate in found["lrjax auto", budget][cell, objective])
            where = f"within 0.03: {good.min():.2g} to {good.max():.2g}, floor {truth.floor:.3f}"
            print(f"  {regrets[cell]:.3f} {' '.join(map(str, cell))}: answers {answers}; {where}")


if __name__ == "__main__":
    main()
