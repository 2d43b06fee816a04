"""A sweep on disk: saved atomically through orbax, and resumed only where it is the same sweep."""

from __future__ import annotations

import hashlib
import json
import os
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import jax
import numpy as np

from lrjax import _checks
from lrjax.finder import trees
from lrjax.typing import PyTree

FORMAT = "lrjax sweep 1"
"""What marks a checkpoint as this library's."""

SHARE = 0.1
"""The most of the time that saving may take: the next save waits for it."""

MAIN = "arrays"
"""The part of a checkpoint that is in memory as a whole."""

_MANIFEST, _INDEX = "manifest", "index.json"


class Checkpoint:
    """A folder with the last state of a sweep, and the manifest that says which sweep it is."""

    def __init__(self, call: str, path: Any, process: int, processes: int) -> None:
        """Open the folder, or refuse what is not one of a sweep; nothing is written yet.

        Args:
            call: The function that the user called.
            path: Where the user wants it; each of several processes has a folder of its own in there.
            process: Which process this is.
            processes: Of how many.
        """
        if not isinstance(path, str | os.PathLike):
            _checks.refuse_type(call, "checkpoint", "a path", path)
        try:
            import orbax.checkpoint as orbax
        except ImportError as error:
            raise ImportError(f"`{call}(checkpoint=...)` needs orbax: pip install 'lrjax[checkpoint]'") from error
        self._call, self._orbax = call, orbax
        whole = Path(path).absolute()
        self._path = whole / (f"process_{process}_of_{processes}" if processes > 1 else "")
        options: dict[str, Any] = {}
        if processes > 1:  # each saves on its own, whenever it likes
            options["multiprocessing_options"] = orbax.options.MultiprocessingOptions(
                primary_host=process, active_processes={process}, barrier_sync_key_prefix=f"lrjax{process}"
            )
        if any(folder.exists() and not folder.is_dir() for folder in (whole, self._path)):
            self._refuse("a file")
        self._steps = sorted(int(entry.name) for entry in self._path.glob("*") if _is_finished(entry))
        foreign = [entry.name for entry in self._path.glob("*") if not self._is_own(entry)]
        if processes > 1:
            foreign += [entry.name for entry in whole.glob("*") if not entry.match(f"process_*_of_{processes}")]
        if foreign:
            self._refuse(f"one that holds {foreign[0]}")
        self._options = orbax.CheckpointManagerOptions(
            max_to_keep=2, enable_async_checkpointing=False, create=False, **options
        )
        self._manager: Any = None
        self._last_end, self._last_seconds = time.perf_counter(), 0.0

    def load(self) -> tuple[dict[str, Any], Iterator[tuple[str, dict[str, np.ndarray]]]] | None:
        """The manifest of the last save, and its parts one after another; None where there is none."""
        if not self._steps:
            return None
        manifest, _ = self._restored(_MANIFEST)
        if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
            self._refuse("one that something else has written")
        return manifest, ((name, self._restored(name)[1]) for name in manifest["parts"])

    def _restored(self, name: str) -> tuple[Any, dict[str, np.ndarray]]:
        """One part of the last save."""
        step = self._steps[-1]
        try:
            return self._opened().restore(step, args=self._orbax.args.Composite(**{name: _item()()}))[name]  # type: ignore[no-any-return]
        except Exception as error:  # noqa: BLE001 (what orbax reads through raises of many kinds)
            text = str(error).strip().splitlines() or [""]
            self._refuse(f"one whose state {step} is damaged ({type(error).__name__}: {text[0][:200]})")

    def compare(self, saved: dict[str, str], fields: dict[str, str]) -> None:
        """Refuse a checkpoint of another sweep, by the first field that differs."""
        for name in [*fields, *saved]:
            if saved.get(name) != fields.get(name):
                values = f": {saved.get(name)} there, {fields.get(name)} here" if name in _READABLE else ""
                self._refuse(f"one with other {name}{values}")

    def refuse_field(self, name: str, detail: str) -> NoReturn:
        """Refuse a checkpoint for a field that was found to differ."""
        self._refuse(f"one with other {name}: {detail}")

    def is_due(self) -> bool:
        """Whether enough time has passed for another save."""
        return time.perf_counter() - self._last_end >= self._last_seconds * (1 / SHARE - 1)

    def save(self, manifest: dict[str, Any], parts: dict[str, dict[str, np.ndarray]]) -> None:
        """Write the state beside the one before, which goes once this is complete."""
        began = time.perf_counter()
        items = {name: _item()(None, arrays) for name, arrays in parts.items()}
        items[_MANIFEST] = _item()(manifest | {"format": FORMAT, "parts": list(parts)})
        step = self._steps[-1] + 1 if self._steps else 0
        self._path.mkdir(parents=True, exist_ok=True)
        self._opened().save(step, args=self._orbax.args.Composite(**items))
        self._steps.append(step)
        self._last_end = time.perf_counter()
        self._last_seconds = self._last_end - began

    def close(self) -> None:
        """Let orbax end its threads."""
        if self._manager is not None:
            self._manager.close()

    def _opened(self) -> Any:
        """Orbax's manager of the folder."""
        if self._manager is None:
            self._manager = self._orbax.CheckpointManager(self._path, options=self._options)
        return self._manager

    def _is_own(self, entry: Path) -> bool:
        """A saved state, or what a process left that was killed as it wrote one or removed one before the last."""
        is_old = entry.name.isdigit() and int(entry.name) <= max(self._steps, default=-1)
        return entry.is_dir() and (is_old or ".orbax-checkpoint-tmp" in entry.name)

    def _refuse(self, got: str) -> NoReturn:
        """The ValueError for a folder that cannot be gone on with; it is left as it is."""
        _checks.refuse(
            self._call,
            "checkpoint",
            "a new folder or one of this very test",
            f"{self._path}, {got}; nothing is changed",
        )


