"""What range_test computes, against loops written by hand."""

from __future__ import annotations

import dataclasses
import sys
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optax import contrib

from lrjax.finder import range_test

KEY = jax.random.key(7)
RATES = [0.3, 0.01, 0.1]
STEPS = 12
GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(STEPS, 8, 3)).astype(np.float32)
Y = (X @ np.float32([1, -2, 0.5]) + 0.1 * GENERATOR.normal(size=(STEPS, 8))).astype(np.float32)
START = {"w": np.float32([0.1, 0.2, -0.3]), "b": np.float32(0.5)}
BATCH = (X[0], Y[0])
HELD_OUT = (X[5] + 0.5, Y[5])


def loss_fn(params, batch):
    x, y = batch
    return jnp.mean((x @ params["w"] + params["b"] - y) ** 2)


def init(key):
    return {"w": jax.random.normal(key, (3,)), "b": jnp.zeros(())}


def counting(params, batch):
    """Falls by the rate with every step of gradient descent, and is NaN from params = 3 on."""
    return jnp.where(params < 3, -params, jnp.nan) + 0 * batch.sum()


def momentum(rate):
    return optax.sgd(rate, momentum=0.9)


def by_hand(rate, start, steps=STEPS):
    """Float64 losses before each update of heavy-ball gradient descent, and the parameters after each."""
    w, b = start["w"].astype(np.float64), np.float64(start["b"])
    velocity_w, velocity_b = 0.0, 0.0
    losses, path = [], [(w, b)]
    for step in range(steps):
        x, y = X[step % STEPS].astype(np.float64), Y[step % STEPS].astype(np.float64)
        error = x @ w + b - y
        losses.append((error**2).mean())
        velocity_w = 0.9 * velocity_w + 2 * (error[:, None] * x).mean(axis=0)
        velocity_b = 0.9 * velocity_b + 2 * error.mean()
        w, b = w - rate * velocity_w, b - rate * velocity_b
        path.append((w, b))
    return np.array(losses), path


def test_losses_and_validation_are_those_of_a_loop_by_hand():
    result = range_test(
        loss_fn, START, (X, Y), momentum, [0.05, 0.01], validation=HELD_OUT, validation_steps=[0, 5, 12]
    )
    assert result.losses.shape == (2, 1, STEPS)
    np.testing.assert_array_equal(result.validation_steps, [0, 5, 12])
    for rate, losses, validation in zip([0.05, 0.01], result.losses, result.validation_losses, strict=True):
        expected, path = by_hand(rate, START)
        held_out = [((HELD_OUT[0] @ w + b - HELD_OUT[1]) ** 2).mean() for w, b in (path[0], path[5], path[12])]
        np.testing.assert_allclose(losses[0], expected, rtol=1e-4)
        np.testing.assert_allclose(validation[0], held_out, rtol=1e-4)


def test_seeds_start_at_init_of_their_key_and_share_batches():
    result = range_test(loss_fn, init, (X, Y), optax.adamw, [0.1, 0.01], seeds=[5, 2])
    np.testing.assert_array_equal(result.seeds, [5, 2])
    for k, rate in enumerate([0.1, 0.01]):
        for r, seed in enumerate([5, 2]):
            optimizer = optax.adamw(rate)
            params = init(jax.random.key(seed))
            state = optimizer.init(params)
            for step in range(STEPS):
                loss, gradients = jax.value_and_grad(loss_fn)(params, (X[step], Y[step]))
                np.testing.assert_allclose(result.losses[k, r, step], loss, rtol=1e-5)
                updates, state = optimizer.update(gradients, state, params)
                params = optax.apply_updates(params, updates)


def test_a_count_of_seeds_is_that_many_from_zero():
    counted = range_test(loss_fn, init, (X, Y), optax.sgd, [0.1], seeds=3)
    np.testing.assert_array_equal(counted.seeds, [0, 1, 2])
    alone = range_test(loss_fn, init, (X, Y), optax.sgd, [0.1])
    np.testing.assert_array_equal(alone.seeds, [0])
    np.testing.assert_allclose(counted.losses[:, :1], alone.losses, rtol=1e-6)


def test_lanes_know_nothing_of_each_other():
    together = range_test(loss_fn, START, (X, Y), optax.adam, [0.3, 1e30, 0.01])
    assert together.status.ravel().tolist() == ["finite", "diverged", "finite"]
    for lane in (0, 2):
        alone = range_test(loss_fn, START, (X, Y), optax.adam, together.learning_rates[[lane]])
        np.testing.assert_allclose(together.losses[lane], alone.losses[0], rtol=1e-5)


