"""The learning rate at another batch size, and the batch size beyond which a larger one stops paying."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import ModuleType
from typing import Any, Literal, NamedTuple, TypeAlias, overload

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from lrjax import _checks
from lrjax.typing import LossFn, PyTree, ScalarOrSchedule, Schedule

__all__ = ["AdamScaling", "NoiseScale", "effective_learning_rate", "gradient_noise_scale", "scale_learning_rate"]

Number: TypeAlias = float | jax.Array
"""A Python float where every argument was a Python or NumPy number, else an array of JAX's default float."""

RULES = ("auto", "linear", "sqrt", "adam_sde", "critical")
PROPORTIONAL = ("sgd", "sgd_momentum")
"""Optimizers whose update is proportional to the gradient."""
NORMALIZED = ("adam", "adamw", "amsgrad", "lamb", "lion", "nadam", "nadamw", "rmsprop", "schedule_free_adamw")
"""Optimizers whose update does not grow with the gradient."""
SDE_OPTIMIZERS = ("adam", "adamw")
LARGEST_LINEAR_BATCH = 8192
"""The largest batch at which linear scaling held on ImageNet."""
RESOLVED = 3.0
"""Standard errors from zero at which an estimate is told apart from it."""


class AdamScaling(NamedTuple):
    """The hyperparameters of Adam at another batch size, in the order in which ``optax.adamw(*scaling)`` takes them.

    Attributes:
        learning_rate: The rate, or the schedule of rates where one was given.
        b1: Decay of the first moment.
        b2: Decay of the second moment.
        eps: Added to the denominator outside the square root.
    """

    learning_rate: Number | Schedule
    b1: Number
    b2: Number
    eps: Number


@overload
def scale_learning_rate(
    learning_rate: ScalarOrSchedule,
    base_batch_size: ArrayLike,
    batch_size: ArrayLike,
    *,
    rule: Literal["adam_sde"],
    optimizer: str = ...,
    b1: ArrayLike = ...,
    b2: ArrayLike = ...,
    eps: ArrayLike = ...,
    noise_scale: None = ...,
) -> AdamScaling: ...


@overload
def scale_learning_rate(
    learning_rate: ArrayLike,
    base_batch_size: ArrayLike,
    batch_size: ArrayLike,
    *,
    rule: Literal["auto", "linear", "sqrt", "critical"] = ...,
    optimizer: str = ...,
    b1: ArrayLike = ...,
    b2: ArrayLike = ...,
    eps: ArrayLike = ...,
    noise_scale: ArrayLike | None = ...,
) -> Number: ...


@overload
def scale_learning_rate(
    learning_rate: Schedule,
    base_batch_size: ArrayLike,
    batch_size: ArrayLike,
    *,
    rule: Literal["auto", "linear", "sqrt", "critical"] = ...,
    optimizer: str = ...,
    b1: ArrayLike = ...,
    b2: ArrayLike = ...,
    eps: ArrayLike = ...,
    noise_scale: ArrayLike | None = ...,
) -> Schedule: ...


