"""The arrays of a run, checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from lrjax import _checks

Array = npt.NDArray[np.float64]
TOO_SHORT = 10
"""Steps under which a curve says nothing but whether it was lost."""

_CALL = "diagnose"


@dataclass(frozen=True)
class Run:
    """What a run recorded, in float64; None where it did not.

    Attributes:
        steps: Steps of the run, S.
        losses: ``[S]``.
        validation_steps: ``[V]``, where the validation losses were read.
        validation_losses: ``[V]``.
        gradient_norms: ``[S]``.
        learning_rates: ``[S]``.
        generator_losses: ``[S]``.
        discriminator_losses: ``[S]``.
    """

    steps: int
    losses: Array | None
    validation_steps: Array | None
    validation_losses: Array | None
    gradient_norms: Array | None
    learning_rates: Array | None
    generator_losses: Array | None
    discriminator_losses: Array | None


def checked_run(
    losses: Any,
    validation_losses: Any,
    gradient_norms: Any,
    learning_rates: Any,
    generator_losses: Any,
    discriminator_losses: Any,
) -> Run:
    """The run, or an error that names what is wrong with it."""
    if (generator_losses is None) != (discriminator_losses is None):
        lacking = "generator_losses" if generator_losses is None else "discriminator_losses"
        _checks.refuse(_CALL, lacking, "given where the other player's losses are", "None")
    if losses is None and generator_losses is None:
        _checks.refuse_type(_CALL, "losses", "an array of losses, unless both GAN losses are given", losses)
    given = {
        "losses": losses,
        "gradient_norms": gradient_norms,
        "learning_rates": learning_rates,
        "generator_losses": generator_losses,
        "discriminator_losses": discriminator_losses,
    }
    arrays = {name: None if value is None else _one_axis(name, value) for name, value in given.items()}
    first = "generator_losses" if losses is None else "losses"
    leading = arrays[first]
    assert leading is not None
    steps = len(leading)
    for name, array in arrays.items():
        if array is not None and len(array) != steps:
            _checks.refuse(_CALL, name, f"as long as {first}", f"{len(array)} values with {steps}")
    for name in ("learning_rates", "gradient_norms"):
        array = arrays[name]
        if array is not None and (array < 0).any():
            at = int(np.argmax(array < 0))
            _checks.refuse(_CALL, name, "at least 0", f"{array[at]:g} at step {at}")
    at_steps, validation = _validation(validation_losses, steps)
    return Run(steps=steps, validation_steps=at_steps, validation_losses=validation, **arrays)


def _one_axis(argument: str, value: Any) -> Array:
    """A vector of at least one number; overflow of float32 counts as infinite."""
    requirement = "an array of numbers with one axis"
    if _checks.is_traced(value):
        _checks.refuse(_CALL, argument, f"{requirement}, outside jit and vmap", "a tracer")
    if isinstance(value, str | bytes) or not hasattr(value, "__len__"):
        _checks.refuse_type(_CALL, argument, requirement, value)
    try:
        array = np.asarray(value)
    except ValueError:
        _not_numbers(argument, requirement, "rows of unequal lengths")
    if array.dtype == np.bool_ or not np.can_cast(array.dtype, np.float64):
        _not_numbers(argument, requirement, f"dtype {array.dtype}")
    if array.ndim != 1:
        _checks.refuse(_CALL, argument, requirement, f"shape {array.shape}")
    if len(array) == 0:
        _checks.refuse(_CALL, argument, "of at least one value", "an empty array")
    numbers = array.astype(np.float64)
    overflown = np.abs(numbers) > np.finfo(np.float32).max
    return np.where(overflown, np.copysign(np.inf, numbers), numbers)


def _not_numbers(argument: str, requirement: str, got: str) -> NoReturn:
    """Refuse what NumPy reads as anything but real numbers."""
    raise TypeError(f"`{_CALL}({argument}=...)` must be {requirement}, got {got}")


def _validation(value: Any, steps: int) -> tuple[Array | None, Array | None]:
    """The steps of the validation losses, evenly spaced unless given, and the losses."""
    if value is None:
        return None, None
    if isinstance(value, tuple | list) and len(value) == 2 and all(np.ndim(part) for part in value):
        at, losses = _one_axis("validation_losses[0]", value[0]), _one_axis("validation_losses[1]", value[1])
        if len(at) != len(losses):
            _checks.refuse(
                _CALL, "validation_losses", "a pair (steps, values) of equal lengths", f"{len(at)} with {len(losses)}"
            )
        if not (np.isfinite(at).all() and (np.diff(at) > 0).all() and at[0] >= 0):
            _checks.refuse(_CALL, "validation_losses[0]", "steps that rise, from 0 on", _checks.shown(at.tolist()))
        return at, losses
    losses = _one_axis("validation_losses", value)
    return np.linspace(0, steps - 1, len(losses)), losses
