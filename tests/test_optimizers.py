"""The presets against optax, hand-written loops, and non-finite gradients."""

from __future__ import annotations

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optax import contrib
from transformations import PRESETS, specification, tree

from lrjax import optimizers
from lrjax.optimizers import ClipState, PresetState, adamw, clip_gradients, lion, sgd
from lrjax.schedules import warmup_cosine

MASK = {"weight": True, "bias": False, "scale": True, "unused": None}
DECAY = {"weight_decay": 0.05, "mask": MASK}
NO_MATRIX_IS_ADAMS = {"adam_only": "(?!)", "weight_decay": 0.0, "consistent_rms": None}

OPTAX = {
    "adam": ("adam", optax.adam, {}, {}),
    "adamw": ("adamw", optax.adamw, DECAY, {}),
    "adamw with Nesterov": ("adamw", optax.adamw, {"nesterov": True, **DECAY}, {}),
    "lamb": ("lamb", optax.lamb, DECAY, {}),
    "lion": ("lion", optax.lion, DECAY, {}),
    "muon": ("muon", contrib.muon, {}, NO_MATRIX_IS_ADAMS),
    "muon without Nesterov": ("muon", contrib.muon, {"nesterov": False}, NO_MATRIX_IS_ADAMS),
    "muon of AdamW's size": (
        *("muon", partial(contrib.muon, consistent_rms=0.2), {}),
        NO_MATRIX_IS_ADAMS | {"consistent_rms": 0.2},
    ),
    "rmsprop": ("rmsprop", optax.rmsprop, {}, {}),
    "rmsprop, centred": (
        "rmsprop",
        optax.rmsprop,
        {"centered": True, "eps_in_sqrt": False, "eps": 0.1, "decay": 0.99},
        {},
    ),
    "rmsprop, bias corrected": ("rmsprop", optax.rmsprop, {"bias_correction": True, "initial_scale": 0.1}, {}),
    "rmsprop with momentum": ("rmsprop", optax.rmsprop, {"momentum": 0.9, "nesterov": True}, {}),
    "sgd": ("sgd", optax.sgd, {}, {}),
    "sgd with momentum": ("sgd", optax.sgd, {"momentum": 0.9}, {}),
    "sgd with Nesterov momentum": ("sgd", optax.sgd, {"momentum": 0.9, "nesterov": True}, {}),
}
"""The preset, optax's function, the options of both, and those that make the preset follow it."""

RATE_FREE = {
    "dadapt_adamw": (optimizers.dadapt_adamw, contrib.dadapt_adamw, {}, 1.0),
    "prodigy": (optimizers.prodigy, contrib.prodigy, {}, 1.0),
    "prodigy with options": (
        optimizers.prodigy,
        contrib.prodigy,
        {"beta3": 0.9, "estim_lr_coef": 2.0, "safeguard_warmup": True},
        0.5,
    ),
    "schedule_free_adamw": (optimizers.schedule_free_adamw, contrib.schedule_free_adamw, {"b1": 0.8}, 1e-2),
}
every_optax = pytest.mark.parametrize(("name", "theirs", "options", "ours"), OPTAX.values(), ids=OPTAX.keys())
VARIANTS = {key: (getattr(optimizers, name), options) for key, (name, _, options, _) in OPTAX.items()} | {
    name: (preset, options) for name, (preset, _, options, _) in RATE_FREE.items()
}
DECAYING = {
    f"{name}, decaying{' with momentum' if options else ''}": (
        *(getattr(optimizers, name), options | {"weight_decay": 0.5, "mask": None}),
    )
    for name, options in [
        *(("dadapt_adamw", {}), ("prodigy", {}), ("schedule_free_adamw", {})),
        *(("rmsprop", {"momentum": 0.9, "nesterov": True}), ("sgd", {"momentum": 0.9, "nesterov": True})),
    ]
}
VARIANTS |= DECAYING
every_preset = pytest.mark.parametrize("variant", VARIANTS)
every_one = pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS.keys())
target = tree(seed=9)


def gradient(params):
    """The gradient of a quadratic of uneven curvature around ``target``."""
    return jax.tree.map(lambda p, t: (p - t) * (1.0 + jnp.abs(t)), params, target)


