"""GANs: a player that has won, or two that chase each other from mode to mode."""

from __future__ import annotations

import numpy as np

from lrjax.diagnosis.curves import Curve, curve, memory
from lrjax.diagnosis.divergence import lost
from lrjax.diagnosis.findings import Finding
from lrjax.diagnosis.inputs import TOO_SHORT, Array, Run
from lrjax.diagnosis.remedies import against_collapse, against_divergence, against_imbalance
from lrjax.diagnosis.wording import steps_text

WON = 0.1
"""Of the other's loss: a player that loses less has won, and gives the other no gradient to learn from."""

CHASING = 0.7
"""Correlation of neighbouring steps above which a loss follows the other player and not the noise of batches."""

_SWING = 0.2  # of its loss: the rise in the second half that shows a generator to have been thrown back


def gan(run: Run) -> list[Finding]:
    """What the losses of both players show, as far as neither goes below zero: the share of a loss needs its zero."""
    if run.generator_losses is None or run.discriminator_losses is None:
        return []
    players = {"discriminator": run.discriminator_losses, "generator": run.generator_losses}
    gone = [finding for name, losses in players.items() for finding in _lost(run, name, losses)]
    if gone or run.steps < TOO_SHORT:
        return gone[:1]
    curves = {name: curve(losses) for name, losses in players.items()}
    if min(found.values.min() for found in curves.values()) < 0:
        return []
    return _won(run, curves) or _chase(run, curves)


def _lost(run: Run, name: str, losses: Array) -> list[Finding]:
    """A player's loss that is no number in the end."""
    gone = lost(losses)
    if gone is None:
        return []
    step, what = gone
    evidence = f"The {name}'s loss is {what} from step {step} on."
    return [Finding("divergence", (step, run.steps - 1), evidence, "critical", against_divergence(run, step))]


def _second_half(found: Curve) -> Array:
    """The later finite values."""
    return found.values[len(found.values) // 2 :]


def _won(run: Run, curves: dict[str, Curve]) -> list[Finding]:
    """A player whose loss is next to nothing beside the other's, in the second half of the run."""
    levels = {name: float(np.median(_second_half(found))) for name, found in curves.items()}
    winner, loser = sorted(levels, key=lambda name: levels[name])
    if levels[winner] > WON * levels[loser] or levels[loser] == 0:
        return []
    pairs = zip(curves[winner].blocks, curves[loser].blocks, strict=False)
    level = [block.last for block, other in pairs if block.value > WON * other.value]
    first = min(level[-1] + 1, run.steps // 2) if level else 0
    evidence = (
        f"From step {first} on the {winner}'s loss is below {WON:.0%} of the {loser}'s, {levels[winner]:.3g} beside "
        f"{levels[loser]:.3g} in the second half: the {winner} has won, and the {loser} learns nothing more."
    )
    return [Finding("gan_imbalance", (first, run.steps - 1), evidence, "critical", against_imbalance(winner))]


def _chase(run: Run, curves: dict[str, Curve]) -> list[Finding]:
    """Losses that swing slowly, together and far."""
    halves = {name: _second_half(found) for name, found in curves.items()}
    generator = curves["generator"]
    medians = generator.medians[len(generator.blocks) // 2 :]
    rise = float(np.max(medians - np.minimum.accumulate(medians)))
    level = float(np.median(halves["generator"]))
    slow = min(memory(values) for values in halves.values()) > CHASING
    if not slow or rise < _SWING * level:
        return []
    first = int(generator.steps[len(generator.steps) // 2])
    evidence = (
        f"In {steps_text(first, run.steps - 1)} both losses swing, not by the noise of batches: the generator's, about "
        f"{level:.3g}, rises by {rise:.3g}. The players chase each other, as when samples collapse onto few modes."
    )
    return [Finding("gan_collapse", (first, run.steps - 1), evidence, "critical", against_collapse())]
