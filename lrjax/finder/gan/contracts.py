"""What the user's functions of a GAN answer, traced once with shapes only, so that a wrong one is named first."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from lrjax import _checks
from lrjax.finder import contracts, trees
from lrjax.finder.gan.adversarial import GanOptimizersFactory, Players
from lrjax.finder.supervised import is_init_function
from lrjax.optimizers.gan import GanOptimizers, check_optimizers, check_params
from lrjax.optimizers.gan_state import GanModelState
from lrjax.typing import PyTree

_PAIR = "(generator_params, discriminator_params)"


def parameters(call: str, value: Any) -> PyTree:
    """A pair of pytrees of floating-point arrays, or the function ``init(key)`` of one."""
    if is_init_function(value):
        contracts.accepts(call, "params", value, ["key"])
        pair = jax.eval_shape(value, jax.random.key(0))
        requirement = f"the pair {_PAIR} or a function of a key to it"
    else:
        pair, requirement = value, f"the pair {_PAIR} or init(key) -> {_PAIR}"
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        got = f"a function to {trees.described(pair)}" if pair is not value else trees.described(pair)
        raise TypeError(f"`{call}(params=...)` must be {requirement}, got {got}")
    for place, part in enumerate(pair):
        check_params(call, f"params[{place}]", part)
        if not jax.tree.leaves(part):
            _checks.refuse(call, f"params[{place}]", "a pytree with floating-point arrays", "one without arrays")
    return trees.of_arrays(call, "params", (pair[0], pair[1])) if pair is value else value


def model_state(call: str, generator_state: PyTree, discriminator_state: PyTree) -> GanModelState | None:
    """What the networks carry besides parameters, None for two that carry nothing."""
    if generator_state is None and discriminator_state is None:
        return None
    states = {"generator_state": generator_state, "discriminator_state": discriminator_state}
    return GanModelState(*(trees.of_arrays(call, argument, value) for argument, value in states.items()))


def functions(players: Players, state: GanModelState | None) -> None:
    """Refuse what cannot be called as a test calls it."""
    call = players.call
    signature = ["own_params", "opponent_params", "batch", "rng", *([] if state is None else ["state="])]
    contracts.accepts(call, "generator_loss", players.generator_loss, signature)
    contracts.accepts(call, "discriminator_loss", players.discriminator_loss, signature)
    if isinstance(players.optimizers, GanOptimizers):
        raise TypeError(
            f"`{call}(optimizers=...)` must be a function of both rates, got built optimizers: "
            "pass lrjax.gan_optimizers, not lrjax.gan_optimizers(2e-4, 4e-4)"
        )
    contracts.accepts(
        call, "optimizers", players.optimizers, ["generator_learning_rate", "discriminator_learning_rate"]
    )


def discriminator_steps(call: str, build: GanOptimizersFactory) -> int:
    """The discriminator's steps of the optimizers that a function of two traced rates gives."""
    steps: list[int] = []

    def built(generator: Any, discriminator: Any) -> None:
        try:
            optimizers = build(generator, discriminator)
        except contracts.TRACE_ERRORS as error:
            raise TypeError(
                f"`{call}(optimizers=...)` must build its optimizers from traced learning rates (a Python `if`, "
                "`float` or NumPy function of a rate cannot read it)"
            ) from error
        if not isinstance(optimizers, GanOptimizers):
            raise TypeError(
                f"`{call}(optimizers=...)` must return GanOptimizers, as lrjax.gan_optimizers does, got a "
                f"{type(optimizers).__name__}"
            )
        steps.append(check_optimizers(call, optimizers))

    rate = trees.shaped((), jax.dtypes.canonicalize_dtype(np.float64))
    jax.eval_shape(built, rate, rate)
    return steps[0]


def batch(call: str, shapes: PyTree, steps: int) -> None:
    """Refuse batches without a slice for each of the discriminator's steps."""
    if steps == 1:
        return
    for path, leaf in jax.tree_util.tree_leaves_with_path(shapes):
        if leaf.shape[:1] != (steps,):
            requirement = f"batches that each lead with an axis of discriminator_steps = {steps}"
            _checks.refuse(call, "batches", requirement, f"batches of shape {leaf.shape}{trees.at(path)}")
