"""Compiled programs over lanes, found again by who wrote them or by what they say.

``jax.jit`` knows a program by the identity of its function, so that a lambda written anew compiles anew. Here there are
two levels: the functions' identity, which saves tracing, and the lowered text, which saves compiling. Arrays that a
function closes over become arguments before the text is taken: programs that differ in such data only share one
executable and still each see their own data. (Arrays closed over by a ``jax.jit`` inside the function stay in the text
by value, which separates them as well.)
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from lrjax.finder import trees
from lrjax.typing import PyTree

CAPACITY = 64
"""Executables that are kept, and things that are known of functions; the one used longest ago goes first."""

LANES = "lanes"
"""The mesh axis over which lanes are spread."""

T = TypeVar("T")

_spec: Any = PartitionSpec  # JAX has no types for it

_executables: OrderedDict[str, jax.stages.Compiled] = OrderedDict()
_remembered: OrderedDict[tuple[Any, ...], Any] = OrderedDict()
_lock = threading.RLock()
_CALLBACK = re.compile(r"custom_call @\S*callback")
_SETTINGS = (  # what else a trace depends on
    "jax_enable_x64",
    "jax_default_matmul_precision",
    "jax_numpy_dtype_promotion",
    "jax_default_prng_impl",
    "jax_threefry_partitionable",
    "jax_debug_nans",
    "jax_disable_jit",
)


@dataclass(frozen=True)
class Program:
    """An executable with the arrays its function closed over and the structure of its result.

    Attributes:
        executable: Takes the constants and the leaves of the arguments, and gives the leaves of the result.
        constants: What the function closed over, on the program's devices.
        result: The result's shapes and dtypes.
        text_hash: What the executable was found by.
        compile_seconds: What tracing, lowering and compiling took; 0 where the executable was there already.
    """

    executable: jax.stages.Compiled
    constants: list[Any]
    result: PyTree
    text_hash: str
    compile_seconds: float

    def __call__(self, *args: PyTree) -> PyTree:
        """The function's result at ``args``, which have the shapes it was compiled for."""
        with jax.debug_nans(new_val=False):  # a lane may be lost, from the start or later
            leaves = self.executable(*self.constants, *jax.tree.leaves(args))
        return jax.tree.unflatten(jax.tree.structure(self.result), leaves)

    @property
    def temporary_bytes(self) -> int:
        """What a call needs besides its arguments and its result, on each device."""
        analysis = self.executable.memory_analysis()
        return 0 if analysis is None else int(analysis.temp_size_in_bytes)


def compiled(
    function: Callable[..., PyTree],
    *args: PyTree,
    devices: Sequence[jax.Device] | None = None,
    donate_first: bool = False,
    known_as: tuple[Any, ...] | None = None,
) -> Program:
    """``function(*args)`` compiled for these shapes, or found again.

    Args:
        function: Traceable by JAX. Over several devices every leaf of the first argument and of the result leads with
            the lane axis, which is divided evenly among them: each device sees its own part of the lanes, and the
            other arguments whole.
        *args: Arrays or anything with a shape and a dtype; their values are not read.
        devices: Where to run; by default JAX's default device.
        donate_first: Give the buffers of the first argument up to the result.
        known_as: The functions, by their identity, and other values that together say what ``function`` computes;
            None where it is to be found by its text only.

    Returns:
        The program.
    """
    shapes = jax.tree.map(trees.shape_of, args)
    if known_as is None:
        return _by_text(function, shapes, devices, donate=donate_first)
    where = None if devices is None else tuple(devices)
    key = (*known_as, *trees.form(shapes), where, donate_first)
    return remembered(key, lambda: _by_text(function, shapes, devices, donate=donate_first))


def remembered(key: tuple[Any, ...], make: Callable[[], T]) -> T:
    """What ``make`` gave when it was last asked for by these functions, under the same settings of JAX.

    Functions in ``key`` are known by their identity and not kept alive; other entries by their value. Where an entry
    cannot be hashed, ``make`` is called each time.
    """
    settings = [getattr(jax.config, name, None) for name in _SETTINGS]
    try:
        whole = (*map(_identity, key), *settings, jax.default_backend(), jax.config.jax_default_device)  # type: ignore[attr-defined]
        hash(whole)
    except TypeError:
        return make()
    with _lock:
        if whole in _remembered:
            _remembered.move_to_end(whole)
            return _remembered[whole]  # type: ignore[no-any-return]
    made = make()
    with _lock:
        _remembered[whole] = made
        if len(_remembered) > CAPACITY:
            _remembered.popitem(last=False)
    return made


