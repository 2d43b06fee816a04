"""The supervised training loop of one lane, in the form that ``sweep`` takes."""

from __future__ import annotations

from collections.abc import Callable

import jax

from lrjax import _checks
from lrjax.finder import arguments, contracts, trees
from lrjax.finder.supervised import Carry, Hyperparams, Shared, Step, is_init_function, supervised
from lrjax.typing import LossFn, OptimizerFactory, PyTree

Init = Callable[[Hyperparams, jax.Array | None], Carry]


def training(
    loss_fn: LossFn, params: PyTree, optimizer: OptimizerFactory, *, model_state: PyTree = None
) -> tuple[Init, Step]:
    """The supervised loop of one lane, ``loss, gradients -> update -> parameters``, as ``sweep`` takes it.

    Seed ``s`` starts from ``params(jax.random.key(s))`` where ``params`` is a function, and gives ``loss_fn`` the
    key ``fold_in(fold_in(rng, s), step)`` where there is an ``rng``. The optimizer is built inside the lane, from the
    lane's own rate, and its updates get ``value=loss``. Updated parameters and states keep the dtypes that they started
    with. The metrics of a step are ``{"loss": loss}``, read before its update.

    Args:
        loss_fn: ``loss_fn(params, batch)`` to a scalar; with a model state it also takes ``state=`` and returns
            ``(loss, new_state)``; with an rng it also takes ``rng=``.
        params: A pytree of arrays, or ``init(key) -> params``.
        optimizer: A function of the learning rate that builds an ``optax.GradientTransformation``.
        model_state: What ``loss_fn`` carries from step to step besides the parameters, or None.

    Returns:
        The pair ``init(hyperparams, rng) -> carry`` and ``step(carry, batch) -> (carry, metrics)``, where
        ``hyperparams`` has the fields ``learning_rate`` and ``seed``, and ``carry`` among others ``params``.

    Raises:
        TypeError: Where an argument is of the wrong kind.

    Example:
        >>> import jax.numpy as jnp, numpy as np, optax
        >>> from lrjax.finder import Hyperparams, sweep, training
        >>> def loss_fn(params, batch):
        ...     return jnp.mean((batch @ params - 1.0) ** 2)
        >>> init, step = training(loss_fn, jnp.zeros(2), optax.sgd)
        >>> def init_with_decay(hyperparams, rng):
        ...     return init(hyperparams["run"], rng), hyperparams["decay"]
        >>> def step_with_decay(carry, batch):
        ...     run, decay = carry
        ...     run, metrics = step(run, batch)
        ...     return (run._replace(params=(1 - decay) * run.params), decay), metrics
        >>> lanes = {"run": Hyperparams(np.float32([0.1, 0.1]), np.int32([0, 0])), "decay": np.float32([0.0, 0.1])}
        >>> result = sweep(init_with_decay, step_with_decay, lanes, np.ones((20, 4, 2), np.float32))
        >>> print(result.metrics["loss"].shape)
        (2, 20)

    Source: Optax's training loop.
    """
    _checks.function("training", "loss_fn", loss_fn, "loss_fn(params, batch)")
    contracts.factory("training", optimizer)
    if not any(map(_checks.is_traced, jax.tree.leaves(params))):  # an init of a larger loop may make them of its lane
        params = arguments.parameters("training", params)
    start, update = supervised(loss_fn, optimizer)

    def init(hyperparams: Hyperparams, rng: jax.Array | None) -> Carry:
        if not (hasattr(hyperparams, "learning_rate") and hasattr(hyperparams, "seed")):
            got = trees.described(hyperparams)
            _checks.refuse("training(...)[0]", "hyperparams", "Hyperparams(learning_rate, seed)", got)
        values = params(jax.random.key(hyperparams.seed)) if is_init_function(params) else params
        contracts.optimizer("training", optimizer, values)
        return start(hyperparams, Shared(rng, values, None, model_state))

    def step(carry: Carry, batch: PyTree) -> tuple[Carry, dict[str, jax.Array]]:
        contracts.loss("training", loss_fn, carry.params, batch, carry.model_state, carry.rng)
        return update(carry, batch)

    return init, step
