"""Learning rates and momenta of torch.optim.lr_scheduler in float64, for the rows of the migration table.

python tests/torch_vectors.py            # writes torch_vectors.json beside this file
python tests/torch_vectors.py --check    # exits with 1 where the installed torch disagrees with that file
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_suffix(".json")

CYCLE = {"base_lr": 1e-3, "max_lr": 0.1}
MOMENTA = {"base_momentum": 0.8, "max_momentum": 0.93}
ONE_CYCLE = {"max_lr": 0.1, "pct_start": 0.3, "div_factor": 25.0, "final_div_factor": 1e4, "three_phase": False}
OTHER_CYCLE = {"max_lr": 3e-3, "pct_start": 0.23, "div_factor": 10.0, "final_div_factor": 50.0, "three_phase": False}

RUNS: list[tuple[str, int, dict[str, Any]]] = [
    ("LambdaLR", 20, {"lr": 0.1, "lr_lambda": "lambda step: 0.95**step"}),
    ("ConstantLR", 20, {"lr": 0.1, "factor": 1 / 3, "total_iters": 5}),
    ("LinearLR", 40, {"lr": 0.1, "start_factor": 1 / 3, "end_factor": 1.0, "total_iters": 30}),
    ("LinearLR", 40, {"lr": 0.1, "start_factor": 1.0, "end_factor": 0.02, "total_iters": 35}),
    ("StepLR", 60, {"lr": 0.1, "step_size": 13, "gamma": 0.1}),
    ("MultiStepLR", 60, {"lr": 0.1, "milestones": [30, 10, 30, 45], "gamma": 0.3}),
    ("ExponentialLR", 60, {"lr": 0.1, "gamma": 0.93}),
    ("PolynomialLR", 30, {"lr": 0.1, "total_iters": 25, "power": 1.0}),
    ("PolynomialLR", 30, {"lr": 0.1, "total_iters": 25, "power": 2.7}),
    ("CosineAnnealingLR", 51, {"lr": 0.1, "T_max": 50, "eta_min": 0.0}),
    ("CosineAnnealingLR", 41, {"lr": 0.1, "T_max": 40, "eta_min": 3e-3}),
    ("CosineAnnealingLR, rising", 61, {"lr": 0.1, "T_max": 20, "eta_min": 1e-3}),
    ("CosineAnnealingWarmRestarts", 50, {"lr": 0.1, "T_0": 12, "T_mult": 1, "eta_min": 0.0}),
    ("CosineAnnealingWarmRestarts", 120, {"lr": 0.1, "T_0": 5, "T_mult": 2, "eta_min": 1e-3}),
    ("CyclicLR", 60, {**CYCLE, "step_size_up": 8, "step_size_down": None, "mode": "triangular", "gamma": 1.0}),
    ("CyclicLR", 60, {**CYCLE, "step_size_up": 4, "step_size_down": 12, "mode": "triangular2", "gamma": 1.0}),
    ("CyclicLR", 60, {**CYCLE, "step_size_up": 12, "step_size_down": 4, "mode": "exp_range", "gamma": 0.97}),
    *(
        ("CyclicLR, momentum", 40, {**CYCLE, **MOMENTA, "step_size_up": 4, "step_size_down": 12, "mode": m, "gamma": g})
        for m, g in (("triangular", 1.0), ("triangular2", 1.0), ("exp_range", 0.97))
    ),
    ("OneCycleLR", 100, {**ONE_CYCLE, "total_steps": 100}),
    ("OneCycleLR", 10, {**ONE_CYCLE, "total_steps": 10}),
    ("OneCycleLR", 60, {**OTHER_CYCLE, "total_steps": 60}),
    ("OneCycleLR", 60, {**OTHER_CYCLE, "total_steps": 60, "three_phase": True}),
    ("OneCycleLR, linear", 50, {**ONE_CYCLE, "total_steps": 50, "anneal_strategy": "linear"}),
    ("OneCycleLR, linear", 50, {**OTHER_CYCLE, "total_steps": 50, "anneal_strategy": "linear", "three_phase": True}),
    ("OneCycleLR, momentum", 50, {**ONE_CYCLE, **MOMENTA, "total_steps": 50}),
    ("OneCycleLR, momentum", 50, {**OTHER_CYCLE, **MOMENTA, "total_steps": 50, "three_phase": True}),
    ("SequentialLR", 60, {"lr": 0.1, "start_factor": 0.01, "total_iters": 10, "T_max": 50, "milestones": [10]}),
    ("ChainedScheduler", 40, {"lr": 0.1, "factor": 0.1, "total_iters": 5, "gamma": 0.95}),
]
"""Row of the table, steps, and the arguments under the names that its expression uses."""


def scheduler_of(row: str, optimizer: Any, numbers: dict[str, Any]) -> Any:
    """The torch scheduler that a row of the table names."""
    from torch.optim import lr_scheduler

    name = row.split(",")[0]
    arguments = {key: value for key, value in numbers.items() if key != "lr"}
    if name == "LambdaLR":
        return lr_scheduler.LambdaLR(optimizer, eval(arguments["lr_lambda"]))
    if name == "SequentialLR":
        warmup = lr_scheduler.LinearLR(optimizer, numbers["start_factor"], total_iters=numbers["total_iters"])
        fall = lr_scheduler.CosineAnnealingLR(optimizer, numbers["T_max"])
        return lr_scheduler.SequentialLR(optimizer, [warmup, fall], numbers["milestones"])
    if name == "ChainedScheduler":
        start = lr_scheduler.ConstantLR(optimizer, numbers["factor"], numbers["total_iters"])
        fall = lr_scheduler.ExponentialLR(optimizer, numbers["gamma"])
        return lr_scheduler.ChainedScheduler([start, fall])
    return getattr(lr_scheduler, name)(optimizer, **arguments)


def values_of(row: str, steps: int, numbers: dict[str, Any]) -> list[float]:
    """What torch uses at the updates 0 to steps - 1."""
    import torch

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(()))], lr=numbers.get("lr", 0.1), momentum=0.9)
    scheduler = scheduler_of(row, optimizer, numbers)
    key = "momentum" if row.endswith("momentum") else "lr"
    values = []
    for _ in range(steps):
        values.append(float(optimizer.param_groups[0][key]))
        optimizer.step()
        scheduler.step()
    return values


def generated() -> list[dict[str, Any]]:
    """All the vectors, as the file holds them."""
    return [{"row": row, "numbers": numbers, "values": values_of(row, steps, numbers)} for row, steps, numbers in RUNS]


def same(one: dict[str, Any], other: dict[str, Any], tolerance: float) -> bool:
    """Whether two vectors agree, up to the last bits of another machine's functions."""
    if (one["row"], one["numbers"], len(one["values"])) != (other["row"], other["numbers"], len(other["values"])):
        return False
    return all(
        math.isclose(a, b, rel_tol=tolerance, abs_tol=1e-17)
        for a, b in zip(one["values"], other["values"], strict=True)
    )


def write_or_check(file: Path, vectors: list[dict[str, Any]], tolerance: float = 1e-13) -> None:
    """Writes the vectors, or exits with 1 where they differ from those in the file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true", help="compare with the file instead of writing it")
    if not parser.parse_args().check:
        file.write_text("[\n" + ",\n".join(map(json.dumps, vectors)) + "\n]\n")
        return
    committed = json.loads(file.read_text())
    wrong = [new["row"] for new, old in zip(vectors, committed, strict=False) if not same(new, old, tolerance)]
    if wrong or len(vectors) != len(committed):
        sys.exit(f"{file.name} does not hold what torch computes: {', '.join(wrong) or 'another number of vectors'}")
    print(f"{len(vectors)} vectors agree with {file.name}")


if __name__ == "__main__":
    write_or_check(FILE, generated())
