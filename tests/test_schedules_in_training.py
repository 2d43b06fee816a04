"""Schedules in real optimizers: other hyperparameters, resuming, extending a run."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import serialization

import lrjax

PARAMS = {"w": jnp.ones(3), "b": jnp.zeros(())}
GRADIENT = jax.tree.map(lambda leaf: jnp.full_like(leaf, 0.5), PARAMS)


def updates_of(optimizer, steps, state=None):
    """The updates of ``w`` under a constant gradient, and the state after them."""
    state = optimizer.init(PARAMS) if state is None else state

    def step(state, _):
        updates, state = optimizer.update(GRADIENT, state, PARAMS)
        return state, updates["w"][0]

    state, updates = jax.lax.scan(step, state, length=steps)
    return np.asarray(updates), state


def test_momentum_and_weight_decay_take_schedules():
    rate, momentum = lrjax.one_cycle(0.1, 20), lrjax.one_cycle_momentum(20)
    decay = lrjax.schedules.cosine(0.3, 20)
    optimizer = optax.inject_hyperparams(optax.sgd)(learning_rate=rate, momentum=momentum)
    velocity = 0.0
    updates, state = updates_of(optimizer, 12)
    for step in range(12):
        velocity = float(momentum(step)) * velocity + 0.5
        np.testing.assert_allclose(updates[step], -float(rate(step)) * velocity, rtol=1e-5)
    np.testing.assert_allclose(state.hyperparams["momentum"], momentum(11), rtol=1e-6)

    decayed = optax.inject_hyperparams(optax.add_decayed_weights)(weight_decay=decay)
    updates, _ = updates_of(decayed, 12)
    np.testing.assert_allclose(updates, 0.5 + np.asarray(decay(np.arange(12))), rtol=1e-6)


def test_a_restored_optimizer_goes_on_at_the_same_rate():
    optimizer = optax.sgd(lrjax.wsd(0.1, 40, warmup_steps=5, decay_steps=10))
    through, _ = updates_of(optimizer, 40)
    first, state = updates_of(optimizer, 17)
    saved = serialization.to_bytes(state)
    restored = serialization.from_bytes(optimizer.init(PARAMS), saved)
    rest, _ = updates_of(optimizer, 23, jax.tree.map(jnp.asarray, restored))
    np.testing.assert_array_equal(np.concatenate([first, rest]), through)


def test_a_run_is_extended_and_a_cooldown_branches_from_a_checkpoint():
    short = optax.sgd(lrjax.wsd(0.1, 40, warmup_steps=5, decay_steps=10))
    doubled = optax.sgd(lrjax.wsd(0.1, 80, warmup_steps=5, decay_steps=10))
    up_to_the_cooldown, checkpoint = updates_of(doubled, 30)
    np.testing.assert_array_equal(up_to_the_cooldown, updates_of(short, 30)[0])

    endless = lrjax.with_warmup(lrjax.constant(0.1), 5)
    branch = optax.sgd(lrjax.with_cooldown(endless, 30, 10))
    cooled, _ = updates_of(branch, 10, checkpoint)
    np.testing.assert_allclose(cooled, updates_of(short, 40)[0][30:], rtol=1e-6)
