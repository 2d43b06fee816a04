"""The engine: a host loop over compiled segments, each of which advances all lanes by some steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lrjax.finder import trees
from lrjax.finder.batches import SEGMENT_STEPS, EndOfBatches, Source
from lrjax.finder.programs import Program, compiled
from lrjax.typing import PyTree

Step = Callable[[Any, PyTree], tuple[Any, dict[str, jax.Array]]]
"""``step(carry, batch) -> (carry, metrics)`` of one lane; the metrics are scalars."""

Read = Callable[[Any, PyTree], jax.Array]
"""``read(carry, batch) -> scalar`` of one lane."""


class Reading(NamedTuple):
    """What is read from every lane, and after which numbers of updates."""

    read: Read
    batches: Sequence[PyTree]
    """The values at these batches are averaged."""
    steps: Sequence[int]


class History(NamedTuple):
    """What the lanes did, with the lanes on the last axis."""

    metrics: dict[str, np.ndarray]
    """``[steps_done, lanes]`` each."""
    reading_steps: list[int]
    readings: np.ndarray
    """``[len(reading_steps), lanes]``."""
    steps_done: int
    ended: str
    """Why the batches ended before the last step, empty where they did not."""


def run_lanes(
    init: Callable[[PyTree, Any], Any],
    step: Step,
    hyperparams: PyTree,
    rng: jax.Array | None,
    source: Source,
    steps: int,
    *,
    reading: Reading,
    watch: Callable[[dict[str, np.ndarray]], None],
) -> History:
    """Run every lane for ``steps`` updates on the same batches.

    Args:
        init: ``init(hyperparams, rng) -> carry`` of one lane.
        step: One update of one lane.
        hyperparams: A pytree whose leaves lead with the lane axis.
        rng: The key that all lanes share, or None.
        source: The batches.
        steps: Updates of a lane.
        reading: What to read between the updates; where the batches end early it is read once more.
        watch: Is told the metrics of every segment, ``[its steps, lanes]`` each.

    Returns:
        The history, shorter than ``steps`` where the batches ended early.
    """
    carry = compiled(jax.vmap(init, in_axes=(0, None)), hyperparams, rng)(hyperparams, rng)
    lanes = jax.tree.leaves(hyperparams)[0].shape[0]
    read = _reader(reading, carry)
    segment: Program | None = None
    metrics: list[dict[str, np.ndarray]] = []
    readings: list[np.ndarray] = []
    reading_steps: list[int] = []
    done, ended = 0, ""

    while True:
        due = done in reading.steps or (ended and reading.steps)
        if due and done not in reading_steps:
            readings.append(read(carry))
            reading_steps.append(done)
        if done == steps or ended:
            break
        stop = min([stop for stop in reading.steps if stop > done], default=steps)
        try:
            batches, first, count = source.take(stop - done)
        except EndOfBatches as end:
            ended = str(end)
            continue
        operands = (carry, batches, np.int32(first), np.int32(count))
        segment = segment or compiled(_segment(step), *operands, donate_first=True)
        carry, buffers = segment(*operands)
        metrics.append({name: np.asarray(buffer)[:count] for name, buffer in buffers.items()})
        watch(metrics[-1])
        done += count

    return History(
        {name: np.concatenate([part[name] for part in metrics]) for name in metrics[0]},
        reading_steps,
        np.reshape(readings, (len(readings), lanes)),
        done,
        ended,
    )


def _segment(step: Step) -> Callable[..., tuple[Any, dict[str, jax.Array]]]:
    """All lanes by ``count`` steps; the trip count is data, so that one program serves every count."""

    def segment(
        carry: PyTree, batches: PyTree, first: jax.Array, count: jax.Array
    ) -> tuple[PyTree, dict[str, jax.Array]]:
        length = jax.tree.leaves(batches)[0].shape[0]

        def one_step(carry: PyTree, index: jax.Array) -> tuple[PyTree, dict[str, jax.Array]]:
            at = (first + index) % length
            batch = jax.tree.map(lambda leaf: jax.lax.dynamic_index_in_dim(leaf, at, keepdims=False), batches)
            return jax.vmap(step, in_axes=(0, None))(carry, batch)

        def body(index: jax.Array, state: tuple[PyTree, dict[str, jax.Array]]) -> tuple[PyTree, dict[str, jax.Array]]:
            carry, metrics = one_step(state[0], index)
            return carry, jax.tree.map(lambda buffer, value: buffer.at[index].set(value), state[1], metrics)

        _, shapes = jax.eval_shape(one_step, carry, jnp.int32(0))
        buffers = jax.tree.map(lambda shape: jnp.zeros((SEGMENT_STEPS, *shape.shape), shape.dtype), shapes)
        advanced: tuple[PyTree, dict[str, jax.Array]] = jax.lax.fori_loop(0, count, body, (carry, buffers))
        return advanced

    return segment


def _reader(reading: Reading, carry: PyTree) -> Callable[[PyTree], np.ndarray]:
    """The mean over the reading's batches, of each lane; one program for all batches of one shape."""
    programs: list[Program] = []
    for batch in reading.batches:
        known = (
            program for other, program in zip(reading.batches, programs, strict=False) if trees.alike(batch, other)
        )
        program = next(known, None)
        programs.append(program or compiled(jax.vmap(reading.read, in_axes=(0, None)), carry, batch))

    def read(carry: PyTree) -> np.ndarray:
        values = [np.asarray(program(carry, batch)) for program, batch in zip(programs, reading.batches, strict=True)]
        with np.errstate(invalid="ignore", over="ignore"):  # a lost lane may sum inf and -inf
            mean: np.ndarray = np.mean(values, axis=0)
        return mean

    return read
