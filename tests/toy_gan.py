"""A game small enough to write out by hand: two numbers make the fakes, a parabola judges them."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lrjax.optimizers import gan_init, gan_step

STEPS = 6
generator_params = {"w": jnp.array([0.5, -1.0]), "b": jnp.array(0.1)}
discriminator_params = {"u": jnp.array([1.0, 0.5, -0.5])}
batches = jax.random.normal(jax.random.key(0), (STEPS, 8))
keys = jax.random.split(jax.random.key(1), STEPS)


def sample(generator, rng):
    """Fakes of the same shape as a batch."""
    return generator["w"][0] * jax.random.uniform(rng, (8,)) + generator["w"][1] + generator["b"]


def score(discriminator, x):
    """The discriminator's logit."""
    first, second, third = discriminator["u"]
    return first + second * x + third * x**2


def generator_loss(generator, discriminator, batch, rng):
    return jnp.mean(jax.nn.softplus(-score(discriminator, sample(generator, rng)))) + generator["b"] * jnp.mean(batch)


def discriminator_loss(discriminator, generator, batch, rng):
    real, fake = score(discriminator, batch), score(discriminator, sample(generator, rng))
    return jnp.mean(jax.nn.softplus(-real) + jax.nn.softplus(fake))


def start(optimizers):
    return gan_init(optimizers, generator_params, discriminator_params)


def run(optimizers, batches=batches, keys=keys, **options):
    """Final state and stacked metrics of a scan over ``gan_step``."""
    step = gan_step(generator_loss, discriminator_loss, optimizers, **options)
    return jax.jit(lambda xs: jax.lax.scan(lambda state, x: step(state, *x), start(optimizers), xs))((batches, keys))
