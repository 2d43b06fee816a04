"""What every preset does around its optimizer: clip, compute in float32, skip non-finite gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax

from lrjax.optimizers._precision import in_float32
from lrjax.optimizers.clipping import ClipState, clip_gradients
from lrjax.typing import PyTree, ScalarOrSchedule

Hold: TypeAlias = Callable[[Any], Any]
"""Maps a decay to the one to use in this step: itself, or 1 in a step that is skipped."""


class PresetState(NamedTuple):
    """The state of every preset.

    Attributes:
        clip: What the clipping has seen; ``clip.nonfinite`` counts the skipped steps, ``clip.count`` the
            others.
        inner: The optimizer's own state, which a skipped step leaves as it was.
    """

    clip: ClipState
    inner: optax.OptState


def preset(
    optimizer: Callable[[Hold], optax.GradientTransformation], max_norm: ScalarOrSchedule | None
) -> optax.GradientTransformationExtraArgs:
    """Clipping → optimizer, in float32, where a non-finite gradient skips the whole step.

    Selecting between old and new moments would cost a second copy of each. A skipped step holds them
    instead: its gradient is zero and its decays are one, and ``m' = (1 - 1) * 0 + 1 * m`` is ``m`` exactly.

    Args:
        optimizer: Builds the optimizer; passes the decay of each of its moving averages through ``hold``.
        max_norm: As in ``clip_gradients``.
    """
    clip = clip_gradients(max_norm)
    init_inner = optimizer(lambda decay: decay).init

    def init(params: PyTree) -> PresetState:
        return PresetState(clip.init(params), init_inner(params))

    def update(
        grads: PyTree, state: PresetState, params: PyTree = None, **extra_args: Any
    ) -> tuple[PyTree, PresetState]:
        grads, clip_state = clip.update(grads, state.clip)
        finite = jnp.isfinite(clip_state.norm)

        def hold(decay: Any) -> jax.Array:
            return jnp.where(finite, decay, 1.0)

        def hold_scalar(new: jax.Array, old: jax.Array) -> jax.Array:
            return jnp.where(finite, new, old) if new.ndim == 0 else new

        inner = optax.with_extra_args_support(optimizer(hold))
        updates, new_inner = inner.update(grads, state.inner, params, **extra_args)
        updates = jax.tree.map(lambda update: jnp.where(finite, update, 0.0), updates)
        return updates, PresetState(
            clip_state._replace(count=jnp.where(finite, clip_state.count, state.clip.count)),
            jax.tree.map(hold_scalar, new_inner, state.inner),
        )

    return in_float32(optax.GradientTransformationExtraArgs(init, update))
