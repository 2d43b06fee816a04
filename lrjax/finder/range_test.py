"""The range test: one short training run per learning rate and seed, all side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from lrjax import _checks
from lrjax.finder import arguments, contracts, execution, trees
from lrjax.finder.execution import Ran
from lrjax.finder.keeping import Keep
from lrjax.finder.plan import Plan
from lrjax.finder.programs import remembered
from lrjax.finder.request import Readings
from lrjax.finder.result import RangeTest
from lrjax.finder.segments import Loop
from lrjax.finder.suggest import last_tenth
from lrjax.finder.supervised import Carry, Hyperparams, Shared, evaluation, is_init_function, supervised, tabulated
from lrjax.typing import LossFn, OptimizerFactory, PyTree

_CALL = "range_test"


def range_test(
    loss_fn: LossFn,
    params: PyTree | Callable[[jax.Array], PyTree],
    batches: Any,
    optimizer: OptimizerFactory,
    learning_rates: Sequence[float] | np.ndarray | jax.Array,
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
            ``lambda peak: optax.adamw(lrjax.warmup_cosine(peak, 1000, warmup_steps=50))``. Updates get ``value=loss``.
        learning_rates: ``[K]`` distinct positive rates in any order.
        steps: Updates of every lane; by default as many as there are batches.
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
    rates = arguments.rates(_CALL, "learning_rates", learning_rates)
    seed_numbers = arguments.seeds(_CALL, seeds)
    rng = None if rng is None else arguments.key(_CALL, "rng", rng)
    params = arguments.parameters(_CALL, params)
    model_state = None if model_state is None else trees.of_arrays(_CALL, "model_state", model_state)
    source = execution.source_of(how, batches)
    steps = execution.updates(_CALL, steps, source)
    batches_of_validation, evaluate, at = _validation(
        loss_fn, model_state, rng, steps, validation, evaluate, validation_steps
    )

    per_seed = is_init_function(params)
    start, step = supervised(loss_fn, optimizer)
    shared = Shared(
        rng,
        tabulated(params, seed_numbers) if per_seed else params,
        jnp.asarray(seed_numbers) if per_seed else None,
        model_state,
    )
    lanes = Hyperparams(
        learning_rate=np.repeat(rates, len(seed_numbers)).astype(jax.dtypes.canonicalize_dtype(np.float64)),
        seed=np.tile(seed_numbers, len(rates)),
    )
    known_as = (_CALL, loss_fn, optimizer, evaluate)
    checked = (source.batch, batches_of_validation[:1], shared)
    remembered(
        ("checked", *known_as, params if per_seed else None, *trees.form((checked, seed_numbers))),
        lambda: _check(loss_fn, params, optimizer, evaluate, seed_numbers, *jax.tree.map(trees.shape_of, checked)),
    )
    loop = Loop(start, step, evaluation(evaluate), known_as)
    lane = execution.traced(loop, lanes, shared, source.batch)
    ran = execution.run(
        how,
        loop,
        lane,
        lanes,
        shared,
        source,
        steps,
        Readings(batches_of_validation, at),
        metric="loss",
        units=np.repeat(np.arange(len(rates)), len(seed_numbers)),
        label=lambda lane: f"{rates[lane // len(seed_numbers)]:.3g}",
        fields=execution.digests(
            learning_rates=rates, seeds=seed_numbers, params=shared.params, model_state=model_state, rng=rng
        ),
    )
    return _result(ran, rates, seed_numbers)


def _validation(
    loss_fn: LossFn,
    model_state: PyTree,
    rng: jax.Array | None,
    steps: int,
    validation: PyTree,
    evaluate: LossFn | None,
    validation_steps: Sequence[int] | None,
) -> tuple[Sequence[PyTree], LossFn, list[int]]:
    """The batches to validate on, how and when; nothing without validation."""
    if validation is None:
        for argument, value in (("evaluate", evaluate), ("validation_steps", validation_steps)):
            if value is not None:
                _checks.refuse(_CALL, argument, "left out where there is no validation=", f"a {type(value).__name__}")
        return [], loss_fn, []
    if evaluate is None and not (model_state is None and rng is None):
        raise ValueError(
            f"`{_CALL}(evaluate=...)` must be given where model_state or rng is: "
            "loss_fn runs in training mode; pass evaluate="
        )
    arrays = execution.validation_batches(_CALL, validation)
    return arrays, evaluate or loss_fn, arguments.validation_steps(_CALL, validation_steps, steps)


def _check(
    loss_fn: LossFn,
    start: PyTree | Callable[[jax.Array], PyTree],
    optimizer: OptimizerFactory,
    evaluate: LossFn,
    seeds: np.ndarray,
    batch: PyTree,
    validation: Sequence[PyTree],
    shared: Shared,
) -> bool:
    """Refuse functions that do not fit together; ``batch`` and what follows are shapes."""
    per_seed = shared.seeds is not None
    params = jax.tree.map(trees.without_lanes, shared.params) if per_seed else shared.params
    contracts.loss(_CALL, loss_fn, params, batch, shared.model_state, shared.rng)
    contracts.optimizer(_CALL, optimizer, params)
    for held_out in validation:
        contracts.evaluate(_CALL, evaluate, params, held_out, shared.model_state)
    begin, step = supervised(loss_fn, optimizer)

    def init(seed: jax.Array, shared: Shared) -> Carry:
        values = start(jax.random.key(seed)) if per_seed else shared.params
        return begin(Hyperparams(jnp.ones(()), seed), shared._replace(params=values, seeds=None))

    if len(seeds) > 1:
        contracts.seeds(_CALL, len(seeds), init, step, shared, batch)
    return True


def _result(ran: Ran, rates: np.ndarray, seeds: np.ndarray) -> RangeTest:
    """Lanes as rates by seeds, and what became of each."""
    grid = (len(rates), len(seeds))
    losses = ran.metrics["loss"].reshape(*grid, ran.steps_done)
    validation_losses = ran.readings.reshape(*grid, len(ran.validation_steps))
    lost_at, status = (part.reshape(grid) for part in execution.lost_and_status(ran))
    high: np.ndarray = np.all(last_tenth(losses) > losses[..., :1], axis=-1)
    if len(ran.validation_steps) > 1:
        high = validation_losses[..., -1] > validation_losses[..., 0]
    return RangeTest(
        learning_rates=rates,
        seeds=seeds,
        losses=losses,
        validation_steps=ran.validation_steps,
        validation_losses=validation_losses,
        status=np.where((status == "finite") & high, "high", status),
        lost_at=lost_at,
        steps_done=ran.steps_done,
        plan=ran.plan,
        note=ran.note,
    )
