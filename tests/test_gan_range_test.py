"""Range and ramp tests of a GAN, against single runs of ``gan_step`` and games that are solved by hand."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy_gan

from lrjax.finder import GanRampTest, GanRangeTest, Halving, gan_ramp_test, gan_range_test, gan_suggest
from lrjax.finder.gan.pairs import pairs
from lrjax.optimizers import GanOptimizers, gan_init, gan_optimizers, gan_step

PARAMS = (toy_gan.generator_params, toy_gan.discriminator_params)
PAIRS = [(1e-2, 2e-2), (5e-2, 1e-3), (1e-3, 1e-3)]
STEPS = toy_gan.STEPS
KEY = jax.random.key(3)
TRACES = []


def init(key):
    return jax.tree.map(lambda leaf: leaf + 0.1 * jax.random.normal(key, leaf.shape), PARAMS)


def discriminator_loss(discriminator, generator, batch, rng):
    TRACES.append(1)
    fake = toy_gan.sample(generator, rng)
    real_logits, fake_logits = toy_gan.score(discriminator, batch), toy_gan.score(discriminator, fake)
    loss = toy_gan.discriminator_loss(discriminator, generator, batch, rng)
    return loss, {"real_logits": real_logits, "fake_logits": fake_logits, "real": batch, "fake": fake}


def evaluate(generator, latent):
    return jnp.sum(generator["w"] * latent) + generator["b"]


LATENT = jnp.array([2.0, 3.0])


@pytest.fixture(scope="module")
def toy():
    """Three pairs, two seeds."""
    return gan_range_test(
        toy_gan.generator_loss,
        discriminator_loss,
        init,
        toy_gan.batches,
        pairs=PAIRS,
        seeds=[4, 7],
        rng=KEY,
        ema=0.9,
        evaluate=evaluate,
        validation=LATENT,
        validation_steps=[0, 2, STEPS],
    )


@jax.jit
def single_run(generator_rate, discriminator_rate, params, keys):
    """A lane by itself: what every step reports, and the average of the generator after it."""
    optimizers = gan_optimizers(generator_rate, discriminator_rate)
    step = gan_step(toy_gan.generator_loss, discriminator_loss, optimizers, ema=0.9)

    def one(state, x):
        state, metrics = step(state, *x)
        return state, (state.average, metrics)

    return jax.lax.scan(one, gan_init(optimizers, *params), (toy_gan.batches, keys))[1]


def lane(k, seed):
    keys = jnp.stack([jax.random.fold_in(jax.random.fold_in(KEY, seed), i) for i in range(STEPS)])
    return single_run(*PAIRS[k], init(jax.random.key(seed)), keys)


@pytest.mark.parametrize(("k", "r"), [(0, 0), (1, 1), (2, 0)])
def test_a_lane_is_a_run_of_gan_step(toy, k, r):
    averages, metrics = lane(k, toy.seeds[r])
    np.testing.assert_allclose(toy.generator_losses[k, r], metrics.generator_loss, rtol=1e-5)
    np.testing.assert_allclose(toy.discriminator_losses[k, r], metrics.discriminator_loss, rtol=1e-5)
    accuracy = (metrics.real_accuracy + metrics.fake_accuracy) / 2
    np.testing.assert_allclose(toy.signals["accuracy"][k, r], accuracy, rtol=1e-5)
    np.testing.assert_allclose(toy.signals["spread_ratio"][k, r], metrics.spread_ratio, rtol=1e-5)
    last = jax.tree.map(lambda leaf: leaf[-1], averages)
    np.testing.assert_allclose(toy.validation_losses[k, r, -1], evaluate(last, LATENT), rtol=1e-5)


def test_readings_are_of_the_average_after_so_many_steps(toy):
    after_two = jax.tree.map(lambda leaf: leaf[1], lane(1, 7)[0])
    np.testing.assert_array_equal(toy.validation_steps, [0, 2, STEPS])
    np.testing.assert_allclose(toy.validation_losses[1, 1, 1], evaluate(after_two, LATENT), rtol=1e-5)
    start = evaluate(init(jax.random.key(7))[0], LATENT)
    np.testing.assert_allclose(toy.validation_losses[:, 1, 0], [start] * 3, rtol=1e-5)


def test_the_ratio_of_losses_is_that_of_the_logits_cross_entropies(toy):
    discriminator = init(jax.random.key(4))[1]
    rng = jax.random.split(jax.random.fold_in(jax.random.fold_in(KEY, 4), 0), 2)[0]
    real = np.asarray(toy_gan.score(discriminator, toy_gan.batches[0]), np.float64)
    fake = np.asarray(toy_gan.score(discriminator, toy_gan.sample(init(jax.random.key(4))[0], rng)), np.float64)
    expected = (np.log1p(np.exp(-real)).mean() + np.log1p(np.exp(fake)).mean()) / np.log1p(np.exp(-fake)).mean()
    np.testing.assert_allclose(toy.signals["loss_ratio"][:, 0, 0], [expected] * 3, rtol=1e-5)


def test_sizes_and_fields(toy):
    assert repr(toy) == "GanRangeTest(3 pairs, 2 seeds, 6 steps)"
    assert isinstance(toy, GanRangeTest)
    np.testing.assert_allclose(toy.scales, np.sqrt(np.prod(PAIRS, axis=1)))
    np.testing.assert_allclose(toy.ratios, [2.0, 0.02, 1.0])
    assert toy.generator_losses.shape == (3, 2, STEPS)
    assert toy.axes == {}
    assert toy.status.shape == toy.lost_at.shape == (3, 2)
    assert (toy.lost_at == -1).all()
    assert toy.place(4.9e-2, 1.1e-3) == 1


def test_functions_are_traced_once_however_many_rates_there_are(toy):
    before = len(TRACES)
    arguments = (toy_gan.generator_loss, discriminator_loss, init, toy_gan.batches)
    options = {"rng": KEY, "ema": 0.9, "evaluate": evaluate, "validation": LATENT, "validation_steps": [0, 2, STEPS]}
    again = gan_range_test(*arguments, pairs=[(2e-3, 2e-3), (1e-4, 1.0), (0.1, 0.2)], seeds=[4, 7], **options)
    assert len(TRACES) == before
    assert not np.array_equal(again.generator_losses[0], toy.generator_losses[0])


# A game without a game: each player walks down a slope of 1, so that its parameter is minus the sum of its rates.


def slope(own, opponent, batch, rng):
    return own + 0.0 * opponent + 0.0 * jax.random.uniform(rng)


def sgd(generator_learning_rate, discriminator_learning_rate):
    return GanOptimizers(optax.sgd(generator_learning_rate), optax.sgd(discriminator_learning_rate))


WALK = (slope, slope, (jnp.array(0.0), jnp.array(0.0)), np.zeros((10, 1), np.float32), sgd)
READ = {"ema": 0.0, "evaluate": lambda generator, _: generator, "validation": jnp.zeros(())}


def walked(result):
    """The sums of both players' rates over the steps before the last."""
    return result.generator_losses[..., -1], result.discriminator_losses[..., -1]


