"""Backoff: healthy runs untouched, failing ones cut, restored and counted, and nothing non-finite ever applied."""

from __future__ import annotations

from functools import cache, partial

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import strategies as st
from transformations import specification, tree

from lrjax.monitors import BackoffState, backoff
from lrjax.optimizers import adamw

STEPS = 24
sgd = partial(optax.sgd, momentum=0.5)  # halves are exact, so that no fused multiply-add rounds differently
COUNTS = ("step", "backoffs", "nonfinite", "spikes", "restores", "last_backoff")


def drive(optimizer, params, losses, grads):
    """Final parameters and state, and those after each of the updates that were given their loss and gradient."""
    if not isinstance(optimizer, optax.MultiSteps):
        optimizer = optax.with_extra_args_support(optimizer)

    def step(carry, now):
        params, state = carry
        loss, grad = now
        updates, state = optimizer.update(grad, state, params, value=loss)
        params = optax.apply_updates(params, updates)
        return (params, state), (params, state, updates)

    carry, every = jax.lax.scan(step, (params, optimizer.init(params)), (losses, grads))
    return carry, every


@cache
def driver(build=backoff, **arguments):
    """``drive`` from zeros with ``sgd(0.5)`` inside, compiled once."""
    return jax.jit(lambda params, losses, grads: drive(build(sgd(0.5), **arguments), params, losses, grads))


def descent(loss_of, optimizer, params, steps):
    """Final parameters and state of training, the losses and the scales."""

    def step(carry, _):
        params, state = carry
        loss, grads = jax.value_and_grad(loss_of)(params)
        updates, state = optimizer.update(grads, state, params, value=loss)
        return (optax.apply_updates(params, updates), state), (loss, state.scale)

    return jax.lax.scan(step, (params, optimizer.init(params)), None, steps)


def counts(state):
    return {name: int(getattr(state, name)) for name in COUNTS}


def constant(value, steps=STEPS):
    return np.full(steps, value, np.float32)


def assert_equal(actual, expected):
    jax.tree.map(np.testing.assert_array_equal, actual, expected)


healthy_losses = st.lists(st.floats(0, 1, width=32), min_size=STEPS, max_size=STEPS).map(
    lambda drops: np.float32(3.0) - np.cumsum(np.float32(drops), dtype=np.float32) / 8
)


@hypothesis.given(healthy_losses, st.integers(0, 2**31 - 1), st.sampled_from([0.0, -100.0, 1000.0]))
@hypothesis.settings(max_examples=40, deadline=None)
def test_a_falling_loss_is_untouched_bit_for_bit(losses, seed, shift):
    grads = np.random.default_rng(seed).normal(size=(STEPS, 3)).astype(np.float32)
    params = np.float32([1.0, -2.0, 3.0])
    (_, state), (trajectory, _, updates) = driver(patience=4)(params, losses + np.float32(shift), grads)
    (_, inner), (expected, _, bare) = driver(lambda inner: inner)(params, losses, grads)
    assert_equal((trajectory, updates, state.inner), (expected, bare, inner))
    assert state.scale == 1.0
    assert counts(state) == {
        "step": STEPS, "backoffs": 0, "nonfinite": 0, "spikes": 0, "restores": 0, "last_backoff": -1
    }  # fmt: skip


nasty = st.sampled_from([np.nan, np.inf, -np.inf, 3e38, -3e38, 1e20, 1e-45, 0.0, -1.0, 1.0, 1.0, 2.0, 5.0])
nasty_rows = st.lists(st.tuples(nasty, nasty, nasty), min_size=STEPS, max_size=STEPS).map(np.float32)


@pytest.mark.parametrize(
    ("dtype", "restore"), [(jnp.float32, True), (jnp.float32, False), (jnp.bfloat16, True), (jnp.float16, True)]
)
@hypothesis.given(nasty_rows)
@hypothesis.settings(max_examples=25, deadline=None)
def test_nothing_makes_the_parameters_non_finite(dtype, restore, rows):
    largest = float(jnp.finfo(dtype).max)
    params = jnp.array([0.0, -0.99 * largest], dtype)
    grads = jnp.clip(rows[:, 1:], -largest if dtype == jnp.float16 else None, largest).astype(dtype)
    (_, last), (trajectory, state, updates) = driver(patience=3, recovery=4, restore=restore)(params, rows[:, 0], grads)
    for leaf in (trajectory, updates, *jax.tree.leaves(last.inner)):
        assert np.isfinite(np.asarray(leaf, np.float32)).all()
    assert ((state.scale >= 1e-6) & (state.scale <= state.ceiling) & (state.ceiling <= 1)).all()
    assert (np.diff(state.backoffs) >= 0).all()


