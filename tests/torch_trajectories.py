"""Parameters of a small network along 200 steps of torch.optim in float64.

python tests/torch_trajectories.py            # writes torch_trajectories.json beside this file
python tests/torch_trajectories.py --check    # exits with 1 where the installed torch disagrees with that file
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch_vectors import write_or_check

FILE = Path(__file__).with_suffix(".json")
STEPS = 200
SEEN = (1, 2, 10, 50, 200)
MAX_NORM = 0.05

RUNS: list[tuple[str, dict[str, Any]]] = [
    ("Adam", {"lr": 1e-2}),
    ("Adam", {"lr": 3e-3, "betas": [0.5, 0.95], "eps": 1e-6}),
    ("AdamW", {"lr": 1e-2}),
    ("AdamW", {"lr": 1e-2, "weight_decay": 0.3, "betas": [0.8, 0.99]}),
    ("AdamW, clip_grad_norm_", {"lr": 1e-2, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.05, "momentum": 0.9}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "weight_decay": 1e-3}),
    ("SGD, clip_grad_norm_", {"lr": 0.1, "momentum": 0.9}),
    ("RMSprop", {"lr": 1e-3}),
    ("RMSprop", {"lr": 1e-3, "alpha": 0.95, "eps": 1e-3, "centered": True}),
    ("RMSprop", {"lr": 1e-3, "momentum": 0.9}),
]
"""The optimizer and its arguments, under torch's names."""


def start() -> dict[str, np.ndarray]:
    """The parameters that every run begins with."""
    shapes = {"w1": (3, 4), "b1": (4,), "w2": (4, 2), "b2": (2,)}
    counts = np.cumsum([0, *(int(np.prod(shape)) for shape in shapes.values())])
    flat = np.sin(1.7 * np.arange(counts[-1]) + 0.3)
    return {
        name: flat[low:high].reshape(shapes[name]) for name, low, high in zip(shapes, counts, counts[1:], strict=False)
    }


def data() -> tuple[np.ndarray, np.ndarray]:
    """Inputs [24, 3] and targets [24, 2]."""
    grid = np.arange(24.0)
    inputs = np.stack([np.cos(grid), np.sin(1.3 * grid), np.cos(0.7 * grid + 1.0)], 1)
    return inputs, np.stack([inputs[:, 0] * inputs[:, 1], np.abs(inputs[:, 2])], 1)


def flattened(params: dict[str, Any]) -> list[float]:
    return np.concatenate([np.asarray(params[name], np.float64).ravel() for name in start()]).tolist()


def trajectory(row: str, numbers: dict[str, Any]) -> list[float]:
    """The parameters after each of the steps ``SEEN``, one after another."""
    import torch

    params = {name: torch.nn.Parameter(torch.tensor(value)) for name, value in start().items()}
    inputs, targets = map(torch.tensor, data())
    name, *clipped = row.split(", ")
    optimizer = getattr(torch.optim, name)(list(params.values()), **numbers)
    values: list[float] = []
    for step in range(1, STEPS + 1):
        optimizer.zero_grad()
        outputs = torch.tanh(inputs @ params["w1"] + params["b1"]) @ params["w2"] + params["b2"]
        torch.mean((outputs - targets) ** 2).backward()
        if clipped:
            torch.nn.utils.clip_grad_norm_(list(params.values()), MAX_NORM)
        optimizer.step()
        if step in SEEN:
            values += flattened({key: value.detach().numpy() for key, value in params.items()})
    return values


if __name__ == "__main__":
    vectors = [{"row": row, "numbers": numbers, "values": trajectory(row, numbers)} for row, numbers in RUNS]
    write_or_check(FILE, vectors, tolerance=1e-10)  # rounding grows along 200 steps
