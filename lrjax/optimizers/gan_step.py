"""One step of generative adversarial training, as a pure function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jax import lax

from lrjax import _checks
from lrjax._norm import global_norm
from lrjax.optimizers import _arguments
from lrjax.optimizers._gan_report import Report, checked, measured
from lrjax.optimizers.gan import GanOptimizers, check_optimizers
from lrjax.optimizers.gan_state import GanModelState, GanState, Player
from lrjax.typing import PyTree

PlayerLoss: TypeAlias = Callable[..., Any]
"""``loss(own_params, opponent_params, batch, rng[, state=]) -> scalar`` or ``(scalar, aux)``."""


class GanMetrics(NamedTuple):
    """What one GAN step reports, float32 scalars; the discriminator's are means over its steps.

    The accuracies and spreads are those of the discriminator's ``aux``; what it lacks is read from the
    generator's, and is None where neither has it.

    Attributes:
        generator_loss: The generator's loss before its update.
        discriminator_loss: The discriminator's loss before its update.
        generator_grad_norm: Norm of the generator's gradient before clipping.
        discriminator_grad_norm: Norm of the discriminator's gradient before clipping.
        real_accuracy: Share of ``aux["real_logits"]`` above 0: real samples taken for real.
        fake_accuracy: Share of ``aux["fake_logits"]`` below 0: generated samples taken for generated. Both
            near 1: the discriminator wins; both near 0.5: it cannot tell. A Wasserstein critic's scores have
            no such zero.
        spread: ``sqrt(mean(var(aux["fake"], axis=0)))``: the standard deviation of generated samples.
        spread_ratio: The same divided by that of ``aux["real"]``: near 1 in health; below 0.6 most likely a
            collapse of the generator.
        generator_aux: The other entries of the generator's ``aux``.
        discriminator_aux: The other entries of the discriminator's ``aux``.
    """

    generator_loss: jax.Array
    discriminator_loss: jax.Array
    generator_grad_norm: jax.Array
    discriminator_grad_norm: jax.Array
    real_accuracy: jax.Array | None
    fake_accuracy: jax.Array | None
    spread: jax.Array | None
    spread_ratio: jax.Array | None
    generator_aux: dict[str, Any]
    discriminator_aux: dict[str, Any]


class Turn(NamedTuple):
    """A player after its update, the model states after its loss, and what it reports."""

    player: Player
    model_state: GanModelState | None
    report: Report


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
        generator_loss: ``loss(generator_params, discriminator_params, batch, rng) -> scalar`` or
            ``(scalar, aux)``. ``aux`` is a dict: "real_logits", "fake_logits", "real" and "fake" are arrays
            that ``GanMetrics`` measures, "real" and "fake" one sample per row; "state" is the new
            ``GanModelState`` where ``gan_init`` was given states (the loss then takes ``state=``); all others
            are scalars, or trees of them, for the metrics to report.
        discriminator_loss: ``loss(discriminator_params, generator_params, batch, rng) -> scalar`` or
            ``(scalar, aux)``: each loss takes its own player first.
        optimizers: From ``gan_optimizers``, or ``GanOptimizers`` of any two transformations.
        ema: Weight of the old average, from 0 to 1; 0 keeps the generator itself.
        order: "alternating": the generator answers the updated discriminator. "simultaneous": both gradients
            are taken at the parameters that the step began with (measured as the weaker order).

    Returns:
        ``step(state, batch, rng) -> (state, metrics)``, to be jitted, scanned or vmapped. With
        ``discriminator_steps`` n above 1, every leaf of ``batch`` has a leading axis of n: the
        discriminator's i-th update sees slice i, the generator the last slice. Each loss call gets a key of
        its own. The new state has the structure, shapes and dtypes of the old.

    Raises:
        TypeError: An argument is of the wrong kind; a loss returns no array, or an aux that is no dict or has
            an entry of the wrong kind; ``rng`` is no key.
        ValueError: An argument is out of its range; a loss is not a scalar; a batch lacks the leading axis; a
            model state is missing, unexpected, or unlike the old.

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
        ...     fake = sample(generator, rng)
        ...     real_logits, fake_logits = score(discriminator, batch), score(discriminator, fake)
        ...     loss = jnp.mean(jax.nn.softplus(fake_logits) + jax.nn.softplus(-real_logits))
        ...     return loss, {"real_logits": real_logits, "fake_logits": fake_logits, "real": batch, "fake": fake}
        >>> optimizers = gan_optimizers(1e-2, 2e-2)
        >>> state = gan_init(optimizers, {"shift": jnp.array(0.0)}, {"a": jnp.array(0.0), "b": jnp.array(0.0)})
        >>> step = gan_step(generator_loss, discriminator_loss, optimizers)
        >>> batches = 1.0 + jax.random.normal(jax.random.key(0), (300, 64))
        >>> keys = jax.random.split(jax.random.key(1), 300)
        >>> state, metrics = jax.lax.scan(lambda s, x: step(s, *x), state, (batches, keys))
        >>> metrics.generator_loss.shape, bool(state.generator.params["shift"] > 0.5)
        ((300,), True)
        >>> print(f"fakes found out {metrics.fake_accuracy.mean():.1f}, spread {metrics.spread_ratio.mean():.1f}")
        fakes found out 0.5, spread 1.0

    Source:
        Goodfellow et al., "Generative adversarial nets" (2014); Yazıcı et al., arXiv:1806.04498 (averaging).
    """
    return gan_step_of("gan_step", generator_loss, discriminator_loss, optimizers, ema=ema, order=order)


