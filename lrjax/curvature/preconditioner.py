"""Adam's diagonal preconditioner, found in the state of an optimizer."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lrjax import _checks
from lrjax.typing import PyTree

_FIELDS = {"count", "mu", "nu"}


class SecondMoment(NamedTuple):
    """What Adam divides its updates by, before the correction of its bias.

    Attributes:
        count: Updates so far.
        nu: Moving average of the squared gradients, like the parameters.
        b2: Its decay.
        eps: Added outside the square root.
        eps_root: Added inside the square root.
    """

    count: jax.Array  # type: ignore[assignment]  # tuple.count
    nu: PyTree
    b2: Any
    eps: Any
    eps_root: Any

    def inverse_root(self, params: PyTree) -> PyTree:
        """``P**(-1/2)`` with ``P = sqrt(nu / (1 - b2**count) + eps_root) + eps``, in the parameters' dtypes."""

        def of_leaf(nu: jax.Array, param: jax.Array) -> jax.Array:
            correction = -jnp.expm1(self.count * jnp.log(jnp.asarray(self.b2, param.dtype)))
            root = jnp.sqrt(nu.astype(param.dtype) / correction + self.eps_root)
            return lax.rsqrt((root + self.eps).astype(param.dtype))

        return jax.tree.map(of_leaf, self.nu, params)


def second_moment(call: str, state: PyTree, params: PyTree, b2: Any, eps: Any, eps_root: Any) -> SecondMoment:
    """The one Adam state within an optimizer's ``state``, for all of the parameters."""
    found = [node for node in jax.tree.leaves(state, is_leaf=_is_adam) if _is_adam(node)]
    if len(found) != 1:
        requirement = "the state of an optimizer with one Adam in it (fields count, mu and nu)"
        _checks.refuse(call, "preconditioner", requirement, f"one with {len(found) or 'none'}")
    count, nu = found[0].count, found[0].nu
    if _shapes(nu) != _shapes(params):
        requirement = "the state of an Adam of these params, all of them and no others"
        _checks.refuse(call, "preconditioner", requirement, "one whose nu differs from them in structure or shapes")
    if not _checks.is_traced(count) and count == 0:
        requirement = "a state after an update, as from optimizer.update(grads, optimizer.init(params), params)[1]"
        _checks.refuse(call, "preconditioner", requirement, "one before any (count 0), whose nu is zero")
    return SecondMoment(
        count,
        nu,
        _checks.number(call, "b2", b2, low=0.0, below=1.0),
        _checks.number(call, "eps", eps, low=0.0),
        _checks.number(call, "eps_root", eps_root, low=0.0),
    )


def _is_adam(node: Any) -> bool:
    return set(getattr(node, "_fields", ())) == _FIELDS


def _shapes(tree: PyTree) -> PyTree:
    return jax.tree.map(jnp.shape, tree, is_leaf=None), jax.tree.structure(tree)
