"""reduce_on_plateau against torch's vectors, Python's float64 and installed optax."""

from __future__ import annotations

import json
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_plateau import EVALUATIONS, FILE, LEARNING_RATE, options
from torch_plateau import metrics as metrics_of
from transformations import specification, tree

from lrjax.monitors import PlateauState, reduce_on_plateau

VECTORS = json.loads(FILE.read_text())
NUMBERS = ("factor", "patience", "cooldown", "min_lr", "eps")


def states_along(plateau, values):
    """The states after each of the ``values``."""

    def step(state, value):
        _, state = plateau.update((), state, value=value)
        return state, state

    return jax.lax.scan(step, plateau.init(()), values)[1]


def state_after(plateau, values) -> PlateauState:
    return jax.tree.map(lambda leaf: leaf[-1], states_along(plateau, jnp.asarray(values)))


def test_the_vectors_are_those_of_the_table():
    assert [(vector["row"], vector["numbers"]) for vector in VECTORS] == options()
    assert FILE.stat().st_size < 300_000


def group(vector):
    return tuple(vector["numbers"][name] for name in ("mode", "threshold_mode", "threshold"))


@pytest.mark.parametrize(("mode", "threshold_mode", "threshold"), sorted({group(vector) for vector in VECTORS}))
def test_every_evaluation_is_judged_as_by_torch(mode, threshold_mode, threshold):
    """All numbers but the threshold traced, one lane for each vector."""
    vectors = [vector for vector in VECTORS if group(vector) == (mode, threshold_mode, threshold)]

    @jax.jit
    @jax.vmap
    def run(numbers, values):
        modes = {"mode": mode, "threshold_mode": threshold_mode, "threshold": threshold}
        return states_along(reduce_on_plateau(**modes, **numbers, learning_rate=LEARNING_RATE), values)

    numbers = {name: jnp.asarray([vector["numbers"][name] for vector in vectors]) for name in NUMBERS}
    states = run(numbers, jnp.stack([metrics_of(vector["row"], vector["numbers"]) for vector in vectors]))
    expected = np.asarray([vector["values"] for vector in vectors])
    bad, rates = expected[:, :EVALUATIONS], expected[:, EVALUATIONS:]
    np.testing.assert_array_equal(states.bad, bad)
    np.testing.assert_allclose(LEARNING_RATE * np.asarray(states.scale), rates, rtol=1e-6)
    before = np.concatenate([np.full((len(rates), 1), LEARNING_RATE), rates[:, :-1]], 1)
    np.testing.assert_array_equal(states.cuts, np.cumsum(rates < before, 1))
    assert (rates[:, -1] < LEARNING_RATE).sum() > len(rates) // 2


def judged(values, **arguments):
    """For every pair of a best and an evaluation, whether the second improves on the first."""
    run = jax.jit(jax.vmap(lambda pair: state_after(reduce_on_plateau(**arguments), pair).bad == 0))
    return np.asarray(run(values))


def around(bounds):
    """The float32 nearest to every bound, its neighbours, and theirs."""
    nearest = bounds.astype(np.float32)
    above, below = np.nextafter(nearest, np.float32(np.inf)), np.nextafter(nearest, np.float32(-np.inf))
    return np.stack([nearest, above, below, np.nextafter(above, np.float32(np.inf))])


@pytest.mark.parametrize(("mode", "threshold"), [("min", 1e-4), ("min", 0.1), ("min", 11 / 75), ("max", 1 / 3)])
def test_at_the_bound_float32_decides_as_python_does(mode, threshold):
    """Where best * (1 - threshold) falls on a float32, or on one but for the rounding of float64.

    At -75 and 11 / 75 it is the power of two -64, whose neighbours are not equally far; at 3 * 2**22 and 1 / 3 it lies
    just in the middle of two numbers.
    """
    draws = np.random.default_rng(0)
    whole = np.arange(1, 2001) * 10.0 ** draws.integers(-3, 4, 2000)
    wide = draws.normal(size=2000) * 10.0 ** draws.uniform(-28, 36, 2000)
    middle = 3.0 * (2**22 + np.arange(-50, 50))
    best = np.concatenate([whole, -whole, wide, middle]).astype(np.float32)
    ratio = 1.0 - threshold if mode == "min" else threshold + 1.0
    bound = best.astype(np.float64) * ratio
    evaluations = around(bound)
    better = evaluations < bound if mode == "min" else evaluations > bound
    pairs = np.stack(np.broadcast_arrays(best, evaluations), -1).reshape(-1, 2)
    np.testing.assert_array_equal(judged(pairs, mode=mode, threshold=threshold), better.ravel())
    naive = evaluations < best * np.float32(ratio) if mode == "min" else evaluations > best * np.float32(ratio)
    assert (naive != better).any()


