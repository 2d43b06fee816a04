"""Compiled programs, found again by what they say and not by who wrote them.

``jax.jit`` knows a program by the identity of its function, so that a lambda written anew compiles anew. Here a
function is traced and lowered, and the lowered text finds the executable. Arrays that the function closes over become
arguments first: programs that differ in such data only share one executable and still each see their own data.
(Arrays closed over by a ``jax.jit`` inside the function stay in the text by value, which separates them as well.)
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

from lrjax.finder import trees
from lrjax.typing import PyTree

CAPACITY = 64
"""Executables that are kept; the one used longest ago goes first."""

_executables: OrderedDict[str, jax.stages.Compiled] = OrderedDict()
_lock = threading.Lock()
_CALLBACK = re.compile(r"custom_call @\S*callback")


@dataclass(frozen=True)
class Program:
    """An executable with the arrays its function closed over and the structure of its result."""

    executable: jax.stages.Compiled
    constants: list[Any]
    result: Any

    def __call__(self, *args: PyTree) -> PyTree:
        """The function's result at ``args``, which have the shapes it was compiled for."""
        return jax.tree.unflatten(self.result, self.executable(*self.constants, *jax.tree.leaves(args)))


def compiled(function: Callable[..., PyTree], *args: PyTree, donate_first: bool = False) -> Program:
    """``function`` compiled for the shapes of ``args``, or found in the cache by its lowered text.

    Args:
        function: A function of pytrees to a pytree, traceable by JAX.
        *args: Arrays or anything with a shape and a dtype; their values are not read.
        donate_first: Give the buffers of the first argument up to the result.

    Returns:
        The program.
    """
    shapes = jax.tree.map(trees.shape_of, args)
    jaxpr, result = jax.make_jaxpr(function, return_shape=True)(*shapes)
    constants = [jax.device_put(constant) for constant in jaxpr.consts]

    def flat(*leaves: jax.Array) -> list[jax.Array]:
        closed = ClosedJaxpr(jaxpr.jaxpr, leaves[: len(constants)])
        return jaxpr_as_fun(closed)(*leaves[len(constants) :])  # type: ignore[no-any-return]

    donated = len(jax.tree.leaves(shapes[0])) if donate_first else 0
    donated_leaves = tuple(range(len(constants), len(constants) + donated))
    jitted = jax.jit(flat, donate_argnums=donated_leaves, keep_unused=True)  # the text then names every argument
    lowered = jitted.lower(*constants, *jax.tree.leaves(shapes))
    return Program(_executable(lowered), constants, jax.tree.structure(result))


def _executable(lowered: jax.stages.Lowered) -> jax.stages.Compiled:
    """The cached executable of the same text for the same device, or a new one."""
    text = lowered.as_text()
    if _CALLBACK.search(text):  # the text does not say which Python function is called back
        return lowered.compile()
    device = f"{jax.default_backend()} {jax.config.jax_default_device}"  # type: ignore[attr-defined]
    key = hashlib.sha256(f"{device}\n{text}".encode()).hexdigest()
    with _lock:
        if key not in _executables:
            _executables[key] = lowered.compile()
        _executables.move_to_end(key)
        if len(_executables) > CAPACITY:
            _executables.popitem(last=False)
        return _executables[key]
