"""The learning rate above which the very next step raises the loss."""

from __future__ import annotations

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.typing import ArrayLike

from lrjax import _checks
from lrjax.curvature import _loss
from lrjax.typing import LossFn, OptimizerFactory, PyTree

_ROUNDINGS = 8
"""Roundings of the loss that a step may raise it by and count as not raising it."""


class CriticalLearningRate(NamedTuple):
    """The rate above which the next step raises the loss; ``print`` says what it means.

    Attributes:
        learning_rate: The largest rate tried, below ``high``, that does not raise the loss; 0 where every rate does.
        high: The smallest rate tried that raises it; inf where none does.
        evaluations: Forward passes that the search took, beside one gradient, int32.
    """

    learning_rate: jax.Array
    high: jax.Array
    evaluations: jax.Array

    def saved_warmup(self, peak_value: ArrayLike, warmup_steps: ArrayLike) -> jax.Array:
        """The steps that a linear warmup saves if it starts at the critical rate and rises as fast as from zero.

        ``round(warmup_steps * min(1, learning_rate / peak_value))``: the rest of the warmup is
        ``warmup_cosine(peak_value, total_steps, warmup_steps=warmup_steps - saved, init_value=learning_rate)``.

        Args:
            peak_value: The rate at the end of the warmup, above 0.
            warmup_steps: Steps of the warmup that starts at zero.

        Returns:
            Whole steps, int32.

        Raises:
            TypeError: An argument is of the wrong kind.
            ValueError: An argument is out of its range.
        """
        call = "saved_warmup"
        peak_value = _checks.number(call, "peak_value", peak_value, above=0.0)
        warmup_steps = _checks.count(call, "warmup_steps", warmup_steps)
        return jnp.round(warmup_steps * jnp.minimum(1.0, self.learning_rate / peak_value)).astype(jnp.int32)

    @property
    def reason(self) -> str:
        """One sentence: what was found, or what to do where nothing was; outside jit and vmap."""
        low, high, evaluations = float(self.learning_rate), float(self.high), int(self.evaluations)
        passes = f"{evaluations} forward pass{'es' if evaluations != 1 else ''}"
        if low == 0.0:
            return (
                f"Every rate down to {high:.3g} raised the loss or made it not finite, in {passes}: look for a loss "
                "that is not finite already or noise in loss_fn, or lower min_value."
            )
        if math.isinf(high):
            return (
                f"No rate up to {low:.3g} raised the loss, in {passes}: raise max_value if the optimizer moves the "
                "parameters at all (a schedule whose first rate is zero does not, a zero gradient neither)."
            )
        return f"The next step lowers the loss at a rate of {low:.3g} and raises it at {high:.3g}, found in {passes}."

    def __str__(self) -> str:
        """The reason, or the fields where they have no single value."""
        single = all(np.shape(value) == () and not _checks.is_traced(value) for value in self)
        return self.reason if single else repr(self)


def critical_learning_rate(
    loss_fn: LossFn,
    params: PyTree,
    batch: PyTree,
    optimizer: OptimizerFactory,
    *,
    opt_state: PyTree | None = None,
    init_value: ArrayLike = 1e-4,
    min_value: ArrayLike = 1e-8,
    max_value: ArrayLike = 1e3,
    tolerance: ArrayLike = 0.05,
) -> CriticalLearningRate:
    """The learning rate above which the next step raises the loss on its own batch, by forward passes.

    With ``update`` what the optimizer makes of the gradient at a rate of 1, the smallest rate where
    ``loss_fn(params + learning_rate * update, batch) > loss_fn(params, batch)``. From ``init_value`` the rate is
    doubled until the loss rises (or, where it rises at once, halved until it does not), then the interval is halved in
    its logarithm until ``high <= (1 + tolerance) * learning_rate``: one gradient and, usually, 10 to 20 forward passes.

    Along the gradient of a quadratic it is ``2 * g @ g / (g @ H @ g)``, at least the ``2 / sharpness`` of
    ``stability_edge`` and equal to it where the gradient lies in the sharpest direction. Training that starts above
    it begins with a rise (a catapult to flatter regions, from which it may return or not). A warmup from zero spends
    ``learning_rate / peak_value`` of its steps below it, which may be left out: ``saved_warmup``.

    What else the loss needs goes in with the batch, as for ``sharpness``; dropout is to draw the same in every call.
    One program is compiled for each pair of functions: a lambda that is written anew compiles anew.

    Args:
        loss_fn: ``loss_fn(params, batch) -> loss``, one number.
        params: A pytree of real floating-point arrays. Half precision is widened to float32 before ``loss_fn`` sees it.
        batch: Any pytree of arrays: the batch of the next step.
        optimizer: A function of the learning rate, such as ``optax.adamw`` or ``lrjax.sgd``, whose updates are
            proportional to the rate.
        opt_state: The state that the run's optimizer is in; None for a new one, at the start of a run.
        init_value: The first rate tried.
        min_value: The smallest rate tried.
        max_value: The largest rate tried.
        tolerance: How far apart the two rates of the answer may be, as a part of the smaller; above 0.

    Returns:
        A ``CriticalLearningRate``; where every rate raises the loss, or none, its ``reason`` says what to do.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument is out of its range.

    Example:
        >>> import jax.numpy as jnp, lrjax, optax
        >>> from lrjax.curvature import critical_learning_rate
        >>> def loss_fn(params, batch):
        ...     return jnp.sum(batch * params**2) / 2
        >>> found = critical_learning_rate(loss_fn, jnp.array([1.0, 0.0]), jnp.array([20.0, 1.0]), optax.sgd)
        >>> print(found)  # 2 / 20
        The next step lowers the loss at a rate of 0.0981 and raises it at 0.102, found in 15 forward passes.
        >>> saved = found.saved_warmup(0.4, 1000)
        >>> schedule = lrjax.warmup_cosine(0.4, 9000, warmup_steps=1000 - saved, init_value=found.learning_rate)

    Source:
        Kalra and Barkeshli, "Why warmup the learning rate? Underlying mechanisms and improvements" (2024),
        arXiv:2406.09405.
    """
    call = "critical_learning_rate"
    _checks.function(call, "loss_fn", loss_fn, "of params and batch")
    _loss.check_params(call, params)
    if isinstance(optimizer, optax.GradientTransformation):
        raise TypeError(
            f"`{call}(optimizer=...)` must be a function of the learning rate, got a built optimizer: "
            "pass optax.adamw, not optax.adamw(1e-3)"
        )
    _checks.function(call, "optimizer", optimizer, "of the learning rate")
    min_value = _checks.number(call, "min_value", min_value, above=0.0)
    max_value = _checks.number(call, "max_value", max_value, above=0.0)
    init_value = _checks.number(call, "init_value", init_value, above=0.0)
    _checks.at_least(call, "init_value", init_value, "min_value", min_value)
    _checks.at_most(call, "init_value", init_value, "max_value", max_value)
    tolerance = _checks.number(call, "tolerance", tolerance, above=0.0)
    found: CriticalLearningRate = _searched(
        loss_fn, optimizer, params, batch, opt_state, init_value, min_value, max_value, tolerance
    )
    return found


