"""A flax.linen module in a range test trains as in a loop written the flax way."""

from __future__ import annotations

import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import errors, linen

from lrjax.finder import Problem, from_linen, range_test

STEPS = 6
GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(STEPS, 16, 5)).astype(np.float32)
Y = X.sum(axis=-1, keepdims=True)
HELD_OUT = (X[0] + 1, Y[0])
KEY = jax.random.key(3)


class Net(linen.Module):
    """BatchNorm and two Dropouts; it must be told its mode."""

    @linen.compact
    def __call__(self, x, train):  # noqa: D102
        x = linen.Dense(8, use_bias=False)(x)
        x = linen.relu(linen.BatchNorm(use_running_average=not train, momentum=0.5)(x))
        x = linen.Dense(1)(linen.Dropout(0.3, deterministic=not train)(x))
        return linen.Dropout(0.2, deterministic=not train)(x)


class Plain(linen.Module):
    """Parameters only."""

    @linen.compact
    def __call__(self, x):  # noqa: D102
        return linen.Dense(1)(x)


class Counted(linen.Module):
    """A collection that is no flax layer's, and noise from a stream of the module's own."""

    @linen.compact
    def __call__(self, x):  # noqa: D102
        calls = self.variable("counts", "calls", lambda: jnp.zeros(()))
        if not self.is_initializing() and self.is_mutable_collection("counts"):
            calls.value += 1
        self.sow("intermediates", "size", x.sum())
        return linen.Dense(1)(x) + jax.random.normal(self.make_rng("noise"), (len(x), 1))


def squared_error(apply, batch, train=True):
    x, y = batch
    return jnp.mean((apply(x, train=train) - y) ** 2)


def absolute_error(apply, batch):
    x, y = batch
    return jnp.mean(jnp.abs(apply(x, train=False) - y))


def squared_error_without_modes(apply, batch):
    x, y = batch
    return jnp.mean((apply(x) - y) ** 2)


@functools.partial(jax.jit, static_argnums=0)
def train_step(optimizer, variables, opt_state, key, batch):
    x, y = batch

    def loss(params):
        outputs, updates = Net().apply(
            {"params": params, "batch_stats": variables["batch_stats"]},
            x,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": key},
        )
        return jnp.mean((outputs - y) ** 2), updates

    (value, updates), gradients = jax.value_and_grad(loss, has_aux=True)(variables["params"])
    changes, opt_state = optimizer.update(gradients, opt_state, variables["params"])
    return {"params": optax.apply_updates(variables["params"], changes), **updates}, opt_state, value


def loop(variables, rate, seed):
    """The losses of a loop on the variables themselves, and the absolute error at the end."""
    optimizer = optax.adam(rate)
    opt_state = optimizer.init(variables["params"])
    losses = []
    for step in range(STEPS):
        key = jax.random.fold_in(jax.random.fold_in(KEY, seed), step)
        dropout = jax.random.split(jax.random.fold_in(key, 0))[0]
        variables, opt_state, loss = train_step(optimizer, variables, opt_state, dropout, (X[step], Y[step]))
        losses.append(float(loss))
    x, y = HELD_OUT
    return losses, float(jnp.mean(jnp.abs(Net().apply(variables, x, train=False) - y)))


def variables_of(seed):
    return Net().init(jax.random.key(seed), X[0], train=False)


def test_batch_norm_and_dropout_train_as_in_a_loop_on_the_variables():
    problem = from_linen(Net(), squared_error, X[0], train=False, evaluate=absolute_error)
    assert isinstance(problem, Problem)
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
        losses, evaluated = loop(variables_of(seeds[r]), rates[k], seeds[r])
        np.testing.assert_allclose(result.losses[k, r], losses, rtol=2e-4)
        np.testing.assert_allclose(result.validation_losses[k, r, 0], evaluated, rtol=2e-4)


def test_trained_variables_take_the_place_of_new_ones():
    variables = variables_of(7)
    variables["batch_stats"] = jax.tree.map(lambda leaf: leaf + 2, variables["batch_stats"])
    problem = from_linen(Net(), squared_error, X[0], train=False, evaluate=absolute_error)
    result = range_test(
        problem.loss_fn,
        variables["params"],
        (X, Y),
        optax.adam,
        [0.1],
        rng=KEY,
        model_state={"batch_stats": variables["batch_stats"]},
        validation=HELD_OUT,
        evaluate=problem.evaluate,
        validation_steps=[STEPS],
    )
    losses, evaluated = loop(variables, 0.1, 0)
    np.testing.assert_allclose(result.losses[0, 0], losses, rtol=2e-4)
    np.testing.assert_allclose(result.validation_losses[0, 0, 0], evaluated, rtol=2e-4)


