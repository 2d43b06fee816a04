"""Which learning rate? Handwritten digits, a flax.nnx model, AdamW and Lion.

For each optimizer 41 learning rates x 3 seeds train side by side under a warmup-cosine schedule, the answer is printed
with its reasons and drawn, and full trainings, five times as long, from 5 other seeds compare it with the optimizer's
default rate on images that nothing before has seen.

    python examples/digits_range_test.py [--smoke] [--output output/]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
import optax
from flax import nnx
from sklearn.datasets import load_digits

import lrjax.plot
from lrjax.finder import Problem, RangeTest, from_nnx, minibatches, range_test, suggest
from lrjax.optimizers import adamw, lion
from lrjax.schedules import warmup_cosine

BATCH_SIZE = 64
Images = tuple[np.ndarray, np.ndarray]


class Size(NamedTuple):
    """How long everything takes."""

    rates: int
    test_steps: int
    training_steps: int
    training_seeds: int


FULL = Size(rates=41, test_steps=200, training_steps=1000, training_seeds=5)
SMOKE = Size(rates=7, test_steps=30, training_steps=60, training_seeds=2)
OPTIMIZERS = {"AdamW": (adamw, 1e-3, (1e-5, 1.0)), "Lion": (lion, 1e-4, (1e-6, 1.0))}


class MLP(nnx.Module):
    """64 pixels, one hidden layer, ten digits."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        """Two dense layers."""
        self.hidden = nnx.Linear(64, 64, rngs=rngs)
        self.output = nnx.Linear(64, 10, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Logits, ``[batch, 10]``."""
        return self.output(nnx.relu(self.hidden(images)))


def cross_entropy(model: MLP, batch: Images) -> jax.Array:
    images, labels = batch
    return optax.softmax_cross_entropy_with_integer_labels(model(images), labels).mean()


def accuracy(model: MLP, batch: Images) -> jax.Array:
    images, labels = batch
    return (model(images).argmax(axis=-1) == labels).mean()


def load() -> tuple[Images, Images, Images]:
    """Training, validation and test images, in a fixed random order."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    images, labels = np.float32(images[order] / 16), np.int32(labels[order])
    cuts = [slice(0, 1000), slice(1000, 1300), slice(1300, None)]
    return tuple((images[cut], labels[cut]) for cut in cuts)


def under_schedule(optimizer: Callable, steps: int) -> Callable[[float], optax.GradientTransformation]:
    """The optimizer as a function of the peak of a warmup-cosine schedule."""
    return lambda peak: optimizer(warmup_cosine(peak, steps, warmup_steps=steps // 20))


def train(problem: Problem, factory: Callable, peaks: list[float], starts: optax.Params, batches: Images) -> list:
    """Full trainings at every peak (first axis of the result) from every start, on its own batches (second axis)."""

    def one_run(peak: jax.Array, start: optax.Params, batches: Images) -> optax.Params:
        optimizer = factory(peak)

        def step(carry: tuple, batch: Images) -> tuple:
            params, state = carry
            updates, state = optimizer.update(jax.grad(problem.loss_fn)(params, batch), state, params)
            return (optax.apply_updates(params, updates), state), None

        (params, _), _ = jax.lax.scan(step, (start, optimizer.init(start)), batches)
        return params

    runs = jax.vmap(jax.vmap(one_run, in_axes=(None, 0, 0)), in_axes=(0, None, None))
    return jax.jit(runs)(jnp.array(peaks), starts, batches)


def find(name: str, problem: Problem, training: Images, validation: Images, size: Size) -> RangeTest:
    """The range test of one optimizer, under the schedule that the full training has."""
    optimizer, _, (low, high) = OPTIMIZERS[name]
    return range_test(
        problem.loss_fn,
        problem.params,
        minibatches(training, BATCH_SIZE, size.test_steps, jax.random.key(0)),
        under_schedule(optimizer, size.test_steps),
        np.geomspace(low, high, size.rates),
        horizon=size.training_steps,
        seeds=3,
        validation=validation,
        evaluate=problem.evaluate,
        progress=True,
    )


def compare(name: str, suggested: float, default: float, accuracies: np.ndarray) -> None:
    """Print the held-out accuracy of every seed at both rates, and the paired difference."""
    print(f"{name}: held-out accuracy of full trainings")
    for rate, label, values in zip((suggested, default), ("suggested", "default"), accuracies, strict=True):
        print(f"  {label:>9} {rate:<8.3g}  {'  '.join(f'{value:.4f}' for value in values)}  mean {values.mean():.4f}")
    difference = accuracies[0] - accuracies[1]
    error = difference.std(ddof=1) / np.sqrt(len(difference))
    print(f"  suggested - default: {difference.mean():+.4f}, standard error {error:.4f} over {len(difference)} seeds\n")


def main() -> None:
    parser = argparse.ArgumentParser(description="Find the learning rate of AdamW and Lion on handwritten digits.")
    parser.add_argument("--smoke", action="store_true", help="one optimizer, few rates and steps, to see that it runs")
    parser.add_argument("--output", type=Path, default=Path("output"), help="folder of the pictures")
    arguments = parser.parse_args()
    size = SMOKE if arguments.smoke else FULL
    arguments.output.mkdir(parents=True, exist_ok=True)
    mpl.use("Agg")

    training, validation, held_out = load()
    problem = from_nnx(MLP, cross_entropy)
    evaluate = jax.jit(jax.vmap(jax.vmap(from_nnx(MLP, accuracy).evaluate, in_axes=(0, None)), in_axes=(0, None)))
    seeds = range(100, 100 + size.training_seeds)
    starts = jax.jit(jax.vmap(lambda seed: problem.params(jax.random.key(seed))))(jnp.array(seeds))
    epochs = [minibatches(training, BATCH_SIZE, size.training_steps, jax.random.key(seed)) for seed in seeds]
    batches = jax.tree.map(lambda *leaves: np.stack(leaves), *epochs)

    results = {}
    for name in ["Lion"] if arguments.smoke else OPTIMIZERS:
        optimizer, default, _ = OPTIMIZERS[name]
        print(f"{name}: {size.rates} rates x 3 seeds, {size.test_steps} steps each", flush=True)
        result = results[name] = find(name, problem, training, validation, size)
        suggestion = suggest(result)
        print(result, flush=True)

        picture = arguments.output / f"digits_range_test_{name.lower()}.png"
        axes = lrjax.plot.range_test(result, suggestion)
        axes.set_title(f"{name} on digits: peak of a warmup-cosine schedule")
        axes.figure.savefig(picture, dpi=150)
        print(f"Picture: {picture}", flush=True)

        peaks = [suggestion.learning_rate, default]
        runs = size.training_seeds * len(peaks)
        print(f"{name}: {runs} full trainings of {size.training_steps} steps ...", flush=True)
        params = train(problem, under_schedule(optimizer, size.training_steps), peaks, starts, batches)
        compare(name, *peaks, np.asarray(evaluate(params, held_out), np.float64))

    axes = lrjax.plot.comparison(results)
    axes.set_title("Peak of a warmup-cosine schedule on digits")
    axes.figure.savefig(arguments.output / "digits_comparison.png", dpi=150)
    print(f"Picture: {arguments.output / 'digits_comparison.png'}")


if __name__ == "__main__":
    main()
