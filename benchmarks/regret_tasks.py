"""The tasks of the regret benchmark: data that scikit-learn and the standard library ship, and small networks."""

from __future__ import annotations

import argparse as argparse_module
import difflib
import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn import datasets

import lrjax

Params = dict[str, Any]
Batch = tuple[np.ndarray, np.ndarray]


class Task(NamedTuple):
    """What is trained, on what, and by how many examples a step."""

    init: Callable[[jax.Array], Params]
    loss_fn: Callable[[Params, Batch], jax.Array]
    train: Batch
    validation: Batch
    batch_size: int
    constant_loss: float
    """The validation loss of the best constant prediction on the training data."""


def _dense(rng: jax.Array, inputs: int, outputs: int) -> Params:
    return {"w": jax.random.normal(rng, (inputs, outputs)) * (2 / inputs) ** 0.5, "b": jnp.zeros(outputs)}


def _apply(layer: Params, x: jax.Array) -> jax.Array:
    return x @ layer["w"] + layer["b"]


def _perceptron(widths: list[int], activation: Callable) -> tuple[Callable, Callable]:
    """``init(rng)`` and ``apply(params, x)`` of dense layers."""

    def init(rng: jax.Array) -> Params:
        rngs = jax.random.split(rng, len(widths) - 1)
        sizes = zip(rngs, widths[:-1], widths[1:], strict=True)
        return {f"layer_{i}": _dense(*size) for i, size in enumerate(sizes)}

    def apply(params: Params, x: jax.Array) -> jax.Array:
        for i in range(len(widths) - 2):
            x = activation(_apply(params[f"layer_{i}"], x))
        return _apply(params[f"layer_{len(widths) - 2}"], x)

    return init, apply


def _cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def _squared_error(prediction: jax.Array, target: jax.Array) -> jax.Array:
    return jnp.mean((prediction - target) ** 2)


def _split(inputs: np.ndarray, targets: np.ndarray, train: int) -> tuple[Batch, Batch]:
    """A fixed random split; the first part is for training."""
    order = np.random.default_rng(0).permutation(len(inputs))
    first, rest = order[:train], order[train:]
    return (inputs[first], targets[first]), (inputs[rest], targets[rest])


def _task(
    init: Callable,
    apply: Callable,
    loss: Callable,
    split: tuple[Batch, Batch],
    batch_size: int,
) -> Task:
    (train_x, train_y), (valid_x, valid_y) = split
    if loss is _cross_entropy:
        counts = np.bincount(train_y.ravel(), minlength=int(max(train_y.max(), valid_y.max())) + 1) + 1
        constant = float(-np.log(counts / counts.sum())[valid_y].mean())
    else:
        constant = float(np.mean((valid_y - train_y.mean(axis=0)) ** 2))
    return Task(
        init,
        lambda params, batch: loss(apply(params, batch[0]), batch[1]),
        (train_x, train_y),
        (valid_x, valid_y),
        batch_size,
        constant,
    )


def _table(name: str, train: int) -> tuple[Batch, Batch]:
    """A table of scikit-learn, its columns standardised."""
    inputs, targets = getattr(datasets, f"load_{name}")(return_X_y=True)
    inputs = np.float32((inputs - inputs.mean(axis=0)) / inputs.std(axis=0))
    if targets.dtype.kind == "f":
        targets = np.float32((targets - targets.mean()) / targets.std())[:, None]
    return _split(inputs, np.asarray(targets, None if targets.dtype == np.float32 else np.int32), train)


@functools.cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    images, labels = datasets.load_digits(return_X_y=True)
    return np.float32(images / 16), np.int32(labels)


def _windows(module: Any, context: int, train: int, validation: int) -> tuple[Batch, Batch, int]:
    """Windows of a module's source, the character after each, and how many characters there are."""
    text = inspect.getsource(module)
    kinds = {character: number for number, character in enumerate(sorted(set(text)))}
    codes = np.array([kinds[character] for character in text], np.int32)
    starts = np.random.default_rng(0).permutation(len(codes) - context - 1)[: train + validation]
    windows = codes[starts[:, None] + np.arange(context + 1)]
    parts = windows[:train], windows[train:]
    first, second = ((part[:, :-1], part[:, 1:]) for part in parts)
    return first, second, len(kinds)


def digits_mlp() -> Task:
    init, apply = _perceptron([64, 64, 10], jax.nn.relu)
    return _task(init, apply, _cross_entropy, _split(*_digits(), 1200), 64)


def diabetes_mlp() -> Task:
    init, apply = _perceptron([10, 32, 32, 1], jax.nn.relu)
    return _task(init, apply, _squared_error, _table("diabetes", 300), 32)


def wine_mlp() -> Task:
    init, apply = _perceptron([13, 32, 3], jnp.tanh)
    return _task(init, apply, _cross_entropy, _table("wine", 120), 32)


def argparse_characters() -> Task:
    """The next character from the last eight, by a perceptron on their embeddings."""
    train, validation, kinds = _windows(argparse_module, 8, 8000, 1000)
    dense, forward = _perceptron([8 * 8, 64, kinds], jax.nn.relu)

    def init(rng: jax.Array) -> Params:
        first, second = jax.random.split(rng)
        return dense(first) | {"embedding": 0.3 * jax.random.normal(second, (kinds, 8))}

    def apply(params: Params, codes: jax.Array) -> jax.Array:
        return forward(params, (jax.nn.one_hot(codes, kinds) @ params["embedding"]).reshape(len(codes), -1))

    last = tuple((x, y[:, -1]) for x, y in (train, validation))
    return _task(init, apply, _cross_entropy, last, 64)


