"""Schedule-free AdamW."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from optax.contrib import ScheduleFreeState

from lrjax import _checks
from lrjax.optimizers import _arguments
from lrjax.optimizers._preset import Step, preset, require
from lrjax.optimizers.decay_mask import NO_DECAY
from lrjax.typing import PyTree, ScalarOrSchedule, Schedule


def schedule_free_adamw(
    learning_rate: ScalarOrSchedule = 0.0025,
    warmup_steps: jax.typing.ArrayLike | None = None,
    b1: jax.typing.ArrayLike = 0.9,
    b2: jax.typing.ArrayLike = 0.999,
    eps: jax.typing.ArrayLike = 1e-8,
    weight_decay: ScalarOrSchedule = 0.0,
    weight_lr_power: jax.typing.ArrayLike = 2.0,
    state_dtype: Any = None,
    *,
    mask: PyTree | Callable[[PyTree], PyTree] | str | None = NO_DECAY,
    max_norm: ScalarOrSchedule | None = 1.0,
    monitor: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """Schedule-free AdamW behind gradient clipping; unlike ``optax.contrib.schedule_free_adamw`` as follows.

    ``learning_rate`` may be any schedule, and the rate that weighs an iterate in the average is the one that made it
    (optax: the next step's); ``weight_decay`` may be a schedule and ``mask`` leaves out biases, norms and
    embeddings (optax: all decay); gradients are clipped to ``max_norm`` first; a non-finite gradient skips
    the step; half-precision parameters have their state and arithmetic in float32.

    The parameters that train are ``params = (1 - b1) * z + b1 * x``. With the clipped gradient ``g``,
    ``nu' = b2 * nu + (1 - b2) * g**2``, t the number of steps applied, this one included, and the largest rate
    so far ``top``:
    ``z' = z - learning_rate * (g / (sqrt(nu' / (1 - b2**t)) + eps) + weight_decay * params)``,
    ``c = top**weight_lr_power / sum(top**weight_lr_power)``, ``x' = (1 - c) * x + c * z'``.

    Evaluate and save the average ``x``, which ``evaluation_params`` computes; the range test does. The rate needs a
    warmup and no decay.

    A skipped step leaves parameters, moments and counts as they were, the clock of every schedule included;
    the state's ``clip.nonfinite`` counts it.

    Args:
        learning_rate: A number, a traced scalar, or a schedule of the steps applied.
        warmup_steps: Steps over which the rate rises linearly from 0; None for none.
        b1: Weight of the average in the parameters that train, between 0 and 1.
        b2: Decay of the second moment, from 0 to less than 1.
        eps: Added to the denominator outside the square root.
        weight_decay: Decay per step in units of the learning rate, decoupled from the gradient: a number, a
            traced scalar, or a schedule.
        weight_lr_power: Power of the largest rate so far that weighs an iterate, at least 0.
        state_dtype: Dtype that ``z`` is stored in; None for the parameters', float32 at least.
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
        >>> from lrjax.optimizers import evaluation_params, schedule_free_adamw
        >>> optimizer = schedule_free_adamw(0.5, warmup_steps=5)
        >>> params = jnp.array([1.0, -2.0])
        >>> state = optimizer.init(params)
        >>> for _ in range(60):
        ...     updates, state = optimizer.update(2 * params, state, params)
        ...     params = optax.apply_updates(params, updates)
        >>> bool(jnp.sum(evaluation_params(state, params) ** 2) < 0.05)
        True

    Source:
        Defazio et al., "The road less scheduled" (2024), arXiv:2405.15682;
        ``optax.contrib.schedule_free_adamw``.
    """
    call = "schedule_free_adamw"
    learning_rate = _arguments.learning_rate(call, "learning_rate", learning_rate)
    if warmup_steps is not None:
        warmup_steps = _checks.count(call, "warmup_steps", warmup_steps)
    b1 = _arguments.number(call, "b1", b1, above=0.0, below=1.0)
    b2 = _arguments.decay(call, "b2", b2)
    eps = _arguments.number(call, "eps", eps, low=0.0)
    weight_decay = _arguments.weight_decay(call, "weight_decay", weight_decay)
    weight_lr_power = _arguments.number(call, "weight_lr_power", weight_lr_power, low=0.0)
    state_dtype = _arguments.moment_dtype(call, "state_dtype", state_dtype)
    mask = _arguments.mask(call, "mask", mask)
    max_norm = _arguments.max_norm(call, max_norm)
    _checks.flag(call, "monitor", monitor)

    rate = learning_rate if warmup_steps is None else _warmed_up(learning_rate, warmup_steps)

    def optimizer(step: Step) -> optax.GradientTransformationExtraArgs:
        base = optax.chain(
            optax.scale_by_rms(step.hold(b2), eps, eps_in_sqrt=False, bias_correction=True),
            step.decay(weight_decay, mask),
            optax.scale(-step.learning_rate),
        )

        def init(params: PyTree) -> ScheduleFreeState:
            zero = jnp.zeros_like(step.learning_rate)
            return ScheduleFreeState(
                b1=jnp.asarray(b1, zero.dtype),
                weight_sum=zero,
                step_count=jnp.int32(1),
                max_lr=zero,
                base_optimizer_state=base.init(params),
                z=jax.tree.map(lambda leaf: jnp.array(leaf, state_dtype or leaf.dtype, copy=True), params),
            )

        def update(
            grads: PyTree, state: ScheduleFreeState, params: PyTree = None, **extra_args: Any
        ) -> tuple[PyTree, ScheduleFreeState]:
            require(params)
            moves, base_state = base.update(grads, state.base_optimizer_state, params, **extra_args)
            moves = step.applied(moves)
            max_lr = jnp.maximum(state.max_lr, step.learning_rate)
            weight = max_lr**weight_lr_power
            weight_sum = state.weight_sum + weight
            share = jnp.where(weight_sum > 0.0, weight / weight_sum, 0.0)

            # params' - params with x = (params - (1 - b1) * z) / b1 put in: exact where neither z nor x moves.
            def difference(move: jax.Array, z: jax.Array, param: jax.Array) -> jax.Array:
                return share * (z - param) + (1.0 - b1 + share * b1) * move

            return jax.tree.map(difference, moves, state.z, params), ScheduleFreeState(
                b1=state.b1,
                weight_sum=weight_sum,
                step_count=optax.safe_increment(state.step_count),
                max_lr=max_lr,
                base_optimizer_state=base_state,
                z=jax.tree.map(jnp.add, state.z, moves),
            )

        return optax.GradientTransformationExtraArgs(init, update)

    return preset(optimizer, rate, max_norm, monitor=monitor)


def _warmed_up(learning_rate: Any, warmup_steps: Any) -> Schedule:
    """``learning_rate`` behind a linear rise from 0."""

    def schedule(count: jax.typing.ArrayLike) -> jax.Array:
        rate = learning_rate(count) if callable(learning_rate) else learning_rate
        return jnp.where(count < warmup_steps, rate * (count / jnp.maximum(warmup_steps, 1)), rate)

    return schedule


def evaluation_params(opt_state: optax.OptState, params: PyTree) -> PyTree:
    """The parameters to evaluate and save: the average of a schedule-free optimizer, else ``params`` themselves.

    ``x = (params - (1 - b1) * z) / b1``.

    Args:
        opt_state: The state of any optimizer; a schedule-free one (of this package or of ``optax.contrib``) may
            stand anywhere in it.
        params: The parameters that train.

    Returns:
        A pytree like ``params``.

    Raises:
        ValueError: ``params`` has not the structure of the optimizer's.

    Example:
        >>> import jax.numpy as jnp
        >>> from lrjax.optimizers import adamw, evaluation_params
        >>> params = {"w": jnp.ones(3)}
        >>> evaluation_params(adamw().init(params), params)["w"].tolist()
        [1.0, 1.0, 1.0]

    Source:
        Defazio et al., "The road less scheduled" (2024), arXiv:2405.15682.
    """

    def is_schedule_free(node: Any) -> bool:
        return isinstance(node, ScheduleFreeState)

    for state in filter(is_schedule_free, jax.tree.leaves(opt_state, is_leaf=is_schedule_free)):
        params = jax.tree.map(
            lambda z, y, b1=state.b1: (
                y if isinstance(z, optax.MaskedNode) else ((y - (1 - b1) * z) / b1).astype(y.dtype)
            ),
            state.z,
            params,
            is_leaf=lambda node: isinstance(node, optax.MaskedNode),
        )
    return params
