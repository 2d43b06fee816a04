"""Groups of lanes: which lanes a compiled call advances together, and how they are packed anew once some are gone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Put = Callable[[list[np.ndarray]], list[Any]]
"""Sends the leaves of a state to the devices."""


@dataclass
class Group:
    """Lanes side by side.

    Attributes:
        lanes: Their numbers, ``[n]``.
        state: Leaves that lead with the lanes, then as many copies of the last as fill the group's size.
    """

    lanes: np.ndarray
    state: list[Any]

    @property
    def size(self) -> int:
        """Rows of every leaf."""
        return int(self.state[0].shape[0])


def even_size(lanes: int, most: int, multiple: int) -> int:
    """The size, a multiple of ``multiple``, of groups of at most ``most`` over which ``lanes`` are spread evenly."""
    most = -(-most // multiple) * multiple
    groups = -(-lanes // most)
    return -(-lanes // (groups * multiple)) * multiple


def filled(lanes: np.ndarray, size: int) -> np.ndarray:
    """``lanes`` and the last of them again up to ``size``."""
    return np.concatenate([lanes, np.repeat(lanes[-1:], size - len(lanes))])


def on_host(group: Group, alive: np.ndarray) -> Group:
    """The lanes of a group that are alive, as host arrays without the rows that fill it."""
    rows = np.flatnonzero(alive[group.lanes])
    return Group(group.lanes[rows], [np.asarray(leaf)[rows] for leaf in group.state])


def joined(groups: Sequence[Group]) -> Group:
    """Host groups as one."""
    lanes = np.concatenate([group.lanes for group in groups])
    return Group(lanes, [np.concatenate(leaves) for leaves in zip(*(group.state for group in groups), strict=True)])


def divided(hosts: Iterator[Group], size: int, put: Put) -> Iterator[Group]:
    """Host groups as groups of one size on the devices, while no more than one group's lanes wait."""
    waiting: list[Group] = []

    def emit(group: Group) -> Group:
        rows = filled(np.arange(len(group.lanes)), size)
        return Group(group.lanes, put([leaf[rows] for leaf in group.state]))

    for host in hosts:
        waiting.append(host)
        while sum(len(group.lanes) for group in waiting) >= size:
            pool = joined(waiting)
            yield emit(Group(pool.lanes[:size], [leaf[:size] for leaf in pool.state]))
            waiting = [Group(pool.lanes[size:], [leaf[size:] for leaf in pool.state])]
    if sum(len(group.lanes) for group in waiting):
        yield emit(joined(waiting))


def bucket(lanes: int, size: int, multiple: int) -> int:
    """The smallest of ``size``, its half, its quarter, ... that holds ``lanes`` and is a multiple of ``multiple``."""
    while size > multiple:
        half = -(-size // (2 * multiple)) * multiple
        if half < lanes or half == size:
            break
        size = half
    return size


def repacked(
    groups: list[Group], alive: np.ndarray, multiple: int, put: Put, pays: Callable[[int, int], bool]
) -> list[Group]:
    """The lanes that are alive in as few groups as hold them.

    Groups that are full of living lanes stay as they are. The others are joined where that saves a group; one group
    alone shrinks to a bucket's size where ``pays(size, smaller)``. Where nothing is saved, lanes that are gone run on
    unread.

    Args:
        groups: Of one size.
        alive: Of every lane.
        multiple: What sizes are multiples of.
        put: Sends a state to the devices.
        pays: Whether compiling for the smaller size is worth it.
    """
    left = [int(alive[group.lanes].sum()) for group in groups]
    if not any(left):
        return []
    size = groups[0].size
    full = [group for group, count in zip(groups, left, strict=True) if count == size]
    broken = [group for group, count in zip(groups, left, strict=True) if 0 < count < size]
    lanes = sum(left)
    if lanes <= size:
        smaller = bucket(lanes, size, multiple)
        if smaller < size and pays(size, smaller):
            return list(divided((on_host(group, alive) for group in (*full, *broken)), smaller, put))
    needed = -(-sum(alive[group.lanes].sum() for group in broken) // size)
    if needed == len(broken):
        return full + broken
    return full + list(divided((on_host(group, alive) for group in broken), size, put))
