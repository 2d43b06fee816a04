"""What sweep computes, against loops written by hand."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.experimental import io_callback

from lrjax.finder import Halving, Hyperparams, Plan, fitting, range_test, sweep, training

KEY = jax.random.key(3)
GENERATOR = np.random.default_rng(1)
STEPS = 7
X = GENERATOR.normal(size=(STEPS, 4, 2)).astype(np.float32)
Y = GENERATOR.normal(size=(STEPS, 4)).astype(np.float32)
PLANS = [Plan(1), Plan(2, steps=3), Plan(3, steps=2, unroll=True), Plan(2, steps=64, threads=2), Plan(64, steps=64)]


def mse(params, batch):
    x, y = batch
    return jnp.mean((x @ params["w"] - y) ** 2)


def gradient(w, step):
    """Of the squared error, in float64."""
    x, y = X[step].astype(np.float64), Y[step].astype(np.float64)
    return 2 * (x @ w - y) @ x / len(y)


# a training loop over a pytree of hyperparameters


RATES, DECAYS = np.float32([0.1, 0.1, 0.3, 0.01, 0.2]), np.float32([0, 0.2, 0.1, 0.5, 0.05])
GRID = {"optimizer": (RATES, DECAYS), "start": GENERATOR.normal(size=(5, 2)).astype(np.float32)}


def decayed_init(hyperparams, rng):
    return {"w": hyperparams["start"], "rate_and_decay": hyperparams["optimizer"]}


def decayed_step(carry, batch):
    rate, decay = carry["rate_and_decay"]
    loss, slope = jax.value_and_grad(mse)(carry, batch)
    return carry | {"w": (1 - decay) * carry["w"] - rate * slope["w"]}, {"loss": loss}


def decayed_by_hand(lane, steps=STEPS):
    """Float64 losses of a lane, and its weights before each step and after the last."""
    w, losses, path = GRID["start"][lane].astype(np.float64), [], []
    for step in range(steps):
        path.append(w)
        losses.append(((X[step % STEPS] @ w - Y[step % STEPS]) ** 2).mean())
        w = (1 - np.float64(DECAYS[lane])) * w - np.float64(RATES[lane]) * gradient(w, step % STEPS)
    return np.array(losses), [*path, w]


@pytest.mark.parametrize("plan", ["auto", *PLANS], ids=str)
def test_a_pytree_of_hyperparameters(plan):
    result = sweep(decayed_init, decayed_step, GRID, (X, Y), plan=plan)
    expected = [decayed_by_hand(lane)[0] for lane in range(5)]
    np.testing.assert_allclose(result.metrics["loss"], expected, rtol=1e-5)
    assert (result.metric, result.steps_done, result.note) == ("loss", STEPS, "")
    assert result.status.tolist() == ["finite"] * 5
    np.testing.assert_array_equal(result.lost_at, [-1] * 5)
    assert result.validation_losses.shape == (5, 0)
    for given, held in zip(jax.tree.leaves(GRID), jax.tree.leaves(result.hyperparams), strict=True):
        assert isinstance(held, np.ndarray)
        np.testing.assert_array_equal(held, given)


def generated():
    yield from ({"x": x, "y": y} for x, y in zip(X, Y, strict=True))


@pytest.mark.parametrize(
    "make",
    [
        generated,
        lambda: list(generated()),
        lambda: {"x": X, "y": jnp.asarray(Y)},
        lambda: {"x": X.astype(np.float64), "y": Y},
    ],
    ids=["generator", "list", "stacked", "float64"],
)
def test_every_kind_of_batches(make):
    def step(carry, batch):
        return decayed_step(carry, (batch["x"], batch["y"]))

    result = sweep(decayed_init, step, GRID, make(), steps=STEPS)
    np.testing.assert_allclose(result.metrics["loss"][2], decayed_by_hand(2)[0], rtol=1e-5)


def test_sized_batches_start_again_and_may_be_more_than_a_chunk():
    result = sweep(decayed_init, decayed_step, GRID, list(zip(X, Y, strict=True)), steps=150, plan=Plan(3, steps=50))
    np.testing.assert_allclose(result.metrics["loss"][1], decayed_by_hand(1, 150)[0], rtol=1e-4)
    assert result.note == "The 7 batches were gone through 21.4 times."


@pytest.mark.parametrize("error", [None, OSError("disk gone")])
def test_batches_that_end_early_end_the_sweep_cleanly(error):
    def batches():
        yield from zip(X[:5], Y[:5], strict=True)
        if error:
            raise error

    def evaluate(carry, batch):
        return carry["w"].sum() * batch

    result = sweep(
        decayed_init, decayed_step, GRID, batches(), steps=20, evaluate=evaluate, validation=2.0, plan=Plan(2, steps=4)
    )
    assert result.steps_done == 5
    cause = "the iterable was exhausted; give it more batches, or ask for fewer steps"
    if error:
        cause = "the iterable raised OSError('disk gone'); repair it and run again"
    assert result.note == f"The batches ended after 5 of 20 steps: {cause}."
    np.testing.assert_array_equal(result.validation_steps, [0, 2, 4, 5])
    for lane in range(5):
        losses, path = decayed_by_hand(lane)
        np.testing.assert_allclose(result.metrics["loss"][lane], losses[:5], rtol=1e-5)
        expected = [2 * path[at].sum() for at in (0, 2, 4, 5)]
        np.testing.assert_allclose(result.validation_losses[lane], expected, rtol=1e-4, atol=1e-6)


def test_evaluations_are_averaged_at_the_steps_asked_for():
    def evaluate(carry, batch):
        return mse(carry, batch)

    result = sweep(
        decayed_init,
        decayed_step,
        GRID,
        (X, Y),
        evaluate=evaluate,
        validation=[(X[0], Y[0]), (X[1, :3], Y[1, :3])],
        validation_steps=[7, 0, 2, 2],
    )
    np.testing.assert_array_equal(result.validation_steps, [0, 2, 7])
    for lane in range(5):
        path = decayed_by_hand(lane)[1]
        parts = [
            [((x @ path[at] - y) ** 2).mean() for x, y in ((X[0], Y[0]), (X[1, :3], Y[1, :3]))] for at in (0, 2, 7)
        ]
        np.testing.assert_allclose(result.validation_losses[lane], np.mean(parts, axis=1), rtol=1e-5)


# other loops


def test_two_rates_of_a_game():
    """Alternating gradient play on g * d + g**2 / 2, as a GAN's two players would do it."""

    def step(carry, target):
        g_rate, d_rate = carry["rates"]
        d = carry["d"] + d_rate * (carry["g"] - target)
        g = carry["g"] - g_rate * (d + carry["g"])
        return carry | {"g": g, "d": d}, {"generator": g * d + g**2 / 2, "discriminator": -d * (g - target)}

    rates = [np.tile([0.1, 0.5], 3), np.repeat([0.05, 0.2, 0.4], 2)]
    targets = np.float32([1, 2, 1, 0, 1, 2])
    lanes = {"generator": np.float32(rates[0]), "discriminator": np.float32(rates[1])}
    result = sweep(
        lambda h, _: {"g": jnp.float32(1), "d": jnp.float32(0), "rates": (h["generator"], h["discriminator"])},
        step,
        lanes,
        targets,
        metric="generator",
        plan=Plan(4, steps=2),
    )
    assert result.metric == "generator"
    for lane, (g_rate, d_rate) in enumerate(zip(*rates, strict=True)):
        g, d = 1.0, 0.0
        for step_number, target in enumerate(targets):
            d += d_rate * (g - target)
            g -= g_rate * (d + g)
            found = [result.metrics[name][lane, step_number] for name in ("generator", "discriminator")]
            np.testing.assert_allclose(found, [g * d + g**2 / 2, -d * (g - target)], rtol=2e-5, atol=1e-6)


