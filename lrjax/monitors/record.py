"""What the steps of a run were like: rates, norms and losses of finiteness."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from lrjax import _checks
from lrjax._norm import global_norm
from lrjax.monitors._rate_search import found
from lrjax.monitors.recorded import RecordState
from lrjax.typing import PyTree, ScalarOrSchedule

_CALL = "record"
_MEASURED = (
    "update_norm",
    "parameter_norm",
    "update_ratio",
    "average_gradient_norm",
    "average_update_ratio",
    "average_weight",
)


def record(
    inner: optax.GradientTransformation | None = None,
    *,
    every: jax.typing.ArrayLike = 1,
    decay: jax.typing.ArrayLike = 0.9,
    learning_rate: ScalarOrSchedule | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Keeps the learning rate, norms and non-finite gradients of each step in the state of an optimizer.

    With ``updates = inner.update(grads, ...)``: ``gradient_norm = norm(grads)``, ``update_norm = norm(updates)``,
    ``parameter_norm = norm(params)``, ``update_ratio = update_norm / parameter_norm``, and with
    ``w' = decay * w + 1 - decay`` from 0, ``average' = average + (1 - decay) / w' * (value - average)``.

    The updates are those of ``inner``. The gradient is measured as it comes, before any clipping inside ``inner``; a
    preset of lrjax measures it anyway, and then it is not measured twice. Norms neither overflow nor underflow.

    Without ``inner``, what passes is measured and passed on: both ``gradient_norm`` and ``update_norm`` are its norm.
    First in a chain that is the gradient's, last the update's; the rates of the other members are out of reach.

    The state's ``learning_rate`` is the one of the last applied update: what ``current_learning_rate`` finds in the
    state of ``inner``, but with the estimate of D-Adaptation and Prodigy, and the scale of ``backoff``, that this
    update had. Optimizers whose state holds no rate, such as ``optax.adamw(schedule)``, need ``learning_rate=schedule``
    here as well, else it is None.

    ``every=k`` measures update and parameters in every k-th step only, from the first, and holds their norms in
    between; the gradient's norm is measured in each, since to know whether an entry is finite takes a look at all.
    Where steps are cheap, much of the cost is that the update is written to memory at all, which ``every`` does not
    save; under ``vmap`` it saves nothing, as ``lax.cond`` then runs both sides.

    Args:
        inner: The optimizer, the whole chain of it; None to measure at a place in a chain.
        every: Steps from one measurement to the next, at least 1.
        decay: Of the averages, from 0 to less than 1: 0.9 remembers about ten measurements.
        learning_rate: The rate that ``inner`` was given, where its state does not hold it: a number, a traced scalar
            or a schedule of the steps seen. It counts before any rate in the state, whose estimates and scales still
            multiply it.

    Returns:
        A transformation whose state is a ``RecordState``; its ``metrics`` are for loggers. ``update`` needs the
        parameters; extra arguments reach ``inner``.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument is out of its range; ``update`` lacks the parameters; or, from ``init``, the state of
            ``inner`` holds several rates without labels.

    Example:
        >>> import jax.numpy as jnp, optax
        >>> import lrjax
        >>> from lrjax.monitors import record
        >>> schedule = lrjax.warmup_linear(0.1, 100, warmup_steps=10)
        >>> optimizer = record(optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(schedule)), learning_rate=schedule)
        >>> params = {"w": jnp.array([3.0, 4.0])}
        >>> state = optimizer.init(params)
        >>> for _ in range(3):
        ...     updates, state = optimizer.update({"w": jnp.array([6.0, 8.0])}, state, params)
        >>> {name: round(float(value), 3) for name, value in state.metrics.items() if "average" not in name}
        ... # doctest: +NORMALIZE_WHITESPACE
        {'learning_rate': 0.02, 'gradient_norm': 10.0, 'update_norm': 0.02, 'parameter_norm': 5.0,
         'update_ratio': 0.004, 'nonfinite': 0.0}
    """
    passing = inner is None
    if passing:
        inner = optax.identity()
    if not isinstance(inner, optax.GradientTransformation):
        _checks.refuse_type(_CALL, "inner", "an optax transformation, such as optax.adamw(1e-3), or None", inner)
    every = _checks.count(_CALL, "every", every, low=1)
    decay = _checks.number(_CALL, "decay", decay, low=0.0, below=1.0)
    given = _given_rate(learning_rate)
    inner = optax.with_extra_args_support(inner)

    def rate_of(step: jax.Array, state: optax.OptState, before: optax.OptState) -> Any:
        rate = jnp.asarray(given(step) if callable(given) else given) if given is not None else None
        rates = found(state, before, _refuse_several).rate(_refuse_several, rate)
        return jax.tree.map(lambda leaf: leaf.astype(jnp.float32), rates)

    def init(params: PyTree) -> RecordState:
        step, zero = jnp.int32(0), jnp.float32(0.0)
        state = inner.init(params)
        return RecordState(step, rate_of(step, state, state), zero, zero, zero, zero, step, zero, zero, zero, state)

    def update(
        grads: PyTree, state: RecordState, params: PyTree = None, **extra_args: Any
    ) -> tuple[PyTree, RecordState]:
        if params is None:
            raise ValueError("`record` needs the parameters: call update(grads, state, params)")
        updates, inner_state = inner.update(grads, state.inner, params, **extra_args)
        norm = _held_norm(inner_state)
        if norm is None:
            # Squares that XLA shares with the second moment of Adam would be written to memory.
            norm = global_norm(lax.optimization_barrier(grads)).value  # type: ignore[no-untyped-call]
        norm = norm.astype(jnp.float32)

        def measure() -> dict[str, jax.Array]:
            update_norm = norm if passing else global_norm(updates).value
            parameter_norm = global_norm(params).value
            ratio = jnp.where(update_norm == 0.0, 0.0, update_norm / parameter_norm)
            included = jnp.isfinite(norm) & jnp.isfinite(ratio)
            weight = decay * state.average_weight + (1.0 - decay)

            def average(old: jax.Array, value: jax.Array) -> jax.Array:
                return jnp.where(included, old + (1.0 - decay) / weight * (value - old), old).astype(jnp.float32)

            return {
                "update_norm": update_norm,
                "parameter_norm": parameter_norm,
                "update_ratio": ratio,
                "average_gradient_norm": average(state.average_gradient_norm, norm),
                "average_update_ratio": average(state.average_update_ratio, ratio),
                "average_weight": jnp.where(included, weight, state.average_weight).astype(jnp.float32),
            }

        def hold() -> dict[str, jax.Array]:
            return {name: getattr(state, name) for name in _MEASURED}

        always = not _checks.is_traced(every) and every == 1
        measured = measure() if always else lax.cond(state.step % every == 0, measure, hold)
        return updates, RecordState(
            step=optax.safe_increment(state.step),
            learning_rate=rate_of(state.step, inner_state, state.inner),
            gradient_norm=norm,
            nonfinite=jnp.where(jnp.isfinite(norm), state.nonfinite, optax.safe_increment(state.nonfinite)),
            inner=inner_state,
            **measured,
        )

    return optax.GradientTransformationExtraArgs(init, update)


def _given_rate(value: Any) -> Any:
    """A rate of at least zero, a schedule of rates, or None."""
    if value is None or callable(value):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | np.generic | np.ndarray | jax.Array):
        _checks.refuse_type(_CALL, "learning_rate", "a number, a schedule or None", value)
    return _checks.number(_CALL, "learning_rate", value, low=0.0)


def _held_norm(state: Any) -> jax.Array | None:
    """The norm of the gradient as it came, where the optimizer itself keeps it: a preset, or groups clipped as one."""
    return getattr(getattr(state, "clip", None), "norm", None)


def _refuse_several(rates: Mapping[str, Any]) -> NoReturn:
    """Raise for an optimizer of which no one rate can be recorded."""
    paths = ", ".join(f"state{path}" for path in rates)
    _checks.refuse(
        _CALL,
        "inner",
        "an optimizer with one learning rate, or with labels as optax.partition has them",
        f"{len(rates)}, at {paths}: say which by learning_rate=",
    )
