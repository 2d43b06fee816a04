"""The ramp test of a GAN: one run for every seed, both of whose rates rise together from a warm state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any, Literal

import jax
import numpy as np

from lrjax import _checks
from lrjax.finder import arguments, execution
from lrjax.finder.gan import lanes as gan_lanes
from lrjax.finder.gan.adversarial import GanOptimizersFactory, Players
from lrjax.finder.gan.ramp_result import GanRampTest
from lrjax.finder.plan import Plan
from lrjax.optimizers.gan import gan_optimizers
from lrjax.optimizers.gan_step import PlayerLoss
from lrjax.typing import LossFn, PyTree

READINGS = 40
"""Of the metric, along the ramp."""

_CALL = "gan_ramp_test"


def gan_ramp_test(
    generator_loss: PlayerLoss,
    discriminator_loss: PlayerLoss,
    params: PyTree | Callable[[jax.Array], PyTree],
    batches: Any,
    optimizers: GanOptimizersFactory = gan_optimizers,
    *,
    evaluate: LossFn,
    validation: PyTree,
    ratio: float = 2.0,
    min_scale: float = 3e-4,
    max_scale: float = 0.1,
    steps: int = 1000,
    warmup_steps: int = 500,
    rng: jax.Array | None = None,
    seeds: int | Sequence[int] | None = None,
    generator_state: PyTree = None,
    discriminator_state: PyTree = None,
    ema: float = 0.99,
    order: Literal["alternating", "simultaneous"] = "alternating",
    validation_steps: Sequence[int] | None = None,
    plan: Plan | Literal["auto"] = "auto",
    devices: Sequence[jax.Device] | None = None,
    memory_budget: int | None = None,
    progress: bool = False,
    checkpoint: str | PathLike[str] | None = None,
) -> GanRampTest:
    """Train a GAN while both of its rates rise together, from a state that small rates have warmed up.

    ``scales[i] = min_scale`` in the ``warmup_steps``, then ``min_scale * (max_scale / min_scale) ** (i / (steps - 1))``
    with ``i`` counted from their end; the generator's rate is ``scale / sqrt(ratio)`` and the discriminator's ``scale *
    sqrt(ratio)``. Samples become better at first and worse where the rates are too high: that edge, read by a metric on
    samples, hardly differs between seeds. It says nothing of other ratios, and costs as much as a lane of a
    ``gan_range_test`` of that many steps.

    A loss has no such edge, the generator's follows what the discriminator does; so ``evaluate`` must be given.

    Args:
        generator_loss: As ``gan_range_test`` takes it, like all that has the same name there.
        discriminator_loss: As there.
        params: The pair of both players' parameters, or ``init(key)`` that gives it.
        batches: Stacked with a leading axis of steps, or an iterable that yields batches.
        optimizers: A function of both rates, made anew at every step with the rates of that step.
        evaluate: ``evaluate(generator_params, validation[, state=]) -> scalar``, smaller is better and a distance, best
            at 0 and far from it at first; read at the average of the generator's parameters.
        validation: What ``evaluate`` gets besides: latent variables, or a key to draw them by; or a list of such.
        ratio: The discriminator's rate over the generator's.
        min_scale: The geometric mean of both rates while they warm up and where the ramp begins.
        max_scale: The same where the ramp ends.
        steps: GAN steps of the ramp, at least 2.
        warmup_steps: GAN steps before it.
        rng: A key; by default ``jax.random.key(0)``.
        seeds: How many, or which, ``[R]``; by default the one seed 0.
        generator_state: A pytree that the generator carries besides its parameters.
        discriminator_state: The same for the discriminator.
        ema: Weight of the old average of the generator's parameters, from 0 to 1. The longer its memory, ``1 / (1 -
            ema)`` steps, the later along the ramp samples show what a rate does.
        order: "alternating" or "simultaneous".
        validation_steps: Numbers of GAN steps, warm-up included, after which to evaluate; by default at the ramp's
            start, at its end and 39 evenly between.
        plan: How to execute: ``"auto"``, or a ``Plan``.
        devices: Where to run, by default on all devices; the seeds are divided among them.
        memory_budget: Bytes for carries, batches and temporaries, on each accelerator or in all on a CPU; by default a
            part of what is there.
        progress: Show a progress bar (needs ``lrjax[progress]``).
        checkpoint: A folder to save in as the test goes on (needs ``lrjax[checkpoint]``); where it holds this test's
            state, the test resumes from there.

    Returns:
        The losses, signals and metric along the ramp, a ``GanRampTest``; ``gan_suggest`` reads an answer from it.
        Batches that end early end the ramp there: ``steps_done`` and ``note`` say so.

    Raises:
        TypeError: Where an argument is of the wrong kind.
        ValueError: Where an argument is out of range or does not go with another, or the checkpoint is another test's.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from lrjax.finder import gan_ramp_test
        >>> def sample(generator, rng):
        ...     return generator["shift"] + jax.random.normal(rng, (64,))
        >>> def score(discriminator, x):
        ...     return discriminator["a"] * x + discriminator["b"]
        >>> def generator_loss(generator, discriminator, batch, rng):
        ...     return jnp.mean(jax.nn.softplus(-score(discriminator, sample(generator, rng))))
        >>> def discriminator_loss(discriminator, generator, batch, rng):
        ...     real, fake = score(discriminator, batch), score(discriminator, sample(generator, rng))
        ...     return jnp.mean(jax.nn.softplus(fake) + jax.nn.softplus(-real))
        >>> def evaluate(generator, target):
        ...     return jnp.abs(generator["shift"] - target)
        >>> params = {"shift": jnp.array(0.0)}, {"a": jnp.array(0.0), "b": jnp.array(0.0)}
        >>> batches = 1.0 + jax.random.normal(jax.random.key(0), (120, 64))
        >>> result = gan_ramp_test(
        ...     generator_loss, discriminator_loss, params, batches, steps=100, warmup_steps=20, min_scale=1e-2,
        ...     max_scale=10.0, evaluate=evaluate, validation=jnp.array(1.0))
        >>> result
        GanRampTest(100 steps from 0.01 to 10 after 20 of warm-up, ratio 2, 1 seed)

    Source: Smith, arXiv:1506.01186 (a rising rate), for two players and by a metric on samples.
    """
    how = execution.execution(_CALL, "finite", plan, devices, memory_budget, progress, checkpoint)
    for argument, value in (("evaluate", evaluate), ("validation", validation)):
        if value is None:
            _checks.refuse(_CALL, argument, "given: losses show no edge, a metric on samples does", "None")
    ratio = float(arguments.rates(_CALL, "ratio", [ratio])[0])
    steps = _checks.count(_CALL, "steps", steps, low=2)
    warmup_steps = _checks.count(_CALL, "warmup_steps", warmup_steps)
    scales = np.concatenate([np.full(warmup_steps, min_scale), _ramp(min_scale, max_scale, steps)])
    if validation_steps is None:
        validation_steps = sorted({warmup_steps + round(steps * part / READINGS) for part in range(READINGS + 1)})
    seed_numbers = arguments.seeds(_CALL, seeds)
    ema = _checks.number(_CALL, "ema", ema, low=0, high=1)
    _checks.choice(_CALL, "order", order, ("alternating", "simultaneous"))
    ran = gan_lanes.play(
        how,
        Players(_CALL, generator_loss, discriminator_loss, optimizers, ema, order),
        params,
        batches,
        (scales[None] / ratio**0.5, scales[None] * ratio**0.5),
        seed_numbers,
        steps=len(scales),
        rng=rng,
        generator_state=generator_state,
        discriminator_state=discriminator_state,
        validation=validation,
        evaluate=evaluate,
        validation_steps=validation_steps,
        rates_at=_rates_at,
        label=lambda _: "the best seed",
    )
    fields = gan_lanes.outcomes(ran, (1, len(seed_numbers)), ema)
    of_ramp = ("generator_losses", "discriminator_losses", "validation_losses", "status", "lost_at")
    return GanRampTest(
        ratio=ratio,
        scales=scales[: ran.steps_done],
        warmup_steps=min(warmup_steps, ran.steps_done),
        seeds=seed_numbers,
        signals={name: values[0] for name, values in fields.pop("signals").items()},
        **fields | {name: fields[name][0] for name in of_ramp},
    )


def _ramp(min_scale: Any, max_scale: Any, steps: int) -> np.ndarray:
    """The scales of the ramp, ``[steps]``."""
    low = float(arguments.rates(_CALL, "min_scale", [min_scale])[0])
    high = float(_checks.number(_CALL, "max_scale", max_scale, above=0))
    if np.float32(high) <= np.float32(low):
        _checks.refuse(_CALL, "max_scale", "greater than min_scale", f"{high:g} with {low:g}")
    return np.geomspace(low, high, steps)


def _rates_at(rates: tuple[jax.Array, jax.Array], step: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Both rates of a step, of both players' ramps ``[S]``."""
    return rates[0][step], rates[1][step]
