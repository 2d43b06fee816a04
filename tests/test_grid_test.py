"""The range test over two hyperparameters, against range tests of one, and what is suggested of results by hand."""

from __future__ import annotations

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from test_suggest import NAN, RATES

import lrjax
from lrjax.finder import GridTest, Halving, Plan, grid_test, range_test, sensitivity, suggest

STEPS = 12
GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(STEPS, 8, 3)).astype(np.float32)
Y = (X @ np.float32([1, -2, 0.5]) + 0.1 * GENERATOR.normal(size=(STEPS, 8))).astype(np.float32)
HELD_OUT = (X[5] + 0.5, Y[5])
GRID_RATES = [0.3, 0.01, 1e30]


def loss_fn(params, batch):
    return jnp.mean((batch[0] @ params - batch[1]) ** 2)


def init(key):
    return 0.1 * jax.random.normal(key, (3,))


def with_warmup(peak, warmup):
    return optax.adamw(lrjax.warmup_cosine(peak, 40, warmup_steps=warmup))


def grid_of(finals, values, name="weight_decay", start=2.0, rates=RATES):
    """A result of final losses ``[K, M, R]`` or ``[K, M]`` from one loss at the start."""
    finals = np.array(finals, np.float32).reshape(len(rates), len(values), -1)
    return GridTest(
        learning_rates=np.array(rates, np.float64),
        name=name,
        values=np.array(values),
        seeds=np.arange(finals.shape[2]),
        losses=np.stack([np.full_like(finals, start), finals], axis=-1),
        validation_steps=np.zeros(0, int),
        validation_losses=np.zeros((*finals.shape, 0), np.float32),
        status=np.where(np.isnan(finals), "diverged", "finite"),
        lost_at=np.where(np.isnan(finals), 1, -1),
        steps_done=2,
        plan=Plan(1),
        note="",
    )


@pytest.fixture(scope="module")
def decayed():
    return grid_test(
        loss_fn,
        init,
        (X, Y),
        optax.adamw,
        GRID_RATES,
        {"weight_decay": [0.1, 0.0]},
        seeds=[5, 2],
        validation=HELD_OUT,
        validation_steps=[0, 5, 12],
    )


def test_every_value_is_a_range_test_of_its_own(decayed):
    assert (decayed.losses.shape, decayed.validation_losses.shape) == ((3, 2, 2, STEPS), (3, 2, 2, 3))
    assert decayed.values.tolist() == [0.1, 0.0]
    for value in (0.0, 0.1):
        alone = range_test(
            loss_fn,
            init,
            (X, Y),
            lambda rate, value=value: optax.adamw(rate, weight_decay=value),
            GRID_RATES,
            seeds=[5, 2],
            validation=HELD_OUT,
            validation_steps=[0, 5, 12],
        )
        row = decayed.at(value)
        for field in dataclasses.fields(alone):
            one, other = getattr(row, field.name), getattr(alone, field.name)
            if field.name == "plan":
                continue
            if isinstance(one, np.ndarray) and one.dtype.kind == "f":
                np.testing.assert_allclose(one, other, rtol=2e-4)
            else:
                np.testing.assert_array_equal(one, other)
    assert (decayed.status[2] == "diverged").all()
    assert not np.allclose(decayed.losses[0, 0], decayed.losses[0, 1], rtol=1e-3)


@pytest.fixture(scope="module")
def warmed():
    return grid_test(loss_fn, jnp.zeros(3), (X, Y), with_warmup, [0.1, 0.01], {"warmup": range(0, 9, 4)}, seeds=None)


