"""The supervised training loop of one lane, as a pair of pure functions.

``init(hyperparams, rng) -> carry`` and ``step(carry, batch) -> (carry, metrics)`` know nothing of other lanes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from optax.contrib import ScheduleFreeState

from lrjax.finder.programs import compiled
from lrjax.typing import LossFn, OptimizerFactory, PyTree


class Hyperparams(NamedTuple):
    """What sets one lane apart from the others."""

    learning_rate: Any
    seed: Any


class Carry(NamedTuple):
    """A lane between two updates; ``model_state`` and ``rng`` are None where the run has none."""

    learning_rate: jax.Array
    params: PyTree
    opt_state: optax.OptState
    model_state: PyTree
    rng: jax.Array | None
    step: jax.Array


Init = Callable[[Hyperparams, jax.Array | None], Carry]
Step = Callable[[Carry, PyTree], tuple[Carry, dict[str, jax.Array]]]


def training(
    loss_fn: LossFn, params: PyTree, optimizer: OptimizerFactory, *, model_state: PyTree = None
) -> tuple[Init, Step]:
    """The loop ``loss, gradients -> update -> parameters`` of one lane.

    Seed ``s`` starts from ``params(jax.random.key(s))`` where ``params`` is a function, and gives ``loss_fn`` the
    key ``fold_in(fold_in(rng, s), step)`` where there is an ``rng``. The optimizer is built inside the lane, from the
    lane's own rate. Updated parameters and states keep the dtypes that they started with.

    Args:
        loss_fn: ``loss_fn(params, batch)`` to a scalar; with a model state it also takes ``state=`` and returns
            ``(loss, new_state)``; with an rng it also takes ``rng=``.
        params: A pytree of arrays, or ``init(key) -> params``.
        optimizer: A function of the learning rate that builds an ``optax.GradientTransformation``.
        model_state: What ``loss_fn`` carries from step to step besides the parameters, or None.

    Returns:
        The pair ``(init, step)``; the metrics of a step are ``{"loss": loss}``, read before its update.
    """

    def init(hyperparams: Hyperparams, rng: jax.Array | None) -> Carry:
        values = params(jax.random.key(hyperparams.seed)) if is_init_function(params) else params
        values = jax.tree.map(jnp.asarray, values)
        return Carry(
            learning_rate=hyperparams.learning_rate,
            params=values,
            opt_state=jax.tree.map(jnp.asarray, optimizer(hyperparams.learning_rate).init(values)),
            model_state=jax.tree.map(jnp.asarray, model_state),
            rng=None if rng is None else jax.random.fold_in(rng, hyperparams.seed),
            step=jnp.int32(0),
        )

    def step(carry: Carry, batch: PyTree) -> tuple[Carry, dict[str, jax.Array]]:
        keywords: dict[str, Any] = {}
        if carry.model_state is not None:
            keywords["state"] = carry.model_state
        if carry.rng is not None:
            keywords["rng"] = jax.random.fold_in(carry.rng, carry.step)

        def loss_and_state(values: PyTree) -> tuple[jax.Array, PyTree]:
            result = loss_fn(values, batch, **keywords)
            return (result, None) if carry.model_state is None else result

        (loss, model_state), gradients = jax.value_and_grad(loss_and_state, has_aux=True)(carry.params)
        transformation = optax.with_extra_args_support(optimizer(carry.learning_rate))
        updates, opt_state = transformation.update(gradients, carry.opt_state, carry.params, value=loss)
        updated = carry._replace(
            params=optax.apply_updates(carry.params, updates),
            opt_state=opt_state,
            model_state=model_state,
            step=carry.step + 1,
        )
        kept = jax.tree.map(lambda new, old: jnp.asarray(new).astype(old.dtype), updated, carry)
        return kept, {"loss": _at_least_float32(loss)}

    return init, step


def evaluation(evaluate: LossFn) -> Callable[[Carry, PyTree], jax.Array]:
    """``read(carry, batch)``: the value of ``evaluate`` at the parameters that a lane would be evaluated with."""

    def read(carry: Carry, batch: PyTree) -> jax.Array:
        params = evaluation_params(carry.opt_state, carry.params)
        state = {} if carry.model_state is None else {"state": carry.model_state}
        return _at_least_float32(evaluate(params, batch, **state))

    return read


def evaluation_params(opt_state: optax.OptState, params: PyTree) -> PyTree:
    """The averaged parameters ``x = (y - (1 - b1) z) / b1`` of a schedule-free optimizer, else ``params``."""

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


def tabulated(init: Callable[[jax.Array], PyTree], seeds: np.ndarray) -> Callable[[jax.Array], PyTree]:
    """``init`` computed once for the keys of ``seeds``, as a function that looks its key up among them."""
    table = compiled(jax.vmap(lambda seed: init(jax.random.key(seed))), seeds)(seeds)

    def look_up(key: jax.Array) -> PyTree:
        known = jax.vmap(lambda seed: jax.random.key_data(jax.random.key(seed)))(jnp.asarray(seeds))
        index = (known == jax.random.key_data(key)).all(axis=-1).argmax()
        return jax.tree.map(lambda leaf: leaf[index], table)

    return look_up


def is_init_function(params: PyTree) -> bool:
    """Whether ``params`` is ``init(key) -> params``: callable, and itself a leaf."""
    return callable(params) and jax.tree_util.all_leaves([params])


def _at_least_float32(loss: jax.Array) -> jax.Array:
    """A bfloat16 or float16 loss in the dtype that it is recorded in."""
    return loss.astype(jnp.promote_types(loss.dtype, jnp.float32))
