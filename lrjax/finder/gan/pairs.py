"""The pairs of rates that a range test of a GAN trains at."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lrjax import _checks
from lrjax.finder import arguments

SCALES = np.geomspace(2e-5, 2e-2, 8)
RATIOS = 2.0 ** np.arange(-3, 5)


class Pairs(NamedTuple):
    """Pairs of rates, and the grid that they make."""

    generator: np.ndarray
    """``[K]``."""
    discriminator: np.ndarray
    """``[K]``."""
    axes: dict[str, np.ndarray]
    """The values of both axes by the names of the arguments; empty for a list of pairs."""


def pairs(call: str, scales: Any, ratios: Any, generator: Any, discriminator: Any, listed: Any) -> Pairs:
    """The pairs of a test: by scales and ratios, by both rates, or one by one."""
    by_rates = {"generator_learning_rates": generator, "discriminator_learning_rates": discriminator}
    by_scales = {"scales": scales, "ratios": ratios}
    given = [name for name, value in (by_scales | by_rates | {"pairs": listed}).items() if value is not None]
    for group in (by_rates, {"pairs": listed}):
        inside = [name for name in given if name in group]
        outside = [name for name in given if name not in group]
        if inside and outside:
            requirement = (
                f"left out where {outside[0]} is given: a grid is of scales and ratios, of both rates, or listed"
            )
            _checks.refuse(call, inside[0], requirement, _checks.shown((by_rates | {"pairs": listed})[inside[0]]))
    if listed is not None:
        return _listed(call, listed)
    if any(name in by_rates for name in given):
        missing = next((name for name in by_rates if name not in given), None)
        if missing is not None:
            _checks.refuse(call, missing, f"given where {given[0]} is, if only as one rate in a list", "None")
        axes = {name: arguments.rates(call, name, value) for name, value in by_rates.items()}
        g, d = (grid.ravel() for grid in np.meshgrid(*axes.values(), indexing="ij"))
        return Pairs(g, d, axes)
    axes = {
        "scales": SCALES if scales is None else arguments.rates(call, "scales", scales),
        "ratios": RATIOS if ratios is None else arguments.rates(call, "ratios", ratios),
    }
    scale, ratio = (grid.ravel() for grid in np.meshgrid(*axes.values(), indexing="ij"))
    g, d = scale / np.sqrt(ratio), scale * np.sqrt(ratio)
    for rates in (g, d):
        extremes = [float(rates.min()), float(rates.max())]
        if np.float32(extremes[0]) < np.finfo(np.float32).tiny or not np.isfinite(np.float32(extremes[1])):
            _checks.refuse(
                call,
                "ratios",
                "such that all rates are numbers in float32",
                f"rates from {extremes[0]:.3g} to {extremes[1]:.3g}",
            )
    return Pairs(g, d, axes)


def _listed(call: str, listed: Any) -> Pairs:
    """Pairs that the user wrote down."""
    items = _checks.sequence(call, "pairs", listed, "pairs")
    pair = "(generator's rate, discriminator's rate)"
    if not items:
        _checks.refuse(call, "pairs", f"a sequence of pairs {pair}, at least one", "none")
    tiny = float(np.finfo(np.float32).tiny)
    numbers = np.empty((len(items), 2))
    for place, item in enumerate(items):
        if not hasattr(item, "__len__") or len(item) != 2:
            _checks.refuse(call, f"pairs[{place}]", f"a pair {pair}", _checks.shown(item))
        numbers[place] = [_checks.number(call, f"pairs[{place}]", rate, low=tiny) for rate in item]
    distinct, counts = np.unique(numbers.astype(np.float32), axis=0, return_counts=True)
    if len(distinct) < len(numbers):
        repeated = ", ".join(f"({g:g}, {d:g})" for g, d in distinct[counts > 1])
        _checks.refuse(call, "pairs", "distinct in float32", f"{repeated} more than once")
    return Pairs(numbers[:, 0], numbers[:, 1], {})
