"""AdamW with a learning rate estimated by Prodigy."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from optax.contrib import ProdigyState

from lrjax import _checks
from lrjax.optimizers import _arguments
from lrjax.optimizers._preset import Step, preset, require
from lrjax.optimizers._sums import inner_product, squared, sum_of_moduli
from lrjax.optimizers.decay_mask import NO_DECAY
from lrjax.typing import PyTree, ScalarOrSchedule


def prodigy(
    learning_rate: ScalarOrSchedule = 1.0,
    betas: tuple[ScalarOrSchedule, jax.typing.ArrayLike] = (0.9, 0.999),
    beta3: jax.typing.ArrayLike | None = None,
    eps: jax.typing.ArrayLike = 1e-8,
    estim_lr0: jax.typing.ArrayLike = 1e-6,
    estim_lr_coef: jax.typing.ArrayLike = 1.0,
    weight_decay: ScalarOrSchedule = 0.0,
    safeguard_warmup: bool = False,  # noqa: FBT001, FBT002 (optax's position)
    *,
    mask: PyTree | Callable[[PyTree], PyTree] | str | None = NO_DECAY,
    max_norm: ScalarOrSchedule | None = 1.0,
    monitor: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """Prodigy behind gradient clipping; unlike ``optax.contrib.prodigy`` as follows.

    A rate of zero, as at the start of a warmup, or a zero gradient in the first steps leaves the estimate as
    it is (optax: NaN); ``betas[0]`` and ``weight_decay`` may be schedules and ``mask`` leaves out biases,
    norms and embeddings (optax: all decay); gradients are clipped to ``max_norm`` first; a non-finite
    gradient skips the step; half-precision parameters have their state and arithmetic in float32; the state
    holds a copy of the first parameters, so that both may be donated.

    With the clipped gradient ``g``, ``(b1, b2) = betas``, ``beta3`` by default ``sqrt(b2)``, t the number of
    steps applied, this one included, ``d = estim_lr``, ``d0 = estim_lr0`` and
    ``rate = d * learning_rate * sqrt(1 - b2**t) / (1 - b1**t)``:
    ``numerator' = beta3 * numerator + d / d0 * rate * sum(g * (params0 - params))``,
    ``mu' = b1 * mu + (1 - b1) * d * g``, ``nu' = b2 * nu + (1 - b2) * (d * g)**2``,
    ``s' = beta3 * s + d / d0 * rate * g``, with d in place of the rate if ``safeguard_warmup``,
    ``estim_lr' = max(d, estim_lr_coef * numerator' / sum(abs(s')))``,
    ``update = -rate * (mu' / (sqrt(nu') + estim_lr' * eps) + weight_decay * params)``.

    A skipped step leaves parameters, moments and counts as they were, the clock of every schedule included;
    the state's ``clip.nonfinite`` counts it.

    Args:
        learning_rate: A factor on the estimated rate: a number, a traced scalar, or a schedule with a top of 1.
        betas: Decays of the first and second moments, from 0 to less than 1; the first may be a schedule.
        beta3: Decay of the sums behind the estimate, from 0 to less than 1; None for ``sqrt(betas[1])``.
        eps: Added to the denominator outside the square root.
        estim_lr0: First estimate of the rate, greater than 0 and too small rather than too large.
        estim_lr_coef: Factor on every estimate, greater than 0.
        weight_decay: Decay per step in units of the rate: a number, a traced scalar, or a schedule.
        safeguard_warmup: Whether the rate is left out of the estimate's denominator.
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
        >>> from lrjax.optimizers import prodigy
        >>> optimizer = prodigy()
        >>> params = jnp.array([1.0, -2.0])
        >>> state = optimizer.init(params)
        >>> for _ in range(100):
        ...     updates, state = optimizer.update(2 * params, state, params)
        ...     params = optax.apply_updates(params, updates)
        >>> bool(state.inner.estim_lr > 1e-3)  # from 1e-6
        True

    Source:
        Mishchenko and Defazio, "Prodigy: an expeditiously adaptive parameter-free learner" (2023),
        arXiv:2306.06101; ``optax.contrib.prodigy``.
    """
    call = "prodigy"
    learning_rate = _arguments.learning_rate(call, "learning_rate", learning_rate)
    b1, b2 = _arguments.betas(call, betas)
    beta3 = b2**0.5 if beta3 is None else _arguments.decay(call, "beta3", beta3)
    eps = _arguments.number(call, "eps", eps, low=0.0)
    estim_lr0 = _arguments.number(call, "estim_lr0", estim_lr0, above=0.0)
    estim_lr_coef = _arguments.number(call, "estim_lr_coef", estim_lr_coef, above=0.0)
    weight_decay = _arguments.weight_decay(call, "weight_decay", weight_decay)
    _checks.flag(call, "safeguard_warmup", safeguard_warmup)
    mask = _arguments.mask(call, "mask", mask)
    max_norm = _arguments.max_norm(call, max_norm)
    _checks.flag(call, "monitor", monitor)

    def optimizer(step: Step) -> optax.GradientTransformation:
        first, second, third = step.hold(b1), step.hold(b2), step.hold(beta3)
        scalar = step.learning_rate.dtype

        def init(params: PyTree) -> ProdigyState:
            return ProdigyState(
                exp_avg=optax.tree.zeros_like(params),
                exp_avg_sq=optax.tree.zeros_like(params),
                grad_sum=optax.tree.zeros_like(params),
                params0=jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), params),
                estim_lr=jnp.asarray(estim_lr0, scalar),
                numerator_weighted=jnp.zeros((), scalar),
                count=jnp.int32(0),
            )

        def update(grads: PyTree, state: ProdigyState, params: PyTree = None) -> tuple[PyTree, ProdigyState]:
            require(params)
            count, d = optax.safe_increment(state.count), state.estim_lr
            rate = d * step.learning_rate * jnp.sqrt(1 - b2**count) / (1 - step.at(b1) ** count)
            travelled = jax.tree.map(jnp.subtract, state.params0, params)
            numerator = third * state.numerator_weighted + d / estim_lr0 * rate * inner_product(grads, travelled)
            mu = jax.tree.map(lambda mu, g: first * mu + (1 - first) * d * g, state.exp_avg, grads)
            nu = jax.tree.map(lambda nu, g: second * nu + (1 - second) * squared(d * g), state.exp_avg_sq, grads)
            gain = d / estim_lr0 * (d if safeguard_warmup else rate)
            grad_sum = jax.tree.map(lambda s, g: third * s + gain * g, state.grad_sum, grads)
            distance = sum_of_moduli(grad_sum)
            estimate = jnp.where(distance > 0.0, estim_lr_coef * numerator / distance, 0.0)
            estim_lr = jnp.maximum(d, estimate)
            directions = jax.tree.map(lambda mu, nu: mu / (jnp.sqrt(nu) + estim_lr * eps), mu, nu)
            decay = step.decay(weight_decay, mask)
            directions, _ = decay.update(directions, optax.EmptyState(), params)
            return jax.tree.map(lambda direction: -rate * direction, directions), ProdigyState(
                exp_avg=mu,
                exp_avg_sq=nu,
                grad_sum=grad_sum,
                params0=state.params0,
                estim_lr=estim_lr,
                numerator_weighted=numerator,
                count=count,
            )

        return optax.GradientTransformation(init, update)

    return preset(optimizer, learning_rate, max_norm, monitor=monitor)
