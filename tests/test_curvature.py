"""Sharpness against dense Hessians, edges against optimizers that diverge there, and the rate that raises the loss."""

from __future__ import annotations

import re
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.flatten_util import ravel_pytree
from scipy.sparse.linalg import eigsh
from sklearn.datasets import load_digits

import lrjax
from lrjax.curvature import CriticalLearningRate, Sharpness, critical_learning_rate, sharpness, stability_edge

KEY = jax.random.key(0)
NARROW = {"rng": KEY, "iterations": 40, "tolerance": 1e-5}


def quadratic(params, batch):
    """A loss whose Hessian has the batch for its diagonal."""
    return jnp.sum(batch * ravel_pytree(params)[0] ** 2) / 2


def digits(examples):
    images, labels = load_digits(return_X_y=True)
    return np.float32(images[:examples] / 16), np.int32(labels[:examples])


def normal(seed, *shapes):
    generator = np.random.default_rng(seed)
    return [np.float32(generator.normal(size=shape) * (2 / shape[0]) ** 0.5) for shape in shapes]


def classification(params, batch):
    hidden = jax.nn.relu(batch[0] @ params[0] + params[1])
    return optax.softmax_cross_entropy_with_integer_labels(hidden @ params[2] + params[3], batch[1]).mean()


def regression(params, batch):
    return jnp.mean((jnp.tanh(batch[0] @ params["in"]) @ params["out"] - batch[1][:, None]) ** 2)


def convolution(params, batch):
    images = batch[0].reshape(-1, 1, 8, 8)
    maps = jnp.sin(jax.lax.conv(images, params[0], (2, 2), "VALID"))
    return optax.softmax_cross_entropy_with_integer_labels(maps.mean((2, 3)) @ params[1], batch[1]).mean()


MODELS = {
    "classification": (classification, normal(0, (64, 24), (24,), (24, 10), (10,)), digits(60)),
    "regression": (regression, dict(zip(("in", "out"), normal(1, (64, 4), (4, 1)), strict=True)), digits(40)),
    "convolution": (convolution, normal(2, (6, 1, 3, 3), (6, 10)), digits(20)),
}
"""1,810, 260 and 114 parameters."""


@cache
def trained(model, steps):
    """Parameters and Adam's state after so many steps on the one batch."""
    loss_fn, params, batch = MODELS[model]
    optimizer = optax.adam(1e-2)

    @jax.jit
    def step(params, state):
        updates, state = optimizer.update(jax.grad(loss_fn)(params, batch), state, params)
        return optax.apply_updates(params, updates), state

    state = optimizer.init(params)
    for _ in range(steps):
        params, state = step(params, state)
    return params, state


def hessian(model, params):
    """The matrix in float64."""
    loss_fn, _, batch = MODELS[model]
    jax.config.update("jax_enable_x64", True)
    try:
        params, batch = jax.tree.map(
            lambda leaf: np.float64(leaf) if leaf.dtype == np.float32 else leaf, (params, batch)
        )
        flat, unravel = ravel_pytree(params)
        return np.asarray(jax.jit(jax.hessian(lambda flat: loss_fn(unravel(flat), batch)))(flat))
    finally:
        jax.config.update("jax_enable_x64", False)


def extreme(matrix, which):
    """The largest ("LA") or smallest ("SA") eigenvalue, by ARPACK in float64."""
    return eigsh(matrix, 1, which=which, tol=1e-10, v0=np.ones(len(matrix)), return_eigenvectors=False)[0]


