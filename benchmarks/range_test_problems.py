"""The four problems of ``range_test.py`` in JAX: a loss, parameters and 100 batches each."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

STEPS, BATCH_SIZE, CLASSES = 100, 64, 10
SEQUENCES, LENGTH, VOCABULARY, WIDTH, HEADS, BLOCKS = 16, 64, 64, 128, 4, 2


class Problem(NamedTuple):
    """What is trained."""

    loss_fn: Callable[[Any, Any], jax.Array]
    params: Any
    batches: Any


def _dense(rng: np.random.Generator, fan_in: int, out: int) -> dict[str, np.ndarray]:
    weights = rng.normal(0, fan_in**-0.5, (fan_in, out)).astype(np.float32)
    return {"w": weights, "b": np.zeros(out, np.float32)}


def _apply(layer: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    return x @ layer["w"] + layer["b"]


def _cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def _images(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """8x8 images and labels, ``[STEPS, BATCH_SIZE, ...]``."""
    images = rng.normal(size=(STEPS, BATCH_SIZE, 64)).astype(np.float32)
    return images, rng.integers(0, CLASSES, (STEPS, BATCH_SIZE)).astype(np.int32)


def mlp(*sizes: int) -> Problem:
    """Dense layers with ReLU between them."""
    rng = np.random.default_rng(0)

    def loss_fn(params: list[dict[str, jax.Array]], batch: Any) -> jax.Array:
        x, labels = batch
        for layer in params[:-1]:
            x = jax.nn.relu(_apply(layer, x))
        return _cross_entropy(_apply(params[-1], x), labels)

    params = [_dense(rng, fan_in, out) for fan_in, out in itertools.pairwise(sizes)]
    return Problem(loss_fn, params, _images(rng))


def cnn() -> Problem:
    """Two 3x3 convolutions of 16 and 32 filters, 2x2 mean pooling, one dense layer."""
    rng = np.random.default_rng(0)

    def convolution(layer: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        form = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, layer["w"], (1, 1), "SAME", dimension_numbers=form) + layer["b"]

    def loss_fn(params: dict[str, Any], batch: Any) -> jax.Array:
        x, labels = batch
        x = x.reshape(-1, 8, 8, 1)
        for name in ("first", "second"):
            x = jax.nn.relu(convolution(params[name], x))
        x = x.reshape(-1, 4, 2, 4, 2, 32).mean((2, 4)).reshape(-1, 512)
        return _cross_entropy(_apply(params["dense"], x), labels)

    params = {
        name: {"w": rng.normal(0, 0.1, (3, 3, fan_in, out)).astype(np.float32), "b": np.zeros(out, np.float32)}
        for name, fan_in, out in (("first", 1, 16), ("second", 16, 32))
    }
    return Problem(loss_fn, params | {"dense": _dense(rng, 512, CLASSES)}, _images(rng))


def transformer() -> Problem:
    """A causal language model: 2 blocks of width 128 with 4 heads, on 16 sequences of 64 tokens."""
    rng = np.random.default_rng(0)
    causal = np.tril(np.ones((LENGTH, LENGTH), bool))
    tokens = SEQUENCES * LENGTH

    def norm(layer: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        return jax.nn.standardize(x, epsilon=1e-5) * layer["w"] + layer["b"]

    def attention(block: dict[str, Any], x: jax.Array) -> jax.Array:
        parts = _apply(block["qkv"], x).reshape(SEQUENCES, LENGTH, 3, HEADS, -1)
        query, key, value = parts.transpose(2, 0, 3, 1, 4)
        scores = (query * query.shape[-1] ** -0.5) @ key.swapaxes(-1, -2)
        weights = jax.nn.softmax(jnp.where(causal, scores, -1e30))
        return _apply(block["out"], (weights @ value).swapaxes(1, 2).reshape(tokens, WIDTH))

    def loss_fn(params: dict[str, Any], batch: jax.Array) -> jax.Array:
        x = (params["embedding"][batch[:, :-1]] + params["positions"]).reshape(tokens, WIDTH)
        for block in params["blocks"]:
            x = x + attention(block, norm(block["norm1"], x))
            x = x + _apply(block["down"], jax.nn.gelu(_apply(block["up"], norm(block["norm2"], x))))
        return _cross_entropy(_apply(params["head"], x), batch[:, 1:].reshape(tokens))

    def scale() -> dict[str, np.ndarray]:
        return {"w": np.ones(WIDTH, np.float32), "b": np.zeros(WIDTH, np.float32)}

    blocks = [
        {
            "norm1": scale(),
            "qkv": _dense(rng, WIDTH, 3 * WIDTH),
            "out": _dense(rng, WIDTH, WIDTH),
            "norm2": scale(),
            "up": _dense(rng, WIDTH, 4 * WIDTH),
            "down": _dense(rng, 4 * WIDTH, WIDTH),
        }
        for _ in range(BLOCKS)
    ]
    params = {
        "embedding": rng.normal(0, 1, (VOCABULARY, WIDTH)).astype(np.float32),
        "positions": np.zeros((LENGTH, WIDTH), np.float32),
        "blocks": blocks,
        "head": _dense(rng, WIDTH, VOCABULARY),
    }
    return Problem(loss_fn, params, rng.integers(0, VOCABULARY, (STEPS, SEQUENCES, LENGTH + 1)).astype(np.int32))


PROBLEMS: dict[str, Callable[[], Problem]] = {
    "MLP 32": lambda: mlp(64, 32, 10),
    "MLP 256": lambda: mlp(64, 256, 256, 10),
    "CNN": cnn,
    "transformer": transformer,
}
