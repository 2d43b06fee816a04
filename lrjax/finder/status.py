"""What becomes of a lane, and what to do about it."""

from __future__ import annotations

import numpy as np

REMEDIES = {
    "diverged": "not finite any more: lower the rate, warm it up, clip the gradients, or look for a fault in the data",
    "high": "ended above the start: lower the rate, warm it up, or give it more steps, as some recover",
    "dropped": "in the worse part at a rung: keep='finite' runs them on, and Halving with fewer rungs is more patient",
}


def remedies(status: np.ndarray) -> list[str]:
    """A line for every kind of trouble that some lanes are in, with what to do about it."""
    counts = {word: int((status == word).sum()) for word in REMEDIES}
    return [f"{count} {word}: {REMEDIES[word]}" for word, count in counts.items() if count]
