"""Two players trained at settings by seeds, a lane each: what the tests of a GAN give to the engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lrjax import _checks
from lrjax.finder import arguments, contracts, execution, trees
from lrjax.finder.execution import Execution, Ran
from lrjax.finder.gan import contracts as gan_contracts
from lrjax.finder.gan.adversarial import SUM, GanCarry, Players, RatesAt, adversarial, both, evaluation
from lrjax.finder.gan.balance import BALANCE, verdicts
from lrjax.finder.keeping import Halving
from lrjax.finder.programs import remembered
from lrjax.finder.request import Readings
from lrjax.finder.segments import Loop
from lrjax.finder.supervised import Hyperparams, Shared, is_init_function, lanes_of, shared_by
from lrjax.typing import LossFn, PyTree

SHORT = 2
"""A test of fewer memories of the average, ``1 / (1 - ema)`` steps each, is too short for it."""


def play(
    how: Execution,
    players: Players,
    params: PyTree | Callable[[jax.Array], PyTree],
    batches: Any,
    settings: PyTree,
    seeds: np.ndarray,
    *,
    steps: Any,
    rng: Any,
    generator_state: PyTree,
    discriminator_state: PyTree,
    validation: PyTree,
    evaluate: LossFn | None,
    validation_steps: Sequence[int] | None,
    parts: int = 10,
    rates_at: RatesAt = both,
    label: Callable[[int], str],
) -> Ran:
    """Train every setting with every seed.

    Args:
        how: The options of execution.
        players: The losses and the optimizers, as the user gave them, like all that is not named below.
        params: As given.
        batches: As given.
        settings: A tree of host arrays that lead with the settings, ``[K, ...]``: what the rates of a lane are made of.
        seeds: ``[R]``, checked.
        steps: As given.
        rng: As given.
        generator_state: As given.
        discriminator_state: As given.
        validation: As given.
        evaluate: As given.
        validation_steps: As given.
        parts: By default, evaluate at 0, at the end, and so that the steps are cut into so many parts.
        rates_at: ``rates_at(setting, step)``, both rates at a step; by default the setting is the pair of them.
        label: How the progress bar names a setting.

    Returns:
        What the lanes did, ``[K * R]`` of them, the seeds of a setting side by side.
    """
    call, count = how.call, len(jax.tree.leaves(settings)[0])
    rng = jax.random.key(0) if rng is None else arguments.key(call, "rng", rng)
    params = gan_contracts.parameters(call, params)
    state = gan_contracts.model_state(call, generator_state, discriminator_state)
    source = execution.source_of(how, batches)
    steps = execution.updates(call, steps, source)
    readings = _readings(how, steps, validation, evaluate, validation_steps, parts)

    per_seed = is_init_function(params)
    start, step = adversarial(players, rates_at)
    shared = shared_by(rng, params, seeds, state)
    lanes = lanes_of(settings, seeds)
    known_as = (*players, evaluate, rates_at)
    setting = jax.tree.map(trees.without_lanes, lanes.learning_rate)
    checked = (source.batch, readings.batches[:1], shared, setting)
    remembered(
        ("checked", *known_as, params if per_seed else None, *trees.form((checked, seeds))),
        lambda: _check(players, rates_at, params, evaluate, seeds, *jax.tree.map(trees.shape_of, checked)),
    )
    loop = Loop(start, step, None if evaluate is None else evaluation(evaluate), known_as)
    lane = execution.traced(loop, lanes, shared, source.batch)
    return execution.run(
        how,
        loop,
        lane,
        lanes,
        shared,
        source,
        steps,
        readings,
        metric=SUM,
        units=np.repeat(np.arange(count), len(seeds)),
        label=lambda lane: label(lane // len(seeds)),
        fields=execution.digests(
            learning_rates=settings, seeds=seeds, params=shared.params, model_state=state, rng=rng, ema=players.ema
        ),
    )


def outcomes(ran: Ran, shape: tuple[int, ...], ema: float) -> dict[str, Any]:
    """The fields that the results of these tests share, the lanes in this ``shape``, ``[*settings, seeds]``."""
    metrics = {name: values.reshape(*shape, ran.steps_done) for name, values in ran.metrics.items()}
    lost_at, status = (part.reshape(shape) for part in execution.lost_and_status(ran))
    signals = {name: metrics[name] for name in BALANCE if name in metrics}
    return {
        "generator_losses": metrics["generator_loss"],
        "discriminator_losses": metrics["discriminator_loss"],
        "signals": signals,
        "validation_steps": ran.validation_steps,
        "validation_losses": ran.readings.reshape(*shape, len(ran.validation_steps)),
        "status": np.where(status == "finite", verdicts(signals, shape), status),
        "lost_at": lost_at,
        "steps_done": ran.steps_done,
        "plan": ran.plan,
        "note": " ".join(filter(None, [_about_average(ran, ema), ran.note])),
    }


def _about_average(ran: Ran, ema: float) -> str:
    """A word where the average that the metric is read at is long out of date."""
    if not len(ran.validation_steps) or (1 - ema) * ran.steps_done > SHORT:
        return ""
    return f"After {ran.steps_done:,} steps the average of the generator still shows its start: lower ema={ema:g}."


def _readings(
    how: Execution, steps: int, validation: PyTree, evaluate: LossFn | None, validation_steps: Any, parts: int
) -> Readings:
    """What to evaluate on and when; nothing where the lanes are judged by their balance."""
    call = how.call
    if evaluate is None or validation is None:
        alone = (("evaluate", evaluate, "validation"), ("validation", validation, "evaluate"))
        for argument, value, missing in (*alone, ("validation_steps", validation_steps, "evaluate")):
            if value is not None:
                got = f"a {type(value).__name__}"
                _checks.refuse(call, argument, f"left out where there is no {missing}=", got)
        if isinstance(how.keep, Halving):
            requirement = "'finite' or 'all' where there is no evaluate=, by which lanes are compared"
            _checks.refuse(call, "keep", requirement, "Halving")
        return Readings([], [])
    at = arguments.validation_steps(call, validation_steps, steps, parts)
    return Readings(execution.validation_batches(call, validation), at)


def _check(
    players: Players,
    rates_at: RatesAt,
    params: PyTree | Callable[[jax.Array], PyTree],
    evaluate: LossFn | None,
    seeds: np.ndarray,
    batch: PyTree,
    validation: Sequence[PyTree],
    shared: Shared,
    setting: PyTree,
) -> bool:
    """Refuse functions that do not fit together; ``batch`` and what follows are shapes."""
    gan_contracts.functions(players, shared.model_state)
    gan_contracts.batch(players.call, batch, gan_contracts.discriminator_steps(players.call, players.optimizers))
    start, step = adversarial(players, rates_at)
    per_seed = shared.seeds is not None

    def init(seed: jax.Array, shared: Shared) -> GanCarry:
        values = params(jax.random.key(seed)) if per_seed else shared.params
        rates = jax.tree.map(lambda leaf: jnp.ones(leaf.shape, leaf.dtype), setting)
        return start(Hyperparams(rates, seed), shared._replace(params=values, seeds=None))

    carry = jax.eval_shape(init, trees.shaped((), jnp.int32), shared)
    if evaluate is not None:
        state = None if shared.model_state is None else shared.model_state.generator
        for held_out in validation:
            contracts.evaluate(players.call, evaluate, carry.game.average, held_out, state)
    if len(seeds) > 1:
        contracts.seeds(players.call, len(seeds), init, step, shared, batch)
    return True
