"""The presets against optax, hand-written loops, and non-finite gradients."""

from __future__ import annotations

import inspect
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from transformations import specification, tree

from lrjax.optimizers import ClipState, PresetState, adamw, clip_gradients, lion, sgd
from lrjax.schedules import warmup_cosine

PRESETS = {
    "adamw": (adamw, {}),
    "adamw with Nesterov": (adamw, {"nesterov": True}),
    "lion": (lion, {}),
    "sgd": (sgd, {}),
    "sgd with momentum": (sgd, {"momentum": 0.9}),
    "sgd with Nesterov momentum": (sgd, {"momentum": 0.9, "nesterov": True}),
}
every_preset = pytest.mark.parametrize(("preset", "options"), PRESETS.values(), ids=PRESETS.keys())
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


def assert_trees_close(actual, expected, **tolerance):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), actual, expected)


@every_preset
def test_without_clipping_the_trajectory_is_optax_s(preset, options):
    schedule = optax.cosine_decay_schedule(1e-2, 40)
    mask = {"weight": True, "bias": False, "scale": True, "unused": None}
    decay = {} if preset is sgd else {"weight_decay": 0.05, "mask": mask}
    bare = getattr(optax, preset.__name__)(schedule, **options, **decay)
    ours, _ = descend(preset(schedule, **options, **decay, max_norm=None), tree(), 40)
    assert_trees_close(ours, descend(bare, tree(), 40)[0], rtol=1e-5, atol=1e-6)
    assert not np.allclose(ours["weight"], tree()["weight"], atol=1e-2)


@pytest.mark.parametrize(
    ("preset", "options"),
    [(adamw, {"weight_decay": 1e-4}), (lion, {"weight_decay": 1e-3}), (sgd, {"momentum": 0.9})],
    ids=["adamw", "lion", "sgd"],
)
def test_with_clipping_it_is_optax_s_chain(preset, options):
    bare = optax.chain(optax.clip_by_global_norm(0.5), getattr(optax, preset.__name__)(1e-2, **options))
    ours, state = descend(preset(1e-2, **options, max_norm=0.5), tree(), 20)
    assert_trees_close(ours, descend(bare, tree(), 20)[0], rtol=1e-5, atol=1e-6)
    assert int(state.clip.clipped) > 0


@pytest.mark.usefixtures("x64")
def test_adamw_in_float64_equals_the_equations_in_numpy():
    rng = np.random.default_rng(0)
    params, grads = rng.normal(size=6), rng.normal(size=(50, 6))
    optimizer = adamw(1e-2, 0.8, 0.95, 1e-6, 1e-9, weight_decay=0.1, max_norm=2.0)
    ours, state = jnp.asarray(params), optimizer.init(jnp.asarray(params))
    update = jax.jit(optimizer.update)
    mu, nu = np.zeros(6), np.zeros(6)
    for t, raw in enumerate(grads, start=1):
        grad = raw * min(1.0, 2.0 / np.linalg.norm(raw))
        mu = 0.8 * mu + 0.2 * grad
        nu = 0.95 * nu + 0.05 * grad**2
        direction = (mu / (1 - 0.8**t)) / (np.sqrt(nu / (1 - 0.95**t) + 1e-9) + 1e-6)
        params = params - 1e-2 * (direction + 0.1 * params)
        updates, state = update(jnp.asarray(raw), state, ours)
        ours = optax.apply_updates(ours, updates)
    np.testing.assert_allclose(ours, params, rtol=1e-12)


def test_lion_by_hand():
    optimizer = lion(0.1, 0.9, 0.99, weight_decay=0.5, max_norm=None)
    params = jnp.array([2.0, -4.0])
    updates, state = optimizer.update(jnp.array([1.0, 3.0]), optimizer.init(params), params)
    np.testing.assert_allclose(updates, [-0.1 * (1 + 0.5 * 2), -0.1 * (1 - 0.5 * 4)], rtol=1e-6)
    # mu = 0.01 * grad; the next small gradient does not turn 0.9 * mu around, a larger one does.
    updates, _ = optimizer.update(jnp.array([-0.05, -0.5]), state, jnp.zeros(2))
    np.testing.assert_allclose(updates, [0.1 * np.sign(0.1 * 0.05 - 0.9 * 0.01), 0.1], rtol=1e-6)


