"""AdamW with a learning rate estimated by D-Adaptation."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from optax.contrib import DAdaptAdamWState

from lrjax import _checks
from lrjax.optimizers import _arguments
from lrjax.optimizers._preset import Step, preset
from lrjax.optimizers._sums import inner_product, squared, sum_of_moduli
from lrjax.optimizers.decay_mask import NO_DECAY
from lrjax.typing import PyTree, ScalarOrSchedule


def dadapt_adamw(
    learning_rate: ScalarOrSchedule = 1.0,
    betas: tuple[ScalarOrSchedule, jax.typing.ArrayLike] = (0.9, 0.999),
    eps: jax.typing.ArrayLike = 1e-8,
    estim_lr0: jax.typing.ArrayLike = 1e-6,
    weight_decay: ScalarOrSchedule = 0.0,
    *,
    mask: PyTree | Callable[[PyTree], PyTree] | str | None = NO_DECAY,
    max_norm: ScalarOrSchedule | None = 1.0,
    monitor: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """D-Adapted AdamW behind gradient clipping; unlike ``optax.contrib.dadapt_adamw`` as follows.

    A rate of zero, as at the start of a warmup, or a zero gradient in the first steps leaves the estimate as
    it is (optax: NaN); ``betas[0]`` and ``weight_decay`` may be schedules and ``mask`` leaves out biases,
    norms and embeddings (optax: all decay); gradients are clipped to ``max_norm`` first; a non-finite
    gradient skips the step; half-precision parameters have their state and arithmetic in float32.

    With the clipped gradient ``g``, ``(b1, b2) = betas``, t the number of steps applied, this one included, and
    ``rate = estim_lr * learning_rate * sqrt(1 - b2**t) / (1 - b1**t)``:
    ``numerator' = sqrt(b2) * numerator + (1 - sqrt(b2)) * rate * sum(g * s / (sqrt(nu) + eps))``,
    ``mu' = b1 * mu + (1 - b1) * rate * g``, ``nu' = b2 * nu + (1 - b2) * g**2``,
    ``s' = sqrt(b2) * s + (1 - sqrt(b2)) * rate * g``,
    ``estim_lr' = max(estim_lr, numerator' / ((1 - sqrt(b2)) * sum(abs(s'))))``,
    ``update = -(mu' / (sqrt(nu') + eps) + weight_decay * rate * params)``.

    A skipped step leaves parameters, moments and counts as they were, the clock of every schedule included;
    the state's ``clip.nonfinite`` counts it.

    Args:
        learning_rate: A factor on the estimated rate: a number, a traced scalar, or a schedule with a top of 1.
        betas: Decays of the first and second moments, from 0 to less than 1; the first may be a schedule.
        eps: Added to the denominator outside the square root.
        estim_lr0: First estimate of the rate, greater than 0 and too small rather than too large.
        weight_decay: Decay per step in units of the rate: a number, a traced scalar, or a schedule.
        mask: Which leaves decay: a regular expression of the paths that do not (leaves of fewer than two
            dimensions never do then), see ``decay_mask``; or booleans of the parameters' structure or a
            prefix of it; or a function that makes them from the parameters; None for all.
        max_norm: Largest global norm of the gradient: a number, a traced scalar or a schedule; None disables
            clipping.
        monitor: Whether the state's ``monitor`` records the norms of update and parameters.

    Returns:
        A transformation whose state is a ``PresetState``, with the estimated rate in ``inner.estim_lr``; extra
        arguments to ``update`` are accepted.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument is out of its range.

    Example:
        >>> import jax.numpy as jnp, optax
        >>> from lrjax.optimizers import dadapt_adamw
        >>> optimizer = dadapt_adamw()
        >>> params = jnp.array([1.0, -2.0])
        >>> state = optimizer.init(params)
        >>> for _ in range(100):
        ...     updates, state = optimizer.update(2 * params, state, params)
        ...     params = optax.apply_updates(params, updates)
        >>> bool(state.inner.estim_lr > 1e-4)  # from 1e-6
        True

    Source:
        Defazio and Mishchenko, "Learning-rate-free learning by D-adaptation" (2023), arXiv:2301.07733;
        ``optax.contrib.dadapt_adamw``.
    """
    call = "dadapt_adamw"
    learning_rate = _arguments.learning_rate(call, "learning_rate", learning_rate)
    b1, b2 = _arguments.betas(call, betas)
    eps = _arguments.number(call, "eps", eps, low=0.0)
    estim_lr0 = _arguments.number(call, "estim_lr0", estim_lr0, above=0.0)
    weight_decay = _arguments.weight_decay(call, "weight_decay", weight_decay)
    mask = _arguments.mask(call, "mask", mask)
    max_norm = _arguments.max_norm(call, max_norm)
    _checks.flag(call, "monitor", monitor)

    def optimizer(step: Step) -> optax.GradientTransformation:
        first, second, root = step.hold(b1), step.hold(b2), jnp.sqrt(step.hold(b2))
        scalar = step.learning_rate.dtype

        def init(params: PyTree) -> DAdaptAdamWState:
            return DAdaptAdamWState(
                exp_avg=optax.tree.zeros_like(params),
                exp_avg_sq=optax.tree.zeros_like(params),
                grad_sum=optax.tree.zeros_like(params),
                estim_lr=jnp.asarray(estim_lr0, scalar),
                numerator_weighted=jnp.zeros((), scalar),
                count=jnp.int32(0),
            )

        def update(grads: PyTree, state: DAdaptAdamWState, params: PyTree = None) -> tuple[PyTree, DAdaptAdamWState]:
            count = optax.safe_increment(state.count)
            rate = state.estim_lr * step.learning_rate * jnp.sqrt(1 - b2**count) / (1 - step.at(b1) ** count)
            towards = jax.tree.map(lambda s, nu: s / (jnp.sqrt(nu) + eps), state.grad_sum, state.exp_avg_sq)
            numerator = state.numerator_weighted * root + (1 - root) * rate * inner_product(grads, towards)
            mu = jax.tree.map(lambda mu, g: first * mu + (1 - first) * rate * g, state.exp_avg, grads)
            nu = jax.tree.map(lambda nu, g: second * nu + (1 - second) * squared(g), state.exp_avg_sq, grads)
            grad_sum = jax.tree.map(lambda s, g: root * s + (1 - root) * rate * g, state.grad_sum, grads)
            distance = (1 - root) * sum_of_moduli(grad_sum)
            estimate = jnp.where(distance > 0.0, numerator / distance, 0.0)
            directions = jax.tree.map(lambda mu, nu: mu / (jnp.sqrt(nu) + eps), mu, nu)
            decay = step.decay(weight_decay, mask, rate)
            directions, _ = decay.update(directions, optax.EmptyState(), params)
            return jax.tree.map(jnp.negative, directions), DAdaptAdamWState(
                exp_avg=mu,
                exp_avg_sq=nu,
                grad_sum=grad_sum,
                estim_lr=jnp.maximum(state.estim_lr, estimate),
                numerator_weighted=numerator,
                count=count,
            )

        return optax.GradientTransformation(init, update)

    return preset(optimizer, learning_rate, max_norm, monitor=monitor)
