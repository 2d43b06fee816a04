"""What ``record`` keeps of a run."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import optax


class RecordState(NamedTuple):
    """The state of ``record``: float32 and int32 scalars, and the inner state; norms are 0 before the first step.

    Attributes:
        step: Updates seen, int32; the last one's 0-based index is ``step - 1``.
        learning_rate: The rate that the last applied update had, before the first the one it will have: a scalar, or
            a dict by label where the inner optimizer has groups; None where nothing tells it.
        gradient_norm: Norm of the last gradient as it came, before any clipping; inf or NaN if it was not finite.
        update_norm: Norm of the last measured update, the rate included.
        parameter_norm: Norm of the parameters before that update.
        update_ratio: ``update_norm / parameter_norm``, 0 where the update is; about 1e-3 in many healthy runs.
        nonfinite: Updates whose gradient had a non-finite entry, int32.
        average_gradient_norm: Exponential average of ``gradient_norm`` over the measured steps; steps in which it or
            ``update_ratio`` is not finite are left out.
        average_update_ratio: The same of ``update_ratio``.
        average_weight: The share of the averages that measurements have filled, 1 in the long run: both are
            corrected by it already.
        inner: The inner optimizer's own state.
    """

    step: jax.Array
    learning_rate: Any
    gradient_norm: jax.Array
    update_norm: jax.Array
    parameter_norm: jax.Array
    update_ratio: jax.Array
    nonfinite: jax.Array
    average_gradient_norm: jax.Array
    average_update_ratio: jax.Array
    average_weight: jax.Array
    inner: optax.OptState

    @property
    def metrics(self) -> dict[str, jax.Array]:
        """Names and scalars for a logger; the rate of a group is ``learning_rate/label``, an unknown one left out."""
        rates = jax.tree.leaves_with_path({"learning_rate": self.learning_rate})
        return {"/".join(str(key.key) for key in path): rate for path, rate in rates} | {
            "gradient_norm": self.gradient_norm,
            "update_norm": self.update_norm,
            "parameter_norm": self.parameter_norm,
            "update_ratio": self.update_ratio,
            "nonfinite": self.nonfinite,
            "average_gradient_norm": self.average_gradient_norm,
            "average_update_ratio": self.average_update_ratio,
        }
