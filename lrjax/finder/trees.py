"""Pytrees of arrays: their shapes, whether two agree, and how a message shows them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lrjax import _checks
from lrjax.typing import PyTree


def shape_of(leaf: Any) -> jax.ShapeDtypeStruct:
    """The shape and dtype of an array, without its value and its weak type."""
    return shaped(leaf.shape, leaf.dtype)


def shaped(shape: tuple[int, ...], dtype: Any, sharding: Any = None) -> jax.ShapeDtypeStruct:
    """The shape and dtype of an array that need not exist."""
    return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)  # type: ignore[no-untyped-call]


def lanes_times(leaf: Any, factor: int, divisor: int) -> jax.ShapeDtypeStruct:
    """The shape with ``factor / divisor`` times as many lanes."""
    if factor == divisor:
        return shape_of(leaf)
    return shaped((leaf.shape[0] * factor // divisor, *leaf.shape[1:]), leaf.dtype)


def rows(tree: PyTree, places: np.ndarray) -> PyTree:
    """These rows of every leaf."""
    return jax.tree.map(lambda leaf: leaf[places], tree)


def without_lanes(leaf: Any) -> jax.ShapeDtypeStruct:
    """The shape of one row."""
    return shaped(leaf.shape[1:], leaf.dtype)


def nbytes(tree: PyTree) -> int:
    """The bytes of arrays or shapes."""
    return sum(math.prod(leaf.shape) * int(leaf.dtype.itemsize) for leaf in jax.tree.leaves(tree))


def is_key(leaf: Any) -> bool:
    """Whether an array holds typed JAX keys."""
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def strong(leaf: Any) -> jax.Array:
    """An array of a dtype of its own, not one that yields to what it is combined with."""
    leaf = jnp.asarray(leaf)
    return leaf if is_key(leaf) else jax.lax.convert_element_type(leaf, leaf.dtype)


def raw(leaf: jax.Array) -> jax.Array:
    """The data of a key, any other array as it is."""
    return jax.random.key_data(leaf) if is_key(leaf) else leaf


def cooked(leaves: Sequence[jax.Array], key_kinds: Sequence[Any]) -> list[jax.Array]:
    """Keys made of their data again, where a leaf has a kind of key."""
    return [
        leaf if kind is None else jax.random.wrap_key_data(leaf, impl=kind)
        for leaf, kind in zip(leaves, key_kinds, strict=True)
    ]


def form(tree: PyTree) -> tuple[Any, ...]:
    """The structure, shapes and dtypes of a tree, as something that can be looked up."""
    leaves, structure = jax.tree.flatten(tree)
    return (structure, *((leaf.shape, leaf.dtype) for leaf in leaves))


def alike(tree: PyTree, other: PyTree, *, dtypes: bool = True) -> bool:
    """Whether two trees have one structure, and their leaves the same shapes and, if asked, dtypes."""

    def forms(tree: PyTree) -> list[Any]:
        return [(leaf.shape, leaf.dtype if dtypes else None) for leaf in jax.tree.leaves(tree)]

    structures: list[Any] = [jax.tree.structure(tree), jax.tree.structure(other)]
    return structures[0] == structures[1] and forms(tree) == forms(other)


def described(tree: PyTree) -> str:
    """The tree with ``dtype[shape]`` in place of its arrays, and the type in place of other leaves."""
    texts = [
        f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]" if hasattr(leaf, "dtype") else type(leaf).__name__
        for leaf in jax.tree.leaves(tree)
    ]
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
            _checks.refuse(call, argument, requirement, f"{f'shape {shape}' if shape else 'a scalar'}{where}")
    lengths = {shape[0] for _, shape in leaves}
    if len(lengths) > 1:
        listed = ", ".join(f"{shape[0]}{where}" for where, shape in leaves)
        _checks.refuse(call, argument, f"a pytree of arrays with equally many {counted}", listed)
    return int(lengths.pop())