def blown_up(size, steps=STEPS):
    """Losses and gradients of a run that is healthy for ten steps and then thrown as far as ``size``."""
    losses, grads = constant(1.0, steps), np.ones((steps, 2), np.float32)
    losses[11], grads[10] = np.inf, size
    return losses, grads


@pytest.mark.parametrize("size", [10.0, 1e4, 1e9, 1e30])
def test_a_restore_returns_to_the_snapshot(size):
    params = np.float32([0.7, -1.3])
    (_, _), (trajectory, state, _) = driver(patience=4)(params, *blown_up(size))
    good = jax.tree.map(lambda leaf: leaf[11], state.good)
    np.testing.assert_array_equal(good.params, trajectory[7])  # taken in step 8, before its update
    assert_equal(good.inner, jax.tree.map(lambda leaf: leaf[7], state.inner))
    assert_equal(jax.tree.map(lambda leaf: leaf[12], state.inner), good.inner)
    assert np.abs(trajectory[10]).min() > size / 10
    np.testing.assert_allclose(trajectory[12], good.params, rtol=3e-7)
    np.testing.assert_array_equal(trajectory[12], trajectory[11] + (good.params - trajectory[11]))
    np.testing.assert_array_equal(state.phase[10:14], [0, 1, 2, 0])
    assert counts(jax.tree.map(lambda leaf: leaf[-1], state)) == {
        "step": STEPS, "backoffs": 1, "nonfinite": 1, "spikes": 0, "restores": 1, "last_backoff": 11
    }  # fmt: skip
    np.testing.assert_array_equal(state.scale, np.where(np.arange(STEPS) < 11, 1, np.float32(0.1)))
    step = trajectory[13] - trajectory[12]  # with the momentum of the snapshot: 1 + 1/2 + ... + 1/2^8
    np.testing.assert_allclose(step, -0.1 * 0.5 * (2 - 2.0**-8), rtol=1e-5)


def test_a_restore_across_more_than_the_dtype_holds():
    """In float16, whose largest number is 65504: from 60900 back to -60000, when the sixth step overflows."""
    losses, grads = constant(1.0), np.full((STEPS, 2), -30000, np.float16)
    _, (trajectory, state, updates) = driver(patience=50)(np.full(2, -60000, np.float16), losses, grads)
    assert np.isfinite(updates).all()
    assert trajectory[4, 0] > 60000
    assert int(state.last_backoff[6]) == 5
    np.testing.assert_allclose(trajectory[6], np.float16(-60000), rtol=1e-3)


def test_without_restore_the_step_is_skipped():
    params = np.float32([0.7, -1.3])
    _, (trajectory, state, updates) = driver(patience=4, restore=False)(params, *blown_up(1e4))
    np.testing.assert_array_equal(updates[11], 0)
    assert_equal(*(jax.tree.map(lambda leaf, at=at: leaf[at], state.inner) for at in (10, 11)))
    assert np.abs(trajectory[11:]).min() > 1e3
    assert state.good is None
    last = jax.tree.map(lambda leaf: leaf[-1], state)
    assert (int(last.backoffs), int(last.restores), int(last.last_backoff)) == (1, 0, 11)


@pytest.mark.parametrize(
    ("losses", "fails"),
    [
        ([4.0, 4.0, 4.0, 11.9], False),  # recent 7.95, within twice 4
        ([4.0, 4.0, 4.0, 12.1], True),
        ([-4.0, -4.0, -4.0, 3.9], False),  # by as much as its size where it is negative
        ([-4.0, -4.0, -4.0, 4.1], True),
        ([4.0, 4.0, 4.0, 9.0, 9.0], False),  # recent 6.5, then 7.75 against 8 and more
    ],
)
def test_what_a_spike_is(losses, fails):
    padded = np.float32(losses + losses[-1:] * (STEPS - len(losses)))
    _, (_, state, _) = driver(patience=50)(np.zeros(2, np.float32), padded, np.zeros((STEPS, 2), np.float32))
    assert bool(state.spikes[len(losses) - 1]) == fails


