"""The tasks of the labelled set that the benchmark of the regret lacks, and the rates that train every task well."""

from __future__ import annotations

import ast
import csv
import functools
import statistics
import textwrap
import tokenize
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import regret_tasks as tasks
from regret_tasks import (
    Batch,
    Params,
    Task,
    _apply,
    _cross_entropy,
    _dense,
    _digits,
    _perceptron,
    _split,
    _squared_error,
    _table,
    _task,
)
from sklearn import datasets


def _transformer(module: object, context: int, width: int, blocks: int, batch_size: int) -> Task:
    """Every next character by causal attention in one head; the norms come after the sums, as in 2017."""
    train, validation, kinds = tasks._windows(module, context, 3000, 100)

    def init(rng: jax.Array) -> Params:
        rngs = jax.random.split(rng, 4 * blocks + 3)
        params = {
            "embedding": jax.random.normal(rngs[0], (kinds, width)) * 0.3,
            "position": jax.random.normal(rngs[1], (context, width)) * 0.1,
            "head": _dense(rngs[2], width, kinds),
        }
        for block in range(blocks):
            sizes = {"qkv": (width, 3 * width), "out": (width, width), "up": (width, 2 * width)}
            sizes["down"] = (2 * width, width)
            for i, (name, size) in enumerate(sizes.items()):
                params[f"{name}_{block}"] = _dense(rngs[3 + 4 * block + i], *size)
        return params

    def apply(params: Params, codes: jax.Array) -> jax.Array:
        x = jax.nn.one_hot(codes, kinds) @ params["embedding"] + params["position"]
        causal = jnp.tril(jnp.ones((context, context), bool))
        for block in range(blocks):
            q, k, v = jnp.split(_apply(params[f"qkv_{block}"], x), 3, axis=-1)
            scores = jnp.where(causal, q @ k.swapaxes(-1, -2) * width**-0.5, -1e30)
            x = jax.nn.standardize(x + _apply(params[f"out_{block}"], jax.nn.softmax(scores) @ v), axis=-1)
            up = jax.nn.gelu(_apply(params[f"up_{block}"], x))
            x = jax.nn.standardize(x + _apply(params[f"down_{block}"], up), axis=-1)
        return _apply(params["head"], x)

    return _task(init, apply, _cross_entropy, (train, validation), batch_size)


def _recurrent(split: tuple[Batch, Batch], width: int, gain: float, outputs: int, kinds: int | None = None) -> Task:
    """A recurrence of relus, which a gain above 1 lets explode: rows or characters in, a class out."""
    inputs = kinds or split[0][0].shape[-1]

    def init(rng: jax.Array) -> Params:
        first, second, third = jax.random.split(rng, 3)
        recurrence = jnp.linalg.qr(jax.random.normal(second, (width, width)))[0] * gain
        return {"in": _dense(first, inputs, width), "recurrence": recurrence, "head": _dense(third, width, outputs)}

    def apply(params: Params, x: jax.Array) -> jax.Array:
        x = jax.nn.one_hot(x, kinds) if kinds else x

        def step(hidden: jax.Array, seen: jax.Array) -> tuple[jax.Array, None]:
            return jax.nn.relu(_apply(params["in"], seen) + hidden @ params["recurrence"]), None

        hidden, _ = jax.lax.scan(step, jnp.zeros((len(x), width)), x.swapaxes(0, 1))
        return _apply(params["head"], hidden)

    return _task(init, apply, _cross_entropy, split, 32)


def _likelihood(split: tuple[Batch, Batch], hidden: int) -> Task:
    """A normal distribution's mean and deviation by a perceptron: a loss that goes below zero."""
    outputs = split[0][1].shape[1]
    init, apply = _perceptron([split[0][0].shape[1], hidden, 2 * outputs], jnp.tanh)

    def loss(prediction: jax.Array, target: jax.Array) -> jax.Array:
        mean, log_deviation = jnp.split(prediction, 2, axis=-1)
        log_deviation = jnp.clip(log_deviation - 1.0, -2.5, 5.0)
        return jnp.mean(0.5 * ((target - mean) * jnp.exp(-log_deviation)) ** 2 + log_deviation)

    return _task(init, apply, loss, split, 32)


def _digit_rows() -> tuple[Batch, Batch]:
    images, labels = _digits()
    return _split(images.reshape(-1, 8, 8), labels, 1200)


def _digit_parity() -> Task:
    """Odd or even, by one convolution with strides of 2."""
    images, labels = _digits()
    dense, forward = _perceptron([128, 24, 2], jax.nn.gelu)

    def init(rng: jax.Array) -> Params:
        first, second = jax.random.split(rng)
        return dense(first) | {"kernel": jax.random.normal(second, (9, 8)) * (2 / 9) ** 0.5}

    def apply(params: Params, x: jax.Array) -> jax.Array:
        x = jnp.pad(x.reshape(-1, 8, 8), ((0, 0), (1, 1), (1, 1)))
        patches = jnp.stack([x[:, i : i + 7 : 2, j : j + 7 : 2] for i in range(3) for j in range(3)], axis=-1)
        return forward(params, jax.nn.gelu(patches @ params["kernel"]).reshape(len(x), -1))

    return _task(init, apply, _cross_entropy, _split(images, labels % 2, 1200), 32)