def digits_halves() -> Task:
    """The lower half of a digit from its upper half, with layer normalisation."""
    images, _ = _digits()
    init, _ = _perceptron([32, 64, 64, 32], jax.nn.gelu)

    def apply(params: Params, x: jax.Array) -> jax.Array:
        for i in range(2):
            x = jax.nn.gelu(jax.nn.standardize(_apply(params[f"layer_{i}"], x), axis=-1))
        return _apply(params["layer_2"], x)

    return _task(init, apply, _squared_error, _split(images[:, :32], images[:, 32:], 1200), 64)


def digits_cnn() -> Task:
    images, labels = _digits()

    def init(rng: jax.Array) -> Params:
        first, second, third = jax.random.split(rng, 3)
        return {
            "first": jax.random.normal(first, (9, 8)) * (2 / 9) ** 0.5,
            "second": jax.random.normal(second, (72, 16)) * (2 / 72) ** 0.5,
            "head": _dense(third, 64, 10),
        }

    def convolved(x: jax.Array, kernel: jax.Array) -> jax.Array:
        """3 x 3 with zeros around, as a product with patches."""
        height, width = x.shape[1:3]
        padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        shifted = [padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
        return jax.nn.relu(jnp.concatenate(shifted, axis=-1) @ kernel)

    def pooled(x: jax.Array) -> jax.Array:
        n, height, width, channels = x.shape
        return x.reshape(n, height // 2, 2, width // 2, 2, channels).max(axis=(2, 4))

    def apply(params: Params, x: jax.Array) -> jax.Array:
        x = pooled(convolved(x.reshape(-1, 8, 8, 1), params["first"]))
        x = pooled(convolved(x, params["second"]))
        return _apply(params["head"], x.reshape(len(x), -1))

    return _task(init, apply, _cross_entropy, _split(images, labels, 1200), 16)


def breast_cancer_mlp() -> Task:
    init, apply = _perceptron([30, 32, 32, 2], jax.nn.relu)
    return _task(init, apply, _cross_entropy, _table("breast_cancer", 400), 32)


def digits_autoencoder() -> Task:
    images, _ = _digits()
    init, apply = _perceptron([64, 32, 8, 32, 64], jnp.tanh)
    return _task(init, apply, _squared_error, _split(images, images, 1200), 64)


def difflib_transformer() -> Task:
    """Every next character of twelve, by one causal block of attention."""
    context, width, heads = 12, 24, 2
    train, validation, kinds = _windows(difflib, context, 4000, 300)

    def init(rng: jax.Array) -> Params:
        rngs = jax.random.split(rng, 7)
        return {
            "embedding": jax.random.normal(rngs[0], (kinds, width)) * 0.3,
            "position": jax.random.normal(rngs[1], (context, width)) * 0.1,
            "qkv": _dense(rngs[2], width, 3 * width),
            "out": _dense(rngs[3], width, width),
            "up": _dense(rngs[4], width, 2 * width),
            "down": _dense(rngs[5], 2 * width, width),
            "head": _dense(rngs[6], width, kinds),
        }

    def normed(x: jax.Array) -> jax.Array:
        return jax.nn.standardize(x, axis=-1)

    def apply(params: Params, codes: jax.Array) -> jax.Array:
        x = jax.nn.one_hot(codes, kinds) @ params["embedding"] + params["position"]
        parts = _apply(params["qkv"], normed(x)).reshape(*codes.shape, 3, heads, width // heads)
        q, k, v = (parts[:, :, i] for i in range(3))
        scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) * (width // heads) ** -0.5
        causal = jnp.tril(jnp.ones((context, context), bool))
        weights = jax.nn.softmax(jnp.where(causal, scores, -1e30))
        x = x + _apply(params["out"], jnp.einsum("bhqk,bkhd->bqhd", weights, v).reshape(x.shape))
        x = x + _apply(params["down"], jax.nn.gelu(_apply(params["up"], normed(x))))
        return _apply(params["head"], normed(x))

    return _task(init, apply, _cross_entropy, (train, validation), 8)


CHOOSING = {
    "digits_mlp": digits_mlp,
    "diabetes_mlp": diabetes_mlp,
    "wine_mlp": wine_mlp,
    "argparse_characters": argparse_characters,
    "digits_halves": digits_halves,
}
"""On these the constants of the rule "auto" were chosen."""

REPORTING = {
    "digits_cnn": digits_cnn,
    "breast_cancer_mlp": breast_cancer_mlp,
    "digits_autoencoder": digits_autoencoder,
    "difflib_transformer": difflib_transformer,
}
"""On these its regret is reported."""

OPTIMIZERS = {
    "sgd": lambda rate: optax.sgd(rate, momentum=0.9),
    "adamw": lambda rate: lrjax.adamw(rate, max_norm=None),
}
SCHEDULES = {
    "constant": lambda peak, steps: peak,  # noqa: ARG005
    "cosine": lambda peak, steps: lrjax.warmup_cosine(peak, steps, warmup_steps=0),
}
HORIZONS = (600, 3000)
RATES = {"sgd": np.geomspace(1e-5, 10, 31), "adamw": np.geomspace(1e-6, 1, 31)}