@pytest.mark.parametrize("shift", [0.0, -3.0, -100.0, 1000.0])
def test_a_loss_may_not_stay_above_where_it_began_whatever_its_shift(shift):
    """Falls from 3 to 1 without noise, and rises to 3.5, short of a spike where the loss is large."""
    steps = 220
    losses = np.interp(np.arange(steps), [0, 40, 80, 82, steps], [3.0, 1.0, 1.0, 3.5, 3.5])
    _, (_, state, _) = driver(patience=8)(
        np.zeros(2, np.float32), np.float32(losses + shift), np.zeros((steps, 2), np.float32)
    )
    assert int(state.backoffs[-1]) >= 1
    assert 80 < int(state.last_backoff[np.flatnonzero(state.backoffs)[0]]) < 170
    assert int(state.backoffs[79]) == 0


@pytest.mark.parametrize(("end", "fails"), [(1.9, False), (2.3, True)])
def test_half_of_what_was_gained_may_not_stay_lost(end, fails):
    """From 3 to 1, and so slowly back that no step of it is a spike; the snapshots on the way know of the lowest."""
    steps = 600
    losses = np.float32(np.interp(np.arange(steps), [0, 40, 80, 580, steps], [3.0, 1.0, 1.0, end, end]))
    _, (_, state, _) = driver(patience=8)(np.zeros(2, np.float32), losses, np.zeros((steps, 2), np.float32))
    assert (int(state.backoffs[-1]) > 0) == fails


@pytest.mark.parametrize(
    ("name", "spikes"), [("normal", 0), ("exponential", 2), ("around zero", 0), ("regression at batch 1", 6)]
)
def test_noise_is_rarely_a_spike(name, spikes):
    rng, steps = np.random.default_rng(7), 600
    losses = {
        "normal": 1 + 0.3 * rng.normal(size=(8, steps)),
        "exponential": 1 + rng.exponential(size=(8, steps)),
        "around zero": rng.normal(size=(8, steps)),
        "regression at batch 1": 0.2 + rng.normal(size=(8, steps)) ** 2,
    }[name]
    losses[:, 0] = max(losses.mean(), losses.std())  # the first loss is the first guess of the noise
    run = jax.jit(jax.vmap(lambda losses: drive(backoff(optax.sgd(1.0)), 0.0, losses, losses * 0)[0][1].backoffs))
    assert run(np.float32(losses)).sum() <= spikes  # in 4800 steps


def test_a_loss_that_has_changed_for_good_is_accepted():
    """The data is another: the loss at the snapshot is as high, so that no smaller rate would help."""
    losses = np.float32([1.0] * 30 + [9.0] * 170)
    (_, state), _ = driver(patience=8)(np.zeros(2, np.float32), losses, np.zeros((200, 2), np.float32))
    assert int(state.backoffs) == 1
    assert state.level.reference == pytest.approx(9.0)


def test_what_is_not_finite_at_the_snapshot_is_not_the_rates_fault():
    losses, grads = constant(1.0), np.ones((STEPS, 2), np.float32)
    losses[0], grads[1] = np.nan, np.inf
    _, (trajectory, state, _) = driver(patience=4)(np.zeros(2, np.float32), losses, grads)
    np.testing.assert_array_equal(trajectory[:2], 0)
    last = jax.tree.map(lambda leaf: leaf[-1], state)
    assert (int(last.nonfinite), int(last.backoffs), float(last.scale)) == (2, 0, 1.0)
    assert float(last.level.initial) == 1.0


def test_the_scale_stops_to_fall_and_never_reaches_zero():
    losses = np.where(np.arange(200) % 4 == 3, np.float32(np.nan), np.float32(1.0))
    (_, state), _ = driver(patience=4)(np.zeros(2, np.float32), losses, np.zeros((200, 2), np.float32))
    assert int(state.backoffs) > 20
    assert float(state.scale) == pytest.approx(1e-6)


def test_recovery_and_its_ceiling():
    """Healthy up to a scale of 0.2, lost above: 1, 0.1, up to 1 again, lost; then the ceiling is the root of 0.1."""
    optimizer = backoff(sgd(0.5), recovery=10, patience=4)

    def step(carry, _):
        params, state = carry
        loss = jnp.where((state.scale > 0.2) & (state.phase == 0), jnp.inf, 1.0)
        updates, state = optimizer.update(params * 0, state, params, value=loss)
        return (optax.apply_updates(params, updates), state), state

    params = jnp.zeros(2)
    (_, last), state = jax.lax.scan(step, (params, optimizer.init(params)), None, 200)
    assert float(state.scale.max()) == 1.0
    changes = state.scale[np.flatnonzero(np.diff(state.scale)) + 1]
    root = 0.1**0.5
    # Each failure before its tenth good step lowers the ceiling to the root times the scale that failed.
    np.testing.assert_allclose(changes, [0.1, root, 0.1 * root, 0.1], rtol=1e-5)
    np.testing.assert_allclose(last.ceiling, 0.1, rtol=1e-5)
    assert int(last.backoffs) == 2


