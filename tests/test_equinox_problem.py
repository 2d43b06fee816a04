"""An Equinox model in a range test trains as in a loop written the Equinox way."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lrjax.finder import Problem, from_equinox, range_test

STEPS = 6
GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(STEPS, 16, 5)).astype(np.float32)
Y = X.sum(axis=-1, keepdims=True)
HELD_OUT = (X[0] + 1, Y[0])
KEY = jax.random.key(3)


class Net(eqx.Module):
    """BatchNorm and Dropout."""

    first: eqx.nn.Linear
    norm: eqx.nn.BatchNorm
    drop: eqx.nn.Dropout
    second: eqx.nn.Linear

    def __init__(self, key, mode="batch"):  # noqa: D107
        keys = jax.random.split(key)
        self.first = eqx.nn.Linear(5, 8, use_bias=False, key=keys[0])
        self.norm = eqx.nn.BatchNorm(8, axis_name="batch", momentum=0.5, mode=mode)
        self.drop = eqx.nn.Dropout(0.3)
        self.second = eqx.nn.Linear(8, 1, key=keys[1])

    def __call__(self, x, state, key):  # noqa: D102
        x, state = self.norm(self.first(x), state)
        return self.second(self.drop(jax.nn.relu(x), key=key)), state


class Plain(eqx.Module):
    """Parameters, whole numbers that stay as they are, and a static function that is another one in every model."""

    dense: eqx.nn.Linear
    order: jax.Array
    after: Callable = eqx.field(static=True)

    def __init__(self, key):  # noqa: D107
        self.dense = eqx.nn.Linear(5, 1, key=key)
        self.order = jnp.arange(5)[::-1]
        self.after = lambda x: 2 * x

    def __call__(self, x):  # noqa: D102
        return self.after(self.dense(x[self.order]))


class Counted(eqx.Module):
    """A state that is no Equinox layer's."""

    scale: jax.Array
    calls: eqx.nn.StateIndex

    def __init__(self):  # noqa: D107
        self.scale = jnp.ones(())
        self.calls = eqx.nn.StateIndex(jnp.zeros(()))

    def __call__(self, x, state):  # noqa: D102
        calls = state.get(self.calls) + 1
        return self.scale * calls * x, state.set(self.calls, calls)


def outputs_of(model, x, state, key):
    batched = jax.vmap(model, axis_name="batch", in_axes=(0, None, 0), out_axes=(0, None))
    return batched(x, state, jax.random.split(key, len(x)))


def squared_error(model, batch, state, key):
    x, y = batch
    outputs, state = outputs_of(model, x, state, key)
    return jnp.mean((outputs - y) ** 2), state


def absolute_error(model, batch, state):
    x, y = batch
    outputs, _ = outputs_of(model, x, state, jax.random.key(9))
    return jnp.mean(jnp.abs(outputs - y))


def plain_squared_error(model, batch):
    x, y = batch
    return jnp.mean((jax.vmap(model)(x) - y) ** 2)


@eqx.filter_jit
def train_step(model, state, rate, opt_state, key, batch):
    (loss, state), gradients = eqx.filter_value_and_grad(squared_error, has_aux=True)(model, batch, state, key)
    updates, opt_state = optax.adam(rate).update(gradients, opt_state, eqx.filter(model, eqx.is_inexact_array))
    return eqx.apply_updates(model, updates), state, opt_state, loss


def loop(model, state, rate, seed, evaluate):
    """The losses of a loop on the model itself, and its evaluation at the end."""
    opt_state = optax.adam(rate).init(eqx.filter(model, eqx.is_inexact_array))
    losses = []
    for step in range(STEPS):
        key = jax.random.fold_in(jax.random.fold_in(KEY, seed), step)
        model, state, opt_state, loss = train_step(model, state, jnp.float32(rate), opt_state, key, (X[step], Y[step]))
        losses.append(float(loss))
    return losses, float(evaluate(eqx.nn.inference_mode(model), HELD_OUT, state))


@pytest.mark.parametrize("mode", ["batch", "ema"])
def test_batch_norm_and_dropout_train_as_in_a_loop_on_the_model(mode):
    make = eqx.nn.make_with_state(functools.partial(Net, mode=mode))
    problem = from_equinox(make, squared_error, evaluate=absolute_error)
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
        losses, evaluated = loop(*make(jax.random.key(seeds[r])), rates[k], seeds[r], absolute_error)
        np.testing.assert_allclose(result.losses[k, r], losses, rtol=2e-4)
        np.testing.assert_allclose(result.validation_losses[k, r, 0], evaluated, rtol=2e-4)


