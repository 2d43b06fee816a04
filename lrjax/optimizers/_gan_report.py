"""What a player's loss returns: read, checked, and measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, NoReturn

import jax
import jax.numpy as jnp

from lrjax.optimizers.gan_state import GanModelState
from lrjax.typing import PyTree

MEASURED = ("real_logits", "fake_logits", "real", "fake")
"""Entries of ``aux`` that are reduced to measurements; "state" goes to the next call, all others to the user."""


class Report(NamedTuple):
    """One turn of a player, float32 scalars; None where ``aux`` lacks what it takes.

    Attributes:
        loss: The loss before the update.
        grad_norm: Norm of the gradient before clipping.
        real_accuracy: Share of ``real_logits`` above 0.
        fake_accuracy: Share of ``fake_logits`` below 0.
        spread: ``spread_of(fake)``.
        spread_ratio: ``spread_of(fake) / spread_of(real)``.
        aux: The other entries.
    """

    loss: jax.Array
    grad_norm: jax.Array
    real_accuracy: jax.Array | None
    fake_accuracy: jax.Array | None
    spread: jax.Array | None
    spread_ratio: jax.Array | None
    aux: dict[str, Any]


def measured(loss: jax.Array, grad_norm: jax.Array, aux: Mapping[str, Any]) -> Report:
    """The report of a loss with its ``aux`` as ``checked`` gave it."""
    real, fake = (spread_of(aux[name]) if name in aux else None for name in ("real", "fake"))
    return Report(
        loss=loss.astype(jnp.float32),
        grad_norm=grad_norm,
        real_accuracy=jnp.mean(aux["real_logits"] > 0, dtype=jnp.float32) if "real_logits" in aux else None,
        fake_accuracy=jnp.mean(aux["fake_logits"] < 0, dtype=jnp.float32) if "fake_logits" in aux else None,
        spread=fake,
        spread_ratio=None if real is None or fake is None else fake / real,
        aux={
            name: jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), entry)
            for name, entry in aux.items()
            if name not in MEASURED
        },
    )


def spread_of(samples: jax.Array) -> jax.Array:
    """``sqrt(mean(var(samples, axis=0)))``: how far samples, one per row, lie from their mean."""
    return jnp.sqrt(jnp.mean(jnp.var(samples.astype(jnp.float32), axis=0)))


def checked(
    call: str, argument: str, returned: Any, model_state: GanModelState | None
) -> tuple[jax.Array, tuple[dict[str, Any], GanModelState | None]]:
    """The scalar that a loss returned, its ``aux`` without the model state, and the model state."""
    loss, aux = returned if isinstance(returned, tuple) and len(returned) == 2 else (returned, {})
    if not isinstance(loss, jax.Array):
        _refuse(call, argument, "a scalar array or (scalar array, aux)", type(returned).__name__)
    if loss.shape != () or not jnp.issubdtype(loss.dtype, jnp.floating):
        _refuse(call, argument, "a scalar", f"{loss.dtype} of shape {loss.shape}", ValueError)
    if not isinstance(aux, Mapping) or not all(isinstance(name, str) for name in aux):
        _refuse(call, argument, "a dict with names as keys beside its loss", _described(aux))
    aux = dict(aux)
    if model_state is not None and "state" not in aux:
        _refuse(call, argument, "the new model states as aux['state']", f"aux with {sorted(aux)}", ValueError)
    new_state = aux.pop("state", None)
    if model_state is None and new_state is not None:
        giver = "gan_init" if call == "gan_step" else call
        raise ValueError(
            f"`{call}({argument}=...)` returned aux['state'], but {giver} was given no state: "
            f"pass {giver}(generator_state=..., discriminator_state=...)"
        )
    _check_model_state(call, argument, new_state, model_state)
    for name, entry in aux.items():
        _check_entry(call, argument, name, entry)
    return loss, (aux, new_state)


def _check_model_state(call: str, argument: str, new: Any, old: Any) -> None:
    """Refuse a model state that the next call could not take in place of the old."""
    requirement = "aux['state'] of the structure, shapes and dtypes of the state= that it was given"
    structures: list[Any] = [jax.tree.structure(new), jax.tree.structure(old)]
    if structures[0] != structures[1]:
        _refuse(call, argument, requirement, f"{structures[0]} for {structures[1]}", ValueError)
    for (path, leaf), like in zip(jax.tree.leaves_with_path(new), jax.tree.leaves(old), strict=True):
        got, wanted = ((getattr(x, "dtype", type(x).__name__), jnp.shape(x)) for x in (leaf, like))
        if got != wanted:
            where = jax.tree_util.keystr(path)
            got_text, wanted_text = (f"{dtype}{list(shape)}" for dtype, shape in (got, wanted))
            _refuse(call, argument, requirement, f"{got_text} for {wanted_text} at {where}", ValueError)


def _check_entry(call: str, argument: str, name: str, entry: PyTree) -> None:
    """Refuse what cannot be reported as a scalar."""
    if name in MEASURED:
        least = 0 if name.endswith("logits") else 1
        if not _is_real(entry) or entry.ndim < least:
            what = "logits" if least == 0 else "samples along a leading axis"
            _refuse(call, argument, f"an array of {what} as aux[{name!r}]", _described(entry))
        return
    for leaf in jax.tree.leaves(entry):
        scalar = isinstance(leaf, int | float) or (_is_real(leaf) and leaf.ndim == 0)
        if not scalar:
            wanted = f"real scalars in aux[{name!r}]: only {', '.join(MEASURED)} and state may be arrays"
            _refuse(call, argument, wanted, _described(leaf))


def _is_real(leaf: Any) -> bool:
    """Whether ``leaf`` is an array of real numbers or booleans."""
    dtype = getattr(leaf, "dtype", None)
    return (
        dtype is not None and (dtype == jnp.bool_ or jnp.issubdtype(dtype, jnp.number)) and not jnp.iscomplexobj(leaf)
    )


def _described(leaf: Any) -> str:
    """``leaf`` in a message."""
    return f"{leaf.dtype} of shape {leaf.shape}" if hasattr(leaf, "dtype") else type(leaf).__name__


def _refuse(call: str, argument: str, requirement: str, got: str, error: type[Exception] = TypeError) -> NoReturn:
    """Raise the error of a loss that returns something else."""
    raise error(f"`{call}({argument}=...)` must return {requirement}, got {got}")