def test_a_proven_rate_grows_back_to_all_of_it():
    losses, grads = blown_up(1.0, 80)
    (_, state), _ = driver(patience=4, recovery=8)(np.zeros(2, np.float32), losses, grads)
    assert (float(state.scale), float(state.ceiling), int(state.backoffs)) == (1.0, 1.0, 1)


CURVATURES = np.float32([1.0, 0.3, 0.1])


def bowl(params):
    return jnp.sum(CURVATURES * params**2) / 2


BOWL_STEPS = 250


@cache
def bowl_runs(recovery):
    """``run(rate)`` on the bowl, whose edge of stability is a rate of 2; many rates at once."""

    def run(rate):
        optimizer = backoff(optax.sgd(rate), recovery=recovery)
        (params, state), (losses, scales) = descent(bowl, optimizer, jnp.ones(3), BOWL_STEPS)
        return params, state, losses, scales

    return jax.jit(jax.vmap(run))


RATES = np.float32([0.6, 6, 21, 60, 201])


@pytest.mark.parametrize("recovery", [None, 40])
def test_rates_far_too_high_are_saved(recovery):
    _, state, losses, scales = bowl_runs(recovery)(RATES)
    assert np.isfinite(losses).all()
    assert (losses[:, -1] < 1e-2 * losses[:, 0]).all()
    assert int(state.backoffs[0]) == 0
    assert ((RATES * scales[:, -1])[1:] < 2.0).all()
    assert (state.backoffs <= 8).all()


def test_lanes_scans_and_loops_agree():
    lanes, state, _, _ = bowl_runs(None)(RATES)
    optimizer = backoff(optax.sgd(RATES[3]))
    (scanned, scanned_state), _ = jax.jit(lambda: descent(bowl, optimizer, jnp.ones(3), BOWL_STEPS))()
    alone = jnp.ones(3), optimizer.init(jnp.ones(3))

    @jax.jit
    def step(params, state):
        loss, grads = jax.value_and_grad(bowl)(params)
        updates, state = optimizer.update(grads, state, params, value=loss)
        return optax.apply_updates(params, updates), state

    for _ in range(BOWL_STEPS):
        alone = step(*alone)
    np.testing.assert_allclose(scanned, alone[0], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(lanes[3], alone[0], rtol=1e-4, atol=1e-6)
    of_lane = jax.tree.map(lambda leaf: leaf[3], state)
    assert counts(scanned_state) == counts(alone[1]) == counts(of_lane)
    assert int(of_lane.backoffs) == 2


def test_hyperparameters_may_be_traced():
    losses, grads = blown_up(10.0)

    def run(factor, spike, patience, recovery):
        optimizer = backoff(sgd(0.5), factor=factor, spike=spike, patience=patience, recovery=recovery)
        return drive(optimizer, np.zeros(2, np.float32), losses, grads)[0][1]

    state = jax.jit(jax.vmap(run))(np.float32([0.5, 0.1]), np.float32([2, 3]), np.int32([4, 4]), np.int32([100, 10]))
    np.testing.assert_allclose(state.scale, [0.5, 1.0])
    assert_equal(specification(jax.tree.map(lambda leaf: leaf[0], state))[1], specification(run(0.1, 2.0, 4, 10))[1])


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16, jnp.complex64])
@pytest.mark.parametrize("restore", [True, False])
def test_state_and_updates_keep_structure_shapes_and_dtypes(dtype, restore):
    optimizer, params, grads = backoff(adamw(), restore=restore, recovery=5), tree(dtype), tree(dtype, 1)
    state = optimizer.init(params)
    for value in (jnp.bfloat16(1.0), 1.0):
        updates, after = jax.eval_shape(
            lambda state, value=value: optimizer.update(grads, state, params, value=value), state
        )
        assert specification(after) == specification(state)
        assert specification(updates) == specification(grads)
    assert state.scale.dtype == state.level.reference.dtype == jnp.float32


