"""BatchNorm in both players, of flax.nnx, of flax.linen and written by hand, against a loop on nnx modules."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx
from transformations import specification

from lrjax.optimizers import gan_init, gan_optimizers, gan_step
from lrjax.optimizers.gan_state import GanModelState

LATENT, HIDDEN, FEATURES, BATCH, STEPS = 3, 6, 2, 8, 4
RATES = 1e-2, 2e-2
batches = 1.0 + jax.random.normal(jax.random.key(0), (STEPS, BATCH, FEATURES))
keys = jax.random.split(jax.random.key(1), STEPS)


class Net(nnx.Module):
    """A perceptron with BatchNorm, and Dropout if asked.

    Norms after the activation: before it they would hide shifts, whose gradients were rounding that Adam blows up.
    """

    def __init__(self, inputs, outputs, rngs, rate=0.0):  # noqa: D107
        self.first = nnx.Linear(inputs, HIDDEN, rngs=rngs)
        self.norm = nnx.BatchNorm(HIDDEN, momentum=0.8, rngs=rngs)
        self.drop = nnx.Dropout(rate, rngs=rngs)
        self.last = nnx.Linear(HIDDEN, outputs, rngs=rngs)

    def __call__(self, x):  # noqa: D102
        return self.last(self.drop(self.norm(nnx.relu(self.first(x)))))


class LinenNet(linen.Module):
    """The same in flax.linen."""

    outputs: int

    @linen.compact
    def __call__(self, x):  # noqa: D102
        x = linen.relu(linen.Dense(HIDDEN, name="first")(x))
        x = linen.BatchNorm(use_running_average=False, momentum=0.8, name="norm")(x)
        return linen.Dense(self.outputs, name="last")(x)


def generator(**options):
    return Net(LATENT, FEATURES, nnx.Rngs(0), **options)


def discriminator(**options):
    return Net(FEATURES, 1, nnx.Rngs(1), **options)


def plain(net):
    """Parameters and averages of an nnx network as plain trees."""
    layers = {"first": net.first, "last": net.last}
    params = {name: {"kernel": layer.kernel[...], "bias": layer.bias[...]} for name, layer in layers.items()}
    params["norm"] = {"scale": net.norm.scale[...], "bias": net.norm.bias[...]}
    return params, {"norm": {"mean": net.norm.mean[...], "var": net.norm.var[...]}}


def g_objective(fake_logits):
    return jnp.mean(nnx.softplus(-fake_logits))


def d_objective(real_logits, fake_logits):
    return jnp.mean(nnx.softplus(-real_logits)) + jnp.mean(nnx.softplus(fake_logits))


def losses(apply_g, apply_d):
    """Both losses for two ``apply(params, state, x) -> (y, new_state)``."""

    def g_loss(g, d, batch, rng, state):
        fake, g_state = apply_g(g, state.generator, jax.random.normal(rng, (BATCH, LATENT)))
        fake_logits, d_state = apply_d(d, state.discriminator, fake)
        return g_objective(fake_logits), {"state": GanModelState(g_state, d_state)}

    def d_loss(d, g, batch, rng, state):
        fake, g_state = apply_g(g, state.generator, jax.random.normal(rng, (BATCH, LATENT)))
        real_logits, d_state = apply_d(d, state.discriminator, batch)
        fake_logits, d_state = apply_d(d, d_state, fake)
        aux = {"real_logits": real_logits, "fake_logits": fake_logits, "real": batch, "fake": fake}
        return d_objective(real_logits, fake_logits), {
            **aux,
            "state": state._replace(generator=g_state, discriminator=d_state),
        }

    return g_loss, d_loss


def of_nnx(**options):
    """Apply functions, parameters and states of the two nnx networks."""
    parts = [nnx.split(net, nnx.Param, ...) for net in (generator(**options), discriminator(**options))]

    def applying(graph):
        def apply(params, state, x):
            net = nnx.merge(graph, params, state, copy=True)
            return net(x), nnx.split(net, nnx.Param, ...)[2]

        return apply

    return [(applying(graph), params, state) for graph, params, state in parts]


def of_linen():
    """The same of flax.linen."""

    def applying(net):
        def apply(params, state, x):
            y, new = net.apply({"params": params, "batch_stats": state}, x, mutable=["batch_stats"])
            return y, new["batch_stats"]

        return apply

    return [
        (applying(LinenNet(outputs)), *plain(net)) for outputs, net in ((FEATURES, generator()), (1, discriminator()))
    ]


def activations(params, x):
    """What BatchNorm sees."""
    return jax.nn.relu(x @ params["first"]["kernel"] + params["first"]["bias"])


def normalized(params, mean, var, hidden):
    """BatchNorm with these moments, and the last layer."""
    normal = (hidden - mean) / jnp.sqrt(var + 1e-5) * params["norm"]["scale"] + params["norm"]["bias"]
    return normal @ params["last"]["kernel"] + params["last"]["bias"]


def by_hand(params, state, x):
    """BatchNorm written out."""
    hidden = activations(params, x)
    moments = {"mean": hidden.mean(0), "var": hidden.var(0)}
    averages = jax.tree.map(lambda old, new: 0.8 * old + 0.2 * new, state["norm"], moments)
    return normalized(params, *moments.values(), hidden), {"norm": averages}


def of_trees():
    """The same as plain trees of arrays."""
    return [(by_hand, *plain(net)) for net in (generator(), discriminator())]


def game(players, optimizers=None, **options):
    """The step and the first state."""
    optimizers = gan_optimizers(*RATES) if optimizers is None else optimizers
    (apply_g, g, g_state), (apply_d, d, d_state) = players
    step = gan_step(*losses(apply_g, apply_d), optimizers, **options)
    return step, gan_init(optimizers, g, d, generator_state=g_state, discriminator_state=d_state)


@nnx.jit
def d_turn(d, g, optimizer, batch, rng):
    """One update of the discriminator's module, written the nnx way: the forward pass updates both modules' averages."""

    def loss(d, g):
        fake = g(jax.random.normal(rng, (BATCH, LATENT)))
        return d_objective(d(batch), d(fake))

    optimizer.update(d, nnx.grad(loss)(d, g))


@nnx.jit
def g_turn(g, d, optimizer, rng):
    """One update of the generator's."""
    optimizer.update(g, nnx.grad(lambda g, d: g_objective(d(g(jax.random.normal(rng, (BATCH, LATENT))))))(g, d))


