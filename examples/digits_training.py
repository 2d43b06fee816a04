"""Is the run healthy? Handwritten digits, a small network, AdamW at three rates.

One run at a good rate, one at a rate a thousand times higher, and that one again behind ``backoff``. Each is recorded
and logged while it goes, read back from its log, diagnosed and drawn.

    python examples/digits_training.py [--smoke] [--output output/]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import jax
import matplotlib as mpl
import numpy as np
import optax
from sklearn.datasets import load_digits

import lrjax
from lrjax.monitors import backoff, buffered, jsonl_logger, read_log, record

BATCH_SIZE, VALIDATE_EVERY, GOOD_RATE, TOO_HIGH = 64, 50, 3e-3, 1000
Params = list[jax.Array]
Batch = tuple[np.ndarray, np.ndarray]


def initial(rng: jax.Array) -> Params:
    """Weights of 64 pixels, one hidden layer and ten digits."""
    rngs = jax.random.split(rng)
    return [jax.random.normal(rngs[0], (64, 128)) / 8, jax.random.normal(rngs[1], (128, 10)) / 11]


def cross_entropy(params: Params, batch: Batch) -> jax.Array:
    images, labels = batch
    logits = jax.nn.relu(images @ params[0]) @ params[1]
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def load() -> tuple[Batch, Batch]:
    """Training and validation images, in a fixed random order."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    images, labels = np.float32(images[order] / 16), np.int32(labels[order])
    return (images[:1200], labels[:1200]), (images[1200:], labels[1200:])


def train(optimizer: optax.GradientTransformationExtraArgs, steps: int, path: Path) -> None:
    """A run that logs every step, without waiting for it."""
    train_data, validation = load()
    optimizer = record(optimizer)

    @jax.jit
    def step(params: Params, state: optax.OptState, batch: Batch) -> tuple[Params, optax.OptState, jax.Array]:
        loss, grads = jax.value_and_grad(cross_entropy)(params, batch)
        updates, state = optimizer.update(grads, state, params, value=loss)
        return optax.apply_updates(params, updates), state, loss

    params = initial(jax.random.key(0))
    state = optimizer.init(params)
    batches = lrjax.minibatches(train_data, BATCH_SIZE, steps, jax.random.key(1))
    path.unlink(missing_ok=True)
    with buffered(jsonl_logger(path)) as log:
        for i, batch in enumerate(zip(*batches, strict=True)):
            if i % VALIDATE_EVERY == 0:
                log(i, {"validation_loss": cross_entropy(params, validation)})
            params, state, loss = step(params, state, batch)
            log(i, {"loss": loss, **state.metrics})
        log(steps - 1, {"validation_loss": cross_entropy(params, validation)})
    if isinstance(state.inner, lrjax.monitors.BackoffState):
        print(
            f"backoffs: {int(state.inner.backoffs)}, by which the rate was multiplied by {float(state.inner.scale):g}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="few steps")
    parser.add_argument("--output", type=Path, default=Path("output"), help="where logs and pictures go")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    mpl.use("Agg")

    steps = 100 if arguments.smoke else 1000
    good, high = (
        lrjax.adamw(lrjax.warmup_cosine(rate, steps, warmup_steps=steps // 20), max_norm=None)
        for rate in (GOOD_RATE, TOO_HIGH * GOOD_RATE)
    )
    runs = {"good rate": good, "too high": high, "too high, with backoff": backoff(high)}
    for name, optimizer in runs.items():
        print(f"\n== {name}")
        stem = arguments.output / f"digits_training_{name.replace(',', '').replace(' ', '_')}"
        train(optimizer, steps, stem.with_suffix(".jsonl"))
        log = read_log(stem.with_suffix(".jsonl"))
        validation = read_log(stem.with_suffix(".jsonl"), ["validation_loss"])
        curves = {
            "validation_losses": (validation["step"], validation["validation_loss"]),
            "gradient_norms": log["gradient_norm"],
            "learning_rates": log["learning_rate"],
        }
        print(f"ended at a validation loss of {validation['validation_loss'][-1]:.3f}")
        print(lrjax.diagnosis.diagnose(log["loss"], **curves))
        figure = lrjax.plot.training(log["loss"], **curves)
        figure.savefig(stem.with_suffix(".png"), dpi=120)


if __name__ == "__main__":
    main()
