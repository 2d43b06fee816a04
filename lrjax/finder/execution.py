"""The options that say how a sweep is executed, and what they are turned into."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from lrjax import _checks
from lrjax.finder import engine, keeping, memory, trees
from lrjax.finder.batches import CHUNK_BYTES, CHUNK_SHARE, Source, batch_source
from lrjax.finder.checkpoint import Checkpoint, digest
from lrjax.finder.engine import Ended
from lrjax.finder.keeping import Halving, Keep
from lrjax.finder.plan import Plan
from lrjax.finder.processes import Processes, checked_devices
from lrjax.finder.progress import progress_bar
from lrjax.finder.recording import Recording
from lrjax.finder.request import Readings, Request
from lrjax.finder.segments import Lane, Loop, trace
from lrjax.typing import PyTree


class Execution(NamedTuple):
    """How to run, checked: the options that ``sweep`` and the tests built on it share."""

    call: str
    keep: Keep
    plan: Plan | None
    devices: list[jax.Device]
    budget: int
    progress: bool
    checkpoint: Any


class Ran(NamedTuple):
    """What the lanes of all processes did."""

    metrics: dict[str, np.ndarray]
    """``[lanes, steps_done, ...]`` each."""
    validation_steps: np.ndarray
    readings: np.ndarray
    """``[lanes, len(validation_steps)]``."""
    lost_at: np.ndarray
    dropped_at: np.ndarray
    steps_done: int
    plan: Plan
    note: str


def execution(
    call: str, keep: Any, plan: Any, devices: Any, memory_budget: Any, progress: Any, checkpoint: Any
) -> Execution:
    """The options as the user gave them, refused where they are wrong."""
    if not (isinstance(plan, Plan) or (isinstance(plan, str) and plan == "auto")):
        if isinstance(plan, str):
            _checks.refuse(call, "plan", "'auto' or Plan(...)", repr(plan))
        _checks.refuse_type(call, "plan", "'auto' or Plan(...)", plan)
    chosen = checked_devices(call, devices)
    here = [device for device in chosen if device.process_index == jax.process_index()]
    if isinstance(plan, Plan) and plan.devices is not None and plan.devices > len(here):
        _checks.refuse(call, "plan", f"one for at most as many devices as there are, {len(here)}", str(plan.devices))
    return Execution(
        call,
        keeping.checked(call, keep),
        plan if isinstance(plan, Plan) else None,
        chosen,
        memory.budget(call, memory_budget, here),
        _checks.flag(call, "progress", progress),
        checkpoint,
    )


def source_of(how: Execution, batches: Any) -> Source:
    """The batches, in chunks that take a small part of the memory; a recording is a source already."""
    if isinstance(batches, Recording):
        return batches
    return batch_source(how.call, batches, min(CHUNK_BYTES, max(1, how.budget // CHUNK_SHARE)))


def updates(call: str, steps: Any, source: Source) -> int:
    """The updates of a lane: those asked for, or one for each batch."""
    if steps is not None:
        return int(_checks.count(call, "steps", steps, low=1))
    if source.length is None:
        _checks.refuse(call, "steps", "given where batches have no length, as a generator has none", "None")
    return source.length


def traced(loop: Loop, hyperparams: PyTree, shared: PyTree, batch: PyTree) -> Lane:
    """One lane of hyperparameters that lead with the lanes."""
    return trace(loop, jax.tree.map(trees.without_lanes, hyperparams), shared, batch)


def run(
    how: Execution,
    loop: Loop,
    lane: Lane,
    hyperparams: PyTree,
    shared: PyTree,
    source: Source,
    steps: int,
    readings: Readings,
    *,
    metric: str,
    units: np.ndarray | None = None,
    label: Callable[[int], str],
    fields: Callable[[], dict[str, str]],
) -> Ran:
    """Run all lanes, wherever they are to run.

    Args:
        how: The options.
        loop: What a lane does.
        lane: One lane, traced.
        hyperparams: Host arrays that lead with the lanes.
        shared: What every lane starts with besides.
        source: The batches.
        steps: Updates of a lane.
        readings: What to evaluate on, and when.
        metric: By which lanes are lost and compared.
        units: Lanes of one number are kept or dropped together; by default each by itself.
        label: How the progress bar names a lane.
        fields: What a checkpoint must agree in besides, asked for where there is one.

    Returns:
        The same in every process.
    """
    if readings.steps and isinstance(how.keep, Halving):  # lanes are compared by a reading of that moment
        readings = readings._replace(steps=sorted({*readings.steps, *how.keep.at(steps)}))
    lanes = jax.tree.leaves(hyperparams)[0].shape[0]
    processes = Processes(how.devices, lanes)
    checkpoint = None
    if how.checkpoint is not None:
        checkpoint = Checkpoint(how.call, how.checkpoint, processes.index, processes.count)

    def local(lane: int) -> str:
        return label(int(processes.lanes[lane]))

    with progress_bar(how.call, steps, len(processes.lanes), local, shown=how.progress) as watch:
        outcome = engine.run(
            Request(
                call=how.call,
                loop=loop,
                lane=lane,
                hyperparams=hyperparams,
                shared=shared,
                source=source,
                steps=steps,
                readings=readings,
                metric=metric,
                keep=how.keep,
                units=np.arange(lanes) if units is None else units,
                plan=how.plan,
                processes=processes,
                budget=how.budget,
                checkpoint=checkpoint,
                fields=fields() if checkpoint is not None else {},
                watch=watch,
            )
        )
    history, done = outcome.history, outcome.done
    at = [step for step in readings.steps if step <= done]
    if outcome.ended.what and readings.steps and done not in at and processes.count == 1:
        at.append(done)
    metrics, values = history.ended(done, at)
    return Ran(
        {name: processes.joined(part) for name, part in metrics.items()},
        np.array(at, np.int64),
        processes.joined(values),
        processes.joined(history.lost_at),
        processes.joined(history.dropped_at),
        done,
        outcome.plan,
        _note(outcome.ended, source, steps, done),
    )


def _note(ended: Ended, source: Source, steps: int, done: int) -> str:
    """Batches that ended early, or that were gone through again."""
    if ended.what:
        return f"The {ended.what} after {done} of {steps} steps: {ended.cause}."
    if source.length is not None and steps > source.length:
        return f"The {source.length} batches were gone through {steps / source.length:.3g} times."
    return ""


def lost_and_status(ran: Ran) -> tuple[np.ndarray, np.ndarray]:
    """``[lanes]`` each: where a lane was lost or dropped, -1 where it was not, and what became of it."""
    is_lost, is_dropped = ran.lost_at >= 0, (ran.dropped_at >= 0) & (ran.lost_at < 0)
    status = np.where(is_lost, "diverged", np.where(is_dropped, "dropped", "finite"))
    return np.where(is_lost, ran.lost_at, np.where(is_dropped, ran.dropped_at, -1)), status


def digests(**trees_by_name: PyTree) -> Callable[[], dict[str, str]]:
    """The fields of a checkpoint's manifest that hash these trees."""
    return lambda: {name: digest(tree) for name, tree in trees_by_name.items()}


def validation_batches(call: str, validation: PyTree) -> Sequence[PyTree]:
    """One batch or a list of batches, of arrays."""
    batches = validation if isinstance(validation, list) else [validation]
    arrays = [trees.of_arrays(call, "validation", batch) for batch in batches]
    if not all(jax.tree.leaves(batch) for batch in arrays) or not arrays:
        _checks.refuse(call, "validation", "a batch or a list of batches", _checks.shown(validation))
    return arrays
