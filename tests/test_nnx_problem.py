"""A flax.nnx model in a range test trains as in a loop written the flax way."""

from __future__ import annotations

import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from lrjax.finder import Problem, from_nnx, range_test

STEPS = 6
GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(STEPS, 16, 5)).astype(np.float32)
Y = X.sum(axis=-1, keepdims=True)
HELD_OUT = (X[0] + 1, Y[0])
KEY = jax.random.key(3)


class Net(nnx.Module):
    """BatchNorm and two Dropouts with streams of their own."""

    def __init__(self, rngs):  # noqa: D107
        self.first = nnx.Linear(5, 8, use_bias=False, rngs=rngs)
        self.norm = nnx.BatchNorm(8, momentum=0.5, rngs=rngs)
        self.drop = nnx.Dropout(0.3, rngs=rngs)
        self.second = nnx.Linear(8, 1, rngs=rngs)
        self.late = nnx.Dropout(0.2, rngs=rngs)

    def __call__(self, x):  # noqa: D102
        return self.late(self.second(self.drop(nnx.relu(self.norm(self.first(x))))))


class Plain(nnx.Module):
    """Parameters only."""

    def __init__(self, rngs):  # noqa: D107
        self.dense = nnx.Linear(5, 1, rngs=rngs)

    def __call__(self, x):  # noqa: D102
        return self.dense(x)


def squared_error(model, batch):
    x, y = batch
    return jnp.mean((model(x) - y) ** 2)


def absolute_error(model, batch):
    x, y = batch
    return jnp.mean(jnp.abs(model(x) - y))


@nnx.jit
def train_step(model, optimizer, key, batch):
    for stream, dropout in enumerate([model.drop, model.late]):
        dropout.rngs.key[...] = jax.random.fold_in(key, stream)
        dropout.rngs.count[...] = jnp.uint32(0)
    loss, gradients = nnx.value_and_grad(squared_error)(model, batch)
    optimizer.update(model, gradients)
    return loss


def loop(model, rate, seed, evaluate):
    """The losses of a loop on the module itself, and its evaluation at the end."""
    optimizer = nnx.Optimizer(model, optax.adam(rate), wrt=nnx.Param)
    losses = []
    for step in range(STEPS):
        key = jax.random.fold_in(jax.random.fold_in(KEY, seed), step)
        losses.append(float(train_step(model, optimizer, key, (X[step], Y[step]))))
    model.eval()
    return losses, float(evaluate(model, HELD_OUT))


def test_batch_norm_and_dropout_train_as_in_a_loop_on_the_module():
    problem = from_nnx(Net, squared_error, evaluate=absolute_error)
    rates, seeds = [0.1, 0.01], [4, 0]
    result = range_test(
        problem.loss_fn,
        problem.params,
        (X, Y),
        optax.adam,
        rates,
        rng=KEY,
        seeds=seeds,
        model_state=problem.model_state,
        validation=HELD_OUT,
        evaluate=problem.evaluate,
        validation_steps=[STEPS],
    )
    for k, r in ((0, 0), (1, 1)):
        losses, evaluated = loop(Net(nnx.Rngs(jax.random.key(seeds[r]))), rates[k], seeds[r], absolute_error)
        np.testing.assert_allclose(result.losses[k, r], losses, rtol=2e-4)
        np.testing.assert_allclose(result.validation_losses[k, r, 0], evaluated, rtol=2e-4)


def test_a_module_is_where_every_lane_starts_and_stays_as_it_was():
    model = Net(nnx.Rngs(1))
    before = [np.asarray(leaf) for leaf in jax.tree.leaves(nnx.state(model, nnx.Param, nnx.BatchStat))]
    problem = from_nnx(model, squared_error)
    assert isinstance(problem, Problem)
    result = range_test(
        problem.loss_fn, problem.params, (X, Y), optax.adam, [0.1], rng=KEY, model_state=problem.model_state
    )
    after = [np.asarray(leaf) for leaf in jax.tree.leaves(nnx.state(model, nnx.Param, nnx.BatchStat))]
    for leaf, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(leaf, other)
    losses, _ = loop(model, 0.1, 0, squared_error)
    np.testing.assert_allclose(result.losses[0, 0], losses, rtol=2e-4)


def test_a_model_of_parameters_only_needs_neither_state_nor_rng():
    problem = from_nnx(Plain(nnx.Rngs(0)), squared_error)
    assert problem.model_state is None
    result = range_test(problem.loss_fn, problem.params, (X, Y), optax.sgd, [0.1], validation=HELD_OUT)
    np.testing.assert_allclose(result.losses[0, 0, 0], squared_error(Plain(nnx.Rngs(0)), (X[0], Y[0])), rtol=1e-5)


def test_dropout_without_rng_says_so():
    problem = from_nnx(Net, squared_error)
    with pytest.raises(ValueError) as caught:
        range_test(problem.loss_fn, problem.params, (X, Y), optax.sgd, [0.1], model_state=problem.model_state)
    assert str(caught.value) == (
        "the model of `from_nnx(model=...)` draws random numbers (nnx.Dropout, say): "
        "give `range_test(rng=jax.random.key(0))`"
    )


def test_batch_norm_without_model_state_says_so():
    problem = from_nnx(Net, squared_error)
    with pytest.raises(TypeError, match=r"give model_state= if it returns \(loss, new_state\)$"):
        range_test(problem.loss_fn, problem.params, (X, Y), optax.sgd, [0.1], rng=KEY)


def test_a_factory_must_make_a_module():
    with pytest.raises(
        TypeError, match=r"`from_nnx\(model=...\)` must be a function rngs -> nnx.Module, got 3 \(int\)"
    ):
        from_nnx(lambda _: 3, squared_error)


def test_without_flax_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "flax", None)
    with pytest.raises(ImportError, match=r"`from_nnx` needs flax: pip install 'lrjax\[flax\]'"):
        from_nnx(Plain, squared_error)