def scale_learning_rate(
    learning_rate: ScalarOrSchedule,
    base_batch_size: ArrayLike,
    batch_size: ArrayLike,
    *,
    rule: str = "auto",
    optimizer: str = "adamw",
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
    noise_scale: ArrayLike | None = None,
) -> Number | Schedule | AdamScaling:
    """The learning rate at ``batch_size`` that corresponds to a good one at ``base_batch_size``.

    With ``kappa = batch_size / base_batch_size``, the rate is ``learning_rate`` times

    - ``"linear"``: ``kappa``;
    - ``"sqrt"``: ``sqrt(kappa)``;
    - ``"auto"``: for SGD ``g(batch_size) / g(base_batch_size)`` with ``g(B) = min(B, sqrt(8192 * B))``, which is
      linear up to a batch of 8192 and the square root beyond it; for all other optimizers ``sqrt(kappa)``;
    - ``"adam_sde"``: ``sqrt(kappa)``, and with it ``b1' = 1 - kappa * (1 - b1)``, ``b2' = 1 - kappa * (1 - b2)``,
      ``eps' = eps / sqrt(kappa)``; a decay of 0 stays 0;
    - ``"critical"``: ``((1 + noise_scale / base_batch_size) / (1 + noise_scale / batch_size))**a``, with ``a`` 1 for
      SGD and 1/2 for all other optimizers: ``"linear"`` or ``"sqrt"`` far below the noise scale, constant far above.

    Under every rule, scaling by way of a third batch size changes nothing. All but ``"critical"`` hold where noise
    dominates the gradient, thus at batches below the noise scale. ``"adam_sde"`` also takes the rate to be small, and
    is refused where a decay would leave ``[0, 1)``, so that kappa is at most ``1 / (1 - b1)``: 10 for b1 = 0.9. It
    leaves the weight decay of AdamW to you: times ``sqrt(kappa)`` it stays the same per example. The sizes may count
    tokens instead of examples where the noise scale does too; the 8192 are examples.

    Args:
        learning_rate: A number, a traced scalar or a schedule. A schedule's steps stay as they are: a run over as
            many examples has ``1 / kappa`` times as many.
        base_batch_size: Examples in a batch where ``learning_rate`` is good, at least 1.
        batch_size: Examples in a batch of the run to come, at least 1.
        rule: ``"auto"``, ``"linear"``, ``"sqrt"``, ``"adam_sde"`` or ``"critical"``.
        optimizer: ``"sgd"`` or ``"sgd_momentum"``, which are scaled alike, or one whose update is normalised:
            ``"adam"``, ``"adamw"``, ``"amsgrad"``, ``"lamb"``, ``"lion"``, ``"nadam"``, ``"nadamw"``,
            ``"rmsprop"``, ``"schedule_free_adamw"``.
        b1: Decay of the first moment at ``base_batch_size``; only ``"adam_sde"`` reads it.
        b2: Decay of the second moment at ``base_batch_size``; only ``"adam_sde"`` reads it.
        eps: Adam's ``eps`` at ``base_batch_size``; only ``"adam_sde"`` reads it.
        noise_scale: The gradient noise scale, for ``"critical"`` only: see :func:`gradient_noise_scale`.

    Returns:
        A float, or a float32 scalar where an argument is a JAX array; for a schedule, the schedule of scaled rates.
        For ``"adam_sde"`` an ``AdamScaling`` of these, whose decays are NaN where traced values leave the regime.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument is out of its range, ``noise_scale`` does not go with the rule, the rule does not
            go with the optimizer, or ``"adam_sde"`` does not reach ``batch_size``.

    Example:
        >>> from lrjax.scaling import scale_learning_rate
        >>> print(scale_learning_rate(1e-3, 256, 1024))
        0.002
        >>> print(scale_learning_rate(0.1, 256, 1024, optimizer="sgd"))
        0.4
        >>> scaled = scale_learning_rate(1e-3, 256, 1024, rule="adam_sde")
        >>> print({name: float(f"{value:.4g}") for name, value in scaled._asdict().items()})
        {'learning_rate': 0.002, 'b1': 0.6, 'b2': 0.996, 'eps': 5e-09}

    Source:
        Linear: Goyal et al., arXiv:1706.02677. Square root: Krizhevsky, arXiv:1404.5997; LAMB: You et al.,
        arXiv:1904.00962. ``"adam_sde"``, and the square root for RMSprop: Malladi et al., arXiv:2205.10287.
        ``"critical"``: McCandlish et al., arXiv:1812.06162, where Adam's exponent came out between 1/2 and 1, by task;
        1/2 agrees with ``"sqrt"``. Lion has no rule of its own: the sign of a noisy gradient points downhill in
        proportion to ``sqrt(batch_size)``, which gives the square root, as in Li et al., arXiv:2405.14578, who also
        find that the best rate of Adam and Lion may fall again beyond the noise scale.
    """
    call = "scale_learning_rate"
    given = (learning_rate, base_batch_size, batch_size, b1, b2, eps, noise_scale)
    rate = _number_or_schedule(call, "learning_rate", learning_rate, low=0)
    base = _checks.count(call, "base_batch_size", base_batch_size, low=1)
    batch = _checks.count(call, "batch_size", batch_size, low=1)
    _checks.choice(call, "rule", rule, RULES)
    _checks.choice(call, "optimizer", optimizer, (*PROPORTIONAL, *NORMALIZED))
    decays = {
        "b1": _checks.number(call, "b1", b1, low=0, below=1),
        "b2": _checks.number(call, "b2", b2, low=0, below=1),
    }
    eps = _checks.number(call, "eps", eps, low=0)
    if (noise_scale is None) == (rule == "critical"):
        wanted = "given for rule='critical'" if rule == "critical" else "left out but for rule='critical'"
        _checks.refuse(call, "noise_scale", wanted, f"{_checks.shown(noise_scale)} with rule={rule!r}")
    noise = 0.0 if noise_scale is None else _checks.number(call, "noise_scale", noise_scale, low=0)
    if rule == "adam_sde":
        if optimizer not in SDE_OPTIMIZERS:
            wanted = f"one other than 'adam_sde' for any optimizer but {' and '.join(map(repr, SDE_OPTIMIZERS))}"
            _checks.refuse(call, "rule", wanted, f"'adam_sde' with optimizer={optimizer!r}")
        for name, decay in decays.items():
            _within_sde(call, base, batch, name, decay)

    xp = _namespace(*given)
    base, batch, noise, eps = (_real(value) for value in (base, batch, noise, eps))
    kappa = batch / base
    if rule == "linear":
        factor = kappa
    elif rule == "critical":
        factor = ((1 + noise / base) / (1 + noise / batch)) ** (1.0 if optimizer in PROPORTIONAL else 0.5)
    elif rule == "auto" and optimizer in PROPORTIONAL:
        factor = _trusted(xp, batch) / _trusted(xp, base)
    else:
        factor = xp.sqrt(kappa)
    scaled = _times(xp, rate, factor)
    if rule != "adam_sde":
        return scaled
    new_b1, new_b2 = (_scaled_decay(xp, kappa, _real(decay)) for decay in decays.values())
    return AdamScaling(scaled, new_b1, new_b2, _result(xp, eps / factor))


