"""Rates at other batch sizes, and the noise scale against closed forms."""

from __future__ import annotations

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrjax.scaling import AdamScaling, NoiseScale, effective_learning_rate, gradient_noise_scale, scale_learning_rate

BY_HAND = [
    ({}, 256, 1024, 2.0),
    ({}, 1024, 256, 0.5),
    ({}, 256, 65536, 16.0),
    ({"optimizer": "lion"}, 64, 576, 3.0),
    ({"optimizer": "rmsprop"}, 64, 576, 3.0),
    ({"optimizer": "lamb"}, 512, 32768, 8.0),
    ({"rule": "linear"}, 256, 1024, 4.0),
    ({"rule": "linear"}, 256, 32768, 128.0),
    ({"rule": "sqrt", "optimizer": "sgd"}, 256, 1024, 2.0),
    ({"optimizer": "sgd"}, 256, 128, 0.5),
    ({"optimizer": "sgd"}, 256, 8192, 32.0),
    ({"optimizer": "sgd"}, 256, 32768, 64.0),  # 32 to 8192, then 2
    ({"optimizer": "sgd"}, 32768, 256, 1 / 64),
    ({"optimizer": "sgd"}, 32768, 131072, 2.0),
    ({"optimizer": "sgd_momentum"}, 16384, 4096, 1 / math.sqrt(8)),
    ({"rule": "critical", "noise_scale": 1000, "optimizer": "sgd"}, 100, 1000, 5.5),  # 11 / 2
    ({"rule": "critical", "noise_scale": 1000}, 100, 1000, math.sqrt(5.5)),
    ({"rule": "critical", "noise_scale": 1000}, 1000, 100, 1 / math.sqrt(5.5)),
    ({"rule": "critical", "noise_scale": 0.0}, 100, 1000, 1.0),
    ({"rule": "critical", "noise_scale": 1e30, "optimizer": "sgd"}, 100, 700, 7.0),
]


@pytest.mark.parametrize(("options", "base", "batch", "factor"), BY_HAND)
def test_the_rules_by_hand(options, base, batch, factor):
    rate = scale_learning_rate(0.01, base, batch, **options)
    assert type(rate) is float
    assert rate == pytest.approx(0.01 * factor, rel=1e-12)

    @jax.jit
    @jax.vmap
    @jax.value_and_grad
    def traced(learning_rate, base, batch):
        return scale_learning_rate(learning_rate, base, batch, **options)

    rates, slopes = traced(jnp.full(2, 0.01), jnp.array([base, batch]), jnp.array([batch, batch]))
    assert rates.dtype == jnp.float32
    np.testing.assert_allclose(rates, [0.01 * factor, 0.01], rtol=1e-6)
    np.testing.assert_allclose(slopes, [factor, 1.0], rtol=1e-6)


@pytest.mark.parametrize(
    ("batch", "expected"),
    [
        (1024, (2e-3, 0.6, 0.996, 5e-9)),
        (64, (5e-4, 0.975, 0.99975, 2e-8)),
        (2560, (1e-3 * 10**0.5, 0, 0.99, 1e-8 / 10**0.5)),
    ],
)
def test_adam_sde_by_hand(batch, expected):
    scaled = scale_learning_rate(1e-3, 256, batch, rule="adam_sde")
    assert isinstance(scaled, AdamScaling)
    assert all(type(value) is float for value in scaled)
    np.testing.assert_allclose(scaled, expected, rtol=1e-9, atol=1e-12)
    assert 0 <= scaled.b1 < 1
    traced = jax.jit(lambda batch: scale_learning_rate(1e-3, 256, batch, rule="adam_sde"))(batch)
    assert all(value.dtype == jnp.float32 for value in traced)
    np.testing.assert_allclose(traced, expected, rtol=1e-6, atol=1e-6)


