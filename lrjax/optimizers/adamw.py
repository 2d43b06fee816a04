"""Adam with decoupled weight decay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import optax

from lrjax import _checks
from lrjax.optimizers import _arguments
from lrjax.optimizers._first_gradient import from_first_gradient
from lrjax.optimizers._preset import Step, preset
from lrjax.optimizers.decay_mask import NO_DECAY
from lrjax.typing import PyTree, ScalarOrSchedule


def adamw(
    learning_rate: ScalarOrSchedule = 1e-3,
    b1: ScalarOrSchedule = 0.9,
    b2: jax.typing.ArrayLike = 0.999,
    eps: jax.typing.ArrayLike = 1e-8,
    eps_root: jax.typing.ArrayLike = 0.0,
    mu_dtype: Any = None,
    weight_decay: ScalarOrSchedule = 0.01,
    mask: PyTree | Callable[[PyTree], PyTree] | str | None = NO_DECAY,
    *,
    nesterov: bool = False,
    gradient_initialized: bool = False,
    max_norm: ScalarOrSchedule | None = 1.0,
    monitor: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """AdamW behind gradient clipping; unlike ``optax.adamw`` in the points that follow.

    ``learning_rate`` defaults to 1e-3 (optax: none) and ``weight_decay`` to 0.01 (optax: 1e-4), as in
    PyTorch and in practitioners' tables; ``mask`` defaults to leaving out biases, norms and embeddings
    (optax: all decay); ``b1`` and ``weight_decay`` may be schedules; gradients are clipped to ``max_norm``
    first; a non-finite gradient skips the step; half-precision parameters have their moments and arithmetic
    in float32.

    ``g = gradient * min(1, max_norm / norm(gradient))``, ``mu' = b1 * mu + (1 - b1) * g``,
    ``nu' = b2 * nu + (1 - b2) * g**2``, with t the number of steps applied, this one included,
    ``update = -learning_rate * ((mu' / (1 - b1**t)) / (sqrt(nu' / (1 - b2**t) + eps_root) + eps)
    + weight_decay * params)``.

    ``torch.optim.AdamW(params, lr)`` is ``adamw(lr, mask=None, max_norm=None)``.

    ``gradient_initialized=True`` is GI-Adam: at the first step applied ``nu = g**2``, which is 0 otherwise. While the
    gradients keep their size the bias correction then makes ``learning_rate * sqrt(1 - b2**t)`` of the rate: a warmup
    of about ``1 / (1 - b2)`` steps, from ``sqrt(1 - b2)`` of the rate, which allows larger ones. (An entry whose first
    gradient is zero begins as without it.)

    A skipped step leaves parameters, moments and counts as they were, the clock of every schedule included;
    the state's ``clip.nonfinite`` counts it.

    Args:
        learning_rate: A number, a traced scalar, or a schedule of the steps applied.
        b1: Decay of the first moment, from 0 to less than 1: a number, a traced scalar, or a schedule.
        b2: Decay of the second moment, from 0 to less than 1.
        eps: Added to the denominator outside the square root.
        eps_root: Added inside the square root.
        mu_dtype: Dtype that the first moment is stored in; None for the parameters', float32 at least.
        weight_decay: Decay per step in units of the learning rate, decoupled from the gradient: a number, a
            traced scalar, or a schedule.
        mask: Which leaves decay: a regular expression of the paths that do not (leaves of fewer than two
            dimensions never do then), see ``decay_mask``; or booleans of the parameters' structure or a
            prefix of it; or a function that makes them from the parameters; None for all.
        nesterov: Whether the first moment looks ahead.
        gradient_initialized: Whether the second moment starts from the square of the first gradient (GI-Adam), as
            above; the state is of the same structure.
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
        >>> from lrjax.optimizers import adamw
        >>> optimizer = adamw(0.1)
        >>> params = {"kernel": jnp.array([[1.0, -2.0]]), "bias": jnp.array([1.0])}
        >>> grads = jax.grad(lambda p: sum(jnp.sum(x**2) for x in p.values()))(params)
        >>> updates, state = optimizer.update(grads, optimizer.init(params), params)
        >>> params = optax.apply_updates(params, updates)
        >>> [round(float(p), 3) for p in params["kernel"][0]], round(float(params["bias"][0]), 3)
        ([0.899, -1.898], 0.9)

    Source:
        Loshchilov and Hutter, "Decoupled weight decay regularization" (2019), arXiv:1711.05101;
        ``optax.adamw``; Kalra and Barkeshli, "Why warmup the learning rate?" (2024), arXiv:2406.09405
        (``gradient_initialized``).
    """
    call = "adamw"
    learning_rate = _arguments.learning_rate(call, "learning_rate", learning_rate)
    b1 = _arguments.scheduled_decay(call, "b1", b1)
    b2 = _arguments.decay(call, "b2", b2)
    eps = _arguments.number(call, "eps", eps, low=0.0)
    eps_root = _arguments.number(call, "eps_root", eps_root, low=0.0)
    mu_dtype = _arguments.moment_dtype(call, "mu_dtype", mu_dtype)
    weight_decay = _arguments.weight_decay(call, "weight_decay", weight_decay)
    mask = _arguments.mask(call, "mask", mask)
    _checks.flag(call, "nesterov", nesterov)
    _checks.flag(call, "gradient_initialized", gradient_initialized)
    max_norm = _arguments.max_norm(call, max_norm)
    _checks.flag(call, "monitor", monitor)

    def optimizer(step: Step) -> optax.GradientTransformation:
        moments = optax.scale_by_adam(step.hold(b1), step.hold(b2), eps, eps_root, mu_dtype, nesterov=nesterov)
        return optax.chain(
            from_first_gradient(moments) if gradient_initialized else moments,
            step.decay(weight_decay, mask),
            optax.scale(-step.learning_rate),
        )

    return preset(optimizer, learning_rate, max_norm, monitor=monitor)