def descend(optimizer, params, steps: int):
    """Parameters and state after ``steps`` updates on the quadratic."""

    def step(carry, _):
        params, state = carry
        updates, state = optimizer.update(gradient(params), state, params)
        return (optax.apply_updates(params, updates), state), None

    return jax.jit(lambda: jax.lax.scan(step, (params, optimizer.init(params)), length=steps)[0])()


def one_by_one(optimizer, params, steps: int):
    """``descend``, its operations run one by one: nothing to compile for each optimizer."""
    state = optimizer.init(params)
    with jax.disable_jit():
        for _ in range(steps):
            updates, state = optimizer.update(gradient(params), state, params)
            params = optax.apply_updates(params, updates)
    return params, state


def assert_trees_close(actual, expected, **tolerance):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), actual, expected)


@every_optax
def test_without_clipping_the_trajectory_is_optax_s(name, theirs, options, ours):
    schedule = optax.cosine_decay_schedule(2e-2, 12)
    preset = getattr(optimizers, name)
    params, _ = one_by_one(preset(schedule, **options, **ours, max_norm=None), tree(), 12)
    assert_trees_close(params, one_by_one(theirs(schedule, **options), tree(), 12)[0], rtol=1e-5, atol=1e-6)
    assert not np.allclose(params["weight"], tree()["weight"], atol=1e-2)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("preset", "theirs", "options", "rate"), RATE_FREE.values(), ids=RATE_FREE.keys())
def test_rate_free_optimizers_are_optax_s_at_a_constant_rate(preset, theirs, options, rate):
    start = tree(jnp.float64)
    ours, state = descend(preset(rate, **options, weight_decay=0.05, mask=None, max_norm=None), start, 200)
    params, their_state = descend(theirs(rate, **options, weight_decay=0.05), start, 200)
    assert_trees_close(ours, params, rtol=1e-9, atol=1e-12)
    assert np.abs(ours["weight"] - start["weight"]).max() > 0.1
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-12), state.inner, their_state)


@pytest.mark.parametrize(
    ("preset", "options"),
    [
        (adamw, {"weight_decay": 1e-4, "mask": None}),
        (lion, {"weight_decay": 1e-3, "mask": None}),
        (sgd, {"momentum": 0.9}),
    ],
    ids=["adamw", "lion", "sgd"],
)
def test_with_clipping_it_is_optax_s_chain(preset, options):
    bare = optax.chain(optax.clip_by_global_norm(0.5), getattr(optax, preset.__name__)(1e-2, **options))
    ours, state = one_by_one(preset(1e-2, **options, max_norm=0.5), tree(), 20)
    assert_trees_close(ours, one_by_one(bare, tree(), 20)[0], rtol=1e-5, atol=1e-6)
    assert int(state.clip.clipped) > 0


@pytest.mark.usefixtures("x64")
def test_adamw_in_float64_equals_the_equations_in_numpy():
    """Every scheduled hyperparameter included."""
    rng = np.random.default_rng(0)
    params, grads = rng.normal(size=6), rng.normal(size=(50, 6))
    rates, b1s, decays = 1e-2 / (1 + np.arange(50)), 0.8 + 0.003 * np.arange(50), 0.1 * 0.9 ** np.arange(50)
    optimizer = adamw(
        lambda t: 1e-2 / (1 + t),
        lambda t: 0.8 + 0.003 * t,
        0.95,
        1e-6,
        1e-9,
        weight_decay=lambda t: 0.1 * 0.9**t,
        mask=None,
        max_norm=2.0,
    )
    ours, state = jnp.asarray(params), optimizer.init(jnp.asarray(params))
    update = jax.jit(optimizer.update)
    mu, nu = np.zeros(6), np.zeros(6)
    for t, raw in enumerate(grads, start=1):
        b1 = b1s[t - 1]
        grad = raw * min(1.0, 2.0 / np.linalg.norm(raw))
        mu = b1 * mu + (1 - b1) * grad
        nu = 0.95 * nu + 0.05 * grad**2
        direction = (mu / (1 - b1**t)) / (np.sqrt(nu / (1 - 0.95**t) + 1e-9) + 1e-6)
        params = params - rates[t - 1] * (direction + decays[t - 1] * params)
        updates, state = update(jnp.asarray(raw), state, ours)
        ours = optax.apply_updates(ours, updates)
        np.testing.assert_allclose(state.learning_rate, rates[t - 1], rtol=1e-12)
    np.testing.assert_allclose(ours, params, rtol=1e-12)


