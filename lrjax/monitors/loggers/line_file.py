"""A text file of whole lines, readable at every moment and never left with half a line in its midst."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from lrjax import _checks
from lrjax.monitors.loggers.rows import MAX_STEP


class Form(NamedTuple):
    """How the lines of a kind of log look.

    Attributes:
        name: What such a file is, for messages.
        opening: What the first line, and a comma, starts with.
        step_of: The step of a line; -1 of a header.
    """

    name: str
    opening: str
    step_of: Callable[[str], int]


class LineFile:
    """A file that lines are appended to, each by one write, which a kill of the process does not undo.

    Args:
        call: What the user called.
        path: The file; folders are made where they are missing. Of an existing one the unfinished last line is cut.
        purge_step: The step from which on lines are removed, or None.
        form: How lines look; a file of another form is refused, and left as it is.
    """

    def __init__(self, call: str, path: Any, purge_step: Any, form: Form) -> None:
        """Open the file, and mend it."""
        if not isinstance(path, str | os.PathLike):
            _checks.refuse_type(call, "path", "the path of a file", path)
        bound = None if purge_step is None else _checks.count(call, "purge_step", purge_step, high=MAX_STEP)
        self._path = Path(path).resolve()
        if self._path.is_dir():
            _checks.refuse(call, "path", "the path of a file", f"the folder {str(path)!r}")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        content = self._path.read_bytes() if self._path.exists() else b""
        first, found, _ = content.decode(errors="replace").partition("\n")
        # A kill may have left the first line unfinished too.
        if not (f"{first},".startswith(form.opening) if found else form.opening.startswith(first[: len(form.opening)])):
            got = f"{str(path)!r}, which begins with {_checks.shown(first)}"
            _checks.refuse(call, "path", f"a new file or {form.name}", got)
        self._file = self._path.open("ab")
        self._file.truncate(content.rfind(b"\n") + 1)
        if bound is not None:
            lines = self.lines()
            kept = [line for line in lines if form.step_of(line) < bound]
            if len(kept) < len(lines):
                self.replace(kept)

    def lines(self) -> list[str]:
        """What is in the file now."""
        return whole_lines(self._path.read_bytes())

    def append(self, line: str) -> None:
        """Write one line, to be read at once."""
        self._file.write(line.encode() + b"\n")
        self._file.flush()

    def replace(self, lines: Iterable[str]) -> None:
        """Write the whole file anew; a kill leaves the old one or the new one."""
        beside = self._path.with_name(self._path.name + ".new")
        beside.write_bytes(b"".join(line.encode() + b"\n" for line in lines))
        self._file.close()  # some systems do not replace an open file
        beside.replace(self._path)
        self._file = self._path.open("ab")

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def whole_lines(content: bytes) -> list[str]:
    """The lines of a file, without one that a kill left unfinished."""
    return content[: content.rfind(b"\n") + 1].decode().split("\n")[:-1]
