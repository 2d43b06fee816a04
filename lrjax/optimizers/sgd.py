"""Stochastic gradient descent, with or without momentum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optax

from lrjax import _checks
from lrjax.optimizers import _arguments
from lrjax.optimizers._preset import Step, preset
from lrjax.optimizers.decay_mask import NO_DECAY
from lrjax.typing import PyTree, ScalarOrSchedule


def sgd(
    learning_rate: ScalarOrSchedule = 0.01,
    momentum: ScalarOrSchedule | None = None,
    nesterov: bool = False,  # noqa: FBT001, FBT002 (optax's position)
    accumulator_dtype: Any = None,
    *,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: PyTree | Callable[[PyTree], PyTree] | str | None = NO_DECAY,
    max_norm: ScalarOrSchedule | None = 1.0,
    monitor: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """SGD behind gradient clipping; unlike ``optax.sgd`` in the points that follow.

    ``learning_rate`` defaults to 0.01 (optax: none); ``weight_decay`` is decoupled and has a ``mask`` that
    leaves out biases, norms and embeddings (optax: no decay); ``momentum`` and ``weight_decay`` may be
    schedules; ``nesterov`` and ``accumulator_dtype`` are refused without momentum, where optax ignores them;
    gradients are clipped to ``max_norm`` first; a non-finite gradient skips the step; half-precision
    parameters have their momentum and arithmetic in float32.

    ``g = gradient * min(1, max_norm / norm(gradient))``, ``trace' = g + momentum * trace``,
    ``update = -learning_rate * (trace' + weight_decay * params)``, with ``g + momentum * trace'`` in place of
    ``trace'`` if ``nesterov``, and ``g`` without momentum.

    Momentum stays off by default, as in optax: a momentum of 0.9, the usual choice, multiplies the effective
    rate by ``1 / (1 - momentum)``, ten. ``torch.optim.SGD`` adds its weight decay to the gradient, which is
    ``optax.chain(optax.add_decayed_weights(decay), sgd(lr, momentum, max_norm=None))``.

    A skipped step leaves parameters, moments and counts as they were, the clock of every schedule included;
    the state's ``clip.nonfinite`` counts it.

    Args:
        learning_rate: A number, a traced scalar, or a schedule of the steps applied.
        momentum: Decay of the sum of past gradients, from 0 to less than 1: a number, a traced scalar, or a
            schedule such as ``one_cycle_momentum``; None for none.
        nesterov: Whether the momentum looks ahead.
        accumulator_dtype: Dtype that the momentum is stored in; None for the parameters', float32 at least.
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
    if momentum is not None:
        momentum = _arguments.scheduled_decay(call, "momentum", momentum)
    elif nesterov:
        _checks.refuse(call, "nesterov", "False without momentum", "True with momentum=None")
    elif accumulator_dtype is not None:
        _checks.refuse(call, "accumulator_dtype", "None without momentum", f"{accumulator_dtype} with momentum=None")
    weight_decay = _arguments.weight_decay(call, "weight_decay", weight_decay)
    mask = _arguments.mask(call, "mask", mask)
    max_norm = _arguments.max_norm(call, max_norm)
    _checks.flag(call, "monitor", monitor)

    def optimizer(step: Step) -> optax.GradientTransformation:
        parts = []
        if momentum is not None:
            parts.append(optax.trace(step.hold(momentum), nesterov, accumulator_dtype))
        return optax.chain(*parts, step.decay(weight_decay, mask), optax.scale(-step.learning_rate))

    return preset(optimizer, learning_rate, max_norm, monitor=monitor)
