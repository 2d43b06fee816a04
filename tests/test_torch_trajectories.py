"""The presets and the clipping against torch.optim, along 200 steps of a small network in float64."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree
from torch_trajectories import FILE, MAX_NORM, RUNS, SEEN, STEPS, data, flattened, start

from lrjax.optimizers import adam, adamw, clip_gradients, rmsprop, sgd

VECTORS = json.loads(FILE.read_text())


def counterpart(name, numbers):
    """The preset that torch's optimizer is, its own clipping off."""
    renamed = {"lr": "learning_rate", "alpha": "decay"}
    options = {renamed.get(key, key): value for key, value in numbers.items() if key not in ("betas", "weight_decay")}
    if "betas" in numbers:
        options["b1"], options["b2"] = numbers["betas"]
    if name == "Adam":
        return adam(**options, max_norm=None)
    if name == "AdamW":
        return adamw(**options, weight_decay=numbers.get("weight_decay", 0.01), mask=None, max_norm=None)
    if name == "RMSprop":
        return rmsprop(**({"decay": 0.99} | options), eps_in_sqrt=False, max_norm=None)
    coupled = optax.add_decayed_weights(numbers.get("weight_decay", 0.0))
    return optax.chain(coupled, sgd(**options, max_norm=None))


def clip_grad_norm_():
    """``clip_gradients``, with the 1e-6 that torch adds to the norm."""
    clip = clip_gradients(MAX_NORM)

    def update(grads, state, params=None):
        clipped, new = clip.update(grads, state, params)
        norm = jnp.linalg.norm(ravel_pytree(grads)[0])
        shrunk = jnp.where(new.clipped > state.clipped, norm / (norm + 1e-6), 1.0)
        return jax.tree.map(lambda leaf: leaf * shrunk, clipped), new

    return optax.GradientTransformation(clip.init, update)


def loss(params):
    inputs, targets = data()
    outputs = jnp.tanh(inputs @ params["w1"] + params["b1"]) @ params["w2"] + params["b2"]
    return jnp.mean((outputs - targets) ** 2)


def test_the_vectors_are_those_of_the_table():
    assert [(vector["row"], vector["numbers"]) for vector in VECTORS] == RUNS


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("vector", VECTORS, ids=[f"{vector['row']}, {vector['numbers']}" for vector in VECTORS])
def test_two_hundred_steps_are_torch_s(vector):
    name, *clipped = vector["row"].split(", ")
    optimizer = counterpart(name, vector["numbers"])
    if clipped:
        optimizer = optax.chain(clip_grad_norm_(), optimizer)

    def step(carry, _):
        params, state = carry
        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    params = jax.tree.map(jnp.asarray, start())
    _, trajectory = jax.jit(lambda p: jax.lax.scan(step, (p, optimizer.init(p)), length=STEPS))(params)
    ours = [flattened(jax.tree.map(lambda leaf, i=seen: leaf[i - 1], trajectory)) for seen in SEEN]
    np.testing.assert_allclose(np.concatenate(ours), vector["values"], rtol=1e-9, atol=1e-12)
    assert np.abs(np.subtract(ours[-1], flattened(start()))).max() > 0.05


@pytest.mark.usefixtures("x64")
def test_torch_s_fused_definition_of_momentum_differs_under_a_schedule():
    """The trace of rmsprop takes the rate before, torch's after: equal only while the rate is."""
    optimizer = rmsprop(lambda count: jnp.where(count == 0, 0.1, 0.0), momentum=0.5, max_norm=None)
    state = optimizer.init(jnp.zeros(1))
    _, state = optimizer.update(jnp.ones(1), state)
    second, _ = optimizer.update(jnp.ones(1), state)
    assert float(second[0]) == pytest.approx(-0.5 * 0.1 / np.sqrt(0.1), rel=1e-6)  # torch: 0
