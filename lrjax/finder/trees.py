"""Pytrees of arrays: their shapes, whether two agree, and how a message shows them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lrjax import _checks
from lrjax.typing import PyTree


def shape_of(leaf: Any) -> jax.ShapeDtypeStruct:
    """The shape and dtype of an array, without its value and its weak type."""
    return shaped(leaf.shape, leaf.dtype)


def shaped(shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
    """The shape and dtype of an array that need not exist."""
    return jax.ShapeDtypeStruct(shape, dtype)  # type: ignore[no-untyped-call]


def alike(tree: PyTree, other: PyTree, *, dtypes: bool = True) -> bool:
    """Whether two trees have one structure, and their leaves the same shapes and, if asked, dtypes."""

    def forms(tree: PyTree) -> list[Any]:
        return [(leaf.shape, leaf.dtype if dtypes else None) for leaf in jax.tree.leaves(tree)]

    structures: list[Any] = [jax.tree.structure(tree), jax.tree.structure(other)]
    return structures[0] == structures[1] and forms(tree) == forms(other)


def described(tree: PyTree) -> str:
    """The tree with ``dtype[shape]`` in place of its leaves."""
    texts = [f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]" for leaf in jax.tree.leaves(tree)]
    return _checks.shown(jax.tree.unflatten(jax.tree.structure(tree), texts)).replace("'", "")


def at(path: Any) -> str:
    """Where a leaf is, as a message ends; empty for a tree that is one leaf."""
    return f" at {jax.tree_util.keystr(path)}" if path else ""


def of_arrays(call: str, argument: str, tree: PyTree) -> PyTree:
    """``tree`` with every leaf an array of a dtype that JAX has."""

    def array(path: Any, leaf: Any) -> Any:
        if _checks.is_traced(leaf):
            raise TypeError(
                f"`{call}({argument}=...)` must hold concrete arrays: call {call} outside jit, grad and vmap"
            )
        if isinstance(leaf, jax.Array):
            return leaf
        host = np.asarray(leaf)
        if not (jnp.issubdtype(host.dtype, jnp.number) or host.dtype == bool):
            raise TypeError(
                f"`{call}({argument}=...)` must hold arrays of numbers, got {_checks.shown(leaf)} "
                f"({type(leaf).__name__}){at(path)}"
            )
        return host.astype(jax.dtypes.canonicalize_dtype(host.dtype), copy=False)

    return jax.tree_util.tree_map_with_path(array, tree)


def leading_axis(call: str, argument: str, arrays: PyTree, counted: str) -> int:
    """The length that the first axes of all leaves share."""
    leaves = [(at(path), leaf.shape) for path, leaf in jax.tree_util.tree_leaves_with_path(arrays)]
    requirement = f"a pytree of arrays whose first axis counts the {counted}"
    if not leaves:
        _checks.refuse(call, argument, requirement, "no arrays")
    for where, shape in leaves:
        if not shape or not shape[0]:
            _checks.refuse(call, argument, requirement, f"shape {shape}{where}")
    lengths = {shape[0] for _, shape in leaves}
    if len(lengths) > 1:
        listed = ", ".join(f"{shape[0]}{where}" for where, shape in leaves)
        _checks.refuse(call, argument, f"a pytree of arrays with equally many {counted}", listed)
    return int(lengths.pop())
