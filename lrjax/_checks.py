"""Argument checks and their message text.

Every message names the call that the user wrote, the argument and the value:
``wsd(decay_steps=...)`` must be at most total_steps - warmup_steps, got 900 with 1000 and 200.
Traced values pass unread, since they have no value yet; their shape is checked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, NoReturn

import jax
import numpy as np

MAX_STEPS = 2**31 - 1
_MAX_FLOAT32 = float(np.finfo(np.float32).max)


def is_traced(value: object) -> bool:
    """Whether ``value`` is a tracer, so that it has a shape and no value."""
    return isinstance(value, jax.core.Tracer)


def all_concrete(*values: object) -> bool:
    """Whether relations between these values can be checked now."""
    return not any(is_traced(value) for value in values)


def shown(value: object) -> str:
    """``value`` as a message prints it: numbers bare, anything long cut."""
    text = str(value) if isinstance(value, (int, float, np.generic, jax.Array)) else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def refuse(call: str, argument: str, requirement: str, got: str) -> NoReturn:
    """Raise the ValueError that every out-of-range argument gets."""
    raise ValueError(f"`{call}({argument}=...)` must be {requirement}, got {got}")


def refuse_type(call: str, argument: str, requirement: str, got: object) -> NoReturn:
    """Raise the TypeError that every argument of the wrong kind gets."""
    raise TypeError(f"`{call}({argument}=...)` must be {requirement}, got {shown(got)} ({type(got).__name__})")


def _scalar(call: str, argument: str, value: Any, kind: str) -> Any:
    """A Python number for a concrete scalar, the tracer itself for a traced one."""
    if isinstance(value, bool | np.bool_):
        refuse_type(call, argument, kind, value)
    if isinstance(value, int | float):
        return value
    if not isinstance(value, np.generic | np.ndarray | jax.Array):
        refuse_type(call, argument, kind, value)
    if value.shape != ():
        refuse(call, argument, f"{kind} (jax.vmap gives many at once)", f"an array of shape {value.shape}")
    if not (jax.numpy.issubdtype(value.dtype, np.integer) or jax.numpy.issubdtype(value.dtype, np.floating)):
        raise TypeError(f"`{call}({argument}=...)` must be {kind}, got dtype {value.dtype}")
    return value if is_traced(value) else value.item()


def number(
    call: str,
    argument: str,
    value: Any,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    above: float = -math.inf,
    below: float = math.inf,
) -> Any:
    """A finite real scalar with ``low <= value <= high`` and ``above < value < below``."""
    scalar = _scalar(call, argument, value, "a number")
    if is_traced(scalar):
        return scalar
    if not abs(scalar) <= _MAX_FLOAT32:
        refuse(call, argument, "finite in float32", shown(scalar))
    if scalar < low:
        refuse(call, argument, f"at least {low:g}", shown(scalar))
    if scalar > high:
        refuse(call, argument, f"at most {high:g}", shown(scalar))
    if scalar <= above:
        refuse(call, argument, f"greater than {above:g}", shown(scalar))
    if scalar >= below:
        refuse(call, argument, f"less than {below:g}", shown(scalar))
    return scalar


def count(call: str, argument: str, value: Any, *, low: int = 0, high: int = MAX_STEPS) -> Any:
    """A whole number from ``low`` to ``high``; ``1e4`` is one, ``10.5`` is not."""
    scalar = _scalar(call, argument, value, "a whole number")
    if is_traced(scalar):
        return scalar
    if isinstance(scalar, float) and not scalar.is_integer():
        refuse(call, argument, "a whole number", shown(scalar))
    if scalar < low:
        refuse(call, argument, f"at least {low}", shown(scalar))
    if scalar > high:
        refuse(call, argument, f"at most {high}", shown(scalar))
    return int(scalar)


def sequence(call: str, argument: str, values: Any, kind: str) -> tuple[Any, ...]:
    """The members of a list, a tuple or an array."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        refuse_type(call, argument, f"a sequence of {kind}", values)
    return tuple(values)


def counts(call: str, argument: str, values: Any, *, low: int = 0) -> tuple[Any, ...]:
    """A sequence of whole numbers, each named by its index where it is wrong."""
    members = sequence(call, argument, values, "whole numbers")
    return tuple(count(call, f"{argument}[{i}]", value, low=low) for i, value in enumerate(members))


def numbers(call: str, argument: str, values: Any, *, low: float = -math.inf) -> tuple[Any, ...]:
    """A sequence of real scalars, each named by its index where it is wrong."""
    members = sequence(call, argument, values, "numbers")
    return tuple(number(call, f"{argument}[{i}]", value, low=low) for i, value in enumerate(members))


def not_decreasing(call: str, argument: str, values: Sequence[Any]) -> None:
    """Refuse a sequence in which a value is smaller than the one before it."""
    for i in range(1, len(values)):
        at_least(call, f"{argument}[{i}]", values[i], f"{argument}[{i - 1}]", values[i - 1])


def choice(call: str, argument: str, value: Any, known: Collection[str]) -> str:
    """One of the ``known`` names."""
    if not isinstance(value, str):
        refuse_type(call, argument, "one of " + ", ".join(map(repr, known)), value)
    if value not in known:
        refuse(call, argument, "one of " + ", ".join(map(repr, known)), repr(value))
    return value


def function(call: str, argument: str, value: Any, signature: str) -> Callable[..., Any]:
    """A callable; ``signature`` tells the reader which."""
    if not callable(value):
        refuse_type(call, argument, f"a function {signature}", value)
    return value  # type: ignore[no-any-return]


def flag(call: str, argument: str, value: Any) -> bool:
    """A Python bool, and not something that merely counts as true."""
    if not isinstance(value, bool):
        refuse_type(call, argument, "True or False", value)
    return value


def at_most(call: str, argument: str, value: Any, bound: str, *parts: Any) -> None:
    """Refuse ``value`` above ``parts[0] - parts[1] - ...``, which ``bound`` spells out."""
    if all_concrete(value, *parts) and value > parts[0] - sum(parts[1:]):
        got = f"{shown(value)} with {' and '.join(shown(part) for part in parts)}"
        refuse(call, argument, f"at most {bound}", got)


def at_least(call: str, argument: str, value: Any, bound: str, other: Any) -> None:
    """Refuse ``value`` below ``other``, which ``bound`` names."""
    if all_concrete(value, other) and value < other:
        refuse(call, argument, f"at least {bound}", f"{shown(value)} with {shown(other)}")