@pytest.mark.parametrize(
    ("model", "steps"),
    [("classification", 60), ("regression", 1), ("regression", 60), ("convolution", 1), ("convolution", 60)],
)
def test_the_dense_hessian_agrees(model, steps):
    loss_fn, _, batch = MODELS[model]
    params, state = trained(model, steps)
    dense = hessian(model, params)
    largest = extreme(dense, "LA")
    assert extreme(dense, "SA") < -1e-3 * largest
    measured = sharpness(loss_fn, params, batch, **NARROW)
    np.testing.assert_allclose(measured.value, largest, rtol=1e-4)
    assert measured.error <= 1e-5 * measured.value

    nu = np.float64(ravel_pytree(state[0].nu)[0]) / (1 - 0.999**steps)
    root = (np.sqrt(nu) + 1e-3) ** -0.5
    measured = sharpness(loss_fn, params, batch, preconditioner=state, eps=1e-3, **NARROW)
    np.testing.assert_allclose(measured.value, extreme(root[:, None] * dense * root, "LA"), rtol=1e-4)


@cache
def lanes():
    """One program for many diagonals of six entries."""
    params = {"a": jnp.array([1.0, -1.0]), "b": (jnp.float32(2.0), None), "c": jnp.array([[0.5, 0.0, 0.0]])}
    return jax.jit(jax.vmap(lambda batch: sharpness(quadratic, params, batch, rng=KEY, iterations=12, tolerance=1e-5)))


DIAGONALS = {
    "positive": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
    "the gradient is zero along the sharpest": [1.0, 1.0, 1.0, 1.0, 1.0, 9.0],
    "steeper downwards": [-50.0, -3.0, 0.0, 1.0, 2.0, 0.5],
    "only downwards": [-5.0, -4.0, -3.0, -6.0, -7.0, -2.0],
    "flat": [0.0] * 6,
    "all alike": [7.0] * 6,
    "huge": [1e30, 2e30, -1e30, 0.0, 1e29, 3e30],
    "tiny": [1e-30, 2e-30, -1e-30, 0.0, 1e-31, 3e-30],
}


def test_diagonals_side_by_side():
    measured = lanes()(np.float32([*DIAGONALS.values(), [1.0, np.nan, 1.0, 1.0, 1.0, 1.0]]))
    for lane, (name, diagonal) in enumerate(DIAGONALS.items()):
        scale = np.abs(diagonal).max()
        np.testing.assert_allclose(measured.value[lane], max(diagonal), rtol=1e-5, atol=1e-6 * scale, err_msg=name)
        assert measured.error[lane] <= 2e-5 * scale, name
        assert measured.products[lane] <= 8, name
    assert np.isnan(measured.value[-1])
    assert measured.products[-1] == 1
    assert measured.value.dtype == measured.error.dtype == jnp.float32
    assert measured.products.dtype == jnp.int32


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.floats(-1.0, 1.0, width=32), min_size=6, max_size=6),
    st.floats(2.0**-40, 2.0**40, width=32),
    st.permutations(range(6)),
)
def test_the_loss_scales_it_and_the_order_of_leaves_does_not(diagonal, scale, order):
    diagonal = np.float32(diagonal)
    one, scaled, permuted = lanes()(np.stack([diagonal, np.float32(scale) * diagonal, diagonal[order]])).value
    tolerance = 2e-5 * np.abs(diagonal).max() + 1e-30
    np.testing.assert_allclose(scaled / np.float32(scale), one, atol=tolerance)
    np.testing.assert_allclose(permuted, one, atol=tolerance)


@pytest.mark.parametrize("seed", range(3))
def test_the_error_bounds_it_and_long_runs_keep_it(seed):
    generator = np.random.default_rng(seed)
    eigenvalues = np.sort(generator.standard_cauchy(20))  # far-out ones, found early and again and again
    rotation = np.linalg.qr(generator.normal(size=(20, 20)))[0]
    matrix = np.float32(rotation * eigenvalues @ rotation.T)
    measure = partial(sharpness, rotated, jnp.ones(20), matrix, rng=jax.random.key(seed))
    scale = np.abs(eigenvalues).max()
    for iterations, tolerance in ((6, 0.0), (60, 0.01), (60, 0.0)):
        measured = measure(iterations=iterations, tolerance=tolerance)
        nearest = np.abs(eigenvalues - float(measured.value)).min()
        assert nearest <= measured.error + 1e-5 * scale
        assert measured.value <= eigenvalues[-1] + 1e-5 * scale
    np.testing.assert_allclose(measured.value, eigenvalues[-1], rtol=1e-5, atol=1e-5 * scale)


