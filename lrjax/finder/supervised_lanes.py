"""Supervised training of settings by seeds, a lane each: what the tests of one optimizer give to the engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lrjax import _checks
from lrjax.finder import arguments, contracts, execution, trees
from lrjax.finder.execution import Execution, Ran
from lrjax.finder.programs import remembered
from lrjax.finder.request import Readings
from lrjax.finder.segments import Loop
from lrjax.finder.supervised import (
    Carry,
    Hyperparams,
    Shared,
    evaluation,
    is_init_function,
    lanes_of,
    shared_by,
    supervised,
)
from lrjax.typing import LossFn, OptimizerFactory, PyTree


def train(
    how: Execution,
    loss_fn: LossFn,
    params: PyTree | Callable[[jax.Array], PyTree],
    batches: Any,
    optimizer: OptimizerFactory,
    settings: PyTree,
    seeds: np.ndarray,
    *,
    steps: Any,
    rng: Any,
    model_state: PyTree,
    validation: PyTree,
    evaluate: LossFn | None,
    validation_steps: Sequence[int] | None,
    parts: int = 10,
    rate_at: Callable[[Any, jax.Array], Any] | None = None,
    label: Callable[[int], str],
) -> Ran:
    """Train every setting with every seed.

    Args:
        how: The options of execution.
        loss_fn: As the user gave it, like all that is not named below.
        params: As given.
        batches: As given.
        optimizer: A function of what ``rate_at`` gives.
        settings: A tree of host arrays that lead with the settings, ``[K, ...]``: what the rate of a lane is made of.
        seeds: ``[R]``, checked.
        steps: As given.
        rng: As given.
        model_state: As given.
        validation: As given.
        evaluate: As given.
        validation_steps: As given.
        parts: By default, validate at 0, at the end, and so that the steps are cut into so many parts.
        rate_at: ``rate_at(setting, step)``, what the optimizer is made of at a step; by default the setting itself.
        label: How the progress bar names a setting.

    Returns:
        What the lanes did, ``[K * R]`` of them, the seeds of a setting side by side.
    """
    call, count = how.call, len(jax.tree.leaves(settings)[0])
    rng = None if rng is None else arguments.key(call, "rng", rng)
    params = arguments.parameters(call, params)
    model_state = None if model_state is None else trees.of_arrays(call, "model_state", model_state)
    source = execution.source_of(how, batches)
    steps = execution.updates(call, steps, source)
    readings = Readings([], [])
    if validation is None:
        _refuse_without_validation(call, evaluate=evaluate, validation_steps=validation_steps)
        evaluate = loss_fn
    else:
        evaluate = _checked_evaluate(call, loss_fn, evaluate, is_plain=model_state is None and rng is None)
        at = arguments.validation_steps(call, validation_steps, steps, parts)
        readings = Readings(execution.validation_batches(call, validation), at)

    per_seed = is_init_function(params)
    start, step = supervised(loss_fn, optimizer, rate_at)
    shared = shared_by(rng, params, seeds, model_state)
    lanes = lanes_of(settings, seeds)
    known_as = (call, loss_fn, optimizer, evaluate)
    setting = jax.tree.map(trees.without_lanes, lanes.learning_rate)
    checked = (source.batch, readings.batches[:1], shared, setting)
    remembered(
        ("checked", *known_as, params if per_seed else None, *trees.form((checked, seeds))),
        lambda: _check(
            call, loss_fn, params, optimizer, rate_at, evaluate, seeds, *jax.tree.map(trees.shape_of, checked)
        ),
    )
    loop = Loop(start, step, evaluation(evaluate), known_as)
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
        metric="loss",
        units=np.repeat(np.arange(count), len(seeds)),
        label=lambda lane: label(lane // len(seeds)),
        fields=execution.digests(
            learning_rates=settings, seeds=seeds, params=shared.params, model_state=model_state, rng=rng
        ),
    )


def _refuse_without_validation(call: str, **given: Any) -> None:
    """Refuse what says how to validate where there is nothing to validate on."""
    for argument, value in given.items():
        if value is not None:
            _checks.refuse(call, argument, "left out where there is no validation=", f"a {type(value).__name__}")


def _checked_evaluate(call: str, loss_fn: LossFn, evaluate: LossFn | None, *, is_plain: bool) -> LossFn:
    """How to validate; by the loss itself only where that is a plain function of parameters and batch."""
    if evaluate is None and not is_plain:
        raise ValueError(
            f"`{call}(evaluate=...)` must be given where model_state or rng is: "
            "loss_fn runs in training mode; pass evaluate="
        )
    return evaluate or loss_fn


def _check(
    call: str,
    loss_fn: LossFn,
    start: PyTree | Callable[[jax.Array], PyTree],
    optimizer: OptimizerFactory,
    rate_at: Callable[[Any, jax.Array], Any] | None,
    evaluate: LossFn,
    seeds: np.ndarray,
    batch: PyTree,
    validation: Sequence[PyTree],
    shared: Shared,
    setting: PyTree,
) -> bool:
    """Refuse functions that do not fit together; ``batch`` and what follows are shapes."""
    per_seed = shared.seeds is not None
    params = jax.tree.map(trees.without_lanes, shared.params) if per_seed else shared.params
    contracts.loss(call, loss_fn, params, batch, shared.model_state, shared.rng)
    rate = setting if rate_at is None else jax.eval_shape(rate_at, setting, trees.shaped((), jnp.int32))
    contracts.optimizer(call, optimizer, params, rate)
    for held_out in validation:
        contracts.evaluate(call, evaluate, params, held_out, shared.model_state)
    begin, step = supervised(loss_fn, optimizer, rate_at)

    def init(seed: jax.Array, shared: Shared) -> Carry:
        values = start(jax.random.key(seed)) if per_seed else shared.params
        ones = jax.tree.map(lambda leaf: jnp.ones(leaf.shape, leaf.dtype), setting)
        return begin(Hyperparams(ones, seed), shared._replace(params=values, seeds=None))

    if len(seeds) > 1:
        contracts.seeds(call, len(seeds), init, step, shared, batch)
    return True
