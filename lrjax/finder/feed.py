"""The batches of a sweep on its devices: pulled once, one chunk ahead, kept where several waves of lanes need them."""

from __future__ import annotations

import hashlib
import itertools
import math
import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jax
import numpy as np

from lrjax.finder.batches import Chunk, EndOfBatches, Source, Stacked
from lrjax.typing import PyTree


class Spill:
    """Pytrees of host arrays kept in memory up to a number of bytes, in a temporary folder beyond it."""

    def __init__(self, memory_bytes: int) -> None:
        """Empty; the folder is made when it is needed and is gone when the spill is closed."""
        self._left = memory_bytes
        self._folder: Path | None = None
        self._files = 0
        self._stack = ExitStack()

    def put(self, tree: PyTree) -> PyTree:
        """The tree with leaves that need no memory where they went to the folder."""
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(tree))
        if size <= self._left:
            self._left -= size
            return tree
        return jax.tree.map(self._on_disk, tree)

    def close(self) -> None:
        """Remove the folder."""
        self._stack.close()

    def file(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """An array to be filled, as a file mapped into memory."""
        if not math.prod(shape):
            return np.empty(shape, dtype)
        if self._folder is None:
            self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="lrjax")))
        self._files += 1
        path = self._folder / f"{self._files}"
        mapped = np.memmap(path, dtype, "w+", shape=shape)
        if os.name == "posix":  # the file is gone with the array, however the process ends
            path.unlink()
        return mapped

    def _on_disk(self, leaf: np.ndarray) -> np.ndarray:
        """The array in a file."""
        mapped = self.file(leaf.shape, leaf.dtype)
        mapped[...] = leaf
        return mapped


class Feed:
    """Chunks of batches by the step they begin at, on the devices.

    The cuts between chunks are remembered, so that all waves of lanes see the same ones.
    """

    def __init__(self, source: Source, *, hashed: bool = False) -> None:
        """Batches of ``source``, and a rolling hash of them if asked for."""
        self._source = source
        self._whole: Any = None
        self._keep: Spill | None = None
        self._kept: dict[int, Chunk] = {}
        self._ahead: dict[int, Chunk | EndOfBatches] = {}
        self._resident: PyTree = None
        self._end: tuple[int, EndOfBatches] | None = None
        self._rolling = hashlib.sha256() if hashed else None
        self.hashes = {0: ""}
        """The rolling hash after so many batches, at the ends of chunks."""
        self.cuts = [0]
        """Where the chunks that were asked for begin and end."""

    def place(self, whole: Any, keep: Spill | None) -> None:
        """Send batches to where ``whole`` says; keep them there for further waves of lanes."""
        self._whole, self._keep = whole, keep
        for start, chunk in self._ahead.items():
            if isinstance(chunk, Chunk):
                self._ahead[start] = self._sent(self._remembered(start, chunk))

    def close(self) -> None:
        """Remove what was kept on disk."""
        if self._keep is not None:
            self._keep.close()

    def peek(self, stop: int) -> Chunk:
        """The first chunk as host arrays, before anything was asked for."""
        if 0 not in self._ahead:
            self._ahead[0] = self._pulled(0, stop)
        chunk = self._ahead[0]
        assert isinstance(chunk, Chunk)
        return chunk

    def skip(self, cuts: list[int]) -> int:
        """Pull and discard, or keep, the chunks between these cuts; the number of batches that came."""
        for start, stop in itertools.pairwise(cuts):
            try:
                ahead = self._ahead.pop(start, None)
                chunk = ahead if isinstance(ahead, Chunk) else self._pulled(start, stop)
            except EndOfBatches:
                break
            self.cuts.append(start + chunk.steps)
        return self.cuts[-1]

    def chunk(self, start: int, stop: int) -> Chunk:
        """The batches from step ``start`` on, at least one, not beyond ``stop``; raises EndOfBatches."""
        self.prefetch(start, stop)
        chunk = self._ahead.pop(start)
        if isinstance(chunk, EndOfBatches):
            raise chunk
        if start == self.cuts[-1]:
            self.cuts.append(start + chunk.steps)
        return chunk

    def prefetch(self, start: int, stop: int) -> None:
        """Pull the chunk that begins at ``start``, and send it to the devices."""
        if start in self._ahead:
            return
        try:
            self._ahead[start] = self._sent(self._pulled(start, stop))
        except EndOfBatches as end:
            self._ahead[start] = end

    def _pulled(self, start: int, stop: int) -> Chunk:
        """The chunk as host arrays: kept, or new from the source."""
        if start in self._kept:
            return self._kept[start]
        if self._end is not None and start >= self._end[0]:
            raise self._end[1]
        try:
            chunk = self._source.take(stop - start)
        except EndOfBatches as end:
            self._end = (start, end)
            raise
        self._hash(chunk, start + chunk.steps)
        return self._remembered(start, chunk)

    def _remembered(self, start: int, chunk: Chunk) -> Chunk:
        """The chunk, kept for further waves where there are some."""
        if self._keep is not None:
            batches = chunk.batches if self._is_whole else self._keep.put(chunk.batches)
            self._kept[start] = chunk._replace(batches=batches)
        return chunk

    @property
    def _is_whole(self) -> bool:
        """Whether all chunks are the same arrays."""
        return isinstance(self._source, Stacked) and self._source.whole

    def _sent(self, chunk: Chunk) -> Chunk:
        """The chunk with its arrays on the devices."""
        if not self._is_whole:
            return chunk._replace(batches=jax.device_put(chunk.batches, self._whole))
        if self._resident is None:
            self._resident = jax.device_put(chunk.batches, self._whole)
        return chunk._replace(batches=self._resident)

    def _hash(self, chunk: Chunk, count: int) -> None:
        """Take the chunk's batches into the rolling hash."""
        if self._rolling is None:
            return
        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(chunk.batches)]
        for place in range(chunk.first, chunk.first + chunk.steps):
            for leaf in leaves:
                self._rolling.update(np.ascontiguousarray(leaf[place % len(leaf)]).tobytes())
        self.hashes[count] = self._rolling.hexdigest()
