"""The compiled parts of a sweep: groups of lanes started, advanced by some steps, and read.

The state of a group is a flat list of arrays that lead with its lanes: the leaves of the carries (keys as their data),
then for every metric a buffer of the chunk's steps, ``[lanes, CHUNK_STEPS]``, so that a chunk is fetched at once,
however many calls it took.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

from lrjax.finder import trees
from lrjax.finder.batches import CHUNK_STEPS, Chunk
from lrjax.finder.plan import Plan
from lrjax.finder.programs import Program, compiled, remembered
from lrjax.finder.work import Work, work_of
from lrjax.typing import PyTree

Metrics = dict[str, Any]


class Loop(NamedTuple):
    """What one lane does, and the functions that say so by their identity (None where they are made anew)."""

    init: Callable[[PyTree, PyTree], PyTree]
    """``init(hyperparams, shared) -> carry``."""
    step: Callable[[PyTree, PyTree], tuple[PyTree, Metrics]]
    """``step(carry, batch) -> (carry, metrics)``."""
    evaluate: Callable[[PyTree, PyTree], jax.Array] | None
    """``evaluate(carry, batch) -> scalar``."""
    known_as: tuple[Any, ...] | None


class Lane(NamedTuple):
    """One lane, traced: the user's functions are not called again, whatever the groups."""

    init: ClosedJaxpr
    step: ClosedJaxpr
    carry: PyTree
    """Shapes of the carry as the user's functions have it."""
    raw: list[jax.ShapeDtypeStruct]
    """Shapes of its leaves with the keys as their data."""
    key_kinds: list[Any]
    """For every leaf the implementation of the key it is, or None."""
    metrics: dict[str, jax.ShapeDtypeStruct]
    work: Work


def trace(loop: Loop, hyperparams: PyTree, shared: PyTree, batch: PyTree) -> Lane:
    """One lane at the shapes of these arguments; ``hyperparams`` and ``shared`` without a lane axis."""
    shapes = jax.tree.map(trees.shape_of, (hyperparams, shared, batch))

    def make() -> Lane:
        key_kinds: list[Any] = []

        def start(hyperparams: PyTree, shared: PyTree) -> PyTree:
            carry = jax.tree.map(trees.strong, loop.init(hyperparams, shared))
            key_kinds.extend(
                jax.random.key_impl(leaf) if trees.is_key(leaf) else None for leaf in jax.tree.leaves(carry)
            )
            return carry

        init, carry = jax.make_jaxpr(start, return_shape=True)(*shapes[:2])
        carry = jax.tree.map(trees.shape_of, carry)
        step, (_, metrics) = jax.make_jaxpr(loop.step, return_shape=True)(carry, shapes[2])
        raw = jax.eval_shape(lambda *leaves: [trees.raw(leaf) for leaf in leaves], *jax.tree.leaves(carry))
        return Lane(init, step, carry, raw, key_kinds, metrics, work_of(step))

    if loop.known_as is None:
        return make()
    return remembered(("trace", *loop.known_as, *trees.form(shapes)), make)