def test_a_grid_is_of_all_scales_and_ratios_and_each_player_has_its_own_rate():
    result = gan_range_test(*WALK, scales=[0.1, 0.2, 0.4], ratios=[4.0, 1.0], **READ)
    scale, ratio = np.repeat([0.1, 0.2, 0.4], 2), np.tile([4.0, 1.0], 3)
    np.testing.assert_allclose(result.scales, scale)
    np.testing.assert_allclose(result.ratios, ratio)
    generator, discriminator = walked(result)
    np.testing.assert_allclose(generator[:, 0], -9 * scale / np.sqrt(ratio), rtol=1e-5)
    np.testing.assert_allclose(discriminator[:, 0], -9 * scale * np.sqrt(ratio), rtol=1e-5)
    np.testing.assert_allclose(result.validation_losses[:, 0], -np.outer(scale / ratio**0.5, range(11)), rtol=1e-5)
    assert list(result.axes) == ["scales", "ratios"]
    assert repr(result) == "GanRangeTest(3 scales x 2 ratios, 1 seed, 10 steps)"


def test_a_grid_of_both_rates_and_one_player_by_itself():
    result = gan_range_test(*WALK, generator_learning_rates=[0.3], discriminator_learning_rates=[0.2, 0.1], steps=4)
    np.testing.assert_array_equal(result.generator_learning_rates, [0.3, 0.3])
    np.testing.assert_array_equal(result.discriminator_learning_rates, [0.2, 0.1])
    np.testing.assert_allclose(np.squeeze(walked(result)), [[-0.9, -0.9], [-0.6, -0.3]], rtol=1e-5)
    assert repr(result) == "GanRangeTest(1 generator rates x 2 discriminator rates, 1 seed, 4 steps)"


