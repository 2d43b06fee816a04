"""A ``flax.linen`` module as a ``Problem``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from lrjax import _checks
from lrjax.finder.problems import Problem
from lrjax.finder.programs import compiled
from lrjax.typing import PyTree


def from_linen(
    module: Any,
    loss: Callable[[Any, Any], jax.Array],
    *inputs: Any,
    evaluate: Callable[[Any, Any], jax.Array] | None = None,
    **keywords: Any,
) -> Problem:
    """A ``flax.linen`` module and a loss written the linen way, as a ``Problem``.

    The loss calls ``apply(x, train=True)``: ``module.apply`` with the variables and the keys of the step filled in.
    ``params`` is ``init(key)``, so that seeds start from weights of their own; ``model_state`` is every collection but
    "params" (BatchNorm's averages), None where there is none, and ``apply`` keeps what a call makes of it; the keys of
    the stream "dropout" and of all others come from ``rng=``, new ones for every call. As ``module.apply`` does,
    ``apply`` takes ``method=``, ``rngs=`` and ``mutable=``: ``apply(x, mutable=["intermediates"])`` gives a pair.

    Args:
        module: A ``linen.Module``.
        loss: ``loss(apply, batch) -> scalar``. Where there is a ``model_state``, ``apply`` is not to be called inside a
            ``jax.grad``, ``jax.vmap`` or ``jax.checkpoint`` of the loss's own.
        *inputs: What ``module.init`` takes after its key, such as one batch of ``x``.
        evaluate: ``evaluate(apply, batch) -> scalar``, whose ``apply`` has no keys and changes no collection: it is to
            be called in evaluation mode, ``apply(x, train=False)``. By default ``loss``, for modules without modes.
        **keywords: What ``module.init`` takes by name, such as ``train=False``.

    Returns:
        The problem; its ``model_state`` is as ``module.init(jax.random.key(0), *inputs, **keywords)`` makes it.
        Variables that are trained already may take the place of ``params`` and ``model_state``.

    Raises:
        ImportError: Where flax is missing.
        TypeError: Where ``module`` is no linen module, or ``module.init`` does not take ``inputs`` and ``keywords``.
        ValueError: From ``loss_fn`` without the ``rng=`` it needs, from ``evaluate`` in training mode.

    Example:
        >>> import functools, jax, jax.numpy as jnp, numpy as np, optax
        >>> from flax import linen
        >>> from lrjax.finder import from_linen, range_test
        >>> class Net(linen.Module):
        ...     @linen.compact
        ...     def __call__(self, x, train):
        ...         x = linen.BatchNorm(use_running_average=not train)(linen.Dense(4)(x))
        ...         return linen.Dense(1)(linen.Dropout(0.1, deterministic=not train)(x))
        >>> def loss(apply, batch, train=True):
        ...     return jnp.mean((apply(batch, train=train) - 1.0) ** 2)
        >>> batches = np.random.default_rng(0).normal(size=(20, 4, 2)).astype(np.float32)
        >>> problem = from_linen(Net(), loss, batches[0], train=False, evaluate=functools.partial(loss, train=False))
        >>> result = range_test(problem.loss_fn, problem.params, batches, optax.sgd, [0.01, 0.1], seeds=3,
        ...                     model_state=problem.model_state, rng=jax.random.key(0),
        ...                     validation=batches[0], evaluate=problem.evaluate)
        >>> print(result.losses.shape)
        (2, 3, 20)

    Source: Flax's ``Module.init`` and ``Module.apply`` with ``mutable`` collections.
    """
    try:
        from flax import errors, linen
    except ImportError as error:
        raise ImportError("`from_linen` needs flax: pip install 'lrjax[flax]'") from error

    if not isinstance(module, linen.Module):
        _checks.refuse_type("from_linen", "module", "a linen.Module", module)
    _checks.function("from_linen", "loss", loss, "loss(apply, batch)")
    if evaluate is not None:
        _checks.function("from_linen", "evaluate", evaluate, "evaluate(apply, batch)")

    def init(key: jax.Array) -> tuple[PyTree, dict[str, PyTree]]:
        collections = dict(module.init(key, *inputs, **keywords))
        return collections.pop("params", {}), collections

    key = jax.random.key(0)
    try:
        initial: dict[str, PyTree] = compiled(lambda key: init(key)[1], key)(key)
    except TypeError as error:
        raise TypeError(f"`from_linen(*inputs, **keywords)` must be what module.init takes: {error}") from error
    has_state = bool(jax.tree.leaves(initial))

    def loss_fn(params: PyTree, batch: PyTree, *, state: PyTree = None, rng: jax.Array | None = None) -> Any:
        apply = _Apply(module, params, initial if state is None else state, rng, training=True)
        try:
            value = loss(apply, batch)
        except errors.InvalidRngError as error:
            if rng is not None:
                raise
            raise ValueError(
                "the module of `from_linen(module=...)` draws random numbers (linen.Dropout, say): "
                "give `range_test(rng=jax.random.key(0))`"
            ) from error
        return (value, apply.state) if has_state else value

    def evaluate_fn(params: PyTree, batch: PyTree, *, state: PyTree = None) -> jax.Array:
        apply = _Apply(module, params, initial if state is None else state, None, training=False)
        try:
            return (evaluate or loss)(apply, batch)
        except (errors.InvalidRngError, errors.ModifyScopeVariableError) as error:
            given = "be given and " if evaluate is None else ""
            raise ValueError(
                f"`from_linen(evaluate=...)` must {given}apply the module in evaluation mode (train=False, say)"
            ) from error

    return Problem(loss_fn, lambda key: init(key)[0], initial if has_state else None, evaluate_fn)


class _Apply:
    """``module.apply`` at the variables of one step; ``state`` follows what the calls make of all but "params"."""

    def __init__(
        self, module: Any, params: PyTree, state: dict[str, PyTree], rng: jax.Array | None, *, training: bool
    ) -> None:
        self.state = state
        self._module = module
        self._params = params
        self._rng = rng
        self._kept = list(state) if training else []
        self._calls = 0

    def __call__(self, *inputs: Any, mutable: Any = False, rngs: Any = None, **keywords: Any) -> Any:
        from flax.core.scope import in_filter, union_filters

        outputs, changed = self._module.apply(
            {"params": self._params, **self.state},
            *inputs,
            rngs=self._next_rngs() if rngs is None else rngs,
            mutable=union_filters(mutable, self._kept),
            **keywords,
        )
        self.state = {name: changed.get(name, value) for name, value in self.state.items()}
        if mutable is False:
            return outputs
        return outputs, {name: value for name, value in changed.items() if in_filter(mutable, name)}

    def _next_rngs(self) -> dict[str, jax.Array] | None:
        """Keys of the next call; linen draws from "params" for the streams that have no key."""
        if self._rng is None:
            return None
        dropout, others = jax.random.split(jax.random.fold_in(self._rng, self._calls))
        self._calls += 1
        return {"dropout": dropout, "params": others}
