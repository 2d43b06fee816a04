"""Results of lanes that ran apart, merged, against the lanes run together."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lrjax.finder import Halving, Plan, merge, range_test, suggest, sweep

GENERATOR = np.random.default_rng(2)
X = GENERATOR.normal(size=(10, 4, 2)).astype(np.float32)
Y = (X @ np.float32([1, -2]) + GENERATOR.normal(size=(10, 4))).astype(np.float32)
RATES, SEEDS = [0.3, 1e30, 0.05, 0.01], [5, 2, 9]


def loss_fn(params, batch):
    return jnp.mean((batch[0] @ params - batch[1]) ** 2)


def init(key):
    return jax.random.normal(key, (2,))


def ranged(rates, seeds, **options):
    held_out = {"validation": (X[0], Y[0]), "validation_steps": [0, 4, 10]} | options
    return range_test(loss_fn, init, (X, Y), optax.sgd, rates, seeds=seeds, **held_out)


@pytest.fixture(scope="module")
def joint():
    return ranged(RATES, SEEDS)


def assert_same(merged, joint):
    assert type(merged) is type(joint)
    for field in dataclasses.fields(joint):
        if field.name not in ("plan", "note"):
            found, expected = (jax.tree.leaves(getattr(result, field.name)) for result in (merged, joint))
            for a, b in zip(found, expected, strict=True):
                if np.asarray(b).dtype.kind in "fc":
                    np.testing.assert_allclose(a, b, rtol=1e-5)
                    assert np.asarray(a).dtype == np.asarray(b).dtype
                else:
                    np.testing.assert_array_equal(a, b)


PARTS = {
    "rates": [(RATES[:1], SEEDS), (RATES[1:], SEEDS)],
    "seeds": [(RATES, SEEDS[:2]), (RATES, SEEDS[2:])],
    "both": [(RATES[:2], SEEDS[:1]), (RATES[:2], SEEDS[1:]), (RATES[2:], SEEDS[:1]), (RATES[2:], SEEDS[1:])],
    "uneven": [(RATES[:1], SEEDS), (RATES[1:3], SEEDS[:2]), (RATES[1:3], SEEDS[2:]), (RATES[3:], SEEDS[::-1])],
    "every lane": [([rate], [seed]) for rate in RATES for seed in SEEDS],
    "one": [(RATES, SEEDS)],
}


@pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS)
def test_range_tests_of_some_rates_and_seeds_are_those_of_all(parts, joint):
    merged = merge([ranged(*part) for part in parts])
    assert_same(merged, joint)
    assert merged.status[1].tolist() == ["diverged"] * 3
    assert suggest(merged).learning_rate == suggest(joint).learning_rate
    assert str(merged) == str(joint)


def test_rates_and_seeds_stand_in_the_order_of_their_first_appearance(joint):
    parts = [(RATES[2:], SEEDS[2:]), (RATES[:2], SEEDS[1:]), (RATES[2:], SEEDS[:2]), (RATES[:2], SEEDS[:1])]
    merged = merge(ranged(*part) for part in parts)
    assert merged.learning_rates.tolist() == [0.05, 0.01, 0.3, 1e30]
    assert merged.seeds.tolist() == [9, 2, 5]
    assert merged.seeds.dtype == joint.seeds.dtype
    np.testing.assert_allclose(merged.losses, joint.losses[[2, 3, 0, 1]][:, [2, 1, 0]], rtol=1e-5)
    np.testing.assert_array_equal(merged.lost_at, joint.lost_at[[2, 3, 0, 1]][:, [2, 1, 0]])


def test_parts_keep_their_arrays_and_the_first_one_gives_the_plan():
    parts = [ranged([0.3], SEEDS, plan=Plan(1, steps=3)), ranged([0.05], SEEDS, plan=Plan(2))]
    before = [part.losses.copy() for part in parts]
    merged = merge(parts)
    merged.losses[:] = 0
    for part, losses in zip(parts, before, strict=True):
        np.testing.assert_array_equal(part.losses, losses)
    assert merged.plan == parts[0].plan


def test_each_note_stands_once():
    def short(rates):
        stacked = range_test(loss_fn, jnp.zeros(2), zip(X, Y, strict=True), optax.sgd, rates, steps=11)
        assert stacked.note.startswith("The batches ended after 10 of 11 steps")
        return stacked

    plain = range_test(loss_fn, jnp.zeros(2), (X, Y), optax.sgd, [0.3])
    again = dataclasses.replace(plain, learning_rates=np.array([0.4]), note="Another.")
    parts = [short([0.1]), plain, short([0.2]), again]
    assert merge(parts).note == f"{parts[0].note} Another."
    assert merge([plain, dataclasses.replace(plain, learning_rates=np.array([0.5]))]).note == ""


def test_dropped_lanes_stay_dropped():
    parts = [ranged(rates, SEEDS, keep=Halving(0.5, 1)) for rates in (RATES[:2], RATES[2:])]
    merged = merge(parts)
    np.testing.assert_array_equal(merged.status, np.concatenate([part.status for part in parts]))
    np.testing.assert_array_equal(merged.lost_at, np.concatenate([part.lost_at for part in parts]))
    assert (merged.status == "dropped").any()


def swept(lanes):
    def step(carry, batch):
        x, y = batch
        error = x @ carry["w"] - y
        w = carry["w"] - carry["rates"][0] * error @ x / 2 - carry["rates"][1] * carry["w"]
        return carry | {"w": w, "n": carry["n"] + 1}, {"cost": jnp.mean(error**2), "w": w, "n": carry["n"]}

    return sweep(
        lambda h, _: {"w": h["w"], "rates": h["rates"], "n": jnp.int32(0)},
        step,
        jax.tree.map(lambda leaf: leaf[lanes], GRID),
        (X, Y),
        metric="cost",
        evaluate=lambda carry, batch: jnp.sum(carry["w"] * batch),
        validation=np.float32([1, 2]),
        validation_steps=[0, 10],
    )


GRID = {"rates": (np.float32([0.1, 1e30, 0.2, 0.3]), np.float32([0, 0, 0.1, 0.2])), "w": np.ones((4, 2), np.float32)}


def test_sweeps_are_laid_end_to_end():
    merged = merge([swept([0]), swept([1, 2]), swept([3])])
    assert_same(merged, swept([0, 1, 2, 3]))
    assert merged.metrics["w"].shape == (4, 10, 2)
    assert merged.status.tolist() == ["finite", "diverged", "finite", "finite"]
    reordered = merge([swept([3, 0]), swept([0])])
    np.testing.assert_array_equal(reordered.hyperparams["rates"][0], GRID["rates"][0][[3, 0, 0]])


def test_large_hyperparams_that_differ_far_down_are_refused():
    """Their shapes are longer than what a message shows."""
    many = {f"name {place:02}": np.ones(1, np.float32) for place in range(20)}
    other = many | {"name 19": np.ones((1, 2), np.float32)}
    parts = [
        sweep(lambda h, _: h["name 00"], lambda carry, _: (carry, {"loss": carry}), lanes, None, steps=2)
        for lanes in (many, other)
    ]
    with pytest.raises(
        ValueError, match=r"`merge\(results=...\)` must be of equal hyperparams, got \{name 00: float32"
    ):
        merge(parts)
