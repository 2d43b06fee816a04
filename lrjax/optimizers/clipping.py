"""Gradient clipping that holds at every magnitude and for every dtype."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from lrjax import _checks
from lrjax.optimizers._arguments import number, number_or_schedule
from lrjax.optimizers._norm import ScaledNorm, accumulation_dtype, global_norm
from lrjax.typing import PyTree, ScalarOrSchedule


class ClipState(NamedTuple):
    """What ``clip_gradients`` has seen.

    Attributes:
        count: Updates so far, int32; the clock of a scheduled ``max_norm``.
        norm: Norm of the last gradient before clipping, float32; inf or NaN if it was not finite. A finite
            gradient's norm saturates at the largest float32.
        clipped: Updates whose gradient a bound changed, int32.
        nonfinite: Updates whose gradient had a non-finite entry, int32.
    """

    count: jax.Array  # type: ignore[assignment]  # tuple.count
    norm: jax.Array
    clipped: jax.Array
    nonfinite: jax.Array

    @property
    def clipped_fraction(self) -> jax.Array:
        """The share of updates that a bound changed, float32; 0 before the first."""
        return self.clipped.astype(jnp.float32) / jnp.maximum(self.count, 1)


def clip_gradients(
    max_norm: ScalarOrSchedule | None = 1.0,
    *,
    max_value: jax.typing.ArrayLike | None = None,
    skip_nonfinite: bool = True,
) -> optax.GradientTransformation:
    """Bounds every entry by ``max_value``, then the global norm by ``max_norm``.

    ``bounded = clip(gradient, -max_value, max_value)``, then
    ``clipped = bounded * min(1, max_norm / norm(bounded))``.

    The value bound comes first, so that one outlying entry cannot use up the norm that all share. A complex
    entry is bounded in modulus. The norm is summed in float32 (float64 for float64 gradients) and rescaled
    where squares would leave the range, so that gradients of 1e30, or of 300 in float16, keep their
    direction. A gradient with any non-finite entry becomes zero as a whole and is counted. (A zero gradient
    still moves an optimizer with momentum or weight decay: the presets of this package skip that step.)

    Args:
        max_norm: Largest global norm, in the units of the gradient: a positive number, a traced scalar or a
            schedule of the state's ``count``; None leaves the norm alone.
        max_value: Largest absolute value of an entry: a positive number or a traced scalar; None leaves the
            entries alone.
        skip_nonfinite: Whether a gradient with a non-finite entry becomes zero. If not, it passes untouched.
            It is counted either way.

    Returns:
        An ``optax.GradientTransformation`` whose state is a ``ClipState``.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: ``max_norm`` or ``max_value`` is not positive and finite.

    Example:
        >>> import jax.numpy as jnp, optax
        >>> from lrjax.optimizers import clip_gradients
        >>> optimizer = optax.chain(clip_gradients(1.0), optax.sgd(0.1))
        >>> params = {"w": jnp.zeros(2)}
        >>> updates, state = optimizer.update({"w": jnp.array([3e30, 4e30])}, optimizer.init(params))
        >>> [round(float(u), 3) for u in updates["w"]]
        [-0.06, -0.08]
        >>> f"{float(state[0].norm):.1e}, clipped {int(state[0].clipped)}"
        '5.0e+30, clipped 1'

    Source:
        Pascanu et al., "On the difficulty of training recurrent neural networks" (2013), arXiv:1211.5063.
    """
    call = "clip_gradients"
    max_norm = check_max_norm(call, max_norm)
    if max_value is not None:
        max_value = number(call, "max_value", max_value, above=0.0)
    _checks.flag(call, "skip_nonfinite", skip_nonfinite)

    def init(params: PyTree) -> ClipState:
        del params
        return ClipState(jnp.int32(0), jnp.float32(0.0), jnp.int32(0), jnp.int32(0))

    def update(grads: PyTree, state: ClipState, params: PyTree = None) -> tuple[PyTree, ClipState]:
        del params
        measured = global_norm(grads)
        changed = jnp.zeros((), bool)
        bounded, norm = grads, measured
        if max_value is not None:
            bounded, changed = _bound_entries(grads, jnp.maximum(max_value, 0.0))
            norm = global_norm(bounded)
        if max_norm is not None:
            bound = max_norm(state.count) if callable(max_norm) else max_norm
            bounded, scaled_down = _bound_norm(bounded, norm, jnp.maximum(bound, 0.0))
            changed |= scaled_down
        finite = measured.finite
        replacement = optax.tree.zeros_like(grads) if skip_nonfinite else grads
        clipped = jax.tree.map(lambda new, old: jnp.where(finite, new, old), bounded, replacement)
        return clipped, ClipState(
            count=optax.safe_increment(state.count),
            norm=measured.value,
            clipped=jnp.where(changed & finite, optax.safe_increment(state.clipped), state.clipped),
            nonfinite=jnp.where(finite, state.nonfinite, optax.safe_increment(state.nonfinite)),
        )

    return optax.GradientTransformation(init, update)


def check_max_norm(call: str, max_norm: Any) -> Any:
    """A positive number, a tracer, a schedule, or None."""
    return None if max_norm is None else number_or_schedule(call, "max_norm", max_norm, above=0.0)


def _bound_entries(grads: PyTree, max_value: jax.Array) -> tuple[PyTree, jax.Array]:
    """``grads`` with every modulus at most ``max_value``, and whether that changed any entry."""

    def bound(grad: jax.Array) -> jax.Array:
        limited = (jnp.sign(grad) * max_value).astype(grad.dtype)
        return jnp.where(jnp.abs(grad) > max_value, limited, grad)

    over = [jnp.any(jnp.abs(grad) > max_value) for grad in jax.tree.leaves(grads)]
    return jax.tree.map(bound, grads), jnp.any(jnp.array(over, bool))


def _bound_norm(grads: PyTree, norm: ScaledNorm, max_norm: jax.Array) -> tuple[PyTree, jax.Array]:
    """``grads`` with a norm of at most ``max_norm``, and whether that scaled them down."""
    over = norm.root > max_norm * norm.scale
    factor = max_norm / jnp.where(over, norm.root, 1.0)

    def bound(grad: jax.Array) -> jax.Array:
        wide = jnp.promote_types(grad.dtype, accumulation_dtype(grad))
        # Two steps, since scale * factor alone may be subnormal; a selection, so that others pass unrounded.
        scaled = grad.astype(wide) * norm.scale.astype(wide) * factor.astype(wide)
        return jnp.where(over, scaled.astype(grad.dtype), grad)

    return jax.tree.map(bound, grads), over