def rotated(params, batch):
    return params @ batch @ params / 2


def test_half_precision_is_measured_in_float32():
    def loss_fn(params, batch):
        return batch * jnp.sum(jnp.cos(params["half"])) + jnp.sum(params["full"] ** 2)

    params = {"half": jnp.array([0.1, 2.0, 3.0], jnp.bfloat16), "full": jnp.ones(2)}
    measured = sharpness(loss_fn, params, 5.0, **NARROW)
    assert measured.value.dtype == jnp.float32
    np.testing.assert_allclose(measured.value, -5 * np.cos(float(params["half"][2])), rtol=1e-5)


def test_float64(x64):
    measured = sharpness(quadratic, jnp.ones(4), jnp.array([1.0, 2.0, -3.0, 1 / 3]), rng=KEY, tolerance=1e-13)
    assert measured.value.dtype == jnp.float64
    np.testing.assert_allclose(measured.value, 2.0, rtol=1e-13)


def test_new_values_do_not_retrace():
    traces = []

    def loss_fn(params, batch):
        traces.append(params)
        return quadratic(params, batch)

    for value in (1.0, 2.0, 3.0):
        measured = sharpness(loss_fn, jnp.full(3, value), jnp.arange(3.0) * value, rng=KEY, tolerance=value * 1e-3)
        np.testing.assert_allclose(measured.value, 2 * value, rtol=1e-3)
        critical_learning_rate(loss_fn, jnp.full(3, value), jnp.arange(3.0) * value, optax.sgd, max_value=10 * value)
    assert len(traces) <= 3  # one for the Hessian; a gradient and a forward pass for the search


