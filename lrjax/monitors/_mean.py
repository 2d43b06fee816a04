"""The mean of many values, without what rounding takes from their sum."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from lrjax.monitors._exact import two_sum


class PartialMean(NamedTuple):
    """Values on the way to a mean.

    Attributes:
        values: How many, int32.
        origin: The first of them, or 0 where that is not finite.
        total: The sum of their differences from it, so that the mean of equal values is that value.
        correction: What rounding has taken from that sum.
    """

    values: jax.Array
    origin: jax.Array
    total: jax.Array
    correction: jax.Array

    @property
    def value(self) -> jax.Array:
        """The mean so far, right to the last digit or so."""
        change = jnp.where(jnp.isfinite(self.total), self.total + self.correction, self.total)
        return self.origin + change / self.values


def no_values(dtype: jax.typing.DTypeLike) -> PartialMean:
    """The start of a mean."""
    zero = jnp.zeros((), dtype)
    return PartialMean(jnp.zeros((), jnp.int32), zero, zero, zero)


def with_value(mean: PartialMean, value: jax.Array) -> PartialMean:
    """The mean of one value more."""
    begun = jnp.where(jnp.isfinite(value), value, 0.0)
    origin = jnp.where(mean.values == 0, begun, mean.origin)
    difference, below = two_sum(value, -origin)
    total, lost = two_sum(mean.total, difference)
    return PartialMean(optax.safe_increment(mean.values), origin, total, mean.correction + lost + below)
