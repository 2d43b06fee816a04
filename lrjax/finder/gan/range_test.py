"""The range test of a GAN: one short training per pair of rates and seed, all side by side."""

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
from lrjax.finder.gan.pairs import pairs as checked_pairs
from lrjax.finder.gan.result import GanRangeTest
from lrjax.finder.keeping import Keep
from lrjax.finder.plan import Plan
from lrjax.optimizers.gan import gan_optimizers
from lrjax.optimizers.gan_step import PlayerLoss
from lrjax.typing import LossFn, PyTree

_CALL = "gan_range_test"
Rates = Sequence[float] | np.ndarray | jax.Array


def gan_range_test(
    generator_loss: PlayerLoss,
    discriminator_loss: PlayerLoss,
    params: PyTree | Callable[[jax.Array], PyTree],
    batches: Any,
    optimizers: GanOptimizersFactory = gan_optimizers,
    *,
    scales: Rates | None = None,
    ratios: Rates | None = None,
    generator_learning_rates: Rates | None = None,
    discriminator_learning_rates: Rates | None = None,
    pairs: Sequence[tuple[float, float]] | np.ndarray | None = None,
    steps: int | None = None,
    rng: jax.Array | None = None,
    seeds: int | Sequence[int] | None = None,
    generator_state: PyTree = None,
    discriminator_state: PyTree = None,
    ema: float = 0.995,
    order: Literal["alternating", "simultaneous"] = "alternating",
    evaluate: LossFn | None = None,
    validation: PyTree = None,
    validation_steps: Sequence[int] | None = None,
    keep: Keep = "finite",
    plan: Plan | Literal["auto"] = "auto",
    devices: Sequence[jax.Device] | None = None,
    memory_budget: int | None = None,
    progress: bool = False,
    checkpoint: str | PathLike[str] | None = None,
) -> GanRangeTest:
    """Train the same GAN at many pairs of learning rates side by side, for some steps each.

    A lane is one run of ``gan_step`` at one pair, ``scale = sqrt(generator * discriminator)`` and ``ratio =
    discriminator / generator``, and one seed, on the same batches as all others. The surface of results is smoother in
    scale and ratio than in the two rates, so that a grid of these is the default; any other shape will do.

    Both players train in every lane. Against a frozen opponent the generator's loss falls for ever, while its samples
    become worse, so that there is no such test; one player's test is a row or a column of a grid, the other player
    training at its fixed rate: ``generator_learning_rates=[2e-4], discriminator_learning_rates=np.geomspace(...)``.

    Give ``evaluate``, a metric on samples: losses have no edge, and what they say of balance is a weak sign. The test
    should take at least a fifth of the steps of the run that it is for. In a shorter one the ranking of pairs may even
    turn around; and the longer the run, the smaller is the best ratio.

    Args:
        generator_loss: ``loss(generator_params, discriminator_params, batch, rng) -> scalar`` or ``(scalar, aux)``, as
            ``lrjax.gan_step`` takes it.
        discriminator_loss: ``loss(discriminator_params, generator_params, batch, rng) -> scalar`` or ``(scalar, aux)``.
            Return "real_logits", "fake_logits", "real" and "fake" in ``aux``: balance is measured by them. Scores of a
            Wasserstein critic are no logits, since theirs have no zero: leave them out.
        params: The pair ``(generator_params, discriminator_params)`` of pytrees of floating-point arrays, where every
            lane starts; or ``init(key)`` that gives it, where seed ``s`` starts at ``init(jax.random.key(s))``.
        batches: A tuple, dict, NamedTuple, registered dataclass or array, stacked with a leading axis of steps; or a
            list or any other iterable that yields batches. With several steps of the discriminator, each batch leads
            with an axis of them. What has a length is gone through again where ``steps`` exceeds it.
        optimizers: A function of the generator's and the discriminator's rate, ``lrjax.gan_optimizers`` or one with
            schedules inside, ``lambda g, d: lrjax.gan_optimizers(lrjax.warmup_cosine(g, 3000, warmup_steps=100), d)``.
        scales: ``[A]`` distinct positive scales; by default 8 from 2e-5 to 2e-2.
        ratios: ``[B]`` distinct positive ratios; by default 1/8, 1/4, ... 16. The grid is of all scales and ratios.
        generator_learning_rates: ``[A]`` distinct positive rates, in place of scales and ratios.
        discriminator_learning_rates: ``[B]`` distinct positive rates. The grid is of all pairs of both.
        pairs: ``[K, 2]`` distinct pairs of the generator's and the discriminator's rate, in place of a grid.
        steps: GAN steps of every lane; by default as many as there are batches.
        rng: A key; by default ``jax.random.key(0)``. The step of seed ``s`` gets ``fold_in(fold_in(rng, s), step)``,
            equal for all pairs.
        seeds: How many, or which, ``[R]``; by default the one seed 0.
        generator_state: A pytree that the generator carries besides its parameters, such as BatchNorm's averages. With
            either state the losses take ``state=`` and return it: see ``lrjax.optimizers.GanModelState``.
        discriminator_state: The same for the discriminator.
        ema: Weight of the old average of the generator's parameters, from 0 to 1; its memory, ``1 / (1 - ema)`` steps,
            should be short beside ``steps``.
        order: "alternating" or "simultaneous", as in ``lrjax.gan_step``.
        evaluate: ``evaluate(generator_params, validation[, state=]) -> scalar``, smaller is better, such as a
            ``frechet_distance`` of samples, read at the average of the generator's parameters.
        validation: What ``evaluate`` gets besides: latent variables, or a key to draw them by, the same for all lanes;
            or a list of such, over which it is averaged.
        validation_steps: Numbers of GAN steps after which to evaluate; by default 0, ``steps`` and 9 evenly between.
        keep: ``"finite"`` drops lanes that are lost, at each tenth of the steps; ``"all"`` runs them to the end;
            ``Halving(rungs=2)`` goes on with the better pairs by ``evaluate``.
        plan: How to execute: ``"auto"``, or a ``Plan``. Answers agree between plans to float rounding.
        devices: Where to run, by default on all devices; the lanes are divided among them.
        memory_budget: Bytes for carries, batches and temporaries, on each accelerator or in all on a CPU; by default a
            part of what is there. Lanes that do not fit run one wave after another.
        progress: Show a progress bar (needs ``lrjax[progress]``).
        checkpoint: A folder to save in as the test goes on (needs ``lrjax[checkpoint]``); where it holds this test's
            state, the test resumes from there.

    Returns:
        The losses, the signals of balance and the metric of every lane, and what became of it, a ``GanRangeTest``;
        ``gan_suggest`` reads an answer from it. Batches that end early, raise or change shape end the test there: its
        ``steps_done`` and ``note`` say so.

    Raises:
        TypeError: Where an argument is of the wrong kind.
        ValueError: Where an argument is out of range or does not go with another, or the checkpoint is another test's.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from lrjax.finder import gan_range_test
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
        >>> def evaluate(generator, target):
        ...     return jnp.abs(generator["shift"] - target)
        >>> params = {"shift": jnp.array(0.0)}, {"a": jnp.array(0.0), "b": jnp.array(0.0)}
        >>> batches = 1.0 + jax.random.normal(jax.random.key(0), (200, 64))
        >>> result = gan_range_test(
        ...     generator_loss, discriminator_loss, params, batches, scales=[1e-3, 1e-2, 1e-1], ratios=[1.0, 4.0],
        ...     ema=0.98, evaluate=evaluate, validation=jnp.array(1.0))
        >>> result
        GanRangeTest(3 scales x 2 ratios, 1 seed, 200 steps)
        >>> print(result.validation_losses[:, 0, -1].round(1))
        [0.8 0.9 0.  0.2 0.  0. ]

    Source: the pattern of ``range_test``; Heusel et al., arXiv:1706.08500 (a rate for each player).
    """
    how = execution.execution(_CALL, keep, plan, devices, memory_budget, progress, checkpoint)
    grid = checked_pairs(_CALL, scales, ratios, generator_learning_rates, discriminator_learning_rates, pairs)
    seed_numbers = arguments.seeds(_CALL, seeds)
    ema = _checks.number(_CALL, "ema", ema, low=0, high=1)
    _checks.choice(_CALL, "order", order, ("alternating", "simultaneous"))
    players = Players(_CALL, generator_loss, discriminator_loss, optimizers, ema, order)
    ran = gan_lanes.play(
        how,
        players,
        params,
        batches,
        (grid.generator, grid.discriminator),
        seed_numbers,
        steps=steps,
        rng=rng,
        generator_state=generator_state,
        discriminator_state=discriminator_state,
        validation=validation,
        evaluate=evaluate,
        validation_steps=validation_steps,
        label=lambda k: f"{grid.generator[k]:.3g}, {grid.discriminator[k]:.3g}",
    )
    return GanRangeTest(
        generator_learning_rates=grid.generator,
        discriminator_learning_rates=grid.discriminator,
        axes=grid.axes,
        seeds=seed_numbers,
        **gan_lanes.outcomes(ran, (len(grid.generator), len(seed_numbers)), ema),
    )
