"""A sweep on disk: saved atomically through orbax, and resumed only where it is the same sweep."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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

_MANIFEST = "manifest"


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
        manifest = self._restored(_MANIFEST, self._orbax.args.JsonRestore())
        if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
            self._refuse("one that something else has written")

        def parts() -> Iterator[tuple[str, dict[str, np.ndarray]]]:
            for name, empty in manifest["parts"].items():
                arrays = {key: np.zeros(shape, np.dtype(dtype)) for key, shape, dtype in empty}
                yield name, arrays | self._restored(name, self._orbax.args.StandardRestore())

        return manifest, parts()

    def _restored(self, name: str, how: Any) -> Any:
        """One part of the last save."""
        step = self._steps[-1]
        try:
            return self._opened().restore(step, args=self._orbax.args.Composite(**{name: how}))[name]
        except Exception as error:  # noqa: BLE001 (orbax and what it reads through raise of many kinds)
            text = str(error).strip().splitlines() or [""]
            self._refuse(f"one whose state {step} is damaged ({type(error).__name__}: {text[0][:200]})")

    def compare(self, saved: dict[str, str], fields: dict[str, str]) -> None:
        """Refuse a checkpoint of another sweep, by the first field that differs."""
        for name in [*fields, *saved]:
            if saved.get(name) != fields.get(name):
                values = f": {saved.get(name)} there, {fields.get(name)} here" if name in _READABLE else ""
                self._refuse(f"one with other {name}{values}")

    def refuse_field(self, name: str, detail: str) -> None:
        """Refuse a checkpoint for a field that was found to differ."""
        self._refuse(f"one with other {name}: {detail}")

    def is_due(self) -> bool:
        """Whether enough time has passed for another save."""
        return time.perf_counter() - self._last_end >= self._last_seconds * (1 / SHARE - 1)

    def save(self, manifest: dict[str, Any], parts: dict[str, dict[str, np.ndarray]]) -> None:
        """Write the state beside the one before, which goes once this is complete."""
        began = time.perf_counter()
        args = self._orbax.args
        empty = {  # orbax refuses arrays without entries
            name: [(key, array.shape, str(array.dtype)) for key, array in arrays.items() if not array.size]
            for name, arrays in parts.items()
        }
        written = json.loads(json.dumps(manifest | {"format": FORMAT, "parts": empty}))
        saves = {
            name: args.StandardSave({key: array for key, array in arrays.items() if array.size})
            for name, arrays in parts.items()
        }
        step = self._steps[-1] + 1 if self._steps else 0
        self._path.mkdir(parents=True, exist_ok=True)
        self._opened().save(step, args=args.Composite(**saves, **{_MANIFEST: args.JsonSave(written)}))
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

    def _refuse(self, got: str) -> None:
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
