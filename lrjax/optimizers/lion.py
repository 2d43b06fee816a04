"""Lion, evolved sign momentum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import optax

from lrjax.optimizers import _arguments
from lrjax.optimizers._preset import Hold, preset
from lrjax.optimizers.clipping import check_max_norm
from lrjax.typing import PyTree, ScalarOrSchedule


def lion(
    learning_rate: ScalarOrSchedule = 1e-4,
    b1: jax.typing.ArrayLike = 0.9,
    b2: jax.typing.ArrayLike = 0.99,
    mu_dtype: Any = None,
    weight_decay: jax.typing.ArrayLike = 0.1,
    mask: PyTree | Callable[[PyTree], PyTree] | None = None,
    *,
    max_norm: ScalarOrSchedule | None = 1.0,
) -> optax.GradientTransformationExtraArgs:
    """Lion behind gradient clipping; unlike ``optax.lion`` in the points that follow.

    ``learning_rate`` defaults to 1e-4 (optax: none) and ``weight_decay`` to 0.1 (optax: 1e-3): Lion wants a
    rate 3 to 10 times smaller and a decay as many times larger than AdamW, and these are ``adamw``'s
    defaults divided and multiplied by 10; ``weight_decay`` is a number and no schedule; gradients are
    clipped to ``max_norm`` first; a non-finite gradient skips the step; half-precision parameters have their
    momentum and arithmetic in float32.

    ``g = gradient * min(1, max_norm / norm(gradient))``,
    ``update = -learning_rate * (sign(b1 * mu + (1 - b1) * g) + weight_decay * params)``,
    ``mu' = b2 * mu + (1 - b2) * g``.

    A skipped step leaves parameters, momentum and counts as they were, the schedule's included; the state's
    ``clip.nonfinite`` counts it.

    Args:
        learning_rate: A number, a traced scalar, or a schedule of the steps applied.
        b1: Weight of the momentum against the gradient in the update, from 0 to less than 1.
        b2: Decay of the momentum, from 0 to less than 1.
        mu_dtype: Dtype that the momentum is stored in; None for the parameters', float32 at least.
        weight_decay: Decay per step in units of the learning rate; decoupled from the gradient.
        mask: Booleans of the parameters' structure or a prefix of it, or a function that makes them from
            the parameters: which leaves decay. None for all.
        max_norm: Largest global norm of the gradient: a number, a traced scalar or a schedule; None disables
            clipping.

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
        >>> state = optimizer.init(params)
        >>> grads = jax.grad(lambda x: jnp.sum(x**2))(params)
        >>> updates, state = optimizer.update(grads, state, params)
        >>> [round(float(p), 3) for p in optax.apply_updates(params, updates)]
        [0.9, -1.9]

    Source:
        Chen et al., "Symbolic discovery of optimization algorithms" (2023), arXiv:2302.06675;
        ``optax.lion``.
    """
    call = "lion"
    learning_rate = _arguments.learning_rate(call, "learning_rate", learning_rate)
    b1 = _arguments.decay(call, "b1", b1)
    b2 = _arguments.decay(call, "b2", b2)
    mu_dtype = _arguments.moment_dtype(call, "mu_dtype", mu_dtype)
    weight_decay = _arguments.number(call, "weight_decay", weight_decay, low=0.0)
    mask = _arguments.mask(call, "mask", mask)
    max_norm = check_max_norm(call, max_norm)

    def optimizer(hold: Hold) -> optax.GradientTransformation:
        return optax.chain(
            optax.scale_by_lion(b1, hold(b2), mu_dtype),
            optax.add_decayed_weights(weight_decay, mask),
            optax.scale_by_learning_rate(learning_rate),
        )

    return preset(optimizer, max_norm)
