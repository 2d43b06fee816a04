"""The optimizers of the two players: presets, the clock of every schedule, clipping, and optimism."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from transformations import specification, tree

from lrjax.optimizers import gan_init, gan_optimizers, gan_step
from lrjax.optimizers.gan_presets import GAN_PRESETS

PUBLISHED = {
    "default": (2e-4, 4e-4, 0.5, 0.999, 1),
    "dcgan": (2e-4, 2e-4, 0.5, 0.999, 1),
    "sagan": (1e-4, 4e-4, 0.0, 0.9, 1),
    "ttur": (1e-4, 3e-4, 0.0, 0.9, 1),
    "wgan-gp": (1e-4, 1e-4, 0.0, 0.9, 5),
}
"""Rates of generator and discriminator, b1, b2, and the discriminator's steps."""


def walk(optimizer, gradients):
    """The updates that a sequence of gradients draws, stacked, and the states after each."""

    def step(state, gradient):
        update, state = optimizer.update(gradient, state)
        return state, (update, state)

    start = optimizer.init(jax.tree.map(lambda leaf: leaf[0], gradients))
    return jax.jit(lambda gradients: jax.lax.scan(step, start, gradients)[1])(gradients)


@pytest.mark.parametrize("name", GAN_PRESETS)
def test_presets_are_adam_at_the_published_numbers(name):
    generator_rate, discriminator_rate, b1, b2, steps = PUBLISHED[name]
    optimizers = gan_optimizers(preset=name, max_norm=None)
    assert optimizers.discriminator_steps == steps
    gradients = jax.random.normal(jax.random.key(0), (6, 5))
    for optimizer, rate in ((optimizers.generator, generator_rate), (optimizers.discriminator, discriminator_rate)):
        expected, _ = walk(optax.adam(rate, b1, b2), gradients)
        np.testing.assert_allclose(walk(optimizer, gradients)[0], expected, rtol=1e-5)


def test_the_table_names_its_sources_and_cannot_be_changed():
    assert set(GAN_PRESETS) == set(PUBLISHED)
    assert all("arXiv:" in row.source for name, row in GAN_PRESETS.items() if name != "default")
    with pytest.raises(TypeError, match="does not support item assignment"):
        GAN_PRESETS["dcgan"] = GAN_PRESETS["sagan"]


def test_what_is_given_overrides_the_preset():
    optimizers = gan_optimizers(3e-3, preset="wgan-gp", discriminator_steps=2, b1=0.3, max_norm=None)
    assert optimizers.discriminator_steps == 2
    gradients = jax.random.normal(jax.random.key(0), (4, 5))
    for optimizer, rate in ((optimizers.generator, 3e-3), (optimizers.discriminator, 1e-4)):
        np.testing.assert_allclose(
            walk(optimizer, gradients)[0], walk(optax.adam(rate, 0.3, 0.9), gradients)[0], rtol=1e-5
        )


def test_zero_is_a_value_and_not_a_missing_one():
    optimizers = gan_optimizers(0.0, preset="dcgan", b1=0.0, b2=0.0)
    update, state = optimizers.generator.update(jnp.array([0.3]), optimizers.generator.init(jnp.zeros(1)))
    assert float(update[0]) == 0.0
    np.testing.assert_allclose(state.inner[0].mu, 0.3, rtol=1e-6)
    np.testing.assert_allclose(state.inner[0].nu, 0.09, rtol=1e-6)


def losing(steps: int, lost: set[tuple[int, int]], gan_steps: int = 5):
    """Gradients of norm 50, ``steps`` for each GAN step, with NaN at the (GAN step, update) pairs in ``lost``."""
    rows = [[3e1 * np.nan if (i, j) in lost else 3e1, 4e1] for i in range(gan_steps) for j in range(steps)]
    return jnp.array(rows, jnp.float32), np.array([(i, j) in lost for i in range(gan_steps) for j in range(steps)])


