"""Every argument of every schedule, given what it cannot be."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lrjax
from lrjax import schedules as S  # noqa: N812

LINE = S.linear(0.1, 0.0, 10)
VALID = {
    S.constant: {"value": 0.1},
    S.linear: {"init_value": 0.1, "end_value": 0.0, "steps": 10},
    S.cosine: {"init_value": 0.1, "steps": 10, "end_value": 0.0},
    S.polynomial: {"init_value": 0.1, "end_value": 0.0, "steps": 10, "power": 2.0},
    S.exponential: {"init_value": 0.1, "decay_rate": 0.5, "steps": 10, "end_value": 0.01, "staircase": False},
    S.step_decay: {"init_value": 0.1, "step_size": 10, "decay_rate": 0.5},
    S.multistep: {"init_value": 0.1, "decay_rate": 0.5, "boundaries": [10, 20]},
    S.inverse_sqrt: {"peak_value": 0.1, "warmup_steps": 10, "timescale": 10, "init_value": 0.0},
    S.inverse_time: {"init_value": 0.1, "decay_rate": 0.5, "steps": 10, "staircase": False},
    S.cyclic: {"base_value": 0.1, "peak_value": 0.2, "up_steps": 10, "down_steps": 10, "decay_rate": 0.9},
    S.cosine_restarts: {
        "peak_value": 0.1,
        "cycle_steps": 10,
        "cycle_factor": 2,
        "peak_factor": 0.9,
        "end_value": 0.0,
    },
    S.warmup_cosine: {
        "peak_value": 0.1,
        "total_steps": 100,
        "warmup_steps": 10,
        "init_value": 0.0,
        "end_value": 0.0,
    },
    S.warmup_linear: {
        "peak_value": 0.1,
        "total_steps": 100,
        "warmup_steps": 10,
        "init_value": 0.0,
        "end_value": 0.0,
    },
    S.wsd: {
        "peak_value": 0.1,
        "total_steps": 100,
        "warmup_steps": 10,
        "decay_steps": 10,
        "decay": "linear",
        "init_value": 0.0,
        "end_value": 0.0,
    },
    S.wsd_cycles: {
        "peak_value": 0.1,
        "cycle_ends": [50, 100],
        "warmup_steps": 10,
        "decay_steps": 10,
        "decay": "linear",
        "init_value": 0.0,
        "end_value": 0.0,
    },
    S.one_cycle: {
        "peak_value": 0.1,
        "total_steps": 100,
        "peak_fraction": 0.3,
        "div_factor": 25.0,
        "final_div_factor": 1e4,
        "anneal": "cosine",
        "three_phase": False,
    },
    S.one_cycle_momentum: {
        "total_steps": 100,
        "max_value": 0.95,
        "base_value": 0.85,
        "peak_fraction": 0.3,
        "anneal": "cosine",
        "three_phase": False,
    },
    S.slanted_triangular: {"peak_value": 0.1, "total_steps": 100, "cut_fraction": 0.1, "ratio": 32.0},
    S.power: {
        "total_steps": 100,
        "batch_size": 8,
        "sequence_length": 64,
        "warmup_steps": 10,
        "decay_steps": 10,
        "a": 4.0,
        "b": -0.5,
        "max_value": 0.02,
        "end_value": 0.0,
        "decay": "linear",
    },
    S.infinite: {
        "peak_value": 0.1,
        "constant_value": 0.01,
        "warmup_steps": 10,
        "cosine_steps": 10,
        "init_value": 0.0,
    },
    S.interpolate: {"boundaries": [0, 10], "values": [0.1, 0.2], "shape": "linear"},
    S.join: {"schedules": [LINE, LINE], "boundaries": [10]},
    S.scale_by: {"schedule": LINE, "factor": 2.0},
    S.clamp: {"schedule": LINE, "min_value": 0.0, "max_value": 0.1},
    S.with_warmup: {"schedule": LINE, "warmup_steps": 10, "init_value": 0.0},
    S.with_cooldown: {"schedule": LINE, "start_step": 10, "decay_steps": 10, "decay": "linear", "end_value": 0.0},
    S.per_epoch: {"schedule": LINE, "steps_per_epoch": 10, "staircase": False},
    S.in_units: {"schedule": LINE, "units_per_step": 0.5, "staircase": False},
}
WRONG_NUMBERS = [
    (float("nan"), ValueError),
    (float("inf"), ValueError),
    (-float("inf"), ValueError),
    (1e39, ValueError),
    (10**400, ValueError),
    (np.ones(2), ValueError),
    (jnp.ones((1, 2)), ValueError),
    ("0.1", TypeError),
    ([0.1], TypeError),
    (True, TypeError),
    (np.bool_(True), TypeError),
    (1j, TypeError),
    (np.complex64(1), TypeError),
    (np.array("a"), TypeError),
    (object(), TypeError),
]
WRONG_COUNTS = [*WRONG_NUMBERS, (10.5, ValueError), (-1, ValueError), (-3.0, ValueError), (2**31, ValueError)]
WRONG_SHAPES = [("nonsense", ValueError), (3, TypeError), (None, TypeError)]
WRONG_FLAGS = [(1, TypeError), ("yes", TypeError), (None, TypeError), (np.bool_(True), TypeError)]
WRONG_SCHEDULES = [(0.1, TypeError), ("cosine", TypeError), (None, TypeError)]
WRONG_SEQUENCES = [(3, TypeError), ("ab", TypeError), (None, TypeError), ([], ValueError)]


def wrong_for(argument: str, valid: object) -> list[tuple[object, type[Exception]]]:
    if argument == "schedule":
        return WRONG_SCHEDULES
    if isinstance(valid, bool):
        return WRONG_FLAGS
    if isinstance(valid, str):
        return WRONG_SHAPES
    if isinstance(valid, list):
        return WRONG_SEQUENCES
    return WRONG_COUNTS if isinstance(valid, int) else [*WRONG_NUMBERS, *([(-1.0, ValueError)] if valid >= 0 else [])]


CALLS = [
    (factory, argument, bad, error)
    for factory, valid in VALID.items()
    for argument, value in valid.items()
    for bad, error in wrong_for(argument, value)
]


def test_every_schedule_is_in_the_table():
    assert {factory.__name__ for factory in VALID} == set(S.__all__)


@pytest.mark.parametrize("factory", VALID, ids=lambda factory: factory.__name__)
def test_the_valid_call_is_valid(factory):
    assert np.isfinite(factory(**VALID[factory])(np.arange(64))).all()


def test_wrong_arguments_are_named():
    for factory, argument, bad, error in CALLS:
        with pytest.raises(error) as caught:
            factory(**{**VALID[factory], argument: bad})
        message = str(caught.value)
        assert message.startswith(f"`{factory.__name__}({argument}"), (factory.__name__, argument, bad, message)
        assert " must be " in message
        assert "got " in message


RELATIONS = [
    (
        lambda: lrjax.wsd(0.1, 1000, warmup_steps=200, decay_steps=900),
        "`wsd(decay_steps=...)` must be at most total_steps - warmup_steps, got 900 with 1000 and 200",
    ),
    (
        lambda: lrjax.warmup_cosine(0.1, 100, warmup_steps=101),
        "`warmup_cosine(warmup_steps=...)` must be at most total_steps, got 101 with 100",
    ),
    (
        lambda: S.warmup_linear(0.1, 100, warmup_steps=101),
        "`warmup_linear(warmup_steps=...)` must be at most total_steps, got 101 with 100",
    ),
    (
        lambda: lrjax.power(100, batch_size=1, warmup_steps=60, decay_steps=60),
        "`power(decay_steps=...)` must be at most total_steps - warmup_steps, got 60 with 100 and 60",
    ),
    (
        lambda: S.wsd_cycles(0.1, [100, 110], warmup_steps=10, decay_steps=20),
        "`wsd_cycles(decay_steps=...)` must be at most cycle_ends[1] - cycle_ends[0], got 20 with 110 and 100",
    ),
    (
        lambda: S.wsd_cycles(0.1, [100, 90], warmup_steps=10, decay_steps=20),
        "`wsd_cycles(cycle_ends[1]=...)` must be at least cycle_ends[0], got 90 with 100",
    ),
    (
        lambda: lrjax.one_cycle(0.1, 100, peak_fraction=0.7, three_phase=True),
        "`one_cycle(peak_fraction=...)` must be at most 0.5, got 0.7",
    ),
    (
        lambda: lrjax.join([LINE, LINE], [1, 2]),
        "`join(boundaries=...)` must be one fewer than the schedules (1), got 2",
    ),
    (
        lambda: lrjax.join([LINE, LINE, LINE], [5, 2]),
        "`join(boundaries[1]=...)` must be at least boundaries[0], got 2 with 5",
    ),
    (lambda: lrjax.join([], []), "`join(schedules=...)` must be at least one schedule, got none"),
    (
        lambda: lrjax.join([LINE, 0.1], [5]),
        "`join(schedules[1]=...)` must be a function of the step, got 0.1 (float)",
    ),
    (
        lambda: S.interpolate([0, 10], [0.1]),
        "`interpolate(values=...)` must be one for each of the 2 boundaries, got 1",
    ),
    (lambda: S.clamp(LINE, 0.2, 0.1), "`clamp(max_value=...)` must be at least min_value, got 0.1 with 0.2"),
    (
        lambda: S.exponential(0.1, decay_rate=1.5, steps=10),
        "`exponential(decay_rate=...)` must be at most 1, got 1.5",
    ),
    (lambda: S.step_decay(0.1, 0), "`step_decay(step_size=...)` must be at least 1, got 0"),
    (
        lambda: S.cyclic(0.1, 0.2, 0, down_steps=0),
        "`cyclic(up_steps=...)` must be at least 1 where down_steps is 0, got 0",
    ),
    (
        lambda: S.cyclic(0.1, 0.2, 5, mode="square"),
        "`cyclic(mode=...)` must be one of 'triangular', 'triangular2', 'exp_range', got 'square'",
    ),
    (
        lambda: lrjax.wsd(0.1, 10.5, warmup_steps=0, decay_steps=0),
        "`wsd(total_steps=...)` must be a whole number, got 10.5",
    ),
    (lambda: lrjax.constant(-0.1), "`constant(value=...)` must be at least 0, got -0.1"),
    (lambda: lrjax.constant(float("nan")), "`constant(value=...)` must be finite in float32, got nan"),
    (
        lambda: lrjax.constant(np.ones(3)),
        "`constant(value=...)` must be a number (jax.vmap gives many at once), got an array of shape (3,)",
    ),
    (lambda: lrjax.constant("0.1"), "`constant(value=...)` must be a number, got '0.1' (str)"),
    (lambda: S.polynomial(0.1, 0.0, 10, power=0), "`polynomial(power=...)` must be greater than 0, got 0"),
    (
        lambda: lrjax.power(10, batch_size=1, warmup_steps=0, decay_steps=0, b=0.5),
        "`power(b=...)` must be less than 0, got 0.5",
    ),
]


@pytest.mark.parametrize(("call", "message"), RELATIONS, ids=lambda value: value if isinstance(value, str) else "")
def test_messages_in_full(call, message):
    with pytest.raises((ValueError, TypeError), match="^" + re.escape(message) + "$"):
        call()


@pytest.mark.parametrize("factory", VALID, ids=lambda factory: factory.__name__)
def test_traced_numbers_are_never_checked(factory):
    valid = VALID[factory]
    traced = {
        name: value for name, value in valid.items() if isinstance(value, int | float) and not isinstance(value, bool)
    }
    rest = {name: value for name, value in valid.items() if name not in traced}

    def values(numbers):
        return factory(**numbers, **rest)(jnp.arange(4))

    for wrong in (-1.0, float("nan"), 1e38):
        if traced:
            assert jax.eval_shape(values, dict.fromkeys(traced, wrong)).shape == (4,)


def test_whole_floats_are_counts_and_numpy_scalars_are_numbers():
    expected = lrjax.wsd(0.1, 10_000, warmup_steps=100, decay_steps=1000)(50)
    for peak in (np.float32(0.1), np.float64(0.1), jnp.float32(0.1), np.array(0.1)):
        assert float(lrjax.wsd(peak, 1e4, warmup_steps=np.int8(100), decay_steps=jnp.int32(1000))(50)) == float(
            expected
        )