@every_preset
def test_a_non_finite_gradient_skips_the_whole_step(preset, options):
    optimizer = preset(lambda count: 1e-2 / (1 + count), **options)

    @jax.jit
    def advance(params, state, bias):
        updates, state = optimizer.update({**gradient(params), "bias": bias}, state, params)
        return updates, optax.apply_updates(params, updates), state

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
    resumed = advance(params, state, healthy)  # as if the lost steps had not been
    jax.tree.map(np.testing.assert_array_equal, resumed[:2], expected[:2])
    jax.tree.map(np.testing.assert_array_equal, resumed[2].inner, expected[2].inner)


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
    expected, expected_state = jax.jit(lambda: third_update(float(rate), float(b2)))()
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


@pytest.mark.parametrize("build", [adamw, lion, sgd])
def test_presets_reach_the_target_under_a_schedule(build):
    decay = {} if build is sgd else {"weight_decay": 0.0}
    params, state = descend(build(warmup_cosine(0.1, 300, warmup_steps=30), **decay), tree(), 300)
    assert_trees_close(params, target, atol=2e-2)
    assert int(optax.tree.get(state.inner, "count", filtering=lambda path, _: "Schedule" in str(path))) == 300


def test_a_scheduled_max_norm_keeps_the_pace_of_the_rate():
    optimizer = sgd(1.0, max_norm=lambda count: 1.0 + count)
    params, state = jnp.zeros(1), optimizer.init(jnp.zeros(1))
    seen = []
    for grad in (100.0, jnp.nan, 100.0, 100.0):
        updates, state = optimizer.update(jnp.array([grad]), state, params)
        seen.append(-float(updates[0]))
    np.testing.assert_allclose(seen, [1.0, 0.0, 2.0, 3.0], rtol=1e-6)


def test_the_state_says_what_happened():
    state = adamw().init(tree())
    assert isinstance(state, PresetState)
    assert isinstance(state.clip, ClipState)


def test_inject_hyperparams_works():
    optimizer = optax.inject_hyperparams(adamw)(learning_rate=optax.linear_schedule(1e-2, 0.0, 10), max_norm=0.5)
    params, state = descend(optimizer, tree(), 10)
    expected, _ = descend(adamw(optax.linear_schedule(1e-2, 0.0, 10), max_norm=0.5), tree(), 10)
    assert_trees_close(params, expected, rtol=1e-4, atol=1e-6)
    assert float(state.hyperparams["learning_rate"]) == pytest.approx(1e-3)


DIFFERENCES = {
    adamw: {"learning_rate": "1e-3", "weight_decay": "0.01"},
    lion: {"learning_rate": "1e-4", "weight_decay": "0.1"},
    sgd: {"learning_rate": "0.01"},
}


@pytest.mark.parametrize(
    ("preset", "differences"), DIFFERENCES.items(), ids=lambda value: getattr(value, "__name__", "")
)
def test_signature_is_optax_s_but_for_the_documented_differences(preset, differences):
    ours = inspect.signature(preset).parameters
    theirs = inspect.signature(getattr(optax, preset.__name__)).parameters
    assert list(ours)[: len(theirs)] == list(theirs)
    assert set(ours) - set(theirs) == {"max_norm"}
    assert ours["max_norm"].kind is inspect.Parameter.KEYWORD_ONLY
    introduction = preset.__doc__.split("\n\n")[1]
    for name, parameter in theirs.items():
        assert ours[name].kind is parameter.kind
        if name in differences:
            assert ours[name].default == float(differences[name])
            assert f"``{name}``" in introduction
            assert differences[name] in introduction
        else:
            assert ours[name].default == parameter.default