def test_lion_by_hand():
    optimizer = lion(0.1, 0.9, 0.99, weight_decay=0.5, mask=None, max_norm=None)
    params = jnp.array([2.0, -4.0])
    updates, state = optimizer.update(jnp.array([1.0, 3.0]), optimizer.init(params), params)
    np.testing.assert_allclose(updates, [-0.1 * (1 + 0.5 * 2), -0.1 * (1 - 0.5 * 4)], rtol=1e-6)
    # mu = 0.01 * grad; the next small gradient does not turn 0.9 * mu around, a larger one does.
    updates, _ = optimizer.update(jnp.array([-0.05, -0.5]), state, jnp.zeros(2))
    np.testing.assert_allclose(updates, [0.1 * np.sign(0.1 * 0.05 - 0.9 * 0.01), 0.1], rtol=1e-6)


def test_lion_s_hyperparameters_from_adamw_s():
    rate, decay = optimizers.lion_from_adamw(3e-4, 0.1, factor=3.0)
    assert (rate, decay) == (pytest.approx(1e-4), pytest.approx(0.3))
    schedule = warmup_cosine(1e-3, 100, warmup_steps=10)
    rate, decay = optimizers.lion_from_adamw(schedule, lambda count: 0.1 / (1 + count))
    assert float(rate(55)) == pytest.approx(float(schedule(55)) / 10)
    assert float(decay(jnp.int32(3))) == pytest.approx(0.25)
    products = jax.vmap(lambda rate, decay: jnp.prod(jnp.array(optimizers.lion_from_adamw(rate, decay, factor=4.0))))
    rates, decays = jnp.array([1e-3, 3e-4]), jnp.array([0.01, 0.1])
    np.testing.assert_allclose(products(rates, decays), rates * decays, rtol=1e-6)


@pytest.mark.parametrize("preset", [sgd, optimizers.rmsprop], ids=["sgd", "rmsprop"])
def test_a_scheduled_momentum_is_the_trace_s_decay_of_the_step(preset):
    momenta, grads = [0.9, 0.5, 0.7], [1.0, -2.0, 0.5]
    optimizer = preset(0.1, momentum=lambda count: jnp.array(momenta)[count], max_norm=None)
    plain = preset(0.1, max_norm=None)
    params, trace = jnp.zeros(1), 0.0
    state, plain_state = optimizer.init(params), plain.init(params)
    for momentum, grad in zip(momenta, grads, strict=True):
        updates, state = optimizer.update(jnp.array([grad]), state, params)
        alone, plain_state = plain.update(jnp.array([grad]), plain_state, params)
        trace = float(alone[0]) + momentum * trace
        np.testing.assert_allclose(updates, [trace], rtol=1e-6)


@pytest.mark.parametrize(("preset", "options"), [(sgd, {}), (sgd, {"momentum": 0.9}), (optimizers.rmsprop, {})])
def test_decoupled_decay_of_those_that_have_none_in_optax(preset, options):
    params = {"kernel": jnp.full((2, 3), 2.0), "bias": jnp.full(3, 2.0)}
    optimizer = preset(0.1, **options, weight_decay=lambda count: 0.5 / (1 + count))
    state = optimizer.init(params)
    for count in range(3):
        updates, state = optimizer.update(optax.tree.zeros_like(params), state, params)
        np.testing.assert_allclose(updates["kernel"], -0.1 * 0.5 / (1 + count) * 2.0, rtol=1e-6)
        np.testing.assert_array_equal(updates["bias"], 0.0)


@cache
def stepping(variant):
    """The optimizer of a variant, and one step of it: updates, parameters and state; compiled for a preset's own row."""
    preset, options = VARIANTS[variant]
    optimizer = preset(lambda count: 1e-2 / (1 + count), **options)

    def advance(params, state, grads):
        updates, state = optimizer.update(grads, state, params)
        return updates, optax.apply_updates(params, updates), state

    def one_by_one(*arguments):
        jax.eval_shape(advance, *arguments)
        with jax.disable_jit():
            return advance(*arguments)

    return optimizer, jax.jit(advance) if variant in PRESETS else one_by_one


