"""The recent level of a noisy loss, and when the loss has left it."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

NOISE = 6.0
"""A rise counts beyond this many deviations, which are five to six standard deviations of a single loss."""

STRICTNESS = 0.25
"""Of the rise that is otherwise allowed, what a rate on trial may do."""

SHARE_OF_DESCENT = 0.1
"""What a rise is measured in where the loss itself is smaller than this share of its descent so far."""


_LOWEST = float(np.finfo(np.float32).min)  # and not -inf, whose differences would be NaN


class LossLevel(NamedTuple):
    """What is known of the loss in healthy training.

    Attributes:
        initial: The loss of the initial parameters, float32.
        lowest: The lowest that ``recent`` has been, float32.
        reference: Average over about ``patience`` steps: the recent level, float32.
        recent: Average over about two steps, float32.
        deviation: Average over about ``patience`` steps of ``|value - recent|``: noise, and not descent, float32.
        steps: Losses seen, 2 for more, int32.
        above: Steps in a row for which ``recent`` has been nearer to ``initial`` than to ``lowest``, int32.
    """

    initial: jax.Array
    lowest: jax.Array
    reference: jax.Array
    recent: jax.Array
    deviation: jax.Array
    steps: jax.Array
    above: jax.Array


def unknown() -> LossLevel:
    """The level before the first loss: below every one, each number in a buffer of its own, for donation."""
    initial, lowest, reference, recent = (jnp.float32(_LOWEST) for _ in range(4))
    return LossLevel(initial, lowest, reference, recent, jnp.float32(0.0), jnp.int32(0), jnp.int32(0))


def measured(level: LossLevel, value: jax.Array) -> LossLevel:
    """``level`` with one more loss of the very parameters that it was measured at.

    The first loss is also the first guess of its noise: until more is known, only a rise by as much as the
    loss itself counts. A second loss of the initial parameters is a fair sample of the noise.
    """
    first, again = level.steps == 0, level.steps == 1
    higher = jnp.maximum(level.reference, value)
    sampled = jnp.maximum(level.deviation * STRICTNESS, jnp.abs(value - level.reference))
    return LossLevel(
        initial=jnp.maximum(level.initial, value),
        lowest=jnp.maximum(level.lowest, value),
        reference=higher,
        recent=higher,
        deviation=jnp.where(first, jnp.abs(value) / NOISE, jnp.where(again, sampled, level.deviation)),
        steps=jnp.where(first, 1, level.steps),
        above=jnp.zeros_like(level.above),
    )


def followed(
    level: LossLevel, value: jax.Array, *, spike: Any, patience: Any, on_trial: jax.Array
) -> tuple[LossLevel, jax.Array]:
    """``level`` with the loss of the next step, and whether the run has failed by that loss."""
    noise = NOISE * level.deviation
    size = jnp.maximum(jnp.abs(level.reference), SHARE_OF_DESCENT * (level.initial - level.reference))
    allowed = jnp.maximum((spike - 1.0) * jnp.where(on_trial, STRICTNESS, 1.0) * size, noise)
    recent = level.recent + (value - level.recent) / 2
    half_lost = level.lowest + (level.initial - level.lowest) / 2
    above = jnp.where(recent > half_lost + noise, level.above + 1, 0)
    failed = (recent > level.reference + allowed) | (above >= patience)
    weight = 1.0 / patience
    return LossLevel(
        initial=level.initial,
        lowest=jnp.minimum(level.lowest, recent),
        # What exceeds the allowed rise pulls no harder than it, or one outlier would raise the level for long.
        reference=level.reference + weight * (jnp.minimum(value, level.reference + allowed) - level.reference),
        recent=recent,
        deviation=level.deviation + weight * (jnp.minimum(jnp.abs(value - level.recent), allowed) - level.deviation),
        steps=jnp.minimum(level.steps + 1, 2),
        above=above,
    ), failed