def test_rates_keep_their_order_and_numbers():
    result = range_test(loss_fn, START, (X, Y), optax.sgd, [0.3, 0.001, 0.02])
    assert result.learning_rates.tolist() == [0.3, 0.001, 0.02]
    alone = range_test(loss_fn, START, (X, Y), optax.sgd, jnp.float32([0.3]))
    np.testing.assert_allclose(result.losses[0], alone.losses[0], rtol=1e-5)


def test_losses_end_where_a_lane_is_lost():
    result = range_test(counting, jnp.zeros(()), np.zeros((6, 2)), optax.sgd, [1.0, 1.5, 0.1])
    np.testing.assert_array_equal(result.lost_at.ravel(), [3, 2, -1])
    np.testing.assert_array_equal(result.losses[:2, 0], [[0, -1, -2, *[np.nan] * 3], [0, -1.5, *[np.nan] * 4]])
    np.testing.assert_array_equal(result.status.ravel(), ["diverged", "diverged", "finite"])
    np.testing.assert_allclose(result.losses[2, 0], -0.1 * np.arange(6), rtol=1e-6)


def test_a_lost_validation_loses_the_lane_at_its_step():
    result = range_test(
        lambda params, batch: -params + 0 * batch.sum(),
        jnp.zeros(()),
        np.zeros((6, 2)),
        optax.sgd,
        [1.0, 0.1],
        validation=np.zeros(2),
        evaluate=counting,
        validation_steps=[0, 2, 4, 6],
    )
    np.testing.assert_array_equal(result.lost_at.ravel(), [4, -1])
    np.testing.assert_array_equal(result.losses[0, 0], [0, -1, -2, -3, np.nan, np.nan])
    np.testing.assert_array_equal(result.validation_losses[0, 0], [0, -2, np.nan, np.nan])
    assert result.status.ravel().tolist() == ["diverged", "finite"]


def test_a_lane_lost_in_training_has_no_later_validation():
    result = range_test(
        counting,
        jnp.zeros(()),
        np.zeros((6, 2)),
        optax.sgd,
        [1.0],
        validation=np.zeros(2),
        evaluate=lambda params, batch: -params + 0 * batch.sum(),
        validation_steps=[0, 2, 3, 6],
    )
    np.testing.assert_array_equal(result.validation_losses[0, 0], [0, -2, np.nan, np.nan])


def test_a_lane_that_ends_above_its_start_is_only_flagged():
    rates = [0.1, 1.1]  # gradient descent on p**2 / 2 * 2: p <- (1 - 2 rate) p

    def parabola(params, batch):
        return params**2 + 0 * batch.sum()

    for validation in (None, np.zeros(2)):
        result = range_test(parabola, jnp.ones(()), np.zeros((30, 2)), optax.sgd, rates, validation=validation)
        assert result.status.ravel().tolist() == ["finite", "high"]
        assert np.isfinite(result.losses).all()
        np.testing.assert_allclose(result.losses[1, 0], 1.2 ** (2 * np.arange(30)), rtol=1e-4)


class Batches(NamedTuple):
    """A pytree with names."""

    x: np.ndarray
    y: np.ndarray


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class BatchDataclass:
    """A pytree that the user registered."""

    x: np.ndarray
    y: np.ndarray


class Sized:
    """A loader that can be gone through again, and says how long it is."""

    def __len__(self):  # noqa: D105
        return STEPS

    def __iter__(self):  # noqa: D105
        return ((X[step], Y[step]) for step in range(STEPS))


class Tensor:
    """An array of another library: NumPy can read it, JAX does not know it."""

    def __init__(self, array):  # noqa: D107
        self.array = array

    def __array__(self, dtype=None, copy=None):  # noqa: D105
        return self.array


def as_pair(params, batch):
    if isinstance(batch, dict):
        batch = batch["x"], batch["y"]
    elif isinstance(batch, BatchDataclass):
        batch = batch.x, batch.y
    return loss_fn(params, batch)


@pytest.mark.parametrize(
    "make",
    [
        lambda: (X, Y),
        lambda: {"x": jnp.asarray(X), "y": Y},
        lambda: Batches(X, Y),
        lambda: BatchDataclass(X, Y),
        lambda: (X.astype(np.float64), Y),
        lambda: list(zip(X, Y, strict=True)),
        lambda: zip(X, Y, strict=True),
        lambda: ([Tensor(x), Tensor(y)] for x, y in zip(X, Y, strict=True)),
        lambda: ({"x": jnp.asarray(x), "y": y.astype(np.float64)} for x, y in zip(X, Y, strict=True)),
        Sized,
    ],
)
def test_every_kind_of_batches_is_read_alike(make):
    result = range_test(as_pair, START, make(), momentum, [0.05], steps=STEPS)
    np.testing.assert_allclose(result.losses[0, 0], by_hand(0.05, START)[0], rtol=1e-4)
    assert (result.steps_done, result.note) == (STEPS, "")


