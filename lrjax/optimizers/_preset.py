"""What every preset does around its optimizer: clip, compute in float32, skip non-finite gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax

from lrjax import _checks
from lrjax._norm import global_norm
from lrjax.optimizers._precision import in_float32
from lrjax.optimizers.clipping import ClipState, clip_gradients
from lrjax.typing import PyTree, ScalarOrSchedule


def require(params: PyTree) -> None:
    """Refuse an update without the parameters."""
    if params is None:
        raise ValueError("this optimizer's update needs the parameters: call update(grads, state, params)")


class Monitor(NamedTuple):
    """What ``monitor=True`` records of the last update, float32 scalars.

    Attributes:
        update_norm: Norm of the update, the learning rate included; 0 in a skipped step.
        param_norm: Norm of the parameters before the update.
    """

    update_norm: jax.Array
    param_norm: jax.Array


class PresetState(NamedTuple):
    """The state of every preset.

    Attributes:
        learning_rate: The rate of the last step that was applied; before the first, the one it will have.
        clip: What the clipping has seen; ``clip.norm`` is the gradient's norm before clipping,
            ``clip.nonfinite`` counts the skipped steps and ``clip.count`` the others.
        inner: The optimizer's own state, which a skipped step leaves as it was.
        monitor: Norms of the last update, or None without ``monitor=True``.
    """

    learning_rate: jax.Array
    clip: ClipState
    inner: optax.OptState
    monitor: Monitor | None


class Step(NamedTuple):
    """What an optimizer needs to know of the update it is built for.

    Attributes:
        count: Index of the update among those applied, int32: the clock of every schedule.
        finite: Whether the gradient is; if not, the update is discarded and no moment may change.
        learning_rate: The rate of this update.
    """

    count: jax.Array  # type: ignore[assignment]  # tuple.count
    finite: jax.Array
    learning_rate: jax.Array

    def at(self, value: ScalarOrSchedule) -> Any:
        """``value``, or what the schedule ``value`` gives at this update."""
        return value(self.count) if callable(value) else value

    def hold(self, decay: ScalarOrSchedule) -> jax.Array:
        """The ``decay`` of a moving average at this update, or 1 in a step that is skipped."""
        return jnp.where(self.finite, self.at(decay), 1.0)

    def applied(self, updates: PyTree) -> PyTree:
        """``updates``, or zeros in a step that is skipped."""
        return jax.tree.map(lambda update: jnp.where(self.finite, update, 0.0), updates)

    def decay(self, weight_decay: ScalarOrSchedule, mask: Any, rate: Any = 1.0) -> optax.GradientTransformation:
        """Adds ``rate * weight_decay * params`` where ``mask`` says so; a known 0 needs no parameters.

        Without a state, since whether the 0 is known may change from ``init`` to ``update``.
        """
        if not callable(weight_decay) and not _checks.is_traced(weight_decay) and weight_decay == 0.0:
            return optax.identity()
        decaying = optax.add_decayed_weights(rate * self.at(weight_decay), mask)

        def add(updates: PyTree, params: PyTree) -> PyTree:
            require(params)
            return decaying.update(updates, decaying.init(params), params)[0]

        return optax.stateless(add)


Clock: TypeAlias = Callable[[ClipState], jax.Array]
"""The index of the coming update, which the schedules of the learning rate and of ``max_norm`` read."""


def updates_applied(clip: ClipState) -> jax.Array:
    """The clock that a skipped step does not advance."""
    return clip.count


def preset(
    optimizer: Callable[[Step], optax.GradientTransformation],
    learning_rate: ScalarOrSchedule,
    max_norm: ScalarOrSchedule | None,
    *,
    monitor: bool = False,
    clock: Clock = updates_applied,
) -> optax.GradientTransformationExtraArgs:
    """Clipping → optimizer, in float32, where a non-finite gradient skips the whole step.

    Selecting between old and new moments would cost a second copy of each. A skipped step holds them
    instead: its gradient is zero and its decays are one, and ``m' = (1 - 1) * 0 + 1 * m`` is ``m`` exactly.

    Args:
        optimizer: Builds the optimizer of one step; passes the decay of each of its moving averages through
            ``step.hold``, and what they average, where that is more than the gradient, through ``step.applied``;
            scales by ``-step.learning_rate``.
        learning_rate: A number, a traced scalar or a schedule.
        max_norm: As in ``clip_gradients``.
        monitor: Whether the norms of updates and parameters are recorded.
        clock: What a scheduled learning rate and a scheduled ``max_norm`` count.
    """

    def clip_at(count: jax.Array) -> optax.GradientTransformation:
        return clip_gradients((lambda _: max_norm(count)) if callable(max_norm) else max_norm)

    def step_after(clip_state: ClipState, finite: jax.Array) -> Step:
        rate = learning_rate(clock(clip_state)) if callable(learning_rate) else learning_rate
        dtype = jnp.promote_types(jnp.result_type(rate), jnp.float32)
        return Step(clip_state.count, finite, jnp.asarray(rate, dtype))

    def init(params: PyTree) -> PresetState:
        clip_state = clip_gradients().init(params)
        step = step_after(clip_state, jnp.array(True))  # noqa: FBT003 (an array's value)
        record = Monitor(jnp.float32(0.0), global_norm(params).value) if monitor else None
        return PresetState(step.learning_rate, clip_state, optimizer(step).init(params), record)

    def update(
        grads: PyTree, state: PresetState, params: PyTree = None, **extra_args: Any
    ) -> tuple[PyTree, PresetState]:
        if monitor:
            require(params)
        grads, clip_state = clip_at(clock(state.clip)).update(grads, state.clip)
        finite = jnp.isfinite(clip_state.norm)
        step = step_after(state.clip, finite)
        inner = optax.with_extra_args_support(optimizer(step))
        updates, new_inner = inner.update(grads, state.inner, params, **extra_args)
        updates = step.applied(updates)

        def hold_scalar(new: jax.Array, old: jax.Array) -> jax.Array:
            return jnp.where(finite, new, old) if new.ndim == 0 else new

        return updates, PresetState(
            jnp.where(finite, step.learning_rate, state.learning_rate),
            clip_state._replace(count=jnp.where(finite, clip_state.count, state.clip.count)),
            jax.tree.map(hold_scalar, new_inner, state.inner),
            Monitor(global_norm(updates).value, global_norm(params).value) if monitor else None,
        )

    return in_float32(optax.GradientTransformationExtraArgs(init, update))