def test_adam_sde_ends_where_the_momentum_does():
    assert scale_learning_rate(1.0, 1, 20, rule="adam_sde", b1=0.95).b1 == 0.0  # 1 - 20 * (1 - 0.95) is -9e-16
    message = (
        "`scale_learning_rate(batch_size=...)` must be at most 20 for base_batch_size=1 and b1=0.95, as kappa = "
        "batch_size / base_batch_size is at most 1 / (1 - b1) = 20, got 21 (kappa = 21)"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        scale_learning_rate(1.0, 1, 21, rule="adam_sde", b1=0.95)
    with pytest.raises(ValueError, match=r"at most 100 for base_batch_size=10 and b2=0\.9, as kappa .* got 101"):
        scale_learning_rate(1.0, 10, 101, rule="adam_sde", b1=0.0, b2=0.9)
    with pytest.raises(ValueError, match=r"at least 30 for base_batch_size=1000000 and b2=0\.999, as b2 is below 1"):
        scale_learning_rate(1.0, 10**6, 29, rule="adam_sde")
    assert np.float32(scale_learning_rate(1.0, 10**6, 30, rule="adam_sde").b2) < 1


def test_adam_sde_without_a_first_moment_is_the_rule_of_rmsprop():
    scaled = scale_learning_rate(1e-3, 256, 25600, rule="adam_sde", b1=0.0)
    np.testing.assert_allclose(scaled, (1e-2, 0.0, 0.9, 1e-9), rtol=1e-12)


def test_traced_values_out_of_the_sde_s_regime_give_nan():
    decays = jax.vmap(lambda batch: scale_learning_rate(1e-3, 1, batch, rule="adam_sde").b1)(jnp.array([1, 5, 10, 11]))
    np.testing.assert_allclose(decays, [0.9, 0.5, 0.0, np.nan], atol=1e-6)


def test_adam_sde_fills_optax_s_arguments():
    scaled = scale_learning_rate(optax.linear_schedule(1e-3, 0.0, 10), 256, 1024, rule="adam_sde", b1=0.95)
    ours = optax.adamw(*scaled)
    expected = optax.adamw(optax.linear_schedule(2e-3, 0.0, 10), b1=0.8, b2=0.996, eps=5e-9)
    params = jnp.array([1.0, -2.0])
    (first, mine), (second, theirs) = (
        optimizer.update(2 * params, optimizer.init(params), params) for optimizer in (ours, expected)
    )
    np.testing.assert_allclose(first, second, rtol=1e-6)
    np.testing.assert_allclose(mine[0].mu, theirs[0].mu, rtol=1e-6)


WALKS = {
    "sgd": (lambda rate, _: optax.sgd(rate), {"optimizer": "sgd"}),
    "lion": (lambda rate, _: optax.lion(rate, b2=0.9, weight_decay=0.0), {"optimizer": "lion"}),
    "rmsprop": (lambda rate, batch: optax.rmsprop(rate, decay=1 - 0.01 * batch), {"optimizer": "rmsprop"}),
    "adam": (lambda scaled, _: optax.adam(*scaled), {"rule": "adam_sde", "b2": 0.99}),
}


@pytest.mark.parametrize(("build", "options"), WALKS.values(), ids=WALKS.keys())
def test_a_noisy_walk_is_the_same_after_as_many_examples(build, options):
    """Where noise dominates, each optimizer's rule keeps both the drift and the spread of the parameters."""

    def walk(batch, steps):
        optimizer = build(scale_learning_rate(0.01, 1, batch, **options), batch)

        def step(carry, key):
            params, state = carry
            gradient = 0.02 + jax.random.normal(key, params.shape) / jnp.sqrt(batch)
            updates, state = optimizer.update(gradient, state, params)
            return (optax.apply_updates(params, updates), state), None

        start = jnp.zeros(4000)
        return jax.lax.scan(step, (start, optimizer.init(start)), jax.random.split(jax.random.key(batch), steps))[0][0]

    base, large = jax.jit(lambda: (walk(1, 2000), walk(4, 500)))()
    assert float(large.mean() / base.mean()) == pytest.approx(1, abs=0.08)
    assert float(large.std() / base.std()) == pytest.approx(1, abs=0.08)


RULES = [
    {"rule": "linear"},
    {"rule": "sqrt"},
    {"optimizer": "sgd"},
    {"optimizer": "adam"},
    {"rule": "critical", "noise_scale": 700.0},
    {"rule": "critical", "noise_scale": 700.0, "optimizer": "sgd"},
]
sizes = st.integers(1, 10**6)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(RULES), sizes, sizes, sizes)
def test_a_detour_changes_nothing_and_larger_batches_get_larger_rates(options, first, second, third):
    there = scale_learning_rate(0.1, first, second, **options)
    assert scale_learning_rate(there, second, third, **options) == pytest.approx(
        scale_learning_rate(0.1, first, third, **options), rel=1e-12
    )
    assert scale_learning_rate(0.1, first, first, **options) == 0.1
    low, high = sorted([second, third])
    rates = [scale_learning_rate(0.1, first, batch, **options) for batch in (low, high)]
    assert rates[0] < rates[1] or (low, rates[0]) == (high, rates[1])
    linear = [scale_learning_rate(0.1, first, batch, rule="linear") for batch in (low, high)]
    assert rates[1] / rates[0] <= linear[1] / linear[0] * (1 + 1e-12)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 100), st.integers(1, 100), st.floats(0.0, 0.5), st.floats(0.9, 0.999))