def gan_step_of(
    call: str,
    generator_loss: PlayerLoss,
    discriminator_loss: PlayerLoss,
    optimizers: GanOptimizers,
    *,
    ema: jax.typing.ArrayLike,
    order: str,
) -> Callable[[GanState, PyTree, jax.Array], tuple[GanState, GanMetrics]]:
    """``gan_step`` within the function ``call``, which the messages name."""
    losses = {"generator": generator_loss, "discriminator": discriminator_loss}
    for name, loss in losses.items():
        signature = "(own_params, opponent_params, batch, rng) -> scalar or (scalar, aux)"
        _checks.function(call, f"{name}_loss", loss, signature)
    count = check_optimizers(call, optimizers)
    ema = _arguments.number(call, "ema", ema, low=0.0, high=1.0)
    _checks.choice(call, "order", order, ("alternating", "simultaneous"))

    def take_turn(
        name: str, player: Player, opponent: PyTree, batch: PyTree, rng: jax.Array, model_state: GanModelState | None
    ) -> Turn:
        keywords = {} if model_state is None else {"state": model_state}

        def scalar_loss(params: PyTree) -> Any:
            returned = losses[name](params, opponent, batch, rng, **keywords)
            return checked(call, f"{name}_loss", returned, model_state)

        (loss, (aux, new_state)), grads = jax.value_and_grad(scalar_loss, has_aux=True)(player.params)
        norm = global_norm(grads)
        # A batch that spoils the gradient would stay in BatchNorm's averages for ever.
        held = jax.tree.map(lambda new, old: jnp.where(norm.finite, new, old), new_state, model_state)
        update = optax.with_extra_args_support(getattr(optimizers, name)).update
        updates, opt_state = update(grads, player.opt_state, player.params, value=loss)
        moved = Player(optax.apply_updates(player.params, updates), opt_state)
        return Turn(moved, held, measured(loss, norm.value, aux))

    def step(state: GanState, batch: PyTree, rng: jax.Array) -> tuple[GanState, GanMetrics]:
        _check_key(rng)
        rngs = jax.random.split(rng, count + 1)

        def train_discriminator(carry: tuple[Player, Any], seen: tuple[PyTree, jax.Array]) -> tuple[Any, Report]:
            player, model_state = carry
            turn = take_turn("discriminator", player, state.generator.params, *seen, model_state)
            return (turn.player, turn.model_state), turn.report

        carry = state.discriminator, state.model_state
        if count == 1:
            (discriminator, model_state), d_report = train_discriminator(carry, (batch, rngs[0]))
            generator_batch = batch
        else:
            _check_leading_axis(batch, count)
            (discriminator, model_state), d_reports = lax.scan(train_discriminator, carry, (batch, rngs[:count]))
            d_report = jax.tree.map(jnp.mean, d_reports)
            generator_batch = jax.tree.map(lambda leaf: leaf[-1], batch)
        opponent = discriminator if order == "alternating" else state.discriminator
        turn = take_turn("generator", state.generator, opponent.params, generator_batch, rngs[count], model_state)
        return GanState(
            step=optax.safe_increment(state.step),
            generator=turn.player,
            discriminator=discriminator,
            average=jax.tree.map(lambda old, new: _toward(old, new, ema), state.average, turn.player.params),
            model_state=turn.model_state,
        ), _metrics(turn.report, d_report)

    return step


def _metrics(generator: Report, discriminator: Report) -> GanMetrics:
    """Both reports as one."""

    def either(field: str) -> jax.Array | None:
        value = getattr(discriminator, field)
        return getattr(generator, field) if value is None else value  # type: ignore[no-any-return]

    return GanMetrics(
        generator_loss=generator.loss,
        discriminator_loss=discriminator.loss,
        generator_grad_norm=generator.grad_norm,
        discriminator_grad_norm=discriminator.grad_norm,
        real_accuracy=either("real_accuracy"),
        fake_accuracy=either("fake_accuracy"),
        spread=either("spread"),
        spread_ratio=either("spread_ratio"),
        generator_aux=generator.aux,
        discriminator_aux=discriminator.aux,
    )


def _toward(average: jax.Array, new: jax.Array, ema: jax.typing.ArrayLike) -> jax.Array:
    """``average`` moved towards ``new``, in its own dtype."""
    moved = average + (1.0 - ema) * (new.astype(average.dtype) - average)
    return moved.astype(average.dtype)


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
