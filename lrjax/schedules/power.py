"""The power scheduler."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrjax import _checks
from lrjax.schedules import _pairs
from lrjax.schedules._curve import Curve, latest, phase, prints_as_call
from lrjax.schedules._pairs import Pair, as_float, real, subtract, whole
from lrjax.schedules._position import Position
from lrjax.schedules._shapes import ShapeLike, checked_shape
from lrjax.typing import Schedule


@prints_as_call
def power(
    total_steps: ArrayLike,
    *,
    batch_size: ArrayLike,
    sequence_length: ArrayLike = 4096,
    warmup_steps: ArrayLike,
    decay_steps: ArrayLike,
    a: ArrayLike = 4.0,
    b: ArrayLike = -0.51,
    max_value: ArrayLike = 0.02,
    end_value: ArrayLike = 0.0,
    decay: ShapeLike = "exponential",
) -> Schedule:
    """The power scheduler: a rate that is a power of the tokens seen, whatever the batch and the run's length.

    ``eta(step) = min(max_value, batch_size * a * n**b)`` with ``n = step * batch_size * sequence_length`` tokens;
    in the warmup ``f(step) = step / warmup_steps * eta(warmup_steps)``; over the last ``decay_steps``
    ``f(step) = end_value + (eta(total_steps - decay_steps) - end_value) * fall(q)``.

    Args:
        total_steps: Steps of the whole run, warmup and cooldown included.
        batch_size: Sequences in a batch.
        sequence_length: Tokens in a sequence; the constants were fitted at 4096.
        warmup_steps: Steps of the warmup; 0 starts at the cap.
        decay_steps: Steps of the cooldown.
        a: Amplitude.
        b: Exponent, below 0.
        max_value: Cap of the rate.
        end_value: Rate at ``total_steps`` and after it.
        decay: ``fall``: a name or a function as in :func:`wsd`.

    Returns:
        A schedule: steps of any shape to float32 of that shape.

    Raises:
        ValueError: Where a value is out of range, or warmup and cooldown are longer than the run.

    Example:
        >>> import lrjax
        >>> schedule = lrjax.power(250_000, batch_size=1024, warmup_steps=1000, decay_steps=25_000)
        >>> print([round(float(schedule(step)), 5) for step in (500, 1000, 100_000, 250_000)])
        [0.01, 0.02, 0.00484, 0.0]

    Source: Shen et al., arXiv:2408.13359.
    """
    total = _checks.count("power", "total_steps", total_steps, low=1)
    batch = _checks.count("power", "batch_size", batch_size, low=1)
    sequence = _checks.count("power", "sequence_length", sequence_length, low=1)
    warmup = _checks.count("power", "warmup_steps", warmup_steps)
    cooldown = _checks.count("power", "decay_steps", decay_steps)
    amplitude = _checks.number("power", "a", a, above=0)
    exponent = _checks.number("power", "b", b, below=0)
    cap = _checks.number("power", "max_value", max_value, above=0)
    end = _checks.number("power", "end_value", end_value, low=0)
    _checks.at_most("power", "warmup_steps", warmup, "total_steps", total)
    _checks.at_most("power", "decay_steps", cooldown, "total_steps - warmup_steps", total, warmup)
    numbers = (total, batch, sequence, warmup, cooldown, amplitude, exponent, cap, end)
    return Curve(_power, numbers, (checked_shape("power", "decay", decay),))


def _power(
    position: Position,
    total: jax.Array,
    batch: jax.Array,
    sequence: jax.Array,
    warmup: jax.Array,
    cooldown: jax.Array,
    amplitude: jax.Array,
    exponent: jax.Array,
    cap: jax.Array,
    end: jax.Array,
    decay: ShapeLike,
) -> jax.Array:
    def eta(steps: Pair) -> jax.Array:
        begun = steps.hi > 0
        tokens = _pairs.multiply(_pairs.multiply(steps, whole(batch)), whole(sequence))
        law = _pairs.power(_pairs.choose(begun, tokens, _pairs.known(1.0)), real(exponent))
        return jnp.where(begun, jnp.minimum(law * as_float(amplitude) * as_float(batch), as_float(cap)), as_float(cap))

    warm, decay_start, stop = whole(warmup), subtract(whole(total), whole(cooldown)), whole(total)
    at_warm, at_decay_start = eta(_pairs.stack([warm, decay_start]))
    rise = phase(position, whole(0), warm, as_float(0.0), at_warm, "linear")
    fall = phase(position, decay_start, stop, at_decay_start, as_float(end), decay)
    pieces = [(whole(0), rise), (warm, eta(position.real)), (decay_start, fall), (stop, as_float(end))]
    return latest(position, pieces)