class Segments:
    """The programs of a sweep, made as groups of new sizes come up."""

    def __init__(self, loop: Loop, lane: Lane, plan: Plan, devices: Sequence[jax.Device]) -> None:
        """For groups on these devices."""
        self._loop, self._lane, self._plan, self._devices = loop, lane, plan, devices
        self.compile_seconds = 0.0
        self._known: dict[tuple[int, int], Program] = {}

    def state(self, size: int) -> list[jax.ShapeDtypeStruct]:
        """The shapes of the state of a group of so many lanes."""
        metrics = jax.tree.leaves(self._lane.metrics)
        carries = [trees.shaped((size, *leaf.shape), leaf.dtype) for leaf in self._lane.raw]
        return [*carries, *(trees.shaped((size, CHUNK_STEPS, *leaf.shape), leaf.dtype) for leaf in metrics)]

    def prepare(self, state: list[Any], chunk: Chunk) -> None:
        """Have the programs that advance such groups by a chunk, so that threads only look them up."""
        for _, count in self.calls(chunk.steps):
            key = state[0].shape[0], self._form(count)
            if key not in self._known:
                self._known[key] = self.advance(state, chunk.batches, count)

    def known_advance(self, size: int, count: int) -> Program:
        """The program that advances groups of that size by ``count`` steps."""
        return self._known[size, self._form(count)]

    def _form(self, count: int) -> int:
        """The number of steps that is written into a program, 0 where it is an argument."""
        return count if self._plan.steps == 1 or self._plan.unroll else 0

    def start(self, hyperparams: PyTree, shared: PyTree) -> Program:
        """``(hyperparams, shared) -> state``."""
        lane = self._lane

        def start(hyperparams: PyTree, shared: PyTree) -> list[jax.Array]:
            def one(hyperparams: PyTree) -> list[jax.Array]:
                return _raw_results(lane.init, *jax.tree.leaves((hyperparams, shared)))

            carries = _over_lanes(one, hyperparams)
            lanes = jax.tree.leaves(hyperparams)[0].shape[0]
            forms = jax.tree.leaves(lane.metrics)
            return [*carries, *(jnp.zeros((lanes, CHUNK_STEPS, *form.shape), form.dtype) for form in forms)]

        return self._compiled("start", start, hyperparams, shared)

    def advance(self, state: list[Any], batches: PyTree, steps: int) -> Program:
        """``(state, batches, base, offset, count) -> state``.

        Advances by ``count`` steps (which is ``steps`` where the program has no loop) from place ``offset`` of the
        chunk, whose place 0 is the batch at ``base``.
        """
        lane = self._lane
        carries = len(lane.raw)
        straight = self._form(steps)

        def advance(
            state: list[jax.Array], batches: PyTree, base: jax.Array, offset: jax.Array, count: jax.Array
        ) -> list[jax.Array]:
            leaves = jax.tree.leaves(batches)

            def one_step(index: Any, state: list[jax.Array]) -> list[jax.Array]:
                place = offset + index
                batch = [
                    jax.lax.dynamic_index_in_dim(leaf, (base + place) % leaf.shape[0], keepdims=False)
                    for leaf in leaves
                ]

                def one(carry: list[jax.Array]) -> list[jax.Array]:
                    return _raw_results(lane.step, *trees.cooked(carry, lane.key_kinds), *batch)

                results = _over_lanes(one, state[:carries])
                buffers = [
                    buffer.at[:, place].set(value)
                    for buffer, value in zip(state[carries:], results[carries:], strict=True)
                ]
                return [*map(trees.strong, results[:carries]), *buffers]

            if not straight:
                return jax.lax.fori_loop(0, count, one_step, state)  # type: ignore[no-any-return]
            for index in range(straight):
                state = one_step(index, state)
            return state

        scalar = trees.shaped((), jnp.int32)
        return self._compiled(f"advance {straight}", advance, state, batches, scalar, scalar, scalar, donate_first=True)

    def read(self, state: list[Any], batch: PyTree) -> Program:
        """``(state, batch) -> value``, a number a lane."""
        loop, lane = self._loop, self._lane
        structure, carries = jax.tree.structure(lane.carry), len(lane.raw)

        def read(state: list[jax.Array], batch: PyTree) -> jax.Array:
            def one(carry: list[jax.Array]) -> jax.Array:
                assert loop.evaluate is not None
                return loop.evaluate(jax.tree.unflatten(structure, trees.cooked(carry, lane.key_kinds)), batch)

            return _over_lanes(one, state[:carries])  # type: ignore[no-any-return]

        return self._compiled("read", read, state, batch)

    def calls(self, steps: int) -> Iterator[tuple[int, int]]:
        """How a chunk of so many steps is cut into calls, as pairs of an offset and a number of steps."""
        offset = 0
        while offset < steps:
            count = min(self._plan.steps, steps - offset)
            if self._plan.unroll and count < self._plan.steps:
                count = 1
            yield offset, count
            offset += count

    def _compiled(self, name: str, function: Callable[..., Any], *args: Any, donate_first: bool = False) -> Program:
        """The program, and its compile time on the account."""
        known_as = self._loop.known_as
        if known_as is not None:
            known_as = (name, *known_as, *trees.form((self._lane.carry, self._lane.metrics)))
        program = compiled(function, *args, devices=self._devices, donate_first=donate_first, known_as=known_as)
        self.compile_seconds += program.compile_seconds
        return program


def _raw_results(closed: ClosedJaxpr, *args: Any) -> list[jax.Array]:
    """What a traced function gives, keys as their data; constants may come as Python numbers."""
    results = zip(jaxpr_as_fun(closed)(*args), closed.out_avals, strict=True)
    return [trees.raw(leaf if hasattr(leaf, "dtype") else jnp.asarray(leaf, aval.dtype)) for leaf, aval in results]


def _over_lanes(function: Callable[[Any], Any], lanes: PyTree) -> Any:
    """``function`` of every lane; of a single one directly, since batching costs some operations their fast form."""
    if jax.tree.leaves(lanes)[0].shape[0] > 1:
        return jax.vmap(function)(lanes)
    result = function(jax.tree.map(lambda leaf: leaf[0], lanes))
    return jax.tree.map(lambda leaf: leaf[None], result)
