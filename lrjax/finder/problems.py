"""A model and its loss as the functions and pytrees that a test takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax

from lrjax.typing import LossFn, PyTree


class Problem(NamedTuple):
    """What to train: hand the fields to ``range_test`` under their names.

    Attributes:
        loss_fn: ``loss_fn(params, batch[, state=][, rng=])``.
        params: A pytree of arrays, or ``init(key) -> params``.
        model_state: What the loss carries from step to step besides the parameters, or None.
        evaluate: ``evaluate(params, batch[, state=])``, the loss in evaluation mode.
    """

    loss_fn: LossFn
    params: PyTree | Callable[[jax.Array], PyTree]
    model_state: PyTree
    evaluate: LossFn
