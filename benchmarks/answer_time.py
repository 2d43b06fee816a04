"""How long an answer takes in a new process: digits, a network of 64-256-256-10, AdamW, 16 rates x 3 seeds x 120 steps.

Cold: nothing is compiled, and no cache is on disk. Beside it ``learning_rates="auto"`` within as many lane-steps.

    python benchmarks/answer_time.py [--repeats 5]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time

import numpy as np

RATES, SEEDS, STEPS = 16, 3, 120


def answer(rates: str) -> None:
    """Answer twice, and print the seconds of both calls and since the process began to import JAX."""
    begin = time.perf_counter()
    import jax
    import jax.numpy as jnp
    import optax
    from sklearn.datasets import load_digits

    import lrjax

    images, labels = load_digits(return_X_y=True)
    data = np.float32(images / 16), np.int32(labels)
    train, validation = (tuple(part[cut] for part in data) for cut in (slice(1400), slice(1400, None)))
    widths = (64, 256, 256, 10)

    def init(key: jax.Array) -> list:
        keys = jax.random.split(key, 3)
        shapes = zip(keys, widths[:-1], widths[1:], strict=True)
        return [(jax.random.normal(k, (i, o)) * (2 / i) ** 0.5, jnp.zeros(o)) for k, i, o in shapes]

    def loss_fn(params: list, batch: tuple) -> jax.Array:
        x = batch[0]
        for place, (w, b) in enumerate(params):
            x = x @ w + b if place == 2 else jax.nn.relu(x @ w + b)
        return optax.softmax_cross_entropy_with_integer_labels(x, batch[1]).mean()

    ready = time.perf_counter()
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        batches = lrjax.minibatches(train, 64, STEPS, jax.random.key(0))
        grid = "auto" if rates == "auto" else np.geomspace(1e-5, 1.0, RATES)
        options = {"budget": RATES * SEEDS * STEPS} if rates == "auto" else {}
        result = lrjax.range_test(
            loss_fn, init, batches, lrjax.adamw, grid, seeds=SEEDS, validation=validation, **options
        )
        found = lrjax.suggest(result).learning_rate
        seconds.append(time.perf_counter() - start)
    print(json.dumps({"imports": ready - begin, "cold": seconds[0], "warm": seconds[1], "answer": found}))


def main() -> None:
    parser = argparse.ArgumentParser(description="The seconds from a new process to an answer.")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--answer", choices=("grid", "auto"), help="answer once in this process")
    arguments = parser.parse_args()
    if arguments.answer:
        answer(arguments.answer)
        return
    print("| rates | imports and data, s | cold answer, s | warm answer, s | rate |\n|---|---|---|---|---|")
    for rates in ("grid", "auto"):
        runs = []
        for _ in range(arguments.repeats):
            command = [sys.executable, __file__, "--answer", rates]
            runs.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
        medians = {name: np.median([run[name] for run in runs]) for name in runs[0]}
        times = " | ".join(f"{medians[name]:.2f}" for name in ("imports", "cold", "warm"))
        print(f"| {rates} | {times} | {medians['answer']:.3g} |")


if __name__ == "__main__":
    main()