@overload
def effective_learning_rate(learning_rate: ArrayLike, momentum: ArrayLike) -> Number: ...


@overload
def effective_learning_rate(learning_rate: Schedule, momentum: ScalarOrSchedule) -> Schedule: ...


@overload
def effective_learning_rate(learning_rate: ScalarOrSchedule, momentum: Schedule) -> Schedule: ...


def effective_learning_rate(learning_rate: ScalarOrSchedule, momentum: ScalarOrSchedule) -> Number | Schedule:
    """The rate of plain SGD that moves as far as SGD with momentum, once the momentum has built up.

    ``learning_rate / (1 - momentum)``

    Args:
        learning_rate: A number, a traced scalar or a schedule.
        momentum: Decay of the velocity, from 0 to less than 1: a number, a traced scalar or a schedule.

    Returns:
        A float, or a float32 scalar where an argument is a JAX array; a schedule where an argument is one.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument is out of its range.

    Example:
        >>> from lrjax.scaling import effective_learning_rate
        >>> print(round(effective_learning_rate(0.01, 0.9), 6))
        0.1

    Source:
        Sutskever et al., "On the importance of initialization and momentum in deep learning" (2013).
    """
    call = "effective_learning_rate"
    rate = _number_or_schedule(call, "learning_rate", learning_rate, low=0)
    decay = _number_or_schedule(call, "momentum", momentum, low=0, below=1)
    if not (callable(rate) or callable(decay)):
        return _result(_namespace(learning_rate, momentum), _real(rate) / (1 - _real(decay)))

    def schedule(step: ArrayLike) -> jax.Array:
        rate_now, decay_now = (_as_float(value(step)) if callable(value) else _real(value) for value in (rate, decay))
        return jnp.broadcast_to(rate_now / (1 - decay_now), jnp.shape(step))

    return schedule


