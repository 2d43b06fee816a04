"""The range test: one short training run per learning rate and seed, all side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from lrjax import _checks
from lrjax.finder import arguments, contracts, trees
from lrjax.finder.batches import Source, batch_source
from lrjax.finder.lanes import History, Reading, run_lanes
from lrjax.finder.progress import progress_bar
from lrjax.finder.result import RangeTest
from lrjax.finder.suggest import last_tenth
from lrjax.finder.training import Hyperparams, evaluation, is_init_function, tabulated, training
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
    progress: bool = False,
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
            list or any other iterable that yields batches, each pulled once. What has a length is gone through again
            where ``steps`` exceeds it.
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
        progress: Show a progress bar (needs ``lrjax[progress]``).

    Returns:
        The losses of every lane and what became of it, a ``RangeTest``. Batches that end early, raise or change shape
        end the test there: its ``steps_done`` and ``note`` say so.

    Raises:
        TypeError: Where an argument is of the wrong kind.
        ValueError: Where an argument is out of range, or does not go with another.

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
    rates = arguments.rates(_CALL, "learning_rates", learning_rates)
    seed_numbers = arguments.seeds(_CALL, seeds)
    rng = None if rng is None else arguments.key(_CALL, "rng", rng)
    params = arguments.parameters(_CALL, params)
    shapes = jax.eval_shape(params, jax.random.key(0)) if is_init_function(params) else params
    model_state = None if model_state is None else trees.of_arrays(_CALL, "model_state", model_state)
    _checks.flag(_CALL, "progress", progress)
    source = batch_source(_CALL, batches)
    steps = _steps(steps, source)
    contracts.loss(_CALL, loss_fn, shapes, source.batch, model_state, rng)
    contracts.optimizer(_CALL, optimizer, shapes)
    reading = _reading(loss_fn, shapes, model_state, rng, steps, validation, evaluate, validation_steps)

    if len(seed_numbers) > 1:
        loop = training(loss_fn, params, optimizer, model_state=model_state)
        contracts.seeds(_CALL, len(seed_numbers), *loop, rng, source.batch)
    start = tabulated(params, seed_numbers) if is_init_function(params) else params
    init, step = training(loss_fn, start, optimizer, model_state=model_state)
    lanes = Hyperparams(
        learning_rate=np.repeat(rates, len(seed_numbers)).astype(jax.dtypes.canonicalize_dtype(np.float64)),
        seed=np.tile(seed_numbers, len(rates)),
    )
    with jax.debug_nans(new_val=False), progress_bar(steps, rates, shown=progress) as watch:
        history = run_lanes(init, step, lanes, rng, source, steps, reading=reading, watch=watch)
    return _result(history, rates, seed_numbers, _note(history, source, steps))


def _steps(steps: int | None, source: Source) -> int:
    """The updates of a lane: those asked for, or one for each batch."""
    if steps is not None:
        return int(_checks.count(_CALL, "steps", steps, low=1))
    if source.length is None:
        _checks.refuse(_CALL, "steps", "given where batches have no length, as a generator has none", "None")
    return source.length


def _reading(
    loss_fn: LossFn,
    shapes: PyTree,
    model_state: PyTree,
    rng: jax.Array | None,
    steps: int,
    validation: PyTree,
    evaluate: LossFn | None,
    validation_steps: Sequence[int] | None,
) -> Reading:
    """What to validate on and when; no steps without validation."""
    if validation is None:
        for argument, value in (("evaluate", evaluate), ("validation_steps", validation_steps)):
            if value is not None:
                _checks.refuse(_CALL, argument, "left out where there is no validation=", f"a {type(value).__name__}")
        return Reading(evaluation(loss_fn), [], [])
    if evaluate is None and not (model_state is None and rng is None):
        raise ValueError(
            f"`{_CALL}(evaluate=...)` must be given where model_state or rng is: "
            "loss_fn runs in training mode; pass evaluate="
        )
    batches = validation if isinstance(validation, list) else [validation]
    arrays = [jax.device_put(trees.of_arrays(_CALL, "validation", batch)) for batch in batches]
    if not all(jax.tree.leaves(batch) for batch in arrays) or not arrays:
        _checks.refuse(_CALL, "validation", "a batch or a list of batches", _checks.shown(validation))
    evaluate = loss_fn if evaluate is None else evaluate
    contracts.evaluate(_CALL, evaluate, shapes, arrays[0], model_state)
    return Reading(evaluation(evaluate), arrays, arguments.validation_steps(_CALL, validation_steps, steps))


def _result(history: History, rates: np.ndarray, seeds: np.ndarray, note: str) -> RangeTest:
    """Lanes as rates by seeds, and what became of each."""
    grid = (len(rates), len(seeds), -1)
    losses = history.metrics["loss"].T.reshape(grid)
    validation_losses = history.readings.T.reshape(*grid[:2], len(history.reading_steps))
    steps, validation_steps = np.arange(history.steps_done), np.array(history.reading_steps, np.int64)

    never = np.iinfo(np.int64).max
    finite = np.isfinite(np.concatenate([losses, validation_losses], axis=-1))
    lost_at = np.where(finite, never, np.concatenate([steps, validation_steps])).min(axis=-1)
    lost = lost_at < never
    losses = np.where(steps < lost_at[..., None], losses, np.nan)
    validation_losses = np.where(validation_steps < lost_at[..., None], validation_losses, np.nan)
    high: np.ndarray = np.all(last_tenth(losses) > losses[..., :1], axis=-1)
    if len(validation_steps) > 1:
        high = validation_losses[..., -1] > validation_losses[..., 0]
    return RangeTest(
        learning_rates=rates,
        seeds=seeds,
        losses=losses,
        validation_steps=validation_steps,
        validation_losses=validation_losses,
        status=np.where(lost, "diverged", np.where(high, "high", "finite")),
        lost_at=np.where(lost, lost_at, -1),
        steps_done=history.steps_done,
        note=note,
    )


def _note(history: History, source: Source, steps: int) -> str:
    """Batches that ended early, or that were gone through again."""
    if history.ended:
        return f"The batches ended after {history.steps_done} of {steps} steps: {history.ended}."
    if source.length is not None and steps > source.length:
        return f"The {source.length} batches were gone through {steps / source.length:.3g} times."
    return ""
