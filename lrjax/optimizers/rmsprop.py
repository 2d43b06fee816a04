"""RMSprop, plain, centred or with momentum."""

from __future__ import annotations

from collections.abc import Callable

import jax
import optax

from lrjax import _checks
from lrjax.optimizers import _arguments
from lrjax.optimizers._preset import Step, preset
from lrjax.optimizers.decay_mask import NO_DECAY
from lrjax.typing import PyTree, ScalarOrSchedule


def rmsprop(
    learning_rate: ScalarOrSchedule = 1e-3,
    decay: jax.typing.ArrayLike = 0.9,
    eps: jax.typing.ArrayLike = 1e-8,
    initial_scale: jax.typing.ArrayLike = 0.0,
    eps_in_sqrt: bool = True,  # noqa: FBT001, FBT002 (optax's position)
    centered: bool = False,  # noqa: FBT001, FBT002 (optax's position)
    momentum: ScalarOrSchedule | None = None,
    nesterov: bool = False,  # noqa: FBT001, FBT002 (optax's position)
    bias_correction: bool = False,  # noqa: FBT001, FBT002 (optax's position)
    *,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: PyTree | Callable[[PyTree], PyTree] | str | None = NO_DECAY,
    max_norm: ScalarOrSchedule | None = 1.0,
    monitor: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """RMSprop behind gradient clipping; unlike ``optax.rmsprop`` in the points that follow.

    ``learning_rate`` defaults to 1e-3 (optax: none); ``weight_decay`` is decoupled and has a ``mask`` that
    leaves out biases, norms and embeddings (optax: no decay); ``momentum`` and ``weight_decay`` may be
    schedules; ``nesterov`` is refused without momentum, where optax ignores it, and ``bias_correction``
    with ``centered``, whose corrected variance is 0 after one step; gradients are clipped to ``max_norm``
    first; a non-finite gradient skips the step; half-precision parameters have their moments and arithmetic
    in float32.

    ``g = gradient * min(1, max_norm / norm(gradient))``, ``nu' = decay * nu + (1 - decay) * g**2``,
    ``r = g / sqrt(nu' + eps)``, or ``g / (sqrt(nu') + eps)`` without ``eps_in_sqrt``, and
    ``update = -learning_rate * (r + weight_decay * params)``. With ``centered`` the square of the mean
    gradient is taken from ``nu'``. With ``momentum`` the rate and decay come first, as in optax:
    ``trace' = update + momentum * trace`` is applied, or ``update + momentum * trace'`` with ``nesterov``.

    ``torch.optim.RMSprop`` is ``rmsprop(lr, 0.99, eps_in_sqrt=False, max_norm=None)``; its momentum takes the
    rate after the trace, which is the same for a constant rate, and its weight decay is part of the gradient.

    A skipped step leaves parameters, moments and counts as they were, the clock of every schedule included;
    the state's ``clip.nonfinite`` counts it.

    Args:
        learning_rate: A number, a traced scalar, or a schedule of the steps applied.
        decay: Decay of the second moment, from 0 to less than 1.
        eps: Added to the denominator.
        initial_scale: Initial second moment.
        eps_in_sqrt: Whether ``eps`` is added inside the square root.
        centered: Whether the variance is used in place of the second moment.
        momentum: Decay of the sum of past updates, from 0 to less than 1: a number, a traced scalar, or a
            schedule; None for none.
        nesterov: Whether the momentum looks ahead.
        bias_correction: Whether the moments are divided by ``1 - decay**t``.
        weight_decay: Decay per step in units of the learning rate, decoupled from the gradient: a number, a
            traced scalar, or a schedule.
        mask: Which leaves decay: a regular expression of the paths that do not (leaves of fewer than two
            dimensions never do then), see ``decay_mask``; or booleans of the parameters' structure or a
            prefix of it; or a function that makes them from the parameters; None for all.
        max_norm: Largest global norm of the gradient: a number, a traced scalar or a schedule; None disables
            clipping.
        monitor: Whether the state's ``monitor`` records the norms of update and parameters.

    Returns:
        A transformation whose state is a ``PresetState``; extra arguments to ``update`` are accepted.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument is out of its range, or asks for a momentum's variant without momentum.

    Example:
        >>> import jax.numpy as jnp, optax
        >>> from lrjax.optimizers import rmsprop
        >>> optimizer = rmsprop(0.01, max_norm=None)
        >>> params = jnp.array([1.0, -2.0])
        >>> updates, state = optimizer.update(2 * params, optimizer.init(params), params)
        >>> [round(float(u), 4) for u in updates]  # 0.01 / sqrt(1 - decay)
        [-0.0316, 0.0316]

    Source:
        Hinton, "Neural networks for machine learning", lecture 6e (2012); Graves, arXiv:1308.0850
        (``centered``); ``optax.rmsprop``.
    """
    call = "rmsprop"
    learning_rate = _arguments.learning_rate(call, "learning_rate", learning_rate)
    decay = _arguments.decay(call, "decay", decay)
    eps = _arguments.number(call, "eps", eps, low=0.0)
    initial_scale = _arguments.number(call, "initial_scale", initial_scale, low=0.0)
    _checks.flag(call, "eps_in_sqrt", eps_in_sqrt)
    _checks.flag(call, "centered", centered)
    _checks.flag(call, "nesterov", nesterov)
    _checks.flag(call, "bias_correction", bias_correction)
    if momentum is not None:
        momentum = _arguments.scheduled_decay(call, "momentum", momentum)
    elif nesterov:
        _checks.refuse(call, "nesterov", "False without momentum", "True with momentum=None")
    if centered and bias_correction:
        # the first step would be the gradient over eps, to float rounding
        _checks.refuse(call, "bias_correction", "False with centered=True", "True")
    weight_decay = _arguments.weight_decay(call, "weight_decay", weight_decay)
    mask = _arguments.mask(call, "mask", mask)
    max_norm = _arguments.max_norm(call, max_norm)
    _checks.flag(call, "monitor", monitor)
    scale = optax.scale_by_stddev if centered else optax.scale_by_rms

    def optimizer(step: Step) -> optax.GradientTransformation:
        parts = [
            scale(step.hold(decay), eps, initial_scale, eps_in_sqrt, bias_correction),
            step.decay(weight_decay, mask),
            optax.scale(-step.learning_rate),
        ]
        if momentum is not None:
            parts.append(optax.stateless(lambda updates, _: step.applied(updates)))
            parts.append(optax.trace(step.hold(momentum), nesterov))
        return optax.chain(*parts)

    return preset(optimizer, learning_rate, max_norm, monitor=monitor)