def test_an_array_is_stacked_and_a_list_of_arrays_yields():
    def first_entry(params, batch):
        return batch[0] + 0 * params

    stacked = range_test(first_entry, jnp.zeros(()), np.arange(6.0).reshape(3, 2), optax.sgd, [0.1])
    np.testing.assert_array_equal(stacked.losses[0, 0], [0, 2, 4])
    listed = range_test(first_entry, jnp.zeros(()), [np.arange(2.0), np.arange(2.0) + 7], optax.sgd, [0.1])
    np.testing.assert_array_equal(listed.losses[0, 0], [0, 7])


def test_an_endless_iterator_is_pulled_once_a_step():
    pulled = []

    def endless():
        while True:
            pulled.append(len(pulled))
            yield np.float32([len(pulled)])

    result = range_test(
        lambda params, batch: batch[0] + 0 * params,
        jnp.zeros(()),
        endless(),
        optax.sgd,
        [0.1, 0.2],
        steps=150,
        validation=np.zeros(1, np.float32),
    )
    assert len(pulled) == 150
    np.testing.assert_array_equal(result.losses[1, 0], 1 + np.arange(150))


@pytest.mark.parametrize("batches", [(X, Y), list(zip(X, Y, strict=True)), Sized()], ids=["stacked", "list", "loader"])
def test_sized_batches_start_again(batches):
    result = range_test(loss_fn, START, batches, momentum, [0.01], steps=30)
    np.testing.assert_allclose(result.losses[0, 0], by_hand(0.01, START, 30)[0], rtol=1e-4)
    assert result.note == "The 12 batches were gone through 2.5 times."
    assert range_test(loss_fn, START, batches, momentum, [0.01]).steps_done == STEPS


def exhausted():
    yield from zip(X[:5], Y[:5], strict=True)


def raising():
    yield from exhausted()
    raise OSError("disk gone")


def ragged():
    yield from exhausted()
    yield X[5, :3], Y[5, :3]
    yield from exhausted()


@pytest.mark.parametrize(
    ("batches", "cause"),
    [
        (exhausted, "the iterable was exhausted; give it more batches, or ask for fewer steps"),
        (raising, "the iterable raised OSError('disk gone'); repair it and run again"),
        (
            ragged,
            (
                "a batch of (float32[3,3], float32[3]) came after batches of (float32[8,3], float32[8]); "
                "give all batches one structure, shape and dtype (a loader's drop_last=True)"
            ),
        ),
    ],
)
def test_batches_that_end_early_end_the_test_cleanly(batches, cause):
    result = range_test(loss_fn, START, batches(), momentum, [0.05], steps=10, validation=HELD_OUT)
    losses, path = by_hand(0.05, START)
    assert result.steps_done == 5
    assert result.note == f"The batches ended after 5 of 10 steps: {cause}."
    np.testing.assert_allclose(result.losses[0, 0], losses[:5], rtol=1e-4)
    np.testing.assert_array_equal(result.validation_steps, [0, 1, 2, 3, 4, 5])
    w, b = path[5]
    np.testing.assert_allclose(
        result.validation_losses[0, 0, -1], ((HELD_OUT[0] @ w + b - HELD_OUT[1]) ** 2).mean(), rtol=1e-4
    )


def test_an_early_end_is_validated_once_more():
    result = range_test(
        loss_fn, START, exhausted(), momentum, [0.05], steps=10, validation=HELD_OUT, validation_steps=[2, 10]
    )
    np.testing.assert_array_equal(result.validation_steps, [2, 5])


def test_default_validation_steps():
    result = range_test(loss_fn, START, (X, Y), optax.sgd, [0.1], steps=37, validation=HELD_OUT)
    np.testing.assert_array_equal(result.validation_steps, [0, 4, 7, 11, 15, 18, 22, 26, 30, 33, 37])
    without = range_test(loss_fn, START, (X, Y), optax.sgd, [0.1])
    assert without.validation_steps.shape == (0,)
    assert without.validation_losses.shape == (1, 1, 0)


def test_validation_batches_are_averaged_and_may_differ_in_size():
    batches = [(X[0], Y[0]), (X[1, :2], Y[1, :2]), (X[2], Y[2])]
    result = range_test(loss_fn, START, (X, Y), optax.sgd, [0.1], validation=batches, validation_steps=[0])
    expected = np.mean([loss_fn(START, batch) for batch in batches])
    np.testing.assert_allclose(result.validation_losses, [[[expected]]], rtol=1e-6)