def test_a_model_is_where_every_lane_starts_and_stays_as_it_was():
    model, state = eqx.nn.make_with_state(Net)(jax.random.key(1))
    before = [np.asarray(leaf) for leaf in jax.tree.leaves(eqx.filter((model, state), eqx.is_array))]
    problem = from_equinox((model, state), squared_error)
    result = range_test(
        problem.loss_fn,
        problem.params,
        (X, Y),
        optax.adam,
        [0.1],
        rng=KEY,
        model_state=problem.model_state,
        validation=HELD_OUT,
        evaluate=problem.evaluate,
        validation_steps=[STEPS],
    )
    after = [np.asarray(leaf) for leaf in jax.tree.leaves(eqx.filter((model, state), eqx.is_array))]
    for leaf, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(leaf, other)
    losses, evaluated = loop(model, state, 0.1, 0, lambda *call: squared_error(*call, key=KEY)[0])
    np.testing.assert_allclose(result.losses[0, 0], losses, rtol=2e-4)
    np.testing.assert_allclose(result.validation_losses[0, 0, 0], evaluated, rtol=2e-4)


def test_a_state_may_be_the_carry_of_a_scan_over_lanes():
    problem = from_equinox(eqx.nn.make_with_state(Net)(KEY), squared_error)

    def run(scale, state):
        params = jax.tree.map(lambda leaf: scale * leaf, problem.params)

        def step(carry, batch):
            loss, new = problem.loss_fn(params, batch, state=carry, rng=KEY)
            jax.tree.map(jnp.asarray, carry)
            return new, loss

        return jax.lax.scan(step, state, (X, Y))

    states = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), problem.model_state)
    state, losses = jax.jit(jax.vmap(run), donate_argnums=1)(jnp.array([1.0, 0.5]), states)
    assert jax.tree.structure(state) == jax.tree.structure(problem.model_state)
    one, one_losses = run(0.5, problem.model_state)
    np.testing.assert_allclose(losses[1], one_losses, rtol=2e-4)
    for leaf, other in zip(jax.tree.leaves(state), jax.tree.leaves(one), strict=True):
        np.testing.assert_allclose(leaf[1], other, rtol=2e-4)


def test_a_state_that_the_loss_sets_can_be_used_again():
    def loss(model, batch, state):
        outputs, state = model(batch, state)
        return outputs.mean(), state

    problem = from_equinox(eqx.nn.make_with_state(Counted)(), loss)
    for state in (None, problem.model_state, problem.model_state):
        value, new = problem.loss_fn(problem.params, jnp.ones(2), state=state)
        assert (value, jax.tree.leaves(new)) == (1, [1])
        assert problem.evaluate(problem.params, jnp.ones(2), state=state) == 1
    result = range_test(
        problem.loss_fn, problem.params, np.ones((3, 2)), optax.sgd, [1e-6], model_state=problem.model_state
    )
    np.testing.assert_allclose(result.losses[0, 0], [1, 2, 3], rtol=1e-4)


def test_a_model_of_parameters_only_needs_neither_state_nor_rng():
    problem = from_equinox(Plain, plain_squared_error)
    assert problem.model_state is None
    result = range_test(problem.loss_fn, problem.params, (X, Y), optax.sgd, [0.1], seeds=[5, 2], validation=HELD_OUT)
    for r, seed in enumerate(result.seeds):
        expected = plain_squared_error(Plain(jax.random.key(seed)), (X[0], Y[0]))
        np.testing.assert_allclose(result.losses[0, r, 0], expected, rtol=1e-5)


def test_an_evaluation_that_draws_gets_the_same_key_every_time():
    def noisy(model, batch, key):
        return plain_squared_error(model, batch) + jax.random.uniform(key)

    problem = from_equinox(Plain(KEY), plain_squared_error, evaluate=noisy)
    values = [problem.evaluate(problem.params, (X[0], Y[0])) for _ in range(2)]
    assert values[0] == values[1]
    assert values[0] > plain_squared_error(Plain(KEY), (X[0], Y[0]))


def test_params_are_the_model_without_what_is_not_trained():
    model = Plain(KEY)
    problem = from_equinox(model, plain_squared_error)
    assert problem.params.order is None
    assert problem.params.dense.weight is model.dense.weight


def test_a_module_of_parameters_only_may_itself_be_params():
    dense = eqx.nn.Linear(5, 1, key=KEY)
    result = range_test(plain_squared_error, dense, (X, Y), optax.sgd, [0.1])
    np.testing.assert_allclose(result.losses[0, 0, 0], plain_squared_error(dense, (X[0], Y[0])), rtol=1e-5)


def test_a_key_without_rng_says_so():
    problem = from_equinox(eqx.nn.make_with_state(Net), squared_error)
    with pytest.raises(ValueError) as caught:
        range_test(problem.loss_fn, problem.params, (X, Y), optax.sgd, [0.1], model_state=problem.model_state)
    assert str(caught.value) == "`from_equinox(loss=...)` takes a key: give `range_test(rng=jax.random.key(0))`"


def test_batch_norm_without_model_state_says_so():
    problem = from_equinox(eqx.nn.make_with_state(Net), squared_error)
    with pytest.raises(TypeError, match=r"give model_state= if it returns \(loss, new_state\)$"):
        range_test(problem.loss_fn, problem.params, (X, Y), optax.sgd, [0.1], rng=KEY)


def test_without_equinox_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "equinox", None)
    with pytest.raises(ImportError, match=r"`from_equinox` needs equinox: pip install 'lrjax\[equinox\]'"):
        from_equinox(Plain, plain_squared_error)
