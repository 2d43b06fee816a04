"""Sums over a tree, in float32 or wider, for complex leaves too."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lrjax.typing import PyTree


def squared(x: jax.Array) -> jax.Array:
    """``|x|**2``."""
    return jnp.real(x * jnp.conj(x))


def inner_product(left: PyTree, right: PyTree) -> jax.Array:
    """The real part of the inner product of two trees."""
    products = jax.tree.map(lambda x, y: jnp.sum(jnp.real(jnp.conj(x) * y)), left, right)
    return jnp.asarray(sum(jax.tree.leaves(products), jnp.float32(0.0)))


def sum_of_moduli(tree: PyTree) -> jax.Array:
    """The sum of ``|x|`` over all entries."""
    return jnp.asarray(sum((jnp.sum(jnp.abs(leaf)) for leaf in jax.tree.leaves(tree)), jnp.float32(0.0)))