def test_physics_without_batches():
    """A pendulum by leapfrog steps of several lengths."""

    def step(carry, batch):
        assert batch is None
        h, angle, speed = carry
        speed = speed - h / 2 * jnp.sin(angle)
        angle = angle + h * speed
        speed = speed - h / 2 * jnp.sin(angle)
        return (h, angle, speed), {"energy": speed**2 / 2 - jnp.cos(angle), "place": jnp.stack([angle, speed])}

    lengths = np.float32([0.01, 0.1, 0.5])
    result = sweep(lambda h, _: (h, jnp.float32(1), jnp.float32(0)), step, lengths, None, steps=100, metric="energy")
    angle, speed = np.ones(3), np.zeros(3)
    for number in range(100):
        speed -= lengths / 2 * np.sin(angle)
        angle += lengths * speed
        speed -= lengths / 2 * np.sin(angle)
        np.testing.assert_allclose(result.metrics["place"][:, number], np.stack([angle, speed], 1), atol=1e-4)
    np.testing.assert_allclose(result.metrics["energy"][:, -1], speed**2 / 2 - np.cos(angle), atol=1e-4)
    np.testing.assert_allclose(result.metrics["energy"], -np.cos(1), atol=0.05)  # and leapfrog keeps it


ROOMS = 5


