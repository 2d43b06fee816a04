"""How well two players are balanced: the distances from a balance, and the verdicts on a lane that is out of it."""

from __future__ import annotations

import numpy as np

from lrjax.finder.reading.curves import last_tenth

BALANCE = {"loss_ratio": 1.0, "accuracy": 0.75, "spread_ratio": 1.0}
"""The signals of balance, and where each stands in it. A single loss says nothing: both sides of these are bad."""

ACCURACY_WEIGHT = 2.0
"""An accuracy moves over half the way that the other signals do."""

COLLAPSED_BELOW = 0.6
"""Of ``spread_ratio``."""

WINNING = {"accuracy": 0.9, "loss_ratio": 0.3}
LOSING = {"accuracy": 0.52, "loss_ratio": 1.9}
"""Beyond these the discriminator wins (more accurate, less loss) or loses."""

HEALTHY_ACCURACY = (0.55, 0.75)
HEALTHY_SPREAD = 0.85

GAN_REMEDIES = {
    "collapsed": f"generated samples spread less than {COLLAPSED_BELOW} of real ones: raise the ratio, lower the "
    "generator's rate, or take more steps of the discriminator",
    "discriminator wins": "it knows the generated samples too surely for the generator to learn from it: lower the "
    "ratio, or take more steps where both rates are low",
    "discriminator loses": "it hardly tells generated samples from real ones: raise the ratio, or take more steps "
    "where both rates are low",
}
"""Verdicts on lanes that are finite, and what to do about them; the other words are "healthy" and "finite"."""

Signals = dict[str, np.ndarray]


def averages(signals: Signals) -> Signals:
    """Every signal over the last tenth of the steps, the ratio of losses as a geometric mean."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        last = {name: last_tenth(values.astype(np.float64)) for name, values in signals.items()}
        means = {name: values.mean(axis=-1) for name, values in last.items()}
        if "loss_ratio" in last:
            means["loss_ratio"] = np.exp(np.log(last["loss_ratio"]).mean(axis=-1))
    return means


def distance_from_balance(signals: Signals) -> np.ndarray:
    """``|log(loss_ratio)| + 2 * |accuracy - 0.75| + |1 - spread_ratio|``, of those that there are."""
    means = averages(signals)
    parts = []
    with np.errstate(divide="ignore", invalid="ignore"):
        if "loss_ratio" in means:
            parts.append(np.abs(np.log(means["loss_ratio"] / BALANCE["loss_ratio"])))
        if "accuracy" in means:
            parts.append(ACCURACY_WEIGHT * np.abs(means["accuracy"] - BALANCE["accuracy"]))
        if "spread_ratio" in means:
            parts.append(np.abs(means["spread_ratio"] - BALANCE["spread_ratio"]))
    distance: np.ndarray = np.sum(parts, axis=0)
    return distance


def verdicts(signals: Signals, shape: tuple[int, ...]) -> np.ndarray:
    """A word for each lane that is finite: the worst that its signals say, ``"finite"`` where they say nothing."""
    means = averages(signals)
    loss_ratio, accuracy, spread_ratio = (means.get(name, np.full(shape, np.nan)) for name in BALANCE)
    low, high = HEALTHY_ACCURACY
    said = [
        (spread_ratio < COLLAPSED_BELOW, "collapsed"),
        ((accuracy > WINNING["accuracy"]) | (loss_ratio < WINNING["loss_ratio"]), "discriminator wins"),
        ((accuracy < LOSING["accuracy"]) | (loss_ratio > LOSING["loss_ratio"]), "discriminator loses"),
        ((accuracy >= low) & (accuracy <= high) & (spread_ratio > HEALTHY_SPREAD), "healthy"),
    ]
    return np.select([where for where, _ in said], [word for _, word in said], "finite")
