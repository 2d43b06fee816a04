"""The GAN step against hand-written loops, and the traps of training two players."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy_gan import (
    STEPS,
    batches,
    discriminator_loss,
    discriminator_params,
    generator_loss,
    generator_params,
    keys,
    run,
    start,
)
from transformations import specification

from lrjax.optimizers import GanOptimizers, gan_init, gan_optimizers, gan_step


def assert_trees_close(actual, expected, rtol=1e-5, atol=1e-7):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=atol), actual, expected)


ADAM = optax.chain(optax.clip_by_global_norm(1.0), optax.scale_by_adam(b1=0.5))
update_adam = jax.jit(ADAM.update)
d_gradient, g_gradient = (jax.jit(jax.value_and_grad(loss)) for loss in (discriminator_loss, generator_loss))


def by_hand(order: str, steps: int, ema: float = 0.9):
    """The same training written out with two optax optimizers and the plain GAN step as their clock."""
    rates = (lambda gan_step: 1e-2 / (1 + gan_step)), (lambda gan_step: 3e-2 * 0.8**gan_step)
    g, d, average = generator_params, discriminator_params, generator_params
    g_state, d_state = ADAM.init(g), ADAM.init(d)
    reports = []
    for i in range(STEPS):
        rngs = jax.random.split(keys[i], steps + 1)
        old_d, losses, norms = d, [], []
        for j in range(steps):
            batch = batches[i] if steps == 1 else batches[i] + j
            loss, grad = d_gradient(d, g, batch, rngs[j])
            update, d_state = update_adam(grad, d_state)
            d = jax.tree.map(lambda p, u, i=i: p - rates[1](i) * u, d, update)
            losses.append(loss)
            norms.append(optax.tree.norm(grad))
        opponent = d if order == "alternating" else old_d
        loss, grad = g_gradient(g, opponent, batch, rngs[steps])
        update, g_state = update_adam(grad, g_state)
        g = jax.tree.map(lambda p, u, i=i: p - rates[0](i) * u, g, update)
        average = jax.tree.map(lambda a, p: ema * a + (1 - ema) * p, average, g)
        reports.append((loss, np.mean(losses), optax.tree.norm(grad), np.mean(norms)))
    return gan_optimizers(*rates, discriminator_steps=steps), g, d, average, np.array(reports).T


@pytest.mark.parametrize(("order", "steps"), [("alternating", 1), ("alternating", 3), ("simultaneous", 3)])
def test_equals_the_loop_written_by_hand(order, steps):
    optimizers, g, d, average, reports = by_hand(order, steps)
    stacked = batches if steps == 1 else jnp.stack([batches + j for j in range(steps)], axis=1)
    state, metrics = run(optimizers, stacked, ema=0.9, order=order)
    assert_trees_close(state.generator.params, g)
    assert_trees_close(state.discriminator.params, d)
    assert_trees_close(state.average, average)
    assert_trees_close(tuple(metrics[:4]), tuple(reports))
    assert metrics[4:] == (None, None, None, None, {}, {})
    assert int(state.step) == STEPS


def test_state_keeps_its_structure_and_metrics_are_float32():
    for optimizers in (gan_optimizers(), gan_optimizers(optax.constant_schedule(1e-3), discriminator_steps=2)):
        batch = batches[0] if optimizers.discriminator_steps == 1 else batches[:2]
        step = gan_step(generator_loss, discriminator_loss, optimizers)
        state, metrics = jax.eval_shape(step, start(optimizers), batch, keys[0])
        assert specification(state) == specification(start(optimizers))
        assert all((leaf.shape, leaf.dtype) == ((), jnp.float32) for leaf in jax.tree.leaves(metrics))


@jax.jit
def advance(rates, state, batch, rng):
    """One step at traced rates, so that all tests share its compilation."""
    return gan_step(generator_loss, discriminator_loss, gan_optimizers(*rates))(state, batch, rng)


@pytest.mark.parametrize("idle", ["generator", "discriminator"])
def test_the_idle_player_does_not_move(idle):
    """However warm its moments are."""
    warm, _ = advance((1e-2, 1e-2), start(gan_optimizers()), batches[0], keys[0])
    after, _ = advance((0.0, 1e-2) if idle == "generator" else (1e-2, 0.0), warm, batches[1], keys[1])
    jax.tree.map(np.testing.assert_array_equal, getattr(after, idle).params, getattr(warm, idle).params)
    mover = "discriminator" if idle == "generator" else "generator"
    assert optax.tree.norm(optax.tree.sub(getattr(after, mover).params, getattr(warm, mover).params)) > 0


def test_one_adam_over_both_players_moves_the_idle_one():
    """The trap that two transformations avoid: zero gradients still step by the momentum that is left."""
    together = {"generator": generator_params, "discriminator": discriminator_params}
    gradients = jax.tree.map(jnp.ones_like, together)
    discriminators_turn = {**gradients, "generator": jax.tree.map(jnp.zeros_like, generator_params)}
    labels = {name: name for name in together}
    partition = optax.partition({name: optax.adam(1e-2, b1=0.5) for name in together}, labels)
    _, warm = partition.update(gradients, partition.init(together), together)
    moves, _ = partition.update(discriminators_turn, warm, together)
    # What is left: b1 / (1 + b1) of the first moment, b2 / (1 + b2) of the second.
    expected = -1e-2 * (0.5 / 1.5) / (0.999 / 1.999) ** 0.5
    assert_trees_close(moves["generator"], jax.tree.map(lambda leaf: jnp.full_like(leaf, expected), generator_params))


@pytest.mark.parametrize("order", ["alternating", "simultaneous"])
def test_what_each_loss_sees_of_its_opponent(order):
    """Warm moments or not, the generator rests through all of the discriminator's updates, then answers the right one."""
    warm, _ = advance((1e-2, 1e-2), start(gan_optimizers()), batches[0], keys[0])

    def distance(params, others):
        return optax.tree.norm(optax.tree.sub(params, others))

    def d_loss(discriminator, generator, batch, rng):
        moved = distance(generator, warm.generator.params)
        return discriminator_loss(discriminator, generator, batch, rng), {"generator_moved": moved}

    def g_loss(generator, discriminator, batch, rng):
        moved = distance(discriminator, warm.discriminator.params)
        return generator_loss(generator, discriminator, batch, rng), {"discriminator_moved": moved}

    step = gan_step(g_loss, d_loss, gan_optimizers(1e-2, 1e-2, discriminator_steps=3), order=order)
    after, metrics = jax.jit(step)(warm, batches[:3], keys[0])
    assert float(metrics.discriminator_aux["generator_moved"]) == 0.0
    moved = distance(after.discriminator.params, warm.discriminator.params)
    seen = moved if order == "alternating" else 0.0
    np.testing.assert_allclose(metrics.generator_aux["discriminator_moved"], seen, rtol=1e-6)
    assert moved > 1e-3
    assert distance(after.generator.params, warm.generator.params) > 1e-3