def test_whole_numbers_reach_the_optimizer_as_whole_numbers_that_are_traced(warmed):
    seen = []

    def watching(peak, warmup):
        seen.append((jnp.asarray(warmup).dtype, isinstance(warmup, jax.core.Tracer)))
        return with_warmup(peak, warmup)

    grid_test(loss_fn, jnp.zeros(3), (X, Y), watching, [0.1], {"warmup": [4]})
    assert {dtype for dtype, _ in seen} == {np.dtype(np.int32)}
    assert {traced for _, traced in seen} == {False, True}  # once as it is, to be named
    assert warmed.values.dtype.kind == "i"
    for place, rate in enumerate([0.1, 0.01]):
        for warmup in (0, 4, 8):
            params = jnp.zeros(3)
            optimizer = with_warmup(rate, warmup)
            state = optimizer.init(params)
            for step in range(STEPS):
                loss, gradients = jax.value_and_grad(loss_fn)(params, (X[step], Y[step]))
                np.testing.assert_allclose(warmed.losses[place, warmup // 4, 0, step], loss, rtol=1e-4)
                updates, state = optimizer.update(gradients, state, params)
                params = optax.apply_updates(params, updates)


def test_the_schedule_of_each_pair_is_named(warmed):
    assert warmed.schedules[1] == tuple(
        f"the peak of warmup_cosine({rate}, 40, warmup_steps=4), of whose 40 steps the test saw only the first 12"
        for rate in (0.1, 0.01)
    )
    assert warmed.at(4).schedules == warmed.schedules[1]
    assert "The rate is the peak of warmup_cosine(" in suggest(warmed, "edge", fraction=1.0).reason


def test_the_answer_is_for_the_length_of_the_schedule(warmed):
    """Whose rate at each step, as a part of the peak, is known of every value."""
    steps = np.arange(40)
    expected = np.where(steps < 4, steps / 4, 0.5 * (1 + np.cos(np.pi * (steps - 4) / 36)))
    np.testing.assert_allclose(warmed.at(4).multipliers, expected, atol=1e-6)
    chosen = suggest(warmed)
    row = warmed.at(chosen.hyperparams["warmup"])
    assert chosen.learning_rate == suggest(row, horizon=40).learning_rate
    assert chosen.reason.startswith("In 40 steps ")
    assert suggest(warmed, horizon=400).learning_rate < chosen.learning_rate


def test_pairs_are_dropped_as_a_whole():
    halved = grid_test(
        loss_fn,
        init,
        (X, Y),
        lambda rate, momentum: optax.sgd(rate, momentum),
        [0.1, 0.001],
        {"momentum": [0.0, 0.5]},
        seeds=2,
        keep=Halving(0.5, 1),
    )
    dropped = (halved.status == "dropped").sum(axis=-1)
    assert sorted(dropped.ravel()) == [0, 0, 2, 2]
    assert (dropped[1] == 2).all()


def test_prints_as_a_table_with_the_suggestion_marked():
    grid = grid_of([[1.9, 1.8], [1.5, 1.25], [1.2, 1.0], [1.7, NAN], [NAN, NAN]], [0.0, 0.1])
    assert repr(grid) == "GridTest(5 rates x 2 of weight_decay, 1 seeds, 2 steps)"
    lines = str(grid).splitlines()
    assert lines[:7] == [
        "5 rates, 2 values, 1 seed, 2 steps; final training loss",
        " rate  weight_decay=0  weight_decay=0.1",
        "0.001             1.9               1.8",
        " 0.01             1.5              1.25",
        "  0.1             1.2              -> 1",
        "    1             1.7                 -",
        "   10               -                 -",
    ]
    assert lines[7] == suggest(grid).reason
    assert lines[8].startswith("3 diverged")
    order = [3, 0, 2, 4, 1]
    shuffled = grid_of(grid.losses[order, ..., 1], [0.0, 0.1], rates=[RATES[place] for place in order])
    assert str(shuffled) == str(grid)


BOWL = np.array([1.8, 1.4, 1.2, 1.4, 2.0])  # smoothed at its best: (1.4 + 2 * 1.2 + 1.4) / 4 = 1.3


def test_the_value_of_the_lowest_denoised_loss_is_suggested():
    """A lucky rate, best of all by itself, has neighbours that are worse."""
    lucky = np.array([1.9, 1.9, 1.0, 1.9, 2.0])  # smoothed 1.45
    answer = suggest(grid_of(np.stack([BOWL + 0.1, lucky, BOWL, BOWL + 0.2], axis=1), [0.0, 0.01, 0.1, 1.0]))
    assert answer.hyperparams == {"weight_decay": 0.1}
    assert (answer.learning_rate, answer.at_boundary) == (0.1, False)
    row = grid_of(BOWL[:, None], [0.1]).at(0.1)
    assert answer.reason == (
        f"{suggest(row).reason} That is with weight_decay 0.1, the best one tested (1.3, a rate and its neighbours "
        "taken together)."
    )


def test_of_values_as_good_as_each_other_the_first_given_is_suggested():
    finals = np.stack([BOWL + 0.5, BOWL + 0.013, BOWL, BOWL + 0.1], axis=1)  # 2% of 2 - 1.3 is 0.014
    answer = suggest(grid_of(finals, [1.0, 0.1, 0.01, 0.0]))
    assert answer.hyperparams == {"weight_decay": 0.1}
    assert answer.reason.endswith(
        "That is with weight_decay 0.1, the first one within 2% or the seeds' standard error of 0.01, the best one "
        "tested (1.3, a rate and its neighbours taken together)."
    )
    assert suggest(grid_of(finals[:, ::-1], [0.0, 0.01, 0.1, 1.0])).hyperparams == {"weight_decay": 0.01}


@pytest.mark.parametrize(("apart", "expected"), [(0.06, 0.0), (0.12, 0.1)])
def test_seeds_say_how_far_apart_values_are(apart, expected):
    better = np.stack([BOWL, BOWL], axis=-1)
    worse = better + apart + np.array([-0.1, 0.1])  # their standard error is 0.1 * sqrt(2) / sqrt(2)
    answer = suggest(grid_of(np.stack([worse, better], axis=1), [0.0, 0.1]))
    assert answer.hyperparams == {"weight_decay": expected}


@pytest.mark.parametrize(
    ("shifts", "values", "extended"),
    [
        (
            [0.2, 0.1, 0.0],
            [0.0, 0.01, 0.1],
            "; that is the largest weight_decay tested, so extend its values beyond 0.1.",
        ),
        (
            [0.0, 0.1, 0.2],
            [0.1, 0.5, 1.0],
            "; that is the smallest weight_decay tested, so extend its values below 0.1.",
        ),
        ([0.0, 0.1, 0.2], [0.0, 0.5, 1.0], ""),
        ([0.1, 0.0, 0.2], [0.1, 0.5, 1.0], ""),
        ([0.2, 0.005, 0.0], [0.0, 0.01, 0.1], ""),
        ([0.0], [0.1], ""),
    ],
    ids=["largest", "smallest", "none below zero", "inside", "its neighbour is as good", "only one"],
)
def test_a_best_value_at_the_edge_says_which_way_to_go(shifts, values, extended):
    for order in (slice(None), slice(None, None, -1)):
        finals = (BOWL[:, None] + shifts)[:, order]
        answer = suggest(grid_of(finals, values[order]))
        assert answer.at_boundary == bool(extended)
        assert answer.reason.endswith(f"taken together){extended or '.'}")


@pytest.mark.parametrize("final", [NAN, 2.0])
def test_without_any_descent_there_is_no_best_value(final):
    answer = suggest(grid_of(np.full((5, 2), final), [0.3, 0.1]))
    assert answer.hyperparams == {"weight_decay": 0.3}
    assert answer.at_boundary
    assert answer.reason.endswith("No weight_decay tested is better than another.")


sixteenths = st.integers(-64, 64).map(lambda n: n / 16)  # a shift changes none of their digits
finals = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 2)),
    elements=st.one_of(sixteenths, st.just(np.nan), st.just(np.inf)),
)


