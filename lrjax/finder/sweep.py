"""The general engine: any functional loop, run for many hyperparameters side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any, Literal

import jax
import numpy as np

from lrjax import _checks
from lrjax.finder import arguments, contracts, execution, trees
from lrjax.finder.batches import Nothing, Source
from lrjax.finder.keeping import Keep
from lrjax.finder.plan import Plan
from lrjax.finder.request import Readings
from lrjax.finder.segments import Loop
from lrjax.finder.status import remedies
from lrjax.typing import PyTree

_CALL = "sweep"


@dataclass(frozen=True, eq=False, repr=False)
class Sweep:
    """The result of ``sweep``: K lanes, S steps, V evaluations.

    Attributes:
        hyperparams: As given, as host arrays.
        metrics: ``[K, S, ...]`` by name; NaN once a lane is lost or dropped (0 in a metric of whole numbers).
        metric: The one by which lanes are lost and compared.
        validation_steps: ``[V]``, the updates that came before each evaluation; V is 0 without ``evaluate``.
        validation_losses: ``[K, V]``; NaN once a lane is lost or dropped.
        status: ``[K]``: ``"finite"``, ``"diverged"``, or ``"dropped"`` for better ones.
        lost_at: ``[K]``, the first update whose metric, or the first number of updates whose evaluation, was not
            finite, or the number of updates after which the lane was dropped; -1 where neither.
        steps_done: Updates done, S.
        plan: How it was executed, and why so.
        note: What else a reader should know, empty where there is nothing.
    """

    hyperparams: PyTree
    metrics: dict[str, np.ndarray]
    metric: str
    validation_steps: np.ndarray
    validation_losses: np.ndarray
    status: np.ndarray
    lost_at: np.ndarray
    steps_done: int
    plan: Plan
    note: str

    def __repr__(self) -> str:
        """The size of the sweep, in a line."""
        return f"Sweep({len(self.status)} lanes, {self.steps_done} steps, metrics {', '.join(self.metrics)})"

    def __str__(self) -> str:
        """The size, the best lane, what became of the others and what to do about it, the plan and the note."""
        lines = [repr(self)]
        last = self.metrics[self.metric][:, -1] if self.steps_done else np.zeros(0)
        if np.isfinite(last).any():
            best = int(np.nanargmin(np.where(np.isfinite(last), last, np.nan)))
            chosen = jax.tree.map(lambda leaf: f"{leaf[best]:.4g}" if leaf.ndim == 1 else "...", self.hyperparams)
            text = _checks.shown(chosen).replace("'", "")
            lines.append(f"lowest last {self.metric}: {last[best]:.4g} in lane {best}, {text}")
        return "\n".join([*lines, *remedies(self.status), f"plan: {self.plan}", *filter(None, [self.note])])


def sweep(
    init: Callable[[PyTree, Any], PyTree],
    step: Callable[[PyTree, PyTree], tuple[PyTree, dict[str, Any]]],
    hyperparams: PyTree,
    batches: Any,
    *,
    steps: int | None = None,
    rng: PyTree = None,
    evaluate: Callable[[PyTree, PyTree], jax.Array] | None = None,
    validation: PyTree = None,
    validation_steps: Sequence[int] | None = None,
    metric: str | None = None,
    keep: Keep = "finite",
    plan: Plan | Literal["auto"] = "auto",
    devices: Sequence[jax.Device] | None = None,
    memory_budget: int | None = None,
    progress: bool = False,
    checkpoint: str | PathLike[str] | None = None,
) -> Sweep:
    """Run a functional loop for many hyperparameters side by side, on the same batches.

    A lane ``k`` is ``carry = init(hyperparams[k], rng)``, then ``carry, metrics = step(carry, batch)`` for each batch:
    a training, a simulation, an agent in its environment. Lanes never see one another, and the plan by which they are
    executed changes an answer by float rounding only. ``init``, ``step`` and ``evaluate`` are pure and traceable by
    JAX; they are traced once, however many lanes and groups there are.

    Args:
        init: ``init(hyperparams, rng) -> carry`` of one lane, a pytree of arrays.
        step: ``step(carry, batch) -> (carry, metrics)`` of one lane; the carry keeps its structure, shapes and dtypes,
            and ``metrics`` is a dict of arrays by name.
        hyperparams: A pytree of arrays that lead with the lanes, ``[K, ...]``.
        batches: A tuple, dict, NamedTuple, registered dataclass or array, stacked with a leading axis of steps; or a
            list or any other iterable that yields batches, each pulled once, the next ones while the device works; or
            None for a loop that needs none. What has a length is gone through again where ``steps`` exceeds it.
        steps: Updates of every lane; by default as many as there are batches.
        rng: A key, or whatever all lanes share; ``init`` gets it as it is.
        evaluate: ``evaluate(carry, batch) -> scalar``, smaller is better, read on ``validation``.
        validation: One batch, or a list of batches whose values are averaged.
        validation_steps: Numbers of updates after which to evaluate; by default 0, ``steps`` and 9 evenly between.
        metric: The metric by which a lane is lost, when it is not finite, and by which lanes are compared; by default
            ``"loss"``, or the only one.
        keep: ``"finite"`` drops lanes that are lost, at each tenth of the steps; ``"all"`` runs them to the end;
            ``Halving()`` goes on with the better part at each of its rungs.
        plan: ``"auto"``, or a ``Plan``.
        devices: Where to run, by default on all devices; the lanes are divided among them. Where they belong to several
            processes (``jax.distributed``), each of these makes the same call, runs its part of the lanes and gets the
            whole result.
        memory_budget: Bytes for carries, batches and temporaries, on each accelerator or in all on a CPU; by default a
            part of what is there. Lanes that do not fit run one wave after another.
        progress: Show a progress bar (needs ``lrjax[progress]``).
        checkpoint: A folder to save in as the sweep goes on (needs ``lrjax[checkpoint]``); where it holds this sweep's
            state, the sweep resumes from there.

    Returns:
        The metrics of every lane and what became of it. Batches that end early, raise or change shape end the sweep
        there: its ``steps_done`` and ``note`` say so.

    Raises:
        TypeError: Where an argument is of the wrong kind.
        ValueError: Where an argument is out of range or does not go with another, or the checkpoint is another sweep's.

    Example:
        >>> import jax.numpy as jnp, numpy as np
        >>> from lrjax.finder import sweep
        >>> def init(hyperparams, rng):  # a ball on a spring, started at rest
        ...     return {"stiffness": hyperparams["stiffness"], "x": jnp.float32(1), "v": jnp.float32(0)}
        >>> def step(ball, _):
        ...     v = ball["v"] - 0.1 * ball["stiffness"] * ball["x"]
        ...     x = ball["x"] + 0.1 * v
        ...     return ball | {"x": x, "v": v}, {"energy": 0.5 * (v**2 + ball["stiffness"] * x**2)}
        >>> result = sweep(init, step, {"stiffness": np.float32([1, 100, 500])}, None, steps=100)
        >>> print(result.status, result.metrics["energy"].shape)
        ['finite' 'finite' 'diverged'] (3, 100)

    Source: the pattern of ``jax.lax.scan`` under ``jax.vmap``, cut into calls that fit the machine.
    """
    how = execution.execution(_CALL, keep, plan, devices, memory_budget, progress, checkpoint)
    known_as = (_CALL, init, step, evaluate)
    loop = Loop(contracts.init(_CALL, init), contracts.step(_CALL, step), evaluate, known_as)
    arrays = arguments.hyperparams(_CALL, hyperparams)
    shared = None if rng is None else jax.tree.map(jax.numpy.asarray, trees.of_arrays(_CALL, "rng", rng))
    source: Source = Nothing() if batches is None else execution.source_of(how, batches)
    steps = execution.updates(_CALL, steps, source)
    readings = _readings(evaluate, validation, validation_steps, steps)
    lane = execution.traced(loop, arrays, shared, source.batch)
    metric = contracts.metric(_CALL, lane, metric)
    if evaluate is not None:
        for batch in readings.batches:
            contracts.reading(_CALL, evaluate, lane.carry, batch, known_as)
    ran = execution.run(
        how,
        loop,
        lane,
        arrays,
        shared,
        source,
        steps,
        readings,
        metric=metric,
        label=lambda lane: f"lane {lane}",
        fields=execution.digests(rng=shared),
    )
    lost_at, status = execution.lost_and_status(ran)
    return Sweep(
        hyperparams=arrays,
        metrics=ran.metrics,
        metric=metric,
        validation_steps=ran.validation_steps,
        validation_losses=ran.readings,
        status=status,
        lost_at=lost_at,
        steps_done=ran.steps_done,
        plan=ran.plan,
        note=ran.note,
    )


def _readings(evaluate: Any, validation: PyTree, validation_steps: Sequence[int] | None, steps: int) -> Readings:
    """What to evaluate on and when; no steps where nothing is evaluated."""
    if evaluate is None or validation is None:
        alone = (("evaluate", evaluate, "validation"), ("validation", validation, "evaluate"))
        for argument, value, missing in (*alone, ("validation_steps", validation_steps, "validation")):
            if value is not None:
                got = f"a {type(value).__name__}"
                _checks.refuse(_CALL, argument, f"left out where there is no {missing}=", got)
        return Readings([], [])
    contracts.accepts(_CALL, "evaluate", evaluate, ["carry", "batch"])
    at = arguments.validation_steps(_CALL, validation_steps, steps)
    return Readings(execution.validation_batches(_CALL, validation), at)
