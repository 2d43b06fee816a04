"""The Euclidean norm of a tree, right at every magnitude."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


class ScaledNorm(NamedTuple):
    """The norm of a tree as ``root / scale``, kept apart since the quotient may leave the dtype's range.

    Attributes:
        root: The norm of ``scale * tree``, not finite exactly where the tree has a non-finite entry.
        scale: A power of two.
    """

    root: jax.Array
    scale: jax.Array

    @property
    def finite(self) -> jax.Array:
        """Whether every entry of the tree is finite."""
        return jnp.isfinite(self.root)

    @property
    def value(self) -> jax.Array:
        """The norm in float32: at most the largest float32 for a finite tree, inf or NaN for any other."""
        largest = np.finfo(np.float32).max
        norm = jnp.where(self.finite, jnp.minimum(self.root / self.scale, largest), self.root)
        return norm.astype(jnp.float32)


def accumulation_dtype(leaf: jax.Array) -> np.dtype:
    """The real dtype that the squares of ``leaf`` are summed in: float32 or wider."""
    return jnp.promote_types(leaf.real.dtype, jnp.float32)


@jax.jit  # outside jit, every call would compile the branches anew
def global_norm(tree: Any) -> ScaledNorm:
    """``sqrt(sum(|x|**2))`` over every entry ``x`` of every leaf, without overflow or underflow.

    Squares of float32 leave its range above 1e19 and below 1e-19. The plain sum is therefore taken first,
    and only where it comes out near an end of the range are the entries scaled by a power of two and
    summed again: one pass over the tree in all usual cases.
    """
    leaves = jax.tree.leaves(tree)
    dtype = jnp.result_type(jnp.float32, *(accumulation_dtype(leaf) for leaf in leaves))

    def sum_of_squares(scale: jax.Array) -> jax.Array:
        total = jnp.zeros((), dtype)
        for leaf in leaves:
            for part in (leaf.real, leaf.imag) if jnp.iscomplexobj(leaf) else (leaf,):
                total += jnp.sum(jnp.square(part.astype(dtype) * scale))
        return total

    # For float32: the plain sum is kept from 2^-60 to 2^100, else the entries are scaled by 2^90 or 2^-80.
    # Down from 2^128, 2^-80 leaves room for 2^31 of the largest entries; the same shares serve float64.
    unit = np.finfo(dtype).maxexp // 64
    one = jnp.ones((), dtype)
    plain = sum_of_squares(one)
    too_small = plain < 2.0 ** (-30 * unit)
    too_large = ~(plain < 2.0 ** (50 * unit))  # NaN as well: the scaled sum tells overflow from inf and NaN
    scale = jnp.where(too_large, 2.0 ** (-40 * unit), jnp.where(too_small, 2.0 ** (45 * unit), one))
    total = lax.cond(too_small | too_large, sum_of_squares, lambda _: plain, scale)
    return ScaledNorm(jnp.sqrt(total), scale)


def axis_norm(x: jax.Array, axes: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    """The norms of ``x`` over ``axes`` (kept, with size one) as ``root * scale``, neither out of range.

    The scale is the largest modulus, so that ``root`` is between 1 and the square root of the size.
    """
    modulus = jnp.abs(x).astype(accumulation_dtype(x))
    largest = jnp.max(modulus, axes, keepdims=True, initial=0.0)
    scale = jnp.where(largest > 0.0, largest, 1.0)
    return jnp.sqrt(jnp.sum(jnp.square(modulus / scale), axes, keepdims=True)), scale
