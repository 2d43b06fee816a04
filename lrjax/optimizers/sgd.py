"""Stochastic gradient descent, with or without momentum."""

from __future__ import annotations

from typing import Any

import jax
import optax

from lrjax import _checks
from lrjax.optimizers import _arguments
from lrjax.optimizers._preset import Hold, preset
from lrjax.optimizers.clipping import check_max_norm
from lrjax.typing import ScalarOrSchedule


def sgd(
    learning_rate: ScalarOrSchedule = 0.01,
    momentum: jax.typing.ArrayLike | None = None,
    nesterov: bool = False,  # noqa: FBT001, FBT002 (optax's position)
    accumulator_dtype: Any = None,
    *,
    max_norm: ScalarOrSchedule | None = 1.0,
) -> optax.GradientTransformationExtraArgs:
    """SGD behind gradient clipping; unlike ``optax.sgd`` in the points that follow.

    ``learning_rate`` defaults to 0.01 (optax: none); ``nesterov`` and ``accumulator_dtype`` are refused
    without momentum, where optax ignores them; gradients are clipped to ``max_norm`` first; a non-finite
    gradient skips the step; half-precision parameters have their momentum and arithmetic in float32.

    ``g = gradient * min(1, max_norm / norm(gradient))``, ``trace' = g + momentum * trace``,
    ``update = -learning_rate * trace'``, or ``-learning_rate * (g + momentum * trace')`` with ``nesterov``,
    or ``-learning_rate * g`` without momentum.

    Momentum stays off by default, as in optax: a momentum of 0.9, the usual choice, multiplies the effective
    rate by ``1 / (1 - momentum)``, ten. A skipped step leaves parameters, momentum and counts as they were,
    the schedule's included; the state's ``clip.nonfinite`` counts it.

    Args:
        learning_rate: A number, a traced scalar, or a schedule of the steps applied.
        momentum: Decay of the sum of past gradients, from 0 to less than 1; None for none.
        nesterov: Whether the momentum looks ahead.
        accumulator_dtype: Dtype that the momentum is stored in; None for the parameters', float32 at least.
        max_norm: Largest global norm of the gradient: a number, a traced scalar or a schedule; None disables
            clipping.

    Returns:
        A transformation whose state is a ``PresetState``; extra arguments to ``update`` are accepted.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument is out of its range, or asks for a momentum's variant without momentum.

    Example:
        >>> import jax.numpy as jnp, optax
        >>> from lrjax.optimizers import sgd
        >>> optimizer = sgd(0.5)
        >>> params = jnp.array([1.0, -2.0])
        >>> updates, state = optimizer.update(jnp.array([3.0, -4.0]), optimizer.init(params), params)
        >>> [round(float(p), 3) for p in optax.apply_updates(params, updates)]
        [0.7, -1.6]
        >>> float(state.clip.norm)
        5.0

    Source:
        Sutskever et al., "On the importance of initialization and momentum in deep learning" (2013);
        ``optax.sgd``.
    """
    call = "sgd"
    learning_rate = _arguments.learning_rate(call, "learning_rate", learning_rate)
    _checks.flag(call, "nesterov", nesterov)
    accumulator_dtype = _arguments.moment_dtype(call, "accumulator_dtype", accumulator_dtype)
    max_norm = check_max_norm(call, max_norm)
    if momentum is not None:
        momentum = _arguments.decay(call, "momentum", momentum)
    elif nesterov:
        _checks.refuse(call, "nesterov", "False without momentum", "True with momentum=None")
    elif accumulator_dtype is not None:
        _checks.refuse(call, "accumulator_dtype", "None without momentum", f"{accumulator_dtype} with momentum=None")

    def optimizer(hold: Hold) -> optax.GradientTransformation:
        rate = optax.scale_by_learning_rate(learning_rate)
        if momentum is None:
            return rate
        return optax.chain(optax.trace(hold(momentum), nesterov, accumulator_dtype), rate)

    return preset(optimizer, max_norm)
