"""Lion, evolved sign momentum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import optax

from lrjax import _checks
from lrjax.optimizers import _arguments
from lrjax.optimizers._preset import Step, preset
from lrjax.optimizers.decay_mask import NO_DECAY
from lrjax.typing import PyTree, ScalarOrSchedule


class LionHyperparameters(NamedTuple):
    """A learning rate and a weight decay for ``lion``."""

    learning_rate: ScalarOrSchedule
    weight_decay: ScalarOrSchedule


def lion(
    learning_rate: ScalarOrSchedule = 1e-4,
    b1: ScalarOrSchedule = 0.9,
    b2: jax.typing.ArrayLike = 0.99,
    mu_dtype: Any = None,
    weight_decay: ScalarOrSchedule = 0.1,
    mask: PyTree | Callable[[PyTree], PyTree] | str | None = NO_DECAY,
    *,
    max_norm: ScalarOrSchedule | None = 1.0,
    monitor: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """Lion behind gradient clipping; unlike ``optax.lion`` in the points that follow.

    ``learning_rate`` defaults to 1e-4 (optax: none) and ``weight_decay`` to 0.1 (optax: 1e-3): Lion wants a
    rate 3 to 10 times smaller and a decay as many times larger than AdamW, and these are ``adamw``'s
    defaults divided and multiplied by 10 (``lion_from_adamw`` converts others); ``mask`` defaults to leaving
    out biases, norms and embeddings (optax: all decay); ``b1`` and ``weight_decay`` may be schedules;
    gradients are clipped to ``max_norm`` first; a non-finite gradient skips the step; half-precision
    parameters have their momentum and arithmetic in float32.

    ``g = gradient * min(1, max_norm / norm(gradient))``,
    ``update = -learning_rate * (sign(b1 * mu + (1 - b1) * g) + weight_decay * params)``,
    ``mu' = b2 * mu + (1 - b2) * g``.

    A skipped step leaves parameters, moments and counts as they were, the clock of every schedule included;
    the state's ``clip.nonfinite`` counts it.

    Args:
        learning_rate: A number, a traced scalar, or a schedule of the steps applied.
        b1: Weight of the momentum against the gradient in the update, from 0 to less than 1: a number, a
            traced scalar, or a schedule.
        b2: Decay of the momentum, from 0 to less than 1.
        mu_dtype: Dtype that the momentum is stored in; None for the parameters', float32 at least.
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
        ValueError: An argument is out of its range.

    Example:
        >>> import jax, jax.numpy as jnp, optax
        >>> from lrjax.optimizers import lion
        >>> optimizer = lion(0.1, weight_decay=0.0)
        >>> params = jnp.array([1.0, -2.0])
        >>> updates, state = optimizer.update(2 * params, optimizer.init(params), params)
        >>> [round(float(p), 3) for p in optax.apply_updates(params, updates)]
        [0.9, -1.9]

    Source:
        Chen et al., "Symbolic discovery of optimization algorithms" (2023), arXiv:2302.06675;
        ``optax.lion``.
    """
    call = "lion"
    learning_rate = _arguments.learning_rate(call, "learning_rate", learning_rate)
    b1 = _arguments.scheduled_decay(call, "b1", b1)
    b2 = _arguments.decay(call, "b2", b2)
    mu_dtype = _arguments.moment_dtype(call, "mu_dtype", mu_dtype)
    weight_decay = _arguments.weight_decay(call, "weight_decay", weight_decay)
    mask = _arguments.mask(call, "mask", mask)
    max_norm = _arguments.max_norm(call, max_norm)
    _checks.flag(call, "monitor", monitor)

    def optimizer(step: Step) -> optax.GradientTransformation:
        return optax.chain(
            optax.scale_by_lion(step.at(b1), step.hold(b2), mu_dtype),
            step.decay(weight_decay, mask),
            optax.scale(-step.learning_rate),
        )

    return preset(optimizer, learning_rate, max_norm, monitor=monitor)


def lion_from_adamw(
    learning_rate: ScalarOrSchedule, weight_decay: ScalarOrSchedule, *, factor: jax.typing.ArrayLike = 10.0
) -> LionHyperparameters:
    """Lion's rate and decay from AdamW's: the rate divided, the decay multiplied by one factor.

    ``lion_learning_rate = learning_rate / factor``, ``lion_weight_decay = weight_decay * factor``: the decay of
    a step, ``learning_rate * weight_decay``, stays as it was.

    Args:
        learning_rate: AdamW's: a number, a traced scalar or a schedule.
        weight_decay: AdamW's: a number, a traced scalar or a schedule.
        factor: From 3 to 10 as a rule, greater than 0.

    Returns:
        ``LionHyperparameters(learning_rate, weight_decay)``, schedules where schedules came in.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument is out of its range.

    Example:
        >>> from lrjax.optimizers import lion, lion_from_adamw
        >>> hyperparameters = lion_from_adamw(3e-4, 0.1, factor=3.0)
        >>> [round(value, 6) for value in hyperparameters]
        [0.0001, 0.3]
        >>> optimizer = lion(**hyperparameters._asdict())

    Source:
        Chen et al., "Symbolic discovery of optimization algorithms" (2023), arXiv:2302.06675, section 5.
    """
    call = "lion_from_adamw"
    learning_rate = _arguments.learning_rate(call, "learning_rate", learning_rate)
    weight_decay = _arguments.weight_decay(call, "weight_decay", weight_decay)
    factor = _arguments.number(call, "factor", factor, above=0.0)

    def scaled(value: Any, factor: Any) -> Any:
        return (lambda step: value(step) * factor) if callable(value) else value * factor

    return LionHyperparameters(scaled(learning_rate, 1.0 / factor), scaled(weight_decay, factor))