@pytest.mark.parametrize("key", [KEY, jax.random.PRNGKey(7)], ids=["typed", "uint32"])
def test_loss_keys(key):
    def drawn(params, batch, rng):
        return jax.random.uniform(rng) + 0 * params

    result = range_test(drawn, jnp.zeros(()), np.zeros((4, 1)), optax.sgd, [0.1, 0.2], rng=key, seeds=[3, 8])
    for r, seed in enumerate([3, 8]):
        for step in range(4):
            expected = jax.random.uniform(jax.random.fold_in(jax.random.fold_in(key, seed), step))
            np.testing.assert_array_equal(result.losses[:, r, step], expected)


def test_model_state_is_carried_and_evaluated():
    def loss_and_sum(params, batch, *, state):
        total = {"sum": state["sum"] + batch.astype(jnp.float32).sum(), "calls": state["calls"] + 1}
        return total["sum"] + 0 * params, total

    def evaluate(params, batch, state):
        return state["calls"] + batch.sum() + 0 * params

    state = {"sum": jnp.zeros((), jnp.bfloat16), "calls": np.int32(0)}
    result = range_test(
        loss_and_sum,
        jnp.zeros(()),
        np.ones((4, 2), np.float32),
        optax.sgd,
        [0.1],
        model_state=state,
        validation=np.float32([0.25]),
        evaluate=evaluate,
        validation_steps=[0, 3],
    )
    np.testing.assert_array_equal(result.losses[0, 0], [2, 4, 6, 8])
    np.testing.assert_array_equal(result.validation_losses[0, 0], [0.25, 3.25])


def test_updates_get_the_loss():
    def by_value(rate):
        def update(updates, state, params=None, *, value):
            return jax.tree.map(lambda leaf: jnp.full_like(leaf, rate * value), updates), state

        return optax.GradientTransformationExtraArgs(lambda _: optax.EmptyState(), update)

    result = range_test(lambda p, batch: p + 1 + 0 * batch.sum(), jnp.zeros(()), np.zeros((3, 1)), by_value, [0.5])
    np.testing.assert_allclose(result.losses[0, 0], [1, 1.5, 2.25])


def test_half_precision_parameters_keep_their_dtype_and_the_rate_its_own():
    start = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.bfloat16), START)
    dtypes = set()

    def remember(params, batch):
        dtypes.add(params["w"].dtype)
        return loss_fn(params, batch)

    def rmsprop(rate):
        dtypes.add(rate.dtype)
        return optax.rmsprop(rate, momentum=0.9)

    result = range_test(remember, start, (jnp.bfloat16(X), jnp.bfloat16(Y)), rmsprop, [1e-3], validation=HELD_OUT)
    assert dtypes == {jnp.dtype(jnp.bfloat16), jnp.dtype(jnp.float32)}
    assert result.losses.dtype == result.validation_losses.dtype == np.float32
    assert np.isfinite(result.losses).all()


def test_a_schedule_in_the_factory_sees_every_step():
    def scheduled(peak):
        return optax.sgd(lambda step: peak * jnp.where(step < 2, 1.0, 0.0))

    result = range_test(
        lambda params, batch: -params + 0 * batch.sum(), jnp.zeros(()), np.zeros((5, 1)), scheduled, [1.0, 0.5]
    )
    np.testing.assert_allclose(result.losses[:, 0], [[0, -1, -2, -2, -2], [0, -0.5, -1, -1, -1]])


@pytest.mark.parametrize("masked", [False, True])
def test_schedule_free_is_evaluated_at_its_average(masked):
    def factory(rate):
        inner = contrib.schedule_free_sgd(rate, b1=0.8)
        if not masked:
            return inner
        return optax.partition({"free": inner, "plain": optax.sgd(rate)}, {"w": "free", "b": "plain"})

    optimizer, params = factory(0.1), jax.tree.map(jnp.asarray, START)
    state = optimizer.init(params)
    for step in range(STEPS):
        gradients = jax.grad(loss_fn)(params, (X[step], Y[step]))
        updates, state = optimizer.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
    if masked:
        free = state.inner_states["free"].inner_state
        average = contrib.schedule_free_eval_params(free._replace(z=free.z["w"]), params["w"])
        expected = {"w": average, "b": params["b"]}
    else:
        expected = contrib.schedule_free_eval_params(state, params)

    result = range_test(loss_fn, START, (X, Y), factory, [0.1, 0.01], validation=HELD_OUT, validation_steps=[STEPS])
    assert abs(loss_fn(expected, HELD_OUT) / loss_fn(params, HELD_OUT) - 1) > 0.01
    np.testing.assert_allclose(result.validation_losses[0, 0, 0], loss_fn(expected, HELD_OUT), rtol=1e-4)