def agent_init(hyperparams, key):
    return {
        "room": jnp.int32(2),
        "values": jnp.zeros((ROOMS, 2)),
        "key": key,
        "epsilon": hyperparams["epsilon"],
        "rate": hyperparams["rate"],
    }


def agent_step(carry, _):
    """Q-learning in a corridor whose last room pays."""
    key, explore, choose = jax.random.split(carry["key"], 3)
    room, values = carry["room"], carry["values"]
    greedy = values[room].argmax().astype(jnp.int32)
    move = jnp.where(jax.random.uniform(explore) < carry["epsilon"], jax.random.randint(choose, (), 0, 2), greedy)
    new = jnp.clip(room + 2 * move - 1, 0, ROOMS - 1)
    reward = (new == ROOMS - 1).astype(jnp.float32)
    error = reward + 0.9 * values[new].max() - values[room, move]
    after = carry | {"key": key, "room": new, "values": values.at[room, move].add(carry["rate"] * error)}
    return after, {"loss": error**2, "room": new, "of room": values[room]}


@pytest.mark.parametrize(
    "key", [KEY, jax.random.PRNGKey(3), jax.random.key(3, impl="rbg")], ids=["typed", "uint32", "rbg"]
)
def test_an_agent_with_its_environment_and_key_in_the_carry(key):
    epsilons, rates = np.float32([0.1, 0.5, 1.0]), np.float32([0.5, 0.25, 1.0])
    result = sweep(
        agent_init, agent_step, {"epsilon": epsilons, "rate": rates}, None, steps=12, rng=key, plan=Plan(1, steps=5)
    )
    assert {name: (values.shape, values.dtype) for name, values in result.metrics.items()} == {
        "loss": ((3, 12), np.float32),
        "room": ((3, 12), np.int32),
        "of room": ((3, 12, 2), np.float32),
    }
    for lane, (epsilon, rate) in enumerate(zip(epsilons, rates, strict=True)):
        room, values, own = 2, np.zeros((ROOMS, 2)), key
        for number in range(12):
            own, explore, choose = jax.random.split(own, 3)
            move = int(values[room].argmax())
            if float(jax.random.uniform(explore)) < epsilon:
                move = int(jax.random.randint(choose, (), 0, 2))
            new = min(max(room + 2 * move - 1, 0), ROOMS - 1)
            error = (new == ROOMS - 1) + 0.9 * values[new].max() - values[room, move]
            np.testing.assert_allclose(result.metrics["of room"][lane, number], values[room], rtol=1e-5)
            values[room, move] += rate * error
            room = new
            assert result.metrics["room"][lane, number] == room
            np.testing.assert_allclose(result.metrics["loss"][lane, number], error**2, rtol=1e-5)


def test_a_step_that_calls_back():
    seen = []

    def note(lane, number):
        seen.append((int(lane), int(number)))
        return np.float32(10 * lane + number)

    def step(carry, _):
        lane, number = carry
        value = io_callback(note, jax.ShapeDtypeStruct((), np.float32), lane, number)
        doubled = jax.pure_callback(lambda x: 2 * x, value, value, vmap_method="sequential")
        return (lane, number + 1), {"loss": value, "doubled": doubled}

    for plan in ("auto", Plan(3, steps=2)):  # no lane twice
        seen.clear()
        result = sweep(lambda lane, _: (lane, jnp.int32(0)), step, np.arange(3), None, steps=4, plan=plan)
        expected = 10 * np.arange(3)[:, None] + np.arange(4)
        np.testing.assert_array_equal(result.metrics["loss"], expected)
        np.testing.assert_array_equal(result.metrics["doubled"], 2 * expected)
        assert sorted(seen) == [(lane, number) for lane in range(3) for number in range(4)]


def test_metrics_may_come_in_any_order():
    """An OrderedDict is a pytree whose leaves are not sorted."""
    from collections import OrderedDict

    def step(carry, _):
        return carry, OrderedDict([("z", carry), ("loss", 2 * carry), ("a", 3.0)])

    result = sweep(lambda h, _: h, step, np.float32([1, 2]), None, steps=2)
    assert {name: values[1, 1] for name, values in result.metrics.items()} == {"z": 2, "loss": 4, "a": 3}


