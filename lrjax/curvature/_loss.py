"""What the curvature is measured of: a scalar loss of real parameters, in float32 or wider."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lrjax import _checks
from lrjax._norm import accumulation_dtype
from lrjax.typing import LossFn, PyTree


def check_params(call: str, params: PyTree) -> None:
    """Refuse what is not a pytree of real floating-point arrays."""
    leaves = jax.tree.leaves(params)
    if not leaves:
        _checks.refuse(call, "params", "a pytree with floating-point arrays", "one without arrays")
    for leaf in leaves:
        if not isinstance(leaf, int | float | complex | np.generic | np.ndarray | jax.Array):
            _checks.refuse_type(call, "params", "a pytree of floating-point arrays", leaf)
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            raise TypeError(f"`{call}(params=...)` must hold real floating-point arrays, got {jnp.result_type(leaf)}")


def widened(params: PyTree) -> PyTree:
    """The parameters in float32 or wider: half precision would round away what is measured."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, accumulation_dtype(jnp.asarray(leaf))), params)


def of_params(call: str, loss_fn: LossFn, batch: PyTree) -> Callable[[PyTree], jax.Array]:
    """``loss_fn`` on this batch, which once traced refuses to give anything but one floating-point number."""

    def loss(params: PyTree) -> jax.Array:
        result: Any = loss_fn(params, batch)
        if not isinstance(result, int | float | np.generic | np.ndarray | jax.Array):
            raise TypeError(f"`{call}(loss_fn=...)` must return a scalar, got {type(result).__name__}")
        array = jnp.asarray(result)
        if array.shape != ():
            requirement = "a function to a scalar (a mean, say)"
            _checks.refuse(call, "loss_fn", requirement, f"one to an array of shape {array.shape}")
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise TypeError(f"`{call}(loss_fn=...)` must return a floating-point scalar, got dtype {array.dtype}")
        return array

    return loss