def test_callers_arrays_stay_as_they_were():
    start = jax.tree.map(jnp.asarray, START)
    batches = (jnp.asarray(X), jnp.asarray(Y))
    state = {"n": jnp.zeros(3)}

    def keeps_state(params, batch, state):
        return loss_fn(params, batch), jax.tree.map(lambda leaf: leaf + 1, state)

    first, second = (
        range_test(keeps_state, start, batches, optax.adam, [0.1, 0.2], model_state=state) for _ in range(2)
    )
    np.testing.assert_array_equal(first.losses, second.losses)
    for before, after in zip(jax.tree.leaves(START), jax.tree.leaves(start), strict=True):
        np.testing.assert_array_equal(before, after)
    np.testing.assert_array_equal(batches[0], X)
    np.testing.assert_array_equal(state["n"], 0)


def test_debug_nans_is_off_in_the_lanes():
    with jax.debug_nans(True):
        result = range_test(counting, jnp.zeros(()), np.zeros((6, 2)), optax.sgd, [1.0])
    assert result.lost_at[0, 0] == 3


def test_progress_shows_steps_and_the_best_loss(capsys):
    range_test(loss_fn, START, (X, Y), optax.sgd, [0.05, 1e30], progress=True)
    shown = capsys.readouterr().err
    assert "12/12" in shown
    assert "step/s" in shown
    assert "at 0.05, 1/2 lanes alive" in shown
    range_test(loss_fn, START, (X, Y), optax.sgd, [0.05, 1e30])
    assert not capsys.readouterr().err


def test_progress_without_tqdm_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with pytest.raises(ImportError, match=r"`range_test\(progress=True\)` needs tqdm: pip install 'lrjax\[progress\]'"):
        range_test(loss_fn, START, (X, Y), optax.sgd, [0.1], progress=True)


def test_result_prints_as_a_table():
    result = range_test(loss_fn, init, (X, Y), optax.sgd, [1e3, 0.001, 0.05], steps=30, seeds=2, validation=HELD_OUT)
    lines = str(result).splitlines()
    assert lines[0] == "3 rates, 2 seeds, 30 steps"
    assert lines[1].split() == ["rate", "training", "spread", "validation", "spread", "status"]
    assert [line.split()[-1] for line in lines[2:4]] == ["finite", "finite"]
    assert lines[3].split()[:2] == ["->", "0.05"]
    lost = result.lost_at[0].min()
    assert lines[4].split() == ["1e+03", "-", "-", "-", "-", "diverged", "at", str(lost)]
    assert (
        len(
            {
                line.index(word)
                for line, word in zip(lines[1:5], ["status", "finite", "finite", "diverged"], strict=True)
            }
        )
        == 1
    )
    assert lines[5].startswith("0.05 is the smallest rate within 1%")
    assert lines[6].startswith("2 diverged: not finite any more: lower the rate")
    assert lines[7] == "The 12 batches were gone through 2.5 times."
    assert repr(result) == "RangeTest(3 rates from 0.001 to 1e+03, 2 seeds, 30 steps)"


def test_many_rates_are_thinned_in_the_table():
    result = range_test(loss_fn, START, (X, Y), optax.sgd, np.geomspace(1e-4, 1, 101))
    lines = str(result).splitlines()
    assert lines[0] == "101 rates, 1 seed, 12 steps; 25 of the rates shown"
    assert len(lines) == 2 + 25 + 1 + 1
    assert lines[-1].endswith(
        "high: ended above the start: lower the rate, warm it up, or give it more steps, as some recover"
    )
    assert sum(line.startswith("->") for line in lines) == 1


def test_result_is_frozen():
    result = range_test(loss_fn, START, (X, Y), optax.sgd, [0.1])
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.note = "changed"


def test_x64_runs_in_float64(x64):
    result = range_test(
        loss_fn, START | {"w": np.float64([0.1, 0.2, -0.3])}, (X, Y), optax.sgd, [0.1], validation=BATCH
    )
    assert result.losses.dtype == result.validation_losses.dtype == np.float64
    expected = ((X[0].astype(np.float64) @ [0.1, 0.2, -0.3] + 0.5 - Y[0]) ** 2).mean()
    np.testing.assert_allclose(result.losses[0, 0, 0], expected, rtol=1e-13)
