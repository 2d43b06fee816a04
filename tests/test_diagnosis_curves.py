"""The labelled curves of benchmarks/diagnosis.py are as many, and as mixed, as was promised."""

from __future__ import annotations

import importlib.util
import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
SPEC = importlib.util.spec_from_file_location("diagnosis_benchmark", ROOT / "benchmarks" / "diagnosis.py")
benchmark = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(benchmark)
LEAST = dict.fromkeys(benchmark.KINDS, 20) | {"healthy": 80, "divergence": 45}


@pytest.fixture(scope="module")
def curves():
    return benchmark.load()


def test_enough_curves_of_every_kind(curves):
    counts = Counter(curve.kind for curve in curves)
    assert len(curves) >= 300
    assert set(counts) == set(benchmark.KINDS)
    assert all(counts[kind] >= least for kind, least in LEAST.items()), counts


def test_every_kind_is_in_every_set(curves):
    counts = Counter((curve.kind, curve.half) for curve in curves)
    assert all(counts[kind, half] >= 5 for kind in benchmark.KINDS for half in benchmark.HALVES), counts


def test_reporting_set_is_other_runs_of_the_tasks_of_the_rest(curves):
    tasks, seeds, lengths = ({half: set() for half in benchmark.HALVES} for _ in range(3))
    for curve in curves:
        half, task, *rest = curve.name.split("/")
        seeds[half] |= {part for part in rest if part.startswith("seed")}
        if task != "gan":
            tasks[half].add(task)
            lengths[half].add(rest[1])
    others = ("choosing", "tried", "third")
    assert all(not tasks[a] & tasks[b] for a, b in itertools.combinations(others, 2))
    assert all(len(tasks["reporting"] & tasks[half]) >= 5 for half in others)
    assert not seeds["reporting"] & set().union(*(seeds[half] for half in others))
    assert {"450x28", "800x28"} <= lengths["reporting"] - set().union(*(lengths[half] for half in others))


def test_no_run_twice(curves):
    assert len({curve.name for curve in curves}) == len(curves)
    first = [curve.inputs.get("losses", curve.inputs.get("generator_losses")) for curve in curves]
    assert len({losses.tobytes() for losses in first}) == len(curves)


def test_inputs_of_a_run_are_as_long_as_its_losses(curves):
    for curve in curves:
        inputs = dict(curve.inputs)
        steps, values = inputs.pop("validation_losses", (np.arange(1), np.zeros(1)))
        lengths = {len(array) for array in inputs.values()}
        assert len(lengths) == 1, curve.name
        assert all(array.ndim == 1 and array.dtype == np.float32 for array in inputs.values()), curve.name
        assert len(steps) == len(values), curve.name
        assert steps[0] == 0, curve.name
        assert steps[-1] <= lengths.pop(), curve.name
        assert ("losses" in inputs) != ("generator_losses" in inputs), curve.name


def test_healthy_curves_are_finite(curves):
    for curve in curves:
        if curve.kind == "healthy":
            assert all(np.isfinite(array).all() for array in curve.inputs.values()), curve.name
