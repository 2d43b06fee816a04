"""The loop of two players against one another in one lane, as pure functions that know nothing of other lanes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lrjax.finder.supervised import Hyperparams, Shared, at_least_float32, starting_params
from lrjax.optimizers.gan import GanOptimizers, gan_init
from lrjax.optimizers.gan_state import GanModelState, GanState
from lrjax.optimizers.gan_step import GanMetrics, PlayerLoss, gan_step_of
from lrjax.typing import LossFn, PyTree

GanOptimizersFactory = Callable[[Any, Any], GanOptimizers]
"""A function of the generator's and the discriminator's rate, such as ``lrjax.gan_optimizers``."""

RatesAt = Callable[[Any, jax.Array], tuple[Any, Any]]
"""Both rates at a step, of what a lane has for them."""

SUM = "sum of losses"
"""The metric by which a lane is lost; it says nothing of how good one is."""

_CROSS_ENTROPIES = "cross-entropies of the logits"


class Players(NamedTuple):
    """What the user trains, and how; also what a program is known by."""

    call: str
    generator_loss: PlayerLoss
    discriminator_loss: PlayerLoss
    optimizers: GanOptimizersFactory
    ema: float
    order: str


class GanCarry(NamedTuple):
    """A lane between two GAN steps."""

    learning_rate: Any
    game: GanState
    rng: jax.Array

    @property
    def params(self) -> tuple[PyTree, PyTree]:
        """Both players' parameters."""
        return self.game.generator.params, self.game.discriminator.params


Start = Callable[[Hyperparams, Shared], GanCarry]
Step = Callable[[GanCarry, PyTree], tuple[GanCarry, dict[str, jax.Array]]]


def both(rates: tuple[Any, Any], step: jax.Array) -> tuple[Any, Any]:
    """The rates of a lane that holds them."""
    del step
    return rates


def adversarial(players: Players, rates_at: RatesAt = both) -> tuple[Start, Step]:
    """``start(hyperparams, shared) -> carry`` and ``step(carry, batch) -> (carry, metrics)`` of one lane.

    ``shared.params`` is the pair of both players' parameters, ``shared.model_state`` a ``GanModelState`` or None.
    """

    def optimizers_at(learning_rate: Any, step: jax.Array) -> GanOptimizers:
        return players.optimizers(*rates_at(learning_rate, step))

    def start(hyperparams: Hyperparams, shared: Shared) -> GanCarry:
        state = GanModelState(None, None) if shared.model_state is None else shared.model_state
        game = gan_init(
            optimizers_at(hyperparams.learning_rate, jnp.int32(0)),
            *starting_params(hyperparams, shared),
            generator_state=state.generator,
            discriminator_state=state.discriminator,
        )
        assert shared.rng is not None
        learning_rate = jax.tree.map(jnp.asarray, hyperparams.learning_rate)
        return GanCarry(learning_rate, game, jax.random.fold_in(shared.rng, hyperparams.seed))

    def step(carry: GanCarry, batch: PyTree) -> tuple[GanCarry, dict[str, jax.Array]]:
        advance = gan_step_of(
            players.call,
            players.generator_loss,
            _with_cross_entropies(players.discriminator_loss),
            optimizers_at(carry.learning_rate, carry.game.step),
            ema=players.ema,
            order=players.order,
        )
        game, metrics = advance(carry.game, batch, jax.random.fold_in(carry.rng, carry.game.step))
        return carry._replace(game=game), _recorded(metrics)

    return start, step


def _recorded(metrics: GanMetrics) -> dict[str, jax.Array]:
    """What a test keeps of a step: the losses, and the signals of balance that the losses' ``aux`` allows."""
    entropies = metrics.discriminator_aux.get(_CROSS_ENTROPIES)
    losses = {"generator": metrics.generator_loss, "discriminator": metrics.discriminator_loss}
    compared = losses if entropies is None else entropies
    recorded = {
        SUM: losses["generator"] + losses["discriminator"],
        "generator_loss": losses["generator"],
        "discriminator_loss": losses["discriminator"],
        "loss_ratio": compared["discriminator"] / compared["generator"],
    }
    if metrics.real_accuracy is not None and metrics.fake_accuracy is not None:
        recorded["accuracy"] = (metrics.real_accuracy + metrics.fake_accuracy) / 2
    if metrics.spread_ratio is not None:
        recorded["spread_ratio"] = metrics.spread_ratio
    return recorded


def _with_cross_entropies(discriminator_loss: PlayerLoss) -> PlayerLoss:
    """The same loss, whose ``aux`` has besides the losses of the non-saturating game wherever it has the logits."""

    def loss(own: PyTree, opponent: PyTree, batch: PyTree, rng: jax.Array, **keywords: Any) -> Any:
        returned = discriminator_loss(own, opponent, batch, rng, **keywords)
        if not (isinstance(returned, tuple) and len(returned) == 2 and isinstance(returned[1], Mapping)):
            return returned
        value, aux = returned
        real, fake = (aux.get(name) for name in ("real_logits", "fake_logits"))
        if not (isinstance(real, jax.Array) and isinstance(fake, jax.Array)):
            return returned
        real, fake = (logits.astype(jnp.float32) for logits in (real, fake))
        entropies = {
            "generator": jnp.mean(jax.nn.softplus(-fake)),
            "discriminator": jnp.mean(jax.nn.softplus(-real)) + jnp.mean(jax.nn.softplus(fake)),
        }
        return value, {**aux, _CROSS_ENTROPIES: entropies}

    return loss


def evaluation(evaluate: LossFn) -> Callable[[GanCarry, PyTree], jax.Array]:
    """``read(carry, batch)``: the value of ``evaluate`` at the average of the generator's parameters."""

    def read(carry: GanCarry, batch: PyTree) -> jax.Array:
        game = carry.game
        state = {} if game.model_state is None else {"state": game.model_state.generator}
        return at_least_float32(evaluate(game.average, batch, **state))

    return read
