"""The supervised training loop of one lane, as pure functions that know nothing of other lanes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lrjax.finder import trees
from lrjax.finder.programs import compiled
from lrjax.optimizers import evaluation_params
from lrjax.typing import LossFn, OptimizerFactory, PyTree


class Hyperparams(NamedTuple):
    """What sets one lane apart from the others; the rate may be any tree of arrays that the optimizer is made of."""

    learning_rate: Any
    seed: Any


class Shared(NamedTuple):
    """What all lanes start from; None where the run has no such thing."""

    rng: jax.Array | None
    params: PyTree
    """The parameters; where ``seeds`` are given, those of each seed along a first axis."""
    seeds: jax.Array | None
    model_state: PyTree


class Carry(NamedTuple):
    """A lane between two updates; ``model_state`` and ``rng`` are None where the run has none."""

    learning_rate: Any
    params: PyTree
    opt_state: optax.OptState
    model_state: PyTree
    rng: jax.Array | None
    step: jax.Array


Start = Callable[[Hyperparams, Shared], Carry]
Step = Callable[[Carry, PyTree], tuple[Carry, dict[str, jax.Array]]]


def supervised(
    loss_fn: LossFn, optimizer: OptimizerFactory, rate_at: Callable[[Any, jax.Array], Any] | None = None
) -> tuple[Start, Step]:
    """``start(hyperparams, shared) -> carry`` and ``step(carry, batch) -> (carry, metrics)`` of one lane.

    The optimizer of a step is made of ``rate_at(hyperparams.learning_rate, step)``, by default of the rate itself.
    """

    def optimizer_at(rate: Any, step: jax.Array) -> optax.GradientTransformationExtraArgs:
        made = optimizer(rate if rate_at is None else rate_at(rate, step))
        return optax.with_extra_args_support(made)

    def start(hyperparams: Hyperparams, shared: Shared) -> Carry:
        params = starting_params(hyperparams, shared)
        return Carry(
            learning_rate=jax.tree.map(jnp.asarray, hyperparams.learning_rate),
            params=params,
            opt_state=jax.tree.map(jnp.asarray, optimizer_at(hyperparams.learning_rate, jnp.int32(0)).init(params)),
            model_state=jax.tree.map(jnp.asarray, shared.model_state),
            rng=None if shared.rng is None else jax.random.fold_in(shared.rng, hyperparams.seed),
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
        updates, opt_state = optimizer_at(carry.learning_rate, carry.step).update(
            gradients, carry.opt_state, carry.params, value=loss
        )
        updated = carry._replace(
            params=optax.apply_updates(carry.params, updates),
            opt_state=opt_state,
            model_state=model_state,
            step=carry.step + 1,
        )
        return jax.tree.map(_of_dtype, updated, carry), {"loss": at_least_float32(loss)}

    return start, step


def starting_params(hyperparams: Hyperparams, shared: Shared) -> PyTree:
    """The parameters that a lane starts with: those of its seed, where each seed has its own."""
    params = jax.tree.map(jnp.asarray, shared.params)
    if shared.seeds is None:
        return params
    row = (shared.seeds == hyperparams.seed).argmax()
    return jax.tree.map(lambda leaf: leaf[row], params)


def _of_dtype(new: Any, old: jax.Array) -> jax.Array:
    """``new`` in the dtype of ``old``."""
    return new if trees.is_key(old) else jnp.asarray(new).astype(old.dtype)


def evaluation(evaluate: LossFn) -> Callable[[Carry, PyTree], jax.Array]:
    """``read(carry, batch)``: the value of ``evaluate`` at the parameters that a lane would be evaluated with."""

    def read(carry: Carry, batch: PyTree) -> jax.Array:
        params = evaluation_params(carry.opt_state, carry.params)
        state = {} if carry.model_state is None else {"state": carry.model_state}
        return at_least_float32(evaluate(params, batch, **state))

    return read


def tabulated(init: Callable[[jax.Array], PyTree], seeds: np.ndarray) -> PyTree:
    """The parameters of each seed along a first axis."""
    made = compiled(jax.vmap(lambda seed: init(jax.random.key(seed))), seeds, known_as=("tabulated", init))
    return made(seeds)


def shared_by(rng: jax.Array | None, params: PyTree, seeds: np.ndarray, model_state: PyTree) -> Shared:
    """What lanes of these seeds start from, the parameters of each seed where ``params`` makes them."""
    if not is_init_function(params):
        return Shared(rng, params, None, model_state)
    return Shared(rng, tabulated(params, seeds), jnp.asarray(seeds), model_state)


def lanes_of(settings: PyTree, seeds: np.ndarray) -> Hyperparams:
    """Every setting, ``[K, ...]``, with every seed, ``[R]``: ``K * R`` lanes, the seeds of a setting side by side."""
    count = len(jax.tree.leaves(settings)[0])

    def repeated(leaf: np.ndarray) -> np.ndarray:
        return np.repeat(leaf, len(seeds), axis=0).astype(jax.dtypes.canonicalize_dtype(leaf.dtype))

    return Hyperparams(jax.tree.map(repeated, settings), np.tile(seeds, count))


def is_init_function(params: PyTree) -> bool:
    """Whether ``params`` is ``init(key) -> params``: callable, and itself a leaf."""
    return callable(params) and jax.tree_util.all_leaves([params])


def at_least_float32(loss: jax.Array) -> jax.Array:
    """A bfloat16 or float16 loss in the dtype that it is recorded in."""
    return loss.astype(jnp.promote_types(loss.dtype, jnp.float32))
