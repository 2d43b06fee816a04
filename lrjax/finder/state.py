"""Where a sweep is: all that a later process needs to go on with it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from lrjax.finder.groups import Group
from lrjax.finder.history import History


@dataclass
class State:
    """A sweep between two chunks of batches.

    Attributes:
        phase: Which of the parts between rungs.
        wave: Which of the phase's waves of lanes.
        done: Updates that the wave has done.
        lanes: The lanes that the phase began with.
        history: What all lanes did.
        groups: The wave under way; None where it has not begun.
        arrived: The lanes that the phase began with, as they were then, where they run in several waves.
        departed: The lanes of the phase's earlier waves, as they were at its end.
        scores: What the lanes were compared by at each rung that is past.
    """

    phase: int
    wave: int
    done: int
    lanes: np.ndarray
    history: History
    groups: list[Group] | None = None
    arrived: list[Group] = field(default_factory=list)
    departed: list[Group] = field(default_factory=list)
    scores: list[np.ndarray] = field(default_factory=list)
