"""What every schedule is made of: phases between knots, read at a position."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, ParamSpec, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from lrjax import _checks
from lrjax.schedules import _pairs
from lrjax.schedules._pairs import Pair, as_float, inlined
from lrjax.schedules._position import Position, position_of
from lrjax.schedules._shapes import Progress, ShapeLike, shape_of
from lrjax.typing import Schedule

P = ParamSpec("P")


Formula: TypeAlias = Callable[..., jax.Array]
"""``formula(position, *numbers, *options) -> values``."""


@jax.tree_util.register_pytree_node_class
@dataclass(frozen=True, eq=False)
class Curve:
    """A schedule: a formula with its numbers, which may be traced, and its options, which may not.

    It can also be read between two steps, and prints as the call that made it. As a pytree its leaves are the
    numbers, its own and those of the schedules among its options.
    """

    formula: Formula
    numbers: tuple[Any, ...] = ()
    options: tuple[Any, ...] = ()
    text: str = "schedule"

    def __call__(self, step: ArrayLike) -> jax.Array:
        """The value at ``step``, in the shape of ``step``."""
        return self.at(position_of(step))

    def at(self, position: Position) -> jax.Array:
        """The value at a position."""
        values: jax.Array = (_evaluated if self._holds_foreign_code else _compiled)(self, position)
        return values

    @property
    def _holds_foreign_code(self) -> bool:
        """Whether a user's function takes part, which may hold tracers and so must not enter a cache."""
        return any(o._holds_foreign_code if isinstance(o, Curve) else callable(o) for o in self.options)

    def __repr__(self) -> str:
        return self.text

    def tree_flatten(self) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """The numbers, and what stays the same when they change."""
        curves = [option for option in self.options if isinstance(option, Curve)]
        static = tuple(Curve if isinstance(option, Curve) else option for option in self.options)
        return (self.numbers, curves), (self.formula, static)

    @classmethod
    def tree_unflatten(cls, static: tuple[Any, ...], children: tuple[Any, ...]) -> Curve:
        """The schedule with other numbers."""
        formula, options = static
        curves = iter(children[1])
        return cls(formula, children[0], tuple(next(curves) if option is Curve else option for option in options))


def _evaluated(curve: Curve, position: Position) -> jax.Array:
    return jnp.broadcast_to(curve.formula(position, *curve.numbers, *curve.options), position.step.shape)


# One compilation serves every schedule of a formula: the numbers are arguments, never constants.
_compiled = jax.jit(_evaluated, inline=True)


def read(schedule: Schedule, position: Position) -> jax.Array:
    """The value of any schedule at a position; a foreign one sees whole steps, or epochs as one float."""
    if isinstance(schedule, Curve):
        return schedule.at(position)
    step = position.step if position.part is None else position.real.value
    return jnp.broadcast_to(as_float(schedule(step)), position.step.shape)


class Made(NamedTuple):
    """A schedule, and the arguments of the call that made it by their names."""

    curve: Curve
    arguments: dict[str, Any]


_noted: ContextVar[list[Made] | None] = ContextVar("noted", default=None)


@contextmanager
def noting() -> Iterator[list[Made]]:
    """A list of the schedules that this thread makes within; those that became part of another are not in it."""
    made: list[Made] = []
    token = _noted.set(made)
    try:
        yield made
    finally:
        _noted.reset(token)


def prints_as_call(factory: Callable[P, Schedule]) -> Callable[P, Schedule]:
    """Let the schedules that ``factory`` returns print as the call that made them."""
    signature = inspect.signature(factory)

    @functools.wraps(factory)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> Schedule:
        curve = factory(*args, **kwargs)
        assert isinstance(curve, Curve)
        given = signature.bind(*args, **kwargs).arguments
        keyword = inspect.Parameter.KEYWORD_ONLY
        kinds = {name: parameter.kind for name, parameter in signature.parameters.items()}
        shown = (f"{k}={_written(v)}" if kinds[k] is keyword else _written(v) for k, v in given.items())
        curve = replace(curve, text=f"{factory.__name__}({', '.join(shown)})")
        made = _noted.get()
        if made is not None:
            made[:] = [other for other in made if all(other.curve is not option for option in curve.options)]
            made.append(Made(curve, given))
        return curve

    return wrapped


def _written(value: Any) -> str:
    """An argument as it would be written in a call, array scalars as numbers of at most six digits."""
    if isinstance(value, list):
        return f"[{', '.join(map(_written, value))}]"
    if isinstance(value, np.generic | jax.Array) and value.ndim == 0 and not _checks.is_traced(value):
        return f"{value.item():.6g}"
    return repr(value)


def progress_between(position: Position, start: Pair, stop: Pair) -> Progress:
    """Progress through the phase from ``start`` to ``stop``, held at 0 before it and at 1 after it."""
    length = _pairs.subtract(stop, start)
    length = _pairs.choose(length.hi > 0, length, _pairs.known(1.0))

    def share(steps: Pair) -> Pair:
        positive = _pairs.choose(steps.hi > 0, steps, _pairs.known(0.0))
        return _pairs.divide(_pairs.minimum(positive, length), length)

    return Progress(share(position.since(start)), share(position.until(stop)))


@inlined
def latest(position: Position, pieces: Sequence[tuple[Pair, jax.Array]]) -> jax.Array:
    """The value of the last piece whose start is reached; of starts that coincide the later counts."""
    value = pieces[0][1]
    for start, piece in pieces[1:]:
        value = jnp.where(position.reached(start), piece, value)
    return value


def phase(
    position: Position, start: Pair, stop: Pair, start_value: jax.Array, stop_value: jax.Array, shape: ShapeLike
) -> jax.Array:
    """The way from one value to another between two points of the run, held before and after."""
    if shape == "hold":
        return start_value
    return shape_of(shape)(progress_between(position, start, stop), start_value, stop_value)


def through(position: Position, knots: Sequence[Pair], values: Sequence[Any], shapes: Sequence[ShapeLike]) -> jax.Array:
    """The curve that takes ``values[i]`` at ``knots[i]``, with ``shapes[i]`` between it and the next."""
    heights = [as_float(value) for value in values]
    phases = [
        (knots[i], phase(position, knots[i], knots[i + 1], heights[i], heights[i + 1], shape))
        for i, shape in enumerate(shapes)
    ]
    return latest(position, [*phases, (knots[-1], heights[-1])])
