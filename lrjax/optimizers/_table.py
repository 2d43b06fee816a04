"""Tables of named rows that print as aligned text."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

_NOTE_WIDTH = 56


class TableRow(Protocol):
    """What a table needs of its rows."""

    @property
    def name(self) -> str:
        """The key."""

    @property
    def cells(self) -> dict[str, str]:
        """What stands in columns, by their heads; the name first."""

    @property
    def lines(self) -> list[str]:
        """What stands in the last column, line by line."""


Row = TypeVar("Row", bound=TableRow)


class Table(Mapping[str, Row], Generic[Row]):
    """Rows by name, in order. Prints as an aligned table."""

    def __init__(self, rows: Iterable[Row]) -> None:
        """A table of at least one row."""
        self._rows: dict[str, Row] = {row.name: row for row in rows}

    def __getitem__(self, name: str) -> Row:
        """The row of that name."""
        return self._rows[name]

    def __iter__(self) -> Iterator[str]:
        """The names."""
        return iter(self._rows)

    def __len__(self) -> int:
        """The number of rows."""
        return len(self._rows)

    def __repr__(self) -> str:
        """The table as text."""
        lines = [[*next(iter(self.values())).cells, "note"]]
        for row in self.values():
            first, *more = row.lines
            lines.append([*row.cells.values(), first])
            lines.extend([*[""] * len(row.cells), line] for line in more)
        lines.insert(1, ["-" * max(map(len, column)) for column in zip(*lines, strict=True)])
        return aligned(lines)


def aligned(lines: Sequence[Sequence[str]], justify: Callable[[str, int], str] = str.ljust) -> str:
    """Lines of cells as text; ``justify`` pads those of all columns but the first, which is flush left."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = ([line[0].ljust(widths[0]), *map(justify, line[1:], widths[1:])] for line in lines)
    return "\n".join("  ".join(cells).rstrip() for cells in padded)


def described(row: TableRow) -> str:
    """A row alone."""
    (_, name), *facts = row.cells.items()
    known = ", ".join(f"{head} {cell}" for head, cell in facts if cell != "-")
    return "\n".join([f"{name}: {known}" if known else name, *(f"  {line}" for line in row.lines)])


def shown(value: float | None) -> str:
    """A number as a table prints it."""
    return "-" if value is None else f"{value:g}"


def shown_range(low: float | None, high: float | None) -> str:
    """A range as a table prints it."""
    return shown(low) if low == high else f"{shown(low)} to {shown(high)}"


def wrapped(*texts: str) -> list[str]:
    """Lines that fit the last column."""
    return [line for text in texts for line in textwrap.wrap(text, _NOTE_WIDTH)]