# training(...) as a part of other loops


@pytest.mark.parametrize("plan", ["auto", Plan(2, steps=3)], ids=str)
def test_training_within_a_larger_loop(plan):
    init, step = training(mse, {"w": jnp.ones(2)}, optax.sgd)

    def init_with_decay(hyperparams, rng):
        return init(hyperparams["run"], rng), hyperparams["decay"]

    def step_with_decay(carry, batch):
        run, decay = carry
        run, metrics = step(run, batch)
        return (run._replace(params=jax.tree.map(lambda leaf: (1 - decay) * leaf, run.params)), decay), metrics

    lanes = {"run": Hyperparams(RATES, np.zeros(5, np.int32)), "decay": DECAYS}
    result = sweep(init_with_decay, step_with_decay, lanes, (X, Y), plan=plan)
    for lane in range(5):
        w = np.ones(2)
        for number in range(STEPS):
            expected = ((X[number] @ w - Y[number]) ** 2).mean()
            np.testing.assert_allclose(result.metrics["loss"][lane, number], expected, rtol=1e-5)
            w = (1 - np.float64(DECAYS[lane])) * (w - RATES[lane] * gradient(w, number))


def noisy(params, batch, state, rng):
    noise = 0.1 * jax.random.normal(rng, (2,))
    return mse({"w": params["w"] + noise}, batch) + 0 * state["n"], {"n": state["n"] + 1}


def normal(key):
    return {"w": jax.random.normal(key, (2,))}


def test_training_has_the_seeds_keys_and_state_of_a_range_test():
    init, step = training(noisy, normal, optax.adam, model_state={"n": np.float64(0)})
    lanes = Hyperparams(np.float32([0.1, 0.1, 0.02]), np.int32([4, 9, 4]))
    result = sweep(init, step, lanes, (X, Y), rng=KEY)
    tested = range_test(
        noisy, normal, (X, Y), optax.adam, [0.1, 0.02], seeds=[4, 9], rng=KEY, model_state={"n": np.float64(0)}
    )
    np.testing.assert_allclose(result.metrics["loss"], tested.losses[[0, 0, 1], [0, 1, 0]], rtol=1e-5)
    for lane, (rate, seed) in enumerate(zip(*lanes, strict=True)):
        params, key = normal(jax.random.key(seed)), jax.random.fold_in(KEY, seed)
        optimizer = optax.adam(rate)
        state = optimizer.init(params)
        for number in range(3):
            noise = 0.1 * jax.random.normal(jax.random.fold_in(key, number), (2,))
            loss, slope = jax.value_and_grad(lambda p, b, n=noise: mse({"w": p["w"] + n}, b))(
                params, (X[number], Y[number])
            )
            np.testing.assert_allclose(result.metrics["loss"][lane, number], loss, rtol=1e-5)
            updates, state = optimizer.update(slope, state, params)
            params = optax.apply_updates(params, updates)


def test_training_from_parameters_that_a_lane_makes():
    def init(hyperparams, rng):
        return training(mse, {"w": hyperparams["scale"] * jnp.ones(2)}, optax.sgd)[0](hyperparams["run"], rng)

    lanes = {"run": Hyperparams(np.float32([0.1, 0.1]), np.int32([0, 0])), "scale": np.float32([0, 2])}
    result = sweep(init, training(mse, {"w": jnp.ones(2)}, optax.sgd)[1], lanes, (X, Y))
    expected = [((scale * X[0].sum(axis=1) - Y[0]) ** 2).mean() for scale in (0, 2)]
    np.testing.assert_allclose(result.metrics["loss"][:, 0], expected, rtol=1e-5)


# lanes that are lost and dropped: each follows curves that were drawn beforehand


def follow(losses, readings, seen=lambda: None, **options):
    """A sweep whose lanes have these losses ``[K, S]``, and are evaluated to these readings ``[K, S + 1]``."""

    def step(carry, _):
        seen()
        losses, readings, number = carry
        metrics = {"loss": losses[number], "number": number, "pair": jnp.stack([losses[number], number + 0.5])}
        return (losses, readings, number + 1), metrics

    if readings is not None:
        options |= {"evaluate": lambda carry, one: one * carry[1][carry[2]], "validation": np.float32(1)}
    lanes = (np.float32(losses), np.float32(losses if readings is None else readings))
    return sweep(lambda h, _: (*h, jnp.int32(0)), step, lanes, None, steps=losses.shape[1], **options)


