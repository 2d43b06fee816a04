"""How the tests write down what another library computes, for the rows of the migration table."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

Formula = Callable[..., float]


class Run(NamedTuple):
    """A rival's schedule with its numbers."""

    library: str
    row: str
    steps: int
    numbers: dict[str, Any]
    values: Callable[[], np.ndarray]
    """The values at the steps 0 to ``steps - 1``."""


def into(runs: list[Run]) -> Callable[..., Callable[[Formula], Formula]]:
    """A decorator that adds a formula of the update and the rival's numbers to ``runs``, under a row of the table."""

    def rival(library: str, row: str, steps: int, **numbers: Any) -> Callable[[Formula], Formula]:
        def add(formula: Formula) -> Formula:
            def values() -> np.ndarray:
                return np.asarray([formula(t, **numbers) for t in range(steps)], np.float64)

            runs.append(Run(library, row, steps, numbers, values))
            return formula

        return add

    return rival


def half_cosine(u: float) -> float:
    """From 1 at u = 0 to 0 at u = 1, to full precision at both."""
    return math.sin(math.pi / 2 * (1 - u)) ** 2


FALL: dict[str, Callable[[float], float]] = {
    "linear": lambda q: 1 - q,
    "cosine": half_cosine,
    "1-sqrt": lambda q: 1 - math.sqrt(q),
    "square": lambda q: 1 - q * q,
    "mirror_cosine": lambda q: 2 * (1 - q) - half_cosine(q),
}
"""The shapes that most have in common, from 1 at q = 0 to 0 at q = 1."""
