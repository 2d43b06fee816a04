"""The learning rate at another batch size."""

from __future__ import annotations

from types import ModuleType
from typing import Any, Literal, NamedTuple, TypeAlias, overload

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from lrjax import _checks
from lrjax.typing import ScalarOrSchedule, Schedule

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
