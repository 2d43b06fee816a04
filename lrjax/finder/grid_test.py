"""The range test over two hyperparameters: the rate and one other that the optimizer takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from os import PathLike
from typing import Any, Literal

import jax
import numpy as np
import optax

from lrjax import _checks
from lrjax.finder import arguments, contracts, execution, supervised_lanes
from lrjax.finder.grid_result import GridTest
from lrjax.finder.keeping import Keep
from lrjax.finder.outcomes import outcomes
from lrjax.finder.plan import Plan
from lrjax.finder.scheduled import scheduled
from lrjax.typing import LossFn, PyTree

_CALL = "grid_test"


def grid_test(
    loss_fn: LossFn,
    params: PyTree | Callable[[jax.Array], PyTree],
    batches: Any,
    optimizer: Callable[..., optax.GradientTransformation],
    learning_rates: Sequence[float] | np.ndarray | jax.Array,
    hyperparams: Mapping[str, Sequence[float] | np.ndarray | jax.Array],
    *,
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
) -> GridTest:
    """Train the same model at many learning rates and values of one other hyperparameter, all side by side.

    A lane is one run, of rate ``k``, value ``m`` and seed ``r``: the range test of the optimizer
    ``optimizer(learning_rates[k], name=values[m])``. The best rate often moves with weight decay, warmup or momentum,
    so that neither is found with the other held.

    Args:
        loss_fn: ``loss_fn(params, batch) -> loss``, as in ``range_test``.
        params: A pytree of floating-point arrays, or ``init(key) -> params``.
        batches: Stacked arrays, or an iterable of batches, as in ``range_test``.
        optimizer: A function of the rate and, by keyword, of the hyperparameter: ``optax.adamw`` with
            ``{"weight_decay": [0.0, 0.1]}``; or ``lambda peak, warmup:
            optax.adamw(lrjax.warmup_cosine(peak, 1000, warmup_steps=warmup))`` with ``{"warmup": [0, 10, 100]}``.
        learning_rates: ``[K]`` distinct positive rates in any order.
        hyperparams: ``{name: [M] distinct values}``. Whole numbers reach the optimizer as traced int32, others as
            traced floats. Of values that are as good as each other the first is suggested: begin with the one that you
            would rather have.
        steps: Updates of every lane; by default as many as there are batches.
        rng: A key for ``loss_fn``, as in ``range_test``.
        seeds: How many, or which, ``[R]``; by default the one seed 0.
        model_state: What ``loss_fn`` carries from step to step, such as BatchNorm's averages.
        validation: One batch, or a list of batches whose losses are averaged.
        evaluate: ``evaluate(params, batch[, state=]) -> scalar``, as in ``range_test``.
        validation_steps: Numbers of updates after which to validate; by default 0, ``steps`` and 9 evenly between.
        keep: ``"finite"``, ``"all"`` or ``Halving()``, which compares pairs of a rate and a value.
        plan: How to execute: ``"auto"``, or a ``Plan``.
        devices: Where to run, by default on all devices.
        memory_budget: Bytes for carries, batches and temporaries; by default a part of what is there.
        progress: Show a progress bar (needs ``lrjax[progress]``).
        checkpoint: A folder to save in and to resume from (needs ``lrjax[checkpoint]``).

    Returns:
        The losses of every lane and what became of it, a ``GridTest``; ``suggest`` and ``plot.grid_test`` read it.

    Raises:
        TypeError: Where an argument is of the wrong kind.
        ValueError: Where an argument is out of range or does not go with another, or the checkpoint is another test's.

    Example:
        >>> import jax.numpy as jnp, numpy as np, optax
        >>> from lrjax.finder import grid_test, suggest
        >>> def loss_fn(params, batch):
        ...     return jnp.mean((batch @ params - 1.0) ** 2)
        >>> batches = np.ones((20, 4, 2), np.float32)
        >>> result = grid_test(loss_fn, jnp.zeros(2), batches, optax.sgd, [0.01, 0.1, 1.0], {"momentum": [0.0, 0.5]})
        >>> print(result.losses.shape, suggest(result).hyperparams)
        (3, 2, 1, 20) {'momentum': 0.5}

    Source: the range test of Smith, arXiv:1506.01186, over a second hyperparameter as in his arXiv:1803.09820.
    """
    how = execution.execution(_CALL, keep, plan, devices, memory_budget, progress, checkpoint)
    rates = arguments.rates(_CALL, "learning_rates", learning_rates)
    name, values = _hyperparam(hyperparams)
    seed_numbers = arguments.seeds(_CALL, seeds)
    contracts.factory(_CALL, optimizer, name)
    named = [scheduled(partial(optimizer, **{name: value}), rates) for value in values.tolist()]
    ran = supervised_lanes.train(
        how,
        loss_fn,
        params,
        batches,
        lambda setting: optimizer(setting[0], **{name: setting[1]}),
        (np.repeat(rates, len(values)), np.tile(values, len(rates))),
        seed_numbers,
        steps=steps,
        rng=rng,
        model_state=model_state,
        validation=validation,
        evaluate=evaluate,
        validation_steps=validation_steps,
        label=lambda lane: f"{rates[lane // len(values)]:.3g}, {name} {values[lane % len(values)]:.4g}",
    )
    words = tuple(schedules.words(ran.steps_done) for schedules in named)
    return GridTest(
        learning_rates=rates,
        name=name,
        values=values,
        seeds=seed_numbers,
        schedules=words if any(words) else (),
        multipliers=tuple(schedules.multipliers(ran.steps_done) for schedules in named),
        **outcomes(ran, (len(rates), len(values), len(seed_numbers))),
    )


def _hyperparam(hyperparams: Any) -> tuple[str, np.ndarray]:
    """The name and the values, ``[M]`` int64 where all are whole and float64 otherwise."""
    wanted = "a dict of one hyperparameter and its values, as {'weight_decay': [0.0, 0.1]}"
    if not isinstance(hyperparams, Mapping) or not all(isinstance(name, str) for name in hyperparams):
        _checks.refuse_type(_CALL, "hyperparams", wanted, hyperparams)
    if len(hyperparams) != 1:
        _checks.refuse(_CALL, "hyperparams", wanted, f"{len(hyperparams)} hyperparameters")
    (name, given), *_ = hyperparams.items()
    argument = f"hyperparams[{name!r}]"
    items = _checks.numbers(_CALL, argument, given)
    if not items:
        _checks.refuse(_CALL, argument, "at least one value", "none")
    is_whole = all(isinstance(item, int) and abs(item) <= _checks.MAX_STEPS for item in items)
    numbers = np.array(items, np.int64 if is_whole else np.float64)
    arguments.refuse_duplicates(
        _CALL, argument, "distinct in float32", numbers if is_whole else numbers.astype(np.float32)
    )
    return name, numbers
