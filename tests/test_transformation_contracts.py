"""What every transformation promises, for every row of the table."""

from __future__ import annotations

import inspect
from functools import cache

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
BOUNDED = {"clip_gradients": optimizers.clip_gradients}
every_numbered = pytest.mark.parametrize("build", (FROM_RATE | BOUNDED).values(), ids=(FROM_RATE | BOUNDED).keys())
STEPS = 5


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


@cache
def compiled_schedule(build):
    """``train`` at a schedule that looks up the rate of every update, compiled once for the tests that share it."""
    return jax.jit(lambda rates, grads: train(build(lambda count: rates[count]), tree(), grads))


@cache
def compiled_lanes(build):
    """The trajectories of many numbers, each with gradients of its own, and what they were traced with."""
    traces = []

    def lane(rate, grads):
        traces.append(rate)
        return train(build(rate), tree(), grads)[1]

    return jax.jit(jax.vmap(lane)), traces


def one_by_one(optimizer, params, grads):
    """``train``, the scan only traced and the operations run one by one: nothing to compile for each optimizer."""
    jax.eval_shape(lambda params, grads: train(optimizer, params, grads), params, grads)
    with jax.disable_jit():
        return train(optimizer, params, grads)


def repeated(grads, lanes):
    return jax.tree.map(lambda leaf: np.repeat(leaf[None], lanes, 0), grads)


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
    state, trajectory = one_by_one(build(), params, stacked(12, jnp.bfloat16))
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


@every_numbered
def test_eager_and_jit_agree(build):
    rates, grads = jnp.geomspace(1e-2, 1e-3, STEPS), stacked(STEPS)
    eager = one_by_one(build(lambda count: rates[count]), tree(), grads)
    assert_close(compiled_schedule(build)(rates, grads), eager, rtol=1e-5, atol=1e-7)


@every_rated
def test_vmap_over_the_rate_equals_separate_runs(build):
    rates, grads = np.float32([1e-4, 1e-2, 0.0]), stacked(STEPS)
    together = compiled_lanes(build)[0](rates, repeated(grads, 3))
    for lane, rate in enumerate(rates):
        _, alone = one_by_one(build(rate), tree(), grads)
        assert_close(jax.tree.map(lambda leaf, i=lane: leaf[i], together), alone, rtol=1e-5, atol=1e-7)


@every_rated
def test_a_constant_schedule_equals_the_number(build):
    grads = stacked(STEPS)
    _, number = one_by_one(build(3e-3), tree(), grads)
    state, schedule = compiled_schedule(build)(np.full(STEPS, 3e-3, np.float32), grads)
    assert_close(schedule, number, rtol=1e-5, atol=1e-7)
    counts = [leaf for path, leaf in jax.tree.leaves_with_path(state) if jax.tree_util.keystr(path).endswith(".count")]
    assert counts
    assert all(int(count) == STEPS for count in counts)


@every_rated
def test_a_schedule_sees_the_index_of_the_update(build):
    rate = 1e4 if build in (optimizers.dadapt_adamw, optimizers.prodigy) else 1e-2  # a factor on about 1e-6
    _, trajectory = compiled_schedule(build)(np.float32([0, 0, rate, 0, 0]), stacked(STEPS))
    moved = np.abs(np.diff(trajectory["weight"], axis=0, prepend=tree()["weight"][None])).min(axis=(1, 2))
    coasting = build is optimizers.dadapt_adamw  # its momentum is one of updates
    np.testing.assert_array_equal(moved > 0, [False, False, True, coasting, coasting])


@every_rated
def test_a_new_rate_does_not_retrace(build):
    run, traces = compiled_lanes(build)
    for rate in (1e-4, 1e-3, 1e-2):
        jax.eval_shape(run, np.full(3, rate, np.float32), repeated(stacked(STEPS), 3))
    assert len(traces) == 1


@every_rated
def test_a_lost_lane_leaves_its_neighbours_untouched(build):
    rates, grads = np.full(3, 1e-2, np.float32), repeated(stacked(STEPS), 3)
    spoilt = jax.tree.map(lambda leaf: jnp.asarray(leaf).at[0, 2].set(jnp.nan), grads)
    run, _ = compiled_lanes(build)
    lost, healthy = run(rates, spoilt), run(rates, grads)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[1:], b[1:]), lost, healthy)
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
    _, trajectory = one_by_one(optax.MultiSteps(build(), 2).gradient_transformation(), params, grads)
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
