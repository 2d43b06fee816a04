"""Where in a run a schedule is asked: the step, clamped to what int32 holds."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lrjax import _checks
from lrjax.schedules import _pairs
from lrjax.schedules._pairs import Pair

_BELOW_MAX = float(np.nextafter(np.float32(2**31), np.float32(0)))


class Position(NamedTuple):
    """A point of the run: whole steps (int32, any shape) and, between two of them, the part in [0, 1)."""

    step: jax.Array | np.ndarray
    part: Pair | None = None

    @property
    def real(self) -> Pair:
        """Whole steps and part in one number."""
        return self._plus_part(_pairs.whole(self.step))

    def since(self, start: Pair) -> Pair:
        """Steps gone by since ``start``, negative before it."""
        return self._plus_part(_pairs.subtract(_pairs.whole(self.step), start))

    def until(self, stop: Pair) -> Pair:
        """Steps left to ``stop``, negative after it."""
        return _pairs.negative(self.since(stop))

    def counted_from(self, start: Any) -> Position:
        """The same point on the clock of a schedule that begins at ``start``."""
        return Position(_pairs.steps_since(self.step, start), self.part)

    def reached(self, start: Pair) -> jax.Array:
        """Whether the position is at ``start`` or after it."""
        return self.since(start).hi >= 0

    def _plus_part(self, number: Pair) -> Pair:
        return number if self.part is None else _pairs.add(number, self.part)


def position_of(step: Any) -> Position:
    """The position that the caller of a schedule means by ``step``."""
    if isinstance(step, Position):
        return step
    if isinstance(step, jax.Array):
        return Position(_clamped(step))
    if isinstance(step, int | float | np.generic | np.ndarray) and not isinstance(step, bool):
        return Position(_clamped_on_host(step))
    raise TypeError(f"schedule(step) takes an integer, a float or an array of them, got {_checks.shown(step)}")


def _clamped_on_host(step: float | np.generic | np.ndarray) -> np.ndarray:
    if isinstance(step, int):
        return np.asarray(min(max(step, 0), _checks.MAX_STEPS), np.int32)
    steps = np.asarray(step)
    if jnp.issubdtype(steps.dtype, np.floating):
        steps = steps.astype(np.float64)
        if np.isnan(steps).any():
            raise ValueError(f"schedule(step) must not be NaN, got {_checks.shown(step)}")
    elif not np.issubdtype(steps.dtype, np.integer):
        raise TypeError(f"schedule(step) takes integers or floats, got dtype {steps.dtype}")
    elif steps.dtype.itemsize < 4:
        steps = steps.astype(np.int32)
    clamped: np.ndarray = np.clip(steps, 0, _checks.MAX_STEPS).astype(np.int32)
    return clamped


def _clamped(step: jax.Array) -> jax.Array:
    if jnp.issubdtype(step.dtype, jnp.integer):
        if step.dtype.itemsize > 2:
            step = jnp.minimum(step, _checks.MAX_STEPS)
        return jnp.maximum(step, 0).astype(jnp.int32)
    if not jnp.issubdtype(step.dtype, jnp.floating):
        raise TypeError(f"schedule(step) takes integers or floats, got dtype {step.dtype}")
    step = step.astype(jnp.result_type(step.dtype, jnp.float32))
    inside = jnp.where(jnp.isnan(step), 0.0, jnp.clip(step, 0.0, _BELOW_MAX)).astype(jnp.int32)
    return jnp.where(step > _BELOW_MAX, _checks.MAX_STEPS, inside)