@pytest.mark.parametrize("player", ["generator", "discriminator"])
@pytest.mark.parametrize("steps", [1, 3])
def test_every_schedule_is_clocked_by_the_gan_step_through_skips(steps, player):
    """Rate and bound of GAN step i are those that the schedules have at i, for each update, after lost ones too."""
    optimizers = gan_optimizers(
        lambda i: 1.0 / (1.0 + i),
        lambda i: 7.0 / (1.0 + i),
        discriminator_steps=steps,
        b1=0.0,
        max_norm=(lambda i: 2.0 + i, lambda i: 20.0 - i),
    )
    updates_per_step = steps if player == "discriminator" else 1
    lost = {(1, 0), (2, updates_per_step - 1)}
    gradients, skipped = losing(updates_per_step, lost)
    updates, states = walk(getattr(optimizers, player), gradients)
    gan_steps = np.repeat(np.arange(5), updates_per_step)

    # Without a first moment it is the clipped gradient, which a skipped step leaves from the step before.
    bounds = 20.0 - gan_steps if player == "discriminator" else 2.0 + gan_steps
    norms = np.linalg.norm(states.inner[0].mu, axis=1)
    np.testing.assert_allclose(norms[~skipped], bounds[~skipped], rtol=1e-5)
    rates = (7.0 if player == "discriminator" else 1.0) / (1.0 + gan_steps)
    np.testing.assert_allclose(states.learning_rate[~skipped], rates[~skipped], rtol=1e-6)
    np.testing.assert_array_equal(np.asarray(updates)[skipped], 0.0)
    before = np.flatnonzero(skipped) - 1
    np.testing.assert_array_equal(norms[skipped], norms[before])
    np.testing.assert_array_equal(states.learning_rate[skipped], states.learning_rate[before])


@pytest.mark.parametrize("steps", [1, 3])
def test_the_players_share_the_clock_inside_a_gan_step(steps):
    """Whichever player's gradient is lost, at the end both have the rate of the last GAN step."""

    def loss(own, opponent, batch, rng):
        return jnp.sum(own**2) * batch

    optimizers = gan_optimizers(lambda i: 1e-2 * (1 + i), lambda i: 3e-2 * (1 + i), discriminator_steps=steps)
    step = jax.jit(gan_step(loss, loss, optimizers))
    state = gan_init(optimizers, jnp.ones(2), jnp.ones(2))
    batches = np.ones((4, steps), np.float32)
    batches[1, 0] = np.nan  # a lost update of the discriminator, and of the generator if it is the only slice
    if steps > 1:
        batches[2, -1] = np.nan  # a lost update of both
    for i, batch in enumerate(batches):
        state, _ = step(state, jnp.asarray(batch if steps > 1 else batch[0]), jax.random.key(i))
    np.testing.assert_allclose(state.generator.opt_state.learning_rate, 4e-2, rtol=1e-6)
    np.testing.assert_allclose(state.discriminator.opt_state.learning_rate, 12e-2, rtol=1e-6)
    assert int(state.generator.opt_state.clip.nonfinite) == 1
    assert int(state.discriminator.opt_state.clip.nonfinite) == (1 if steps == 1 else 2)


def test_one_bound_serves_both_players_and_a_pair_each_its_own():
    gradient = jnp.array([30.0, 40.0])
    for max_norm, expected in [
        (0.5, (0.5, 0.5)),
        ((0.5, 2.0), (0.5, 2.0)),
        ([None, jnp.float32(2.0)], (50.0, 2.0)),
        ((lambda _: 3.0, None), (3.0, 50.0)),
        (None, (50.0, 50.0)),
    ]:
        optimizers = gan_optimizers(b1=0.0, max_norm=max_norm)
        for optimizer, norm in zip(optimizers[:2], expected, strict=True):
            _, state = optimizer.update(gradient, optimizer.init(gradient))
            np.testing.assert_allclose(np.linalg.norm(state.inner[0].mu), norm, rtol=1e-5)


