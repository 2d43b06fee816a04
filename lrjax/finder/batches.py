"""Where the batches of a test come from: stacked arrays, anything that yields them, or nowhere.

A source hands out chunks of stacked host arrays in order, each batch once. It knows the shape of one batch beforehand,
so that everything is checked and compiled before the first step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from lrjax import _checks
from lrjax.finder import trees
from lrjax.typing import PyTree

CHUNK_STEPS = 64
"""Most steps of one chunk."""

CHUNK_BYTES = 2**26
"""Most bytes of a chunk by default, unless a single batch is larger."""

CHUNK_SHARE = 16
"""The part of the memory budget, one in so many, that a chunk may take."""

_END = object()


class Chunk(NamedTuple):
    """``steps`` batches, the i-th at index ``(first + i) % length`` of leaves that are ``length`` long."""

    batches: PyTree
    first: int
    steps: int


class EndOfBatches(Exception):  # noqa: N818 (an event, as StopIteration is)
    """No further batch; the text is the cause and what to do about it."""


class Source(Protocol):
    """Batches in the order of the steps."""

    length: int | None
    """Batches until it starts again, None where it never does."""

    @property
    def batch(self) -> PyTree:
        """The shapes of one batch."""

    @property
    def most(self) -> int:
        """Most steps of a chunk."""

    @property
    def chunk(self) -> PyTree:
        """The shapes of the batches of every chunk, whatever its number of steps."""

    def take(self, count: int) -> Chunk:
        """The next batches, at least one and at most ``count``; raises EndOfBatches."""


def batch_source(call: str, batches: Any, chunk_bytes: int = CHUNK_BYTES) -> Source:
    """The source that ``batches`` is: a list or an iterable leaf yields batches, any other pytree is stacked."""
    wanted = "a pytree of arrays that lead with a step axis, or an iterable of batches"
    if isinstance(batches, str | bytes) or batches is None:
        _checks.refuse_type(call, "batches", wanted, batches)
    is_array = hasattr(batches, "shape") and hasattr(batches, "dtype")
    is_leaf = jax.tree_util.all_leaves([batches])
    if is_array or not (is_leaf or isinstance(batches, list)):
        return Stacked(call, batches, chunk_bytes)
    if not isinstance(batches, Iterable):
        _checks.refuse_type(call, "batches", wanted, batches)
    return Stream(call, batches, chunk_bytes)


class Nothing:
    """A step that needs no batches, as in a simulation: each batch is None."""

    length: int | None = None
    batch: PyTree = None
    chunk: PyTree = None
    most = CHUNK_STEPS

    def take(self, count: int) -> Chunk:
        """Steps without batches."""
        return Chunk(None, 0, min(count, CHUNK_STEPS))


class Stacked:
    """Batches in memory, stacked along the first axis of every leaf."""

    def __init__(self, call: str, batches: PyTree, chunk_bytes: int) -> None:
        """Check the step axes."""
        self._batches = trees.of_arrays(call, "batches", batches)
        self._length = trees.leading_axis(call, "batches", self._batches, "steps")
        self._taken = 0
        self._bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(self._batches))
        self.length: int | None = self._length
        self._chunk_bytes = chunk_bytes
        self.whole = self._bytes <= chunk_bytes
        """Whether every chunk is all of the batches, which then go to the device once."""

    @property
    def batch(self) -> PyTree:
        """The leaves without their step axis."""
        return jax.tree.map(trees.without_lanes, self._batches)

    @property
    def chunk(self) -> PyTree:
        """All batches, or as many as a chunk's bytes hold."""
        return _stacked(self.batch, self._length if self.whole else self._capacity)

    @property
    def most(self) -> int:
        """As many as a chunk's bytes hold, where chunks are copied."""
        return CHUNK_STEPS if self.whole else self._capacity

    @property
    def _capacity(self) -> int:
        """Most batches of a chunk that is copied."""
        return _capacity(self._bytes // self._length, self._chunk_bytes)

    def take(self, count: int) -> Chunk:
        """All batches, and where among them the next ones are; of large ones a copy of the next."""
        first = self._taken % self._length
        steps = min(count, self.most)
        self._taken += steps
        if self.whole:
            return Chunk(self._batches, first, steps)
        places = (first + np.minimum(np.arange(self._capacity), steps - 1)) % self._length
        return Chunk(jax.tree.map(lambda leaf: np.asarray(leaf[places]), self._batches), 0, steps)


class Stream:
    """Batches pulled one a step from an iterable, and from its start again where it has a length."""

    def __init__(self, call: str, batches: Iterable[Any], chunk_bytes: int) -> None:
        """Nothing is pulled before it is needed."""
        self._chunk_bytes = chunk_bytes
        self._call = call
        self._iterable = batches
        self._iterator: Iterator[Any] | None = None
        self._in_pass = 0
        self._taken = 0
        self._end: EndOfBatches | None = None
        self.length = _length(batches)

    @cached_property
    def batch(self) -> PyTree:
        """The structure, shapes and dtypes of the first batch, which all others must have."""
        return jax.tree.map(trees.shape_of, self._first)

    @cached_property
    def _first(self) -> PyTree:
        """The first batch."""
        try:
            first = self._next()
        except EndOfBatches as end:
            _checks.refuse(self._call, "batches", "an iterable that yields batches", f"none: {end}")
        if not jax.tree.leaves(first):
            _checks.refuse(self._call, "batches", "an iterable that yields batches of arrays", _checks.shown(first))
        return first

    @property
    def chunk(self) -> PyTree:
        """As many as a chunk's bytes hold."""
        return _stacked(self.batch, self.most)

    @cached_property
    def most(self) -> int:
        """As many as a chunk's bytes hold."""
        return _capacity(sum(leaf.nbytes for leaf in jax.tree.leaves(self._first)), self._chunk_bytes)

    def take(self, count: int) -> Chunk:
        """The next batches, stacked into leaves of one length, so that one program serves all chunks."""
        batches: list[PyTree] = []
        while self._end is None and len(batches) < min(count, self.most):
            try:
                batches.append(self._next_like_first() if self._taken else self._first)
                self._taken += 1
            except EndOfBatches as end:
                self._end = end
        if self._end is not None and not batches:
            raise self._end
        filled = batches + [batches[-1]] * (self.most - len(batches))
        return Chunk(jax.tree.map(lambda *leaves: np.stack(leaves), *filled), 0, len(batches))

    def _next(self) -> PyTree:
        """The next batch as host arrays, from a new pass where a sized iterable has ended its own."""
        try:
            if self._iterator is None or (self.length and self._in_pass >= self.length):
                self._iterator, self._in_pass = iter(self._iterable), 0
            batch = next(self._iterator, _END)
            arrays = None if batch is _END else trees.of_arrays(self._call, "batches", jax.tree.map(np.asarray, batch))
        except Exception as error:  # a loader may raise anything; the cause is kept
            raise EndOfBatches(f"the iterable raised {error!r}; repair it and run again") from error
        if batch is _END:
            raise EndOfBatches("the iterable was exhausted; give it more batches, or ask for fewer steps")
        self._in_pass += 1
        return arrays

    def _next_like_first(self) -> PyTree:
        """The next batch, of the first one's structure, shapes and dtypes."""
        batch = self._next()
        if not trees.alike(batch, self._first):
            raise EndOfBatches(
                f"a batch of {trees.described(batch)} came after batches of {trees.described(self._first)}; "
                "give all batches one structure, shape and dtype (a loader's drop_last=True)"
            )
        return batch


def _length(batches: Iterable[Any]) -> int | None:
    """How many batches one pass says it has, None where it does not say."""
    try:
        return len(batches)  # type: ignore[arg-type]
    except TypeError:  # a loader over an iterable data set has __len__ and refuses it
        return None


def _capacity(batch_bytes: int, chunk_bytes: int) -> int:
    """Batches in a chunk."""
    return min(CHUNK_STEPS, max(1, chunk_bytes // max(batch_bytes, 1)))


def _stacked(batch: PyTree, length: int) -> PyTree:
    """The shapes of so many batches."""
    return jax.tree.map(lambda leaf: trees.shaped((length, *leaf.shape), leaf.dtype), batch)
