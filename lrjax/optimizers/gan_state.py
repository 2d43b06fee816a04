"""What a GAN step carries to the next."""

from __future__ import annotations

from typing import NamedTuple

import jax
import optax

from lrjax.typing import PyTree


class Player(NamedTuple):
    """One player's parameters and the state of its optimizer."""

    params: PyTree
    opt_state: optax.OptState


class GanModelState(NamedTuple):
    """What the two networks carry from call to call besides their parameters; None for one that has nothing.

    BatchNorm's averages and the counts of random streams are such states. Where ``gan_init`` was given any,
    each loss gets both as ``state=`` and returns both, new or not, as ``aux["state"]``: a discriminator's loss
    runs the generator too. The two losses pass them on to each other in the order of their calls. A loss
    whose gradient is not finite leaves both as they were.

    Attributes:
        generator: The generator's. Together with ``GanState.average`` they make the generator to sample from.
        discriminator: The discriminator's.

    Example:
        Two flax.nnx networks with BatchNorm (of flax.linen, ``state`` would hold the "batch_stats").

        >>> import jax, jax.numpy as jnp
        >>> from flax import nnx
        >>> from lrjax.optimizers import gan_init, gan_optimizers, gan_step
        >>> class Net(nnx.Module):
        ...     def __init__(self, inputs, outputs, rngs):
        ...         self.first = nnx.Linear(inputs, 16, use_bias=False, rngs=rngs)
        ...         self.norm = nnx.BatchNorm(16, rngs=rngs)
        ...         self.last = nnx.Linear(16, outputs, rngs=rngs)
        ...     def __call__(self, x):
        ...         return self.last(nnx.leaky_relu(self.norm(self.first(x))))
        >>> g_graph, g_params, g_state = nnx.split(Net(4, 2, nnx.Rngs(0)), nnx.Param, ...)
        >>> d_graph, d_params, d_state = nnx.split(Net(2, 1, nnx.Rngs(1)), nnx.Param, ...)
        >>> def networks(generator, discriminator, state):
        ...     return (nnx.merge(g_graph, generator, state.generator, copy=True),
        ...             nnx.merge(d_graph, discriminator, state.discriminator, copy=True))
        >>> def states(g, d, state):
        ...     g_state, d_state = (nnx.split(net, nnx.Param, ...)[2] for net in (g, d))
        ...     return state._replace(generator=g_state, discriminator=d_state)
        >>> def generator_loss(generator, discriminator, batch, rng, state):
        ...     g, d = networks(generator, discriminator, state)
        ...     fake_logits = d(g(jax.random.normal(rng, (len(batch), 4))))
        ...     return jnp.mean(nnx.softplus(-fake_logits)), {"state": states(g, d, state)}
        >>> def discriminator_loss(discriminator, generator, batch, rng, state):
        ...     g, d = networks(generator, discriminator, state)
        ...     fake = g(jax.random.normal(rng, (len(batch), 4)))
        ...     real_logits, fake_logits = d(batch), d(fake)
        ...     loss = jnp.mean(nnx.softplus(-real_logits)) + jnp.mean(nnx.softplus(fake_logits))
        ...     return loss, {"real_logits": real_logits, "fake_logits": fake_logits, "real": batch, "fake": fake,
        ...                   "state": states(g, d, state)}
        >>> optimizers = gan_optimizers()
        >>> state = gan_init(optimizers, g_params, d_params, generator_state=g_state, discriminator_state=d_state)
        >>> step = jax.jit(gan_step(generator_loss, discriminator_loss, optimizers))
        >>> for key in jax.random.split(jax.random.key(0), 3):
        ...     state, metrics = step(state, jax.random.normal(key, (32, 2)), key)
        >>> sampler = nnx.merge(g_graph, state.average, state.model_state.generator)
        >>> sampler.eval()
        >>> sampler(jnp.zeros((5, 4))).shape, metrics.spread_ratio.shape
        ((5, 2), ())
    """

    generator: PyTree
    discriminator: PyTree


class GanState(NamedTuple):
    """The state of a GAN.

    Attributes:
        step: GAN steps so far, int32.
        generator: The generator.
        discriminator: The discriminator.
        average: Moving average of the generator's parameters, float32 or wider: the ones to sample from.
        model_state: What the networks carry besides parameters, or None.
    """

    step: jax.Array
    generator: Player
    discriminator: Player
    average: PyTree
    model_state: GanModelState | None = None
