"""The tables in which a person reads a range test of a GAN."""

from __future__ import annotations

import numpy as np

from lrjax.finder.gan.answers import GanCurves
from lrjax.finder.gan.balance import averages
from lrjax.finder.gan.surface import heights
from lrjax.finder.result import thinned
from lrjax.optimizers._table import aligned

LETTERS = {
    "collapsed": "c",
    "discriminator wins": "w",
    "discriminator loses": "l",
    "diverged": "x",
    "dropped": "d",
}
"""What marks a pair of which half of the lanes or more are in that trouble."""


def troubles(status: np.ndarray) -> list[str]:
    """For each pair of ``[K, R]`` the trouble that half of its lanes or more are in, ``""`` where there is none."""
    counts = np.stack([(status == word).sum(axis=1) for word in LETTERS])
    return ["" if 2 * n.max() < status.shape[1] else list(LETTERS)[n.argmax()] for n in counts.T]


def matrix(result: GanCurves, marked: int) -> str:
    """A grid: a row for each value of the first axis, a column for each of the second."""
    rows, columns = result.axes.values()
    letters = [LETTERS.get(word, " ") for word in troubles(result.status)]
    texts = [
        f"{'-> ' if k == marked else ''}{_number(height)}{letter}"
        for k, (height, letter) in enumerate(zip(heights(result).of_pairs, letters, strict=True))
    ]
    names = " \\ ".join(name.removesuffix("_learning_rates") for name in result.axes)
    head = [names, *(f"{value:.3g} " for value in columns)]
    cells = [texts[first : first + len(columns)] for first in range(0, len(texts), len(columns))]
    lines = [[f"{value:.3g}", *line] for value, line in zip(rows, cells, strict=True)]
    used = {word: letter for word, letter in LETTERS.items() if letter in letters}
    legend = [", ".join(f"{letter} {word}" for word, letter in used.items())] if used else []
    return "\n".join([aligned([head, *lines], str.rjust), *legend])


def rows(result: GanCurves, marked: int) -> str:
    """A row for each pair, the suggested one marked."""
    known, means = heights(result), averages(result.signals)
    shown = thinned(len(result.status), marked)
    columns = [
        ["", *("->" if k == marked else "" for k in shown)],
        ["generator", *(f"{result.generator_learning_rates[k]:.3g}" for k in shown)],
        ["discriminator", *(f"{result.discriminator_learning_rates[k]:.3g}" for k in shown)],
        ["scale", *(f"{result.scales[k]:.3g}" for k in shown)],
        ["ratio", *(f"{result.ratios[k]:.3g}" for k in shown)],
        [known.objective, *(_number(known.of_pairs[k]) for k in shown)],
        *([name.replace("_", " "), *(_number(mean[k].mean()) for k in shown)] for name, mean in means.items()),
        ["status", *(_words(result.status[k]) for k in shown)],
    ]
    return aligned(list(zip(*columns, strict=True)), str.rjust)


def _number(value: float) -> str:
    """A number, or a dash where there is none."""
    return "-" if np.isnan(value) else f"{value:.3g}"


def _words(status: np.ndarray) -> str:
    """One word where all seeds agree, else how many of them."""
    words, counts = np.unique(status, return_counts=True)
    return str(words[0]) if len(words) == 1 else ", ".join(f"{n} {word}" for n, word in zip(counts, words, strict=True))
