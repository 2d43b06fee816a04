"""What every transformation promises, for every row of the table."""

from __future__ import annotations

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from transformations import FROM_RATE, PRESETS, TRANSFORMATIONS, VARIANTS, specification, tree

import lrjax.optimizers
from lrjax import optimizers

every_transformation = pytest.mark.parametrize(
    "build", (TRANSFORMATIONS | VARIANTS).values(), ids=(TRANSFORMATIONS | VARIANTS).keys()
)
every_default = pytest.mark.parametrize("build", TRANSFORMATIONS.values(), ids=TRANSFORMATIONS.keys())
every_rated = pytest.mark.parametrize("build", FROM_RATE.values(), ids=FROM_RATE.keys())


def train(optimizer: optax.GradientTransformation, params, grads):
    """Final state, and the parameters after each update, one for every entry of the stacked ``grads``."""

    def step(carry, grad):
        params, state = carry
        updates, state = optimizer.update(grad, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    (_, state), trajectory = jax.lax.scan(step, (params, optimizer.init(params)), grads)
    return state, trajectory


def stacked(steps: int, dtype=jnp.float32, scale: float = 1.0):
    """Gradients for ``steps`` updates."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *(tree(dtype, 1 + i, scale) for i in range(steps)))


def assert_close(actual, expected, **tolerance):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), actual, expected)


def test_every_public_preset_has_a_row():
    functions = {name: getattr(lrjax.optimizers, name) for name in lrjax.optimizers.__all__ if name.islower()}
    makers = {
        name
        for name, function in functions.items()
        if "optax.GradientTransformation" in inspect.signature(function).return_annotation
    }
    assert makers - {"param_groups", "layerwise"} == set(PRESETS) | {"clip_gradients"}


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
@every_transformation
def test_state_and_updates_keep_structure_shapes_and_dtypes(build, dtype):
    optimizer, params = build(), tree(dtype)
    state = optimizer.init(params)
    grads = tree(dtype, 1)
    updates, first = jax.eval_shape(optimizer.update, grads, state, params)
    _, second = jax.eval_shape(optimizer.update, grads, first, params)
    assert specification(first) == specification(state)
    assert specification(second) == specification(state)
    assert specification(updates) == specification(grads)


@every_transformation
def test_a_scan_carries_it_and_stays_finite(build):
    params = tree(jnp.bfloat16)
    state, trajectory = train(build(), params, stacked(20, jnp.bfloat16))
    assert specification(jax.tree.map(lambda leaf: leaf[-1], trajectory)) == specification(params)
    leaves = jax.tree.leaves((state, trajectory))
    assert all(np.isfinite(np.asarray(leaf, np.float32)).all() for leaf in leaves)


@every_transformation
def test_empty_tree(build):
    optimizer = build()
    for empty in ({}, (), {"unused": None}):
        updates, state = optimizer.update(empty, optimizer.init(empty), empty)
        assert updates == empty
        assert specification(state) == specification(optimizer.init(empty))


@every_default
def test_eager_and_jit_agree(build):
    optimizer, params = build(), tree()
    state = jitted_state = optimizer.init(params)
    jitted = jax.jit(optimizer.update)
    for seed in (1, 2):
        updates, state = optimizer.update(tree(seed=seed), state, params)
        jitted_updates, jitted_state = jitted(tree(seed=seed), jitted_state, params)
        assert_close(jitted_updates, updates, rtol=1e-6, atol=1e-9)
    assert_close(jitted_state, state, rtol=1e-6, atol=1e-9)


@every_rated
def test_vmap_over_the_rate_equals_separate_runs(build):
    rates, params, grads = jnp.array([1e-4, 1e-2, 0.0]), tree(), stacked(5)

    def trained(rate):
        return train(build(rate), params, grads)[1]

    together, alone = jax.vmap(trained)(rates), jax.jit(trained)
    for lane, rate in enumerate(rates):
        assert_close(jax.tree.map(lambda leaf, i=lane: leaf[i], together), alone(rate), rtol=1e-6, atol=1e-7)


@every_rated
def test_a_constant_schedule_equals_the_number(build):
    params, grads = tree(), stacked(5)
    _, number = train(build(3e-3), params, grads)
    state, schedule = train(build(lambda _: jnp.float32(3e-3)), params, grads)
    assert_close(schedule, number, rtol=1e-6, atol=1e-8)
    counts = [leaf for path, leaf in jax.tree.leaves_with_path(state) if jax.tree_util.keystr(path).endswith(".count")]
    assert counts
    assert all(int(count) == 5 for count in counts)


@every_rated
def test_a_schedule_sees_the_index_of_the_update(build):
    params = tree()
    rate = 1e4 if build in (optimizers.dadapt_adamw, optimizers.prodigy) else 1e-2  # a factor on about 1e-6
    _, trajectory = train(build(lambda count: jnp.where(count == 2, rate, 0.0)), params, stacked(4))
    moved = np.abs(np.diff(trajectory["weight"], axis=0, prepend=params["weight"][None])).min(axis=(1, 2))
    coasting = build is optimizers.dadapt_adamw  # its momentum is one of updates
    np.testing.assert_array_equal(moved > 0, [False, False, True, coasting])


@every_rated
def test_a_new_rate_does_not_retrace(build):
    traces = []

    @jax.jit
    def run(rate, params, grads):
        traces.append(rate)
        return build(rate).update(grads, build(rate).init(params), params)[0]

    for rate in (1e-4, 1e-3, 1e-2):
        run(rate, tree(), tree(seed=1))
    assert len(traces) == 1


@every_rated
def test_a_lost_lane_leaves_its_neighbours_untouched(build):
    params = tree()
    grads = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf], 1), stacked(4))
    spoilt = jax.tree.map(lambda leaf: leaf.at[2, 0].set(jnp.nan), grads)
    lanes = jax.jit(jax.vmap(lambda grad: train(build(1e-2), params, grad)[1], in_axes=1))
    lost, healthy = lanes(spoilt), lanes(grads)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[1], b[1]), lost, healthy)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(lost))


@every_default
def test_extra_arguments_pass(build):
    params = tree()
    optimizer = optax.chain(build(), optax.identity())
    updates, _ = optimizer.update(tree(seed=1), optimizer.init(params), params, value=jnp.float32(1.0))
    assert specification(updates) == specification(params)


@every_default
def test_masked_and_partition_reach_their_leaves_only(build):
    params, grads = tree(), tree(seed=1)
    chosen = {"weight": True, "bias": False, "scale": True, "unused": None}
    masked = optax.masked(build(), chosen)
    labels = jax.tree.map(lambda choose: "trained" if choose else "frozen", chosen)
    partition = optax.partition({"trained": build(), "frozen": optax.set_to_zero()}, labels)
    alone = {name: grad for name, grad in grads.items() if name != "bias"}
    params_alone = {name: params[name] for name in alone}
    expected, _ = build().update(alone, build().init(params_alone), params_alone)
    for optimizer, idle in ((masked, grads["bias"]), (partition, np.zeros(4))):
        updates, _ = optimizer.update(grads, optimizer.init(params), params)
        assert_close(updates, {**expected, "bias": idle}, rtol=1e-6)


@every_default
def test_multi_steps_average_gradients_first(build):
    params, grads = tree(jnp.bfloat16, scale=1e-3), stacked(2, jnp.bfloat16)
    _, trajectory = train(optax.MultiSteps(build(), 2).gradient_transformation(), params, grads)
    assert specification(jax.tree.map(lambda leaf: leaf[-1], trajectory)) == specification(params)
    np.testing.assert_array_equal(trajectory["weight"][0], params["weight"])
    assert not np.array_equal(trajectory["weight"][1], params["weight"])


@every_default
def test_complex_parameters(build):
    optimizer, params = build(), tree(jnp.complex64)
    grads = jax.tree.map(lambda leaf: leaf * (0.6 + 0.8j), tree(jnp.complex64, 1))
    updates, state = optimizer.update(grads, optimizer.init(params), params)
    assert specification(state) == specification(optimizer.init(params))
    assert specification(updates) == specification(grads)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((updates, state)))