@pytest.mark.parametrize(("mode", "threshold_mode"), [("min", "rel"), ("max", "rel"), ("max", "abs")])
def test_a_traced_threshold_is_exact_too(mode, threshold_mode):
    draws = np.random.default_rng(1)
    best, thresholds = draws.normal(size=500).astype(np.float32), draws.uniform(0, 0.3, 500).astype(np.float32)
    away = thresholds.astype(np.float64) if mode == "min" else -thresholds.astype(np.float64)
    bound = best.astype(np.float64) * (1.0 - away) if threshold_mode == "rel" else best.astype(np.float64) - away
    evaluations = around(bound)
    better = evaluations < bound if mode == "min" else evaluations > bound

    @jax.jit
    @jax.vmap
    def run(pair, threshold):
        plateau = reduce_on_plateau(mode=mode, threshold=threshold, threshold_mode=threshold_mode)
        return state_after(plateau, pair).bad == 0

    pairs = np.stack(np.broadcast_arrays(best, evaluations), -1).reshape(-1, 2)
    np.testing.assert_array_equal(run(pairs, np.tile(thresholds, 4)), better.ravel())


@pytest.mark.usefixtures("x64")
def test_float64_metrics_are_compared_in_float64():
    best = np.random.default_rng(0).normal(size=1000)
    bound = best * (1.0 - 0.1)
    evaluations = np.stack([bound, np.nextafter(bound, np.inf), np.nextafter(bound, -np.inf)])
    pairs = np.stack(np.broadcast_arrays(best, evaluations), -1).reshape(-1, 2)
    np.testing.assert_array_equal(judged(pairs, threshold=0.1), (evaluations < bound).ravel())
    plateau = reduce_on_plateau(factor=0.5, patience=0)
    updates, state = plateau.update({"w": jnp.ones(2)}, plateau.init(()), value=jnp.float32(1.0))
    assert (state.best.dtype, state.scale.dtype, updates["w"].dtype) == (jnp.float64, jnp.float32, jnp.float64)
    assert specification(state) == specification(plateau.init(()))


@pytest.mark.parametrize(
    ("mode", "values", "bad"),
    [
        # first - best is 0, 0, 10, 10, 10, 15, 15; a tenth of it must be exceeded.
        ("min", [5.0, -5.0, -6.0, -5.5, -10.0, -11.5, -11.6], [0, 0, 1, 2, 0, 1, 0]),
        ("max", [-5.0, 5.0, 6.0, 5.5, 10.0, 11.5, 11.6], [0, 0, 1, 2, 0, 1, 0]),
        # Until something has improved the way is 0, whatever came above it.
        ("min", [1.0, 9.0, 0.99, 0.98], [0, 1, 0, 0]),
        # Nothing that is not finite begins the way, or lengthens it.
        ("min", [math.inf, math.nan, 4.0, 3.0, math.nan, 2.95, 2.85], [1, 2, 0, 0, 1, 2, 0]),
        ("min", [4.0, 3.0, -math.inf, 2.0], [0, 0, 0, 1]),
    ],
)
def test_a_range_is_the_way_from_the_first_to_the_best(mode, values, bad):
    plateau = reduce_on_plateau(mode=mode, threshold=0.1, threshold_mode="range")
    assert states_along(plateau, jnp.asarray(values)).bad.tolist() == bad


in_range = jax.jit(
    lambda values: states_along(reduce_on_plateau(0.5, 2, threshold=0.0625, threshold_mode="range"), values)
)


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.integers(-300, 300), min_size=16, max_size=16),
    shift=st.integers(-5000, 5000),
    exponent=st.integers(-40, 40),
)
def test_a_range_knows_neither_origin_nor_unit(values, shift, exponent):
    values = np.asarray(values, np.float32)
    here, there = in_range(values), in_range((values + shift) * np.float32(2.0**exponent))
    for field in ("scale", "bad", "cuts"):
        np.testing.assert_array_equal(getattr(here, field), getattr(there, field))


def test_negative_losses_need_another_mode_than_rel():
    """Slightly worse each time: rel takes that for an improvement, in torch and in optax too."""
    values = jnp.linspace(-1.0, -0.999, 30)
    for threshold_mode, cuts in (("rel", 0), ("abs", 9), ("range", 9)):
        plateau = reduce_on_plateau(patience=2, eps=0.0, threshold=1e-3, threshold_mode=threshold_mode)
        assert int(state_after(plateau, values).cuts) == cuts


