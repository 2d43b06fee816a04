"""The range test: one short training run per learning rate and seed, all side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any, Literal

import jax
import numpy as np

from lrjax import _checks
from lrjax.finder import arguments, contracts, execution, refining, supervised_lanes
from lrjax.finder.execution import Execution
from lrjax.finder.keeping import Keep
from lrjax.finder.outcomes import outcomes
from lrjax.finder.plan import Plan
from lrjax.finder.result import RangeTest
from lrjax.finder.scheduled import scheduled
from lrjax.finder.stages import Stages
from lrjax.typing import LossFn, OptimizerFactory, PyTree

_CALL = "range_test"


def range_test(
    loss_fn: LossFn,
    params: PyTree | Callable[[jax.Array], PyTree],
    batches: Any,
    optimizer: OptimizerFactory,
    learning_rates: Sequence[float] | np.ndarray | jax.Array | Literal["auto"],
    *,
    budget: int | None = None,
    horizon: int | None = None,
    steps: int | None = None,
    rng: jax.Array | None = None,
    seeds: int | Sequence[int] | None = None,
    model_state: PyTree = None,
    validation: PyTree = None,
    evaluate: LossFn | None = None,
    validation_steps: Sequence[int] | None = None,
    keep: Keep = "finite",
    plan: Plan | Literal["auto"] = "auto",
    devices: Sequence[jax.Device] | None = None,
    memory_budget: int | None = None,
    progress: bool = False,
    checkpoint: str | PathLike[str] | None = None,
) -> RangeTest:
    """Train the same model at many learning rates side by side, for some steps each.

    A lane is one run, of rate ``k`` and seed ``r``: ``params -> params + update(gradient, learning_rates[k])``, step by
    step on the same batches as all other lanes. A lane depends on its rate, its seed and the batches only; one that
    is lost (a loss that is not finite) leaves its neighbours as they are. The caller's arrays stay unchanged.

    Args:
        loss_fn: ``loss_fn(params, batch) -> loss``, a scalar. With ``model_state`` it also takes ``state=`` and returns
            ``(loss, new_state)``; with ``rng`` it also takes ``rng=``.
        params: A pytree of floating-point arrays, where every lane starts; or ``init(key) -> params``, where seed ``s``
            starts at ``init(jax.random.key(s))``.
        batches: A tuple, dict, NamedTuple, registered dataclass or array, stacked with a leading axis of steps; or a
            list or any other iterable that yields batches, each pulled once, the next ones while the device works. What
            has a length is gone through again where ``steps`` exceeds it.
        optimizer: A function of the learning rate: ``optax.adamw``, or one with a schedule inside,
            ``lambda peak: optax.adamw(lrjax.warmup_cosine(peak, 1000, warmup_steps=50))``, which the answer then names.
            Updates get ``value=loss``.
        learning_rates: ``[K]`` distinct positive rates in any order; or ``"auto"``: a coarse grid of all usual rates
            for some 30 steps, extended where its best is at an edge, and then a few long runs around the best, in one
            result, where the coarse lanes count as dropped. Batches of an iterable are kept for the later stages, in
            memory up to a sixteenth of ``memory_budget``, beyond it in temporary files.
        budget: With ``"auto"``, the most lane-steps to take (rates times seeds times steps), by default 5,760.
        horizon: Steps of the run that the rate is for; by default those of a schedule inside of ``optimizer`` that
            says how long it is, else the test's own. ``suggest`` answers for it.
        steps: Updates of every lane; by default as many as there are batches. With ``"auto"`` of the longest lane, at
            most; by default what the budget pays for, and no more than there are batches or steps of a schedule.
        rng: A key. The loss of seed ``s`` gets ``fold_in(fold_in(rng, s), step)``, equal for all rates.
        seeds: How many, or which, ``[R]``; by default the one seed 0.
        model_state: A pytree that ``loss_fn`` carries from step to step, such as BatchNorm's averages.
        validation: One batch, or a list of batches whose losses are averaged.
        evaluate: ``evaluate(params, batch[, state=]) -> scalar``, smaller is better, read on ``validation`` at the
            parameters that the optimizer evaluates with (schedule-free ones average). By default ``loss_fn``, which
            serves only without ``model_state`` and ``rng``.
        validation_steps: Numbers of updates after which to validate; by default 0, ``steps`` and 9 evenly between.
        keep: ``"finite"`` drops lanes that are lost, at each tenth of the steps (high losses are only flagged, since
            some recover); ``"all"`` runs them to the end; ``Halving()`` goes on with the better part of the rates at
            each of its rungs.
        plan: How to execute: ``"auto"``, or a ``Plan``. Answers agree between plans to float rounding.
        devices: Where to run, by default on all devices; the lanes are divided among them. Where they belong to several
            processes (``jax.distributed``), each of these makes the same call, runs its part of the lanes and gets the
            whole result.
        memory_budget: Bytes for carries, batches and temporaries, on each accelerator or in all on a CPU; by default a
            part of what is there. Lanes that do not fit run one wave after another.
        progress: Show a progress bar (needs ``lrjax[progress]``).
        checkpoint: A folder to save in as the test goes on (needs ``lrjax[checkpoint]``); where it holds this test's
            state, the test resumes from there.

    Returns:
        The losses of every lane and what became of it, a ``RangeTest``. Batches that end early, raise or change shape
        end the test there: its ``steps_done`` and ``note`` say so.

    Raises:
        TypeError: Where an argument is of the wrong kind.
        ValueError: Where an argument is out of range or does not go with another, or the checkpoint is another test's.

    Example:
        >>> import jax.numpy as jnp, numpy as np, optax
        >>> from lrjax.finder import range_test
        >>> def loss_fn(params, batch):
        ...     return jnp.mean((batch @ params - 1.0) ** 2)
        >>> batches = np.ones((20, 4, 2), np.float32)
        >>> result = range_test(loss_fn, jnp.zeros(2), batches, optax.sgd, [0.001, 0.01, 0.1, 1.0])
        >>> print(result.status.ravel(), result.losses.shape)
        ['finite' 'finite' 'finite' 'high'] (4, 1, 20)

    Source: Smith, arXiv:1506.01186, whose ramp is a single run; one run a rate, from fresh weights, as practitioners
        asked of its implementations (torch-lr-finder #68).
    """
    how = execution.execution(_CALL, keep, plan, devices, memory_budget, progress, checkpoint)
    seed_numbers = arguments.seeds(_CALL, seeds)
    contracts.factory(_CALL, optimizer)
    if horizon is not None:
        horizon = _checks.count(_CALL, "horizon", horizon, low=1)

    def run(rates: np.ndarray, how: Execution, batches: Any, steps: int | None, at: Sequence[int] | None) -> RangeTest:
        named = scheduled(optimizer, rates)
        ran = supervised_lanes.train(
            how,
            loss_fn,
            params,
            batches,
            optimizer,
            rates,
            seed_numbers,
            steps=steps,
            rng=rng,
            model_state=model_state,
            validation=validation,
            evaluate=evaluate,
            validation_steps=at,
            label=lambda k: f"{rates[k]:.3g}",
        )
        return RangeTest(
            learning_rates=rates,
            seeds=seed_numbers,
            schedules=named.words(ran.steps_done),
            multipliers=named.multipliers(max(ran.steps_done, horizon or 0)),
            horizon=horizon,
            **outcomes(ran, (len(rates), len(seed_numbers))),
        )

    if isinstance(learning_rates, str):
        if learning_rates != "auto":
            _checks.refuse_type(_CALL, "learning_rates", "'auto' or a sequence of rates", learning_rates)
        with Stages(how, batches) as stages:
            total = scheduled(optimizer, np.array([refining.COARSE_LOWEST])).total
            allocation = refining.allocated(_CALL, budget, steps, len(seed_numbers), stages.source.length, total)

            def stage(rates: np.ndarray, steps: int, number: int) -> RangeTest:
                at = None
                if validation is not None:
                    at = refining.reading_steps(_CALL, validation_steps, steps, allocation.coarse_steps)
                return run(rates, *stages.at(number), steps, at)

            return refining.searched(stage, allocation)
    if budget is not None:
        _checks.refuse(_CALL, "budget", "left out where learning_rates are given", _checks.shown(budget))
    return run(arguments.rates(_CALL, "learning_rates", learning_rates), how, batches, steps, validation_steps)
