"""current_learning_rate: every container, step by step, against rates computed by hand."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from flax.training.train_state import TrainState
from hypothesis import given, settings
from hypothesis import strategies as st
from optax import contrib

from lrjax import optimizers
from lrjax.monitors import current_learning_rate, record, reduce_on_plateau

RATES = np.float32([0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625])
LABELS = {"w": "body", "b": "head"}


def schedule(count):
    """The rate of update ``count``, from a table that no formula of the code under test has."""
    return jnp.asarray(RATES)[jnp.minimum(count, len(RATES) - 1)]


def tree(dtype=jnp.float32):
    return {"w": jnp.array([3.0, 4.0], dtype), "b": jnp.array([1.0, -2.0, 0.5], dtype)}


def injected(rate=schedule, factory=optax.sgd):
    return optax.inject_hyperparams(factory)(rate)


def seen(optimizer, **extra_args):
    """The rate read before the first update and after each, in a scan; the updates beside them."""
    params = tree()

    def step(state, _):
        updates, state = optimizer.update(params, state, params, **extra_args)
        return state, (current_learning_rate(state), updates)

    def run():
        state = optimizer.init(params)
        return current_learning_rate(state), jax.lax.scan(step, state, None, length=len(RATES))[1]

    jax.eval_shape(run)  # traced, as in jit; then one by one, with nothing to compile for each optimizer
    with jax.disable_jit():
        return run()


def assert_rates(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


HOLDERS = {
    "preset": lambda: optimizers.adamw(schedule),
    "schedule-free preset": lambda: optimizers.schedule_free_adamw(schedule),
    "muon preset": lambda: optimizers.muon(schedule),
    "gan_optimizers": lambda: optimizers.gan_optimizers(schedule).generator,
    "inject_hyperparams": injected,
    "injected preset": lambda: injected(factory=optimizers.sgd),
    "record": lambda: record(optax.sgd(schedule), learning_rate=schedule),
    "record of a preset": lambda: record(optimizers.sgd(schedule)),
    "chain": lambda: optax.chain(optax.clip(1.0), optax.chain(optax.trace(0.9), injected())),
    "named_chain": lambda: optax.named_chain(("clip", optax.clip(1.0)), ("sgd", injected())),
    "masked": lambda: optax.masked(injected(), {"w": True, "b": False}),
    "apply_if_finite": lambda: optax.apply_if_finite(injected(), 3),
    "conditionally_transform": lambda: optax.conditionally_transform(injected(), lambda step, **_: step >= 0),
    "schedule_free around a rate": lambda: contrib.schedule_free(injected(), schedule),
    "layerwise": lambda: optax.chain(optimizers.sgd(schedule), optimizers.layerwise({"w": 0.1}, default=1.0)),
}


@pytest.mark.parametrize("build", HOLDERS.values(), ids=HOLDERS.keys())
def test_the_rate_of_the_last_update_before_the_first_the_one_to_come(build):
    before, (rates, _) = seen(build())
    assert_rates(before, RATES[0])
    assert_rates(rates, RATES)


def test_multi_steps_the_rate_of_the_last_update_that_was_applied():
    _, (rates, updates) = seen(optax.MultiSteps(injected(), 2).gradient_transformation())
    assert_rates(rates[1::2], RATES[:3])
    assert_rates(updates["w"][1::2], -rates[1::2, None] * tree()["w"])
    assert_rates(rates[2::2], rates[1:-1:2])


def test_a_skipped_step_leaves_the_rate():
    for optimizer in (optimizers.sgd(schedule), optax.apply_if_finite(injected(), 3)):
        params, state = tree(), optimizer.init(tree())
        for grads in (params, {**params, "w": jnp.array([jnp.nan, 1.0])}):
            _, state = optimizer.update(grads, state, params)
            assert_rates(current_learning_rate(state), RATES[0])


def test_groups_give_a_dict_by_label():
    groups = {"body": injected(), "head": optimizers.sgd(0.75)}
    patterns = {"body": "w", "head": "b"}
    for optimizer in (optax.partition(groups, LABELS), optimizers.param_groups(groups, patterns, max_norm=1.0)):
        _, (rates, _) = seen(optax.chain(optax.clip(1.0), optimizer))
        assert_rates(rates["body"], RATES)
        assert_rates(rates["head"], np.full(len(RATES), 0.75))


def test_labels_without_a_rate_are_left_out_and_groups_nest():
    inner = optax.partition({"deep": injected()}, "deep")
    optimizer = optax.partition({"body": inner, "head": optax.set_to_zero()}, LABELS)
    _, (rates, _) = seen(optimizer)
    assert set(rates) == {"body"}
    assert_rates(rates["body"]["deep"], RATES)


def test_groups_inside_inject_hyperparams_are_closer_to_the_update():
    def both(learning_rate):
        return optax.partition({"body": optimizers.sgd(learning_rate), "head": optimizers.sgd(0.75)}, LABELS)

    _, (rates, _) = seen(injected(factory=both))
    assert_rates(rates["body"], RATES)
    assert_rates(rates["head"], np.full(len(RATES), 0.75))


PLATEAUS = {"lrjax": lambda: reduce_on_plateau(0.5, 0), "optax": lambda: contrib.reduce_on_plateau(0.5, 1)}


@pytest.mark.parametrize("plateau", PLATEAUS.values(), ids=PLATEAUS.keys())
def test_the_scale_of_a_plateau_in_the_same_chain_multiplies(plateau):
    groups = optax.partition({"body": injected(0.5), "head": optax.set_to_zero()}, LABELS)
    _, (rates, updates) = seen(optax.chain(groups, plateau()), value=jnp.float32(1.0))
    assert_rates(updates["w"], -rates["body"][:, None] * tree()["w"])
    assert rates["body"][-1] < 0.1


def test_a_scale_of_something_else_does_not():
    class LossScaleState(NamedTuple):
        scale: jax.Array

    state = (LossScaleState(jnp.float32(1024.0)), injected().init(tree()))
    assert_rates(current_learning_rate(state), RATES[0])


ESTIMATORS = {
    "prodigy": (lambda: optimizers.prodigy(0.5, max_norm=None), 0.5, lambda state: state.inner),
    "dadapt_adamw": (lambda: optimizers.dadapt_adamw(0.5, max_norm=None), 0.5, lambda state: state.inner),
    "contrib.prodigy": (contrib.prodigy, 1.0, lambda state: state),
    "contrib.dadapt_adamw": (contrib.dadapt_adamw, 1.0, lambda state: state),
    "injected contrib.prodigy": (lambda: injected(0.5, contrib.prodigy), 0.5, lambda state: state.inner_state),
}


@pytest.mark.parametrize(("build", "factor", "holder"), ESTIMATORS.values(), ids=ESTIMATORS.keys())
def test_the_estimated_rate_times_its_factor(build, factor, holder):
    optimizer, params = build(), tree()
    state = optimizer.init(params)
    for _ in range(8):
        updates, state = optimizer.update(params, state, params)
        params = optax.apply_updates(params, updates)
    assert holder(state).estim_lr > 1.5e-6  # it has moved
    assert_rates(current_learning_rate(state), factor * holder(state).estim_lr)


def test_contrib_schedule_free_holds_the_largest_rate_of_the_schedule_one_step_ahead():
    before, (rates, _) = seen(contrib.schedule_free_sgd(0.6, warmup_steps=4))
    assert_rates(before, 0.0)
    assert_rates(rates, [0.15, 0.3, 0.45, 0.6, 0.6, 0.6])


def test_mechanic_multiplies_by_its_scale():
    optimizer, params = contrib.mechanize(injected()), jax.tree.map(jnp.zeros_like, tree())
    updates, state = optimizer.update(tree(), optimizer.init(params), params)
    assert_rates(current_learning_rate(state) * tree()["w"], -updates["w"])


def test_lanes_give_an_array_over_them():
    peaks = jnp.array([0.1, 0.2, 0.4])

    def lane(peak):
        optimizer = optax.chain(optax.clip(1.0), optimizers.adamw(lambda count: peak * schedule(count)))
        return optimizer.update(tree(), optimizer.init(tree()), tree())[1]

    states = jax.jit(jax.vmap(lane))(peaks)
    assert_rates(current_learning_rate(states), peaks * RATES[0])


def test_train_state_of_linen():
    state = TrainState.create(apply_fn=lambda: None, params=tree(), tx=optimizers.sgd(schedule))
    for rate in RATES[:3]:
        state = state.apply_gradients(grads=tree())
        assert_rates(current_learning_rate(state), rate)


def test_optimizer_of_nnx():
    model = nnx.Linear(2, 1, rngs=nnx.Rngs(0))
    grads = nnx.grad(lambda model: jnp.sum(model(jnp.ones((1, 2)))))(model)
    groups = optax.partition({"all": injected()}, lambda params: jax.tree.map(lambda _: "all", params))
    for tx, of in ((optax.chain(optax.clip(1.0), injected()), lambda rate: rate), (groups, lambda rate: rate["all"])):
        optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
        for rate in RATES[:2]:
            optimizer.update(model, grads)
            found = of(current_learning_rate(optimizer))
            assert isinstance(found, jax.Array)
            assert_rates(found, rate)


def test_recorded_by_nnx():
    model = nnx.Linear(2, 1, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, record(optimizers.sgd(schedule)), wrt=nnx.Param)
    assert_rates(current_learning_rate(optimizer), RATES[0])


def test_the_players_of_a_gan():
    pair = optimizers.gan_optimizers(schedule, 0.75)
    state = optimizers.gan_init(pair, tree(), tree())
    rates = current_learning_rate(state)
    assert set(rates) == {"generator", "discriminator"}
    assert_rates([rates["generator"], rates["discriminator"]], [RATES[0], 0.75])


def test_names_of_parameters_mean_nothing():
    class Params(NamedTuple):
        learning_rate: jax.Array
        scale: jax.Array
        inner_state: jax.Array
        estim_lr: jax.Array

    params = Params(*jnp.ones(4))
    optimizer = optax.chain(optax.trace(0.9), injected())
    assert_rates(current_learning_rate(optimizer.init(params)), RATES[0])
    with pytest.raises(ValueError, match=r"must be a state that holds a learning rate, got TraceState\. To add"):
        current_learning_rate(optax.trace(0.9).init(params))


@settings(max_examples=25, deadline=None)
@given(
    st.recursive(
        st.sampled_from(["inject", "preset"]),
        lambda inner: st.tuples(st.sampled_from(["chain", "named", "masked", "finite", "record"]), inner),
        max_leaves=4,
    )
)
def test_any_nesting_finds_the_one_rate(nesting):
    def build(node):
        if node == "inject":
            return injected()
        if node == "preset":
            return optimizers.sgd(schedule)
        kind, inner = node[0], build(node[1])
        return {
            "chain": lambda: optax.chain(optax.clip(1.0), inner, optax.identity()),
            "named": lambda: optax.named_chain(("a", optax.trace(0.9)), ("b", inner)),
            "masked": lambda: optax.masked(inner, {"w": True, "b": False}),
            "finite": lambda: optax.apply_if_finite(inner, 2),
            "record": lambda: record(inner),
        }[kind]()

    assert_rates(current_learning_rate(build(nesting).init(tree())), RATES[0])


def test_no_rate_says_what_was_found_and_how_to_add_one():
    state = optax.chain(optax.clip(1.0), optax.masked(optax.adam(schedule), {"w": True, "b": False})).init(tree())
    with pytest.raises(ValueError, match="holds a learning rate") as caught:
        current_learning_rate(state)
    assert str(caught.value) == (
        "`current_learning_rate(opt_state=...)` must be a state that holds a learning rate, got "
        "(EmptyState, MaskedState(ScaleByAdamState, ScaleByScheduleState)). To add it, wrap the optimizer as in "
        "lrjax.record(optimizer, learning_rate=schedule), use a preset such as lrjax.adamw, or "
        "optax.inject_hyperparams(optax.adamw)(schedule)"
    )


def test_no_rate_in_any_group():
    groups = {"body": optax.sgd(0.1), "head": optax.set_to_zero()}
    state = {"all": optax.partition(groups, LABELS).init(tree())}
    with pytest.raises(
        ValueError, match=r"got \{'all': PartitionState\('body': MaskedState\(EmptyState, EmptyState\), "
    ):
        current_learning_rate(state)


def test_several_rates_without_labels_are_refused_with_their_paths():
    state = optax.named_chain(("one", injected()), ("two", optax.chain(optimizers.sgd(0.1)))).init(tree())
    with pytest.raises(ValueError, match="one learning rate") as caught:
        current_learning_rate(state)
    assert "got 2, at opt_state['one'].hyperparams['learning_rate'], opt_state['two'][0].learning_rate: " in str(
        caught.value
    )
    assert_rates(current_learning_rate(state["two"]), 0.1)


def test_an_optimizer_is_no_state():
    with pytest.raises(TypeError, match=r"must be the state, as in optimizer.init\(params\), got GradientTransf"):
        current_learning_rate(optax.adam(1e-3))