def test_bounds_may_be_traced_and_a_schedule_of_them_changes_no_state():
    def norm(bound):
        _, states = walk(gan_optimizers(b1=0.0, max_norm=(bound, None)).generator, jnp.array([[30.0, 40.0]]))
        return jnp.linalg.norm(states.inner[0].mu[0])

    np.testing.assert_allclose(jax.vmap(norm)(jnp.array([0.5, 4.0])), [0.5, 4.0], rtol=1e-5)
    number, schedule = (gan_optimizers(max_norm=bound).generator.init(tree()) for bound in (1.0, lambda _: 1.0))
    assert specification(number) == specification(schedule)


def test_optimism_is_optax_s():
    gradients = jax.random.normal(jax.random.key(0), (12, 5))
    ours = gan_optimizers(3e-3, b1=0.4, b2=0.95, optimistic=True, max_norm=None).generator
    theirs = optax.optimistic_adam_v2(3e-3, alpha=1.0, beta=1.0, b1=0.4, b2=0.95, nesterov=False)
    np.testing.assert_allclose(walk(ours, gradients)[0], walk(theirs, gradients)[0], rtol=1e-4, atol=1e-7)


def test_optimism_by_hand_through_a_skipped_step():
    """The lost gradient leaves no trace in the direction that the next step remembers, not even among the first."""
    b1, b2, rate, gradients = 0.5, 0.9, 0.1, np.random.default_rng(0).normal(size=(5, 3))
    mu = nu = np.zeros(3)
    expected, previous = [], None
    for t, gradient in enumerate(gradients, start=1):
        mu, nu = b1 * mu + (1 - b1) * gradient, b2 * nu + (1 - b2) * gradient**2
        direction = (mu / (1 - b1**t)) / (np.sqrt(nu / (1 - b2**t)) + 1e-8)
        expected.append(-rate * (2 * direction - (direction if previous is None else previous)))
        previous = direction
    lost = np.full(3, np.inf)
    seen = jnp.array([lost, *gradients[:2], lost, *gradients[2:]], jnp.float32)
    optimizer = gan_optimizers(rate, b1=b1, b2=b2, optimistic=True, max_norm=None).generator
    updates, _ = walk(optimizer, seen)
    zeros = np.zeros(3)
    np.testing.assert_allclose(updates, [zeros, *expected[:2], zeros, *expected[2:]], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16, jnp.complex64])
def test_optimistic_states_and_updates_keep_their_dtypes(dtype):
    optimizer, params = gan_optimizers(optimistic=True, max_norm=lambda i: 1.0 / (1 + i)).discriminator, tree(dtype)
    state = optimizer.init(params)
    updates, after = jax.jit(optimizer.update)(tree(dtype, 1), state, params)
    _, again = jax.jit(optimizer.update)(tree(dtype, 2), after, params)
    assert specification(updates) == specification(params)
    assert specification(after) == specification(again) == specification(state)
    assert all(np.isfinite(np.asarray(leaf, complex)).all() for leaf in jax.tree.leaves((updates, again)))


def test_optimism_approaches_the_equilibrium_that_adam_circles():
    """The game ``min over x, max over y of x * y`` from (1, 1), both players moving at once."""

    def distances(optimistic):
        optimizers = gan_optimizers(1e-2, 1e-2, b1=0.0, optimistic=optimistic)
        step = gan_step(lambda x, y, *_: x * y, lambda y, x, *_: -x * y, optimizers, order="simultaneous")

        def advance(state, rng):
            state, _ = step(state, (), rng)
            return state, jnp.hypot(state.generator.params, state.discriminator.params)

        state = gan_init(optimizers, jnp.array(1.0), jnp.array(1.0))
        return jax.jit(lambda rngs: jax.lax.scan(advance, state, rngs))(jax.random.split(jax.random.key(0), 8000))[1]

    circling, approaching = distances(optimistic=False), distances(optimistic=True)
    assert circling[-2000:].min() > 0.85
    assert approaching[-1] < 1e-3