def test_adam_sde_comes_back(ratio, base, b1, b2):
    b1 = 1 - (1 - b1) / (2 * ratio)  # so that the momentum lasts
    b2 = 1 - (1 - b2) / ratio
    there = scale_learning_rate(1e-3, base, ratio * base, rule="adam_sde", b1=b1, b2=b2)
    assert 0 < there.b1 < 1
    assert 0 < there.b2 < 1
    rate, *decays = there
    back = scale_learning_rate(
        rate, ratio * base, base, rule="adam_sde", **dict(zip(("b1", "b2", "eps"), decays, strict=True))
    )
    np.testing.assert_allclose(back, (1e-3, b1, b2, 1e-8), rtol=1e-12)


@pytest.mark.parametrize("schedule", [optax.cosine_decay_schedule(0.1, 100), optax.constant_schedule(0.1)])
def test_a_schedule_is_scaled_step_by_step(schedule):
    scaled = scale_learning_rate(schedule, 256, 1024)
    steps = jnp.array([[0, 10], [50, 200]])
    expected = np.array([[2 * float(schedule(int(step))) for step in row] for row in steps])
    np.testing.assert_allclose(scaled(steps), expected, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(jax.jit(scaled)(steps), expected, rtol=1e-6, atol=1e-9)
    assert (scaled(steps).dtype, scaled(0).shape) == (jnp.float32, ())
    traced = jax.jit(lambda batch, step: scale_learning_rate(schedule, 256, batch)(step))(1024, 50)
    np.testing.assert_allclose(traced, expected[1, 0], rtol=1e-6, atol=1e-9)


def test_jax_arrays_give_arrays_and_half_precision_is_widened():
    for rate, batch in ((jnp.float32(0.5), 4), (0.5, jnp.array(4)), (jnp.bfloat16(0.5), np.int64(4))):
        scaled = scale_learning_rate(rate, 1, batch)
        assert (scaled.dtype, scaled.weak_type, float(scaled)) == (jnp.float32, False, 1.0)
    halved = jax.jit(lambda rate: scale_learning_rate(rate, 1, 3))(jnp.bfloat16(0.5))
    assert halved.dtype == jnp.float32
    assert float(halved) == pytest.approx(0.5 * 3**0.5, rel=1e-6)
    assert type(scale_learning_rate(np.float32(0.5), np.int32(1), 4.0)) is float


@pytest.mark.usefixtures("x64")
def test_with_x64_arrays_are_float64():
    scaled = jax.jit(lambda rate: scale_learning_rate(rate, 1, 3))(0.5)
    assert scaled.dtype == jnp.float64
    assert float(scaled) == pytest.approx(0.5 * 3**0.5, rel=1e-15)


NAMES = (
    "'sgd', 'sgd_momentum', 'adam', 'adamw', 'amsgrad', 'lamb', 'lion', 'nadam', 'nadamw', 'rmsprop', "
    "'schedule_free_adamw'"
)
BAD_SCALING = [
    ({"learning_rate": "fast"}, TypeError, "`scale_learning_rate(learning_rate=...)` must be a number, got 'fast' (str)"),
    ({"learning_rate": -0.1}, ValueError, "`scale_learning_rate(learning_rate=...)` must be at least 0, got -0.1"),
    ({"learning_rate": np.nan}, ValueError, "`scale_learning_rate(learning_rate=...)` must be finite in float32, got nan"),
    ({"learning_rate": jnp.ones(2)}, ValueError, "`scale_learning_rate(learning_rate=...)` must be a number (jax.vmap gives many at once), got an array of shape (2,)"),
    ({"base_batch_size": 0}, ValueError, "`scale_learning_rate(base_batch_size=...)` must be at least 1, got 0"),
    ({"base_batch_size": None}, TypeError, "`scale_learning_rate(base_batch_size=...)` must be a whole number, got None (NoneType)"),
    ({"batch_size": 10.5}, ValueError, "`scale_learning_rate(batch_size=...)` must be a whole number, got 10.5"),
    ({"batch_size": -4}, ValueError, "`scale_learning_rate(batch_size=...)` must be at least 1, got -4"),
    ({"rule": "cubic"}, ValueError, "`scale_learning_rate(rule=...)` must be one of 'auto', 'linear', 'sqrt', 'adam_sde', 'critical', got 'cubic'"),
    ({"optimizer": "adamax"}, ValueError, f"`scale_learning_rate(optimizer=...)` must be one of {NAMES}, got 'adamax'"),
    ({"optimizer": None}, TypeError, f"`scale_learning_rate(optimizer=...)` must be one of {NAMES}, got None (NoneType)"),
    ({"rule": "adam_sde", "optimizer": "sgd"}, ValueError, "`scale_learning_rate(rule=...)` must be one other than 'adam_sde' for any optimizer but 'adam' and 'adamw', got 'adam_sde' with optimizer='sgd'"),
    ({"b1": 1.0}, ValueError, "`scale_learning_rate(b1=...)` must be less than 1, got 1.0"),
    ({"b2": -0.1}, ValueError, "`scale_learning_rate(b2=...)` must be at least 0, got -0.1"),
    ({"eps": -1e-8}, ValueError, "`scale_learning_rate(eps=...)` must be at least 0, got -1e-08"),
    ({"rule": "critical"}, ValueError, "`scale_learning_rate(noise_scale=...)` must be given for rule='critical', got None with rule='critical'"),
    ({"noise_scale": 10}, ValueError, "`scale_learning_rate(noise_scale=...)` must be left out but for rule='critical', got 10 with rule='auto'"),
    ({"rule": "critical", "noise_scale": -1.0}, ValueError, "`scale_learning_rate(noise_scale=...)` must be at least 0, got -1.0"),
    ({"rule": "critical", "noise_scale": np.nan}, ValueError, "`scale_learning_rate(noise_scale=...)` must be finite in float32, got nan"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "error", "message"), BAD_SCALING, ids=[case[2] for case in BAD_SCALING])
def test_bad_arguments_of_scale_learning_rate(options, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        scale_learning_rate(**{"learning_rate": 0.1, "base_batch_size": 256, "batch_size": 512} | options)


def test_the_effective_rate_is_that_of_plain_sgd():
    assert effective_learning_rate(0.01, 0.9) == pytest.approx(0.1, rel=1e-12)
    assert type(effective_learning_rate(0.01, 0)) is float
    optimizer = optax.sgd(0.01, momentum=0.9)
    state = optimizer.init(jnp.zeros(()))
    for _ in range(300):
        update, state = optimizer.update(jnp.ones(()), state)
    assert -float(update) == pytest.approx(effective_learning_rate(0.01, 0.9), rel=1e-5)


def test_the_effective_rate_of_traced_values():
    rates, momenta = jnp.array([0.1, 0.2]), jnp.array([0.5, 0.75])
    several = jax.jit(jax.vmap(effective_learning_rate))(rates, momenta)
    np.testing.assert_allclose(several, [0.2, 0.8], rtol=1e-6)
    assert several.dtype == jnp.float32
    slope = jax.grad(effective_learning_rate, argnums=1)(0.1, 0.5)
    assert float(slope) == pytest.approx(0.1 / 0.5**2, rel=1e-6)


@pytest.mark.parametrize(
    ("rate", "momentum", "expected"),
    [
        (optax.linear_schedule(0.1, 0.0, 10), 0.5, [0.2, 0.1, 0.0]),
        (0.1, optax.linear_schedule(0.5, 0.75, 10), [0.2, 0.1 / 0.375, 0.4]),
        (optax.linear_schedule(0.1, 0.0, 10), optax.constant_schedule(0.5), [0.2, 0.1, 0.0]),
    ],
)
def test_the_effective_rate_of_schedules(rate, momentum, expected):
    schedule = effective_learning_rate(rate, momentum)
    steps = jnp.array([0, 5, 10])
    np.testing.assert_allclose(jax.jit(schedule)(steps), expected, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose([schedule(step) for step in (0, 5, 10)], expected, rtol=1e-6, atol=1e-8)
    assert schedule(0).dtype == jnp.float32


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((-1.0, 0.9), ValueError, "`effective_learning_rate(learning_rate=...)` must be at least 0, got -1.0"),
        ((0.1, 1.0), ValueError, "`effective_learning_rate(momentum=...)` must be less than 1, got 1.0"),
        ((0.1, -0.5), ValueError, "`effective_learning_rate(momentum=...)` must be at least 0, got -0.5"),
        ((0.1, None), TypeError, "`effective_learning_rate(momentum=...)` must be a number, got None (NoneType)"),
    ],
)
def test_bad_arguments_of_effective_learning_rate(arguments, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        effective_learning_rate(*arguments)


def quadratic(params, batch):
    """Its gradient at one example is ``params - example``."""
    return jnp.mean(jnp.sum((params - batch) ** 2, axis=-1)) / 2


MEAN = np.array([0.3, -0.5, 0.8, 0.1])
ROOT = np.array([[1.0, 0.0, 0.0, 0.0], [0.9, 0.5, 0.0, 0.0], [0.4, -0.8, 0.7, 0.0], [0.2, 0.3, -0.4, 2.0]])
TRACE = float(np.trace(ROOT @ ROOT.T))
SQUARED_NORM = float(MEAN @ MEAN)


def examples(key, *shape):
    """Correlated examples around ``MEAN``, ``[*shape, 4]``."""
    return MEAN.astype(np.float32) + jax.random.normal(key, (*shape, 4)) @ ROOT.T.astype(np.float32)


def repeated(measure, repetitions, seed):
    """A measurement many times over, each on data of its own, as NumPy arrays."""
    keys = jax.random.split(jax.random.key(seed), repetitions)
    return NoiseScale(*map(np.asarray, jax.jit(lambda keys: jax.lax.map(measure, keys, batch_size=50))(keys)))


def test_unbiased_with_right_standard_errors():
    def measure(key):
        small, large = jax.random.split(key)
        return gradient_noise_scale(quadratic, jnp.zeros(4), examples(small, 80, 2), examples(large, 50, 32))

    measured = repeated(measure, 500, seed=0)
    for estimates, truth in (
        (measured.gradient_squared_norm, SQUARED_NORM),
        (measured.gradient_covariance_trace, TRACE),
    ):
        assert abs(estimates.mean() - truth) < 4 * estimates.std(ddof=1) / 500**0.5
    for estimates, errors, truth in (
        (measured.noise_scale, measured.standard_error, TRACE / SQUARED_NORM),
        (measured.gradient_squared_norm, measured.gradient_squared_norm_error, SQUARED_NORM),
    ):
        assert estimates.std() == pytest.approx(np.median(errors), rel=0.15)
        within = [np.mean(np.abs(estimates - truth) < width * errors) for width in (1.0, 1.96)]
        np.testing.assert_allclose(within, [0.683, 0.95], atol=0.05)


def test_large_batches_made_of_the_small_ones_are_unbiased_and_their_standard_error_is_too_large():
    def measure(key):
        large = examples(key, 40, 32)
        return gradient_noise_scale(quadratic, jnp.zeros(4), large.reshape(320, 4, 4), large)

    measured = repeated(measure, 400, seed=1)
    for estimates, truth in (
        (measured.gradient_squared_norm, SQUARED_NORM),
        (measured.gradient_covariance_trace, TRACE),
    ):
        assert abs(estimates.mean() - truth) < 4 * estimates.std(ddof=1) / 400**0.5
    assert measured.noise_scale.std() < np.median(measured.standard_error)


def test_linear_regression_with_correlated_features():
    """With S the features' covariance, v the labels' noise and d the distance to the optimum, the gradient is ``S d``.

    Its squared norm at one example has mean ``(d'Sd + v) tr S + 2 d'SSd``.
    """
    covariance, distance, label_noise = ROOT @ ROOT.T, np.array([0.5, -0.2, 0.3, 0.1]), 0.7
    truth = np.array([1.0, 2.0, -1.0, 0.5])
    rng = np.random.default_rng(2)

    def batches(*shape):
        inputs = rng.normal(size=(*shape, 4)) @ ROOT.T
        return {"x": inputs, "y": inputs @ truth + label_noise * rng.normal(size=shape)}

    def loss_fn(params, batch):
        return jnp.mean((batch["x"] @ params["w"] - batch["y"]) ** 2) / 2

    params = {"w": np.float32(truth + distance)}
    measured = gradient_noise_scale(loss_fn, params, batches(2000, 4), batches(300, 128))
    gradient = covariance @ distance
    mean_square = (distance @ gradient + label_noise**2) * np.trace(covariance) + 2 * gradient @ gradient
    squared_norm = gradient @ gradient
    noise_scale = (mean_square - squared_norm) / squared_norm
    assert abs(float(measured.noise_scale) - noise_scale) < 4 * float(measured.standard_error)
    assert float(measured.standard_error) < 0.1 * noise_scale
    assert abs(float(measured.gradient_squared_norm) - squared_norm) < 4 * float(measured.gradient_squared_norm_error)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(4)
    return tuple(np.float32(MEAN + rng.normal(size=(*shape, 4)) @ ROOT.T) for shape in ((60, 2), (40, 32)))


def test_the_estimates_by_hand_in_float64(data):
    small, large = (np.asarray(batches, np.float64) for batches in data)
    norms = [np.sum(np.mean(1.0 - batches, axis=1) ** 2, axis=-1) for batches in (small, large)]
    s, big = (norm.mean() for norm in norms)
    squared_norm, trace = (32 * big - 2 * s) / 30, (s - big) / (1 / 2 - 1 / 32)

    def ratio(shift_small, shift_large):
        a, b = s + shift_small, big + shift_large
        return ((a - b) / (1 / 2 - 1 / 32)) / ((32 * b - 2 * a) / 30)

    h = 1e-6
    slopes = (ratio(h, 0) - ratio(-h, 0)) / (2 * h), (ratio(0, h) - ratio(0, -h)) / (2 * h)
    variances = [norm.var(ddof=1) / norm.size for norm in norms]
    expected = NoiseScale(
        noise_scale=trace / squared_norm,
        standard_error=math.sqrt(sum(slope**2 * variance for slope, variance in zip(slopes, variances, strict=True))),
        gradient_squared_norm=squared_norm,
        gradient_squared_norm_error=math.sqrt((2 / 30) ** 2 * variances[0] + (32 / 30) ** 2 * variances[1]),
        gradient_covariance_trace=trace,
    )
    eager = gradient_noise_scale(quadratic, jnp.ones(4), *data)
    np.testing.assert_allclose(eager, expected, rtol=1e-4)
    assert all(value.dtype == jnp.float32 and value.shape == () for value in eager)


def test_jit_and_vmap_give_what_eager_gives(data):
    def measure(params):
        return gradient_noise_scale(quadratic, params, *data)

    points = jnp.stack([jnp.zeros(4), jnp.ones(4)])
    eager = [measure(point) for point in points]
    np.testing.assert_allclose(jax.jit(measure)(points[0]), eager[0], rtol=1e-5)
    several = jax.jit(jax.vmap(measure))(points)
    np.testing.assert_allclose(np.stack(several, axis=1), np.stack(eager), rtol=1e-5)
    assert str(several) == repr(several)
    assert str(jax.jit(measure)(points[0])) == jax.jit(measure)(points[0]).reason
    assert jax.jit(lambda params: str(measure(params)).startswith("NoiseScale("))(points[0])


@pytest.mark.parametrize("factor", [1e-14, 1e14])
def test_the_scale_of_the_loss_cancels(data, factor):
    plain = gradient_noise_scale(quadratic, jnp.zeros(4), *data)
    scaled = gradient_noise_scale(lambda params, batch: factor * quadratic(params, batch), jnp.zeros(4), *data)
    np.testing.assert_allclose(scaled[:2], plain[:2], rtol=1e-4)
    np.testing.assert_allclose(np.float64(scaled[2:]), np.float64(plain[2:]) * factor**2, rtol=1e-4)


def test_half_precision_gradients_are_summed_in_float32():
    """In bfloat16 a sum of ones stops at 256."""
    ones = jnp.ones((3, 4, 4096), jnp.bfloat16)

    def loss_fn(params, batch):
        return jnp.mean(batch @ params)

    measured = gradient_noise_scale(loss_fn, jnp.zeros(4096, jnp.bfloat16), ones[:, :2], ones)
    assert measured.gradient_squared_norm.dtype == jnp.float32
    assert float(measured.gradient_squared_norm) == 4096.0
    assert float(measured.gradient_covariance_trace) == 0.0


def test_complex_parameters_count_by_their_modulus():
    batches = jnp.full((2, 4), 3.0 + 4.0j)

    def loss_fn(params, batch):
        return jnp.mean(jnp.abs(params - batch) ** 2) / 2

    measured = gradient_noise_scale(loss_fn, jnp.zeros((), jnp.complex64), batches[:, :2], batches)
    assert float(measured.gradient_squared_norm) == pytest.approx(25.0, rel=1e-6)


def test_one_gradient_is_in_memory_at_a_time():
    params, small, large = jnp.zeros(100_000), jnp.ones((64, 1, 1)), jnp.ones((64, 2, 1))

    def measure(params, small, large):
        return gradient_noise_scale(lambda p, batch: jnp.mean(jnp.sum((p - batch) ** 2, axis=-1)), params, small, large)

    memory = jax.jit(measure).lower(params, small, large).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 10 * params.nbytes


def test_reasons():
    one, two = np.zeros((40, 2, 4), np.float32), np.zeros((40, 16, 4), np.float32)
    rng = np.random.default_rng(5)
    noisy, clean = rng.normal(size=one.shape).astype(np.float32), rng.normal(size=two.shape).astype(np.float32)
    measure = jax.jit(lambda params, small, large: gradient_noise_scale(quadratic, jnp.full(4, params), small, large))

    healthy = measure(1.0, noisy, clean)
    assert healthy.reason.startswith(f"The noise scale is {float(healthy.noise_scale):.3g} ± ")
    assert str(healthy) == healthy.reason

    hidden = measure(0.0, noisy, two)
    assert np.isnan(hidden.noise_scale)
    assert np.isnan(hidden.standard_error)
    assert float(hidden.gradient_squared_norm) < 0
    assert "which is not above zero: the noise hides the gradient, so give more or larger large_batches" in str(hidden)

    faint = measure(0.15, noisy, clean)
    assert 0 < float(faint.gradient_squared_norm) < 3 * float(faint.gradient_squared_norm_error)
    assert "uncertain beyond its standard error" in str(faint)

    noiseless = measure(1.0, one, two)
    assert float(noiseless.noise_scale) == pytest.approx(0, abs=1e-6)
    assert float(noiseless.standard_error) == 0
    assert "below one example" in str(noiseless)

    quiet = measure(2.0, clean, rng.normal(size=(40, 64, 4)).astype(np.float32))
    bound = quiet.noise_scale + 3 * quiet.standard_error
    assert 1 < float(bound) < 6 * float(quiet.standard_error)
    assert f"is not told apart from zero; it is hardly above {float(bound):.3g}" in str(quiet)

    nothing = measure(0.0, one, two)
    assert str(nothing) == "Every gradient is zero, so there is nothing to measure at these params."

    for entry in (np.nan, np.inf):
        spoiled = noisy.copy()
        spoiled[3, 1, 2] = entry
        broken = measure(0.0, spoiled, clean)
        assert str(broken).startswith("A gradient or its squared norm is not finite, so look for the fault")


BAD_NOISE = [
    ({"loss_fn": 3}, TypeError, "`gradient_noise_scale(loss_fn=...)` must be a function of params and batch, got 3 (int)"),
    ({"loss_fn": lambda p, b: jnp.sum(p - b, -1)}, ValueError, "`gradient_noise_scale(loss_fn=...)` must be a function to a scalar, the mean, got one to an array of shape (2,)"),
    ({"loss_fn": lambda p, b: (quadratic(p, b), {})}, TypeError, "`gradient_noise_scale(loss_fn=...)` must return a scalar, got tuple"),
    ({"loss_fn": lambda *_: 1}, TypeError, "`gradient_noise_scale(loss_fn=...)` must return a floating-point scalar, got dtype int32"),
    ({"params": {}}, ValueError, "`gradient_noise_scale(params=...)` must be a pytree with floating-point arrays, got one without arrays"),
    ({"params": {"w": "x"}}, TypeError, "`gradient_noise_scale(params=...)` must be a pytree of floating-point arrays, got 'x' (str)"),
    ({"params": jnp.ones(4, int)}, TypeError, "`gradient_noise_scale(params=...)` must hold floating-point arrays only, got int32"),
    ({"small_batches": ()}, ValueError, "`gradient_noise_scale(small_batches=...)` must be a pytree of arrays of shape [batches, examples, ...], got no arrays"),
    ({"small_batches": [3.0]}, TypeError, "`gradient_noise_scale(small_batches=...)` must be a pytree of arrays of shape [batches, examples, ...], got 3.0 (float)"),
    ({"small_batches": jnp.ones(5)}, ValueError, "`gradient_noise_scale(small_batches=...)` must be a pytree of arrays of shape [batches, examples, ...], got an array of shape (5,)"),
    ({"small_batches": jnp.ones((5, 0, 4))}, ValueError, "`gradient_noise_scale(small_batches=...)` must be a pytree of arrays of shape [batches, examples, ...], got an array of shape (5, 0, 4)"),
    ({"small_batches": (jnp.ones((5, 2, 4)), jnp.ones((5, 3)))}, ValueError, "`gradient_noise_scale(small_batches=...)` must be a pytree of arrays with the same first two axes, got (5, 2) and (5, 3)"),
    ({"small_batches": jnp.ones((1, 2, 4))}, ValueError, "`gradient_noise_scale(small_batches=...)` must be at least 2 batches, for a standard error, got 1"),
    ({"large_batches": jnp.ones((1, 8, 4))}, ValueError, "`gradient_noise_scale(large_batches=...)` must be at least 2 batches, for a standard error, got 1"),
    ({"large_batches": jnp.ones((3, 2, 4))}, ValueError, "`gradient_noise_scale(large_batches=...)` must be of more examples than small_batches' 2, got 2"),
    ({"large_batches": jnp.ones((3, 8, 5))}, ValueError, "`gradient_noise_scale(large_batches=...)` must be like small_batches, (4,) an example, got (5,)"),
    ({"large_batches": {"x": jnp.ones((3, 8, 4))}}, ValueError, "`gradient_noise_scale(large_batches=...)` must be like small_batches, (4,) an example, got {'x': (4,)}"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "error", "message"), BAD_NOISE, ids=[case[2] for case in BAD_NOISE])
def test_bad_arguments_of_gradient_noise_scale(options, error, message):
    good = {
        "loss_fn": quadratic,
        "params": jnp.zeros(4),
        "small_batches": jnp.ones((3, 2, 4)),
        "large_batches": jnp.ones((3, 8, 4)),
    }
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        gradient_noise_scale(**good | options)