class NoiseScale(NamedTuple):
    """The gradient noise scale, and how far to trust it; ``print`` shows the reason.

    Attributes:
        noise_scale: ``gradient_covariance_trace / gradient_squared_norm`` in examples; NaN where the estimate of
            the squared norm is not above zero.
        standard_error: Of ``noise_scale``.
        gradient_squared_norm: Estimate of the squared norm of the exact gradient; may come out below zero.
        gradient_squared_norm_error: Its standard error.
        gradient_covariance_trace: Estimate of the trace of the covariance of one example's gradient; may come out
            below zero.
    """

    noise_scale: jax.Array
    standard_error: jax.Array
    gradient_squared_norm: jax.Array
    gradient_squared_norm_error: jax.Array
    gradient_covariance_trace: jax.Array

    @property
    def reason(self) -> str:
        """One sentence: what the measurement means, or what to do where it carries no answer; outside jit and vmap."""
        scale, error, signal, signal_error, noise = (float(value) for value in self)
        if not (math.isfinite(signal) and math.isfinite(noise)):
            return (
                "A gradient or its squared norm is not finite, so look for the fault in the data, the model or loss_fn."
            )
        if signal == noise == 0:
            return "Every gradient is zero, so there is nothing to measure at these params."
        if signal <= 0:
            return (
                f"The squared gradient norm is estimated at {signal:.3g} ± {signal_error:.2g}, which is not above "
                "zero: the noise hides the gradient, so give more or larger large_batches."
            )
        if signal < RESOLVED * signal_error:
            return (
                f"The noise scale of {scale:.3g} is uncertain beyond its standard error, as the squared gradient norm "
                f"is only {signal / signal_error:.1f} standard errors above zero: give more or larger large_batches."
            )
        bound = scale + RESOLVED * error
        if bound < 1:
            return f"The noise scale of {scale:.3g} ± {error:.2g} is below one example: no batch is too small for it."
        if scale < RESOLVED * error:
            return (
                f"The noise scale of {scale:.3g} ± {error:.2g} is not told apart from zero; it is hardly above "
                f"{bound:.3g}, so give more or smaller small_batches to measure it."
            )
        return (
            f"The noise scale is {scale:.3g} ± {error:.2g}: a batch of as many examples takes about twice the fewest "
            "steps and twice the fewest examples; far smaller ones waste steps, far larger ones examples."
        )

    def __str__(self) -> str:
        """The reason, or the fields where they have no single value."""
        single = all(np.shape(value) == () and not _checks.is_traced(value) for value in self)
        return self.reason if single else repr(self)


def gradient_noise_scale(loss_fn: LossFn, params: PyTree, small_batches: PyTree, large_batches: PyTree) -> NoiseScale:
    """The batch size at which the noise of the gradient is as large as the gradient.

    With ``small`` and ``large`` the means of ``|gradient|**2`` over the batches of ``b`` and of ``c`` examples, both
    estimates are unbiased:
    ``gradient_squared_norm = (c * large - b * small) / (c - b)``,
    ``gradient_covariance_trace = b * c * (small - large) / (c - b)``,
    ``noise_scale = gradient_covariance_trace / gradient_squared_norm``.

    The standard error comes from the variances of ``|gradient|**2`` among the batches of either size, carried through
    the ratio to first order (the delta method). It takes all batches to be drawn independently, with replacement or
    from far more examples than they hold: large batches made up of the small ones leave the estimates unbiased and
    the standard error too large. Trust it from about 30 batches of each size on, where the squared norm is several of
    its own standard errors above zero, which ``reason`` checks. For that, ``c`` should be about the noise scale or
    more, and ``b`` far below it.

    One gradient is in memory at a time, and squares are summed in float32 or wider. Outside ``jax.jit`` each call
    compiles.

    Args:
        loss_fn: ``loss_fn(params, batch) -> loss``, the mean over the batch of what each example's loss is alone (so
            without batch normalisation).
        params: A pytree of floating-point arrays: the point at which to measure.
        small_batches: A pytree of arrays of shape ``[n, b, ...]``, for n batches of b examples; n at least 2.
        large_batches: The same of shape ``[m, c, ...]``, for m batches of c examples; c more than b, m at least 2.

    Returns:
        A ``NoiseScale`` of float32 scalars. Where the data carry no answer its ``reason`` says so and what to do.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: The batches lack an axis, are too few, differ in more than their sizes or do not differ in them,
            or the loss is no scalar.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from lrjax.scaling import gradient_noise_scale
        >>> def loss_fn(params, batch):
        ...     return jnp.mean(jnp.sum((params - batch) ** 2, axis=-1)) / 2
        >>> keys = jax.random.split(jax.random.key(0))  # examples of variance 1 in 3 dimensions, around 0
        >>> small, large = jax.random.normal(keys[0], (400, 2, 3)), jax.random.normal(keys[1], (400, 64, 3))
        >>> measured = gradient_noise_scale(loss_fn, jnp.array([0.5, 0.0, 0.0]), small, large)  # 3 / 0.5**2 = 12
        >>> print(f"{measured.noise_scale:.1f} ± {measured.standard_error:.1f}")
        11.7 ± 0.8

    Source:
        McCandlish et al., "An empirical model of large-batch training" (2018), arXiv:1812.06162, appendix A.1.
    """
    call = "gradient_noise_scale"
    _checks.function(call, "loss_fn", loss_fn, "of params and batch")
    _check_params(call, params)
    b, small_form = _stacked(call, "small_batches", small_batches)
    c, large_form = _stacked(call, "large_batches", large_batches)
    if large_form != small_form:
        _checks.refuse(call, "large_batches", f"like small_batches, {small_form} an example", f"{large_form}")
    if c <= b:
        _checks.refuse(call, "large_batches", f"of more examples than small_batches' {b}", f"{c}")
    _check_loss(call, loss_fn, params, small_batches)

    norms = [_squared_norms(loss_fn, params, batches) for batches in (small_batches, large_batches)]
    # squares of squared norms may leave float32's range, those of their ratios to a common unit do not
    unit = jnp.mean(norms[0])
    unit = jnp.where(jnp.isfinite(unit) & (unit > 0), unit, 1)
    small, large = (jnp.mean(norm / unit) for norm in norms)
    variances = [jnp.var(norm / unit, ddof=1) / norm.size for norm in norms]

    signal = (c * large - b * small) / (c - b)
    noise = b * c / (c - b) * (small - large)
    scale = noise / jnp.where(signal > 0, signal, jnp.nan)
    signal_slopes, noise_slopes = (-b / (c - b), c / (c - b)), (b * c / (c - b), -b * c / (c - b))
    scale_slopes = [(up - scale * down) / signal for up, down in zip(noise_slopes, signal_slopes, strict=True)]
    return NoiseScale(
        noise_scale=scale,
        standard_error=_propagated(scale_slopes, variances),
        gradient_squared_norm=unit * signal,
        gradient_squared_norm_error=unit * _propagated(signal_slopes, variances),
        gradient_covariance_trace=unit * noise,
    )


