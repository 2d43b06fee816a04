"""How many lanes fit in memory at a time."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import jax

from lrjax import _checks

HEADROOM = 0.95
"""The part of a budget that is given out, since allocators round up."""

HOST_SHARE = 0.5
"""The part of the host's memory that a sweep may take by default."""

DEVICE_SHARE = 0.9
"""The part of an accelerator's free memory that a sweep may take by default."""

_CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def budget(call: str, argument: int | None, devices: Sequence[jax.Device]) -> int:
    """Bytes for each device: its own memory, or its part of the host's where the devices are a CPU's."""
    shared_by = len(devices) if devices[0].platform == "cpu" else 1
    if argument is not None:
        return int(_checks.count(call, "memory_budget", argument, low=1, high=2**63)) // shared_by
    stats = [device.memory_stats() for device in devices]
    if all(stat and "bytes_limit" in stat for stat in stats):
        free = min(stat["bytes_limit"] - stat.get("bytes_in_use", 0) for stat in stats if stat)
        return int(DEVICE_SHARE * free)
    return int(HOST_SHARE * _host_bytes()) // shared_by


def return_freed() -> None:
    """Let the C library give back what was freed: glibc would keep it, and a wave of lanes would count twice."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def _host_bytes() -> int:
    """The memory of this machine, or of the container that this process is in."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for file in _CGROUP_LIMITS:
        text = file.read_text().strip() if file.exists() else ""
        if text.isdigit():
            limits.append(int(text))
    return min(limits)
