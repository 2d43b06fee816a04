"""Backoff: a smaller rate, and back to good parameters, when a run fails."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from lrjax import _checks
from lrjax.monitors._loss_level import LossLevel, followed, measured, unknown
from lrjax.typing import PyTree

MIN_SCALE = 1e-6
"""Where the scale stops to fall, so that the run can be seen to go on."""

_TRAINING, _SETTLING, _AT_SNAPSHOT = 0, 1, 2


class Snapshot(NamedTuple):
    """What a restore returns to.

    Attributes:
        params: Parameters whose loss was healthy.
        inner: The optimizer's state at them.
        level: The level of the loss at them.
    """

    params: PyTree
    inner: optax.OptState
    level: LossLevel


class BackoffState(NamedTuple):
    """The state of ``backoff``; its numbers are float32, its counts int32.

    Attributes:
        inner: The state of the optimizer.
        scale: What the optimizer's updates are multiplied by.
        ceiling: What ``scale`` may grow back to.
        level: The level of the loss; ``level.reference`` is what a spike is measured from.
        good: The last good parameters and state, or None without ``restore``.
        phase: 0 in training, 1 in the step after a restore, 2 where the parameters are the snapshot's.
        held: Good steps since ``scale`` last changed.
        kept: Good steps since the snapshot was taken.
        step: Updates so far.
        backoffs: How often the scale was cut.
        nonfinite: Steps whose loss, gradient or update was not finite.
        spikes: Steps in which the loss had left its level.
        restores: How often the run returned to the snapshot.
        last_backoff: Index of the update that last cut the scale; -1 before the first.
    """

    inner: optax.OptState
    scale: jax.Array
    ceiling: jax.Array
    level: LossLevel
    good: Snapshot | None
    phase: jax.Array
    held: jax.Array
    kept: jax.Array
    step: jax.Array
    backoffs: jax.Array
    nonfinite: jax.Array
    spikes: jax.Array
    restores: jax.Array
    last_backoff: jax.Array


class _Verdict(NamedTuple):
    """What a step was, scalars of bool."""

    good: jax.Array
    failed: jax.Array
    spiked: jax.Array
    nonfinite: jax.Array


def backoff(
    inner: optax.GradientTransformation,
    *,
    factor: ArrayLike = 0.1,
    spike: ArrayLike = 2.0,
    patience: ArrayLike = 50,
    recovery: ArrayLike | None = None,
    restore: bool = True,
) -> optax.GradientTransformationExtraArgs:
    """Cuts the rate of ``inner`` when the run fails, and returns to the last good parameters.

    ``updates = scale * inner_updates``, with ``scale`` 1 at first. A step fails by a loss, gradient or update
    that is not finite, by an update that would overflow the parameters, and by a loss that has left its level:

    ``recent > reference + max((spike - 1) * max(|reference|, (initial - reference) / 10), 6 * deviation)``

    or ``recent > (initial + lowest) / 2 + 6 * deviation`` for ``patience`` steps in a row. Here ``recent`` averages
    the loss over two steps, ``reference`` over ``patience``, ``deviation`` averages ``|loss - recent|``,
    ``initial`` is the loss of the initial parameters and ``lowest`` the lowest ``recent``. So a loss well above 0
    fails at ``spike`` times its recent level, unless it is noisy enough for that to be chance; around 0 and below,
    a tenth of the descent so far and the noise decide; and whatever constant is added to the loss, half of what
    was gained may not stay lost.

    In a step that fails ``scale' = max(factor * scale, 1e-6)``, and with ``restore`` the parameters and the
    state of ``inner`` become the snapshot's: every ``patience`` good steps, one whose loss is not above its level
    is taken as the next. A restore takes two updates, ``good - params`` each, since the first is rounded to the
    size of the parameters that it leaves; the loss measured next is the level's new beginning. A loss or
    gradient that is not finite at the snapshot's own parameters is not the rate's fault: the step is skipped
    and counted, the scale stays. No update with a non-finite entry is ever passed on. For ``patience`` steps
    after a cut or a raise, the new scale is on trial: ``spike - 1`` counts a quarter.

    With ``recovery``, ``scale' = min(scale / factor, ceiling)`` after so many good steps at one scale. The
    ceiling is 1, but a scale that fails before it was held for that long lowers it to ``sqrt(factor)`` times
    that scale, so that no rate that is too high is tried for ever.

    A rate a few times too high that only trains badly, its loss never rising, is no failure and is not caught.
    The snapshot doubles the memory of parameters and optimizer. A healthy run is left as it is, bit for bit.
    ``inner`` gets the loss too. In ``optax.MultiSteps`` the loss is the last micro-batch's.

    Args:
        inner: The optimizer.
        factor: What a failure multiplies the scale by, between 0 and 1: a number or a traced scalar.
        spike: How many times its recent level the loss may reach, more than 1: a number or a traced scalar.
        patience: Steps that the level is averaged over, between snapshots, above the initial loss and on trial,
            at least 2: a whole number or a traced scalar.
        recovery: Good steps at one scale after which it grows by ``1 / factor``, at least 1: a whole number or a
            traced scalar; None for never.
        restore: Whether a failure returns to the snapshot. If not, the step is skipped and the run goes on from
            where it is, with the loss it has there as the new level.

    Returns:
        A transformation whose state is a ``BackoffState``; ``update(grads, state, params, value=loss)``.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument is out of its range; ``update`` lacks ``params`` or ``value``, or ``value`` is not
            a scalar.

    Example:
        >>> import jax, jax.numpy as jnp, optax
        >>> from lrjax.monitors import backoff
        >>> optimizer = backoff(optax.sgd(30.0))  # the largest stable rate is 1
        >>> params = jnp.array([1.0, -2.0])
        >>> state = optimizer.init(params)
        >>> for _ in range(20):
        ...     loss, grads = jax.value_and_grad(lambda x: jnp.sum(x**2))(params)
        ...     updates, state = optimizer.update(grads, state, params, value=loss)
        ...     params = optax.apply_updates(params, updates)
        >>> f"loss {loss:.0e}, scale {state.scale:.2f}, {state.backoffs} backoffs, the last at {state.last_backoff}"
        'loss 2e-10, scale 0.01, 2 backoffs, the last at 4'

    Source:
        Chowdhery et al., "PaLM: scaling language modeling with pathways" (2022), arXiv:2204.02311 (going back to
        before a spike); ``optax.apply_if_finite`` (the part that concerns gradients that are not finite).
    """
    call = "backoff"
    if not isinstance(inner, optax.GradientTransformation):
        _checks.refuse_type(call, "inner", "an optimizer, such as optax.adam(1e-3)", inner)
    factor = _checks.number(call, "factor", factor, above=0.0, below=1.0)
    spike = _checks.number(call, "spike", spike, above=1.0)
    patience = _checks.count(call, "patience", patience, low=2)
    recovery = None if recovery is None else _checks.count(call, "recovery", recovery, low=1)
    _checks.flag(call, "restore", restore)
    inner = optax.with_extra_args_support(inner)

    def init(params: PyTree) -> BackoffState:
        state = inner.init(params)
        # Copies and separate zeros, since a buffer that occurs twice cannot be donated.
        good = jax.tree.map(jnp.copy, Snapshot(params, state, unknown())) if restore else None
        return BackoffState(
            inner=state,
            scale=jnp.float32(1.0),
            ceiling=jnp.float32(1.0),
            level=unknown(),
            good=good,
            phase=jnp.int32(_AT_SNAPSHOT),
            held=jnp.int32(0),
            kept=jnp.int32(0),
            step=jnp.int32(0),
            backoffs=jnp.int32(0),
            nonfinite=jnp.int32(0),
            spikes=jnp.int32(0),
            restores=jnp.int32(0),
            last_backoff=jnp.int32(-1),
        )

    def update(
        grads: PyTree, state: BackoffState, params: PyTree = None, *, value: Any = None, **extra_args: Any
    ) -> tuple[PyTree, BackoffState]:
        loss = _loss(value, params)
        shrink, span = jnp.asarray(factor, jnp.float32), jnp.asarray(patience, jnp.float32)
        at_snapshot, settling = state.phase == _AT_SNAPSHOT, state.phase == _SETTLING

        updates, inner_state = inner.update(grads, state.inner, params, value=value, **extra_args)
        updates = jax.tree.map(lambda leaf: (leaf * state.scale).astype(leaf.dtype), updates)
        finite = jnp.isfinite(loss) & _all_finite(grads)
        applicable = _all_finite(optax.apply_updates(params, updates))
        on_trial = (state.backoffs > 0) & (state.held < span)
        level, left = followed(state.level, loss, spike=spike, patience=span, on_trial=on_trial)
        spiked = left & finite & (state.phase == _TRAINING)
        nonfinite = ~(finite & applicable) & ~settling
        failed = spiked | (nonfinite & ~(at_snapshot & ~finite))
        verdict = _Verdict(~(failed | nonfinite | settling), failed, spiked, nonfinite)

        level = _select(at_snapshot, measured(state.level, loss), level)
        scaled = _rescaled(state, verdict, shrink, recovery)
        if state.good is None:
            level = _select(verdict.good, level, _select(spiked, measured(state.level, loss), state.level))
            updates = jax.tree.map(lambda leaf: jnp.where(verdict.good, leaf, jnp.zeros_like(leaf)), updates)
            inner_state = _select(verdict.good, inner_state, state.inner)
            phase = jnp.where(verdict.good, _TRAINING, state.phase)
            return updates, scaled._replace(inner=inner_state, level=level, phase=phase)

        calm = (loss <= state.level.reference) & (level.recent <= level.reference)
        take = verdict.good & (state.kept >= span) & calm
        snapshot = _select(take, Snapshot(params, state.inner, state.level), state.good)
        snapshot = snapshot._replace(level=_select(verdict.good & at_snapshot, level, snapshot.level))
        updates = jax.tree.map(
            lambda leaf, good, param: jnp.where(
                verdict.good, leaf, jnp.where(failed | settling, _difference(good, param), 0).astype(leaf.dtype)
            ),
            updates,
            snapshot.params,
            params,
        )
        phase = jnp.where(verdict.good, _TRAINING, jnp.where(settling, _AT_SNAPSHOT, state.phase))
        return updates, scaled._replace(
            inner=_select(verdict.good, inner_state, _select(failed, snapshot.inner, state.inner)),
            level=_select(verdict.good, level, _select(failed, snapshot.level, state.level)),
            good=snapshot,
            phase=jnp.where(failed, _SETTLING, phase),
            kept=jnp.where(failed, 0, jnp.where(take, 0, state.kept) + verdict.good),
            restores=state.restores + failed,
        )

    return optax.GradientTransformationExtraArgs(init, update)


def _loss(value: Any, params: PyTree) -> jax.Array:
    """The loss in float32, where ``update`` was called as it must be."""
    how = "optimizer.update(grads, state, params, value=loss)"
    if value is None:
        raise ValueError(f"`backoff` needs the loss of each step: call {how}")
    if params is None:
        raise ValueError(f"`backoff` needs the parameters: call {how}")
    if jnp.shape(value) != ():
        raise ValueError(f"`backoff` needs the loss as a scalar, got value of shape {jnp.shape(value)}")
    return jnp.asarray(value).astype(jnp.float32)


def _rescaled(state: BackoffState, verdict: _Verdict, factor: jax.Array, recovery: Any) -> BackoffState:
    """``state`` after a step: its scale, its ceiling and its counts."""
    cut = jnp.maximum(state.scale * factor, MIN_SCALE)
    scale, ceiling, held = state.scale, state.ceiling, state.held + verdict.good
    if recovery is not None:
        unproven = verdict.failed & (state.held < recovery)
        ceiling = jnp.where(unproven, jnp.maximum(jnp.sqrt(factor) * scale, cut), ceiling)
        raised = verdict.good & (held >= recovery) & (scale < ceiling)
        scale = jnp.where(raised, jnp.minimum(scale / factor, ceiling), scale)
        held = jnp.where(raised, 0, held)
    return state._replace(
        scale=jnp.where(verdict.failed, cut, scale),
        ceiling=ceiling,
        held=jnp.where(verdict.failed, 0, held),
        step=optax.safe_increment(state.step),
        backoffs=state.backoffs + verdict.failed,
        nonfinite=state.nonfinite + verdict.nonfinite,
        spikes=state.spikes + verdict.spiked,
        last_backoff=jnp.where(verdict.failed, state.step, state.last_backoff),
    )


def _difference(good: jax.Array, params: jax.Array) -> jax.Array:
    """What leads from ``params`` to ``good``, finite: the second update of a restore makes up for a bound here."""
    difference = good - params
    if not jnp.issubdtype(difference.dtype, jnp.floating):
        return difference
    largest = jnp.finfo(difference.dtype).max  # type: ignore[no-untyped-call]
    return jnp.clip(difference, -largest, largest)


def _all_finite(tree: PyTree) -> jax.Array:
    """Whether every entry of every leaf is."""
    return jnp.all(jnp.array([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)], bool))


def _select(condition: jax.Array, chosen: Any, otherwise: Any) -> Any:
    """``chosen`` where ``condition``, leaf by leaf."""
    return jax.tree.map(lambda yes, no: jnp.where(condition, yes, no), chosen, otherwise)