def _number_or_schedule(call: str, argument: str, value: Any, **bounds: float) -> Any:
    """A number within the bounds, or a function of the step, which has no value to check yet."""
    return value if callable(value) else _checks.number(call, argument, value, **bounds)


def _namespace(*given: Any) -> ModuleType:
    """JAX where an argument is one of its arrays, else NumPy, which does not round to float32."""
    return jnp if any(isinstance(value, jax.Array) for value in given) else np


def _as_float(value: Any) -> jax.Array:
    """An array of JAX's default float: float32, or float64 where x64 is on."""
    return jnp.asarray(value, jnp.result_type(float))


def _real(value: Any) -> Any:
    """A float of a checked number, so that neither integers nor half precision take part in arithmetic."""
    return _as_float(value) if _checks.is_traced(value) else float(value)


def _result(xp: ModuleType, value: Any) -> Number:
    return _as_float(value) if xp is jnp else float(value)


def _trusted(xp: ModuleType, batch: Any) -> Any:
    """What SGD's rate is proportional to: the batch, and beyond the largest linear one its square root."""
    return xp.minimum(batch, xp.sqrt(LARGEST_LINEAR_BATCH * batch))


def _times(xp: ModuleType, rate: Any, factor: Any) -> Number | Schedule:
    if not callable(rate):
        return _result(xp, _real(rate) * factor)
    number = _result(xp, factor)

    def schedule(step: ArrayLike) -> jax.Array:
        return jnp.broadcast_to(number * _as_float(rate(step)), jnp.shape(step))

    return schedule


def _within_sde(call: str, base: Any, batch: Any, name: str, decay: Any) -> None:
    """Refuse a batch size that would take the decay below 0, or in float32 to 1."""
    if not _checks.all_concrete(base, batch, decay) or decay == 0:
        return
    kappa, largest = batch / base, base / (1 - decay) * (1 + 1e-6)  # rounding may not cost the largest batch
    where, got = f"for base_batch_size={base} and {name}={decay:g}", f"{batch} (kappa = {kappa:g})"
    if batch > largest:
        bound = f"kappa = batch_size / base_batch_size is at most 1 / (1 - {name}) = {1 / (1 - decay):g}"
        _checks.refuse(call, "batch_size", f"at most {int(largest)} {where}, as {bound}", got)
    if np.float32(1 - kappa * (1 - decay)) == 1:
        smallest = int(base / (1 - decay) * 2**-25) + 1
        _checks.refuse(call, "batch_size", f"at least {smallest} {where}, as {name} is below 1 in float32", got)