def _digit_quadrants(scale: float = 1.0) -> tuple[Batch, Batch]:
    """Which quarter of an image holds the most ink."""
    images, _ = _digits()
    ink = images.reshape(-1, 2, 4, 2, 4).sum(axis=(2, 4)).reshape(-1, 4)
    return _split(images * np.float32(scale), np.int32(ink.argmax(axis=1)), 1200)


def _denoising() -> Task:
    """A digit from a noisy one."""
    images = _digits()[0] - _digits()[0].mean(axis=0)
    images = images / images.std()
    noisy = images + np.random.default_rng(2).normal(size=images.shape).astype(np.float32)
    init, apply = _perceptron([64, 40, 64], jax.nn.relu)
    return _task(init, apply, _squared_error, _split(noisy, images, 1200), 32)


def _wine_column(*, scaled: bool) -> Task:
    """The alcohol of a wine from its other twelve columns."""
    table = datasets.load_wine().data
    standardised = np.float32((table - table.mean(axis=0)) / table.std(axis=0))
    inputs = (standardised if scaled else np.float32(table))[:, 1:]
    init, apply = _perceptron([12, 24, 24, 1], jax.nn.relu)
    return _task(init, apply, _squared_error, _split(inputs, standardised[:, :1], 130), 32)


def _cell_columns() -> tuple[Batch, Batch]:
    """Ten columns of the breast cancer table, and the ten that are their standard errors."""
    (train, _), (validation, _) = _table("breast_cancer", 400)
    return (train[:, :10], train[:, 10:20]), (validation[:, :10], validation[:, 10:20])


def _characters(module: object, context: int) -> tuple[Batch, Batch, int]:
    train, validation, kinds = tasks._windows(module, context, 4000, 500)
    return (train[0], train[1][:, -1]), (validation[0], validation[1][:, -1]), kinds


def _characters_mlp(module: object, context: int) -> Task:
    """The next character by a perceptron on embeddings."""
    train, validation, kinds = _characters(module, context)
    dense, forward = _perceptron([context * 6, 48, kinds], jnp.tanh)

    def init(rng: jax.Array) -> Params:
        first, second = jax.random.split(rng)
        return dense(first) | {"embedding": 0.5 * jax.random.normal(second, (kinds, 6))}

    def apply(params: Params, codes: jax.Array) -> jax.Array:
        return forward(params, (jax.nn.one_hot(codes, kinds) @ params["embedding"]).reshape(len(codes), -1))

    return _task(init, apply, _cross_entropy, (train, validation), 32)


def _text_rnn(module: object, context: int, width: int, gain: float) -> Task:
    train, validation, kinds = _characters(module, context)
    return _recurrent((train, validation), width, gain, kinds, kinds)


def _raw_table(name: str, train: int) -> tuple[Batch, Batch]:
    """The columns of a table in the units they were measured in."""
    inputs, labels = getattr(datasets, f"load_{name}")(return_X_y=True)
    return _split(np.float32(inputs), np.int32(labels), train)


def _deep(split: tuple[Batch, Batch], depth: int, width: int, outputs: int, activation: Callable) -> Task:
    inputs = split[0][0].shape[1]
    init, apply = _perceptron([inputs, *[width] * depth, outputs], activation)
    return _task(init, apply, _cross_entropy, split, 32)


def _digit_split(scale: float = 1.0) -> tuple[Batch, Batch]:
    images, labels = _digits()
    return _split(images * np.float32(scale), labels, 1200)


