"""Where the states of optimizers keep the learning rate.

States are recognised by their fields, so that those of other packages count as well. Only fields that hold an
optimizer's state are followed: a tree of moments has the shape of the parameters, whose names mean nothing here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from optax.contrib import MechanicState, ReduceLROnPlateauState

from lrjax.monitors.backoff import BackoffState
from lrjax.monitors.plateau import PlateauState
from lrjax.monitors.recorded import RecordState

_INNER = (
    "inner",
    "inner_state",
    "inner_opt_state",
    "base_optimizer_state",
    "fast_state",
    "opt_state",
    "partition",
)

Refuse = Callable[[Mapping[str, Any]], Any]
"""Raises for several rates, by path, of which none is the optimizer's."""


class Found(NamedTuple):
    """What a state holds of the rate.

    Attributes:
        rates: The rates by path, each a scalar or a dict by label.
        estimates: What D-Adaptation or Prodigy estimate, by path; a factor on a rate, a rate where there is none.
        scales: Factors on all rates.
    """

    rates: dict[str, Any]
    estimates: dict[str, Any]
    scales: list[Any]

    def rate(self, refuse: Refuse, given: Any = None) -> Any:
        """The one rate, with ``given`` in place of those found, times all factors; None where there is none."""
        rates = {"": given} if given is not None else self.rates
        factors = self.scales if not rates else [*self.estimates.values(), *self.scales]
        rates = rates or self.estimates
        if len(rates) > 1:
            return refuse(rates)
        for rate in rates.values():
            return jax.tree.map(lambda leaf: _product([leaf, *factors]), rate)
        return None


def found(state: Any, before: Any, refuse: Refuse, path: str = "") -> Found:
    """What ``state`` holds of the rate of its last update, where ``before`` is the state before it."""
    groups = _groups(state)
    if groups:
        old = _groups(before)
        rates = {}
        for label, (key, member) in groups.items():
            rate = found(member, old[label][1], refuse, path + key).rate(refuse)
            if rate is not None:
                rates[label] = rate
        return Found({path: rates} if rates else {}, {}, [])
    if isinstance(state, RecordState) and state.learning_rate is not None:
        return Found({path + ".learning_rate": jax.tree.map(_array, state.learning_rate, is_leaf=_is_variable)}, {}, [])
    old = dict(_members(before))
    parts = [found(member, old[key], refuse, path + key) for key, member in _members(state)]
    rates = {at: rate for part in parts for at, rate in part.rates.items()}
    estimates = {at: estimate for part in parts for at, estimate in part.estimates.items()}
    scales = [scale for part in parts for scale in part.scales]
    if hasattr(state, "estim_lr"):
        estimates[path + ".estim_lr"] = _array(before.estim_lr)
    if isinstance(state, PlateauState | ReduceLROnPlateauState):
        scales.append(_array(state.scale))
    if isinstance(state, BackoffState):
        scales.append(_array(before.scale))  # an update sets the one of the next
    if isinstance(state, MechanicState):
        scales.append(jnp.sum(_array(state.s), axis=-1))
    if _is_number(getattr(state, "learning_rate", None)):
        rates = {path + ".learning_rate": _array(state.learning_rate)}
    return Found(rates or _outer(state, path), estimates, scales)


def outline(state: Any) -> str:
    """The kinds of states inside ``state``, as a message shows them."""
    groups = _groups(state)
    if groups:
        members = {repr(label): outline(member) for label, (_, member) in groups.items()}
    elif isinstance(state, Mapping):
        members = {repr(key): outline(member) for key, member in state.items()}
    else:
        members = {str(i): outline(member) for i, (_, member) in enumerate(_members(state))}
    named = isinstance(state, Mapping) or groups
    inside = ", ".join(f"{key}: {member}" if named else member for key, member in members.items())
    if isinstance(state, Mapping):
        return f"{{{inside}}}"
    if type(state) in (tuple, list):
        return f"({inside})"
    if not inside:
        return type(state).__name__
    return type(state).__name__ + (inside if inside.startswith("(") else f"({inside})")


def _groups(state: Any) -> dict[Any, tuple[str, Any]]:
    """The members of a state that are optimizers of their own side by side, by label, with where they are."""
    members = getattr(state, "inner_states", None)
    if isinstance(members, Mapping):
        return {label: (f".inner_states[{label!r}]", member) for label, member in members.items()}
    if hasattr(state, "generator") and hasattr(state, "discriminator"):
        return {label: (f".{label}", getattr(state, label)) for label in ("generator", "discriminator")}
    return {}


def _members(state: Any) -> list[tuple[str, Any]]:
    """The states inside a state, which act on one update one after the other, and where they are."""
    if isinstance(state, Mapping):
        return [(f"[{key!r}]", member) for key, member in state.items()]
    if isinstance(state, list) or type(state) is tuple:
        return [(f"[{i}]", member) for i, member in enumerate(state)]
    return [(f".{name}", getattr(state, name)) for name in _INNER if hasattr(state, name)]


def _outer(state: Any, path: str) -> dict[str, Any]:
    """A rate that is handed to what is inside ``state``: one that is found there is closer to the update."""
    hyperparams = getattr(state, "hyperparams", None)
    if isinstance(hyperparams, Mapping) and "learning_rate" in hyperparams:
        return {path + ".hyperparams['learning_rate']": _array(hyperparams["learning_rate"])}
    if hasattr(state, "max_lr") and hasattr(state, "weight_sum"):  # optax.contrib.schedule_free
        return {path + ".max_lr": _array(state.max_lr)}
    return {}


def _is_number(value: Any) -> bool:
    """Whether ``value`` is a scalar, an array of lanes' scalars, or a variable of flax.nnx that holds one."""
    return isinstance(value, int | float | jax.Array) or hasattr(value, "dtype") or _is_variable(value)


def _is_variable(value: Any) -> bool:
    """Whether ``value`` is a variable of flax.nnx."""
    return hasattr(value, "get_metadata")


def _array(value: Any) -> jax.Array:
    """``value``, or what a variable of flax.nnx holds, as a real array: complex parameters can make a rate complex."""
    return jnp.real(jnp.asarray(value[...] if _is_variable(value) else value))


def _product(factors: list[jax.Array]) -> jax.Array:
    """The product, in float32 or wider where there is more than one factor."""

    def times(left: jax.Array, right: jax.Array) -> jax.Array:
        dtype = jnp.result_type(left, right, jnp.float32)
        return left.astype(dtype) * right.astype(dtype)

    return reduce(times, factors)
