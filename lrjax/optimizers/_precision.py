"""Optimizers that compute in float32 whatever the parameters are stored in."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from lrjax.typing import PyTree


def in_float32(inner: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """``inner``, fed with half-precision leaves as float32.

    In bfloat16 a decay of 0.999 rounds to 1 and a second moment never falls; in float16 an eps of 1e-8 is
    zero. Moments are made in float32, updates go back to the gradient's dtype, and the state keeps the
    dtypes it was made with, so that it is a valid scan carry.
    """
    inner = optax.with_extra_args_support(inner)

    def init(params: PyTree) -> optax.OptState:
        return inner.init(_promoted(params))

    def update(
        grads: PyTree, state: optax.OptState, params: PyTree = None, **extra_args: Any
    ) -> tuple[PyTree, optax.OptState]:
        updates, new_state = inner.update(_promoted(grads), _promoted(state), _promoted(params), **extra_args)
        return _cast_like(updates, grads), _cast_like(new_state, state)

    return optax.GradientTransformationExtraArgs(init, update)


def _promoted(tree: PyTree) -> PyTree:
    """``tree`` with its floating leaves in float32 or wider."""

    def promoted(leaf: jax.Array) -> jax.Array:
        floating = jnp.issubdtype(leaf.dtype, jnp.floating)
        return jnp.asarray(leaf, jnp.promote_types(leaf.dtype, jnp.float32) if floating else leaf.dtype)

    return jax.tree.map(promoted, tree)


def _cast_like(tree: PyTree, reference: PyTree) -> PyTree:
    """``tree`` with the dtypes of ``reference``."""
    return jax.tree.map(lambda leaf, like: leaf.astype(like.dtype), tree, reference)
