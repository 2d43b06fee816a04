"""clip_gradients against float64 NumPy, at every magnitude."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrjax.optimizers import ClipState, clip_gradients

jitted = jax.jit(lambda grads, max_norm: clip_gradients(max_norm).update(grads, clip_gradients().init(grads)))


def reference(leaves: list[np.ndarray], max_norm: float, max_value: float = np.inf) -> tuple[list, float]:
    """The definition in float64: value first, then norm; and the norm before either."""
    wide = [leaf.astype(np.complex128 if np.iscomplexobj(leaf) else np.float64) for leaf in leaves]
    before = np.sqrt(sum(np.sum(np.abs(leaf) ** 2) for leaf in wide))
    with np.errstate(divide="ignore", invalid="ignore"):
        bounded = [np.where(np.abs(leaf) > max_value, leaf * max_value / np.abs(leaf), leaf) for leaf in wide]
    norm = np.sqrt(sum(np.sum(np.abs(leaf) ** 2) for leaf in bounded))
    return [leaf * min(1.0, max_norm / norm) if norm else leaf for leaf in bounded], before


def updated(grads, *arguments, params=None, **options):
    optimizer = clip_gradients(*arguments, **options)
    return optimizer.update(grads, optimizer.init(grads), params)


def clip(grads, *arguments, params=None, **options):
    """``updated``, traced as jit would and run operation by operation: nothing to compile for each bound."""
    jax.eval_shape(lambda grads, params: updated(grads, *arguments, params=params, **options), grads, params)
    with jax.disable_jit():
        return updated(grads, *arguments, params=params, **options)


def values(seed: int, size: int = 12) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=size)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**16), exponent=st.integers(-30, 37), bound=st.integers(-12, 12))
def test_float32_of_any_magnitude(seed, exponent, bound):
    grads = [(values(seed) * 10.0**exponent).astype(np.float32), values(seed + 1, 5).astype(np.float32)]
    expected, norm = reference(grads, 10.0**bound)
    clipped, state = jitted([jnp.asarray(leaf) for leaf in grads], 10.0**bound)
    np.testing.assert_allclose(state.norm, min(norm, np.finfo(np.float32).max), rtol=1e-6)
    for leaf, wanted in zip(clipped, expected, strict=True):
        np.testing.assert_allclose(leaf, wanted, rtol=3e-6, atol=1e-37)


@pytest.mark.parametrize(
    ("dtype", "size", "entry", "tolerance"),
    [
        (jnp.float32, 4, 1e30, 1e-6),
        (jnp.float32, 1000, 3.4e38, 1e-6),
        (jnp.float32, 4, -3e38, 1e-6),
        (jnp.float32, 1000, 1e19, 1e-6),
        (jnp.float16, 9, 300.0, 1e-3),
        (jnp.float16, 5000, 60000.0, 1e-3),
        (jnp.bfloat16, 9, 3e38, 1e-2),
        (jnp.bfloat16, 9, 7.0, 1e-2),
    ],
)
def test_large_entries_keep_their_direction(dtype, size, entry, tolerance):
    grads = jnp.full(size, entry, dtype)
    clipped, state = jitted(grads, 1.0)
    assert clipped.dtype == dtype
    np.testing.assert_allclose(np.asarray(clipped, np.float64), np.sign(entry) / np.sqrt(size), rtol=tolerance)
    norm = np.asarray(grads, np.float64)[0] * np.sqrt(size)
    assert state.norm == pytest.approx(min(abs(norm), np.finfo(np.float32).max), rel=1e-6)
    assert (int(state.clipped), int(state.nonfinite)) == (1, 0)


@pytest.mark.parametrize("entry", [0.0, 1e-45, 1e-40, -2e-38])
def test_entries_at_the_bottom_of_float32_pass_bit_for_bit(entry):
    grads = jnp.full(4, np.float32(entry))
    clipped, state = jitted(grads, 1.0)
    np.testing.assert_array_equal(np.asarray(clipped).view(np.int32), np.asarray(grads).view(np.int32))
    assert 0.0 <= float(state.norm) < 1e-37
    assert int(state.clipped) == 0


@pytest.mark.parametrize(("dtype", "entry"), [(jnp.float32, 1e-30), (jnp.float32, 2e-38), (jnp.float16, 6e-8)])
def test_small_norms_do_not_underflow(dtype, entry):
    grads = jnp.full(400, entry, dtype)
    clipped, state = jitted(grads, 1e-20)
    norm = 20 * float(grads[0])
    np.testing.assert_allclose(state.norm, norm, rtol=1e-6)
    np.testing.assert_array_equal(clipped, grads if norm < 1e-20 else 0.0)  # 5e-22 is 0 in float16


def test_a_tiny_gradient_is_clipped_to_a_tinier_norm():
    clipped, state = clip(jnp.array([3e-30, 4e-30]), 1e-32)
    np.testing.assert_allclose(clipped, [6e-33, 8e-33], rtol=1e-6)
    np.testing.assert_allclose(state.norm, 5e-30, rtol=1e-6)
    assert int(state.clipped) == 1


def test_complex_entries_count_with_their_modulus():
    grads = {"a": jnp.array([3e25 + 4e25j]), "b": jnp.array([12e25])}
    clipped, state = clip(grads, 13.0)
    np.testing.assert_allclose(clipped["a"], [3 + 4j], rtol=1e-6)
    np.testing.assert_allclose(clipped["b"], [12.0], rtol=1e-6)
    assert float(state.norm) == pytest.approx(13e25, rel=1e-6)


@pytest.mark.parametrize("max_value", [0.5, 1e-3, 10.0])
def test_value_is_bounded_before_norm(max_value):
    grads = [values(1).astype(np.float32), (values(2, 4) + 1j * values(3, 4)).astype(np.complex64)]
    expected, norm = reference(grads, 1.0, max_value)
    clipped, state = clip([jnp.asarray(leaf) for leaf in grads], 1.0, max_value=max_value)
    for leaf, wanted in zip(clipped, expected, strict=True):
        np.testing.assert_allclose(leaf, wanted, rtol=1e-6)
    assert float(state.norm) == pytest.approx(norm, rel=1e-6)
    assert int(state.clipped) == 1


def test_an_outlier_does_not_use_up_the_norm():
    clipped, _ = clip(jnp.array([1e20, 1.0]), 1.0, max_value=1.0)
    np.testing.assert_allclose(clipped, [0.5**0.5, 0.5**0.5], rtol=1e-6)


def leaves_of_every_rank(seed: int, scale: float = 1.0, dtype=np.float32) -> dict[str, jax.Array]:
    shapes = {
        "scalar": (),
        "vector": (7,),
        "row": (1, 6),
        "matrix": (5, 3),
        "stacked": (2, 4, 3),
        "kernel": (3, 3, 2, 4),
    }
    rng = np.random.default_rng(seed)
    return {name: jnp.asarray(rng.normal(size=shape) * scale, dtype) for name, shape in shapes.items()}


@pytest.mark.parametrize("ratio", [0.01, 0.3, 100.0])
def test_adaptive_clipping_is_optax_s(ratio):
    params, grads = leaves_of_every_rank(0), leaves_of_every_rank(1)
    params["vector"] = jnp.zeros(7)  # bounded as if its norm were 1e-3
    clipped, state = clip(grads, None, adaptive=ratio, params=params)
    with jax.disable_jit():
        expected, _ = optax.adaptive_grad_clip(ratio).update(grads, optax.EmptyState(), params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9), clipped, expected)
    assert int(state.clipped) == 1


def test_adaptive_clipping_takes_kernels_of_five_axes_and_all_magnitudes():
    rng = np.random.default_rng(0)
    params, grads = rng.normal(size=(2, 3, 3, 2, 4)), rng.normal(size=(2, 3, 3, 2, 4))
    norms = [np.sqrt((leaf**2).sum((0, 1, 2, 3), keepdims=True)) for leaf in (params, grads)]
    optimizer = clip_gradients(None, adaptive=0.01)
    for scale in (1e-30, 1.0, 1e25):
        grad, param = jnp.float32(grads * scale * 10), jnp.float32(params * scale)
        clipped, _ = optimizer.update(grad, optimizer.init(param), param)
        bound = 0.01 * np.maximum(norms[0] * scale, 1e-3)
        expected = grads * 10 * scale * np.minimum(1.0, bound / (norms[1] * 10 * scale))
        np.testing.assert_allclose(clipped, expected, rtol=1e-5)


@pytest.mark.parametrize(("scale", "bound"), [(1.0, 0.5), (1.0, 50.0), (1e25, 1.0), (1e-30, 1e-33)])
def test_block_rms_is_bounded_leaf_by_leaf(scale, bound):
    grads = leaves_of_every_rank(2, scale)
    clipped, state = clip(grads, None, max_block_rms=bound)
    for name, grad in grads.items():
        wide = np.asarray(grad, np.float64)
        np.testing.assert_allclose(clipped[name], wide * min(1.0, bound / np.sqrt(np.mean(wide**2))), rtol=1e-5)
    assert int(state.clipped) == (bound < scale)
    if scale == 1.0:
        expected, _ = optax.clip_by_block_rms(bound).update(grads, optax.EmptyState())
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), clipped, expected)


def test_bounds_compose_from_the_small_to_the_large():
    params, grads = leaves_of_every_rank(0), leaves_of_every_rank(1, 5.0)
    optimizer = clip_gradients(0.2, max_value=2.0, max_block_rms=1.5, adaptive=0.5)  # compiled whole, once
    clipped, state = jax.jit(optimizer.update)(grads, optimizer.init(params), params)
    chained = optax.chain(
        optax.clip(2.0), optax.clip_by_block_rms(1.5), optax.adaptive_grad_clip(0.5), optax.clip_by_global_norm(0.2)
    )
    with jax.disable_jit():
        expected, _ = chained.update(grads, chained.init(params), params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-9), clipped, expected)
    assert float(state.norm) == pytest.approx(
        float(reference([np.asarray(leaf) for leaf in grads.values()], 1.0)[1]), rel=1e-6
    )
    reversed_order = optax.chain(*(optax.clip_by_global_norm(0.2), optax.adaptive_grad_clip(0.5)))
    with jax.disable_jit():
        other, _ = reversed_order.update(grads, reversed_order.init(params), params)
    assert not np.allclose(clipped["matrix"], other["matrix"], rtol=1e-2)


@pytest.mark.parametrize("entry", [np.nan, np.inf])
def test_a_non_finite_entry_passes_no_bound(entry):
    grads = {
        name: leaf.at[...].set(entry) if name == "scalar" else leaf for name, leaf in leaves_of_every_rank(3).items()
    }
    params = leaves_of_every_rank(4)
    clipped, state = clip(grads, 1.0, max_value=1.0, max_block_rms=1.0, adaptive=0.1, params=params)
    assert all((np.asarray(leaf) == 0).all() for leaf in jax.tree.leaves(clipped))
    assert (int(state.nonfinite), int(state.clipped)) == (1, 0)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_keeps_its_dtype_through_every_bound(dtype):
    params, grads = (
        {name: leaves_of_every_rank(seed, scale, dtype)[name] for name in ("vector", "kernel")}
        for seed, scale in ((0, 1.0), (1, 100.0))
    )
    bounds = {"max_value": 50.0, "max_block_rms": 1.0, "adaptive": 0.1}
    clipped, _ = clip(grads, 1.0, **bounds, params=params)
    wide = [jax.tree.map(jnp.float32, tree) for tree in (grads, params)]
    expected, _ = clip(wide[0], 1.0, **bounds, params=wide[1])
    for name, leaf in clipped.items():
        assert leaf.dtype == dtype
        np.testing.assert_allclose(jnp.float32(leaf), expected[name], rtol=3e-2, atol=1e-6)


def test_adaptive_clipping_says_that_it_needs_parameters():
    optimizer = clip_gradients(adaptive=0.01)
    with pytest.raises(ValueError, match=r"`clip_gradients\(adaptive=...\)` bounds by the parameters: call update"):
        optimizer.update(jnp.ones(3), optimizer.init(jnp.ones(3)))


def test_none_disables_either_bound():
    grads = jnp.array([3.0, -4.0])
    np.testing.assert_array_equal(clip(grads, None)[0], grads)
    np.testing.assert_array_equal(clip(grads, None, max_value=2.0)[0], [2.0, -2.0])
    assert float(clip(grads, None)[1].norm) == 5.0


@pytest.mark.parametrize("entry", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("max_value", [None, 0.5])
def test_a_non_finite_gradient_becomes_zero_as_a_whole(entry, max_value):
    grads = {"a": jnp.array([1.0, entry]), "b": jnp.ones(3, jnp.float16)}
    clipped, state = clip(grads, max_value=max_value)
    np.testing.assert_array_equal(clipped["a"], 0.0)
    np.testing.assert_array_equal(clipped["b"], 0.0)
    assert not np.isfinite(state.norm)
    assert (int(state.count), int(state.clipped), int(state.nonfinite)) == (1, 0, 1)
    untouched, state = clip(grads, max_value=max_value, skip_nonfinite=False)
    np.testing.assert_array_equal(untouched["a"], grads["a"])
    np.testing.assert_array_equal(untouched["b"], grads["b"])
    assert int(state.nonfinite) == 1


def test_state_counts_over_a_run():
    grads = jnp.array([[0.3, 0.4], [3.0, 4.0], [jnp.nan, 0.0], [0.0, 0.0], [6.0, 8.0]])
    optimizer = clip_gradients()
    state, clipped = jax.lax.scan(
        lambda state, grad: optimizer.update(grad, state)[::-1], optimizer.init(grads[0]), grads
    )
    np.testing.assert_allclose(clipped, [[0.3, 0.4], [0.6, 0.8], [0, 0], [0, 0], [0.6, 0.8]], rtol=1e-6)
    assert (int(state.count), int(state.clipped), int(state.nonfinite)) == (5, 2, 1)
    assert float(state.norm) == 10.0
    assert float(state.clipped_fraction) == pytest.approx(0.4)
    assert float(optimizer.init(grads[0]).clipped_fraction) == 0.0
    assert isinstance(state, ClipState)


def test_max_norm_may_be_a_schedule_or_a_tracer():
    grads = jnp.array([3.0, 4.0])
    optimizer = clip_gradients(lambda count: 1.0 + count)
    state = optimizer.init(grads)
    for norm in (1.0, 2.0, 3.0):
        clipped, state = optimizer.update(grads, state)
        assert float(jnp.linalg.norm(clipped)) == pytest.approx(norm, rel=1e-6)
    lanes = jax.vmap(lambda bound: jnp.linalg.norm(updated(grads, bound)[0]))(jnp.array([0.5, 4.0, 9.0]))
    np.testing.assert_allclose(lanes, [0.5, 4.0, 5.0], rtol=1e-6)
    negative = jax.vmap(lambda bound: (updated(grads, bound)[0], updated(grads, None, max_value=bound)[0]))(
        -jnp.ones(1)
    )
    np.testing.assert_array_equal(negative, 0.0)  # a sign is never flipped


def test_lanes_of_every_magnitude_in_one_vmap():
    scales = jnp.array([1e-35, 1e-15, 1.0, 1e25, jnp.inf, jnp.nan])
    clipped, state = jax.jit(jax.vmap(lambda scale: updated(scale * jnp.array([3.0, 4.0]))))(scales)
    expected = [[3e-35, 4e-35], [3e-15, 4e-15], [0.6, 0.8], [0.6, 0.8], [0, 0], [0, 0]]
    np.testing.assert_allclose(clipped, expected, rtol=1e-6)
    np.testing.assert_array_equal(state.nonfinite, [0, 0, 0, 0, 1, 1])


def test_equals_optax_where_optax_is_right():
    grads = {"a": jnp.asarray(values(5), jnp.float32), "b": jnp.asarray(values(6, 3), jnp.float32)}
    for max_norm in (0.1, 100.0):
        expected, _ = optax.clip_by_global_norm(max_norm).update(grads, optax.EmptyState())
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), clip(grads, max_norm)[0], expected)


@pytest.mark.usefixtures("x64")
def test_float64_is_summed_in_float64():
    for scale in (1e-300, 1.0, 1e300):
        grads = values(7) * scale
        expected, _ = reference([values(7)], 1e-3 / scale)
        clipped, state = clip(jnp.asarray(grads), 1e-3)
        assert clipped.dtype == jnp.float64
        np.testing.assert_allclose(clipped, expected[0] * scale, rtol=1e-13)
        assert state.norm.dtype == jnp.float32
    assert float(state.norm) == np.finfo(np.float32).max


WRONG_CALLS = [
    (lambda: clip_gradients(0.0), ValueError, "`clip_gradients(max_norm=...)` must be greater than 0, got 0.0"),
    (lambda: clip_gradients(-1), ValueError, "`clip_gradients(max_norm=...)` must be greater than 0, got -1"),
    (
        lambda: clip_gradients(float("nan")),
        ValueError,
        "`clip_gradients(max_norm=...)` must be finite in float32, got nan",
    ),
    (
        lambda: clip_gradients(float("inf")),
        ValueError,
        "`clip_gradients(max_norm=...)` must be finite in float32, got inf",
    ),
    (
        lambda: clip_gradients("1"),
        TypeError,
        "`clip_gradients(max_norm=...)` must be a number or a schedule, got '1' (str)",
    ),
    (
        lambda: clip_gradients(True),
        TypeError,
        "`clip_gradients(max_norm=...)` must be a number or a schedule, got True (bool)",
    ),
    (
        lambda: clip_gradients(jnp.ones(2)),
        ValueError,
        "`clip_gradients(max_norm=...)` must be a number (jax.vmap gives many at once), got an array of shape (2,)",
    ),
    (
        lambda: clip_gradients(max_value=-0.5),
        ValueError,
        "`clip_gradients(max_value=...)` must be greater than 0, got -0.5",
    ),
    (
        lambda: clip_gradients(max_value=optax.constant_schedule(1.0)),
        TypeError,
        "`clip_gradients(max_value=...)` must be a number, got <function",
    ),
    (
        lambda: clip_gradients(max_block_rms=0),
        ValueError,
        "`clip_gradients(max_block_rms=...)` must be greater than 0, got 0",
    ),
    (
        lambda: clip_gradients(adaptive="0.01"),
        TypeError,
        "`clip_gradients(adaptive=...)` must be a number, got '0.01' (str)",
    ),
    (
        lambda: clip_gradients(skip_nonfinite=1),
        TypeError,
        "`clip_gradients(skip_nonfinite=...)` must be True or False, got 1 (int)",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), WRONG_CALLS, ids=[case[2] for case in WRONG_CALLS])
def test_wrong_calls_are_refused_by_name(call, error, message):
    with pytest.raises(error, match=re.escape(message)):
        call()
