"""What does recording cost, in share of a training step?

    python benchmarks/recording.py [--smoke] [--models mlp transformer]

Models of about a million parameters at batch 64: an MLP, in which each parameter is used once per example, so that a
step is short and mostly memory traffic, and a transformer over 16 tokens. A step is forward, backward, optimizer and
the new parameters, all state donated. For each optimizer the plain step and the recorded ones take turns in random
order, many short rounds. Prints a markdown table: milliseconds a step as medians over the rounds, ratios to the plain
step as medians over the rounds; compile times apart. "by hand" is what optax offers: `inject_hyperparams` for the rate
and `optax.tree.norm` of gradient, update and parameters, without averages and counts.
"""

from __future__ import annotations

import argparse
import itertools
import random
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import lrjax
from lrjax.monitors import record

BATCH = 64
WIDTHS = (784, 640, 640, 128, 10)
WIDTH, BLOCKS, TOKENS, HEADS = 128, 5, 16, 4
RATE = 1e-3


class ByHand(NamedTuple):
    """What a user of optax would keep."""

    gradient_norm: jax.Array
    update_norm: jax.Array
    parameter_norm: jax.Array
    inner: optax.OptState


def by_hand(inner: optax.GradientTransformation) -> optax.GradientTransformation:
    """Norms by ``optax.tree.norm``."""

    def init(params: Any) -> ByHand:
        return ByHand(*(jnp.zeros(3)), inner.init(params))

    def update(grads: Any, state: ByHand, params: Any) -> tuple[Any, ByHand]:
        updates, inner_state = inner.update(grads, state.inner, params)
        return updates, ByHand(*(optax.tree.norm(tree) for tree in (grads, updates, params)), inner_state)

    return optax.GradientTransformation(init, update)


OPTIMIZERS: dict[str, dict[str, Callable[[], optax.GradientTransformation]]] = {
    "optax.adamw": {
        "plain": lambda: optax.adamw(RATE),
        "record()": lambda: record(optax.adamw(RATE), learning_rate=RATE),
        "record(every=10)": lambda: record(optax.adamw(RATE), every=10, learning_rate=RATE),
        "by hand": lambda: by_hand(optax.inject_hyperparams(optax.adamw)(RATE)),
    },
    "lrjax.adamw": {
        "plain": lambda: lrjax.adamw(RATE),
        "record()": lambda: record(lrjax.adamw(RATE)),
        "record(every=10)": lambda: record(lrjax.adamw(RATE), every=10),
    },
}


def weights(rng: np.random.Generator, *shape: int) -> jax.Array:
    return jnp.asarray(rng.normal(scale=shape[0] ** -0.5, size=shape).astype(np.float32))


def mlp() -> tuple[Any, Callable[..., jax.Array], jax.Array, jax.Array]:
    """Parameters, loss, inputs and labels."""
    rng = np.random.default_rng(0)
    params = [{"kernel": weights(rng, *shape), "bias": jnp.zeros(shape[1])} for shape in itertools.pairwise(WIDTHS)]

    def loss(params: Any, inputs: jax.Array, labels: jax.Array) -> jax.Array:
        *hidden, last = params
        for layer in hidden:
            inputs = jax.nn.relu(inputs @ layer["kernel"] + layer["bias"])
        logits = inputs @ last["kernel"] + last["bias"]
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    return params, loss, weights(rng, BATCH, WIDTHS[0]), jnp.asarray(rng.integers(0, 10, BATCH))


def transformer() -> tuple[Any, Callable[..., jax.Array], jax.Array, jax.Array]:
    """Parameters, loss, inputs and labels."""
    rng = np.random.default_rng(0)
    shapes = {"qkv": (WIDTH, 3 * WIDTH), "out": (WIDTH, WIDTH), "up": (WIDTH, 4 * WIDTH), "down": (4 * WIDTH, WIDTH)}
    blocks = [{name: weights(rng, *shape) for name, shape in shapes.items()} for _ in range(BLOCKS)]
    params = {"embedding": weights(rng, 256, WIDTH), "blocks": blocks, "head": weights(rng, WIDTH, 256)}

    def normed(x: jax.Array) -> jax.Array:
        return x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-6)

    def loss(params: Any, inputs: jax.Array, labels: jax.Array) -> jax.Array:
        x = params["embedding"][inputs]
        for block in params["blocks"]:
            heads = (normed(x) @ block["qkv"]).reshape(*x.shape[:2], 3, HEADS, -1)
            mixed = jax.nn.dot_product_attention(*(heads[:, :, i] for i in range(3)), is_causal=True)
            x = x + mixed.reshape(x.shape) @ block["out"]
            x = x + jax.nn.relu(normed(x) @ block["up"]) @ block["down"]
        logits = normed(x) @ params["head"]
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    tokens = rng.integers(0, 256, (BATCH, TOKENS + 1))
    return params, loss, jnp.asarray(tokens[:, :-1]), jnp.asarray(tokens[:, 1:])


MODELS = {"mlp": mlp, "transformer": transformer}


def stepper(model: str, optimizer: optax.GradientTransformation) -> tuple[Callable[[int], float], float]:
    """A function that takes so many steps and gives the seconds of each, and the seconds that compiling took."""
    params, loss, inputs, labels = MODELS[model]()
    state = jax.tree.map(jnp.copy, optimizer.init(params))

    def step(params: Any, state: Any, inputs: jax.Array, labels: jax.Array) -> tuple[Any, Any, jax.Array]:
        value, grads = jax.value_and_grad(loss)(params, inputs, labels)
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state, value

    lowered = jax.jit(step, donate_argnums=(0, 1)).lower(params, state, inputs, labels)
    began = time.perf_counter()
    compiled = lowered.compile()
    seconds = time.perf_counter() - began
    held = [params, state, None]

    def take(steps: int) -> float:
        began = time.perf_counter()
        for _ in range(steps):
            held[:] = compiled(*held[:2], inputs, labels)
        jax.block_until_ready(held)
        return (time.perf_counter() - began) / steps

    return take, seconds


def rows(model: str, optimizer: str, rounds: int) -> list[str]:
    """The rows of one optimizer."""
    steppers = {name: stepper(model, build()) for name, build in OPTIMIZERS[optimizer].items()}
    steps = 10 if model == "mlp" else 2  # ten: one measurement of record(every=10) in each round
    shuffled = random.Random(0)
    times: dict[str, list[float]] = {name: [] for name in steppers}
    for _ in range(rounds):
        for name in shuffled.sample(list(steppers), len(steppers)):
            take, _ = steppers[name]
            if model == "mlp":
                take(1)  # caches are its own again
            times[name].append(take(steps))
    size = sum(leaf.size for leaf in jax.tree.leaves(MODELS[model]()[0]))
    table = []
    for name, (_, compiling) in steppers.items():
        ratio = statistics.median(a / b for a, b in zip(times[name], times["plain"], strict=True))
        cells = [model, f"{size:.2e}", optimizer, name, f"{statistics.median(times[name]) * 1e3:.2f}", f"{ratio:.3f}"]
        table.append(" | ".join([*cells, f"{compiling:.2f}"]))
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="few rounds")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    options = parser.parse_args()
    print(f"jax {jax.__version__}, optax {optax.__version__}, {jax.default_backend()}")
    print()
    print("model | parameters | optimizer | step | ms | ratio | compile s")
    print("|".join(["---"] * 7))
    for model in options.models:
        rounds = 2 if options.smoke else 101 if model == "mlp" else 61
        for optimizer in OPTIMIZERS:
            print("\n".join(rows(model, optimizer, rounds)), flush=True)


if __name__ == "__main__":
    main()