@pytest.mark.usefixtures("x64")
def test_in_float64():
    params = jnp.array([0.7, -1.3], jnp.float64)
    optimizer = backoff(sgd(0.5), factor=np.float64(0.1), recovery=5)
    losses, grads = (np.float64(part) for part in blown_up(1e30))
    (_, state), (trajectory, _, _) = drive(optimizer, params, losses, grads)
    assert specification(state) == specification(optimizer.init(params))
    np.testing.assert_allclose(trajectory[12], params, rtol=1e-15)


def test_state_can_be_donated_from_the_start():
    optimizer, params = backoff(optax.adam(0.1)), tree()
    update = jax.jit(lambda params, state: optimizer.update(params, state, params, value=1.0), donate_argnums=(0, 1))
    update(params, optimizer.init(params))


def test_beside_apply_if_finite():
    """Steps with gradients that are not finite: the same updates, but for the scale, and the same inner state."""
    rng = np.random.default_rng(0)
    grads = rng.normal(size=(STEPS, 2)).astype(np.float32)
    grads[[4, 9, 10], [0, 1, 0]] = np.nan, np.inf, -np.inf
    params, losses = np.zeros(2, np.float32), constant(1.0)
    (_, ours), (_, state, updates) = driver(restore=False)(params, losses, grads)
    (_, theirs), (_, _, expected) = driver(lambda inner: optax.apply_if_finite(inner, 100))(params, losses, grads)
    scale = np.concatenate([[1.0], state.scale[:-1]])[:, None]
    np.testing.assert_allclose(updates, scale * expected, rtol=1e-6)
    assert_equal(ours.inner, theirs.inner_state)
    assert int(ours.nonfinite) == int(theirs.total_notfinite) == 3


def test_around_a_preset_that_skips_by_itself():
    """What the preset skips is a failure to backoff all the same, and the preset's count is the snapshot's."""
    losses, grads = blown_up(1.0)
    losses[11], grads[12] = 1.0, np.nan
    optimizer = optax.chain(optax.identity(), backoff(adamw(0.1), patience=4))
    (params, (_, state)), _ = drive(optimizer, np.ones(2, np.float32), losses, grads)
    assert isinstance(state, BackoffState)
    assert (int(state.nonfinite), int(state.backoffs), int(state.inner.clip.nonfinite)) == (1, 1, 0)
    assert np.isfinite(params).all()


def test_within_multi_steps():
    optimizer = optax.MultiSteps(backoff(sgd(0.5), patience=4), 2)
    losses, grads = (np.repeat(part, 2, 0) for part in blown_up(1e4))
    (_, state), (trajectory, _, _) = drive(optimizer, np.float32([0.7, -1.3]), losses, grads)
    assert counts(state.inner_opt_state)["last_backoff"] == 11
    np.testing.assert_allclose(trajectory[25], trajectory[15], rtol=3e-7)


GRADS = np.ones(2, np.float32)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"inner": optax.adam}, TypeError, r"`backoff\(inner=...\)` must be an optimizer, such as optax.adam\(1e-3\)"),
        ({"factor": 1.0}, ValueError, r"`backoff\(factor=...\)` must be less than 1, got 1.0"),
        ({"factor": 0}, ValueError, r"`backoff\(factor=...\)` must be greater than 0, got 0"),
        ({"factor": "a"}, TypeError, r"`backoff\(factor=...\)` must be a number, got 'a'"),
        ({"spike": 1.0}, ValueError, r"`backoff\(spike=...\)` must be greater than 1, got 1.0"),
        ({"patience": 1}, ValueError, r"`backoff\(patience=...\)` must be at least 2, got 1"),
        ({"patience": 2.5}, ValueError, r"`backoff\(patience=...\)` must be a whole number, got 2.5"),
        ({"recovery": 0}, ValueError, r"`backoff\(recovery=...\)` must be at least 1, got 0"),
        ({"restore": 1}, TypeError, r"`backoff\(restore=...\)` must be True or False, got 1"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        backoff(**{"inner": optax.sgd(0.1)} | arguments)


@pytest.mark.parametrize(
    ("params", "extra", "message"),
    [
        (GRADS, {}, r"`backoff` needs the loss .* call optimizer.update\(grads, state, params, value=loss\)"),
        (None, {"value": 1.0}, r"`backoff` needs the parameters: call optimizer.update\(grads, state, params, value="),
        (GRADS, {"value": GRADS}, r"`backoff` needs the loss as a scalar, got value of shape \(2,\)"),
    ],
)
def test_bad_updates(params, extra, message):
    optimizer = backoff(optax.sgd(0.1))
    with pytest.raises(ValueError, match=message):
        optimizer.update(GRADS, optimizer.init(GRADS), params, **extra)