def _identity(entry: Any) -> Any:
    """A function as a reference to it, which equals others while it lives; any other entry as it is."""
    if not callable(entry) or isinstance(entry, type):
        return entry
    is_method = hasattr(entry, "__self__") and hasattr(entry, "__func__")
    return weakref.WeakMethod(entry, _forget) if is_method else weakref.ref(entry, _forget)


def _forget(reference: Any) -> None:
    """Drop what was known of a function that is no more, closed-over arrays included."""
    with _lock:
        for key in [key for key in _remembered if any(entry is reference for entry in key)]:
            del _remembered[key]


def _by_text(
    function: Callable[..., PyTree],
    shapes: tuple[PyTree, ...],
    devices: Sequence[jax.Device] | None,
    *,
    donate: bool,
) -> Program:
    """Trace, lower, and find the executable of that text or compile it."""
    began = time.perf_counter()
    split, whole = (None, None) if devices is None else shardings(devices)
    parts = 1 if devices is None else len(devices)
    lanes = jax.tree.map(lambda leaf: trees.lanes_times(leaf, 1, parts), shapes[0])
    jaxpr, part = jax.make_jaxpr(function, return_shape=True)(lanes, *shapes[1:])
    result = jax.tree.map(lambda leaf: trees.lanes_times(leaf, parts, 1), part)
    constants = [jax.device_put(constant, whole) for constant in jaxpr.consts]
    first = len(constants)
    rest = first + len(jax.tree.leaves(lanes))

    def on_device(*leaves: jax.Array) -> list[jax.Array]:
        return jaxpr_as_fun(ClosedJaxpr(jaxpr.jaxpr, leaves[:first]))(*leaves[first:])  # type: ignore[no-any-return]

    def on_all(*leaves: jax.Array) -> list[jax.Array]:
        if split is None or parts == 1:
            return on_device(*leaves)
        over = [_spec(LANES) if first <= i < rest else _spec() for i in range(len(leaves))]
        spread = jax.shard_map(
            on_device, mesh=split.mesh, in_specs=tuple(over), out_specs=_spec(LANES), check_vma=False
        )
        return spread(*leaves)

    donated = tuple(range(first, rest)) if donate else ()
    jitted = jax.jit(on_all, donate_argnums=donated, keep_unused=True)  # the text then names every argument
    lowered = jitted.lower(
        *constants,
        *(trees.shaped(leaf.shape, leaf.dtype, split) for leaf in jax.tree.leaves(shapes[0])),
        *(trees.shaped(leaf.shape, leaf.dtype, whole) for leaf in jax.tree.leaves(shapes[1:])),
    )
    forms = [(leaf.shape, str(leaf.dtype)) for leaf in jax.tree.leaves((constants, shapes))]
    text_hash, executable, is_new = _executable(lowered, f"{forms} {devices}")
    return Program(executable, constants, result, text_hash, time.perf_counter() - began if is_new else 0.0)


def shardings(devices: Sequence[jax.Device]) -> tuple[NamedSharding, NamedSharding]:
    """How lanes lie on the devices, each its part, and how shared arrays do, whole on each."""
    mesh = Mesh(np.array(devices), (LANES,))
    return NamedSharding(mesh, _spec(LANES)), NamedSharding(mesh, _spec())


def _executable(lowered: jax.stages.Lowered, where: str) -> tuple[str, jax.stages.Compiled, bool]:
    """The text's hash and its executable: the cached one for the same arguments and devices, or a new one (then True).

    A key and its data make the same text, and are different arguments.
    """
    text = lowered.as_text()
    text_hash = hashlib.sha256(text.encode()).hexdigest()
    if _CALLBACK.search(text):  # the text does not say which Python function is called back
        return text_hash, lowered.compile(), True
    key = f"{jax.default_backend()} {jax.config.jax_default_device} {where} {text_hash}"  # type: ignore[attr-defined]
    with _lock:
        is_new = key not in _executables
        if is_new:
            _executables[key] = lowered.compile()
        _executables.move_to_end(key)
        if len(_executables) > CAPACITY:
            _executables.popitem(last=False)
        return text_hash, _executables[key], is_new
