"""Batches that can be pulled only once, for several runs one after another."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from lrjax.finder.batches import Chunk, EndOfBatches, Source, Stream
from lrjax.finder.feed import Spill
from lrjax.typing import PyTree


class Recording:
    """A source that remembers what it hands out, and after ``rewind`` hands out the same again.

    The batches are kept in memory up to a number of bytes, and in temporary files beyond it.
    """

    def __init__(self, source: Source, memory_bytes: int) -> None:
        """Nothing is pulled before it is needed."""
        self._source = source
        self._spill = Spill(memory_bytes)
        self._chunks: list[Chunk] = []
        self._end: EndOfBatches | None = None
        self._place = self._used = 0
        self.length = source.length

    @property
    def batch(self) -> PyTree:
        """As the source's."""
        return self._source.batch

    @property
    def most(self) -> int:
        """As the source's."""
        return self._source.most

    @property
    def chunk(self) -> PyTree:
        """As the source's."""
        return self._source.chunk

    def take(self, count: int) -> Chunk:
        """The next batches: recorded, or new from the source and from now on recorded."""
        if self._place == len(self._chunks):
            self._record(count)
        chunk = self._chunks[self._place]
        steps = min(count, chunk.steps - self._used)
        places = np.minimum(self._used + np.arange(self.most), chunk.steps - 1)
        self._used += steps
        if self._used == chunk.steps:
            self._place, self._used = self._place + 1, 0
        return Chunk(jax.tree.map(lambda leaf: np.asarray(leaf[places]), chunk.batches), 0, steps)

    def _record(self, count: int) -> None:
        """Pull a chunk and keep its batches, without those that only fill it up."""
        if self._end is not None:
            raise self._end
        try:
            chunk = self._source.take(count)
        except EndOfBatches as end:
            self._end = end
            raise
        batches = jax.tree.map(lambda leaf: np.array(leaf[: chunk.steps]), chunk.batches)
        self._chunks.append(chunk._replace(batches=self._spill.put(batches)))

    def rewind(self) -> None:
        """Begin again with the first batch."""
        self._place = self._used = 0

    def close(self) -> None:
        """Remove what is on disk."""
        self._spill.close()


def is_pulled_once(batches: Any, source: Source) -> bool:
    """Whether another source of the same ``batches`` may give others: an iterator, or a loader that shuffles."""
    return isinstance(source, Stream) and not isinstance(batches, list)
