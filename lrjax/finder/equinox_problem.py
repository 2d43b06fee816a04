"""An Equinox model as a ``Problem``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import jax

from lrjax import _checks
from lrjax.finder import contracts
from lrjax.finder.problems import Problem
from lrjax.typing import PyTree

_MODEL = "an eqx.Module, (model, state), or a function of a key that makes either"


def from_equinox(model: Any, loss: Callable[..., Any], *, evaluate: Callable[..., Any] | None = None) -> Problem:
    """An Equinox model and a loss written the Equinox way, as a ``Problem``.

    ``params`` are the model's floating-point arrays, ``eqx.partition(model, eqx.is_inexact_array)``; ``model_state`` is
    its ``eqx.nn.State`` (BatchNorm's averages), None where there is none; all else in it stays as it is.

    Args:
        model: An ``eqx.Module``, or the ``(model, state)`` of ``eqx.nn.make_with_state``, which stay unchanged; or a
            function of a key that makes either, which makes ``params`` an ``init(key)``, so that seeds start from
            weights of their own.
        loss: ``loss(model, batch) -> scalar``. With a state it also takes ``state=`` and returns ``(loss, new_state)``;
            where it has a parameter ``key`` (for Dropout), that comes from ``rng=``, a new one for every step.
        evaluate: ``evaluate(model, batch) -> scalar``, with ``state=`` and ``key=`` as above, called with the model in
            inference mode and the same key every time; by default ``loss``.

    Returns:
        The problem.

    Raises:
        ImportError: Where equinox is missing.
        TypeError: Where ``model`` is neither a module nor a function that makes one, or lacks the state of its layers;
            where ``loss`` or ``evaluate`` cannot be called so.
        ValueError: From ``loss_fn`` without the ``rng=`` it needs.

    Example:
        >>> import equinox as eqx, jax, jax.numpy as jnp, numpy as np, optax
        >>> from lrjax.finder import from_equinox, range_test
        >>> def loss(model, batch):
        ...     return jnp.mean((jax.vmap(model)(batch) - 1.0) ** 2)
        >>> problem = from_equinox(lambda key: eqx.nn.MLP(2, 1, 8, 1, key=key), loss)
        >>> batches = np.ones((20, 4, 2), np.float32)
        >>> result = range_test(problem.loss_fn, problem.params, batches, optax.sgd, [0.01, 0.1], seeds=3)
        >>> print(result.losses.shape)
        (2, 3, 20)

    Source: Equinox's ``partition`` and ``combine``, ``nn.make_with_state`` and ``nn.inference_mode``.
    """
    try:
        import equinox as eqx
    except ImportError as error:
        raise ImportError("`from_equinox` needs equinox: pip install 'lrjax[equinox]'") from error

    is_made = isinstance(model, eqx.Module | tuple)
    if not is_made:
        if not callable(model):
            _checks.refuse_type("from_equinox", "model", _MODEL, model)
        contracts.accepts("from_equinox", "model", model, ["key"])
    arrays, rest, initial = _split(model if is_made else model(jax.random.key(0)))
    structure = jax.tree.structure(arrays)

    def init(key: jax.Array) -> PyTree:
        leaves = jax.tree.leaves(_split(model(key))[0])
        return jax.tree.unflatten(structure, leaves)  # a lambda inside the model is another one each time

    loss_takes_key = _takes_key("loss", loss, with_state=initial is not None)
    evaluated = loss if evaluate is None else evaluate
    evaluated_takes_key = _takes_key("evaluate", evaluated, with_state=initial is not None)

    def keywords(state: PyTree, key: jax.Array | None) -> dict[str, Any]:
        """What a function is called with besides the model and the batch."""
        state = initial if state is None else state
        # A copy, since ``State.set`` makes the state that it is called on unusable.
        given = {} if initial is None else {"state": jax.tree.map(lambda leaf: leaf, state)}
        return given if key is None else given | {"key": key}

    def loss_fn(params: PyTree, batch: PyTree, *, state: PyTree = None, rng: jax.Array | None = None) -> Any:
        if loss_takes_key and rng is None:
            raise ValueError("`from_equinox(loss=...)` takes a key: give `range_test(rng=jax.random.key(0))`")
        return loss(eqx.combine(params, rest), batch, **keywords(state, rng if loss_takes_key else None))

    def evaluate_fn(params: PyTree, batch: PyTree, *, state: PyTree = None) -> Any:
        bound = eqx.nn.inference_mode(eqx.combine(params, rest))
        key = jax.random.key(0) if evaluated_takes_key else None
        value = evaluated(bound, batch, **keywords(state, key))
        return value[0] if initial is not None and isinstance(value, tuple) else value

    return Problem(loss_fn, arrays if is_made else init, initial, evaluate_fn)


def _split(made: Any) -> tuple[PyTree, PyTree, PyTree]:
    """The floating-point arrays, the rest of the model, and its state or None."""
    import equinox as eqx

    def is_index(node: Any) -> bool:
        return isinstance(node, eqx.nn.StateIndex)

    has_state = isinstance(made, tuple) and len(made) == 2 and isinstance(made[1], eqx.nn.State)
    model, state = made if has_state else (made, None)
    if not isinstance(model, eqx.Module):
        _checks.refuse_type("from_equinox", "model", _MODEL, made)
    if state is None and any(map(is_index, jax.tree.leaves(model, is_leaf=is_index))):
        raise TypeError(
            "`from_equinox(model=...)` must be (model, state), as eqx.nn.make_with_state makes it, where a layer has "
            f"state, got a {type(model).__name__} alone"
        )
    arrays, rest = eqx.partition(model, eqx.is_inexact_array)
    return arrays, rest, state


def _takes_key(argument: str, function: Any, *, with_state: bool) -> bool:
    """Whether a loss or an evaluation has a parameter ``key``; refuses one that cannot be called as it will be."""
    _checks.function("from_equinox", argument, function, f"{argument}(model, batch)")
    try:
        has_key = "key" in inspect.signature(function).parameters
    except ValueError:  # some built-in functions have none to read
        has_key = False
    keywords = ["state="] * with_state + ["key="] * has_key
    contracts.accepts("from_equinox", argument, function, ["model", "batch", *keywords])
    return has_key
