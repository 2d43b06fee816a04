"""The largest eigenvalue of a symmetric operator on a pytree, by Lanczos."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from lrjax._norm import global_norm
from lrjax.typing import PyTree

_ROUNDINGS = 16
"""Roundings of the operator's norm below which no residual is told apart from zero."""


class Ritz(NamedTuple):
    """The largest eigenvalue of a Krylov space.

    Attributes:
        value: The largest Ritz value.
        residual: Norm of ``operator @ x - value * x`` for its unit vector ``x``: an eigenvalue is that near.
        products: Products with the operator so far, int32.
    """

    value: jax.Array
    residual: jax.Array
    products: jax.Array


class _Krylov(NamedTuple):
    """The three-term recurrence: two unit vectors, and the tridiagonal matrix so far, zeros where not yet filled."""

    previous: PyTree
    vector: PyTree
    diagonal: jax.Array
    couplings: jax.Array
    ritz: Ritz


def largest_eigenvalue(
    operator: Callable[[PyTree], PyTree], start: PyTree, *, iterations: int, tolerance: jax.typing.ArrayLike
) -> Ritz:
    """Lanczos from the unit vector ``start`` until ``residual <= tolerance * abs(value)``, ``iterations`` at most.

    The vectors are not kept and not orthogonalised again: what that costs, once the largest Ritz value has
    converged, are copies of it and not its accuracy (Paige, 1980), and the residual stays a bound to rounding.
    """
    dtype = jnp.result_type(*jax.tree.leaves(start))
    zeros = jnp.zeros(iterations, dtype)
    unknown = Ritz(jnp.zeros((), dtype), jnp.full((), jnp.inf, dtype), jnp.int32(0))
    first = _Krylov(jax.tree.map(jnp.zeros_like, start), start, zeros, zeros, unknown)

    def go_on(krylov: _Krylov) -> jax.Array:
        value, residual, products = krylov.ritz
        rounding = _ROUNDINGS * float(np.finfo(dtype).eps) * _bound(krylov)
        return (products < iterations) & (residual > jnp.maximum(tolerance * jnp.abs(value), rounding))

    def advance(krylov: _Krylov) -> _Krylov:
        count = krylov.ritz.products
        coupling = jnp.where(count > 0, krylov.couplings[count - 1], 0.0)
        image = _minus(operator(krylov.vector), coupling, krylov.previous)
        along = _dot(image, krylov.vector)
        image = _minus(image, along, krylov.vector)
        length = norm(image)
        diagonal, couplings = krylov.diagonal.at[count].set(along), krylov.couplings.at[count].set(length)
        return _Krylov(krylov.vector, unit(image, length), diagonal, couplings, _ritz(diagonal, couplings, count + 1))

    last: _Krylov = lax.while_loop(go_on, advance, first)
    return last.ritz


def norm(tree: PyTree) -> jax.Array:
    """The Euclidean norm of a tree."""
    root, scale = global_norm(tree)
    length: jax.Array = root / scale
    return length


def unit(tree: PyTree, length: jax.Array) -> PyTree:
    """``tree / length``, or zeros where the length is zero."""
    return jax.tree.map(lambda x: (x / jnp.where(length == 0, 1, length)).astype(x.dtype), tree)


def _dot(tree: PyTree, other: PyTree) -> jax.Array:
    products = jax.tree.map(lambda x, y: jnp.sum(x * y), tree, other)  # in full precision on every device
    return jax.tree.reduce(jnp.add, products)


def _minus(tree: PyTree, factor: jax.Array, other: PyTree) -> PyTree:
    return jax.tree.map(lambda x, y: (x - factor * y).astype(x.dtype), tree, other)


def _bound(krylov: _Krylov) -> jax.Array:
    """At least the norm of the tridiagonal matrix."""
    return jnp.max(jnp.abs(krylov.diagonal) + 2 * jnp.max(krylov.couplings))


def _ritz(diagonal: jax.Array, couplings: jax.Array, count: jax.Array) -> Ritz:
    """The largest eigenvalue of the tridiagonal matrix of the first ``count`` rows.

    The other rows hold a lower bound of the spectrum, so that the matrix keeps its shape.
    """
    place = jnp.arange(diagonal.size)
    before = jnp.concatenate([jnp.zeros_like(couplings[:1]), couplings[:-1]])
    lowest = jnp.min(jnp.where(place < count, diagonal - before - couplings, jnp.inf))
    inner = jnp.where(place < count - 1, couplings, 0.0)[:-1]
    matrix = jnp.diag(jnp.where(place < count, diagonal, lowest)) + jnp.diag(inner, 1) + jnp.diag(inner, -1)
    values, vectors = jnp.linalg.eigh(matrix)
    return Ritz(values[-1], couplings[count - 1] * jnp.abs(vectors[count - 1, -1]), count)