@every_preset
def test_a_non_finite_gradient_skips_the_whole_step(variant):
    optimizer, step = stepping(variant)

    def advance(params, state, bias):
        return step(params, state, {**gradient(params), "bias": bias})

    params, healthy = tree(), jnp.array([0.0, 1.0, 2.0, 3.0])
    state = optimizer.init(params)
    for _ in range(3):
        _, params, state = advance(params, state, healthy)
    expected = advance(params, state, healthy)
    held = state
    for entry in (jnp.nan, jnp.inf, -jnp.inf):
        updates, unmoved, state = advance(params, state, healthy.at[2].set(entry))
        assert all((np.asarray(leaf) == 0).all() for leaf in jax.tree.leaves(updates))
        jax.tree.map(np.testing.assert_array_equal, unmoved, params)
        jax.tree.map(np.testing.assert_array_equal, state.inner, held.inner)
    assert (int(state.clip.count), int(state.clip.nonfinite)) == (3, 3)
    assert state.learning_rate == held.learning_rate
    resumed = advance(params, state, healthy)  # as if the lost steps had not been
    jax.tree.map(np.testing.assert_array_equal, resumed[:2], expected[:2])
    jax.tree.map(np.testing.assert_array_equal, resumed[2].inner, expected[2].inner)


@every_preset
def test_a_non_finite_first_gradient_leaves_the_state_as_it_began(variant):
    optimizer, step = stepping(variant)
    params = tree()
    state = optimizer.init(params)
    updates, _, after = step(params, state, jax.tree.map(lambda leaf: leaf * jnp.nan, params))
    assert all((np.asarray(leaf) == 0).all() for leaf in jax.tree.leaves(updates))
    jax.tree.map(np.testing.assert_array_equal, after.inner, state.inner)


@every_one
def test_monitor_records_rate_and_norms(preset):
    def norm(tree):
        return np.sqrt(sum(float(jnp.sum(jnp.square(leaf))) for leaf in jax.tree.leaves(tree)))

    params, grads = tree(), tree(seed=3)
    optimizer = preset(lambda count: 0.1 + count, monitor=True)
    state = optimizer.init(params)
    assert float(state.learning_rate) == pytest.approx(0.1)
    unmonitored = preset(lambda count: 0.1 + count)
    with jax.disable_jit():
        for count in range(2):
            updates, state = optimizer.update(grads, state, params)
            assert float(state.learning_rate) == pytest.approx(0.1 + count)
            np.testing.assert_allclose(state.clip.norm, norm(grads), rtol=1e-6)
            np.testing.assert_allclose(state.monitor.update_norm, norm(updates), rtol=1e-6)
            np.testing.assert_allclose(state.monitor.param_norm, norm(params), rtol=1e-6)
        silent, _ = unmonitored.update(grads, unmonitored.init(params), params)
        heard, _ = optimizer.update(grads, optimizer.init(params), params)
    assert_trees_close(silent, heard, rtol=1e-6, atol=1e-9)


def test_a_gradient_that_is_only_huge_is_not_skipped():
    params = jnp.zeros(2)
    optimizer = sgd(1.0)
    updates, state = optimizer.update(jnp.array([3e38, 3e38]), optimizer.init(params), params)
    np.testing.assert_allclose(updates, -np.full(2, 0.5**0.5), rtol=1e-6)
    assert int(state.clip.nonfinite) == 0


def test_zero_gradients_without_decay_move_nothing():
    optimizer = adamw(weight_decay=0.0)
    params = tree()
    zero = optax.tree.zeros_like(params)
    updates, _ = optimizer.update(zero, optimizer.init(params), params)
    assert all((np.asarray(leaf) == 0).all() for leaf in jax.tree.leaves(updates))


@pytest.mark.parametrize(("dtype", "traced"), [(jnp.bfloat16, False), (jnp.bfloat16, True), (jnp.float16, False)])
def test_half_precision_follows_float32(dtype, traced):
    """In bfloat16, b2 = 0.999 is 1 and a second moment never falls; in float16, eps = 1e-8 is 0."""
    grads = jnp.concatenate([jnp.full((20, 4), 1.0), jnp.full((400, 4), 1e-3)])

    def moments(dtype, rate, b1, b2):
        optimizer = adamw(rate, b1, b2, max_norm=None)
        start = jnp.ones(4, dtype)

        def step(state, grad):
            updates, state = optimizer.update(grad.astype(dtype), state, start)
            return state, updates

        return jax.lax.scan(step, optimizer.init(start), grads)

    hyperparams = (1e-3, 0.9, 0.99)
    run = jax.jit(moments, static_argnums=(0,)) if traced else moments
    state, updates = run(dtype, *hyperparams)
    exact_state, exact_updates = run(jnp.float32, *hyperparams)
    assert updates.dtype == dtype
    nu, exact_nu = state.inner[0].nu, exact_state.inner[0].nu
    assert nu.dtype == jnp.float32
    np.testing.assert_allclose(nu, exact_nu, rtol=1e-2)
    assert float(nu[0]) < 0.005  # it peaked at 0.18
    np.testing.assert_allclose(np.asarray(updates, np.float32), exact_updates, rtol=2e-2)


