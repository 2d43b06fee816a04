"""A ``flax.nnx`` model as a ``Problem``."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from lrjax import _checks
from lrjax.finder.problems import Problem
from lrjax.finder.programs import compiled
from lrjax.typing import PyTree


def from_nnx(
    model: Any, loss: Callable[[Any, Any], jax.Array], *, evaluate: Callable[[Any, Any], jax.Array] | None = None
) -> Problem:
    """A ``flax.nnx`` model and a loss written the nnx way, as a ``Problem``.

    ``params`` are the model's ``nnx.Param``; ``model_state`` is every other variable (BatchNorm's averages), None where
    there is none; the keys of the model's random streams (Dropout) come from ``rng=``, a new one for every step.

    Args:
        model: An ``nnx.Module``, which stays unchanged; or a function ``rngs -> nnx.Module``, which makes ``params`` an
            ``init(key)``, so that seeds start from weights of their own.
        loss: ``loss(model, batch) -> scalar``.
        evaluate: ``evaluate(model, batch) -> scalar``, called with the model in evaluation mode; by default ``loss``.

    Returns:
        The problem.

    Raises:
        ImportError: Where flax is missing.
        TypeError: Where ``model`` is neither a module nor a function that makes one.

    Example:
        >>> import jax.numpy as jnp, numpy as np, optax
        >>> from flax import nnx
        >>> from lrjax.finder import from_nnx, range_test
        >>> def loss(model, batch):
        ...     return jnp.mean((model(batch) - 1.0) ** 2)
        >>> problem = from_nnx(lambda rngs: nnx.Linear(2, 1, rngs=rngs), loss)
        >>> batches = np.ones((20, 4, 2), np.float32)
        >>> result = range_test(problem.loss_fn, problem.params, batches, optax.sgd, [0.01, 0.1], seeds=3)
        >>> print(result.losses.shape)
        (2, 3, 20)

    Source: Flax's functional API, ``nnx.split`` and ``nnx.merge``.
    """
    try:
        from flax import linen, nnx
    except ImportError as error:
        raise ImportError("`from_nnx` needs flax: pip install 'lrjax[flax]'") from error

    if isinstance(model, nnx.Module):
        graphdef, params, streams, rest = _split(model)
    elif callable(model) and not isinstance(model, linen.Module):
        key = jax.random.key(0)

        def rest_of(key: jax.Array) -> PyTree:
            graphdef, _, streams, rest = _split(_made(model, key))
            return graphdef, streams, rest

        def params(key: jax.Array) -> PyTree:
            return _split(_made(model, key))[1]

        graphdef, streams, rest = compiled(rest_of, key)(key)

    else:
        _checks.refuse_type("from_nnx", "model", "an nnx.Module or a function rngs -> nnx.Module", model)
    _checks.function("from_nnx", "loss", loss, "loss(model, batch)")
    if evaluate is not None:
        _checks.function("from_nnx", "evaluate", evaluate, "evaluate(model, batch)")
    has_state = bool(jax.tree.leaves(rest))

    def loss_fn(params: PyTree, batch: PyTree, *, state: PyTree = None, rng: jax.Array | None = None) -> Any:
        if jax.tree.leaves(streams) and rng is None:
            raise ValueError(
                "the model of `from_nnx(model=...)` draws random numbers (nnx.Dropout, say): "
                "give `range_test(rng=jax.random.key(0))`"
            )
        bound = nnx.merge(graphdef, params, _rekeyed(streams, rng), rest if state is None else state, copy=True)
        value = loss(bound, batch)
        return (value, _split(bound)[3]) if has_state else value

    def evaluate_fn(params: PyTree, batch: PyTree, *, state: PyTree = None) -> jax.Array:
        bound = nnx.merge(graphdef, params, streams, rest if state is None else state, copy=True)
        bound.eval()
        return (evaluate or loss)(bound, batch)

    return Problem(loss_fn, params, rest if has_state else None, evaluate_fn)


def _split(module: Any) -> tuple[Any, ...]:
    """The graph, the parameters, the random streams, and the other variables of an nnx module."""
    from flax import nnx

    parts: Any = nnx.split(module, nnx.Param, nnx.RngState, ...)
    return tuple(parts)


def _made(factory: Callable[[Any], Any], key: jax.Array) -> Any:
    """The module that ``factory`` makes from a key."""
    from flax import nnx

    module = factory(nnx.Rngs(key))
    if not isinstance(module, nnx.Module):
        _checks.refuse_type("from_nnx", "model", "a function rngs -> nnx.Module", module)
    return module


def _rekeyed(streams: PyTree, rng: Any) -> PyTree:
    """The random streams begun anew, the i-th of them from ``fold_in(rng, i)``."""
    numbers = itertools.count()

    def begin(leaf: jax.Array) -> jax.Array:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            key = jax.random.fold_in(rng, next(numbers))
            return jax.random.split(key, leaf.shape) if leaf.shape else key
        return jnp.zeros_like(leaf)

    return jax.tree.map(begin, streams)
