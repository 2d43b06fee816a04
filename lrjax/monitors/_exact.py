"""Comparisons as float64 makes them, from float32 operations alone."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax import lax

from lrjax import _checks

_BITS = 12  # the product of two numbers of half of float32's 24 bits is exact, fused with a sum or not


def two_sum(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """``a + b`` rounded, and what the rounding lost; the two add up exactly."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def exceeds(terms: list[jax.Array], value: jax.Array) -> jax.Array:
    """Whether the sum of the float32 ``terms``, rounded once to float64, is greater than the float32 ``value``.

    Rounded, it is where it lies beyond the middle of ``value`` and float64's next number; the middle itself is rounded
    to ``value``, which is even. Two passes that put aside what each addition loses free the sum of rounding, to
    2**-60 of the largest term at worst.
    """
    rest = [-value, -_half_spacing(value), *terms]
    rough = sum(terms, -value)
    for _ in range(2):
        for i in range(1, len(rest)):
            rest[i], rest[i - 1] = two_sum(rest[i], rest[i - 1])
    return jnp.where(jnp.isfinite(rough), sum(rest[1:], rest[0]), rough) > 0.0


def _half_spacing(value: jax.Array) -> jax.Array:
    """Half of what lies between a float32 number and the next greater one of float64."""
    power = _masked(value, 0x7F800000)
    return power * jnp.where(-value == power, 2.0**-54, 2.0**-53)


def _masked(x: jax.Array, mask: int) -> jax.Array:
    """``x`` with the bits of ``mask`` alone."""
    return lax.bitcast_convert_type(lax.bitcast_convert_type(x, jnp.uint32) & jnp.uint32(mask), jnp.float32)


def halves(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Two numbers of at most 12 bits whose sum is the finite float32 ``x``."""
    high = _masked(x, 0xFFFFF000)
    return high, x - high


def pieces(number: float) -> list[jax.Array]:
    """Float32 numbers of at most 12 bits whose sum is ``number``, in float64 or traced, the largest first."""
    if _checks.is_traced(number):
        return list(halves(jnp.asarray(number, jnp.float32)))
    found = []
    while number:
        mantissa, exponent = math.frexp(number)
        found.append(math.ldexp(int(mantissa * 2**_BITS), exponent - _BITS))
        number -= found[-1]
    return [jnp.float32(piece) for piece in found]
