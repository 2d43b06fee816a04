"""What does logging cost a training loop?

    python benchmarks/log_cost.py [--smoke]

Trains two networks by AdamW, one call of a compiled step after the other, and logs loss, gradient norm and learning
rate of every step, in each way that lrjax has and in the usual one, float(loss). Prints a markdown table: microseconds
a step, until the last row is in the file, and the ratio to the loop without a log, as medians over rounds in which all
take turns in random order; compile time apart. A second table has what one callback costs in a compiled loop, with
JAX's own functions and with log_callback.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import itertools
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.experimental import io_callback

from lrjax import warmup_cosine
from lrjax.monitors import BufferedLogger, buffered, csv_logger, jsonl_logger, log_callback, tensorboard_logger

NETWORKS = {"64-32-10": (64, 32, 10), "64-256-256-10": (64, 256, 256, 10)}
BATCH_SIZE = 64
SCHEDULE = warmup_cosine(1e-3, 10_000, warmup_steps=100)
Log = Callable[[Any, dict[str, Any]], object]


def loss_fn(params: list[jax.Array], images: jax.Array, labels: jax.Array) -> jax.Array:
    for layer in params[:-1]:
        images = jax.nn.relu(images @ layer)
    return optax.softmax_cross_entropy_with_integer_labels(images @ params[-1], labels).mean()


def start(sizes: tuple[int, ...]) -> tuple[list[jax.Array], jax.Array, jax.Array]:
    """Weights and one batch."""
    rng = np.random.default_rng(0)
    shapes = itertools.pairwise(sizes)
    params = [jnp.asarray(rng.normal(0, fan_in**-0.5, (fan_in, out)), jnp.float32) for fan_in, out in shapes]
    images = jnp.asarray(rng.normal(size=(BATCH_SIZE, sizes[0])), jnp.float32)
    return params, images, jnp.asarray(rng.integers(0, sizes[-1], BATCH_SIZE))


def step_with(log: Log | None) -> Callable[..., Any]:
    """A compiled training step that takes its state's memory; ``log`` is called inside of it."""
    optimizer = optax.adamw(SCHEDULE)

    @functools.partial(jax.jit, donate_argnums=0)
    def step(state: Any, images: jax.Array, labels: jax.Array) -> Any:
        params, opt_state, count = state
        loss, grads = jax.value_and_grad(loss_fn)(params, images, labels)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        metrics = {"loss": loss, "gradient_norm": optax.tree.norm(grads), "learning_rate": SCHEDULE(count)}
        if log is not None:
            log(count, metrics)
        return (optax.apply_updates(params, updates), opt_state, count + 1), metrics

    return step


class Way:
    """A way to log.

    Args:
        open_log: Makes the logger of a folder, None for no logger.
        every: With ``compiled``, the steps from one row to the next.
        compiled: Whether the log is called inside of the compiled step.
    """

    def __init__(self, open_log: Callable[[str], Log] | None = None, *, every: int = 1, compiled: bool = False) -> None:
        """Nothing is open yet."""
        self.open_log, self.every, self.compiled = open_log, every, compiled

    @contextlib.contextmanager
    def running(self, sizes: tuple[int, ...]) -> Iterator[Callable[[int], float]]:
        """A function that trains some steps and gives the seconds of one."""
        with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
            logger = None if self.open_log is None else self.open_log(folder)
            if hasattr(logger, "close"):
                stack.enter_context(logger)
            step = step_with(log_callback(logger, every=self.every) if self.compiled else None)
            params, images, labels = start(sizes)
            held = [(params, optax.adamw(SCHEDULE).init(params), jnp.int32(0))]
            log = None if self.compiled else logger

            def train(steps: int) -> float:
                began = time.perf_counter()
                for i in range(steps):
                    held[0], metrics = step(held[0], images, labels)
                    if log is not None:
                        log(i, metrics)
                jax.block_until_ready(held)
                jax.effects_barrier()
                if isinstance(logger, BufferedLogger):
                    logger.flush()
                return (time.perf_counter() - began) / steps

            yield train


