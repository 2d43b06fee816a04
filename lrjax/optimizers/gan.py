"""The two players of a generative adversarial network: their optimizers, on one clock, and their first state."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from lrjax import _checks
from lrjax.optimizers import _arguments
from lrjax.optimizers._preset import Step, preset
from lrjax.optimizers.clipping import ClipState
from lrjax.optimizers.gan_presets import GAN_PRESETS
from lrjax.optimizers.gan_state import GanModelState, GanState, Player
from lrjax.typing import PyTree, ScalarOrSchedule


class GanOptimizers(NamedTuple):
    """One transformation per player, and how often the discriminator's runs in a GAN step.

    ``gan_optimizers`` builds one; any two Optax transformations make one as well. The schedules of the
    latter count their own updates, of which the discriminator has ``discriminator_steps`` per GAN step, and
    a non-finite gradient does to them whatever they do with it.
    """

    generator: optax.GradientTransformation
    discriminator: optax.GradientTransformation
    discriminator_steps: int = 1


def gan_optimizers(
    generator_learning_rate: ScalarOrSchedule | None = None,
    discriminator_learning_rate: ScalarOrSchedule | None = None,
    *,
    preset: str = "default",
    discriminator_steps: int | None = None,
    b1: jax.typing.ArrayLike | None = None,
    b2: jax.typing.ArrayLike | None = None,
    eps: jax.typing.ArrayLike = 1e-8,
    optimistic: bool = False,
    max_norm: ScalarOrSchedule | tuple[ScalarOrSchedule | None, ScalarOrSchedule | None] | None = 1.0,
) -> GanOptimizers:
    """Two Adam optimizers for the two players of a GAN, each with its own rate, moments and clipping.

    Per player ``mu' = b1 * mu + (1 - b1) * g``, ``nu' = b2 * nu + (1 - b2) * g**2`` with the clipped gradient
    ``g``, ``r' = (mu' / (1 - b1**t)) / (sqrt(nu' / (1 - b2**t)) + eps)``, and
    ``update = -learning_rate(gan_step) * r'``; with ``optimistic``,
    ``update = -learning_rate(gan_step) * (2 * r' - r)``, where ``r`` is ``r'`` in the first step.

    Every schedule sees the GAN step in both players: the discriminator's reads its update count divided by
    ``discriminator_steps``. One Adam over both players, with zero gradients for the idle one, would still
    move that one by its momentum and count its steps twice. A non-finite gradient leaves its player's
    parameters, moments and ``r`` as they were, while the clock goes on, so that the players stay in step.

    Args:
        generator_learning_rate: A number, a traced scalar, or a schedule of the GAN step; None for the
            preset's, 2e-4 by default.
        discriminator_learning_rate: The same for the discriminator, 4e-4 by default; about twice the
            generator's is a fair start, not a law.
        preset: A row of ``GAN_PRESETS``: "default", "dcgan", "sagan", "ttur" or "wgan-gp". It sets the rates,
            ``b1``, ``b2`` and ``discriminator_steps`` where they are not given. The papers do not clip:
            theirs is ``max_norm=None``.
        discriminator_steps: Updates of the discriminator per GAN step; None for the preset's, 1 by default.
        b1: Decay of the first moment, from 0 to less than 1; None for the preset's, 0.5 by default. 0.9
            oscillates where 0.5 does not.
        b2: Decay of the second moment, from 0 to less than 1; None for the preset's, 0.999 by default.
        eps: Added to the denominator.
        optimistic: Whether a player answers the gradient that it expects next. In the game ``x * y`` this
            turns the circling of Adam into an approach (``b1=0``; momentum slows it). It costs a memory of
            the parameters' size.
        max_norm: Largest global norm of each player's gradient: a number, a traced scalar, a schedule of the
            GAN step, or None to leave it unclipped; or a pair of these, the generator's first.

    Returns:
        ``GanOptimizers(generator, discriminator, discriminator_steps)``, for ``gan_init`` and ``gan_step`` or
        for a loop of your own that updates the discriminator ``discriminator_steps`` times per GAN step.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument is out of its range, or the preset is unknown.

    Example:
        >>> import optax
        >>> from lrjax.optimizers import GAN_PRESETS, gan_optimizers
        >>> optimizers = gan_optimizers(optax.cosine_decay_schedule(2e-4, 10_000), discriminator_steps=2)
        >>> optimizers.discriminator_steps
        2
        >>> gan_optimizers(preset="wgan-gp", max_norm=None).discriminator_steps, GAN_PRESETS["wgan-gp"].b2
        (5, 0.9)

    Source:
        Goodfellow et al., "Generative adversarial nets" (2014); Radford et al., arXiv:1511.06434 (b1 of 0.5);
        Heusel et al., arXiv:1706.08500 (a rate for each player); Daskalakis et al., arXiv:1711.00141
        (``optimistic``), started as in ``optax.optimistic_adam_v2``; the presets in ``GAN_PRESETS``.
    """
    call = "gan_optimizers"
    row = GAN_PRESETS[_checks.choice(call, "preset", preset, GAN_PRESETS)]
    rates = {
        argument: _arguments.learning_rate(call, argument, getattr(row, argument) if value is None else value)
        for argument, value in [
            ("generator_learning_rate", generator_learning_rate),
            ("discriminator_learning_rate", discriminator_learning_rate),
        ]
    }
    if discriminator_steps is None:
        discriminator_steps = row.discriminator_steps
    steps = _static_count(call, "discriminator_steps", discriminator_steps)
    b1 = _arguments.decay(call, "b1", row.b1 if b1 is None else b1)
    b2 = _arguments.decay(call, "b2", row.b2 if b2 is None else b2)
    eps = _arguments.number(call, "eps", eps, low=0.0)
    _checks.flag(call, "optimistic", optimistic)
    norms = _both_norms(call, max_norm)

    def adam(step: Step) -> optax.GradientTransformation:
        direction = optax.scale_by_adam(step.hold(b1), step.hold(b2), eps)
        rate = optax.scale(-step.learning_rate)
        return optax.chain(direction, _optimism(step), rate) if optimistic else optax.chain(direction, rate)

    return GanOptimizers(
        generator=_player(adam, rates["generator_learning_rate"], norms[0], 1),
        discriminator=_player(adam, rates["discriminator_learning_rate"], norms[1], steps),
        discriminator_steps=steps,
    )


def _player(adam: Any, learning_rate: Any, max_norm: Any, updates_per_step: int) -> optax.GradientTransformation:
    """A preset whose schedules all read the GAN step."""

    def gan_step(clip: ClipState) -> jax.Array:
        return (clip.count + clip.nonfinite) // updates_per_step

    return preset(adam, learning_rate, max_norm, clock=gan_step)


def _optimism(step: Step) -> optax.GradientTransformation:
    """``2 * r' - r``, whose memory of ``r`` a skipped step leaves alone."""
    optimism = optax.scale_by_optimistic_gradient()

    def update(directions: PyTree, state: optax.OptState, params: PyTree = None) -> tuple[PyTree, optax.OptState]:
        ahead, new_state = optimism.update(directions, state, params)
        return ahead, jax.tree.map(lambda new, old: jnp.where(step.finite, new, old), new_state, state)

    return optax.GradientTransformation(optimism.init, update)


def _static_count(call: str, argument: str, value: Any) -> int:
    """A count of at least 1 that shapes the program."""
    if _checks.is_traced(value):
        _checks.refuse_type(call, argument, "a number known before tracing", value)
    return int(_checks.count(call, argument, value, low=1))


def _both_norms(call: str, value: Any) -> tuple[Any, Any]:
    """The generator's bound and the discriminator's."""
    if not isinstance(value, tuple | list):
        bound = _arguments.max_norm(call, value)
        return bound, bound
    if len(value) != 2:
        _checks.refuse(call, "max_norm", "one bound or a pair, the generator's first", f"{len(value)} of them")

    def bound_at(i: int) -> Any:
        argument, bound = f"max_norm[{i}]", value[i]
        return None if bound is None else _arguments.number_or_schedule(call, argument, bound, above=0.0)

    return bound_at(0), bound_at(1)


def gan_init(
    optimizers: GanOptimizers,
    generator_params: PyTree,
    discriminator_params: PyTree,
    *,
    generator_state: PyTree = None,
    discriminator_state: PyTree = None,
) -> GanState:
    """The state that ``gan_step`` starts from; it owns copies of all arrays, so that it may be donated.

    Args:
        optimizers: From ``gan_optimizers``, or ``GanOptimizers`` of any two transformations.
        generator_params: Pytree of floating arrays.
        discriminator_params: Pytree of floating arrays.
        generator_state: Pytree of what the generator carries besides its parameters, such as BatchNorm's
            averages; None for nothing.
        discriminator_state: The same for the discriminator. With either of them, the losses take ``state=``
            and return the new one: see ``GanModelState``.

    Returns:
        A ``GanState`` at step 0 whose ``average`` equals the generator's parameters.

    Raises:
        TypeError: ``optimizers`` is no ``GanOptimizers`` of two transformations, a leaf of the parameters is
            not a floating array, a leaf of the states no array, or the parameters are a whole flax.nnx module.
        ValueError: ``optimizers`` has a wrong count of the discriminator's steps.

    Example:
        >>> import jax.numpy as jnp
        >>> from lrjax.optimizers import gan_init, gan_optimizers
        >>> state = gan_init(gan_optimizers(), {"w": jnp.ones(3)}, {"w": jnp.zeros(3)})
        >>> int(state.step), state.average["w"].tolist()
        (0, [1.0, 1.0, 1.0])
    """
    call = "gan_init"
    check_optimizers(call, optimizers)
    check_params(call, "generator_params", generator_params)
    check_params(call, "discriminator_params", discriminator_params)
    _check_arrays("generator_state", generator_state)
    _check_arrays("discriminator_state", discriminator_state)

    def player(params: PyTree, optimizer: optax.GradientTransformation) -> Player:
        own = jax.tree.map(_copy, params)
        return Player(own, optimizer.init(own))

    stateless = generator_state is None and discriminator_state is None
    model_state = GanModelState(generator_state, discriminator_state)
    return GanState(
        step=jnp.int32(0),
        generator=player(generator_params, optimizers.generator),
        discriminator=player(discriminator_params, optimizers.discriminator),
        average=jax.tree.map(_wide_copy, generator_params),
        model_state=None if stateless else jax.tree.map(_copy, model_state),
    )


def check_optimizers(call: str, optimizers: Any) -> int:
    """The discriminator's steps of a pair of transformations; anything else is refused."""
    if not isinstance(optimizers, GanOptimizers):
        _checks.refuse_type(call, "optimizers", "GanOptimizers, as gan_optimizers gives them", optimizers)
    for player in ("generator", "discriminator"):
        optimizer = getattr(optimizers, player)
        if not callable(getattr(optimizer, "init", None)) or not callable(getattr(optimizer, "update", None)):
            _checks.refuse_type(call, f"optimizers.{player}", "a transformation, such as optax.adam(1e-3)", optimizer)
    return _static_count(call, "optimizers.discriminator_steps", optimizers.discriminator_steps)


def check_params(call: str, argument: str, params: Any) -> None:
    """Refuse leaves that no gradient descends."""
    nnx = sys.modules.get("flax.nnx")
    if nnx is not None and isinstance(params, nnx.Module):
        requirement = "the parameters alone, as in `graph, params, state = nnx.split(model, nnx.Param, ...)`"
        raise TypeError(f"`{call}({argument}=...)` must be {requirement}, got a {type(params).__name__}")
    for path, leaf in jax.tree.leaves_with_path(params):
        dtype = getattr(leaf, "dtype", None)
        if dtype is None or not jnp.issubdtype(dtype, jnp.inexact):
            got = type(leaf).__name__ if dtype is None else dtype
            where = jax.tree_util.keystr(path)
            raise TypeError(f"`{call}({argument}=...)` must hold floating arrays only, got {got} at {where}")


def _check_arrays(argument: str, state: Any) -> None:
    """Refuse leaves that a compiled step cannot carry."""
    for path, leaf in jax.tree.leaves_with_path(state):
        if not hasattr(leaf, "dtype"):
            got = f"{type(leaf).__name__} at {jax.tree_util.keystr(path) or 'the top'}"
            raise TypeError(f"`gan_init({argument}=...)` must hold arrays only, got {got}")


def _copy(leaf: jax.Array) -> jax.Array:
    """A copy of a dtype of its own, which does not yield to what it is combined with."""
    return jnp.array(leaf, leaf.dtype, copy=True)


def _wide_copy(leaf: jax.Array) -> jax.Array:
    """A copy in float32 or wider: half precision would round the average's small steps away."""
    return jnp.array(leaf, jnp.promote_types(leaf.dtype, jnp.float32), copy=True)