def _is_finished(entry: Path) -> bool:
    """Whether a folder holds a whole state."""
    return entry.name.isdigit() and (entry / _MANIFEST).is_dir()


@cache
def _item() -> Any:
    """What orbax calls the arguments of an item of a checkpoint: a JSON value and arrays by name.

    Orbax's own items of host arrays are written by the first of several processes only.
    """
    import orbax.checkpoint as orbax

    class Handler(orbax.CheckpointHandler):  # type: ignore[misc]
        """Writes and reads the item in every process."""

        def save(self, directory: Any, args: Any) -> None:
            _write(Path(directory), args.value, args.arrays or {})

        def restore(self, directory: Any, args: Any) -> tuple[Any, dict[str, np.ndarray]]:  # noqa: ARG002
            return _read(Path(directory))

    @orbax.args.register_with_handler(Handler, for_save=True, for_restore=True)
    @dataclass
    class Item(orbax.args.CheckpointArgs):  # type: ignore[misc]
        """What to save; nothing where something is restored."""

        value: Any = None
        arrays: dict[str, np.ndarray] | None = None

    return Item


def _write(folder: Path, value: Any, arrays: dict[str, np.ndarray]) -> None:
    """The arrays as they lie in memory, a file each, and an index of their names, dtypes, shapes and checksums."""
    index = []
    for place, (name, array) in enumerate(arrays.items()):
        numbers = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        numbers.tofile(folder / f"{place}")
        index.append([name, str(array.dtype), array.shape, zlib.crc32(numbers.data)])
    (folder / _INDEX).write_text(json.dumps({"value": value, "arrays": index}))


def _read(folder: Path) -> tuple[Any, dict[str, np.ndarray]]:
    """What ``_write`` wrote."""
    index = json.loads((folder / _INDEX).read_text())
    arrays = {}
    for place, (name, dtype, shape, checksum) in enumerate(index["arrays"]):
        numbers = np.fromfile(folder / f"{place}", np.uint8)
        if zlib.crc32(numbers.data) != checksum:
            raise ValueError(f"{name} is not what was written")
        arrays[name] = numbers.view(np.dtype(dtype)).reshape(shape)
    return index["value"], arrays


_READABLE = {"steps", "keep", "plan", "versions", "platform", "memory_budget"}


def digest(tree: PyTree) -> str:
    """The structure, shapes, dtypes and bytes of a tree, as a hash."""
    leaves, structure = jax.tree.flatten(tree)
    rolling = hashlib.sha256(str(structure).encode())
    for leaf in leaves:
        host = np.asarray(trees.raw(leaf)) if hasattr(leaf, "dtype") else np.asarray(leaf)
        rolling.update(f"{host.dtype} {host.shape}".encode())
        rolling.update(np.ascontiguousarray(host).tobytes())
    return rolling.hexdigest()
