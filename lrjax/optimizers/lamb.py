"""LAMB, Adam with a rate of its own for every layer."""

from __future__ import annotations

from collections.abc import Callable

import jax
import optax

from lrjax import _checks
from lrjax.optimizers import _arguments
from lrjax.optimizers._preset import Step, preset
from lrjax.optimizers.decay_mask import NO_DECAY
from lrjax.typing import PyTree, ScalarOrSchedule


def lamb(
    learning_rate: ScalarOrSchedule = 1e-3,
    b1: ScalarOrSchedule = 0.9,
    b2: jax.typing.ArrayLike = 0.999,
    eps: jax.typing.ArrayLike = 1e-6,
    eps_root: jax.typing.ArrayLike = 0.0,
    weight_decay: ScalarOrSchedule = 0.01,
    mask: PyTree | Callable[[PyTree], PyTree] | str | None = NO_DECAY,
    *,
    max_norm: ScalarOrSchedule | None = 1.0,
    monitor: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """LAMB behind gradient clipping; unlike ``optax.lamb`` in the points that follow.

    ``learning_rate`` defaults to 1e-3 (optax: none) and ``weight_decay`` to 0.01, as the paper's (optax: 0);
    ``mask`` defaults to leaving out biases, norms and embeddings (optax: all decay); ``b1`` and
    ``weight_decay`` may be schedules; gradients are clipped to ``max_norm`` first; a non-finite gradient
    skips the step; half-precision parameters have their moments and arithmetic in float32.

    ``g = gradient * min(1, max_norm / norm(gradient))``, ``mu' = b1 * mu + (1 - b1) * g``,
    ``nu' = b2 * nu + (1 - b2) * g**2``, with t the number of steps applied, this one included,
    ``r = (mu' / (1 - b1**t)) / (sqrt(nu' / (1 - b2**t) + eps_root) + eps) + weight_decay * params``, and per
    leaf ``update = -learning_rate * norm(params) / norm(r) * r``, without the quotient where a norm is 0.

    A skipped step leaves parameters, moments and counts as they were, the clock of every schedule included;
    the state's ``clip.nonfinite`` counts it.

    Args:
        learning_rate: A number, a traced scalar, or a schedule of the steps applied.
        b1: Decay of the first moment, from 0 to less than 1: a number, a traced scalar, or a schedule.
        b2: Decay of the second moment, from 0 to less than 1.
        eps: Added to the denominator outside the square root.
        eps_root: Added inside the square root.
        weight_decay: Decay in units of the learning rate, added before the layer's rate is taken: a number, a
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
        ValueError: An argument is out of its range.

    Example:
        >>> import jax.numpy as jnp, optax
        >>> from lrjax.optimizers import lamb
        >>> optimizer = lamb(0.1, weight_decay=0.0)
        >>> params = {"kernel": jnp.array([[3.0, 4.0]])}
        >>> updates, state = optimizer.update(params, optimizer.init(params), params)
        >>> round(float(jnp.linalg.norm(updates["kernel"])), 3)  # a tenth of the layer's norm
        0.5

    Source:
        You et al., "Large batch optimization for deep learning: training BERT in 76 minutes" (2020),
        arXiv:1904.00962; ``optax.lamb``.
    """
    call = "lamb"
    learning_rate = _arguments.learning_rate(call, "learning_rate", learning_rate)
    b1 = _arguments.scheduled_decay(call, "b1", b1)
    b2 = _arguments.decay(call, "b2", b2)
    eps = _arguments.number(call, "eps", eps, low=0.0)
    eps_root = _arguments.number(call, "eps_root", eps_root, low=0.0)
    weight_decay = _arguments.weight_decay(call, "weight_decay", weight_decay)
    mask = _arguments.mask(call, "mask", mask)
    max_norm = _arguments.max_norm(call, max_norm)
    _checks.flag(call, "monitor", monitor)

    def optimizer(step: Step) -> optax.GradientTransformation:
        return optax.chain(
            optax.scale_by_adam(step.hold(b1), step.hold(b2), eps, eps_root),
            step.decay(weight_decay, mask),
            optax.scale_by_trust_ratio(),
            optax.scale(-step.learning_rate),
        )

    return preset(optimizer, learning_rate, max_norm, monitor=monitor)
