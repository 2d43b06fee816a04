"""Gradients of every schedule by its values, against differences of the reference in extended precision."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from schedule_table import CASES, VARIANTS, Case

MOVES_A_KINK = {"peak_fraction", "cut_fraction", "units_per_step"}
"""These shift a boundary: beside it the difference quotient crosses a kink."""
JUMPS_AT_ZERO = {("power", "end_value"), ("wsd exponential to zero", "end_value"), ("wsd inverse to zero", "end_value")}
"""At an end of 0 these shapes change their curvature, so that there is no difference quotient."""


AT_ZERO = [case for case in VARIANTS if 0.0 in case.values.values()]


def steps_of(case: Case) -> np.ndarray:
    """Every phase, every boundary and its neighbours, the start and what lies beyond the end."""
    edges = [edge + offset for edge in case.counts.values() for offset in (-1, 0, 1)]
    edges += [1000 - edge for edge in case.counts.values()]
    steps = np.asarray([0, 1, 5, 150, 333, 640, 850, 950, 999, 1000, 1001, 5000, *edges])
    return np.resize(np.clip(steps, 0, 5000), 32)


@pytest.mark.parametrize("case", [*CASES, *AT_ZERO], ids=lambda case: case.name)
def test_gradients_are_finite_and_right(case: Case):
    steps = steps_of(case)
    values = {name: float(np.float32(v)) for name, v in case.values.items() if not isinstance(v, int)}
    by_value = jax.vmap(jax.grad(lambda values, step: case.schedule(**values)(step)), (None, 0))
    with jax.disable_jit():  # the same operations one by one: nothing to compile for each schedule
        gradients = by_value({name: jnp.float32(value) for name, value in values.items()}, steps)
    for name, value in values.items():
        gradient = np.asarray(gradients[name])
        assert np.isfinite(gradient).all(), name
        if name in MOVES_A_KINK or (case.name, name) in JUMPS_AT_ZERO:
            continue
        h = np.longdouble(1e-7) * (value or 1)
        above, below = (case.expected(steps, **{name: np.longdouble(value) + s * h}) for s in (1, -1))
        quotient = ((above - below) / (2 * h)).astype(np.float64)
        np.testing.assert_allclose(gradient, quotient, rtol=2e-4, atol=2e-5 * np.abs(quotient).max(), err_msg=name)