TASKS: dict[str, Callable[[], Task]] = {
    **tasks.CHOOSING,
    **{name: make for name, make in tasks.REPORTING.items() if name != "difflib_transformer"},
    "textwrap_transformer": lambda: _transformer(textwrap, 10, 16, 1, 12),
    "tokenize_transformer": lambda: _transformer(tokenize, 8, 12, 1, 12),
    "digits_rnn": lambda: _recurrent(_digit_rows(), 24, 1.0, 10),
    "digits_rnn_gain": lambda: _recurrent(_digit_rows(), 24, 3.0, 10),
    "text_rnn": lambda: _text_rnn(textwrap, 16, 32, 1.0),
    "text_rnn_gain": lambda: _text_rnn(textwrap, 16, 32, 1.8),
    "digits_deep": lambda: _deep(_digit_split(), 6, 32, 10, jax.nn.relu),
    "digits_deep_sigmoid": lambda: _deep(_digit_split(), 6, 32, 10, jax.nn.sigmoid),
    "digits_unscaled": lambda: _deep(_digit_split(256.0), 2, 32, 10, jax.nn.relu),
    "digits_scaled": lambda: _deep(_digit_split(), 2, 32, 10, jax.nn.relu),
    "wine_unscaled": lambda: _deep(_raw_table("wine", 120), 1, 24, 3, jax.nn.relu),
    "breast_cancer_deep": lambda: _deep(_table("breast_cancer", 400), 9, 24, 2, jnp.tanh),
    "breast_cancer_deep_sigmoid": lambda: _deep(_table("breast_cancer", 400), 9, 24, 2, jax.nn.sigmoid),
    "breast_cancer_unscaled": lambda: _deep(_raw_table("breast_cancer", 400), 2, 32, 2, jax.nn.relu),
    "diabetes_likelihood": lambda: _likelihood(_table("diabetes", 300), 24),
    "halves_likelihood": lambda: _likelihood(_split(_digits()[0][:, :32], _digits()[0][:, 32:], 1200), 48),
    "iris_mlp": lambda: _deep(_table("iris", 100), 1, 16, 3, jnp.tanh),
    "wine_column": lambda: _wine_column(scaled=True),
    "wine_column_unscaled": lambda: _wine_column(scaled=False),
    "digits_parity": _digit_parity,
    "digits_denoising": _denoising,
    "statistics_characters": lambda: _characters_mlp(statistics, 5),
    "ast_transformer": lambda: _transformer(ast, 6, 16, 1, 20),
    "csv_rnn": lambda: _text_rnn(csv, 10, 24, 1.0),
    "csv_rnn_gain": lambda: _text_rnn(csv, 10, 24, 2.2),
    "quadrants_deep": lambda: _deep(_digit_quadrants(), 7, 24, 4, jax.nn.relu),
    "quadrants_deep_sigmoid": lambda: _deep(_digit_quadrants(), 7, 24, 4, jax.nn.sigmoid),
    "quadrants_scaled": lambda: _deep(_digit_quadrants(), 1, 48, 4, jax.nn.relu),
    "quadrants_unscaled": lambda: _deep(_digit_quadrants(256.0), 1, 48, 4, jax.nn.relu),
    "cells_likelihood": lambda: _likelihood(_cell_columns(), 32),
}

_RATES = {
    "digits_mlp": (0.1, 0.005),
    "diabetes_mlp": (0.01, 0.003),
    "wine_mlp": (0.05, 0.01),
    "argparse_characters": (0.1, 0.01),
    "digits_halves": (0.2, 0.01),
    "digits_cnn": (0.02, 0.005),
    "breast_cancer_mlp": (0.05, 0.005),
    "digits_autoencoder": (0.2, 0.01),
    "textwrap_transformer": (0.05, 0.005),
    "tokenize_transformer": (0.05, 0.005),
    "digits_rnn": (0.02, 0.005),
    "text_rnn": (0.02, 0.004),
    "digits_deep": (0.02, 0.003),
    "digits_scaled": (0.05, 0.005),
    "breast_cancer_deep": (0.02, 0.002),
    "diabetes_likelihood": (0.01, 0.003),
    "halves_likelihood": (0.01, 0.003),
    "iris_mlp": (0.2, 0.05),
    "wine_column": (0.012, 0.004),
    "digits_parity": (0.04, 0.006),
    "digits_denoising": (0.06, 0.004),
    "statistics_characters": (0.04, 0.005),
    "ast_transformer": (0.04, 0.005),
    "csv_rnn": (0.04, 0.006),
    "quadrants_deep": (0.004, 0.002),
    "quadrants_scaled": (0.015, 0.006),
    "cells_likelihood": (0.002, 0.015),
}
TWINS = {
    "digits_rnn_gain": "digits_rnn",
    "text_rnn_gain": "text_rnn",
    "digits_deep_sigmoid": "digits_deep",
    "digits_unscaled": "digits_scaled",
    "wine_unscaled": "wine_mlp",
    "breast_cancer_deep_sigmoid": "breast_cancer_deep",
    "breast_cancer_unscaled": "breast_cancer_mlp",
    "wine_column_unscaled": "wine_column",
    "csv_rnn_gain": "csv_rnn",
    "quadrants_deep_sigmoid": "quadrants_deep",
    "quadrants_unscaled": "quadrants_scaled",
}
"""The task without the fault of a faulty task."""


@functools.cache
def task(name: str) -> Task:
    return TASKS[name]()


def well_tuned_rate(name: str, optimizer: str, batch: int) -> float:
    """A half to a third of the best constant rate over 600 steps (regret_truth.npz), scaled to the batch."""
    name = TWINS.get(name, name)
    momentum, adaptive = _RATES[name]
    ratio = batch / task(name).batch_size
    if optimizer in ("sgd", "sgd_clip"):
        return momentum * min(1.0, ratio)
    if optimizer == "gd":
        return 5 * momentum * min(1.0, ratio)
    return adaptive * (0.2 if optimizer == "lion" else 1.0) * min(1.0, ratio) ** 0.5
