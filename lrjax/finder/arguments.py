"""The values that a test is given, checked before anything runs; messages name the argument as the user wrote it."""

from __future__ import annotations

import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lrjax import _checks
from lrjax.finder import contracts, trees
from lrjax.finder.supervised import is_init_function
from lrjax.typing import PyTree

_INSTEAD_OF_MODULES = {
    "flax.nnx": "lrjax.finder.from_nnx(model, loss) gives loss_fn and params",
    "flax.linen": "lrjax.finder.from_linen(module, loss, inputs) gives loss_fn and params",
    "equinox": "lrjax.finder.from_equinox(model, loss) gives loss_fn and params",
}


def rates(call: str, argument: str, value: Any) -> np.ndarray:
    """Distinct positive rates in the order given, ``[K]`` float64."""
    tiny = float(np.finfo(np.float32).tiny)
    items = _items(call, argument, value, "a sequence of rates")
    positive = [_checks.number(call, argument, item, above=0) for item in items]
    numbers = np.array([_checks.number(call, argument, item, low=tiny) for item in positive], np.float64)
    refuse_duplicates(call, argument, "distinct in float32", numbers.astype(np.float32))
    return numbers


def seeds(call: str, value: Any) -> np.ndarray:
    """Distinct seeds in the order given, ``[R]`` int32; a count means 0, 1, ...; None is the one seed 0."""
    if value is None:
        value = 1
    if isinstance(value, int | float | np.generic):
        return np.arange(_checks.count(call, "seeds", value, low=1), dtype=np.int32)
    items = _items(call, "seeds", value, "a count or a sequence of whole numbers")
    numbers = np.array([_checks.count(call, "seeds", item) for item in items], np.int32)
    refuse_duplicates(call, "seeds", "distinct", numbers)
    return numbers


def validation_steps(call: str, value: Any, steps: int, parts: int = 10) -> list[int]:
    """Numbers of updates in rising order; None means 0 and the ends of ``parts`` even parts of ``steps``."""
    if value is None:
        return sorted({round(steps * part / parts) for part in range(parts + 1)})
    items = _items(call, "validation_steps", value, "a sequence of whole numbers")
    return sorted({_checks.count(call, "validation_steps", item, high=steps) for item in items})


def hyperparams(call: str, value: PyTree) -> PyTree:
    """Host arrays that lead with the lanes."""
    arrays = trees.of_arrays(call, "hyperparams", value)
    for path, leaf in jax.tree_util.tree_leaves_with_path(arrays):
        if trees.is_key(leaf):
            raise TypeError(
                f"`{call}(hyperparams=...)` must hold arrays of numbers, got {trees.described(leaf)}{trees.at(path)}: "
                "give seeds and make their keys in init, or jax.random.key_data(keys) and wrap it there"
            )
    trees.leading_axis(call, "hyperparams", arrays, "lanes")
    return jax.tree.map(np.asarray, arrays)


def key(call: str, argument: str, value: Any) -> jax.Array:
    """One JAX key, typed or of the older uint32 kind."""
    wanted = "a key such as jax.random.key(0)"
    if not isinstance(value, jax.Array | np.ndarray):
        _checks.refuse_type(call, argument, wanted, value)
    typed = jnp.issubdtype(value.dtype, jax.dtypes.prng_key)
    if not typed and value.dtype != np.uint32:
        raise TypeError(f"`{call}({argument}=...)` must be {wanted}, got dtype {value.dtype}")
    if value.ndim != (0 if typed else 1):
        _checks.refuse(call, argument, wanted, f"an array of shape {value.shape}")
    return jnp.asarray(value)


def parameters(call: str, value: PyTree) -> PyTree:
    """A pytree of floating-point arrays, or the function ``init(key)`` of one."""
    for framework, instead in _INSTEAD_OF_MODULES.items():
        is_module = isinstance(value, getattr(sys.modules.get(framework), "Module", ()))
        if is_module and not (framework == "equinox" and _holds_parameters_only(value)):
            name = type(value).__name__
            raise TypeError(
                f"`{call}(params=...)` must be a pytree of arrays, got the {framework} module {name}: {instead}"
            )
    if is_init_function(value):
        contracts.accepts(call, "params", value, ["key"])
        shapes = jax.eval_shape(value, jax.random.key(0))
    else:
        value = shapes = trees.of_arrays(call, "params", value)
    leaves = jax.tree_util.tree_leaves_with_path(shapes)
    if not leaves:
        _checks.refuse(call, "params", "a pytree with floating-point arrays", "one without arrays")
    for path, leaf in leaves:
        if not jnp.issubdtype(leaf.dtype, jnp.inexact):
            raise TypeError(
                f"`{call}(params=...)` must hold floating-point arrays only, got {leaf.dtype}{trees.at(path)}: "
                "what is carried along and not trained belongs in model_state"
            )
    return value


def _holds_parameters_only(tree: PyTree) -> bool:
    """Whether all leaves are floating-point arrays."""
    leaves = jax.tree.leaves(tree)
    return all(isinstance(x, jax.Array | np.ndarray) and jnp.issubdtype(x.dtype, jnp.inexact) for x in leaves)


def _items(call: str, argument: str, value: Any, wanted: str) -> list[Any]:
    """The items of a list, a tuple, a range or a 1-D array, at least one."""
    if isinstance(value, np.ndarray | jax.Array):
        if value.ndim != 1:
            _checks.refuse(call, argument, wanted, f"an array of shape {value.shape}")
        if _checks.is_traced(value):
            _checks.refuse_type(call, argument, f"{wanted} that are concrete", value)
        value = np.asarray(value).tolist()
    if not isinstance(value, list | tuple | range):
        _checks.refuse_type(call, argument, wanted, value)
    if not value:
        _checks.refuse(call, argument, f"{wanted}, at least one", "none")
    return list(value)


def refuse_duplicates(call: str, argument: str, requirement: str, numbers: np.ndarray) -> None:
    """Name the numbers that are given more than once."""
    distinct, counts = np.unique(numbers, return_counts=True)
    if len(distinct) < len(numbers):
        repeated = ", ".join(f"{number:g}" for number in distinct[counts > 1])
        _checks.refuse(call, argument, requirement, f"{repeated} more than once")