ADAM = [optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate, b1=0.5)) for rate in RATES]


def loop_on_modules(steps: int):
    """Parameters and averages after a loop on the modules."""
    g, d = generator(), discriminator()
    g_optimizer, d_optimizer = (nnx.Optimizer(net, adam, wrt=nnx.Param) for net, adam in zip((g, d), ADAM, strict=True))
    for i in range(STEPS):
        rngs = jax.random.split(keys[i], steps + 1)
        for j in range(steps):
            d_turn(d, g, d_optimizer, batches[i] + j, rngs[j])
        g_turn(g, d, g_optimizer, rngs[steps])
    return plain(g), plain(d)


def trees_of(params, state):
    """Parameters and averages as dictionaries of arrays, whichever library made them."""
    if not isinstance(params, nnx.State):
        return params, state
    averages = state["norm"]
    return nnx.to_pure_dict(params), {"norm": {name: averages[name][...] for name in ("mean", "var")}}


@pytest.mark.parametrize(("players", "steps"), [(of_nnx, 2), (of_linen, 1), (of_trees, 1)])
def test_batch_norm_trains_as_in_a_loop_on_the_modules(players, steps):
    g_expected, d_expected = loop_on_modules(steps)
    step, state = game(players(), gan_optimizers(*RATES, discriminator_steps=steps))
    stacked = batches if steps == 1 else jnp.stack([batches + j for j in range(steps)], axis=1)
    after, metrics = jax.jit(lambda xs: jax.lax.scan(lambda s, x: step(s, *x), state, xs))((stacked, keys))
    assert specification(after) == specification(state)
    for player, averages, expected in [
        (after.generator, after.model_state.generator, g_expected),
        (after.discriminator, after.model_state.discriminator, d_expected),
    ]:
        actual = trees_of(player.params, averages)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5), actual, expected)
    assert all(leaf.shape == (STEPS,) and np.isfinite(leaf).all() for leaf in jax.tree.leaves(metrics))
    assert len(jax.tree.leaves(metrics)) == 8


def test_the_averaged_generator_is_sampled_with_its_batch_statistics():
    step, state = game(of_nnx(), ema=0.5)
    advance = jax.jit(step, donate_argnums=0)
    for batch, key in zip(batches, keys, strict=True):
        state, _ = advance(state, batch, key)
    z = jax.random.normal(jax.random.key(7), (5, LATENT))
    sampler = nnx.merge(nnx.graphdef(generator()), state.average, state.model_state.generator)
    sampler.eval()
    params, averages = trees_of(state.average, state.model_state.generator)
    expected = normalized(params, *averages["norm"].values(), activations(params, z))
    np.testing.assert_allclose(sampler(z), expected, rtol=1e-4, atol=1e-5)
    assert not np.allclose(averages["norm"]["mean"], 0.0, atol=1e-3)
    assert not np.allclose(params["first"]["kernel"], state.generator.params["first"]["kernel"][...], atol=1e-5)


