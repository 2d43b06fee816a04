"""The ramp test: one run for every seed, whose learning rate rises from step to step, all side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from typing import Any, Literal, overload

import jax
import numpy as np

from lrjax import _checks
from lrjax.finder import arguments, contracts, execution, supervised_lanes, trees
from lrjax.finder.outcomes import outcomes
from lrjax.finder.plan import Plan
from lrjax.finder.ramp_result import RampTest
from lrjax.typing import LossFn, OptimizerFactory, PyTree

SPACINGS = ("exponential", "linear")

VALIDATION_PARTS = 25
"""Of a ramp, between validations."""

_CALL = "ramp_test"


@overload
def ramp_test(
    loss_fn: LossFn,
    params: PyTree | Callable[[jax.Array], PyTree],
    batches: Any,
    optimizer: OptimizerFactory,
    *,
    groups: None = None,
    **options: Any,
) -> RampTest: ...


@overload
def ramp_test(
    loss_fn: LossFn,
    params: PyTree | Callable[[jax.Array], PyTree],
    batches: Any,
    optimizer: OptimizerFactory,
    *,
    groups: Mapping[str, float],
    **options: Any,
) -> dict[str, RampTest]: ...


def ramp_test(  # type: ignore[misc]  # the options of the overloads are those named here
    loss_fn: LossFn,
    params: PyTree | Callable[[jax.Array], PyTree],
    batches: Any,
    optimizer: OptimizerFactory,
    *,
    min_value: float = 1e-7,
    max_value: float = 10.0,
    steps: int = 100,
    spacing: Literal["exponential", "linear"] = "exponential",
    smoothing: float = 0.98,
    stop_factor: float | None = 4.0,
    groups: Mapping[str, float] | None = None,
    rng: jax.Array | None = None,
    seeds: int | Sequence[int] | None = None,
    model_state: PyTree = None,
    validation: PyTree = None,
    evaluate: LossFn | None = None,
    validation_steps: Sequence[int] | None = None,
    plan: Plan | Literal["auto"] = "auto",
    devices: Sequence[jax.Device] | None = None,
    memory_budget: int | None = None,
    progress: bool = False,
    checkpoint: str | PathLike[str] | None = None,
) -> RampTest | dict[str, RampTest]:
    """Smith's range test: one run whose learning rate rises from step to step, for every seed side by side.

    ``learning_rates[i] = min_value * (max_value / min_value) ** (i / (steps - 1))``, or, with linear spacing,
    ``min_value + (max_value - min_value) * i / (steps - 1)``; update ``i`` is made at ``learning_rates[i]``, and
    ``losses[i]`` is read before it. Only the rate rises: momentum and all else stay as the optimizer has them.

    The ramp always runs to its end. Where a finder that watches would have stopped, since the smoothed loss had risen
    above its best by more than ``stop_factor`` times the range of the losses until then, the result says in
    ``stopped_at``, and rules read no further; neither a shift nor a scale of the loss, nor its sign, moves that step. A
    loss that is not finite ends its seed.

    A ramp costs as much as one lane of a ``range_test`` and says less: its rates have one step each, from wherever the
    steps before have led.

    Options and defaults of the finders that people know, and of this one. The rate of update ``i`` of ``N`` is
    ``min_value * (max_value / min_value) ** q`` where the ramp is exponential:

    | | lrjax | fastai | torch-lr-finder | Lightning | ignite |
    |---|---|---|---|---|---|
    | rates | 1e-7 to 10 | 1e-7 to 10 | given to 10 | 1e-8 to 1 | given to 10 |
    | steps | 100 | 100 | 100 | 100 | all there are |
    | ``q`` | ``i/(N-1)`` | ``i/N`` | ``i/(N-1)`` | 0, ``2/N``, ``3/N``, ..., 1 | ``(i+1)/N`` |
    | smoothed loss carried over | .98 | .98 | .95 | .98 | .95 |
    | first losses | unbiased | unbiased | start with the first | biased | start with the first |
    | stops above | best + 4 ranges | 4 x best | 5 x best | 4 x best | 5 x best |
    | validation loss | beside training | no | instead | no | by a hook |
    | suggestion | "valley" | "valley" | "steepest" | steepest in the raw rate | "steepest" |
    | seeds, bands | yes | no | no | no | no |
    | rates of groups | one by one | together | together | together | together |

    ``ramp_test(...)`` as it stands is fastai's test, whose rates end a step short of the last: ``max_value=10**0.92``
    has the very same. ``min_value=1e-8, max_value=1.0`` is Lightning's range. ``smoothing=0.95`` with
    ``rule="steepest"`` is torch-lr-finder's and ignite's way, whose ranges begin at the optimizer's rate.
    ``smoothing=0``, ``stop_factor=None`` gives the bare losses. In all of them only the rate rises; momentum stays as
    the optimizer has it.

    Args:
        loss_fn: ``loss_fn(params, batch) -> loss``, a scalar. With ``model_state`` it also takes ``state=`` and returns
            ``(loss, new_state)``; with ``rng`` it also takes ``rng=``.
        params: A pytree of floating-point arrays, where every seed starts; or ``init(key) -> params``, where seed ``s``
            starts at ``init(jax.random.key(s))``.
        batches: A tuple, dict, NamedTuple, registered dataclass or array, stacked with a leading axis of steps; or a
            list or any other iterable that yields batches. What has a length is gone through again where ``steps``
            exceeds it.
        optimizer: A function of the learning rate, such as ``optax.adamw``; with ``groups``, of a dict of rates.
            Updates get ``value=loss``.
        min_value: The first rate.
        max_value: The last rate.
        steps: Updates, and rates; at least 2.
        spacing: ``"exponential"``, or ``"linear"``, which spends nine tenths of its steps on the last decade.
        smoothing: From 0, which leaves the losses as they are, to less than 1: the part of the smoothed loss that is
            carried over from one step to the next. Its start is unbiased.
        stop_factor: A positive number, or None to read every ramp to its end.
        groups: Labels of rates, each with the rate at which it is held while another is ramped, one ramp for each
            label: ``groups={"backbone": 1e-5, "head": 1e-3}`` goes with ``lambda rates: param_groups({"backbone":
            adamw(rates["backbone"]), "head": adamw(rates["head"])}, labels)``. Groups that are held train on, and what
            the loss falls by their doing counts as well; held at 0, they stand still.
        rng: A key. The loss of seed ``s`` gets ``fold_in(fold_in(rng, s), step)``.
        seeds: How many, or which, ``[R]``; by default the one seed 0.
        model_state: A pytree that ``loss_fn`` carries from step to step, such as BatchNorm's averages.
        validation: One batch, or a list of batches whose losses are averaged.
        evaluate: ``evaluate(params, batch[, state=]) -> scalar``, smaller is better, read on ``validation`` at the
            parameters that the optimizer evaluates with. By default ``loss_fn``, which serves only without
            ``model_state`` and ``rng``.
        validation_steps: Numbers of updates after which to validate, up to ``range(steps + 1)`` for all; by default 0,
            ``steps`` and 24 evenly between.
        plan: How to execute: ``"auto"``, or a ``Plan``. Answers agree between plans to float rounding.
        devices: Where to run, by default on all devices; the seeds are divided among them.
        memory_budget: Bytes for carries, batches and temporaries, on each accelerator or in all on a CPU; by default a
            part of what is there.
        progress: Show a progress bar (needs ``lrjax[progress]``).
        checkpoint: A folder to save in as the test goes on (needs ``lrjax[checkpoint]``); where it holds this test's
            state, the test resumes from there.

    Returns:
        The losses along the ramp, a ``RampTest``; with ``groups`` a dict of them by label. Batches that end early end
        the ramp there: ``steps_done`` and ``note`` say so.

    Raises:
        TypeError: Where an argument is of the wrong kind.
        ValueError: Where an argument is out of range or does not go with another, or the checkpoint is another test's.

    Example:
        >>> import jax.numpy as jnp, numpy as np, optax
        >>> from lrjax.finder import ramp_test, suggest
        >>> def loss_fn(params, batch):
        ...     return jnp.mean((batch @ params - 1.0) ** 2)
        >>> result = ramp_test(loss_fn, jnp.zeros(2), np.ones((100, 4, 2), np.float32), optax.sgd)
        >>> result
        RampTest(100 steps from 1e-07 to 10, exponential, 1 seeds)
        >>> print(f"stopped at {result.learning_rates[result.stopped_at[0]]:.2f}")
        stopped at 4.75
        >>> print(f"suggests {suggest(result, 'minimum').learning_rate:.2f}")
        suggests 0.19

    Source: Smith, arXiv:1506.01186; with rates evenly spaced in their logarithm, fastai's ``lr_find``.
    """
    how = execution.execution(_CALL, "finite", plan, devices, memory_budget, progress, checkpoint)
    steps = _checks.count(_CALL, "steps", steps, low=2)
    rates = _rates(min_value, max_value, steps, spacing)
    smoothing = _checks.number(_CALL, "smoothing", smoothing, low=0, below=1)
    if stop_factor is not None:
        stop_factor = _checks.number(_CALL, "stop_factor", stop_factor, above=0)
    held = {} if groups is None else _held(groups)
    seed_numbers = arguments.seeds(_CALL, seeds)
    contracts.factory(_CALL, optimizer)
    labels = list(held)
    if labels:
        _check_labels(optimizer, labels)
    ramps = {label: _where_ramped(rates, held, label) for label in labels} if labels else rates[None]
    ran = supervised_lanes.train(
        how,
        loss_fn,
        params,
        batches,
        optimizer,
        ramps,
        seed_numbers,
        steps=steps,
        rng=rng,
        model_state=model_state,
        validation=validation,
        evaluate=evaluate,
        validation_steps=validation_steps,
        parts=VALIDATION_PARTS,
        rate_at=_rate_at,
        label=lambda k: f"the best seed of {labels[k]!r}" if labels else "the best seed",
    )
    fields = outcomes(ran, (max(1, len(labels)), len(seed_numbers)))
    results = [
        RampTest(
            learning_rates=rates[: ran.steps_done],
            seeds=seed_numbers,
            spacing=spacing,
            smoothing=smoothing,
            stop_factor=stop_factor,
            **fields | {name: fields[name][k] for name in ("losses", "validation_losses", "status", "lost_at")},
        )
        for k in range(max(1, len(labels)))
    ]
    if not labels:
        return results[0]
    return {
        label: replace(result, note=" ".join(filter(None, [_what_is_held(held, label), result.note])))
        for label, result in zip(labels, results, strict=True)
    }


def _rate_at(ramp: PyTree, step: jax.Array) -> PyTree:
    """The rates of a step, of a tree of ramps ``[S]``."""
    return jax.tree.map(lambda rates: rates[step], ramp)


def _rates(min_value: Any, max_value: Any, steps: int, spacing: Any) -> np.ndarray:
    """The rate of every update, ``[S]``; its ends are the values given, to the last digit."""
    low = float(_checks.number(_CALL, "min_value", min_value, above=0))
    high = float(_checks.number(_CALL, "max_value", max_value, above=0))
    arguments.rates(_CALL, "min_value", [low])
    if np.float32(high) <= np.float32(low):
        _checks.refuse(_CALL, "max_value", "greater than min_value", f"{high:g} with {low:g}")
    _checks.choice(_CALL, "spacing", spacing, SPACINGS)
    return np.geomspace(low, high, steps) if spacing == "exponential" else np.linspace(low, high, steps)


def _held(groups: Any) -> dict[str, float]:
    """Labels and the rates at which they are held."""
    if not (isinstance(groups, Mapping) and all(isinstance(label, str) for label in groups)):
        _checks.refuse_type(_CALL, "groups", "a dict from labels to rates", groups)
    if not groups:
        _checks.refuse(_CALL, "groups", "a dict with at least one label", "an empty dict")
    return {label: float(_checks.number(_CALL, f"groups[{label!r}]", rate, low=0)) for label, rate in groups.items()}


def _check_labels(optimizer: OptimizerFactory, labels: list[str]) -> None:
    """Refuse an optimizer that is no function of a dict of rates with these labels."""
    rate = trees.shaped((), np.float32)
    try:
        jax.eval_shape(lambda rates: (optimizer(rates), None)[1], dict.fromkeys(labels, rate))
    except KeyError as error:
        missing = f"a dict with every label that optimizer asks for, such as {error}"
        raise ValueError(f"`{_CALL}(groups=...)` must be {missing}, got {', '.join(labels)}") from error
    except contracts.TRACE_ERRORS:  # refused with the parameters at hand, whatever the rates
        return
    except TypeError as error:
        raise TypeError(
            f"`{_CALL}(optimizer=...)` must be a function of a dict of rates for groups=: {error}"
        ) from error


def _where_ramped(rates: np.ndarray, held: dict[str, float], label: str) -> np.ndarray:
    """The rates of a label in the ramp of every label, ``[G, S]``: held but in its own."""
    return np.stack([rates if ramped == label else np.full(len(rates), held[label]) for ramped in held])


def _what_is_held(held: dict[str, float], label: str) -> str:
    """The note of one ramp of several."""
    others = ", ".join(f"{name!r} held {rate:.3g}" for name, rate in held.items() if name != label)
    return f"The rate of {label!r} is ramped{f' while {others}' if others else ''}."