def test_the_default_grid():
    grid = pairs("gan_range_test", None, None, None, None, None)
    np.testing.assert_allclose(grid.axes["scales"], np.geomspace(2e-5, 2e-2, 8))
    np.testing.assert_allclose(grid.axes["ratios"], [1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8, 16])
    assert grid.generator.shape == grid.discriminator.shape == (64,)
    np.testing.assert_allclose((grid.generator * grid.discriminator)[8:16], 5.365e-5**2, rtol=1e-3)
    np.testing.assert_allclose((grid.discriminator / grid.generator)[8:16], grid.axes["ratios"])


def test_a_ramp_warms_up_and_then_rises_evenly_in_the_logarithm():
    options = {"steps": 8, "warmup_steps": 3, "min_scale": 0.1, "max_scale": 12.8, "ratio": 4.0}
    result = gan_ramp_test(*WALK, **options, **READ)
    scales = np.array([0.1] * 3 + [0.1 * 2**i for i in range(8)])
    np.testing.assert_allclose(result.scales, scales)
    walked_generator, walked_discriminator = (np.concatenate([[0], np.cumsum(s)]) for s in (scales / 2, scales * 2))
    np.testing.assert_allclose(result.generator_losses[0], -walked_generator[:-1], rtol=1e-5)
    np.testing.assert_allclose(result.discriminator_losses[0], -walked_discriminator[:-1], rtol=1e-5)
    np.testing.assert_array_equal(result.validation_steps, range(3, 12))
    np.testing.assert_allclose(result.validation_losses[0], -walked_generator[3:], rtol=1e-5)
    np.testing.assert_allclose(result.reading_scales(), [0.1, *scales[3:]])
    assert isinstance(result, GanRampTest)
    assert repr(result) == "GanRampTest(8 steps from 0.1 to 12.8 after 3 of warm-up, ratio 4, 1 seed)"
    assert result.note == "The 10 batches were gone through 1.1 times."


def test_pairs_are_halved_by_the_metric_and_losses_that_are_not_finite_lose_a_lane():
    result = gan_range_test(
        *WALK, pairs=[(0.1, 0.1), (0.2, 0.1), (0.3, 0.1), (1e38, 0.1)], keep=Halving(rungs=1), **READ
    )
    np.testing.assert_array_equal(result.status[:, 0], ["dropped", "finite", "finite", "diverged"])
    assert gan_suggest(result).generator_learning_rate in (0.2, 0.3)


def test_the_discriminator_may_take_several_steps_and_networks_may_carry_states():
    def loss(own, opponent, batch, rng, state):
        count = state._replace(generator=state.generator + 1.0)
        return jnp.mean(batch) * own + 0.0 * jax.random.uniform(rng), {"state": count}

    def twice(g, d):
        return GanOptimizers(optax.sgd(g), optax.sgd(d), 2)

    batches = np.tile(np.float32([1.0, 3.0])[None, :, None], (5, 1, 4))
    result = gan_range_test(
        loss,
        loss,
        (jnp.array(0.0), jnp.array(0.0)),
        batches,
        twice,
        pairs=[(0.1, 0.01)],
        generator_state=jnp.array(0.0),
        ema=0.0,
        evaluate=lambda generator, _, state: generator + 100.0 * state,
        validation=jnp.zeros(()),
    )
    # the generator sees the last slice; three calls a step count
    np.testing.assert_allclose(result.validation_losses[0, 0, -1], -5 * 3.0 * 0.1 + 100.0 * 15, rtol=1e-6)
    # the mean of both updates' losses in the last step: 16 slopes before the first of them, 17 before the second
    np.testing.assert_allclose(result.discriminator_losses[0, 0, -1], -(0.16 * 1 + 0.17 * 3) / 2, rtol=1e-4)


def test_a_metric_may_draw_its_samples_by_a_key_and_be_averaged_over_several():
    keys = [jax.random.key(1), jax.random.key(2)]
    options = {"evaluate": lambda generator, key: generator + jax.random.normal(key), "validation": keys}
    result = gan_range_test(*WALK, pairs=[(0.1, 0.1)], ema=0.0, **options)
    drawn = np.mean([float(jax.random.normal(key)) for key in keys])
    np.testing.assert_allclose(result.validation_losses[0, 0], drawn - 0.1 * np.arange(11), rtol=1e-5)


def test_an_average_that_is_out_of_date_is_noted():
    long = {**READ, "ema": 0.9}
    assert gan_range_test(*WALK, pairs=[(0.1, 0.1)], **READ).note == ""
    assert gan_range_test(*WALK, pairs=[(0.1, 0.1)], **long).note == (
        "After 10 steps the average of the generator still shows its start: lower ema=0.9."
    )
    assert gan_range_test(*WALK, pairs=[(0.1, 0.1)], ema=1.0).note == ""  # nothing reads it