OPTAX = [
    {"factor": 0.5, "patience": 1, "cooldown": 0, "accumulation_size": 1},
    {"factor": 0.1, "patience": 3, "cooldown": 2, "accumulation_size": 1},
    {"factor": 0.5, "patience": 2, "cooldown": 1, "accumulation_size": 2},
]


@jax.jit
def ours_and_optax(values):
    """The scales of both for all settings: with a threshold of 1/16 integers, and means of two, are compared exactly in either."""
    pairs = []
    for arguments in OPTAX:
        ours = reduce_on_plateau(
            **arguments, threshold=0.0625, cut_at_patience=True, learning_rate=1.0, min_lr=0.03, eps=0.0
        )
        theirs = optax.contrib.reduce_on_plateau(**arguments, rtol=0.0625, min_scale=0.03)

        def step(state, value, theirs=theirs):
            _, state = theirs.update((), state, value=value)
            return state, state.scale

        start = theirs.init(jnp.zeros(()))
        pairs.append((states_along(ours, values).scale, jax.lax.scan(step, start, values)[1]))
    return pairs


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-40, 40).map(lambda number: 4 * number), min_size=48, max_size=48))
def test_cut_at_patience_is_optax(values):
    for ours, theirs in ours_and_optax(np.asarray(values, np.float32)):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_cut_at_patience_is_one_evaluation_before_torch():
    """Of equal values the first is the best, and torch tolerates two: it cuts at the fourth."""
    plateau = reduce_on_plateau(0.5, 2, cut_at_patience=True)
    assert states_along(plateau, jnp.ones(5)).scale.tolist() == [1, 1, 0.5, 0.5, 0.25]


def test_an_evaluation_is_the_mean_of_its_values():
    """Means of large losses that differ little, against sums without rounding; NaN and inf make a mean of their kind."""
    values = (1e3 + np.random.default_rng(0).normal(size=(8, 500))).astype(np.float32)
    values[:, 0] = 0.0  # the others' differences from it add up to 500,000
    means = np.asarray([math.fsum(row) / 500 for row in values.astype(np.float64)])
    arguments = {"threshold": 0.0, "patience": 0, "factor": 0.5}
    states = states_along(reduce_on_plateau(**arguments, accumulation_size=500), values.ravel())
    best = np.minimum.accumulate(means)
    np.testing.assert_allclose(states.best[499::500], best, rtol=2**-23)
    alone = states_along(reduce_on_plateau(**arguments), means.astype(np.float32))
    np.testing.assert_array_equal(states.scale[499::500], alone.scale)
    np.testing.assert_array_equal(states.mean.values[:501], [*range(1, 500), 0, 1])
    assert set(np.flatnonzero(np.diff(states.scale)) + 1) <= set(range(499, 4000, 500))

    spoilt = np.ones((5, 3), np.float32)
    spoilt[1:4, 1] = np.nan, np.inf, -np.inf
    states = states_along(reduce_on_plateau(accumulation_size=3), spoilt.ravel())
    assert states.bad[2::3].tolist() == [0, 1, 2, 0, 1]
    assert states.best[2::3].tolist() == [1, 1, 1, -math.inf, -math.inf]


@settings(max_examples=30, deadline=None)
@given(value=st.floats(-(2.0**100), 2.0**100, width=32).filter(lambda value: value == 0 or abs(value) > 1e-30))
def test_the_mean_of_equal_values_is_that_value(value):
    assert float(mean_of_seven(np.full(7, value, np.float32)).best) == value


mean_of_seven = jax.jit(lambda values: state_after(reduce_on_plateau(accumulation_size=7), values))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.complex64])
def test_updates_are_scaled_and_keep_their_dtype(dtype):
    params, grads = tree(dtype), tree(dtype, 1)
    plateau = reduce_on_plateau(0.3, 0)
    state = start = plateau.init(params)
    for value, scale in ((1.0, 1.0), (2.0, 0.3)):
        updates, state = plateau.update(grads, state, params, value=jnp.asarray(value, jnp.bfloat16))
        assert specification(state) == specification(start)
        assert specification(updates) == specification(grads)
        wide = np.complex128 if dtype == jnp.complex64 else np.float64
        for name in ("weight", "bias", "scale"):
            expected = (np.asarray(grads[name], wide) * scale).astype(np.asarray(grads[name]).dtype)
            np.testing.assert_allclose(
                np.asarray(updates[name], wide), np.asarray(expected, wide), rtol=float(jnp.finfo(dtype).eps)
            )
    assert start.scale.dtype == start.best.dtype == jnp.float32
    assert plateau.update({}, start, value=0)[0] == {}