@settings(max_examples=60, deadline=None)
@given(finals=finals, shift=st.integers(-8, 8), seed=st.integers(0, 99))
def test_whatever_the_losses_a_pair_of_those_tested_is_suggested(finals, shift, seed):
    rates, values = np.geomspace(1e-3, 1.0, len(finals)), np.arange(finals.shape[1]) + 1.0
    grid = grid_of(finals, values, start=1.0, rates=rates)
    answer = suggest(grid)
    assert answer.hyperparams["weight_decay"] in values
    assert rates[0] <= answer.low <= answer.learning_rate <= answer.high <= rates[-1]
    assert answer.reason.endswith(".")
    assert "->" in str(grid)
    order = np.random.default_rng(seed).permutation(len(finals))
    moved = suggest(grid_of(finals[order] + shift, values, start=1.0 + shift, rates=rates[order]))
    assert (moved.learning_rate, moved.hyperparams) == (answer.learning_rate, answer.hyperparams)


def call(**changes):
    """A right call but for ``changes``."""
    arguments = {
        "loss_fn": loss_fn,
        "params": jnp.zeros(3),
        "batches": (X, Y),
        "optimizer": optax.adamw,
        "learning_rates": [0.1],
        "hyperparams": {"weight_decay": [0.0, 0.1]},
    }
    return lambda: grid_test(**(arguments | changes))


