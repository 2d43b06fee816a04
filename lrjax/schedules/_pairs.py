"""Numbers held as the unevaluated sum of two floats, about 47 bits in float32.

A float32 cannot tell the steps beyond 2²⁴ apart, and exp(b·log n) multiplies the rounding of the logarithm by
the size of the exponent. Pairs carry both through. Every product here is of two halves of at most 12 bits, so it
is exact and a compiler that fuses multiply and add cannot change it.

Source: T. J. Dekker, A floating-point technique for extending the available precision, 1971.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar, cast

import jax
import jax.numpy as jnp
import numpy as np

F = TypeVar("F", bound=Callable[..., Any])


def inlined(function: F) -> F:
    """One dispatch where the arguments are concrete, no trace of a call where they are not."""
    return cast("F", jax.jit(function, inline=True))


class Pair(NamedTuple):
    """The number ``hi + lo``, with ``|lo|`` at most half an ulp of ``hi``."""

    hi: jax.Array
    lo: jax.Array

    @property
    def value(self) -> jax.Array:
        """The nearest single float."""
        return self.hi + self.lo


def float_dtype() -> Any:
    """float32, or float64 where x64 is on."""
    return jnp.result_type(float)


def as_float(value: Any) -> jax.Array:
    """A hyperparameter in the dtype of the result."""
    return jnp.asarray(value, float_dtype())


def real(value: Any) -> Pair:
    """A hyperparameter as a pair: what float32 holds of it, exactly."""
    hi = as_float(value)
    return Pair(hi, jnp.zeros_like(hi))


def known(value: float) -> Pair:
    """A constant of mathematics to the precision of a pair."""
    hi = np.asarray(value, float_dtype())
    return Pair(jnp.asarray(hi), as_float(value - float(hi)))


def int32(value: Any) -> jax.Array:
    """A step count."""
    return jnp.asarray(value).astype(jnp.int32)


def whole(value: Any) -> Pair:
    """A step count, exactly."""
    integer = int32(value)
    low_bits = integer & 0xFF
    return _normalized((integer - low_bits).astype(float_dtype()), low_bits.astype(float_dtype()))


@inlined
def steps_since(step: Any, start: Any) -> jax.Array:
    """``max(step - start, 0)`` in int32."""
    return jnp.maximum(step - int32(start), 0)


def _normalized(large: jax.Array, small: jax.Array) -> Pair:
    hi = large + small
    return Pair(hi, small - (hi - large))


def _exact_sum(a: jax.Array, b: jax.Array) -> Pair:
    hi = a + b
    of_b = hi - a
    return Pair(hi, (a - (hi - of_b)) + (b - of_b))


@jax.custom_jvp
def _head(value: jax.Array) -> jax.Array:
    """The upper half of the significand."""
    integer, mask = (jnp.int32, ~0xFFF) if value.dtype == jnp.float32 else (jnp.int64, ~0x7FFFFFF)
    bits = jax.lax.bitcast_convert_type(value, integer) & mask
    return jax.lax.bitcast_convert_type(bits, value.dtype)


@_head.defjvp
def _head_jvp(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    return _head(*primals), tangents[0]


def negative(a: Pair) -> Pair:
    """-a."""
    return Pair(-a.hi, -a.lo)


@inlined
def add(a: Pair, b: Pair) -> Pair:
    """A + b."""
    hi, error = _exact_sum(a.hi, b.hi)
    return _normalized(hi, error + (a.lo + b.lo))


@inlined
def subtract(a: Pair, b: Pair) -> Pair:
    """A - b, exact for integers."""
    return add(a, negative(b))


@inlined
def multiply(a: Pair, b: Pair) -> Pair:
    """A · b."""
    a_head, b_head = _head(a.hi), _head(b.hi)
    a_tail, b_tail = a.hi - a_head, b.hi - b_head
    hi, first = _exact_sum(a_head * b_head, a_head * b_tail)
    hi, second = _exact_sum(hi, a_tail * b_head)
    hi, third = _exact_sum(hi, a_tail * b_tail)
    return _normalized(hi, first + second + third + (a.hi * b.lo + a.lo * b.hi))


@inlined
def divide(a: Pair, b: Pair) -> Pair:
    """A / b."""
    quotient = a.hi / b.hi
    rest = subtract(a, multiply(Pair(quotient, jnp.zeros_like(quotient)), b))
    return _normalized(quotient, rest.hi / b.hi)


def minimum(a: Pair, b: Pair) -> Pair:
    """The smaller of two."""
    return choose(subtract(a, b).hi <= 0, a, b)


def choose(condition: jax.Array, a: Pair, b: Pair) -> Pair:
    """``a`` where the condition holds, else ``b``."""
    return Pair(jnp.where(condition, a.hi, b.hi), jnp.where(condition, a.lo, b.lo))


def stack(pairs: Sequence[Pair]) -> Pair:
    """Scalars along a new axis."""
    return Pair(jnp.stack([pair.hi for pair in pairs]), jnp.stack([pair.lo for pair in pairs]))


@inlined
def log2(x: Pair) -> Pair:
    """The binary logarithm of a positive normal number, relative error below 2⁻³³ in float32.

    With m in [√½, √2), s = (m - 1) / (m + 1): log2(2**e · m) = e + 2 / ln 2 · (s + s³/3 + s⁵/5 + …).
    """
    if x.hi.dtype == jnp.float64:
        return real(jnp.log2(x.value))
    root_half_bits, mantissa_bits, bias = 0x3F3504F3, 23, 127
    bits = jax.lax.bitcast_convert_type(x.hi, jnp.int32)
    exponent = (bits - root_half_bits) >> mantissa_bits
    scale = jax.lax.bitcast_convert_type((bias - exponent) << mantissa_bits, jnp.float32)
    m = Pair(x.hi * scale, x.lo * scale)
    s = divide(subtract(m, known(1.0)), add(m, known(1.0)))
    cube = multiply(s, multiply(s, s))
    t = s.hi * s.hi
    tail = cube.hi * t * (1 / 5 + t * (1 / 7 + t * (1 / 9 + t * (1 / 11 + t / 13))))
    series = add(s, add(multiply(cube, known(1 / 3)), Pair(tail, jnp.zeros_like(tail))))
    # Without the barrier XLA copies this chain into every use of it, and may compile for minutes.
    logarithm = add(whole(exponent), multiply(series, known(2 / np.log(2.0))))
    return cast("Pair", jax.lax.optimization_barrier(logarithm))  # type: ignore[no-untyped-call]


@inlined
def exp2(y: Pair) -> jax.Array:
    """2 to the power y, 0 where that is subnormal."""
    if y.hi.dtype == jnp.float64:
        return jnp.exp2(y.value)
    mantissa_bits, bias = 23, 127
    inside = (y.hi >= 1 - bias) & (y.hi <= bias)
    y = choose(inside, y, real(jnp.zeros_like(y.hi)))
    exponent = jax.lax.stop_gradient(jnp.round(y.hi))
    scale = jax.lax.bitcast_convert_type((exponent.astype(jnp.int32) + bias) << mantissa_bits, jnp.float32)
    fraction = (y.hi - exponent) + y.lo
    return jnp.where(inside, jnp.exp2(fraction) * scale, 0.0)


@inlined
def power(base: Pair, exponent: Pair) -> jax.Array:
    """``base ** exponent`` for a base that is positive, or zero with a positive exponent."""
    positive = base.hi > 0
    safe = choose(positive, base, real(jnp.ones_like(base.hi)))
    return jnp.where(positive, exp2(multiply(exponent, log2(safe))), 0.0)


@inlined
def expm1(x: Pair) -> jax.Array:
    """``e**x - 1``, relative error of about 3 ulp also near 0, where XLA's own has 6."""
    if x.hi.dtype == jnp.float64:
        return jnp.expm1(x.value)
    small = jnp.abs(x.hi) < 0.4
    z = jnp.where(small, x.hi, 0.0)
    series = 1 + z / 2 * (1 + z / 3 * (1 + z / 4 * (1 + z / 5 * (1 + z / 6 * (1 + z / 7 * (1 + z / 8))))))
    large = exp2(multiply(x, known(1 / np.log(2.0)))) - 1
    return jnp.where(small, z * series + jnp.where(small, x.lo, 0.0), large)
