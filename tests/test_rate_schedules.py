"""The schedule that a rate belongs to: what of it is noted, and what an answer says about it."""

from __future__ import annotations

import dataclasses
import threading

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_suggest import RATES, result, two_step

import lrjax
from lrjax.finder import merge, range_test, suggest
from lrjax.finder.scheduled import about_schedule, scheduled
from lrjax.schedules import constant, cosine, interpolate, inverse_sqrt, scale_by, with_warmup
from lrjax.schedules._curve import noting

COSINE = "warmup_cosine({}, 1000, warmup_steps=50)"


def peak_of(rate):
    return lrjax.warmup_cosine(rate, 1000, warmup_steps=50)


def words(optimizer, rates=(0.01, 0.1), steps=120):
    return scheduled(optimizer, np.array(rates)).words(steps)


def test_outermost_schedules_are_noted_and_only_within():
    constant(0.1)
    with noting() as made:
        scale_by(cosine(0.1, 10), 0.5)
        lrjax.join([constant(0.1), with_warmup(cosine(0.2, 5), 3)], [4])
        with noting() as inner:
            constant(0.3)
        alone = constant(0.4)
    constant(0.5)
    assert [repr(schedule.curve) for schedule in made] == [
        "scale_by(cosine(0.1, 10), 0.5)",
        "join([constant(0.1), with_warmup(cosine(0.2, 5), 3)], [4])",
        "constant(0.4)",
    ]
    assert made[2].curve is alone
    assert made[2].arguments == {"value": 0.4}
    assert [repr(schedule.curve) for schedule in inner] == ["constant(0.3)"]


def test_other_threads_do_not_take_part():
    with noting() as made:
        thread = threading.Thread(target=constant, args=(0.1,))
        thread.start()
        thread.join()
    assert made == []


def test_array_numbers_print_as_numbers():
    rate = jnp.float32(0.1)
    assert repr(cosine(rate, np.int64(10), end_value=rate / 100)) == "cosine(0.1, 10, end_value=0.001)"
    assert repr(interpolate([0, 10], [np.float64(0.1), rate])) == "interpolate([0, 10], [0.1, 0.1])"


PART = ", of whose 1000 steps the test saw only the first 120"


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        (lambda rate: lrjax.adamw(peak_of(rate)), f"the peak of {COSINE.format(0.01)}{PART}"),
        (lambda rate: optax.adamw(peak_of(rate)), f"the peak of {COSINE.format(0.01)}{PART}"),
        (
            lambda rate: optax.sgd(lrjax.warmup_cosine(rate, 120, warmup_steps=0, end_value=rate / 10)),
            "the peak of warmup_cosine(0.01, 120, warmup_steps=0, end_value=0.001)",
        ),
        (lambda rate: optax.sgd(cosine(rate, 120)), "the init_value of cosine(0.01, 120)"),
        (
            lambda rate: optax.sgd(cosine(rate, 121)),
            "the init_value of cosine(0.01, 121), of which the test saw only the first 120 steps",
        ),
        (
            lambda rate: optax.sgd(inverse_sqrt(rate, warmup_steps=10)),
            "the peak of inverse_sqrt(0.01, warmup_steps=10), of which the test saw only the first 120 steps",
        ),
        (lambda rate: optax.sgd(scale_by(constant(1.0), rate)), "the factor of scale_by(constant(1.0), 0.01)"),
        (lambda rate: optax.sgd(scale_by(constant(rate), 2.0)), "the rate of scale_by(constant(0.01), 2.0)"),
        (
            lambda rate: optax.chain(optax.sgd(constant(rate)), optax.add_decayed_weights(cosine(0.1, 1000))),
            "the value of constant(0.01)",
        ),
        (
            lambda rate: optax.chain(*(optax.sgd(constant(factor * rate)) for factor in (1, 2, 3))),
            "the rate of constant(0.01) (2 other schedules depend on it too)",
        ),
        (
            lambda rate: optax.chain(optax.sgd(constant(rate)), optax.sgd(constant(rate))),
            "the value of constant(0.01)",
        ),
    ],
)
def test_what_the_rate_is(optimizer, expected):
    assert words(optimizer)[0] == expected
    assert len(words(optimizer)) == 2


@pytest.mark.parametrize(
    "optimizer",
    [
        optax.adamw,
        lambda rate: optax.sgd(optax.cosine_decay_schedule(rate, 100)),
        lambda rate: optax.chain(optax.sgd(rate), optax.add_decayed_weights(cosine(0.1, 1000))),
    ],
    ids=["a number", "a schedule of optax", "a schedule of something else"],
)
def test_where_no_schedule_of_lrjax_has_the_rate_nothing_is_said(optimizer):
    assert words(optimizer) == ()


def test_rates_are_written_with_the_digits_that_answers_have():
    assert words(lambda rate: optax.sgd(constant(rate)), [10**-2.5])[0] == "the value of constant(0.00316)"


@pytest.fixture(scope="module")
def tested():
    def loss_fn(params, batch):
        return jnp.mean((batch @ params - 1.0) ** 2)

    return [
        range_test(loss_fn, jnp.zeros(2), np.ones((20, 4, 2)), lambda rate: optax.sgd(peak_of(rate)), rates)
        for rates in ([0.1, 0.4], [0.2])
    ]


def test_the_answer_names_its_schedule_and_says_how_much_of_it_was_seen(tested):
    part = ", of whose 1000 steps the test saw only the first 20"
    assert tested[0].schedules == tuple(f"the peak of {COSINE.format(rate)}{part}" for rate in (0.1, 0.4))
    for test in tested:
        answer = suggest(test, "edge", fraction=1.0)
        assert answer.reason.endswith(f". The rate is the peak of {COSINE.format(answer.learning_rate)}{part}.")
        assert suggest(test).reason in str(test)
        assert "1,000 steps" in suggest(test).reason


def test_a_rate_between_those_tested_names_the_nearest(tested):
    answer = suggest(tested[0], "edge", fraction=0.4)
    assert answer.learning_rate == pytest.approx(0.16)
    assert f"The rate tested nearest to it is the peak of {COSINE.format(0.1)}" in answer.reason


def test_merged_tests_keep_the_schedule_of_every_rate(tested):
    assert merge(tested[::-1]).schedules == (*tested[1].schedules, *tested[0].schedules)
    plain = result(RATES, two_step(2.0, np.ones((5, 1))))
    assert merge([plain]).schedules == ()
    bare = dataclasses.replace(tested[1], schedules=())
    assert merge([tested[0], bare]).schedules == (*tested[0].schedules, "")
    assert "The rate" not in suggest(dataclasses.replace(tested[0], schedules=("", ""))).reason


def test_of_dropped_rates_nothing_is_said_while_others_are_left():
    texts = tuple(f"the peak at {rate}" for rate in RATES)
    status = np.array([["finite"], ["dropped"], ["dropped"], ["finite"], ["finite"]])
    test = dataclasses.replace(result(RATES, two_step(2.0, [[1.9]] * 5)), schedules=texts)
    assert about_schedule(dataclasses.replace(test, status=status), 0.02).endswith("is the peak at 0.001.")
    assert about_schedule(test, 0.02).endswith("is the peak at 0.01.")
    every = np.full((5, 1), "dropped")
    assert about_schedule(dataclasses.replace(test, status=every), 0.02).endswith("is the peak at 0.01.")
