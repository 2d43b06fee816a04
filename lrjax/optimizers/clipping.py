"""Gradient clipping that holds at every magnitude and for every dtype."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from lrjax import _checks
from lrjax._norm import ScaledNorm, accumulation_dtype, axis_norm, global_norm
from lrjax.optimizers import _arguments
from lrjax.typing import PyTree, ScalarOrSchedule

_LEAST_UNIT_NORM = 1e-3  # of the paper: a unit that starts at zero may move


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
    max_block_rms: jax.typing.ArrayLike | None = None,
    adaptive: jax.typing.ArrayLike | None = None,
    skip_nonfinite: bool = True,
) -> optax.GradientTransformation:
    """Bounds a gradient by entry, by leaf, by unit and as a whole, in this order; by default only as a whole.

    1. ``max_value``: ``g = clip(g, -max_value, max_value)``, a complex entry in modulus;
    2. ``max_block_rms``, every leaf: ``g = g * min(1, max_block_rms / rms(g))``;
    3. ``adaptive``, every unit (the inputs of one output: all axes but the last of a leaf with four or more,
       the first of two or three, the whole of a vector):
       ``g = g * min(1, adaptive * max(norm(params), 1e-3) / norm(g))``;
    4. ``max_norm``, all leaves together: ``g = g * min(1, max_norm / norm(g))``.

    The bounds go from the small to the large, so that one outlying entry or layer cannot use up the norm that
    all share. ``torch.nn.utils.clip_grad_norm_`` divides by ``norm + 1e-6``, its results are smaller by
    ``norm / (norm + 1e-6)``.

    Norms are summed in float32 (float64 for float64 gradients) and rescaled where squares would leave the
    range, so that gradients of 1e30, or of 300 in float16, keep their direction. A gradient with any
    non-finite entry becomes zero as a whole and is counted. (A zero gradient still moves an optimizer with
    momentum or weight decay: the presets of this package skip that step.)

    Args:
        max_norm: Largest global norm, in the units of the gradient: a positive number, a traced scalar or a
            schedule of the state's ``count``; None leaves the norm alone.
        max_value: Largest absolute value of an entry: a positive number or a traced scalar; None leaves the
            entries alone.
        max_block_rms: Largest root mean square of a leaf: a positive number or a traced scalar; None leaves
            the leaves alone.
        adaptive: Largest ratio of a unit's gradient norm to its parameter norm, 0.01 for large batches: a
            positive number or a traced scalar; ``update`` then needs ``params``. None leaves the units alone.
        skip_nonfinite: Whether a gradient with a non-finite entry becomes zero. If not, it passes untouched.
            It is counted either way.

    Returns:
        An ``optax.GradientTransformation`` whose state is a ``ClipState``: the norm before clipping, counts
        of updates, of clipped and of non-finite ones, and ``clipped_fraction``.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: A bound is not positive and finite; ``update`` lacks ``params`` that ``adaptive`` needs.

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
        Pascanu et al., "On the difficulty of training recurrent neural networks" (2013), arXiv:1211.5063;
        Brock et al., "High-performance large-scale image recognition without normalization" (2021),
        arXiv:2102.06171 (``adaptive``); Shazeer and Stern, "Adafactor" (2018), arXiv:1804.04235
        (``max_block_rms``).
    """
    call = "clip_gradients"
    max_norm = _arguments.max_norm(call, max_norm)
    max_value, max_block_rms, adaptive = (
        None if value is None else _arguments.number(call, argument, value, above=0.0)
        for argument, value in [("max_value", max_value), ("max_block_rms", max_block_rms), ("adaptive", adaptive)]
    )
    _checks.flag(call, "skip_nonfinite", skip_nonfinite)

    def init(params: PyTree) -> ClipState:
        del params
        return ClipState(jnp.int32(0), jnp.float32(0.0), jnp.int32(0), jnp.int32(0))

    def update(grads: PyTree, state: ClipState, params: PyTree = None) -> tuple[PyTree, ClipState]:
        if adaptive is not None and params is None:
            raise ValueError("`clip_gradients(adaptive=...)` bounds by the parameters: call update with params")
        measured = global_norm(grads)
        changed = jnp.zeros((), bool)
        bounded, norm = grads, measured
        if max_value is not None:
            bounded, over = _bound_entries(bounded, jnp.maximum(max_value, 0.0))
            changed |= over
        if max_block_rms is not None:
            bounded, over = _bound_blocks(bounded, jnp.maximum(max_block_rms, 0.0))
            changed |= over
        if adaptive is not None:
            bounded, over = _bound_units(bounded, params, jnp.maximum(adaptive, 0.0))
            changed |= over
        if max_norm is not None:
            if bounded is not grads:
                norm = global_norm(bounded)
            bound = max_norm(state.count) if callable(max_norm) else max_norm
            bounded, over = _bound_norm(bounded, norm, jnp.maximum(bound, 0.0))
            changed |= over
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


def _bound_blocks(grads: PyTree, max_rms: jax.Array) -> tuple[PyTree, jax.Array]:
    """``grads`` with a root mean square of at most ``max_rms`` in every leaf, and whether that changed any."""

    def limit(grad: jax.Array) -> jax.Array:
        return max_rms * jnp.sqrt(jnp.float32(grad.size))

    return _bound_parts(grads, jax.tree.map(limit, grads), lambda grad: tuple(range(grad.ndim)))


def _bound_units(grads: PyTree, params: PyTree, ratio: jax.Array) -> tuple[PyTree, jax.Array]:
    """``grads`` with a norm of at most ``ratio`` times the parameters' in every unit, and whether that changed any."""

    def limit(grad: jax.Array, param: jax.Array) -> jax.Array:
        root, scale = axis_norm(param, _unit_axes(grad))
        return ratio * jnp.maximum(root * scale, _LEAST_UNIT_NORM)

    return _bound_parts(grads, jax.tree.map(limit, grads, params), _unit_axes)


def _unit_axes(grad: jax.Array) -> tuple[int, ...]:
    """The axes that a unit's norm is taken over, as in ``optax.adaptive_grad_clip``, and for five axes or more."""
    if sum(size > 1 for size in grad.shape) <= 1:
        return tuple(range(grad.ndim))
    return (0,) if grad.ndim < 4 else tuple(range(grad.ndim - 1))


def _bound_parts(
    grads: PyTree, limits: PyTree, axes: Callable[[jax.Array], tuple[int, ...]]
) -> tuple[PyTree, jax.Array]:
    """``grads`` with norms over ``axes`` of at most ``limits``, and whether that scaled any down."""
    leaves, structure = jax.tree.flatten(grads)
    bounded, changed = [], []
    for grad, limit in zip(leaves, jax.tree.leaves(limits), strict=True):
        root, scale = axis_norm(grad, axes(grad))
        over = root > limit / scale
        wide = grad.astype(jnp.promote_types(grad.dtype, accumulation_dtype(grad)))
        scaled = wide / scale * (limit / jnp.where(over, root, 1.0))
        bounded.append(jnp.where(over, scaled.astype(grad.dtype), grad))
        changed.append(jnp.any(over))
    return jax.tree.unflatten(structure, bounded), jnp.any(jnp.array(changed, bool))