def test_dropout_streams_are_carried():
    """They hold keys and counts, which a state of a scan must keep as they are."""
    step, state = game(of_nnx(rate=0.5))
    after, _ = jax.jit(step)(state, batches[0], keys[0])
    assert specification(after) == specification(state)
    drawn = after.model_state.discriminator["drop"]["rngs"]["count"][...]
    assert int(drawn) == 3  # twice in its own loss, once in the generator's


def tally(own, opponent, batch, rng, state):
    """A loss that carries a running mean of what it saw, as BatchNorm does, for both players."""
    seen = {"mean": 0.5 * state.generator["mean"] + 0.5 * jnp.mean(batch) * own[0]}
    counted = {"calls": state.discriminator["calls"] + 1}
    return jnp.sum((own - opponent) ** 2) * jnp.mean(batch), {"state": GanModelState(seen, counted)}


def start(optimizers, **states):
    states = states or {"generator_state": {"mean": jnp.float32(0.0)}, "discriminator_state": {"calls": jnp.int32(0)}}
    return gan_init(optimizers, jnp.array([1.0, 2.0]), jnp.array([3.0, -1.0]), **states)


def test_one_network_may_carry_nothing():
    def loss(own, opponent, batch, rng, state):
        assert state.discriminator is None
        return jnp.sum(own**2), {"state": state._replace(generator=state.generator + 1)}

    optimizers = gan_optimizers()
    state = start(optimizers, generator_state=jnp.int32(0))
    after, _ = gan_step(loss, loss, optimizers)(state, None, keys[0])
    assert after.model_state == GanModelState(2, None)
    assert specification(after) == specification(state)


@pytest.mark.parametrize("order", ["alternating", "simultaneous"])
def test_the_states_pass_from_loss_to_loss_in_the_order_of_the_calls(order):
    """Each call notes its number on a tape: the discriminator's three, then the generator's, in either order."""

    def noting(mark):
        def loss(own, opponent, batch, rng, state):
            return jnp.sum(own**2), {"state": state._replace(generator=state.generator * 10 + mark)}

        return loss

    optimizers = gan_optimizers(discriminator_steps=3)
    step = gan_step(noting(2), noting(1), optimizers, order=order)
    after, _ = step(start(optimizers, generator_state=jnp.int32(0)), jnp.zeros((3, 1)), keys[0])
    assert int(after.model_state.generator) == 1112


@pytest.mark.parametrize("spoilt", ["generator", "discriminator"])
def test_a_batch_that_spoils_a_gradient_leaves_no_trace_in_the_states(spoilt):
    """Only the healthy loss moves them: NaN would stay in an average for ever."""

    def spoiling(own, opponent, batch, rng, state):
        return tally(own, opponent, batch * jnp.nan, rng, state)

    losses = (spoiling, tally) if spoilt == "generator" else (tally, spoiling)
    optimizers = gan_optimizers(*RATES)
    state = start(optimizers)
    after, _ = gan_step(*losses, optimizers)(state, jnp.ones(4), keys[0])
    healthy = state.discriminator if spoilt == "generator" else state.generator
    np.testing.assert_allclose(after.model_state.generator["mean"], 0.5 * healthy.params[0], rtol=1e-6)
    assert int(after.model_state.discriminator["calls"]) == 1
    np.testing.assert_array_equal(getattr(after, spoilt).params, getattr(state, spoilt).params)


def test_lanes_over_both_rates_carry_states_of_their_own():
    def lane(g, d):
        optimizers = gan_optimizers(g, d)
        step = gan_step(tally, tally, optimizers)
        return jax.lax.scan(lambda s, x: step(s, *x), start(optimizers), (batches, keys))[0].model_state

    rates = jnp.array([1e-3, 3e-2]), jnp.array([2e-2, 0.0])
    together, alone = jax.jit(jax.vmap(lane))(*rates), jax.jit(lane)
    for i, pair in enumerate(zip(*rates, strict=True)):
        expected = alone(*pair)
        np.testing.assert_allclose(together.generator["mean"][i], expected.generator["mean"], rtol=1e-5)
    np.testing.assert_array_equal(together.discriminator["calls"], 2 * STEPS)
    first, second = together.generator["mean"]
    assert abs(first - second) > 1e-3


def test_the_callers_states_survive_donation_in_the_dtypes_that_they_had():
    mine = {"mean": jnp.float16(0.5)}
    optimizers = gan_optimizers()

    def loss(own, opponent, batch, rng, state):
        return jnp.sum(own**2), {"state": state._replace(generator={"mean": state.generator["mean"] * 2})}

    step = jax.jit(gan_step(loss, loss, optimizers), donate_argnums=0)
    state = start(optimizers, generator_state=mine)
    for key in keys:
        state, _ = step(state, None, key)
    assert float(mine["mean"]) == 0.5
    assert state.model_state.generator["mean"].dtype == jnp.float16
    assert float(state.model_state.generator["mean"]) == 0.5 * 4**STEPS
