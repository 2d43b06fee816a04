"""Lower learning rates where a metric no longer improves."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from lrjax import _checks
from lrjax.monitors._exact import exceeds, halves, pieces
from lrjax.monitors._mean import PartialMean, no_values, with_value
from lrjax.typing import PyTree


class PlateauState(NamedTuple):
    """What ``reduce_on_plateau`` has seen and done.

    Metrics are float32, or float64 where JAX has it; the rest does not depend on that.

    Attributes:
        scale: What the last updates were multiplied by, float32.
        best: The best evaluation so far; infinite before the first.
        first: The first finite evaluation; infinite before it.
        bad: Evaluations in a row without improvement, int32.
        cooldown: Evaluations for which bad ones are still ignored, int32.
        cuts: How often the rate was lowered, int32.
        mean: The values of the evaluation to come; ``mean.values`` is their number.
    """

    scale: jax.Array
    best: jax.Array
    first: jax.Array
    bad: jax.Array
    cooldown: jax.Array
    cuts: jax.Array
    mean: PartialMean


def reduce_on_plateau(
    factor: jax.typing.ArrayLike = 0.1,
    patience: jax.typing.ArrayLike = 10,
    *,
    learning_rate: jax.typing.ArrayLike | None = None,
    mode: str = "min",
    threshold: jax.typing.ArrayLike = 1e-4,
    threshold_mode: str = "rel",
    cooldown: jax.typing.ArrayLike = 0,
    min_lr: jax.typing.ArrayLike = 0.0,
    eps: jax.typing.ArrayLike = 1e-8,
    accumulation_size: jax.typing.ArrayLike = 1,
    cut_at_patience: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """Multiplies the learning rate by ``factor`` when a metric has stopped improving, as PyTorch does.

    To be placed after the optimizer, ``optax.chain(adamw(1e-3), reduce_on_plateau())``, whose update then needs the
    metric: ``update(grads, state, params, value=loss)``.

    An evaluation is the mean of ``accumulation_size`` values. With ``mode="min"`` it improves on the best where,
    by ``threshold_mode``,

    - "rel": ``evaluation < best * (1 - threshold)``,
    - "abs": ``evaluation < best - threshold``,
    - "range": ``evaluation < best - threshold * (first - best)``: by a part of the way that the metric has come since
      its first finite evaluation, whatever its sign, unit and origin;

    with ``mode="max"`` it must be greater than ``best * (1 + threshold)``, ``best + threshold`` or
    ``best + threshold * (best - first)``. NaN never improves. Below zero "rel" takes a slightly worse evaluation for
    a better one, in PyTorch too: use "abs" or "range" where a loss may be negative.

    After more than ``patience`` bad evaluations in a row ``lr = max(lr * factor, min_lr)``, unless that would lower it
    by no more than ``eps``; the ``cooldown`` evaluations that follow are not counted as bad. ``min_lr`` and ``eps`` are
    in the units of ``learning_rate``, of which ``scale`` is the part that is left. With a schedule, ``learning_rate``
    is its peak, and all of the curve is scaled.

    The cut applies at once, to the update whose value completed the evaluation, as in Optax; a PyTorch loop calls
    its scheduler after the optimizer and sees it one update later. Float32 evaluations are judged as PyTorch judges
    them in float64, at the bound itself too; with ``jax_enable_x64`` they are float64. (Only whether a cut of just
    ``eps`` is made is up to rounding.) For a metric of every epoch, pass its latest value at every step, with
    ``accumulation_size`` the steps of an epoch: the mean of equal values is that value.

    ``optax.contrib.reduce_on_plateau`` cuts at the bad evaluation number ``patience``, one before PyTorch, which is
    ``cut_at_patience=True``, with ``learning_rate=1.0``, ``min_lr=min_scale`` and ``eps=0.0``. (With a patience of 0
    it cuts at improvements, and at them only, which is not to be had here.)

    Args:
        factor: What a cut multiplies the rate by, between 0 and 1: a number or a traced scalar, like all that follow
            but the modes and ``cut_at_patience``.
        patience: Bad evaluations in a row that are tolerated.
        learning_rate: The rate before any cut. None where only the scale matters: ``eps`` is then in units of the
            scale, and ``min_lr`` must be 0.
        mode: "min" for a metric that is to fall, "max" for one that is to rise.
        threshold: What an evaluation must improve by, at least 0; for "rel" less than 1.
        threshold_mode: "rel" for a part of the best evaluation, "abs" for units of the metric, "range" for a part of
            the way from the first to the best.
        cooldown: Evaluations after a cut that are not counted as bad.
        min_lr: The rate that no cut goes below.
        eps: What a cut must lower the rate by, and more, to be made.
        accumulation_size: Values, one from each update, that are averaged for an evaluation.
        cut_at_patience: Whether to cut at the bad evaluation number ``patience``, at least 1 then, as Optax does, and
            not at the one after it.

    Returns:
        A transformation whose state is a ``PlateauState``; ``state.scale`` is the part of the rate that is left.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument is out of its range; ``min_lr`` lacks the ``learning_rate`` it is compared with;
            ``update`` lacks its ``value``.

    Example:
        >>> import jax.numpy as jnp, optax
        >>> from lrjax.monitors import reduce_on_plateau
        >>> optimizer = optax.chain(optax.sgd(0.1), reduce_on_plateau(0.5, patience=1, learning_rate=0.1, min_lr=0.03))
        >>> params = jnp.ones(2)
        >>> state, rates = optimizer.init(params), []
        >>> for loss in (3.0, 2.0, 2.0, 2.0, 2.0, 2.0, 1.0):
        ...     updates, state = optimizer.update(params, state, params, value=loss)
        ...     rates.append(round(0.1 * float(state[1].scale), 3))
        >>> rates
        [0.1, 0.1, 0.1, 0.05, 0.05, 0.03, 0.03]

    Source:
        ``torch.optim.lr_scheduler.ReduceLROnPlateau``; ``optax.contrib.reduce_on_plateau``.
    """
    call = "reduce_on_plateau"
    _checks.flag(call, "cut_at_patience", cut_at_patience)
    _checks.choice(call, "mode", mode, ("min", "max"))
    _checks.choice(call, "threshold_mode", threshold_mode, ("rel", "abs", "range"))
    factor = _checks.number(call, "factor", factor, above=0.0, below=1.0)
    tolerated = _checks.count(call, "patience", patience)
    if cut_at_patience and not _checks.is_traced(tolerated) and tolerated < 1:
        _checks.refuse(call, "patience", "at least 1 with cut_at_patience=True", _checks.shown(tolerated))
    below = 1.0 if threshold_mode == "rel" else math.inf
    threshold = _checks.number(call, "threshold", threshold, low=0.0, below=below)
    cooldown = _checks.count(call, "cooldown", cooldown)
    min_lr = _checks.number(call, "min_lr", min_lr, low=0.0)
    eps = _checks.number(call, "eps", eps, low=0.0)
    accumulation_size = _checks.count(call, "accumulation_size", accumulation_size, low=1)
    if learning_rate is not None:
        learning_rate = _checks.number(call, "learning_rate", learning_rate, above=0.0)
        min_scale, least_cut = min_lr / learning_rate, eps / learning_rate
    elif _checks.is_traced(min_lr) or min_lr != 0.0:
        _checks.refuse(
            call, "min_lr", "0 without learning_rate=, the rate before any cut (1.0 for a scale)", _checks.shown(min_lr)
        )
    else:
        min_scale, least_cut = 0.0, eps
    improves = _improvement(1.0 if mode == "min" else -1.0, threshold, threshold_mode)

    def init(params: PyTree) -> PlateauState:
        del params
        dtype = jnp.result_type(float)
        worst = jnp.asarray(jnp.inf if mode == "min" else -jnp.inf, dtype)
        count = jnp.zeros((), jnp.int32)
        return PlateauState(jnp.ones((), jnp.float32), worst, worst, count, count, count, no_values(dtype))

    def evaluate(state: PlateauState, evaluation: jax.Array) -> PlateauState:
        better = improves(evaluation, state.best, state.first)
        cooling = state.cooldown > 0
        bad = jnp.where(better | cooling, 0, optax.safe_increment(state.bad))
        due = bad >= tolerated if cut_at_patience else bad > tolerated
        lower = jnp.maximum(state.scale * factor, min_scale).astype(jnp.float32)
        cut = due & (state.scale - lower > least_cut)
        return state._replace(
            scale=jnp.where(cut, lower, state.scale),
            best=jnp.where(better, evaluation, state.best),
            first=jnp.where(jnp.isinf(state.first) & jnp.isfinite(evaluation), evaluation, state.first),
            bad=jnp.where(due, 0, bad),
            cooldown=jnp.where(due, cooldown, jnp.where(cooling, state.cooldown - 1, 0)).astype(jnp.int32),
            cuts=jnp.where(cut, optax.safe_increment(state.cuts), state.cuts),
            mean=no_values(evaluation.dtype),
        )

    @jax.jit  # outside jit, its many operations on scalars would be called one by one
    def advance(state: PlateauState, value: jax.Array) -> PlateauState:
        mean = with_value(state.mean, value)
        complete = mean.values >= accumulation_size
        evaluated, waiting = evaluate(state, mean.value), state._replace(mean=mean)
        new: PlateauState = jax.tree.map(lambda new, old: jnp.where(complete, new, old), evaluated, waiting)
        return new

    def update(
        updates: PyTree, state: PlateauState, params: PyTree = None, *, value: Any = None, **extra_args: Any
    ) -> tuple[PyTree, PlateauState]:
        del params, extra_args
        if value is None:
            raise ValueError(f"the update of `{call}` needs the metric: call update(grads, state, params, value=loss)")
        value = jnp.asarray(value, state.best.dtype)
        if value.shape != ():
            _checks.refuse(f"{call}.update", "value", "a scalar", f"an array of shape {value.shape}")
        state = advance(state, value)

        def scaled(update: jax.Array) -> jax.Array:
            wide = update.astype(jnp.promote_types(update.dtype, jnp.float32))
            return (wide * state.scale).astype(update.dtype)

        return jax.tree.map(scaled, updates), state

    return optax.GradientTransformationExtraArgs(init, update)


def _improvement(sign: float, threshold: Any, threshold_mode: str) -> Callable[..., jax.Array]:
    """Whether an evaluation improves on the best, as a function of it, the best and the first."""

    def exceeded(evaluation: jax.Array, best: jax.Array) -> jax.Array:
        """``evaluation < bound`` for float32 numbers, as in Python, which has both sides in float64."""
        if threshold_mode == "abs":
            return exceeds([best, *(-piece for piece in pieces(threshold))], evaluation)
        if _checks.is_traced(threshold):
            ratio = [jnp.float32(1.0), *(-sign * piece for piece in pieces(threshold))]
        else:
            ratio = pieces(1.0 - sign * threshold)
        room = jnp.where(jnp.abs(best) < 1.0, 2.0**64, 0.25)  # keeps the products in the range of float32
        return exceeds([part * piece for piece in ratio for part in halves(room * best)], room * evaluation)

    def improves(evaluation: jax.Array, best: jax.Array, first: jax.Array) -> jax.Array:
        evaluation, best, first = sign * evaluation, sign * best, sign * first
        if threshold_mode == "range":
            way = jnp.where(jnp.isfinite(first - best), first - best, 0.0)
            return jnp.greater(best - evaluation, threshold * way)
        if best.dtype == jnp.float32:
            return jnp.where(jnp.isinf(best), evaluation < best, exceeded(evaluation, best))
        return jnp.less(evaluation, best * (1.0 - sign * threshold) if threshold_mode == "rel" else best - threshold)

    return improves
