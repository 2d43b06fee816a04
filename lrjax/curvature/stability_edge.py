"""The learning rate at which an optimizer becomes unstable."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from lrjax import _checks
from lrjax.curvature.sharpness import Sharpness

_MOMENTUM = {"sgd": 0.0, "adam": 0.9, "adamw": 0.9}
"""The presets that have an edge, and their defaults of ``b1``."""
_AVERAGING = ("adam", "adamw")
"""Those whose momentum is an average of gradients, with weights that sum to one, and not a sum."""


def stability_edge(
    sharpness: Sharpness | ArrayLike, optimizer: str = "sgd", *, b1: ArrayLike | None = None, nesterov: bool = False
) -> jax.Array:
    """The learning rate above which an optimizer moves away from a minimum of this sharpness.

    ``"sgd"``, without momentum: ``2 / sharpness``; with it: ``(2 + 2 * b1) / sharpness``;
    ``"adam"`` and ``"adamw"``: ``(2 + 2 * b1) / ((1 - b1) * sharpness)``, of the sharpness preconditioned by the state.
    With ``nesterov``, each divided by ``1 + 2 * b1``.

    Along an eigenvector of the Hessian, with ``x`` the distance and ``s`` the eigenvalue, momentum is
    ``x'' = (1 + b1 - learning_rate * s) * x' - b1 * x``, whose roots ``z`` of
    ``z**2 - (1 + b1 - learning_rate * s) * z + b1`` leave the unit circle at -1, where
    ``learning_rate * s = 2 + 2 * b1``. Nesterov's has ``z**2 - (1 + b1) * (1 - a) * z + b1 * (1 - a)`` with
    ``a = learning_rate * s``; Adam's average is ``1 - b1`` times the sum. The steepest direction is the first to go.

    Below the edge, with a constant Hessian, the distance shrinks. Networks trained in full batches often sharpen until
    they are at the edge and stay there; the noise of small batches makes runs unstable below it. Adam's is the edge
    with the preconditioner held fixed and no weight decay.

    Args:
        sharpness: Largest eigenvalue of the Hessian, as ``sharpness`` gives it or a number, traced or not, or an array
            of them; of the preconditioned Hessian for Adam and AdamW.
        optimizer: ``"sgd"``, ``"adam"`` or ``"adamw"``.
        b1: Decay of the momentum, from 0 to less than 1; None for 0.9 in Adam and AdamW, for 0 in SGD.
        nesterov: Whether the momentum looks ahead.

    Returns:
        The rate, an array of the sharpness's shape; inf where no eigenvalue is above zero, since then nothing
        oscillates (a negative curvature is left at any rate); NaN for NaN.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument is out of its range.

    Example:
        >>> from lrjax.curvature import stability_edge
        >>> [round(float(stability_edge(50.0, *args)), 3) for args in (("sgd",), ("adam",))]
        [0.04, 0.76]
        >>> print(stability_edge(50.0, b1=0.75))
        0.07

    Source:
        Cohen et al., arXiv:2103.00065; for Adam, Cohen et al., arXiv:2207.14484.
    """
    call = "stability_edge"
    value = _curvature(call, sharpness.value if isinstance(sharpness, Sharpness) else sharpness)
    optimizer = _checks.choice(call, "optimizer", optimizer, _MOMENTUM)
    _checks.flag(call, "nesterov", nesterov)
    b1 = _MOMENTUM[optimizer] if b1 is None else _checks.number(call, "b1", b1, low=0.0, below=1.0)
    reach = (2 + 2 * b1) / (1 + 2 * b1 if nesterov else 1)
    if optimizer in _AVERAGING:
        reach /= 1 - b1
    return jnp.where(value <= 0, jnp.inf, reach / jnp.where(value <= 0, 1, value))


def _curvature(call: str, value: Any) -> jax.Array:
    """An array of real numbers, of float32 or wider; NaN and infinities are data."""
    requirement = "a Sharpness, a number or an array of numbers"
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.generic | np.ndarray | jax.Array):
        _checks.refuse_type(call, "sharpness", requirement, value)
    array = jnp.asarray(value)
    if not (jnp.issubdtype(array.dtype, jnp.integer) or jnp.issubdtype(array.dtype, jnp.floating)):
        raise TypeError(f"`{call}(sharpness=...)` must be {requirement}, got dtype {array.dtype}")
    return array.astype(jnp.promote_types(array.dtype, jnp.float32))