GRID = {"pairs": [(0.1, 0.1)]}
ONE_SIDED = {"w": jnp.zeros(2, int)}


def giving(value):
    """A loss, a metric or an init that gives that of its first argument, whatever it is."""
    return lambda first, *_: value(first)


WRONG = {
    "loss": (
        lambda: gan_range_test(0.5, slope, *WALK[2:]),
        TypeError,
        "`gan_range_test(generator_loss=...)` must be a function generator_loss(own_params, opponent_params, batch, rng), got 0.5 (float)",
    ),
    "loss's arguments": (
        lambda: gan_range_test(slope, lambda own: own, *WALK[2:], **GRID),
        TypeError,
        "`gan_range_test(discriminator_loss=...)` must be callable as discriminator_loss(own_params, opponent_params, batch, rng): too many positional arguments",
    ),
    "built optimizers": (
        lambda: gan_range_test(*WALK[:4], gan_optimizers(), **GRID),
        TypeError,
        "`gan_range_test(optimizers=...)` must be a function of both rates, got built optimizers: pass lrjax.gan_optimizers, not lrjax.gan_optimizers(2e-4, 4e-4)",
    ),
    "one optimizer": (
        lambda: gan_range_test(*WALK[:4], optax.adam, **GRID),
        TypeError,
        "`gan_range_test(optimizers=...)` must return GanOptimizers, as lrjax.gan_optimizers does, got a GradientTransformationExtraArgs",
    ),
    "optimizers that read their rate": (
        lambda: gan_range_test(*WALK[:4], lambda g, d: sgd(float(g), d), **GRID),
        TypeError,
        "`gan_range_test(optimizers=...)` must build its optimizers from traced learning rates (a Python `if`, `float` or NumPy function of a rate cannot read it)",
    ),
    "no pair of params": (
        lambda: gan_range_test(slope, slope, jnp.zeros(2), WALK[3], **GRID),
        TypeError,
        "`gan_range_test(params=...)` must be the pair (generator_params, discriminator_params) or init(key) -> (generator_params, discriminator_params), got float32[2]",
    ),
    "init of no pair": (
        lambda: gan_range_test(slope, slope, giving(lambda _: jnp.zeros(2)), WALK[3], **GRID),
        TypeError,
        "`gan_range_test(params=...)` must be the pair (generator_params, discriminator_params) or a function of a key to it, got a function to float32[2]",
    ),
    "whole numbers": (
        lambda: gan_range_test(slope, slope, (jnp.zeros(2), ONE_SIDED), WALK[3], **GRID),
        TypeError,
        "`gan_range_test(params[1]=...)` must hold floating arrays only, got int32 at ['w']",
    ),
    "no arrays": (
        lambda: gan_range_test(slope, slope, (jnp.zeros(2), {}), WALK[3], **GRID),
        ValueError,
        "`gan_range_test(params[1]=...)` must be a pytree with floating-point arrays, got one without arrays",
    ),
    "batches without the discriminator's steps": (
        lambda: gan_range_test(*WALK[:4], lambda g, d: GanOptimizers(optax.sgd(g), optax.sgd(d), 5), **GRID),
        ValueError,
        "`gan_range_test(batches=...)` must be batches that each lead with an axis of discriminator_steps = 5, got batches of shape (1,)",
    ),
    "aux": (
        lambda: gan_range_test(giving(lambda own: (own, 1)), *WALK[1:], **GRID),
        TypeError,
        "`gan_range_test(generator_loss=...)` must return a dict with names as keys beside its loss, got int",
    ),
    "state": (
        lambda: gan_range_test(giving(lambda own: (own, {"state": 1})), *WALK[1:], **GRID),
        ValueError,
        "`gan_range_test(generator_loss=...)` returned aux['state'], but gan_range_test was given no state: pass gan_range_test(generator_state=..., discriminator_state=...)",
    ),
    "two grids": (
        lambda: gan_range_test(*WALK, scales=[1e-3], pairs=[(1, 1)]),
        ValueError,
        "`gan_range_test(pairs=...)` must be left out where scales is given: a grid is of scales and ratios, of both rates, or listed, got [(1, 1)]",
    ),
    "scales and rates": (
        lambda: gan_range_test(*WALK, ratios=[1.0], generator_learning_rates=[0.1]),
        ValueError,
        "`gan_range_test(generator_learning_rates=...)` must be left out where ratios is given: a grid is of scales and ratios, of both rates, or listed, got [0.1]",
    ),
    "half a grid": (
        lambda: gan_range_test(*WALK, generator_learning_rates=[0.1]),
        ValueError,
        "`gan_range_test(discriminator_learning_rates=...)` must be given where generator_learning_rates is, if only as one rate in a list, got None",
    ),
    "negative scale": (
        lambda: gan_range_test(*WALK, scales=[0.1, -1.0]),
        ValueError,
        "`gan_range_test(scales=...)` must be greater than 0, got -1",
    ),
    "tiny rates": (
        lambda: gan_range_test(*WALK, scales=[1e-30], ratios=[1e30]),
        ValueError,
        "`gan_range_test(ratios=...)` must be such that all rates are numbers in float32, got rates from 1e-45 to 1e-45",
    ),
    "no pair": (
        lambda: gan_range_test(*WALK, pairs=[(0.1, 0.2), 0.3]),
        ValueError,
        "`gan_range_test(pairs[1]=...)` must be a pair (generator's rate, discriminator's rate), got 0.3",
    ),
    "a pair twice": (
        lambda: gan_range_test(*WALK, pairs=[(0.1, 0.2), (0.1, 0.2)]),
        ValueError,
        "`gan_range_test(pairs=...)` must be distinct in float32, got (0.1, 0.2) more than once",
    ),
    "no pairs": (
        lambda: gan_range_test(*WALK, pairs=[]),
        ValueError,
        "`gan_range_test(pairs=...)` must be a sequence of pairs (generator's rate, discriminator's rate), at least one, got none",
    ),
    "evaluate without validation": (
        lambda: gan_range_test(*WALK, **GRID, evaluate=giving(jnp.sum)),
        ValueError,
        "`gan_range_test(evaluate=...)` must be left out where there is no validation=, got a function",
    ),
    "steps without evaluate": (
        lambda: gan_range_test(*WALK, **GRID, validation_steps=[3]),
        ValueError,
        "`gan_range_test(validation_steps=...)` must be left out where there is no evaluate=, got a list",
    ),
    "a metric that is no scalar": (
        lambda: gan_range_test(*WALK, **GRID, evaluate=giving(lambda _: jnp.zeros(3)), validation=jnp.zeros(())),
        ValueError,
        "`gan_range_test(evaluate=...)` must be a function to a scalar (a mean, say), got one to an array of shape (3,)",
    ),
    "halving without evaluate": (
        lambda: gan_range_test(*WALK, **GRID, keep=Halving()),
        ValueError,
        "`gan_range_test(keep=...)` must be 'finite' or 'all' where there is no evaluate=, by which lanes are compared, got Halving",
    ),
    "seeds that change nothing": (
        lambda: gan_range_test(giving(jnp.sum), giving(jnp.sum), *WALK[2:], **GRID, seeds=2),
        ValueError,
        "`gan_range_test(seeds=...)` must be left out where seeds change nothing (params is no function of a key or ignores it, and there is no rng that loss_fn uses), got 2 seeds",
    ),
    "ema": (
        lambda: gan_range_test(*WALK, **GRID, ema=1.5),
        ValueError,
        "`gan_range_test(ema=...)` must be at most 1, got 1.5",
    ),
    "order": (
        lambda: gan_range_test(*WALK, **GRID, order="random"),
        ValueError,
        "`gan_range_test(order=...)` must be one of 'alternating', 'simultaneous', got 'random'",
    ),
    "ramp without a metric": (
        lambda: gan_ramp_test(*WALK, evaluate=None, validation=jnp.zeros(())),
        ValueError,
        "`gan_ramp_test(evaluate=...)` must be given: losses show no edge, a metric on samples does, got None",
    ),
    "falling ramp": (
        lambda: gan_ramp_test(*WALK, **READ, min_scale=0.1, max_scale=0.05),
        ValueError,
        "`gan_ramp_test(max_scale=...)` must be greater than min_scale, got 0.05 with 0.1",
    ),
    "ratio": (
        lambda: gan_ramp_test(*WALK, **READ, ratio=0.0),
        ValueError,
        "`gan_ramp_test(ratio=...)` must be greater than 0, got 0",
    ),
    "one step": (
        lambda: gan_ramp_test(*WALK, **READ, steps=1),
        ValueError,
        "`gan_ramp_test(steps=...)` must be at least 2, got 1",
    ),
}


@pytest.mark.parametrize(("call", "error", "message"), WRONG.values(), ids=WRONG)
def test_wrong_calls_are_refused_by_name(call, error, message):
    with pytest.raises(error, match="^" + re.escape(message)):
        call()
