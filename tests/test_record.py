"""record: what it keeps against float64 values computed beside it, and that it changes nothing."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformations import specification, tree

from lrjax import optimizers
from lrjax.monitors import RecordState, backoff, current_learning_rate, record, reduce_on_plateau

STEPS = 6
RATES = np.float32([0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625])
NORMS = ("gradient_norm", "update_norm", "parameter_norm", "update_ratio")


def schedule(count):
    """The rate of update ``count``, from a table."""
    return jnp.asarray(RATES)[jnp.minimum(count, STEPS - 1)]


def stacked(steps=STEPS, dtype=jnp.float32, scale=1.0):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *(tree(dtype, 1 + i, scale) for i in range(steps)))


def train(optimizer, params, grads, **extra_args):
    """The states after each update, the updates and the parameters before each."""

    def step(carry, grad):
        params, state = carry
        updates, state = optimizer.update(grad, state, params, **extra_args)
        return (optax.apply_updates(params, updates), state), (state, updates, params)

    return jax.lax.scan(step, (params, optimizer.init(params)), grads)[1]


def one_by_one(optimizer, params, grads, **extra_args):
    """``train``, the scan only traced and the operations run one by one: nothing to compile for each optimizer."""
    jax.eval_shape(lambda params, grads: train(optimizer, params, grads, **extra_args), params, grads)
    with jax.disable_jit():
        return train(optimizer, params, grads, **extra_args)


def norms(tree):
    """The norm of each step of a stacked tree, in float64."""
    leaves = [np.asarray(leaf, np.complex128) for leaf in jax.tree.leaves(tree)]
    return np.sqrt(sum((np.abs(leaf) ** 2).reshape(len(leaf), -1).sum(1) for leaf in leaves))


@pytest.fixture(scope="module")
def clipped():
    """A run whose gradients are clipped inside what is recorded, the fourth of them lost."""
    grads = stacked(scale=10.0)
    grads["weight"] = grads["weight"].at[3, 1, 2].set(jnp.inf)
    return grads, jax.jit(train, static_argnums=0)(record(optimizers.sgd(schedule, 0.9), decay=0.8), tree(), grads)


def test_norms_are_those_of_the_gradient_before_clipping_the_update_and_the_parameters(clipped):
    grads, (state, updates, params) = clipped
    np.testing.assert_allclose(state.gradient_norm, norms(grads), rtol=1e-6)
    np.testing.assert_allclose(state.update_norm, norms(updates), rtol=1e-6)
    np.testing.assert_allclose(state.parameter_norm, norms(params), rtol=1e-6)
    np.testing.assert_allclose(state.update_ratio, norms(updates) / norms(params), rtol=1e-6)


def test_counts_and_rates(clipped):
    _, (state, _, _) = clipped
    np.testing.assert_array_equal(state.step, np.arange(1, STEPS + 1))
    np.testing.assert_array_equal(state.nonfinite, [0, 0, 0, 1, 1, 1])
    np.testing.assert_allclose(state.learning_rate, RATES[[0, 1, 2, 2, 3, 4]])  # the preset skips a step, clock and all


def average(values, decay):
    """The bias-corrected average of what is finite, by its definition as a weighted mean, in float64."""
    kept = np.array([value for value in values if np.isfinite(value)], np.float64)
    weights = decay ** np.arange(len(kept))[::-1]
    return (weights * kept).sum() / weights.sum()


def test_averages_leave_out_what_is_not_finite(clipped):
    _, (state, _, _) = clipped
    ratios = np.where(np.isfinite(state.gradient_norm), state.update_ratio, np.nan)
    for i in range(STEPS):
        expected = average(state.gradient_norm[: i + 1], 0.8), average(ratios[: i + 1], 0.8)
        actual = state.average_gradient_norm[i], state.average_update_ratio[i]
        np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_a_gradient_lost_at_first_leaves_the_averages_at_zero():
    optimizer, params = record(optax.sgd(0.1)), tree()
    lost = jax.tree.map(lambda leaf: leaf * jnp.nan, params)
    _, state = optimizer.update(lost, optimizer.init(params), params)
    assert state.average_gradient_norm == state.average_update_ratio == state.average_weight == 0.0
    _, state = optimizer.update(params, state, params)
    np.testing.assert_allclose(state.average_gradient_norm, state.gradient_norm)
    np.testing.assert_allclose(state.average_update_ratio, 0.1, rtol=1e-6)
    assert state.nonfinite == 1


WRAPPED = {
    "sgd by a schedule": lambda: record(optax.sgd(schedule), learning_rate=schedule),
    "injected": lambda: record(optax.inject_hyperparams(optax.sgd)(schedule)),
    "preset": lambda: record(optimizers.sgd(schedule, max_norm=None)),
    "in a chain": lambda: optax.chain(record(optimizers.sgd(schedule, max_norm=None)), optax.identity()),
    "masked in a chain": lambda: record(optax.masked(optimizers.sgd(schedule, max_norm=None), mask=True)),
    "plateau": lambda: record(optax.chain(optimizers.sgd(schedule, max_norm=None), reduce_on_plateau(0.5, 0))),
    "plateau of optax": lambda: record(
        optax.chain(optax.sgd(schedule), optax.contrib.reduce_on_plateau(0.5, 1)), learning_rate=schedule
    ),
    "plateau after": lambda: optax.chain(record(optimizers.sgd(schedule, max_norm=None)), reduce_on_plateau(0.5, 0)),
}


@pytest.mark.parametrize("build", WRAPPED.values(), ids=WRAPPED.keys())
def test_the_update_of_sgd_is_the_gradient_times_the_rate(build):
    grads = stacked()
    state, updates, _ = one_by_one(build(), tree(), grads, value=jnp.float32(1.0))
    rates = current_learning_rate(state)
    np.testing.assert_allclose(updates["weight"], -rates[:, None, None] * grads["weight"], rtol=1e-6)
    assert len(set(np.asarray(rates).tolist())) == STEPS


def test_the_scale_of_backoff_is_the_one_that_the_update_had():
    optimizer = record(backoff(optimizers.sgd(schedule, max_norm=None), factor=0.5, restore=False))
    params, state = tree(), optimizer.init(tree())
    losses, rates = (1.0, jnp.nan, 1.0, 1.0), (RATES[0], RATES[0], RATES[1] / 2, RATES[2] / 2)
    for loss, rate in zip(losses, rates, strict=True):
        updates, state = optimizer.update(tree(), state, params, value=jnp.float32(loss))
        assert state.learning_rate == rate  # of the failed step, the rate of the one before it
        applied = rate if np.isfinite(loss) else 0.0
        np.testing.assert_allclose(updates["bias"], -applied * tree()["bias"], rtol=1e-6)
    assert current_learning_rate(state) == current_learning_rate(state.inner) == RATES[2] / 2


def test_the_rates_of_groups_and_their_metrics():
    groups = {"matrix": optimizers.sgd(schedule, max_norm=None), "rest": optax.inject_hyperparams(optax.sgd)(0.75)}
    optimizer = record(optimizers.param_groups(groups, {"matrix": "weight"}, default="rest"))
    grads = stacked()
    state, updates, _ = one_by_one(optimizer, tree(), grads)
    np.testing.assert_allclose(updates["weight"], -state.learning_rate["matrix"][:, None, None] * grads["weight"])
    np.testing.assert_allclose(updates["bias"], -state.learning_rate["rest"][:, None] * grads["bias"])
    assert list(state.metrics)[:3] == ["learning_rate/matrix", "learning_rate/rest", "gradient_norm"]
    np.testing.assert_array_equal(state.metrics["learning_rate/matrix"], RATES)


@pytest.mark.parametrize("build", [optimizers.prodigy, optimizers.dadapt_adamw, optax.contrib.prodigy])
def test_the_estimate_is_the_one_that_the_update_had(build):
    state, _, _ = one_by_one(record(build()), tree(), jax.tree.map(lambda leaf: jnp.stack([leaf] * STEPS), tree()))
    after = current_learning_rate(state.inner)
    np.testing.assert_allclose(state.learning_rate[1:], after[:-1])
    np.testing.assert_allclose(state.learning_rate[0], 1e-6)
    assert after[-1] > 1.01 * state.learning_rate[-1]  # which differ by a step


def test_every_kth_step_measures_and_each_counts_and_reads_the_rate():
    grads = stacked()
    grads["bias"] = grads["bias"].at[jnp.array([1, 4]), 0].set(jnp.nan)
    state, updates, params = one_by_one(record(optimizers.adamw(schedule), every=3, decay=0.5), tree(), grads)
    first = np.array([0, 0, 0, 3, 3, 3])
    np.testing.assert_array_equal(state.nonfinite, [0, 1, 1, 1, 2, 2])
    np.testing.assert_allclose(state.gradient_norm, norms(grads), rtol=1e-6)
    np.testing.assert_allclose(state.update_norm, norms(updates)[first], rtol=1e-6)
    np.testing.assert_allclose(state.parameter_norm, norms(params)[first], rtol=1e-6)
    np.testing.assert_allclose(state.learning_rate, RATES[[0, 0, 1, 2, 2, 3]])
    both = (norms(grads)[0] / 2 + norms(grads)[3]) / 1.5
    np.testing.assert_allclose(state.average_gradient_norm, np.repeat([norms(grads)[0], both], 3), rtol=1e-6)


@pytest.mark.parametrize("every", [1, 2])
def test_it_changes_neither_updates_nor_the_inner_state(every):
    grads = stacked(dtype=jnp.bfloat16)
    alone, updates, _ = one_by_one(optimizers.adamw(schedule), tree(jnp.bfloat16), grads)
    state, recorded, _ = one_by_one(record(optimizers.adamw(schedule), every=every), tree(jnp.bfloat16), grads)
    jax.tree.map(np.testing.assert_array_equal, recorded, updates)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), state.inner, alone)


def test_without_an_optimizer_it_measures_what_passes_its_place():
    grads = stacked(scale=10.0)
    optimizer = optax.chain(record(), optax.clip_by_global_norm(1.0), optax.sgd(0.5), record(learning_rate=0.5))
    (first, _, _, last), _, _ = one_by_one(optimizer, tree(), grads)
    for name in ("gradient_norm", "update_norm"):
        np.testing.assert_allclose(getattr(first, name), norms(grads), rtol=1e-6)
        np.testing.assert_allclose(getattr(last, name), np.full(STEPS, 0.5), rtol=1e-6)
    assert first.learning_rate is None
    assert "learning_rate" not in first.metrics
    np.testing.assert_array_equal(last.learning_rate, 0.5)


def cast_like(updates, params):
    return jax.tree.map(lambda update, param: update.astype(param.dtype), updates, params)


BUILT = {
    "nothing": record,
    "optax": lambda: record(optax.adam(1e-3), every=2),
    "preset": lambda: record(optimizers.adamw(schedule)),
    "injected, a rate in the dtype of the parameters": lambda: record(
        optax.chain(optax.inject_hyperparams(optax.sgd)(schedule), optax.stateless(cast_like))
    ),
    "given schedule": lambda: record(optax.sgd(schedule), every=3, learning_rate=schedule),
    "given number": lambda: record(optax.sgd(0.1), learning_rate=0.1, decay=np.float64(0.5)),
    "groups": lambda: record(
        optax.partition(
            {"a": optimizers.sgd(0.1), "b": optax.set_to_zero()}, {"weight": "a", "bias": "b", "scale": "a"}
        )
    ),
}


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.complex64])
@pytest.mark.parametrize("build", BUILT.values(), ids=BUILT.keys())
def test_the_state_keeps_its_structure_and_is_float32(build, dtype):
    params = {name: leaf for name, leaf in tree(dtype).items() if leaf is not None}
    optimizer = build()
    state = optimizer.init(params)
    updates, new = jax.eval_shape(optimizer.update, params, state, params)
    assert specification(new) == specification(state)
    assert specification(updates) == specification(params)
    measured = jax.tree.leaves(state._replace(inner=None))
    assert {leaf.dtype for leaf in measured} == {jnp.dtype("float32"), jnp.dtype("int32")}
    assert all(leaf.shape == () for leaf in measured)


@pytest.mark.usefixtures("x64")
def test_with_float64_parameters():
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree())
    optimizer = record(optimizers.sgd(schedule), every=2)
    state = jax.eval_shape(optimizer.init, params)
    updates, new = jax.eval_shape(optimizer.update, params, state, params)
    assert specification(new) == specification(state)
    assert updates["weight"].dtype == np.float64
    assert {leaf.dtype.itemsize for leaf in jax.tree.leaves(new._replace(inner=None))} == {4}


def test_empty_trees_and_zeros():
    for params in ({}, {"w": jnp.zeros(3)}):
        optimizer = record(optax.sgd(0.1))
        _, state = optimizer.update(params, optimizer.init(params), params)
        assert [float(getattr(state, name)) for name in NORMS] == [0.0] * 4
    _, state = optimizer.update({"w": jnp.ones(3)}, state, params)
    assert state.update_ratio == np.inf  # from zeros
    assert state.average_update_ratio == 0.0


@settings(max_examples=20, deadline=None)
@given(st.integers(-35, 35), st.integers(-35, 35))
def test_no_norm_overflows_or_underflows(grad_power, param_power):
    params, grads = {"w": jnp.full(4, 10.0**param_power)}, {"w": jnp.full(4, 10.0**grad_power)}
    _, state = SGD.update(grads, SGD.init(params), params)
    np.testing.assert_allclose(state.gradient_norm, 2.0 * 10.0**grad_power, rtol=1e-5)
    np.testing.assert_allclose(state.parameter_norm, 2.0 * 10.0**param_power, rtol=1e-5)


SGD = record(optax.sgd(1.0), learning_rate=1.0)


def test_lanes_are_runs_of_their_own_and_arguments_may_be_traced():
    arguments = {
        "rate": np.float32([0.1, 0.0, 10.0]),
        "every": np.int32([1, 2, 3]),
        "decay": np.float32([0.0, 0.5, 0.9]),
    }
    grads = stacked()

    def optimizer(rate, every, decay):
        return record(optax.sgd(rate), every=every, decay=decay, learning_rate=rate)

    def lane(arguments):
        return train(optimizer(**arguments), tree(), grads)[0]

    together = jax.jit(jax.vmap(lane))(arguments)
    np.testing.assert_array_equal(together.learning_rate, np.repeat(arguments["rate"][:, None], STEPS, 1))
    for i in range(3):
        own = {name: values[i].item() for name, values in arguments.items()}
        alone, _, _ = one_by_one(optimizer(**own), tree(), grads)
        jax.tree.map(lambda a, b, i=i: np.testing.assert_allclose(a[i], b, rtol=1e-5, atol=1e-6), together, alone)


def test_inside_multi_steps_it_sees_the_averaged_gradient():
    grads = stacked()
    optimizer = optax.MultiSteps(record(optimizers.sgd(schedule)), 2).gradient_transformation()
    state, _, _ = one_by_one(optimizer, tree(), grads)
    inner = state.inner_opt_state
    assert isinstance(inner, RecordState)
    means = jax.tree.map(lambda leaf: (leaf[::2] + leaf[1::2]) / 2, grads)
    np.testing.assert_allclose(inner.gradient_norm[1::2], norms(means), rtol=1e-6)
    np.testing.assert_array_equal(inner.step[1::2], [1, 2, 3])


def test_extra_arguments_reach_the_optimizer():
    def update(updates, state, params=None, *, value, **extra_args):
        return jax.tree.map(lambda leaf: value * leaf, updates), state

    inner = optax.GradientTransformationExtraArgs(optax.init_empty_state, update)
    params = {"w": jnp.ones(4)}
    optimizer = record(inner)
    _, state = optimizer.update(params, optimizer.init(params), params, value=jnp.float32(3.0))
    assert (state.gradient_norm, state.update_norm) == (2.0, 6.0)


def test_metrics_are_scalars_by_name():
    state = record(optimizers.adamw(0.1)).init(tree())
    assert {name: value.shape for name, value in state.metrics.items()} == dict.fromkeys(
        ["learning_rate", *NORMS, "nonfinite", "average_gradient_norm", "average_update_ratio"], ()
    )


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"inner": 3}, TypeError, "must be an optax transformation, such as optax.adamw(1e-3), or None, got 3 (int)"),
        ({"every": 0}, ValueError, "must be at least 1, got 0"),
        ({"every": 2.5}, ValueError, "must be a whole number, got 2.5"),
        ({"decay": 1.0}, ValueError, "must be less than 1, got 1.0"),
        ({"decay": -0.5}, ValueError, "must be at least 0, got -0.5"),
        ({"learning_rate": -1.0}, ValueError, "must be at least 0, got -1.0"),
        ({"learning_rate": "fast"}, TypeError, "must be a number, a schedule or None, got 'fast' (str)"),
        ({"learning_rate": True}, TypeError, "must be a number, a schedule or None, got True (bool)"),
    ],
)
def test_wrong_arguments_are_named(arguments, kind, message):
    with pytest.raises(kind) as caught:
        record(**arguments)
    assert str(caught.value) == f"`record({next(iter(arguments))}=...)` {message}"


def test_it_needs_the_parameters():
    optimizer = record(optax.sgd(0.1))
    with pytest.raises(ValueError, match=r"^`record` needs the parameters: call update\(grads, state, params\)$"):
        optimizer.update(tree(), optimizer.init(tree()))


def test_several_rates_are_refused_unless_one_is_given():
    several = optax.chain(optimizers.sgd(0.1), optax.inject_hyperparams(optax.sgd)(0.2))
    with pytest.raises(
        ValueError, match=r"`record\(inner=...\)` must be an optimizer with one learning rate"
    ) as caught:
        record(several).init(tree())
    assert (
        "got 2, at state[0].learning_rate, state[1].hyperparams['learning_rate']: say which by learning_rate="
        in str(caught.value)
    )
    assert record(several, learning_rate=0.5).init(tree()).learning_rate == 0.5