def test_behind_an_optimizer_it_scales_the_rate():
    params, grads = jnp.ones(3), jnp.arange(3.0)
    plain, chained = optax.sgd(1e-2, 0.9), optax.chain(optax.sgd(1e-2, 0.9), reduce_on_plateau(0.5, 0))
    state, states = plain.init(params), chained.init(params)
    for value, scale in ((1.0, 1.0), (1.0, 0.5), (0.5, 0.5), (0.6, 0.25)):
        expected, state = plain.update(grads, state, params)
        updates, states = chained.update(grads, states, params, value=value)
        np.testing.assert_allclose(updates, scale * expected, rtol=1e-6)
    assert float(states[1].scale) == 0.25


def test_lanes_jit_and_eager_agree():
    values = jnp.float32([2.0, 2.0, 2.0])
    factors, patiences = jnp.float32([0.1, 0.5]), jnp.int32([0, 1])
    lanes = jax.jit(jax.vmap(lambda f, p: states_along(reduce_on_plateau(f, p, cooldown=1), values)))
    together = lanes(factors, patiences)
    for lane in range(2):
        plateau = reduce_on_plateau(float(factors[lane]), int(patiences[lane]), cooldown=1)
        state = plateau.init(())
        with jax.disable_jit(disable=lane == 0):
            for value in values:
                _, state = plateau.update((), state, value=float(value))
        last = jax.tree.map(lambda leaf, i=lane: leaf[i, -1], together)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), state, last)
        assert float(state.scale) < 1.0


NUMBER = "must be a number, got"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"factor": 1.0}, ValueError, "factor=...)` must be less than 1, got 1.0"),
        ({"factor": 0}, ValueError, "factor=...)` must be greater than 0, got 0"),
        ({"factor": "half"}, TypeError, f"factor=...)` {NUMBER} 'half' (str)"),
        ({"patience": -1}, ValueError, "patience=...)` must be at least 0, got -1"),
        ({"patience": 1.5}, ValueError, "patience=...)` must be a whole number, got 1.5"),
        (
            {"patience": 0, "cut_at_patience": True},
            ValueError,
            "patience=...)` must be at least 1 with cut_at_patience=True, got 0",
        ),
        ({"mode": "up"}, ValueError, "mode=...)` must be one of 'min', 'max', got 'up'"),
        ({"mode": None}, TypeError, "mode=...)` must be one of 'min', 'max', got None (NoneType)"),
        ({"threshold": -1e-4}, ValueError, "threshold=...)` must be at least 0, got -0.0001"),
        ({"threshold": 1}, ValueError, "threshold=...)` must be less than 1, got 1"),
        (
            {"threshold_mode": "relative"},
            ValueError,
            "threshold_mode=...)` must be one of 'rel', 'abs', 'range', got 'relative'",
        ),
        ({"cooldown": -2}, ValueError, "cooldown=...)` must be at least 0, got -2"),
        ({"learning_rate": 0.0}, ValueError, "learning_rate=...)` must be greater than 0, got 0.0"),
        ({"learning_rate": optax.constant_schedule(1)}, TypeError, f"learning_rate=...)` {NUMBER} <function"),
        ({"min_lr": -1e-6, "learning_rate": 0.1}, ValueError, "min_lr=...)` must be at least 0, got -1e-06"),
        (
            {"min_lr": 1e-5},
            ValueError,
            "min_lr=...)` must be 0 without learning_rate=, the rate before any cut (1.0 for a scale), got 1e-05",
        ),
        ({"eps": math.nan}, ValueError, "eps=...)` must be finite in float32, got nan"),
        ({"accumulation_size": 0}, ValueError, "accumulation_size=...)` must be at least 1, got 0"),
        ({"cut_at_patience": 1}, TypeError, "cut_at_patience=...)` must be True or False, got 1 (int)"),
    ],
    ids=lambda value: value.split("=")[0] + value[-12:] if isinstance(value, str) else "",
)
def test_wrong_calls_are_refused_by_name(arguments, error, message):
    with pytest.raises(error, match="^" + re.escape(f"`reduce_on_plateau({message}")):
        reduce_on_plateau(**arguments)


def test_an_absolute_threshold_may_be_large():
    assert int(state_after(reduce_on_plateau(threshold=5.0, threshold_mode="abs"), [9.0, 5.0]).bad) == 1


def test_updates_without_a_metric_are_told_how_to_pass_one():
    optimizer = optax.chain(optax.sgd(0.1), reduce_on_plateau())
    state = optimizer.init(jnp.ones(2))
    with pytest.raises(ValueError, match=r"needs the metric: call update\(grads, state, params, value=loss\)$"):
        optimizer.update(jnp.ones(2), state)
    with pytest.raises(ValueError, match=r"`reduce_on_plateau.update\(value=...\)` must be a scalar, got an array of"):
        optimizer.update(jnp.ones(2), state, value=jnp.ones(3))
