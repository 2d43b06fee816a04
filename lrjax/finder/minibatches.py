"""Shuffled epochs of in-memory data, cut into batches of one size."""

from __future__ import annotations

import jax
import numpy as np
from jax.typing import ArrayLike

from lrjax import _checks
from lrjax.finder import arguments, trees
from lrjax.typing import PyTree


def minibatches(data: PyTree, batch_size: int, steps: int, rng: ArrayLike) -> PyTree:
    """Stacked batches of shuffled epochs, for ``range_test(batches=...)``.

    Epoch ``e`` is a permutation of all examples; the epochs are laid end to end and cut into ``steps`` batches, so
    that every example is seen once an epoch. Where ``batch_size`` does not divide the examples, a batch takes
    its last examples from the next epoch.

    Args:
        data: A pytree of arrays whose leaves lead with one axis of examples.
        batch_size: Examples in a batch, at most all of them.
        steps: Batches to make.
        rng: The JAX key of the shuffling.

    Returns:
        The pytree of NumPy arrays, each of shape ``[steps, batch_size, ...]``.

    Raises:
        TypeError: Where an argument is of the wrong kind.
        ValueError: Where a number is out of range, or the leaves' first axes differ.

    Example:
        >>> import jax, numpy as np
        >>> from lrjax.finder import minibatches
        >>> batches = minibatches({"x": np.arange(6)}, batch_size=2, steps=3, rng=jax.random.key(0))
        >>> print(batches["x"].shape, sorted(batches["x"].ravel().tolist()))
        (3, 2) [0, 1, 2, 3, 4, 5]
    """
    call = "minibatches"
    arrays = trees.of_arrays(call, "data", jax.tree.map(np.asarray, data))
    examples = trees.leading_axis(call, "data", arrays, "examples")
    batch_size = _checks.count(call, "batch_size", batch_size, low=1)
    _checks.at_most(call, "batch_size", batch_size, "the number of examples", examples)
    steps = _checks.count(call, "steps", steps, low=1)
    arguments.key(call, "rng", rng)

    generator = np.random.default_rng(np.asarray(jax.random.key_data(rng)).ravel())
    epochs = -(-steps * batch_size // examples)
    order = np.concatenate([generator.permutation(examples) for _ in range(epochs)])
    order = order[: steps * batch_size].reshape(steps, batch_size)
    return jax.tree.map(lambda leaf: leaf[order], arrays)
