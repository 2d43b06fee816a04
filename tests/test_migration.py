"""The table for people coming from elsewhere: every expression in it gives the rival's values."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rivals_in_libraries
import rivals_in_trainers
from rivals import Run

from lrjax import schedules

SECTION = re.compile(r"\*\*(?P<library>[^*]+)\*\*")
ROW = re.compile(r" {4}(?P<row>\S(?: ?\S)*)(?: {2,}(?P<start>\S.*))?")
CONTINUATION = re.compile(r" {5,}(?P<more>\S.*)")


def table(text: str) -> dict[tuple[str, str], str]:
    """The expression of every row of every library, as the documentation has them."""
    found: dict[tuple[str, str], str] = {}
    library, key = "", ("", "")
    for line in text.splitlines():
        if section := SECTION.match(line):
            library = section["library"]
        elif more := CONTINUATION.fullmatch(line):
            found[key] += " " + more["more"]
        elif row := ROW.fullmatch(line):
            key = (library, row["row"])
            assert key not in found, f"{key} stands twice in the table"
            found[key] = row["start"] or ""
    return found


def torch_runs() -> list[Run]:
    """What torch_vectors.py wrote."""
    vectors = json.loads(Path(__file__).with_name("torch_vectors.json").read_text())
    return [
        Run("PyTorch", v["row"], len(v["values"]), v["numbers"], lambda v=v: np.asarray(v["values"])) for v in vectors
    ]


TABLE = table(schedules.__doc__)
EVERY_RUN = [*torch_runs(), *rivals_in_libraries.RUNS, *rivals_in_trainers.RUNS]


def built(expression: str, numbers: dict[str, Any]) -> Callable[..., Any]:
    """The schedule that an expression of the table makes of a rival's numbers."""
    functions = {key: eval(text) for key, text in numbers.items() if str(text).startswith("lambda")}
    names = {name: getattr(schedules, name) for name in schedules.__all__}
    return eval(expression, {**names, "jnp": jnp, **numbers, **functions})


def test_every_row_is_compared_and_nothing_else():
    assert {(run.library, run.row) for run in EVERY_RUN} == set(TABLE)


@pytest.mark.parametrize("run", EVERY_RUN, ids=lambda run: f"{run.library}: {run.row}")
def test_the_expression_gives_the_rivals_values(run: Run, x64: None):
    expected = run.values()
    schedule = built(TABLE[run.library, run.row], run.numbers)
    # Step by step, as a hundred compilations would take a minute; the contracts hold the compiled schedules to this.
    with jax.disable_jit():
        values = np.asarray(schedule(np.arange(max(run.steps, 2000))))[: run.steps]
    assert (values.dtype, values.shape) == (np.float64, (run.steps,))
    # Near zero a rival's own cancellation counts: an end of 4e-7 is read from a peak of 0.1 in torch.
    np.testing.assert_allclose(values, expected, rtol=1e-12, atol=1e-16 * expected.max())
