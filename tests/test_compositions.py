"""Every preset inside what people put optimizers into.

Scan, vmap over the rate, masked, partition, MultiSteps and half precision are in test_transformation_contracts.py, for
every transformation of the package.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from transformations import PRESETS, specification, tree

every_preset = pytest.mark.parametrize("name", PRESETS)
RATES = {"dadapt_adamw": 1.0, "prodigy": 1.0}


@cache
def build(name, rate=None, **options):
    """The preset at a rate that moves, or at a schedule from there to zero."""
    top = RATES.get(name, 1e-2)
    return PRESETS[name](top if rate is None else rate(top), **options)


def falling(top):
    return optax.linear_schedule(top, 0.0, 20)


def gradient(params):
    return jax.tree.map(lambda leaf: 2 * leaf + 0.1, params)


def step(optimizer, params, state):
    """Parameters and state after a step on a quadratic."""
    updates, state = optimizer.update(gradient(params), state, params)
    return optax.apply_updates(params, updates), state


compiled_step = jax.jit(step, static_argnums=0)


def advance(optimizer, params, state, steps):
    """The same after some steps."""
    for _ in range(steps):
        params, state = compiled_step(optimizer, params, state)
    return params, state


def one_by_one(optimizer, params, state, steps):
    """``advance``, a step only traced and its operations run one by one: nothing to compile for each wrapper."""
    jax.eval_shape(partial(step, optimizer), params, state)
    with jax.disable_jit():
        for _ in range(steps):
            params, state = step(optimizer, params, state)
    return params, state


def trained(optimizer, params, steps=6):
    return advance(optimizer, params, optimizer.init(params), steps)


def assert_close(actual, expected, **tolerance):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), actual, expected)


@every_preset
def test_chain(name):
    params, optimizer = tree(), build(name, falling, monitor=True)
    chained = optax.chain(optax.scale(0.5), optimizer, optax.scale(3.0))
    jax.eval_shape(chained.update, params, chained.init(params), params)
    halved = jax.tree.map(lambda leaf: 0.5 * leaf, gradient(params))
    with jax.disable_jit():
        updates, state = chained.update(gradient(params), chained.init(params), params)
        alone, alone_state = optimizer.update(halved, optimizer.init(params), params)
    assert_close(updates, jax.tree.map(lambda leaf: 3.0 * leaf, alone), rtol=1e-6)
    assert_close(state[1], alone_state, rtol=1e-6)


@every_preset
def test_inject_hyperparams(name):
    static = ("ns_steps",) if name == "muon" else ()
    top = RATES.get(name, 1e-2)
    injected = optax.inject_hyperparams(PRESETS[name], static_args=static)(learning_rate=falling(top))
    params, state = one_by_one(injected, tree(), injected.init(tree()), 6)
    expected, _ = trained(build(name, falling, monitor=True), tree())
    assert_close(params, expected, rtol=1e-4, atol=1e-6)
    assert float(state.hyperparams["learning_rate"]) == pytest.approx(top * 15 / 20)
    assert float(state.inner_state.learning_rate) == pytest.approx(top * 15 / 20)


def test_inject_hyperparams_traces_the_iterations_of_muon_unless_told():
    injected = optax.inject_hyperparams(PRESETS["muon"])(learning_rate=1e-2)
    params = tree()
    with pytest.raises(TypeError, match=r"`muon\(ns_steps=...\)` must be a number known before tracing \(under"):
        jax.jit(injected.update)(params, injected.init(params), params)


@pytest.mark.parametrize("name", ["adam", "adamw", "lamb"])
def test_inject_hyperparams_rounds_decays_to_the_parameters_dtype(name):
    """In bfloat16, b2 = 0.999 is 1: refused where it can be seen, right with ``hyperparam_dtype``."""
    params = tree(jnp.bfloat16)
    with pytest.raises(ValueError, match=rf"`{name}\(b2=...\)` must be less than 1, got 1.0"):
        optax.inject_hyperparams(PRESETS[name])(learning_rate=1e-2).init(params)
    injected = optax.inject_hyperparams(PRESETS[name], hyperparam_dtype=jnp.float32)(learning_rate=1e-2)
    updates, _ = injected.update(params, injected.init(params), params)
    expected, _ = build(name).update(params, build(name).init(params), params)
    assert specification(updates) == specification(params)
    assert_close(jax.tree.map(jnp.float32, updates), jax.tree.map(jnp.float32, expected), rtol=1e-2)


@pytest.mark.parametrize("name", ["adamw", "lamb", "lion", "sgd"])
def test_inject_hyperparams_takes_a_mask_function_for_a_schedule_unless_told(name):
    def mask(params):
        return jax.tree.map(lambda leaf: jnp.ndim(leaf) > 1, params)

    params = tree()
    with pytest.raises(TypeError, match=rf"`{name}\(mask=...\)` must .* static_args=\('mask',\)"):
        optax.inject_hyperparams(PRESETS[name])(0.1, weight_decay=0.5, mask=mask).init(params)
    injected = optax.inject_hyperparams(PRESETS[name], static_args=("mask",))(0.1, weight_decay=0.5, mask=mask)
    zero = optax.tree.zeros_like(params)
    updates, _ = injected.update(zero, injected.init(params), params)
    assert np.abs(updates["weight"]).min() > 0
    np.testing.assert_array_equal(updates["bias"], 0.0)


@every_preset
def test_apply_if_finite_beyond_its_limit(name):
    optimizer = optax.apply_if_finite(build(name, falling, monitor=True), 2)
    params, state = one_by_one(optimizer, tree(), optimizer.init(tree()), 2)
    lost = jax.tree.map(lambda leaf: leaf * jnp.nan, params)
    with jax.disable_jit():
        for _ in range(5):  # after two, optax lets them through
            updates, state = optimizer.update(lost, state, params)
            assert all((np.asarray(leaf) == 0).all() for leaf in jax.tree.leaves(updates))
    resumed, _ = one_by_one(optimizer, params, state, 2)
    assert_close(resumed, trained(build(name, falling, monitor=True), tree(), 4)[0], rtol=1e-5, atol=1e-7)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@every_preset
def test_x64_keeps_the_dtypes(name, dtype):
    params = tree(dtype)
    optimizer = build(name, falling, monitor=True)
    state = optimizer.init(params)
    updates, after = jax.eval_shape(optimizer.update, params, state, params)
    assert specification(updates) == specification(params)
    assert specification(after) == specification(state)


@every_preset
def test_x64_trains_as_float32_does(name, request):
    start = jax.tree.map(np.asarray, tree())
    narrow, _ = trained(build(name, falling, monitor=True), start)
    request.getfixturevalue("x64")
    start_wide, optimizer = jax.tree.map(jnp.float64, start), build(name, falling, monitor=True)
    wide, _ = one_by_one(optimizer, start_wide, optimizer.init(start_wide), 6)
    tolerance = 1e-2 if name == "muon" else 1e-4  # Newton-Schulz iterations enlarge rounding
    assert_close(wide, narrow, rtol=tolerance, atol=1e-5)
    assert not np.allclose(wide["weight"], start["weight"], atol=1e-7)


@every_preset
def test_flax_serialization(name):
    from flax import serialization

    optimizer = build(name, falling, monitor=True)
    params, state = trained(optimizer, tree(), 4)
    restored = serialization.from_bytes(optimizer.init(tree()), serialization.to_bytes(state))
    jax.tree.map(np.testing.assert_array_equal, restored, state)
    resumed = advance(optimizer, params, jax.tree.map(jnp.asarray, restored), 3)
    assert_close(resumed, trained(optimizer, tree(), 7), rtol=1e-6, atol=1e-9)


def test_orbax(tmp_path):
    import orbax.checkpoint as ocp

    optimizers = {name: build(name, falling, monitor=True) for name in PRESETS}
    runs = {name: trained(optimizer, tree(), 4) for name, optimizer in optimizers.items()}
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "states", runs)
        checkpointer.wait_until_finished()
        fresh = {name: (tree(), optimizer.init(tree())) for name, optimizer in optimizers.items()}
        restored = checkpointer.restore(tmp_path / "states", jax.tree.map(jnp.zeros_like, fresh))
    jax.tree.map(np.testing.assert_array_equal, restored, runs)
    for name, optimizer in optimizers.items():
        assert_close(advance(optimizer, *restored[name], 3), trained(optimizer, tree(), 7), rtol=1e-6, atol=1e-9)


def sharded_run(name: str):
    """Six steps with parameters and moments laid out over two devices, and whether the layout held."""
    mesh = jax.make_mesh((2,), ("model",), axis_types=(jax.sharding.AxisType.Auto,))
    layout = jax.NamedSharding(mesh, jax.P(None, "model"))
    params = tree()
    params["weight"] = jax.device_put(params["weight"], layout)
    optimizer = build(name, falling, monitor=True)

    def several(params):
        return jax.lax.scan(
            lambda carry, _: (step(optimizer, *carry), None), (params, optimizer.init(params)), length=6
        )

    (params, state), _ = jax.jit(several)(params)
    return jax.tree.map(np.asarray, (params, state)), params["weight"].sharding.is_equivalent_to(layout, 2)


def test_sharded_over_two_devices():
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, __file__], env=environment, stdout=subprocess.PIPE, check=True)
    sharded = pickle.loads(done.stdout)
    assert sharded.keys() == PRESETS.keys()
    for name, (trees, kept) in sharded.items():
        assert kept, name
        tolerance = 1e-3 if name == "muon" else 1e-5
        alone = trained(build(name, falling, monitor=True), tree())
        assert_close(trees, alone, rtol=tolerance, atol=1e-5, err_msg=name)


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", 2)
    sys.stdout.buffer.write(pickle.dumps({name: sharded_run(name) for name in PRESETS}))