def test_each_player_is_updated_once_per_turn():
    state = start(gan_optimizers())
    for batch, key in zip(batches, keys, strict=True):
        state, _ = advance((1e-3, 1e-3), state, batch, key)
    for player in (state.generator, state.discriminator):
        leaves = jax.tree.leaves_with_path(player.opt_state)
        counts = [int(leaf) for path, leaf in leaves if jax.tree_util.keystr(path).endswith(".count")]
        assert counts == [STEPS] * 2  # clipping, Adam


def test_a_loss_moves_its_own_player_only():
    """The generator's loss here would drive the discriminator, and the other way round."""
    step = jax.jit(
        gan_step(
            lambda g, d, *_: jnp.sum(g["w"] ** 2) + 100.0 * jnp.sum(d["u"]),
            lambda d, g, *_: jnp.sum(d["u"] ** 2) + 100.0 * jnp.sum(g["w"]),
            gan_optimizers(1e-2, 1e-2, max_norm=None),
        )
    )
    state, _ = step(start(gan_optimizers(max_norm=None)), batches[0], keys[0])
    np.testing.assert_allclose(
        state.generator.params["w"], generator_params["w"] - 1e-2 * jnp.sign(generator_params["w"]), rtol=1e-5
    )
    np.testing.assert_allclose(
        state.discriminator.params["u"],
        discriminator_params["u"] - 1e-2 * jnp.sign(discriminator_params["u"]),
        rtol=1e-5,
    )


