"""The two players of a generative adversarial network: their optimizers, on one clock, and their state."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from lrjax import _checks
from lrjax.optimizers import _arguments
from lrjax.optimizers._preset import Step, preset
from lrjax.optimizers.clipping import ClipState
from lrjax.typing import PyTree, ScalarOrSchedule


class GanOptimizers(NamedTuple):
    """One transformation per player, and how often the discriminator's runs in a GAN step."""

    generator: optax.GradientTransformation
    discriminator: optax.GradientTransformation
    discriminator_steps: int = 1


class Player(NamedTuple):
    """One player's parameters and the state of its optimizer."""

    params: PyTree
    opt_state: optax.OptState


class GanState(NamedTuple):
    """The state of a GAN.

    Attributes:
        step: GAN steps so far, int32.
        generator: The generator.
        discriminator: The discriminator.
        average: Moving average of the generator's parameters, float32 or wider: the ones to sample from.
    """

    step: jax.Array
    generator: Player
    discriminator: Player
    average: PyTree


def gan_optimizers(
    generator_learning_rate: ScalarOrSchedule = 2e-4,
    discriminator_learning_rate: ScalarOrSchedule = 4e-4,
    *,
    discriminator_steps: int = 1,
    b1: jax.typing.ArrayLike = 0.5,
    b2: jax.typing.ArrayLike = 0.999,
    eps: jax.typing.ArrayLike = 1e-8,
    max_norm: jax.typing.ArrayLike | None = 1.0,
) -> GanOptimizers:
    """Two Adam optimizers for the two players of a GAN, each with its own rate, moments and clipping.

    Per player ``mu' = b1 * mu + (1 - b1) * g``, ``nu' = b2 * nu + (1 - b2) * g**2`` with the clipped gradient
    ``g``, and ``update = -learning_rate(gan_step) * (mu' / (1 - b1**t)) / (sqrt(nu' / (1 - b2**t)) + eps)``.

    A schedule sees the GAN step in both players: the discriminator's reads its update count divided by
    ``discriminator_steps``. One Adam over both players, with zero gradients for the idle one, would still
    move that one by its momentum and count its steps twice. A non-finite gradient leaves its player's
    parameters and moments as they were, while the clock goes on, so that the players stay in step.

    Args:
        generator_learning_rate: A number, a traced scalar, or a schedule of the GAN step.
        discriminator_learning_rate: The same for the discriminator; about twice the generator's is a fair
            start, not a law.
        discriminator_steps: Updates of the discriminator per GAN step.
        b1: Decay of the first moment, from 0 to less than 1; 0.9 oscillates where 0.5 does not.
        b2: Decay of the second moment, from 0 to less than 1.
        eps: Added to the denominator.
        max_norm: Largest global norm of each player's gradient, a number or a traced scalar; None disables
            clipping.

    Returns:
        ``GanOptimizers(generator, discriminator, discriminator_steps)``, for ``gan_init`` and ``gan_step`` or
        for a loop of your own that updates the discriminator ``discriminator_steps`` times per GAN step.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument is out of its range.

    Example:
        >>> import optax
        >>> from lrjax.optimizers import gan_optimizers
        >>> optimizers = gan_optimizers(optax.cosine_decay_schedule(2e-4, 10_000), discriminator_steps=2)
        >>> optimizers.discriminator_steps
        2

    Source:
        Goodfellow et al., "Generative adversarial nets" (2014); Radford et al., arXiv:1511.06434 (b1 of 0.5);
        Heusel et al., arXiv:1706.08500 (a rate for each player).
    """
    call = "gan_optimizers"
    rates = {
        argument: _arguments.learning_rate(call, argument, value)
        for argument, value in [
            ("generator_learning_rate", generator_learning_rate),
            ("discriminator_learning_rate", discriminator_learning_rate),
        ]
    }
    if _checks.is_traced(discriminator_steps):
        _checks.refuse_type(call, "discriminator_steps", "a number known before tracing", discriminator_steps)
    steps = _checks.count(call, "discriminator_steps", discriminator_steps, low=1)
    b1 = _arguments.decay(call, "b1", b1)
    b2 = _arguments.decay(call, "b2", b2)
    eps = _arguments.number(call, "eps", eps, low=0.0)
    if max_norm is not None:
        max_norm = _arguments.number(call, "max_norm", max_norm, above=0.0)

    def player(learning_rate: Any, updates_per_step: int) -> optax.GradientTransformation:
        def adam(step: Step) -> optax.GradientTransformation:
            return optax.chain(optax.scale_by_adam(step.hold(b1), step.hold(b2), eps), optax.scale(-step.learning_rate))

        def gan_step(clip: ClipState) -> jax.Array:
            return (clip.count + clip.nonfinite) // updates_per_step

        return preset(adam, learning_rate, max_norm, clock=gan_step)

    return GanOptimizers(
        generator=player(rates["generator_learning_rate"], 1),
        discriminator=player(rates["discriminator_learning_rate"], steps),
        discriminator_steps=steps,
    )


def gan_init(optimizers: GanOptimizers, generator_params: PyTree, discriminator_params: PyTree) -> GanState:
    """The state that ``gan_step`` starts from; it owns copies of all parameters, so that it may be donated.

    Args:
        optimizers: From ``gan_optimizers``.
        generator_params: Pytree of floating arrays.
        discriminator_params: Pytree of floating arrays.

    Returns:
        A ``GanState`` at step 0 whose ``average`` equals the generator's parameters.

    Raises:
        TypeError: ``optimizers`` is no ``GanOptimizers``, or a leaf is not a floating array.

    Example:
        >>> import jax.numpy as jnp
        >>> from lrjax.optimizers import gan_init, gan_optimizers
        >>> state = gan_init(gan_optimizers(), {"w": jnp.ones(3)}, {"w": jnp.zeros(3)})
        >>> int(state.step), state.average["w"].tolist()
        (0, [1.0, 1.0, 1.0])
    """
    check_optimizers("gan_init", optimizers)
    _check_params("generator_params", generator_params)
    _check_params("discriminator_params", discriminator_params)

    def player(params: PyTree, optimizer: optax.GradientTransformation) -> Player:
        own = jax.tree.map(lambda leaf: jnp.array(leaf, leaf.dtype, copy=True), params)
        return Player(own, optimizer.init(own))

    return GanState(
        step=jnp.int32(0),
        generator=player(generator_params, optimizers.generator),
        discriminator=player(discriminator_params, optimizers.discriminator),
        average=jax.tree.map(_wide_copy, generator_params),
    )


def check_optimizers(call: str, optimizers: Any) -> None:
    """Refuse anything but the pair of optimizers."""
    if not isinstance(optimizers, GanOptimizers):
        _checks.refuse_type(call, "optimizers", "GanOptimizers, as gan_optimizers gives them", optimizers)


def _check_params(argument: str, params: Any) -> None:
    """Refuse leaves that no gradient descends."""
    for path, leaf in jax.tree.leaves_with_path(params):
        dtype = getattr(leaf, "dtype", None)
        if dtype is None or not jnp.issubdtype(dtype, jnp.inexact):
            got = type(leaf).__name__ if dtype is None else dtype
            where = jax.tree_util.keystr(path)
            raise TypeError(f"`gan_init({argument}=...)` must hold floating arrays only, got {got} at {where}")


def _wide_copy(leaf: jax.Array) -> jax.Array:
    """A copy in float32 or wider: half precision would round the average's small steps away."""
    return jnp.array(leaf, jnp.promote_types(leaf.dtype, jnp.float32), copy=True)
