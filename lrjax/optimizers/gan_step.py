"""One step of generative adversarial training, as a pure function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jax import lax

from lrjax import _checks
from lrjax.optimizers import _arguments
from lrjax.optimizers._norm import global_norm
from lrjax.optimizers.gan import GanOptimizers, GanState, Player, check_optimizers
from lrjax.typing import PyTree

PlayerLoss: TypeAlias = Callable[[PyTree, PyTree, PyTree, jax.Array], jax.Array]
"""``loss(own_params, opponent_params, batch, rng) -> scalar``; only ``own_params`` are differentiated."""


class GanMetrics(NamedTuple):
    """What one GAN step reports, float32 scalars; the discriminator's are means over its steps.

    Attributes:
        generator_loss: The generator's loss before its update.
        discriminator_loss: The discriminator's loss before its update.
        generator_grad_norm: Norm of the generator's gradient before clipping.
        discriminator_grad_norm: Norm of the discriminator's gradient before clipping.
    """

    generator_loss: jax.Array
    discriminator_loss: jax.Array
    generator_grad_norm: jax.Array
    discriminator_grad_norm: jax.Array


def gan_step(
    generator_loss: PlayerLoss,
    discriminator_loss: PlayerLoss,
    optimizers: GanOptimizers,
    *,
    ema: jax.typing.ArrayLike = 0.999,
    order: str = "alternating",
) -> Callable[[GanState, PyTree, jax.Array], tuple[GanState, GanMetrics]]:
    """One GAN step as a pure function: the discriminator's updates, the generator's, and the average.

    ``average' = average + (1 - ema) * (generator' - average)``. Each player's gradient is taken in its own
    parameters only, and only the player whose turn it is moves.

    Args:
        generator_loss: ``loss(generator_params, discriminator_params, batch, rng) -> scalar``.
        discriminator_loss: ``loss(discriminator_params, generator_params, batch, rng) -> scalar``: each loss
            takes its own player first.
        optimizers: From ``gan_optimizers``.
        ema: Weight of the old average, from 0 to 1; 0 keeps the generator itself.
        order: "alternating": the generator answers the updated discriminator. "simultaneous": both gradients
            are taken at the parameters that the step began with (measured as the weaker order).

    Returns:
        ``step(state, batch, rng) -> (state, metrics)``, to be jitted, scanned or vmapped. With
        ``discriminator_steps`` n above 1, every leaf of ``batch`` has a leading axis of n: the
        discriminator's i-th update sees slice i, the generator the last slice. Each loss call gets a key of
        its own. The new state has the structure, shapes and dtypes of the old.

    Raises:
        TypeError: An argument is of the wrong kind; a loss returns no array; ``rng`` is no key.
        ValueError: An argument is out of its range; a loss is not a scalar; a batch lacks the leading axis.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from lrjax.optimizers import gan_init, gan_optimizers, gan_step
        >>> def sample(generator, rng):
        ...     return generator["shift"] + jax.random.normal(rng, (64,))
        >>> def score(discriminator, x):
        ...     return discriminator["a"] * x + discriminator["b"]
        >>> def generator_loss(generator, discriminator, batch, rng):
        ...     return jnp.mean(jax.nn.softplus(-score(discriminator, sample(generator, rng))))
        >>> def discriminator_loss(discriminator, generator, batch, rng):
        ...     fake = score(discriminator, sample(generator, rng))
        ...     return jnp.mean(jax.nn.softplus(fake) + jax.nn.softplus(-score(discriminator, batch)))
        >>> optimizers = gan_optimizers(1e-2, 2e-2)
        >>> state = gan_init(optimizers, {"shift": jnp.array(0.0)}, {"a": jnp.array(0.0), "b": jnp.array(0.0)})
        >>> step = gan_step(generator_loss, discriminator_loss, optimizers)
        >>> batches = 1.0 + jax.random.normal(jax.random.key(0), (300, 64))
        >>> keys = jax.random.split(jax.random.key(1), 300)
        >>> state, metrics = jax.lax.scan(lambda s, x: step(s, *x), state, (batches, keys))
        >>> metrics.generator_loss.shape, bool(state.generator.params["shift"] > 0.5)
        ((300,), True)

    Source:
        Goodfellow et al., "Generative adversarial nets" (2014); Yazıcı et al., arXiv:1806.04498 (averaging).
    """
    call = "gan_step"
    losses = {"generator_loss": generator_loss, "discriminator_loss": discriminator_loss}
    for argument, loss in losses.items():
        _checks.function(call, argument, loss, "(own_params, opponent_params, batch, rng) -> scalar")
    check_optimizers(call, optimizers)
    ema = _arguments.number(call, "ema", ema, low=0.0, high=1.0)
    _checks.choice(call, "order", order, ("alternating", "simultaneous"))
    count = optimizers.discriminator_steps

    def gradient(argument: str, *arguments: Any) -> tuple[jax.Array, PyTree]:
        def scalar_loss(*arguments: Any) -> jax.Array:
            return _checked_scalar(argument, losses[argument](*arguments))

        return jax.value_and_grad(scalar_loss)(*arguments)

    def step(state: GanState, batch: PyTree, rng: jax.Array) -> tuple[GanState, GanMetrics]:
        _check_key(rng)
        rngs = jax.random.split(rng, count + 1)

        def train_discriminator(player: Player, seen: tuple[PyTree, jax.Array]) -> tuple[Player, Any]:
            loss, grads = gradient("discriminator_loss", player.params, state.generator.params, *seen)
            return _descend(player, optimizers.discriminator, loss, grads), (loss, global_norm(grads).value)

        if count == 1:
            discriminator, report = train_discriminator(state.discriminator, (batch, rngs[0]))
            generator_batch = batch
        else:
            _check_leading_axis(batch, count)
            discriminator, report = lax.scan(train_discriminator, state.discriminator, (batch, rngs[:count]))
            generator_batch = jax.tree.map(lambda leaf: leaf[-1], batch)
        opponent = discriminator if order == "alternating" else state.discriminator
        loss, grads = gradient("generator_loss", state.generator.params, opponent.params, generator_batch, rngs[count])
        generator = _descend(state.generator, optimizers.generator, loss, grads)
        discriminator_loss, discriminator_grad_norm = report
        return GanState(
            step=optax.safe_increment(state.step),
            generator=generator,
            discriminator=discriminator,
            average=jax.tree.map(lambda old, new: _toward(old, new, ema), state.average, generator.params),
        ), GanMetrics(
            generator_loss=loss.astype(jnp.float32),
            discriminator_loss=jnp.mean(discriminator_loss.astype(jnp.float32)),
            generator_grad_norm=global_norm(grads).value,
            discriminator_grad_norm=jnp.mean(discriminator_grad_norm),
        )

    return step


def _descend(player: Player, optimizer: optax.GradientTransformation, loss: jax.Array, grads: PyTree) -> Player:
    """``player`` after one update of its optimizer."""
    update = optax.with_extra_args_support(optimizer).update
    updates, opt_state = update(grads, player.opt_state, player.params, value=loss)
    return Player(optax.apply_updates(player.params, updates), opt_state)


def _toward(average: jax.Array, new: jax.Array, ema: jax.typing.ArrayLike) -> jax.Array:
    """``average`` moved towards ``new``, in its own dtype."""
    moved = average + (1.0 - ema) * (new.astype(average.dtype) - average)
    return moved.astype(average.dtype)


def _checked_scalar(argument: str, loss: Any) -> jax.Array:
    """``loss`` if it is one real number."""
    if not isinstance(loss, jax.Array):
        raise TypeError(f"`gan_step({argument}=...)` must return a scalar array, got {type(loss).__name__}")
    if loss.shape != () or not jnp.issubdtype(loss.dtype, jnp.floating):
        raise ValueError(f"`gan_step({argument}=...)` must return a scalar, got {loss.dtype} of shape {loss.shape}")
    return loss


def _check_key(rng: Any) -> None:
    """Refuse anything but one key, new style or old."""
    if isinstance(rng, jax.Array):
        typed = jnp.issubdtype(rng.dtype, jax.dtypes.prng_key)
        if rng.shape == () if typed else rng.dtype == jnp.uint32 and rng.ndim == 1:
            return
    _checks.refuse_type("gan_step(...)", "rng", "one key, such as jax.random.key(0)", rng)


def _check_leading_axis(batch: PyTree, count: int) -> None:
    """Refuse a batch without a slice for each of the discriminator's steps."""
    for path, leaf in jax.tree.leaves_with_path(batch):
        shape = jnp.shape(leaf)
        if not shape or shape[0] != count:
            got = f"shape {shape} at {jax.tree_util.keystr(path) or 'the batch'}"
            requirement = f"stacked along a leading axis of discriminator_steps = {count}"
            _checks.refuse("gan_step(...)", "batch", requirement, got)