def test_a_non_finite_gradient_stops_neither_the_other_player_nor_the_lane():
    optimizers = gan_optimizers(1e-2, 1e-2)

    def spoilt_loss(generator, discriminator, batch, rng):
        return generator_loss(generator, discriminator, batch, rng) * batch[0]

    step = jax.jit(gan_step(spoilt_loss, lambda d, g, _, rng: discriminator_loss(d, g, jnp.ones(8), rng), optimizers))
    state = start(optimizers)
    after, metrics = step(state, jnp.full(8, jnp.nan), keys[0])
    jax.tree.map(np.testing.assert_array_equal, after.generator.params, state.generator.params)
    jax.tree.map(np.testing.assert_array_equal, after.average, state.average)
    assert not np.allclose(after.discriminator.params["u"], state.discriminator.params["u"], atol=1e-3)
    assert np.isnan(metrics.generator_loss)
    assert np.isfinite(metrics.discriminator_loss)
    assert int(after.generator.opt_state.clip.nonfinite) == 1
    again, _ = step(after, jnp.ones(8), keys[1])
    assert not np.allclose(again.generator.params["w"], state.generator.params["w"], atol=1e-3)


def test_the_state_may_be_donated_and_the_callers_parameters_survive():
    optimizers = gan_optimizers()
    step = jax.jit(gan_step(generator_loss, discriminator_loss, optimizers), donate_argnums=0)
    before = jax.tree.map(np.array, (generator_params, discriminator_params))
    state = start(optimizers)
    for batch, key in zip(batches, keys, strict=True):
        state, _ = step(state, batch, key)
    jax.tree.map(np.testing.assert_array_equal, (generator_params, discriminator_params), before)
    assert not np.array_equal(state.average["w"], state.generator.params["w"])


def test_lanes_over_both_rates_equal_separate_runs():
    rates = jnp.array([1e-4, 1e-2, 3e-2]), jnp.array([2e-2, 1e-3, 0.0])

    def lane(g, d):
        state, metrics = run(gan_optimizers(g, d))
        return state.generator.params, state.discriminator.params, metrics

    together, alone = jax.jit(jax.vmap(lane))(*rates), jax.jit(lane)
    for i, pair in enumerate(zip(*rates, strict=True)):
        assert_trees_close(jax.tree.map(lambda leaf, i=i: leaf[i], together), alone(*pair))


def test_bfloat16_players_have_a_float32_average_that_moves():
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), generator_params)
    optimizers = gan_optimizers(0.1, 0.1)
    step = jax.jit(gan_step(generator_loss, discriminator_loss, optimizers, ema=0.9999))
    state = gan_init(optimizers, half, discriminator_params)
    after, _ = step(state, batches[0], keys[0])
    assert specification(after) == specification(state)
    assert after.average["w"].dtype == jnp.float32
    assert 0 < np.abs(after.average["w"] - state.average["w"]).max() < 1e-4


def test_averages_at_both_ends_of_ema():
    state, _ = jax.vmap(lambda ema: run(gan_optimizers(1e-2), ema=ema))(jnp.array([0.0, 1.0]))
    copied, frozen = (jax.tree.map(lambda leaf, i=i: leaf[i], state.average) for i in (0, 1))
    assert_trees_close(copied, jax.tree.map(lambda leaf: leaf[0], state.generator.params))
    jax.tree.map(np.testing.assert_array_equal, frozen, generator_params)


def test_any_two_optax_optimizers_will_do():
    state, metrics = run(GanOptimizers(optax.sgd(1e-2), optax.adam(1e-3)))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((state, metrics)))


def test_a_new_rate_does_not_retrace():
    traces = []

    @jax.jit
    def lane(g, d):
        traces.append(g)
        optimizers = gan_optimizers(g, d)
        return gan_step(generator_loss, discriminator_loss, optimizers)(start(optimizers), batches[0], keys[0])

    for rate in (1e-4, 1e-3, 1e-2):
        lane(rate, 2 * rate)
    assert len(traces) == 1