NAMED = "must be a number or a schedule, got"
WRONG_CALLS = [
    (lambda: adamw("fast"), TypeError, f"`adamw(learning_rate=...)` {NAMED} 'fast' (str)"),
    (lambda: adamw(None), TypeError, f"`adamw(learning_rate=...)` {NAMED} None (NoneType)"),
    (lambda: adamw(True), TypeError, f"`adamw(learning_rate=...)` {NAMED} True (bool)"),
    (lambda: adamw(optax.sgd(0.1)), TypeError, f"`adamw(learning_rate=...)` {NAMED} GradientTransformation"),
    (lambda: adamw(-1e-3), ValueError, "`adamw(learning_rate=...)` must be at least 0, got -0.001"),
    (lambda: lion(float("nan")), ValueError, "`lion(learning_rate=...)` must be finite in float32, got nan"),
    (
        lambda: sgd(jnp.ones(3)),
        ValueError,
        "`sgd(learning_rate=...)` must be a number (jax.vmap gives many at once), got an array of shape (3,)",
    ),
    (lambda: adamw(b1=1.0), ValueError, "`adamw(b1=...)` must be less than 1, got 1.0"),
    (lambda: adamw(b2=-0.1), ValueError, "`adamw(b2=...)` must be at least 0, got -0.1"),
    (lambda: lion(b2=1), ValueError, "`lion(b2=...)` must be less than 1, got 1"),
    (lambda: adamw(b1=optax.constant_schedule(0.9)), TypeError, "`adamw(b1=...)` must be a number, got <function"),
    (lambda: adamw(eps=-1e-8), ValueError, "`adamw(eps=...)` must be at least 0, got -1e-08"),
    (lambda: adamw(eps_root="0"), TypeError, "`adamw(eps_root=...)` must be a number, got '0' (str)"),
    (lambda: adamw(weight_decay=-0.1), ValueError, "`adamw(weight_decay=...)` must be at least 0, got -0.1"),
    (
        lambda: lion(weight_decay=optax.constant_schedule(0.1)),
        TypeError,
        "`lion(weight_decay=...)` must be a number, got <function",
    ),
    (
        lambda: adamw(mu_dtype="wide"),
        TypeError,
        "`adamw(mu_dtype=...)` must be a floating dtype or None, got 'wide' (str)",
    ),
    (
        lambda: adamw(mu_dtype=jnp.int8),
        ValueError,
        "`adamw(mu_dtype=...)` must be a floating dtype or None, got int8",
    ),
    (
        lambda: lion(mask={"bias": 0.0}),
        TypeError,
        "`lion(mask=...)` must be a tree of booleans or a function that makes one, got 0.0 (float)",
    ),
    (lambda: adamw(nesterov=1), TypeError, "`adamw(nesterov=...)` must be True or False, got 1 (int)"),
    (lambda: adamw(max_norm=0), ValueError, "`adamw(max_norm=...)` must be greater than 0, got 0"),
    (lambda: lion(max_norm=-1.0), ValueError, "`lion(max_norm=...)` must be greater than 0, got -1.0"),
    (lambda: sgd(max_norm=False), TypeError, f"`sgd(max_norm=...)` {NAMED} False (bool)"),
    (lambda: sgd(momentum=1.0), ValueError, "`sgd(momentum=...)` must be less than 1, got 1.0"),
    (
        lambda: sgd(nesterov=True),
        ValueError,
        "`sgd(nesterov=...)` must be False without momentum, got True with momentum=None",
    ),
    (
        lambda: sgd(accumulator_dtype=jnp.bfloat16),
        ValueError,
        "`sgd(accumulator_dtype=...)` must be None without momentum, got bfloat16 with momentum=None",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), WRONG_CALLS, ids=[case[2] for case in WRONG_CALLS])
def test_wrong_calls_are_refused_by_name(call, error, message):
    with pytest.raises(error, match=re.escape(message)):
        call()