def test_the_start_is_that_of_init():
    problem = from_linen(Net(), squared_error, X[0], train=False)
    variables = variables_of(0)
    assert list(problem.model_state) == ["batch_stats"]
    jax.tree.map(np.testing.assert_array_equal, problem.model_state["batch_stats"], variables["batch_stats"])
    jax.tree.map(np.testing.assert_array_equal, problem.params(jax.random.key(0)), variables["params"])


def test_a_module_of_parameters_only_needs_neither_state_nor_rng_nor_evaluate():
    problem = from_linen(Plain(), squared_error_without_modes, X[0])
    assert problem.model_state is None
    result = range_test(
        problem.loss_fn,
        problem.params,
        (X, Y),
        optax.sgd,
        [0.1],
        validation=(X[0], Y[0]),
        evaluate=problem.evaluate,
        validation_steps=[0],
    )
    start = Plain().init(jax.random.key(0), X[0])
    expected = jnp.mean((Plain().apply(start, X[0]) - Y[0]) ** 2)
    np.testing.assert_allclose(result.losses[0, 0, 0], expected, rtol=1e-5)
    np.testing.assert_allclose(result.validation_losses[0, 0, 0], expected, rtol=1e-5)


def test_every_call_of_apply_goes_on_where_the_last_one_ended_with_keys_of_its_own():
    def difference(apply, batch):
        return jnp.abs(apply(batch) - apply(batch)).min()

    problem = from_linen(Counted(), difference, X[0])
    params = problem.params(KEY)
    loss, state = problem.loss_fn(params, X[0], state=problem.model_state, rng=KEY)
    assert loss > 0
    assert (problem.model_state["counts"]["calls"], state["counts"]["calls"]) == (0, 2)
    other, _ = problem.loss_fn(params, X[0], state=state, rng=jax.random.key(4))
    assert other != loss


def test_apply_takes_mutable_and_rngs_as_the_module_does():
    def loss(apply, batch):
        outputs, sown = apply(batch, mutable=["intermediates"], rngs={"noise": KEY})
        assert list(sown) == ["intermediates"]
        return outputs.mean() + sown["intermediates"]["size"][0]

    problem = from_linen(Counted(), loss, X[0])
    params = problem.params(KEY)
    value, state = problem.loss_fn(params, X[0], state=problem.model_state)
    outputs = Counted().apply({"params": params, **problem.model_state}, X[0], rngs={"noise": KEY})
    np.testing.assert_allclose(value, outputs.mean() + X[0].sum(), rtol=1e-5)
    np.testing.assert_allclose(problem.evaluate(params, X[0], state=state), value, rtol=1e-6)
    assert list(state) == ["counts"]
    assert state["counts"]["calls"] == 1


def test_dropout_without_rng_says_so():
    problem = from_linen(Net(), squared_error, X[0], train=False)
    with pytest.raises(ValueError) as caught:
        range_test(problem.loss_fn, problem.params, (X, Y), optax.sgd, [0.1], model_state=problem.model_state)
    assert str(caught.value) == (
        "the module of `from_linen(module=...)` draws random numbers (linen.Dropout, say): "
        "give `range_test(rng=jax.random.key(0))`"
    )


def test_rngs_that_lack_a_stream_are_flax_to_answer():
    problem = from_linen(Counted(), lambda apply, batch: apply(batch, rngs={"other": KEY}).mean(), X[0])
    with pytest.raises(errors.InvalidRngError):
        problem.loss_fn(problem.params(KEY), X[0], rng=KEY)


def test_batch_norm_without_model_state_says_so():
    problem = from_linen(Net(), squared_error, X[0], train=False)
    with pytest.raises(TypeError, match=r"give model_state= if it returns \(loss, new_state\)$"):
        range_test(problem.loss_fn, problem.params, (X, Y), optax.sgd, [0.1], rng=KEY)


class Normed(linen.Module):
    """BatchNorm without Dropout."""

    @linen.compact
    def __call__(self, x, train):  # noqa: D102
        return linen.BatchNorm(use_running_average=not train)(linen.Dense(1)(x))


@pytest.mark.parametrize("module", [Net(), Normed()], ids=["dropout", "batch_norm"])
@pytest.mark.parametrize(("evaluate", "given"), [(None, "be given and "), (squared_error, "")])
def test_evaluation_in_training_mode_is_refused(module, evaluate, given):
    problem = from_linen(module, squared_error, X[0], train=False, evaluate=evaluate)
    with pytest.raises(ValueError) as caught:
        range_test(
            problem.loss_fn,
            problem.params,
            (X, Y),
            optax.sgd,
            [0.1],
            rng=KEY,
            model_state=problem.model_state,
            validation=HELD_OUT,
            evaluate=problem.evaluate,
        )
    assert str(caught.value) == (
        f"`from_linen(evaluate=...)` must {given}apply the module in evaluation mode (train=False, say)"
    )


def test_without_flax_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "flax", None)
    with pytest.raises(ImportError, match=r"`from_linen` needs flax: pip install 'lrjax\[flax\]'"):
        from_linen(Plain(), squared_error_without_modes, X[0])