OPTIMIZERS = {
    "optax": optax.adam(1e-2),
    "chained": optax.chain(optax.clip_by_global_norm(1e9), optax.adamw(1e-2, weight_decay=0.0)),
    "injected": optax.inject_hyperparams(optax.adam)(1e-2),
    "in MultiSteps": optax.MultiSteps(optax.adam(1e-2), 1).gradient_transformation(),
    "preset": lrjax.adamw(1e-2, max_norm=None),
    "half moment": lrjax.adam(1e-2, max_norm=None, mu_dtype=jnp.bfloat16),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
def test_adam_is_found_in_any_state(optimizer):
    params, diagonal, grads = jnp.ones(3), np.float32([2.0, 3.0, 4.0]), np.float32([0.1, 1.0, 2.0])
    _, state = optimizer.update(grads, optimizer.init(params), params)
    measured = sharpness(quadratic, params, diagonal, preconditioner=state, **NARROW)
    np.testing.assert_allclose(measured.value, 2.0 / 0.1, rtol=1e-4)  # 20, 3 and 2


def test_the_state_may_be_traced():
    params, adam = jnp.ones(3), optax.adam(1e-2)

    def measure(grads, b2):
        state = optax.adam(1e-2, b2=b2).update(grads, adam.init(params))[1]
        return sharpness(quadratic, params, jnp.ones(3), preconditioner=state, b2=b2, rng=KEY, iterations=4)

    grads = np.float32([[0.1, 1.0, 2.0], [0.2, 0.2, 0.25]])
    measured = jax.jit(jax.vmap(measure))(grads, np.float32([0.9, 0.0]))
    np.testing.assert_allclose(measured.value, [10.0, 5.0], rtol=1e-4)


CHARACTERISTIC = {
    "gradient descent": (("sgd",), {}, 2.0, lambda rate, _: optax.sgd(rate)),
    "heavy ball": (("sgd",), {"b1": 0.8}, 3.6, lambda rate, _: optax.sgd(rate, 0.8)),
    "Nesterov": (
        ("sgd",),
        {"b1": 0.8, "nesterov": True},
        3.6 / 2.6,
        lambda rate, _: optax.sgd(rate, 0.8, nesterov=True),
    ),
    "Adam": (("adam",), {}, 38.0, lambda rate, eps: optax.adam(rate, eps=eps)),
    "AdamW without momentum": (("adamw",), {"b1": 0.0}, 2.0, lambda rate, eps: optax.adam(rate, 0.0, eps=eps)),
    "NAdam": (("adam",), {"b1": 0.6, "nesterov": True}, 8 / 2.2, lambda rate, eps: optax.nadam(rate, 0.6, eps=eps)),
}
"""Arguments, the edge at sharpness 1 by hand, and the optimizer with ``eps`` for its preconditioner."""


def spectral_radius(optimizer, curvature):
    """Of one step along an eigenvector as a linear map of the distance and the momentum, late in training."""
    tiny = 1e-100  # so that nu is nothing beside eps: the preconditioner is held
    state = jax.tree.map(
        lambda leaf: jnp.asarray(10**6 if leaf.dtype == jnp.int32 else 0.0, leaf.dtype), optimizer.init(jnp.zeros(()))
    )
    leaves, structure = jax.tree.flatten(state)
    momentum = [place for place, leaf in enumerate(leaves) if leaf.dtype == jnp.float64][:1]

    def step(distance, velocity):
        held = [jnp.asarray(velocity) if [place] == momentum else leaf for place, leaf in enumerate(leaves)]
        update, after = optimizer.update(jnp.asarray(curvature * distance), structure.unflatten(held))
        return [float(distance + update), *(float(jax.tree.leaves(after)[place]) for place in momentum)]

    basis = np.eye(1 + len(momentum))
    columns = [np.divide(step(tiny * column[0], tiny * column[-1] if momentum else 0.0), tiny) for column in basis]
    return np.abs(np.linalg.eigvals(np.transpose(columns))).max()


@pytest.mark.parametrize("case", CHARACTERISTIC.values(), ids=CHARACTERISTIC.keys())
def test_the_edge_is_where_optax_diverges(case, x64):
    arguments, options, by_hand, build = case
    curvature, eps = 3.0, 0.5
    preconditioned = curvature / eps if arguments[0].startswith("adam") else curvature
    edge = float(stability_edge(jnp.float64(preconditioned), *arguments, **options))
    np.testing.assert_allclose(edge, by_hand / preconditioned, rtol=1e-12)
    low, high = edge / 2, 2 * edge
    for _ in range(22):
        middle = (low + high) / 2
        low, high = (middle, high) if spectral_radius(build(middle, eps), curvature) <= 1 else (low, middle)
    np.testing.assert_allclose(edge, low, rtol=1e-6)


def test_edges_of_many_and_of_none():
    values = np.float32([4.0, 0.0, -3.0, np.nan, np.inf])
    np.testing.assert_array_equal(stability_edge(values), np.float32([0.5, np.inf, np.inf, np.nan, 0.0]))
    measured = Sharpness(jnp.float32(4.0), jnp.float32(0.0), jnp.int32(3))
    edges = jax.jit(jax.vmap(lambda b1: stability_edge(measured, "adam", b1=b1)))(np.float32([0.0, 0.5]))
    np.testing.assert_allclose(edges, [0.5, 1.5], rtol=1e-6)
    assert stability_edge(2).dtype == jnp.float32
    slope = jax.grad(stability_edge)(-1.0)
    assert slope == 0.0


def test_a_network_leaves_its_minimum_above_the_edge():
    images, labels = digits(100)
    batch = images[:, 10:26], labels

    def loss_fn(params, batch):
        logits = jnp.tanh(batch[0] @ params[0]) @ params[1]
        decay = 0.05 * sum(jnp.sum(leaf**2) for leaf in params)  # so that there is a minimum
        return optax.softmax_cross_entropy_with_integer_labels(logits, batch[1]).mean() + decay

    @jax.jit
    def descend(params, rate, steps):
        """The end, the longest way from the start, and the gradient's norm at the end."""

        def step(_, carry):
            params, far, _ = carry
            grads = jax.grad(loss_fn)(params, batch)
            params = jax.tree.map(lambda leaf, grad: leaf - rate * grad, params, grads)
            return params, jnp.maximum(far, optax.tree.norm(optax.tree.sub(params, start))), optax.tree.norm(grads)

        start = params
        return jax.lax.fori_loop(0, steps, step, (params, 0.0, 0.0))

    minimum, _, slope = descend(normal(3, (16, 5), (5, 10)), 1.5, 5000)
    assert slope < 1e-5
    edge = stability_edge(sharpness(loss_fn, minimum, batch, **NARROW))
    displaced = [leaf + 1e-3 * noise for leaf, noise in zip(minimum, normal(4, (16, 5), (5, 10)), strict=True)]
    _, stayed, _ = descend(displaced, 0.9 * edge, 100)
    _, left, _ = descend(displaced, 1.2 * edge, 100)
    assert stayed < 0.02
    assert left > 0.2


def critical(params, diagonal, optimizer=optax.sgd, **options):
    return critical_learning_rate(quadratic, params, np.float32(diagonal), optimizer, **options)


def assert_encloses(found, rate, tolerance=0.05):
    assert found.learning_rate <= rate * (1 + 1e-5)
    assert found.high >= rate * (1 - 1e-5)
    assert found.high <= (1 + tolerance) * found.learning_rate * (1 + 1e-6)


def test_the_critical_rate_of_a_quadratic():
    params, diagonal = np.float32([1.0, 2.0, -1.0]), np.float32([1.0, 5.0, 0.5])
    gradient = diagonal * params
    by_hand = 2 * gradient @ gradient / (gradient @ (diagonal * gradient))
    found = critical(params, diagonal)
    assert_encloses(found, by_hand)
    assert found.learning_rate > 2 / 5.0 * 0.95
    assert found.evaluations == 13 + 4  # 1e-4 doubled until 0.41 and not 0.4096 raises it, an interval of 2 to 1.05
    assert_encloses(critical(params, diagonal, tolerance=1e-9), by_hand, 2e-6)  # as near as float32 comes
    assert_encloses(critical(params, diagonal, init_value=100.0), by_hand)  # downwards


def test_the_critical_rate_follows_the_optimizer_and_its_state():
    params, diagonal = np.float32([1.0, 2.0, -1.0]), np.float32([1.0, 5.0, 0.5])
    gradient, signs = diagonal * params, np.sign(params)
    first = 2 * np.abs(gradient).sum() / diagonal.sum()
    for optimizer in (optax.adam, lrjax.adam, partial(optax.lion, weight_decay=0.0)):
        assert_encloses(critical(params, diagonal, optimizer), first)
    momentum = optax.sgd(1.0, 0.9)
    state = momentum.update(4 * gradient, momentum.init(params), params)[1]
    factor = 1 + 0.9 * 4  # of the step that is now due
    by_hand = 2 * gradient @ gradient / (gradient @ (diagonal * gradient)) / factor
    assert_encloses(critical(params, diagonal, partial(optax.sgd, momentum=0.9), opt_state=state), by_hand)
    assert signs @ gradient > 0


def test_the_passes_are_counted_and_lanes_are_apart():
    calls = []

    def loss_fn(params, batch):
        jax.debug.callback(lambda _: calls.append(1), params)
        return quadratic(params, batch)

    found = critical_learning_rate(loss_fn, jnp.ones(2), jnp.array([1.0, 9.0]), optax.sgd)
    jax.effects_barrier()
    assert len(calls) == found.evaluations + 1

    diagonals = np.float32([[1.0, 1.0], [1e3, 1e3], [0.0, 0.0], [np.nan, 1.0]])
    many = jax.jit(jax.vmap(lambda diagonal: critical_learning_rate(quadratic, jnp.ones(2), diagonal, optax.sgd)))
    together = many(diagonals)
    for lane, rate in enumerate((2.0, 2e-3)):
        assert_encloses(CriticalLearningRate(*(field[lane] for field in together)), rate)
    np.testing.assert_array_equal(together.learning_rate[2:], np.float32([1e3, 0.0]))
    np.testing.assert_array_equal(together.high[2:], np.float32([np.inf, 1e-8]))
    assert "learning_rate=" in str(together)


def test_half_precision_parameters_have_a_critical_rate():
    assert_encloses(critical(jnp.ones(2, jnp.bfloat16), [4.0, 4.0], tolerance=1e-3), 0.5, 1e-3)


def test_the_reason_says_what_to_do():
    assert str(critical(np.ones(1), [4.0])) == (
        "The next step lowers the loss at a rate of 0.487 and raises it at 0.509, found in 18 forward passes."
    )
    assert str(critical(np.zeros(1), [4.0], init_value=1.0, max_value=1.0)) == (
        "No rate up to 1 raised the loss, in 1 forward pass: raise max_value if the optimizer moves the parameters at all "
        "(a schedule whose first rate is zero does not, a zero gradient neither)."
    )
    assert str(critical(np.ones(1), [np.inf], min_value=1e-5)) == (
        "Every rate down to 1e-05 raised the loss or made it not finite, in 5 forward passes: look for a loss that is not "
        "finite already or noise in loss_fn, or lower min_value."
    )


def test_the_warmup_that_starts_at_the_critical_rate_is_the_rest_of_the_whole():
    found = CriticalLearningRate(jnp.float32(0.03), jnp.float32(0.031), jnp.int32(9))
    saved = found.saved_warmup(0.1, 1000)
    assert saved == 300
    whole = lrjax.warmup_cosine(0.1, 5000, warmup_steps=1000)
    rest = lrjax.warmup_cosine(0.1, 5000 - saved, warmup_steps=1000 - saved, init_value=found.learning_rate)
    steps = np.arange(300, 5001, 100)
    np.testing.assert_allclose(rest(steps - 300), whole(steps), rtol=1e-4, atol=1e-8)
    assert found.saved_warmup(0.01, 1000) == 1000
    assert found._replace(learning_rate=jnp.float32(0.0)).saved_warmup(0.1, 1000) == 0


adam = optax.adam(1e-3)
GRADS = jnp.ones(2)
USED = adam.update(GRADS, adam.init(GRADS))[1]
measure = partial(sharpness, quadratic, jnp.ones(2), jnp.ones(2))
BAD = {
    "loss_fn": (
        lambda: sharpness(3, jnp.ones(2), 0, rng=KEY),
        TypeError,
        "a function of params and batch, got 3 (int)",
    ),
    "no params": (
        lambda: sharpness(quadratic, {}, 0, rng=KEY),
        ValueError,
        "a pytree with floating-point arrays, got one",
    ),
    "text": (lambda: sharpness(quadratic, ["a"], 0, rng=KEY), TypeError, "(params=...)` must be a pytree of floating"),
    "integers": (
        lambda: sharpness(quadratic, [1], 0, rng=KEY),
        TypeError,
        "must hold real floating-point arrays, got int32",
    ),
    "complex": (lambda: sharpness(quadratic, [1j], 0, rng=KEY), TypeError, "real floating-point arrays, got complex64"),
    "vector": (
        lambda: sharpness(lambda params, _: params, jnp.ones(2), 0, rng=KEY),
        ValueError,
        "`sharpness(loss_fn=...)` must be a function to a scalar (a mean, say), got one to an array of shape (2,)",
    ),
    "pair": (lambda: sharpness(lambda p, _: (p, p), 1.0, 0, rng=KEY), TypeError, "must return a scalar, got tuple"),
    "whole loss": (
        lambda: sharpness(lambda *_: 3, 1.0, 0, rng=KEY),
        TypeError,
        "floating-point scalar, got dtype int32",
    ),
    "rng": (
        lambda: measure(rng=0),
        TypeError,
        "`sharpness(rng=...)` must be a key such as jax.random.key(0), got 0 (int)",
    ),
    "keys": (lambda: measure(rng=jax.random.split(KEY)), ValueError, "jax.random.key(0), got an array of shape (2,)"),
    "no key": (lambda: measure(rng=np.ones(2)), TypeError, "jax.random.key(0), got dtype float64"),
    "iterations": (lambda: measure(rng=KEY, iterations=0), ValueError, "(iterations=...)` must be at least 1, got 0"),
    "traced iterations": (
        lambda: jax.jit(lambda n: measure(rng=KEY, iterations=n))(3),
        TypeError,
        "(iterations=...)` must be a Python number, which sets the size of the program",
    ),
    "tolerance": (lambda: measure(rng=KEY, tolerance=-1), ValueError, "(tolerance=...)` must be at least 0, got -1"),
    "no Adam": (
        lambda: measure(rng=KEY, preconditioner=optax.sgd(1.0).init(GRADS)),
        ValueError,
        "must be the state of an optimizer with one Adam in it (fields count, mu and nu), got one with none",
    ),
    "two Adams": (lambda: measure(rng=KEY, preconditioner=(USED, USED)), ValueError, "got one with 2"),
    "other Adam": (
        lambda: sharpness(quadratic, jnp.ones(3), 0, rng=KEY, preconditioner=USED),
        ValueError,
        "must be the state of an Adam of these params, all of them and no others",
    ),
    "new Adam": (
        lambda: measure(rng=KEY, preconditioner=adam.init(GRADS)),
        ValueError,
        "must be a state after an update, as from optimizer.update(grads, optimizer.init(params), params)[1], got one",
    ),
    "b2": (lambda: measure(rng=KEY, preconditioner=USED, b2=1.0), ValueError, "(b2=...)` must be less than 1, got 1.0"),
    "eps": (lambda: measure(rng=KEY, preconditioner=USED, eps=-1.0), ValueError, "(eps=...)` must be at least 0"),
    "edge of text": (
        lambda: stability_edge("4"),
        TypeError,
        "(sharpness=...)` must be a Sharpness, a number or an array",
    ),
    "edge of booleans": (lambda: stability_edge(np.array([True])), TypeError, "got dtype bool"),
    "unknown": (
        lambda: stability_edge(1.0, "lion"),
        ValueError,
        "`stability_edge(optimizer=...)` must be one of 'sgd', 'adam', 'adamw', got 'lion'",
    ),
    "b1": (lambda: stability_edge(1.0, b1=1.0), ValueError, "(b1=...)` must be less than 1, got 1.0"),
    "nesterov": (lambda: stability_edge(1.0, nesterov=1), TypeError, "(nesterov=...)` must be True or False"),
    "built": (
        lambda: critical(np.ones(1), [1.0], adam),
        TypeError,
        "must be a function of the learning rate, got a built optimizer: pass optax.adamw, not optax.adamw(1e-3)",
    ),
    "no optimizer": (lambda: critical(np.ones(1), [1.0], None), TypeError, "a function of the learning rate, got None"),
    "not one": (
        lambda: critical(np.ones(1), [1.0], float),
        TypeError,
        "`critical_learning_rate(optimizer=...)` must return an optax.GradientTransformation, got a float",
    ),
    "below": (
        lambda: critical(np.ones(1), [1.0], min_value=1.0, init_value=0.5),
        ValueError,
        "`critical_learning_rate(init_value=...)` must be at least min_value, got 0.5 with 1.0",
    ),
    "above": (
        lambda: critical(np.ones(1), [1.0], max_value=1e-5),
        ValueError,
        "must be at most max_value, got 0.0001 with",
    ),
    "no tolerance": (lambda: critical(np.ones(1), [1.0], tolerance=0.0), ValueError, "must be greater than 0, got 0.0"),
    "peak": (
        lambda: critical(np.ones(1), [1.0]).saved_warmup(0.0, 10),
        ValueError,
        "(peak_value=...)` must be greater",
    ),
}


@pytest.mark.parametrize(("call", "error", "text"), BAD.values(), ids=BAD.keys())
def test_bad_input(call, error, text):
    with pytest.raises(error, match=re.escape(text)):
        call()
