"""What does a schedule cost in a jitted training step, beside a constant rate?

    python benchmarks/schedule_cost.py [--smoke]

Prints a markdown table: a row a schedule, with the operations that the compiled step launches, the instructions of its
optimized program (those inside of fusions included), the time to compile it and the warm time of a step of a small MLP
under optax.adamw, and the ratio of each to the constant rate. Times are medians; a schedule's step is timed right after
the constant's, and their ratio is the median over such pairs. The second constant shows the noise, optax's cosine what
is usual.
"""

from __future__ import annotations

import argparse
import itertools
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from schedule_table import CASES

INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?[\w.-]+ = ", re.MULTILINE)
SIZES = (64, 256, 256, 10)
BATCH_SIZE = 64
AGAIN = "constant, again"
THEIRS = "optax's warmup_cosine"
OPTAX_COSINE = optax.warmup_cosine_decay_schedule(1e-5, 3e-3, 10, 1000, 1e-4)


class Sample(NamedTuple):
    """How often everything is measured."""

    compilations: int
    rounds: int
    steps: int


FULL = Sample(compilations=3, rounds=31, steps=25)
SMOKE = Sample(compilations=1, rounds=3, steps=5)


def loss_fn(params: list[jax.Array], images: jax.Array, labels: jax.Array) -> jax.Array:
    for layer in params[:-1]:
        images = jax.nn.relu(images @ layer)
    return optax.softmax_cross_entropy_with_integer_labels(images @ params[-1], labels).mean()


def start() -> tuple[list[jax.Array], jax.Array, jax.Array]:
    """Weights and one batch."""
    rng = np.random.default_rng(0)
    shapes = itertools.pairwise(SIZES)
    params = [jnp.asarray(rng.normal(0, fan_in**-0.5, (fan_in, out)), jnp.float32) for fan_in, out in shapes]
    images = jnp.asarray(rng.normal(size=(BATCH_SIZE, SIZES[0])), jnp.float32)
    return params, images, jnp.asarray(rng.integers(0, SIZES[-1], BATCH_SIZE))


def compiled_step(learning_rate: float | Callable) -> tuple[Any, Any, float]:
    """A compiled training step, the optimizer state it starts from, and the seconds that compiling took."""
    optimizer = optax.adamw(learning_rate)

    def step(params: Any, opt_state: Any, images: jax.Array, labels: jax.Array) -> tuple[Any, Any]:
        updates, opt_state = optimizer.update(jax.grad(loss_fn)(params, images, labels), opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    params, images, labels = start()
    opt_state = optimizer.init(params)
    lowered = jax.jit(step).lower(params, opt_state, images, labels)
    began = time.perf_counter()
    compiled = lowered.compile()
    return compiled, opt_state, time.perf_counter() - began


def seconds_a_step(compiled: Any, opt_state: Any, steps: int) -> float:
    params, images, labels = start()
    began = time.perf_counter()
    for _ in range(steps):
        params, opt_state = compiled(params, opt_state, images, labels)
    jax.block_until_ready(params)
    return (time.perf_counter() - began) / steps


def size_of(compiled: Any) -> tuple[int, int]:
    """Operations launched one by one, and instructions in all."""
    text = compiled.as_text()
    entry = re.search(r"^ENTRY .*?^}", text, re.MULTILINE | re.DOTALL)
    assert entry is not None
    return len(INSTRUCTION.findall(entry[0])), len(INSTRUCTION.findall(text))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="three schedules, few repetitions")
    smoke = parser.parse_args().smoke

    rates: dict[str, float | Callable] = {"constant": 1e-3, AGAIN: 1e-3, THEIRS: OPTAX_COSINE}
    rates |= {case.name: case.schedule() for case in CASES if case.name != "constant"}
    sample = SMOKE if smoke else FULL
    if smoke:
        rates = {name: rates[name] for name in ("constant", AGAIN, "warmup_cosine", "wsd")}

    compiling: dict[str, list[float]] = {name: [] for name in rates}
    programs = {}
    for _ in range(sample.compilations):
        for name, rate in rates.items():
            *programs[name], seconds = compiled_step(rate)
            compiling[name].append(seconds)
    stepping: dict[str, list[tuple[float, float]]] = {name: [] for name in rates}
    for _ in range(sample.rounds):
        for name, program in programs.items():
            base = seconds_a_step(*programs["constant"], sample.steps)
            stepping[name].append((seconds_a_step(*program, sample.steps), base))

    sizes = {name: size_of(program) for name, (program, _) in programs.items()}
    print("| schedule | operations | instructions | ratio | compile ms | ratio | step µs | ratio |")
    print("|---|---|---|---|---|---|---|---|")
    base_instructions, base_seconds = sizes["constant"][1], np.median(compiling["constant"])
    for name, (operations, instructions) in sizes.items():
        seconds, pairs = np.median(compiling[name]), np.asarray(stepping[name])
        cells = [f"{operations}", f"{instructions}", f"{instructions / base_instructions:.2f}"]
        cells += [f"{1e3 * seconds:.0f}", f"{seconds / base_seconds:.2f}"]
        cells += [f"{1e6 * np.median(pairs[:, 0]):.0f}", f"{np.median(pairs[:, 0] / pairs[:, 1]):.2f}"]
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
