"""Does backoff save runs whose rate is too high, and does it leave healthy ones alone?

    python benchmarks/backoff.py [--smoke]

Four problems of the regret benchmark, each with a cosine schedule to 0. A first sweep of bare runs finds the best
rate (least validation loss) and the largest stable one (validation loss within 1.2 times the best); a second one runs
3 to 100 times that stable rate. Every run is done bare and with backoff at its defaults, all lanes of a sweep in one
compiled call. Losses are means over the seeds, which are not those that the constants of backoff were chosen on.

A bare run is lost if it ends in NaN or above its initial training loss, and useless if it is that or does not end 5%
below what a constant prediction reaches. A lost run is saved if it ends finite and 10% below its initial loss, a
useless one if it ends useful. Training losses are those of all examples.
Prints markdown tables: rescue, quality at healthy rates, and the time of a step.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import regret_tasks as tasks

import lrjax
from lrjax.monitors import backoff

Wrapper = Callable[[optax.GradientTransformation], optax.GradientTransformation]


class Problem(NamedTuple):
    """A task, its optimizer as a function of the rate, a rate near the best, and the size of the experiment."""

    task: Callable[[], tasks.Task]
    optimizer: Callable[[Any], optax.GradientTransformation]
    near: float
    steps: int
    seeds: int


class Runs(NamedTuple):
    """Losses ``[rates, seeds]`` on all training and validation examples; the scale at the end, counts of backoffs."""

    initial: np.ndarray
    training: np.ndarray
    validation: np.ndarray
    scale: np.ndarray
    backoffs: np.ndarray


PROBLEMS = {
    "character transformer, SGD with momentum": Problem(
        tasks.difflib_transformer, lambda rate: optax.sgd(rate, 0.9), 0.2, 200, 3
    ),
    "next character by a perceptron, AdamW": Problem(tasks.argparse_characters, lrjax.adamw, 0.03, 300, 4),
    "lower half of digits, Adam": Problem(tasks.digits_halves, optax.adam, 0.02, 300, 4),
    "digits autoencoder, SGD with momentum": Problem(
        tasks.digits_autoencoder, lambda rate: optax.sgd(rate, 0.9), 0.3, 400, 4
    ),
}
AROUND = 10.0 ** np.array([-1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5])
ABOVE = np.array([3.0, 5.5, 10.0, 17.0, 30.0, 55.0, 100.0])
FIRST_SEED = 900
TOLERANCE = 1.2


def bare(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """The optimizer as it is."""
    return optimizer


def trainer(problem: Problem, wrapper: Wrapper, seeds: int, steps: int) -> Callable[[np.ndarray], Runs]:
    """A function of the rates that trains every rate from every seed, compiled once."""
    task = problem.task()
    train, validation = (jax.tree.map(jnp.asarray, part) for part in (task.train, task.validation))
    keys = jnp.stack([jax.random.key(FIRST_SEED + seed) for seed in range(seeds)])
    size = len(task.train[0])
    rows = [
        lrjax.minibatches(np.arange(size), task.batch_size, steps, jax.random.key(FIRST_SEED + seed))
        for seed in range(seeds)
    ]

    def lane(rate: jax.Array, key: jax.Array, rows: jax.Array) -> Runs:
        schedule = lrjax.warmup_cosine(rate, steps, warmup_steps=0)
        optimizer = optax.with_extra_args_support(wrapper(problem.optimizer(schedule)))
        start = task.init(key)

        def step(carry: Any, chosen: jax.Array) -> tuple[Any, None]:
            params, state = carry
            batch = jax.tree.map(lambda leaf: leaf[chosen], train)
            loss, grads = jax.value_and_grad(task.loss_fn)(params, batch)
            updates, state = optimizer.update(grads, state, params, value=loss)
            return (optax.apply_updates(params, updates), state), None

        (params, state), _ = jax.lax.scan(step, (start, optimizer.init(start)), rows)
        watched = (state.scale, state.backoffs) if wrapper is not bare else (jnp.float32(1.0), jnp.int32(0))
        return Runs(task.loss_fn(start, train), *(task.loss_fn(params, part) for part in (train, validation)), *watched)

    lanes = jax.jit(jax.vmap(jax.vmap(lane, (None, 0, 0)), (0, None, None)))
    return lambda rates: jax.tree.map(np.asarray, lanes(jnp.float32(rates), keys, jnp.stack(rows)))


def ratio(values: np.ndarray, reference: float) -> str:
    """The mean of ``values`` over ``reference``."""
    return f"{values.mean() / reference:.3f}"


def report(name: str, problem: Problem, *, smoke: bool) -> None:
    """Rows of the tables for one problem."""
    seeds, steps = (1, 20) if smoke else (problem.seeds, problem.steps)
    plain, guarded = (trainer(problem, wrapper, seeds, steps) for wrapper in (bare, backoff))
    around = problem.near * AROUND
    healthy, watched = plain(around), guarded(around)
    means = np.nan_to_num(healthy.validation, nan=np.inf).mean(axis=1)
    best = int(np.argmin(means))
    stable = int(np.flatnonzero(means <= TOLERANCE * means[best])[-1])
    tuned = means[best]
    trained = float(healthy.training[best].mean())
    print(f"\n### {name}\n")
    print(
        f"{steps} steps, {seeds} seeds; initial loss {healthy.initial.mean():.3g}, constant prediction "
        f"{problem.task().constant_loss:.3g}; best rate {around[best]:.3g}: validation {tuned:.4g}, "
        f"training {trained:.4g}; largest stable rate {around[stable]:.3g}\n"
    )
    worst = [
        max((getattr(watched, part)[i].mean() / getattr(healthy, part)[i].mean()) for i in range(best + 1))
        for part in ("training", "validation")
    ]
    print(
        f"Healthy rates (to the best): {int(watched.backoffs[: best + 1].sum())} backoffs in "
        f"{seeds * (best + 1)} runs; largest ratio of mean final losses, with backoff over bare: "
        f"training {worst[0]:.4f}, validation {worst[1]:.4f}\n"
    )
    far, rescued = plain(around[stable] * ABOVE), guarded(around[stable] * ABOVE)
    constant = problem.task().constant_loss
    lost = ~(far.training <= far.initial)
    useful, kept = (runs.training <= 0.95 * np.minimum(runs.initial, constant) for runs in (far, rescued))
    saved = rescued.training < 0.9 * rescued.initial
    print(
        "| rate / stable | bare: training loss | lost | saved | useless | made useful | scale at the end "
        "| validation / tuned | training / tuned |\n|---|---|---|---|---|---|---|---|---|"
    )
    for i, times in enumerate(ABOVE):
        scales = " ".join(f"{scale:.0e}" for scale in sorted(rescued.scale[i]))
        print(
            f"| {times:g} | {far.training[i].mean():.3g} | {lost[i].sum()} | {(saved & lost)[i].sum()} "
            f"| {(~useful)[i].sum()} | {(kept & ~useful)[i].sum()} | {scales} "
            f"| {ratio(rescued.validation[i], tuned)} | {ratio(rescued.training[i], trained)} |"
        )
    print(
        f"\nSaved {(saved & lost).sum()} of {lost.sum()} lost runs; made {(kept & ~useful).sum()} of {(~useful).sum()} "
        "useless ones useful."
    )


def cost(*, smoke: bool) -> None:
    """Milliseconds of a training step with and without backoff, contestants in turn."""
    keys = jax.random.split(jax.random.key(0), 4)
    shapes = [(256, 1024), (1024, 640), (640, 128)]
    start = [0.05 * jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=False)]

    def loss_fn(params: list[jax.Array], x: jax.Array) -> jax.Array:
        first, second, last = params
        return jnp.mean((jnp.tanh(jnp.tanh(x @ first) @ second) @ last) ** 2)

    contestants = {
        "bare": bare,
        "optax.apply_if_finite": lambda optimizer: optax.apply_if_finite(optimizer, 5),
        "backoff": backoff,
        "backoff, restore=False": lambda optimizer: backoff(optimizer, restore=False),
    }
    print("\n### Cost\n\nAdam on 1M parameters, milliseconds of a step (compilation apart) and over the bare one's.\n")
    print("| batch | " + " | ".join(contestants) + " |\n|---" + "|---" * len(contestants) + "|")
    for size in (64, 1024):
        x = jax.random.normal(keys[3], (size, shapes[0][0]))
        running: dict[str, list[Any]] = {}
        for name, wrapper in contestants.items():
            optimizer = optax.with_extra_args_support(wrapper(optax.adam(1e-3)))

            def step(params: Any, state: Any, x: jax.Array, optimizer: Any = optimizer) -> Any:
                loss, grads = jax.value_and_grad(loss_fn)(params, x)
                updates, state = optimizer.update(grads, state, params, value=loss)
                return optax.apply_updates(params, updates), state

            compiled = jax.jit(step, donate_argnums=(0, 1))
            params = jax.tree.map(jnp.copy, start)
            running[name] = [compiled, jax.block_until_ready(compiled(params, optimizer.init(params), x)), []]
        for _ in range(2 if smoke else 25):
            for contest in running.values():
                began = time.perf_counter()
                for _ in range(4):
                    contest[1] = contest[0](*contest[1], x)
                jax.block_until_ready(contest[1])
                contest[2].append((time.perf_counter() - began) / 4 * 1e3)
        times = {name: contest[2] for name, contest in running.items()}
        cells = []
        for taken in times.values():
            over = statistics.median(mine / theirs for mine, theirs in zip(taken, times["bare"], strict=True))
            cells.append(f"{statistics.median(taken):.2f} ({over:.2f})")
        print(f"| {size} | " + " | ".join(cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="a few steps, to see that it runs")
    arguments = parser.parse_args()
    for name, problem in PROBLEMS.items():
        report(name, problem, smoke=arguments.smoke)
    cost(smoke=arguments.smoke)


if __name__ == "__main__":
    main()
