"""What becomes of a lane, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

REMEDIES = {
    "diverged": "not finite any more: lower the rate, warm it up, clip the gradients, or look for a fault in the data",
    "high": "ended above the start: lower the rate, warm it up, or give it more steps, as some recover",
    "dropped": "worse than others at a rung or on a coarse grid: keep='finite' runs the rates that you give to the end",
}


def remedies(status: np.ndarray, known: Mapping[str, str] = REMEDIES) -> list[str]:
    """A line for every kind of trouble that some lanes are in, with what to do about it."""
    counts = {word: int((status == word).sum()) for word in known}
    return [f"{count} {word}: {known[word]}" for word, count in counts.items() if count]