def curves(seed, lanes, steps, lost=0.0):
    """Random losses and readings, a part of the lanes with one number that is not finite in one of them."""
    generator = np.random.default_rng(seed)
    losses = generator.normal(size=(lanes, steps)).astype(np.float32)
    readings = generator.normal(size=(lanes, steps + 1)).astype(np.float32)
    for lane in np.flatnonzero(generator.random(lanes) < lost):
        part = (losses, readings)[generator.integers(2)]
        part[lane, generator.integers(part.shape[1])] = generator.choice([np.nan, np.inf, -np.inf])
    return losses, readings


def by_hand(losses, readings, at, keep, units):
    """Where each lane is lost and where it is dropped, update by update."""
    lanes, steps = losses.shape
    lost_at, dropped_at, left = np.full(lanes, -1), np.full(lanes, -1), sorted(set(units))
    fraction, rungs = (keep.fraction, keep.rungs) if isinstance(keep, Halving) else (0.5, 0)
    places = {round(steps * fraction**power) for power in range(1, rungs + 1)} - {0, steps}
    for done in range(steps + 1):
        going = (lost_at < 0) & (dropped_at < 0)
        if done in at:
            lost_at[going & ~np.isfinite(readings[:, done])] = done
        going = (lost_at < 0) & (dropped_at < 0)
        if done in places:
            values = (
                losses[:, done - max(1, round(done / 10)) : done].mean(axis=1)
                if readings is None
                else readings[:, done]
            )
            scores = {unit: np.where(going, values, np.inf)[units == unit].mean() for unit in left}
            left = sorted(left, key=lambda unit: (scores[unit], unit))[: math.ceil(fraction * len(left))]
            dropped_at[going & ~np.isin(units, left)] = done
            going = (lost_at < 0) & (dropped_at < 0)
            left = [unit for unit in left if going[units == unit].any()]
        if done < steps:
            lost_at[going & ~np.isfinite(losses[:, done])] = done
    return lost_at, dropped_at


@pytest.mark.parametrize("keep", ["all", "finite", Halving(0.5, 3), Halving(0.7, 4), Halving(0.2, 9)], ids=str)
@pytest.mark.parametrize("evaluated", [False, True])
@pytest.mark.parametrize(
    ("plan", "budget"), [("auto", None), (Plan(3, steps=2), None), (Plan(2, steps=9), 9000)], ids=str
)
def test_lanes_are_lost_and_dropped_as_by_hand(keep, evaluated, plan, budget, monkeypatch):
    waves = []
    fit = fitting._fitted
    monkeypatch.setattr(fitting, "_fitted", lambda *args: waves.append(fit(*args).wave) or fit(*args))
    for seed in range(6):
        losses, readings = curves(seed, lanes=9, steps=20, lost=(0.0, 0.3, 0.8)[seed % 3])
        at = [0, 7, 10, 20] if evaluated else []
        options = {"validation_steps": at} if evaluated else {}
        result = follow(losses, readings if evaluated else None, keep=keep, plan=plan, memory_budget=budget, **options)
        at = sorted({*at, *(keep.at(20) if evaluated and isinstance(keep, Halving) else [])})
        lost_at, dropped_at = by_hand(losses, readings if evaluated else None, at, keep, np.arange(9))
        status = np.where(lost_at >= 0, "diverged", np.where(dropped_at >= 0, "dropped", "finite"))
        np.testing.assert_array_equal(result.status, status)
        gone = np.maximum(lost_at, dropped_at)
        np.testing.assert_array_equal(result.lost_at, gone)
        over = (gone[:, None] >= 0) & (np.arange(20) >= gone[:, None])
        np.testing.assert_array_equal(result.metrics["loss"], np.where(over, np.nan, losses))
        np.testing.assert_array_equal(result.metrics["number"], np.where(over, 0, np.arange(20)))
        pairs = np.stack([losses, np.tile(np.arange(20) + 0.5, (9, 1))], axis=-1)
        np.testing.assert_array_equal(result.metrics["pair"], np.where(over[..., None], np.nan, pairs))
        np.testing.assert_array_equal(result.validation_steps, at)
        unread = ((lost_at[:, None] >= 0) & (at >= lost_at[:, None])) | (
            (dropped_at[:, None] >= 0) & (at > dropped_at[:, None])
        )
        np.testing.assert_array_equal(result.validation_losses, np.where(unread, np.nan, readings[:, at]))
    if budget:
        assert 0 < max(waves) < 9