def _scaled_decay(xp: ModuleType, kappa: Any, decay: Any) -> Number:
    """The decay with the same memory in examples; 0 has none to keep, and -1e-5 is 0 but for rounding."""
    scaled = 1 - kappa * (1 - decay)
    inside = xp.where(scaled < -1e-5, xp.nan, xp.maximum(scaled, 0.0))
    return _result(xp, xp.where(decay == 0, 0.0, inside))


def _check_params(call: str, params: PyTree) -> None:
    leaves = jax.tree.leaves(params)
    if not leaves:
        _checks.refuse(call, "params", "a pytree with floating-point arrays", "one without arrays")
    for leaf in leaves:
        if not isinstance(leaf, float | complex | np.generic | np.ndarray | jax.Array):
            _checks.refuse_type(call, "params", "a pytree of floating-point arrays", leaf)
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.inexact):
            raise TypeError(f"`{call}(params=...)` must hold floating-point arrays only, got {jnp.result_type(leaf)}")


def _stacked(call: str, argument: str, batches: PyTree) -> tuple[int, PyTree]:
    """The examples in each batch, and the tree of one example's shapes."""
    requirement = "a pytree of arrays of shape [batches, examples, ...]"
    leaves = jax.tree.leaves(batches)
    if not leaves:
        _checks.refuse(call, argument, requirement, "no arrays")
    for leaf in leaves:
        if not isinstance(leaf, np.ndarray | jax.Array):
            _checks.refuse_type(call, argument, requirement, leaf)
        if leaf.ndim < 2 or not leaf.shape[1]:
            _checks.refuse(call, argument, requirement, f"an array of shape {leaf.shape}")
    sizes = sorted({leaf.shape[:2] for leaf in leaves})
    if len(sizes) > 1:
        _checks.refuse(call, argument, "a pytree of arrays with the same first two axes", " and ".join(map(str, sizes)))
    count, examples = sizes[0]
    if count < 2:
        _checks.refuse(call, argument, "at least 2 batches, for a standard error", f"{count}")
    return examples, jax.tree.map(lambda leaf: leaf.shape[2:], batches)


def _check_loss(call: str, loss_fn: LossFn, params: PyTree, batches: PyTree) -> None:
    """Refuse a loss that is not one floating-point number, from a trace with shapes only."""
    loss = jax.eval_shape(
        lambda params, batches: loss_fn(params, jax.tree.map(lambda x: x[0], batches)), params, batches
    )
    if not isinstance(loss, jax.ShapeDtypeStruct):
        raise TypeError(f"`{call}(loss_fn=...)` must return a scalar, got {type(loss).__name__}")
    if loss.shape != ():
        _checks.refuse(call, "loss_fn", "a function to a scalar, the mean", f"one to an array of shape {loss.shape}")
    if not jnp.issubdtype(loss.dtype, jnp.floating):
        raise TypeError(f"`{call}(loss_fn=...)` must return a floating-point scalar, got dtype {loss.dtype}")


def _squared_norms(loss_fn: LossFn, params: PyTree, batches: PyTree) -> jax.Array:
    """``|gradient|**2`` of every batch, ``[n]``."""

    def squared_norm(batch: PyTree) -> jax.Array:
        sizes = [jnp.abs(leaf) for leaf in jax.tree.leaves(jax.grad(loss_fn)(params, batch))]
        wide = [size.astype(jnp.promote_types(size.dtype, jnp.float32)) for size in sizes]
        return jnp.sum(jnp.stack([jnp.sum(size**2) for size in wide]))

    norms: jax.Array = lax.map(squared_norm, batches)
    return norms


def _propagated(slopes: Sequence[jax.Array | float], variances: Sequence[jax.Array]) -> jax.Array:
    """The standard error of a function of two independent means, to first order."""
    parts = [slope**2 * variance for slope, variance in zip(slopes, variances, strict=True)]
    return jnp.sqrt(jnp.sum(jnp.stack(parts)))