WANTED = "a dict of one hyperparameter and its values, as {'weight_decay': [0.0, 0.1]}"


@pytest.mark.parametrize(
    ("wrong", "kind", "text"),
    [
        (call(hyperparams=[0.1]), TypeError, f"`grid_test(hyperparams=...)` must be {WANTED}, got [0.1] (list)"),
        (
            call(hyperparams={1: [0.1]}),
            TypeError,
            f"`grid_test(hyperparams=...)` must be {WANTED}, got {{1: [0.1]}} (dict)",
        ),
        (call(hyperparams={}), ValueError, f"`grid_test(hyperparams=...)` must be {WANTED}, got 0 hyperparameters"),
        (
            call(hyperparams={"b1": [0.9], "b2": [0.9]}),
            ValueError,
            f"`grid_test(hyperparams=...)` must be {WANTED}, got 2 hyperparameters",
        ),
        (
            call(hyperparams={"b1": []}),
            ValueError,
            "`grid_test(hyperparams['b1']=...)` must be at least one value, got none",
        ),
        (
            call(hyperparams={"b1": 0.9}),
            TypeError,
            "`grid_test(hyperparams['b1']=...)` must be a sequence of numbers, got 0.9 (float)",
        ),
        (
            call(hyperparams={"b1": [0.9, NAN]}),
            ValueError,
            "`grid_test(hyperparams['b1'][1]=...)` must be finite in float32, got nan",
        ),
        (
            call(hyperparams={"nesterov": [True, False]}),
            TypeError,
            "`grid_test(hyperparams['nesterov'][0]=...)` must be a number, got True (bool)",
        ),
        (
            call(hyperparams={"b1": [0.9, 0.5, 0.9]}),
            ValueError,
            "`grid_test(hyperparams['b1']=...)` must be distinct in float32, got 0.9 more than once",
        ),
        (
            call(optimizer=optax.sgd),
            TypeError,
            (
                "`grid_test(optimizer=...)` must be callable as optimizer(learning_rate, weight_decay=weight_decay): got an "
                "unexpected keyword argument 'weight_decay'"
            ),
        ),
        (
            call(optimizer=optax.adamw(0.1)),
            TypeError,
            (
                "`grid_test(optimizer=...)` must be a function of the learning rate, got a built optimizer: pass optax.adamw, "
                "not optax.adamw(1e-3)"
            ),
        ),
        (
            call(optimizer=lambda rate, weight_decay: optax.sgd(rate) if weight_decay > 0 else optax.adam(rate)),
            TypeError,
            (
                "`grid_test(optimizer=...)` must build its optimizer from traced hyperparameters (a Python `if`, `float` or "
                "NumPy function of them cannot read them)"
            ),
        ),
        (
            call(optimizer=with_warmup, hyperparams={"warmup": [50]}),
            ValueError,
            "`warmup_cosine(warmup_steps=...)` must be at most total_steps, got 50 with 40",
        ),
        (
            call(learning_rates=[]),
            ValueError,
            "`grid_test(learning_rates=...)` must be a sequence of rates, at least one",
        ),
        (
            lambda: grid_of(BOWL[:, None], [0.1]).at(0.2),
            ValueError,
            "`GridTest.at(value=...)` must be one of 0.1, got 0.2",
        ),
        (
            lambda: sensitivity(grid_of(BOWL[:, None], [0.1])),
            TypeError,
            "`sensitivity(result=...)` must be a RangeTest, as GridTest.at(value) gives, got GridTest(",
        ),
    ],
)
def test_wrong_calls_are_answered(wrong, kind, text):
    with pytest.raises(kind, match="^" + re.escape(text)):
        wrong()
