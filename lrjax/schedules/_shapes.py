"""The way from one value to another: shapes on progress 0..1.

A shape gets the progress from both ends, since 1 - done has lost its digits where left is small, and weighs the two
values with ``fall`` (1 at the start, 0 at the end) and ``rise`` (its complement, each to full precision).

Sources: cosine 1608.03983; 1-sqrt, square and mirror_cosine 2405.18392; exponential 2408.13359; inverse 2410.05192.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from lrjax import _checks
from lrjax.schedules import _pairs
from lrjax.schedules._pairs import Pair

RATIO_TO_ZERO = 0.1
"""The ratio end/start that "exponential" and "inverse" take their curvature from where one of them is 0."""


class Progress(NamedTuple):
    """How far a phase has come: ``done`` 0..1 and ``left`` 1..0."""

    done: Pair
    left: Pair


Shape: TypeAlias = Callable[[Progress, jax.Array, jax.Array], jax.Array]
"""``shape(progress, start, end) -> value``."""


ShapeLike: TypeAlias = str | Callable[[jax.Array], Any]
"""A shape as users write it: a name, or ``fall`` as a function of ``done``."""


def blend(start: jax.Array, end: jax.Array, fall: jax.Array, rise: jax.Array) -> jax.Array:
    """``start * fall + end * rise``, as a sum of positive terms that meets both ends exactly."""
    value = jnp.where(start >= end, end + (start - end) * fall, start + (end - start) * rise)
    return jnp.where(rise == 0, start, jnp.where(fall == 0, end, value))


def linear(progress: Progress, start: jax.Array, end: jax.Array) -> jax.Array:
    """``fall = left``."""
    return blend(start, end, progress.left.hi, progress.done.hi)


def _haversine(x: Pair) -> jax.Array:
    return jnp.square(jnp.sin(math.pi / 2 * x.hi))


def cosine(progress: Progress, start: jax.Array, end: jax.Array) -> jax.Array:
    """``fall = (1 + cos(pi done)) / 2 = sin(pi/2 left)²``."""
    return blend(start, end, _haversine(progress.left), _haversine(progress.done))


def one_minus_sqrt(progress: Progress, start: jax.Array, end: jax.Array) -> jax.Array:
    """``fall = 1 - sqrt(done) = left / (1 + sqrt(done))``."""
    begun = progress.done.hi > 0
    root = jnp.where(begun, jnp.sqrt(jnp.where(begun, progress.done.hi, 1.0)), 0.0)
    return blend(start, end, progress.left.hi / (1 + root), root)


def square(progress: Progress, start: jax.Array, end: jax.Array) -> jax.Array:
    """``fall = 1 - done² = left (1 + done)``."""
    done = progress.done.hi
    return blend(start, end, progress.left.hi * (1 + done), done * done)


def mirror_cosine(progress: Progress, start: jax.Array, end: jax.Array) -> jax.Array:
    """``fall = 2 left - (1 + cos(pi done)) / 2``, the cosine mirrored at the line."""
    fall = 2 * progress.left.hi - _haversine(progress.left)
    return blend(start, end, fall, 2 * progress.done.hi - _haversine(progress.done))


def exponential(progress: Progress, start: jax.Array, end: jax.Array) -> jax.Array:
    """``start (end/start)**done``; to 0: ``start (r**done - r) / (1 - r)`` with r = 0.1."""
    positive = (start > 0) & (end > 0)
    one = jnp.ones_like(start)
    ratio = _pairs.divide(_pairs.real(jnp.where(positive, end, one)), _pairs.real(jnp.where(positive, start, one)))
    geometric = start * _pairs.power(ratio, progress.done)
    # fall = expm1(rate left) / (1/r - 1) and rise = -expm1(-rate done) / (1 - r); blend reads one of them
    falling = start >= end
    rate = jnp.where(falling, -math.log(RATIO_TO_ZERO), math.log(RATIO_TO_ZERO))
    grown = _pairs.expm1(_pairs.multiply(_pairs.real(rate), _pairs.choose(falling, progress.left, progress.done)))
    weight = grown / jnp.where(falling, 1 / RATIO_TO_ZERO - 1, RATIO_TO_ZERO - 1)
    fall, rise = jnp.where(falling, weight, 1 - weight), jnp.where(falling, 1 - weight, weight)
    return jnp.where(positive, geometric, blend(start, end, fall, rise))


def inverse(progress: Progress, start: jax.Array, end: jax.Array) -> jax.Array:
    """``1 / value`` is linear; to 0: ``start (h - r) / (1 - r)``, ``h = 1 / (done/r + left)``, r = 0.1."""
    done, left = progress.done.hi, progress.left.hi
    positive = (start > 0) & (end > 0)
    one = jnp.ones_like(start)
    safe_end = jnp.where(positive, end, one)
    ratio = jnp.where(positive, safe_end / jnp.where(positive, start, one), RATIO_TO_ZERO)
    below = done + ratio * left
    harmonic = jnp.where(done == 0, start, safe_end / below)
    return jnp.where(positive, harmonic, blend(start, end, ratio * left / below, done / below))


def of_power(exponent: Any) -> Shape:
    """``fall = left**exponent``."""
    exponent_pair = _pairs.real(exponent)

    def shape(progress: Progress, start: jax.Array, end: jax.Array) -> jax.Array:
        logarithm = _pairs.multiply(exponent_pair, _log_left(progress))
        rise = jnp.where(progress.left.hi > 0, -_pairs.expm1(logarithm), 1.0)
        return blend(start, end, _pairs.power(progress.left, exponent_pair), rise)

    return shape


def _log_left(progress: Progress) -> Pair:
    """``log(left)`` where something is left; from ``done`` where that is the small one."""
    done, left = progress
    left = _pairs.choose(left.hi > 0, left, _pairs.known(1.0))
    from_left = _pairs.multiply(_pairs.log2(left), _pairs.known(math.log(2)))
    small = _pairs.real(jnp.log1p(-jnp.where(done.hi < 0.01, done.hi, 0.0)))
    return _pairs.choose(done.hi < 0.01, small, from_left)


def of_function(fall: Callable[[jax.Array], Any]) -> Shape:
    """A shape given as ``fall(done)``, 1 at done = 0 and 0 at done = 1."""

    def shape(progress: Progress, start: jax.Array, end: jax.Array) -> jax.Array:
        weight = _pairs.as_float(fall(progress.done.hi))
        return blend(start, end, weight, 1 - weight)

    return shape


SHAPES: dict[str, Shape] = {
    "linear": linear,
    "cosine": cosine,
    "1-sqrt": one_minus_sqrt,
    "exponential": exponential,
    "inverse": inverse,
    "square": square,
    "mirror_cosine": mirror_cosine,
}


def checked_shape(call: str, argument: str, value: Any) -> ShapeLike:
    """The user's name of a shape, or function of ``done``, once it is known to be one."""
    return value if callable(value) else _checks.choice(call, argument, value, SHAPES)


def shape_of(value: ShapeLike) -> Shape:
    """The shape that a name or a function of ``done`` stands for."""
    return of_function(value) if callable(value) else SHAPES[value]
