"""A second moment that starts from the first gradient."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from lrjax.typing import PyTree


def from_first_gradient(adam: optax.GradientTransformation) -> optax.GradientTransformation:
    """``optax.scale_by_adam`` with ``nu = |g|**2`` before its first update, bias correction and all else unchanged.

    In a step that a preset skips the gradient is zero and the count stays, so that the first finite one counts.
    """

    def update(
        grads: PyTree, state: optax.ScaleByAdamState, params: PyTree = None
    ) -> tuple[PyTree, optax.ScaleByAdamState]:
        def started(grad: jax.Array, nu: jax.Array) -> jax.Array:
            return jnp.where(state.count == 0, jnp.square(jnp.abs(grad)).astype(nu.dtype), nu)

        updates, new_state = adam.update(grads, state._replace(nu=jax.tree.map(started, grads, state.nu)), params)
        return updates, new_state

    return optax.GradientTransformation(adam.init, update)
