"""adam and adamw with the second moment started from the first gradient, against float64 NumPy."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from transformations import specification, tree

from lrjax.optimizers import adam, adamw

STEPS = 6
SKIPPED = (0, 3)


def by_hand(grads, rates, b1, b2, *, eps=1e-8, nesterov=False, weight_decay=0.0):
    """The parameters after each gradient; one that is not finite changes nothing, nor does its turn count."""
    params, mu, t = np.ones(grads.shape[1]), np.zeros(grads.shape[1]), 0
    nu = trajectory = None
    for grad in grads:
        if np.isfinite(grad).all():
            t += 1
            nu = grad**2 if nu is None else nu
            mu, nu = b1 * mu + (1 - b1) * grad, b2 * nu + (1 - b2) * grad**2
            looking = mu / (1 - b1**t)
            if nesterov:
                looking = b1 * mu / (1 - b1 ** (t + 1)) + (1 - b1) * grad / (1 - b1**t)
            direction = looking / (np.sqrt(nu / (1 - b2**t)) + eps)
            params = params - rates[t - 1] * (direction + weight_decay * params)
        trajectory = params[None] if trajectory is None else np.concatenate([trajectory, params[None]])
    return trajectory


def trained(optimizer, grads):
    def step(carry, grad):
        params, state = carry
        updates, state = optimizer.update(grad, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    params = jnp.ones(grads.shape[1])
    return jax.jit(lambda grads: jax.lax.scan(step, (params, optimizer.init(params)), grads)[1])(grads)


@pytest.mark.parametrize(
    ("build", "arguments", "hand"),
    [
        (adam, {"b1": 0.9, "b2": 0.999}, {}),
        (adam, {"b1": 0.5, "b2": 0.9, "nesterov": True}, {"nesterov": True}),
        (adamw, {"b1": 0.8, "b2": 0.99, "weight_decay": 0.1, "mask": None}, {"weight_decay": 0.1}),
    ],
    ids=["adam", "adam, nesterov", "adamw"],
)
def test_every_step_is_the_equation_s(build, arguments, hand):
    """On a schedule, with a first and a later gradient that are skipped."""
    grads = np.random.default_rng(0).normal(size=(STEPS, 5)).astype(np.float32)
    grads[SKIPPED, 2] = np.nan, np.inf
    rates = 0.1 * 0.8 ** np.arange(STEPS)
    schedule = optax.exponential_decay(0.1, 1, 0.8)
    actual = trained(build(schedule, gradient_initialized=True, max_norm=None, **arguments), grads)
    expected = by_hand(grads.astype(np.float64), rates, arguments["b1"], arguments["b2"], **hand)
    np.testing.assert_allclose(actual, expected, rtol=5e-6)
    np.testing.assert_array_equal(actual[0], np.ones(5))


def test_equal_gradients_are_warmed_up():
    """The update is learning_rate * sqrt(1 - b2**t), whatever the gradient's size; an entry without one stays."""
    grads = np.tile(np.float32([3.0, -1e-3, 0.0]), (STEPS, 1))
    moved = -np.diff(trained(adam(0.1, gradient_initialized=True, max_norm=None), grads), axis=0, prepend=1.0)
    warmup = 0.1 * np.sqrt(1 - 0.999 ** np.arange(1, STEPS + 1))
    np.testing.assert_allclose(moved, warmup[:, None] * np.float32([1.0, -1.0, 0.0]), rtol=1e-3)


def test_clipping_comes_first():
    grads = np.float32([[30.0, 40.0]])
    moved = 1.0 - trained(adam(0.1, eps=1.0, gradient_initialized=True), grads)
    expected = 0.1 * np.float64([0.6, 0.8]) / (np.float64([0.6, 0.8]) / np.sqrt(0.001) + 1.0)
    np.testing.assert_allclose(moved[0], expected, rtol=1e-4)


@pytest.mark.parametrize("build", [adam, adamw])
@pytest.mark.parametrize(
    ("dtype", "mu_dtype"), [(jnp.bfloat16, None), (jnp.float32, jnp.bfloat16), (jnp.complex64, None)]
)
def test_the_state_is_that_of_the_preset(build, dtype, mu_dtype):
    params, grads = tree(dtype), tree(dtype, 1)
    optimizer = build(mu_dtype=mu_dtype, gradient_initialized=True)
    state = jax.eval_shape(optimizer.init, params)
    assert specification(state) == specification(jax.eval_shape(build(mu_dtype=mu_dtype).init, params))
    updates, first = jax.eval_shape(optimizer.update, grads, state, params)
    assert specification(first) == specification(state)
    assert specification(updates) == specification(grads)


def test_without_it_nothing_changed():
    grads = np.random.default_rng(0).normal(size=(STEPS, 5)).astype(np.float32)
    np.testing.assert_allclose(trained(adam(0.1, max_norm=None), grads), trained(optax.adam(0.1), grads), rtol=1e-5)


def network(gradient_initialized):
    """The largest loss of the first 12 steps over the first loss, for every rate [R], of a small deep network."""
    draws = np.random.default_rng(0)
    sizes = (8, 16, 16, 4)
    start = [
        jnp.asarray(draws.normal(size=shape) * np.sqrt(2 / shape[0]), jnp.float32)
        for shape in itertools.pairwise(sizes)
    ]
    inputs, labels = jnp.asarray(draws.normal(size=(64, 8)), jnp.float32), draws.integers(0, 4, 64)

    def loss(params):
        hidden = inputs
        for weights in params[:-1]:
            hidden = jax.nn.relu(hidden @ weights)
        return optax.softmax_cross_entropy_with_integer_labels(hidden @ params[-1], labels).mean()

    def run(rate):
        optimizer = adam(rate, gradient_initialized=gradient_initialized, max_norm=None)

        def step(carry, _):
            params, state = carry
            value, grads = jax.value_and_grad(loss)(params)
            updates, state = optimizer.update(grads, state, params)
            return (optax.apply_updates(params, updates), state), value

        losses = jax.lax.scan(step, (start, optimizer.init(start)), length=12)[1]
        return losses.max() / losses[0]

    return jax.jit(jax.vmap(run))(RATES)


RATES = np.float32([0.01, 1.0, 2.0, 4.0])


def test_without_warmup_the_loss_overshoots_less():
    """At rates that are too high for Adam's first steps; with a low one neither does."""
    adam_s, started = np.asarray(network(gradient_initialized=False)), np.asarray(network(gradient_initialized=True))
    assert adam_s[0] == started[0] == 1.0
    assert (adam_s[1:] > 5.0).all()
    assert (started[1:] < adam_s[1:] / 3.0).all()