@partial(jax.jit, static_argnames=("loss_fn", "optimizer"))
def _searched(
    loss_fn: LossFn,
    optimizer: OptimizerFactory,
    params: PyTree,
    batch: PyTree,
    opt_state: PyTree | None,
    init_value: ArrayLike,
    min_value: ArrayLike,
    max_value: ArrayLike,
    tolerance: ArrayLike,
) -> CriticalLearningRate:
    """The search, compiled once for the two functions and shapes."""
    call = "critical_learning_rate"
    params = _loss.widened(params)
    loss_of = _loss.of_params(call, loss_fn, batch)
    loss, gradient = jax.value_and_grad(loss_of)(params)
    unit_rate = _at_unit_rate(call, optimizer)
    state = unit_rate.init(params) if opt_state is None else opt_state
    update, _ = unit_rate.update(gradient, state, params, value=loss)
    allowed = loss + _ROUNDINGS * _rounding(loss.dtype) * jnp.abs(loss)

    dtype = jnp.result_type(*jax.tree.leaves(params))
    init_value, min_value, max_value, tolerance = (
        jnp.asarray(value, dtype) for value in (init_value, min_value, max_value, tolerance)
    )
    tolerance = jnp.maximum(tolerance, _ROUNDINGS * _rounding(dtype))  # else the halvings of an interval may not end

    def go_on(found: CriticalLearningRate) -> jax.Array:
        low, high, _ = found
        wide = jnp.where(jnp.isinf(high), low < max_value, high > (1 + tolerance) * low)
        return jnp.where(low == 0, high > min_value, wide)

    def try_one(found: CriticalLearningRate) -> CriticalLearningRate:
        low, high, evaluations = found
        above = jnp.where(low == 0, init_value, jnp.minimum(2 * low, max_value))
        below = jnp.where(low == 0, jnp.maximum(high / 2, min_value), jnp.sqrt(low) * jnp.sqrt(high))
        rate = jnp.where(jnp.isinf(high), above, below)
        moved = jax.tree.map(lambda param, change: (param + rate * change).astype(param.dtype), params, update)
        after = loss_of(moved)
        rises = ~(jnp.isfinite(after) & (after <= allowed))
        return CriticalLearningRate(jnp.where(rises, low, rate), jnp.where(rises, rate, high), evaluations + 1)

    nothing_tried = CriticalLearningRate(jnp.zeros((), dtype), jnp.full((), jnp.inf, dtype), jnp.int32(0))
    found: CriticalLearningRate = lax.while_loop(go_on, try_one, nothing_tried)
    return found


def _at_unit_rate(call: str, optimizer: OptimizerFactory) -> optax.GradientTransformationExtraArgs:
    """The optimizer whose updates the rates multiply."""
    built = optimizer(1.0)
    if not isinstance(built, optax.GradientTransformation):
        raise TypeError(
            f"`{call}(optimizer=...)` must return an optax.GradientTransformation, got a {type(built).__name__}"
        )
    return optax.with_extra_args_support(built)


def _rounding(dtype: jax.typing.DTypeLike) -> float:
    """The relative distance of two numbers of this dtype."""
    return float(jnp.finfo(dtype).eps)  # type: ignore[no-untyped-call]
