"""Recipes: the curves by hand, the optimizers they promise, and programs that print the truth."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lrjax
from lrjax.optimizers import GanOptimizers, adamw, gan_init, gan_step
from lrjax.optimizers.recipes import RECIPES, recipe

TRAINABLE = [name for name in RECIPES if name != "gan"]
every_recipe = pytest.mark.parametrize("name", RECIPES)
every_trainable = pytest.mark.parametrize("name", TRAINABLE)


PARAMS = {  # a small network of two layers, the second a head
    "backbone": {"kernel": 0.5 * jax.random.normal(jax.random.key(0), (3, 8)), "bias": jnp.zeros(8)},
    "head": {"kernel": 0.5 * jax.random.normal(jax.random.key(2), (8, 1)), "bias": jnp.zeros(1)},
}
INPUTS = jax.random.normal(jax.random.key(1), (32, 3))
TARGETS = jnp.sin(INPUTS.sum(1, keepdims=True))


def loss_of(params, batch=(INPUTS, TARGETS)):
    hidden = jnp.tanh(batch[0] @ params["backbone"]["kernel"] + params["backbone"]["bias"])
    return jnp.mean((hidden @ params["head"]["kernel"] + params["head"]["bias"] - batch[1]) ** 2)


def trained(optimizer, steps: int, params=PARAMS):
    """The parameters after ``steps`` updates, and the losses before each."""

    def step(carry, _):
        params, state = carry
        loss, grads = jax.value_and_grad(loss_of)(params)
        updates, state = optimizer.update(grads, state, params)
        return (optax.apply_updates(params, updates), state), loss

    (params, _), losses = jax.lax.scan(step, (params, optimizer.init(params)), length=steps)
    return params, losses


def first_update(optimizer):
    """What the optimizer makes of a gradient of ones."""
    return optimizer.update(jax.tree.map(jnp.ones_like, PARAMS), optimizer.init(PARAMS), PARAMS)[0]


def one_by_one(function, *arguments):
    """The value of a function, its operations run one by one: nothing to compile for each recipe."""
    with jax.disable_jit():
        return function(*arguments)


def program_of(optimizer):
    """An update as XLA sees it, all numbers included: equal programs give equal trajectories."""

    def update(grads, state, params):
        return optimizer.update(grads, state, params)

    state = jax.eval_shape(optimizer.init, PARAMS)
    return jax.jit(update).lower(PARAMS, state, PARAMS).as_text()


def players(made):
    """The transformations of a recipe."""
    return list(made.optimizer[:2]) if made.name == "gan" else [made.optimizer]


CURVES = {
    "vit": (3000, {0: 0, 50: 5e-4, 100: 1e-3, 1550: (1e-3 + 1e-6) / 2, 3000: 1e-6}),
    "resnet": (9000, {0: 0.1, 2999: 0.1, 3000: 0.01, 5999: 0.01, 6000: 1e-3, 9000: 1e-3}),
    "llm-pretraining": (4000, {0: 0, 100: 1.5e-4, 200: 3e-4, 2100: (3e-4 + 3e-5) / 2, 4000: 3e-5}),
    "llm-pretraining-wsd": (4000, {0: 0, 200: 3e-4, 3200: 3e-4, 3400: 1.5e-4, 4000: 0}),
    "llm-finetuning": (10_000, {0: 0, 300: 2e-5, 5150: 1e-5, 10_000: 0}),
    "lora": (10_000, {0: 0, 300: 2e-4, 5150: 1e-4, 10_000: 0}),
    "cnn-finetuning": (4000, {0: 0, 200: 1e-4, 2100: 5e-5, 4000: 0}),
    "diffusion": (50_000, {0: 0, 500: 1e-4, 25_250: 5e-5, 50_000: 0}),
    "gan": (1000, {0: 2e-4, 500: (2e-4 + 1e-6) / 2, 1000: 1e-6}),
    "rnn": (1000, {0: 1e-3, 500: (1e-3 + 1e-4) / 2, 1000: 1e-4}),
}


@every_recipe
def test_the_schedule_by_hand(name):
    total_steps, values = CURVES[name]
    schedule = recipe(name, total_steps).schedule
    np.testing.assert_allclose(schedule(np.array(list(values))), list(values.values()), rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize(
    ("total_steps", "warmup_steps"),
    [(1, 0), (2, 0), (9, 0), (10, 1), (100, 10), (999, 99), (1000, 100), (6000, 100), (30_000, 500), (300_300, 5005)],
)
def test_the_warmup_has_a_hundred_steps_or_a_tenth_of_a_short_run(total_steps, warmup_steps):
    made = recipe("vit", total_steps)
    assert f"warmup_steps={warmup_steps}," in made.code
    assert float(made.schedule(warmup_steps)) == np.float32(1e-3)


@pytest.mark.parametrize("total_steps", [1, 2, 3, 10, 100])
@every_recipe
def test_the_schedules_of_short_runs_reach_the_peak(name, total_steps):
    made = recipe(name, total_steps)
    rates = np.asarray(made.schedule(np.arange(102)))
    assert np.isfinite(rates).all()
    assert rates[:total_steps].max() == rates[total_steps // 10 if rates[0] == 0 else 0] > 0


OVERRIDES = {
    **{name: (name, {}) for name in RECIPES},
    "vit, all given": ("vit", {"learning_rate": 3e-3, "warmup_steps": 7, "weight_decay": 0.3, "max_norm": 0.1}),
    "wsd, unclipped": ("llm-pretraining-wsd", {"warmup_steps": 45, "max_norm": None, "weight_decay": 0}),
    "resnet, all given": ("resnet", {"learning_rate": 0.4, "warmup_steps": 5, "weight_decay": 0.01, "max_norm": 0.1}),
    "cnn-finetuning, two rates": ("cnn-finetuning", {"head": "head", "learning_rate": 0.01, "warmup_steps": 0}),
    "gan, all given": ("gan", {"learning_rate": 1e-3, "warmup_steps": 5, "max_norm": 0.1}),
    "rnn, all given": ("rnn", {"learning_rate": np.float32(0.01), "warmup_steps": 5, "max_norm": 0.1}),
}


@pytest.mark.parametrize(("name", "options"), OVERRIDES.values(), ids=OVERRIDES.keys())
def test_the_printed_program_makes_the_same_optimizer_and_schedule(name, options):
    made = recipe(name, 50, **options)
    namespace: dict = {}
    exec(str(made), namespace)  # comments and all, as a reader would paste it
    steps = np.arange(52)
    np.testing.assert_array_equal(namespace["schedule"](steps), made.schedule(steps))
    assert str(namespace["schedule"]) == str(made.schedule)
    pasted = made._replace(optimizer=namespace["optimizer"])
    for ours, theirs in zip(players(made), players(pasted), strict=True):
        assert program_of(ours) == program_of(theirs)


def test_programs_differ_where_numbers_do():
    made = [recipe("vit", 50), recipe("vit", 50, weight_decay=0.1), recipe("vit", 50, learning_rate=2e-3)]
    assert len({program_of(each.optimizer) for each in made}) == 3


@every_recipe
def test_it_prints_name_program_note_and_source(name):
    made = recipe(name, 5000)
    text = str(made)
    assert text.startswith(f"# {name}\n")
    assert f"\nschedule = {made.schedule}\n" in text
    assert made.code in text
    comments = " ".join(line.removeprefix("# ") for line in text.splitlines() if line.startswith("# "))
    assert made.note in comments
    assert f"Source: {made.source}" in comments


LEAST_PROGRESS = {"llm-finetuning": 0.999, "cnn-finetuning": 0.99}  # small steps, for networks that are good already


@every_trainable
def test_it_trains(name):
    params, losses = jax.jit(lambda: trained(recipe(name, 200).optimizer, 200))()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((params, losses)))
    assert losses[-1] < LEAST_PROGRESS.get(name, 0.98) * losses[0]


def test_a_run_of_one_step_trains():
    names = ["vit", "resnet", "llm-pretraining-wsd"]
    runs = jax.jit(lambda: [trained(recipe(name, 1).optimizer, 1) for name in names])()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(runs))
    assert all((params["head"]["kernel"] != PARAMS["head"]["kernel"]).any() for params, _ in runs)


def test_a_gan_trains():
    made = recipe("gan", 50)
    assert isinstance(made.optimizer, GanOptimizers)

    def generator_loss(generator, discriminator, batch, rng):
        return -jnp.mean(discriminator["w"] * (generator["mean"] + jax.random.normal(rng, batch.shape)))

    def discriminator_loss(discriminator, generator, batch, rng):
        return jnp.mean(discriminator["w"] * (generator["mean"] + jax.random.normal(rng, batch.shape) - batch))

    step = jax.jit(gan_step(generator_loss, discriminator_loss, made.optimizer))
    state = gan_init(made.optimizer, {"mean": jnp.zeros(2)}, {"w": jnp.ones(2)})
    for key in jax.random.split(jax.random.key(0), 50):
        state, metrics = step(state, jnp.full((8, 2), 3.0), key)
    assert int(state.step) == 50
    assert (state.generator.params["mean"] > 0).all()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(metrics))


def test_the_discriminator_is_twice_as_fast():
    generator, discriminator, _ = recipe("gan", 1000, learning_rate=1e-3).optimizer
    np.testing.assert_allclose(one_by_one(first_update, generator)["head"]["bias"], -1e-3, rtol=1e-4)
    np.testing.assert_allclose(one_by_one(first_update, discriminator)["head"]["bias"], -2e-3, rtol=1e-4)


def test_a_new_head_is_a_hundred_times_as_fast_as_the_backbone():
    made = recipe("cnn-finetuning", 1000, head="head|fc", warmup_steps=0)
    updates = one_by_one(first_update, made.optimizer)
    np.testing.assert_allclose(updates["backbone"]["bias"], -1e-5, rtol=1e-4)
    np.testing.assert_allclose(updates["head"]["bias"], -1e-3, rtol=1e-4)
    assert float(made.schedule(0)) == np.float32(1e-4)


def test_both_groups_of_a_fine_tuning_are_clipped_together():
    state = recipe("cnn-finetuning", 1000, head="head").optimizer.init(PARAMS)
    assert state.clip is not None
    assert all(int(group.clip.clipped) == 0 for group in state.groups.values())
    with pytest.raises(ValueError, match=re.escape("param_groups(labels=...)")):
        recipe("cnn-finetuning", 1000, head="fully_connected").optimizer.init(PARAMS)


@pytest.mark.parametrize("max_norm", [None, 0.05])
@pytest.mark.usefixtures("x64")
def test_resnet_is_torch_s_sgd(max_norm):
    """``buf = momentum * buf + grad + decay * param; param -= lr * buf``, the gradient clipped before the decay."""
    options = {} if max_norm is None else {"max_norm": max_norm}
    start = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), PARAMS)
    optimizer = recipe("resnet", 30, weight_decay=0.1, **options).optimizer
    ours, _ = jax.jit(lambda: trained(optimizer, 30, jax.tree.map(jnp.asarray, start)))()
    leaves, structure = jax.tree.flatten(start)
    velocities = [np.zeros_like(leaf) for leaf in leaves]
    gradient = jax.jit(jax.grad(loss_of))
    for step in range(30):
        grads = [np.asarray(leaf) for leaf in jax.tree.leaves(gradient(jax.tree.unflatten(structure, leaves)))]
        norm = np.sqrt(sum((grad**2).sum() for grad in grads))
        factor = 1.0 if max_norm is None else min(1.0, max_norm / norm)
        for i, grad in enumerate(grads):
            velocities[i] = 0.9 * velocities[i] + factor * grad + 0.1 * leaves[i]
            leaves[i] = leaves[i] - 0.1 * 0.1 ** (step // 10) * velocities[i]
    for leaf, expected in zip(jax.tree.leaves(ours), leaves, strict=True):
        np.testing.assert_allclose(leaf, expected, rtol=1e-6, atol=1e-9)


def test_resnet_skips_a_non_finite_gradient_clipped_or_not():
    for max_norm in (None, 1.0):
        optimizer = recipe("resnet", 30, max_norm=max_norm).optimizer
        broken = jax.tree.map(lambda leaf: leaf.at[..., 0].set(jnp.nan), PARAMS)
        updates, _ = one_by_one(optimizer.update, broken, optimizer.init(PARAMS), PARAMS)
        assert all((np.asarray(leaf) == 0).all() for leaf in jax.tree.leaves(updates))


def test_resnet_warms_up_without_moving_its_cuts():
    schedule = recipe("resnet", 90, warmup_steps=5).schedule
    np.testing.assert_allclose(schedule(np.array([0, 5, 29, 30, 59, 60])), [0, 0.1, 0.1, 0.01, 0.01, 1e-3], rtol=1e-6)


def test_a_language_model_s_optimizer_is_what_it_says():
    made = recipe("llm-pretraining", 200)
    expected = adamw(made.schedule, 0.9, 0.95, weight_decay=0.1, max_norm=1.0)
    assert program_of(made.optimizer) == program_of(expected)


@pytest.mark.parametrize("name", ["vit", "resnet", "llm-pretraining-wsd", "rnn"])
def test_the_rate_may_be_traced_and_mapped(name):
    peaks = np.float32([0.003, 0.01])
    steps = np.arange(101)

    @jax.jit
    @jax.vmap
    def traced(peak):
        made = recipe(name, 100, learning_rate=peak, warmup_steps=0)
        return first_update(made.optimizer), made.schedule(steps)

    def known():
        made = [recipe(name, 100, learning_rate=float(peak), warmup_steps=0) for peak in peaks]
        lanes = [(first_update(lane.optimizer), lane.schedule(steps)) for lane in made]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *lanes)

    expected = one_by_one(known)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-12), traced(peaks), expected)


def test_other_numbers_may_be_traced():
    def updated(decay, norm):
        optimizer = recipe("vit", 100, warmup_steps=0, weight_decay=decay, max_norm=norm).optimizer
        return optimizer.update(jax.tree.map(jnp.ones_like, PARAMS), optimizer.init(PARAMS), PARAMS)

    traced, known = jax.jit(updated)(0.3, 0.5), one_by_one(updated, 0.3, 0.5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), traced, known)


def test_a_range_test_finds_the_peak_of_a_recipe():
    batches = (jnp.tile(INPUTS, (60, 1, 1)), jnp.tile(TARGETS, (60, 1, 1)))
    rates = np.geomspace(1e-5, 1e-1, 5)
    result = lrjax.range_test(
        loss_of, PARAMS, batches, lambda peak: recipe("vit", 60, learning_rate=peak).optimizer, rates
    )
    final = result.losses[:, 0, -1]
    assert np.isfinite(final).all()
    assert rates[np.argmin(final)] > 1e-5
    assert lrjax.suggest(result).learning_rate in rates


def traced(argument):
    """A call of ``recipe`` in which ``argument`` is not known."""
    return jax.jit(lambda steps: recipe("vit", **{"total_steps": 100, argument: steps}).schedule(0))(10)


ANY_RATE = optax.constant_schedule(0.1)
UNKNOWN = "must be a number known before tracing, got "
WRONG_CALLS = [
    (lambda: recipe("vits", 9), ValueError, f"(name=...)` must be one of {', '.join(map(repr, RECIPES))}, got 'vits'"),
    (lambda: recipe(3, 100), TypeError, "(name=...)` must be one of 'vit', "),
    (lambda: recipe("vit", 0), ValueError, "(total_steps=...)` must be at least 1, got 0"),
    (lambda: recipe("vit", 10.5), ValueError, "(total_steps=...)` must be a whole number, got 10.5"),
    (lambda: recipe("vit", None), TypeError, "(total_steps=...)` must be a whole number, got None (NoneType)"),
    (lambda: traced("total_steps"), TypeError, f"(total_steps=...)` {UNKNOWN}"),
    (lambda: traced("warmup_steps"), TypeError, f"(warmup_steps=...)` {UNKNOWN}"),
    (
        lambda: recipe("vit", 9, learning_rate=ANY_RATE),
        TypeError,
        "(learning_rate=...)` must be a number, got <function",
    ),
    (lambda: recipe("vit", 9, learning_rate=-1), ValueError, "(learning_rate=...)` must be at least 0, got -1"),
    (lambda: recipe("vit", 9, warmup_steps=-1), ValueError, "(warmup_steps=...)` must be at least 0, got -1"),
    (lambda: recipe("vit", 9, warmup_steps=10), ValueError, "(warmup_steps=...)` must be at most total_steps, got 10"),
    (
        lambda: recipe("resnet", 90, warmup_steps=30),
        ValueError,
        "(warmup_steps=...)` must be less than total_steps / 3, where the rate of 'resnet' falls, got 30 with 90",
    ),
    (lambda: recipe("vit", 9, weight_decay=-0.1), ValueError, "(weight_decay=...)` must be at least 0, got -0.1"),
    (
        lambda: recipe("gan", 9, weight_decay=0.1),
        ValueError,
        "(weight_decay=...)` must be None for 'gan', whose optimizer has none, got 0.1",
    ),
    (lambda: recipe("rnn", 9, weight_decay=0.1), ValueError, "must be None for 'rnn', whose optimizer has none"),
    (lambda: recipe("vit", 9, max_norm=0), ValueError, "(max_norm=...)` must be greater than 0, got 0"),
    (
        lambda: recipe("vit", 9, max_norm="no"),
        ValueError,
        "(max_norm=...)` must be a number, None or 'recipe', got 'no'",
    ),
    (
        lambda: recipe("vit", 9, head="fc"),
        ValueError,
        "None for 'vit': only 'cnn-finetuning' tells a head apart, got 'fc'",
    ),
    (lambda: recipe("cnn-finetuning", 9, head="("), ValueError, "(head=...)` must be a regular expression (missing )"),
    (
        lambda: recipe("cnn-finetuning", 9, head=["fc"]),
        TypeError,
        "(head=...)` must be a regular expression, got ['fc']",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), WRONG_CALLS, ids=[case[2] for case in WRONG_CALLS])
def test_wrong_calls_are_refused_by_name(call, error, message):
    with pytest.raises(error, match=f"^`recipe.*{re.escape(message)}"):
        call()