def floats(_: str) -> Log:
    """What is usual: the loss as a Python number, kept in a list."""
    losses: list[float] = []
    return lambda _, metrics: losses.append(float(metrics["loss"]))


def jsonl(folder: str) -> Log:
    return jsonl_logger(Path(folder) / "log.jsonl")


WAYS = {
    "no log": Way(),
    "float(loss)": Way(floats),
    "jsonl_logger": Way(jsonl),
    "csv_logger": Way(lambda folder: csv_logger(Path(folder) / "log.csv")),
    "tensorboard_logger": Way(tensorboard_logger),
    "buffered(jsonl_logger)": Way(lambda folder: buffered(jsonl(folder))),
    "buffered(tensorboard_logger)": Way(lambda folder: buffered(tensorboard_logger(folder))),
    "log_callback(jsonl_logger)": Way(jsonl, compiled=True),
    "log_callback(buffered(jsonl_logger))": Way(lambda folder: buffered(jsonl(folder)), compiled=True),
    "log_callback(buffered(jsonl_logger), every=10)": Way(
        lambda folder: buffered(jsonl(folder)), every=10, compiled=True
    ),
}


def loops(rounds: int, steps: int) -> None:
    """The first table."""
    print("| network | log | µs a step | ratio |")
    print("|---|---|---|---|")
    for network, sizes in NETWORKS.items():
        with contextlib.ExitStack() as stack:
            trains = {name: stack.enter_context(way.running(sizes)) for name, way in WAYS.items()}
            for train in trains.values():
                train(steps)  # compiles
            times: dict[str, list[float]] = {name: [] for name in trains}
            shuffled = random.Random(0)
            for _ in range(rounds):
                for name in shuffled.sample(list(trains), len(trains)):
                    times[name].append(trains[name](steps))
        for name, seconds in times.items():
            ratio = statistics.median(a / b for a, b in zip(seconds, times["no log"], strict=True))
            print(f"| {network} | {name} | {statistics.median(seconds) * 1e6:.0f} | {ratio:.2f} |", flush=True)


def callbacks(rounds: int, calls: int) -> None:
    """The second table."""

    def nothing(*_: Any) -> None:
        return None

    ways = {
        "jax.debug.callback": functools.partial(jax.debug.callback, nothing),
        "jax.debug.callback(ordered=True)": functools.partial(jax.debug.callback, nothing, ordered=True),
        "io_callback": functools.partial(io_callback, nothing, None),
        "io_callback(ordered=True)": functools.partial(io_callback, nothing, None, ordered=True),
        "log_callback": log_callback(nothing),
        "log_callback(every=10)": log_callback(nothing, every=10),
    }

    def program(log: Log, metrics: int) -> Callable[[float], jax.Array]:
        def body(x: jax.Array, step: jax.Array) -> tuple[jax.Array, None]:
            log(step, {f"metric {i}": x for i in range(metrics)})
            return 0.999 * x, None

        return jax.jit(lambda x: jax.lax.scan(body, x, jnp.arange(calls))[0])

    programs = {(name, metrics): program(log, metrics) for name, log in ways.items() for metrics in (1, 6)}
    times: dict[Any, list[float]] = {key: [] for key in programs}
    for _ in range(rounds + 1):  # the first compiles
        for key, run in programs.items():
            began = time.perf_counter()
            jax.block_until_ready(run(1.0))
            jax.effects_barrier()
            times[key].append((time.perf_counter() - began) / calls)
    print("\n| callback | µs a step with 1 metric | with 6 |")
    print("|---|---|---|")
    for name in ways:
        cells = [f"{statistics.median(times[name, metrics][1:]) * 1e6:.0f}" for metrics in (1, 6)]
        print(f"| {name} | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="few and short rounds")
    smoke = parser.parse_args().smoke
    print(f"jax {jax.__version__}, {jax.devices()[0].platform}\n")
    loops(*((3, 20) if smoke else (15, 150)))
    callbacks(*((3, 50) if smoke else (5, 500)))


if __name__ == "__main__":
    main()