def test_traced_half_precision_hyperparameters_are_used_in_float32():
    rate, b2 = jnp.bfloat16(1e-3), jnp.bfloat16(0.95)
    params, grads = jnp.ones(3), jnp.array([1.0, -2.0, 3.0])

    def third_update(rate, b2):
        optimizer = adamw(rate, b2=b2)
        state = optimizer.init(params)
        for scale in (1.0, 0.5, 2.0):
            updates, state = optimizer.update(scale * grads, state, params)
        return updates, state

    updates, state = jax.jit(third_update)(rate, b2)
    with jax.disable_jit():
        expected, expected_state = third_update(float(rate), float(b2))
    assert specification(state) == specification(expected_state)
    np.testing.assert_allclose(updates, expected, rtol=1e-5)


def test_weight_decay_is_decoupled_and_masked():
    params = {"kernel": jnp.full(3, 2.0), "bias": jnp.full(3, 2.0)}
    zero = optax.tree.zeros_like(params)
    for mask in ({"kernel": True, "bias": False}, lambda tree: {name: name == "kernel" for name in tree}):
        optimizer = adamw(0.1, weight_decay=0.5, mask=mask)
        updates, _ = optimizer.update(zero, optimizer.init(params), params)
        np.testing.assert_allclose(updates["kernel"], -0.1 * 0.5 * 2.0, rtol=1e-6)
        np.testing.assert_array_equal(updates["bias"], 0.0)


def test_clip_gradients_chained_to_optax_adamw_trains_inside_a_scan():
    schedule = warmup_cosine(0.1, 300, warmup_steps=30)
    params, state = descend(optax.chain(clip_gradients(), optax.adamw(schedule)), tree(), 300)
    assert_trees_close(params, target, atol=2e-2)
    assert int(state[0].count) == 300


@every_one
def test_presets_reach_the_target_under_a_schedule(preset):
    peak = 1.0 if preset in (optimizers.dadapt_adamw, optimizers.prodigy) else 0.1
    decay = {} if preset is optimizers.adam else {"weight_decay": 0.0}
    params, state = descend(preset(warmup_cosine(peak, 1000, warmup_steps=30), **decay), tree(), 1000)
    assert_trees_close(optimizers.evaluation_params(state, params), target, atol=5e-2)
    assert int(state.clip.count) == 1000


def test_a_scheduled_max_norm_keeps_the_pace_of_the_rate():
    optimizer = sgd(1.0, max_norm=lambda count: 1.0 + count)
    params, state = jnp.zeros(1), optimizer.init(jnp.zeros(1))
    seen = []
    for grad in (100.0, jnp.nan, 100.0, 100.0):
        updates, state = optimizer.update(jnp.array([grad]), state, params)
        seen.append(-float(updates[0]))
    np.testing.assert_allclose(seen, [1.0, 0.0, 2.0, 3.0], rtol=1e-6)


def test_optax_finds_the_applied_rate_of_a_schedule_and_of_groups():
    optimizer = adamw(optax.linear_schedule(0.1, 0.0, 10))
    _, state = descend(optimizer, tree(), 3)
    assert float(optax.tree.get(state, "learning_rate")) == pytest.approx(0.08)
    groups = optimizers.param_groups({"a": adamw(0.1), "b": sgd(0.5)}, {"a": "weight", "b": "bias|scale"})
    found = optax.tree.get_all_with_path(groups.init(tree()), "learning_rate")
    assert [float(rate) for _, rate in found] == [pytest.approx(0.1), pytest.approx(0.5)]


def test_the_state_says_what_happened():
    state = adamw().init(tree())
    assert isinstance(state, PresetState)
    assert isinstance(state.clip, ClipState)
    assert state.monitor is None
