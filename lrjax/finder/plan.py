"""How a sweep is executed: which lanes run together, for how many steps, on what. A plan never changes an answer."""

from __future__ import annotations

import os
from dataclasses import dataclass

from lrjax import _checks


@dataclass(frozen=True)
class Plan:
    """How the lanes are run: ``lanes`` side by side, by ``steps`` updates in one compiled call.

    The division decides speed by an order of magnitude, and differs by backend and model: many small lanes fill an
    accelerator or the vector units of a CPU, where large lanes are best one to a core, and a convolution on a CPU must
    stand outside of any loop. Answers agree between plans to float rounding.

    Args:
        lanes: Lanes in one compiled call, over all devices; fewer where fewer are left or the memory budget asks for
            it, and rounded up to a multiple of the devices.
        steps: Updates in one compiled call, at most: calls end where the batches of a chunk do, and at validation,
            drops and rungs.
        unroll: Whether the updates of a call are written out one after another. A loop compiles faster.
        devices: How many of the devices to use; None for all.
        threads: Host threads that run groups of lanes at the same time, for the cores of a CPU that is one device.
        reason: Why ``plan="auto"`` took it.

    Raises:
        TypeError: Where an argument is of the wrong kind.
        ValueError: Where a number is out of range.

    Example:
        >>> from lrjax.finder import Plan
        >>> print(Plan(lanes=16, steps=10))
        16 lanes a call, 10 steps a call
    """

    lanes: int
    steps: int = 1
    unroll: bool = False
    devices: int | None = None
    threads: int = 1
    reason: str = ""

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name in ("lanes", "steps", "threads"):
            object.__setattr__(self, name, _checks.count("Plan", name, getattr(self, name), low=1))
        if self.devices is not None:
            object.__setattr__(self, "devices", _checks.count("Plan", "devices", self.devices, low=1))
        _checks.flag("Plan", "unroll", self.unroll)

    def __str__(self) -> str:
        """The plan as a sentence, with its reason."""
        lanes = "1 lane" if self.lanes == 1 else f"{self.lanes} lanes"
        steps = "1 step" if self.steps == 1 else f"{self.steps} steps"
        parts = [f"{lanes} a call, {steps} a call" + (" (unrolled)" if self.unroll and self.steps > 1 else "")]
        if self.devices is not None and self.devices > 1:
            parts.append(f"{self.devices} devices")
        if self.threads > 1:
            parts.append(f"{self.threads} threads")
        return ", ".join(parts) + (f": {self.reason}" if self.reason else "")


def cores() -> int:
    """The processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
