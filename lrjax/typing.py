"""The types that lrjax's functions take and return."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import optax
from jax.typing import ArrayLike

PyTree: TypeAlias = Any
"""Any nesting of containers that JAX knows, arrays at its leaves."""

Schedule: TypeAlias = Callable[[ArrayLike], jax.Array]
"""The hyperparameter at a 0-based step: any shape of steps in, the same shape of floats out."""

ScalarOrSchedule: TypeAlias = ArrayLike | Schedule
"""A number, a traced scalar, or a schedule."""

LossFn: TypeAlias = Callable[..., Any]
"""``loss_fn(params, batch)``, with ``state=`` and ``rng=`` where the run has them."""

OptimizerFactory: TypeAlias = Callable[[Any], optax.GradientTransformation]
"""A function of the learning rate that builds the optimizer, such as ``optax.adamw``."""

__all__ = ["LossFn", "OptimizerFactory", "PyTree", "ScalarOrSchedule", "Schedule"]
