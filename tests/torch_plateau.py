"""Bad evaluations and rates of torch.optim.lr_scheduler.ReduceLROnPlateau, along random metrics.

python tests/torch_plateau.py            # writes torch_plateau.json beside this file
python tests/torch_plateau.py --check    # exits with 1 where the installed torch disagrees with that file
"""

from __future__ import annotations

import itertools
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
from torch_vectors import write_or_check

FILE = Path(__file__).with_suffix(".json")
EVALUATIONS = 40
LEARNING_RATE = 0.05
KINDS = ("decay", "negative", "ties", "lost", "edge", "scales")
THRESHOLDS = {"rel": (1e-4, 0.1), "abs": (1e-3,)}
RANDOM_OPTIONS = {
    "factor": (0.1, 0.5, 0.9),
    "patience": (0, 1, 2, 4),
    "cooldown": (0, 0, 1, 3),
    "min_lr": (0.0, 1e-3, 0.02),
    "eps": (0.0, 1e-8, 3e-4),
}


def options() -> list[tuple[str, dict[str, Any]]]:
    """The kind of metric and the arguments of every run: all modes, thresholds and kinds, the rest at random."""
    runs = []
    modes = [(mode, how, threshold) for mode in ("min", "max") for how in THRESHOLDS for threshold in THRESHOLDS[how]]
    for (mode, how, threshold), kind, seed in itertools.product(modes, KINDS, range(6)):
        draws = random.Random(f"{mode} {how} {threshold} {kind} {seed}")
        numbers: dict[str, Any] = {"mode": mode, "threshold_mode": how, "threshold": threshold, "seed": seed}
        for name, values in RANDOM_OPTIONS.items():
            numbers[name] = values[int(draws.random() * len(values))]
        runs.append((kind, numbers))
    return runs


def metrics(kind: str, numbers: dict[str, Any]) -> np.ndarray:
    """The evaluations of a run [EVALUATIONS], float32, better as they fall or rise with the mode."""
    draws = random.Random(f"{kind} {numbers['seed']}")
    sign = 1.0 if numbers["mode"] == "min" else -1.0
    values: list[float] = []
    best = math.nan
    for step in range(EVALUATIONS):
        noise = draws.random() - 0.5
        falling = 2.0 * 0.8 ** min(step, 15) + 0.05 * noise
        value = {
            "decay": falling if sign > 0.0 else 2.1 - falling,
            "negative": sign * (falling - 1.5),
            "ties": sign * round(6.0 * 0.85**step + 2.0 * noise) * 10.0,
            "lost": (math.nan, math.inf, -math.inf)[int(3 * draws.random())] if step % 3 == 2 else sign * falling,
            "edge": sign * falling,
            "scales": sign * noise * 10.0 ** (12.0 * draws.random() - 6.0),
        }[kind]
        if kind == "edge" and step:  # at the bound, or a float32 beside it
            away = numbers["threshold"] * (abs(best) if numbers["threshold_mode"] == "rel" else 1.0)
            bound = np.float32(best - sign * away)
            value = float(np.nextafter(bound, np.float32(sign * noise * math.inf)) if abs(noise) > 0.2 else bound)
        values.append(float(np.float32(value)))
        best = values[0] if step == 0 else (min if sign > 0.0 else max)(best, values[-1])
    return np.asarray(values, np.float32)


def values_of(kind: str, numbers: dict[str, Any]) -> list[float]:
    """The bad evaluations that torch counts after each evaluation, then its rates there, to nine digits."""
    import torch

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(()))], lr=LEARNING_RATE)
    arguments = {name: value for name, value in numbers.items() if name != "seed"}
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **arguments)
    bad, rates = [], []
    for value in metrics(kind, numbers):
        scheduler.step(float(value))
        bad.append(scheduler.num_bad_epochs)
        rates.append(float(f"{optimizer.param_groups[0]['lr']:.9g}"))
    return bad + rates


if __name__ == "__main__":
    write_or_check(
        FILE,
        [{"row": kind, "numbers": numbers, "values": values_of(kind, numbers)} for kind, numbers in options()],
    )
