"""What sweep computes, against loops written by hand."""

from __future__ import annotations

import math
from collections import OrderedDict

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.experimental import io_callback

from lrjax.finder import Halving, Hyperparams, Plan, engine, fitting, range_test, sweep, training

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


def test_an_error_in_a_callback_ends_the_sweep_with_its_text():
    def read(number):
        if number == 3:
            raise RuntimeError("sensor unplugged")
        return np.float32(number)

    def step(carry, _):
        return (carry[0], carry[1] + 1), {"loss": io_callback(read, jax.ShapeDtypeStruct((), np.float32), carry[1])}

    result = sweep(lambda h, _: (h, jnp.int32(0)), step, np.ones(2), None, steps=20, plan=Plan(2, steps=2))
    assert result.note == "The step failed after 2 of 20 steps: RuntimeError: sensor unplugged."
    np.testing.assert_array_equal(result.metrics["loss"], [[0, 1], [0, 1]])


def test_metrics_may_come_in_any_order():
    """An OrderedDict is a pytree whose leaves are not sorted."""

    def step(carry, _):
        return carry, OrderedDict([("z", carry), ("loss", 2 * carry), ("a", 3.0)])

    result = sweep(lambda h, _: h, step, np.float32([1, 2]), None, steps=2)
    assert {name: values[1, 1] for name, values in result.metrics.items()} == {"z": 2, "loss": 4, "a": 3}


def test_python_numbers_are_arrays():
    def step(carry, _):
        total, number, flag = carry
        return (total + 0.5, number + 1, True), {"loss": total, "number": number, "flag": flag, "one": 1}

    result = sweep(
        lambda h, _: (h, 0, False), step, np.float32([1, 2]), None, steps=3, evaluate=lambda *_: 1.5, validation=0
    )
    np.testing.assert_array_equal(result.metrics["loss"], [[1, 1.5, 2], [2, 2.5, 3]])
    assert {name: (v.dtype.name, v[0].tolist()) for name, v in result.metrics.items() if name != "loss"} == {
        "number": ("int32", [0, 1, 2]),
        "flag": ("bool", [False, True, True]),
        "one": ("int32", [1, 1, 1]),
    }
    np.testing.assert_array_equal(result.validation_losses, np.full((2, 4), 1.5))


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


def follow_init(hyperparams, rng):
    return {"losses": hyperparams[0], "readings": hyperparams[1], "number": jnp.int32(0)}


def follow_step(carry, batch):
    loss, number = carry["losses"][carry["number"]], carry["number"]
    return carry | {"number": number + 1}, {"loss": loss, "number": number, "pair": jnp.stack([loss, number + 0.5])}


def follow_reading(carry, factor):
    return factor * carry["readings"][carry["number"]]


def follow(losses, readings, **options):
    """A sweep whose lanes have these losses ``[K, S]``, and are evaluated to these readings ``[K, S + 1]``."""
    if readings is not None:
        options |= {"evaluate": follow_reading, "validation": np.float32(1)}
    lanes = (losses, losses if readings is None else readings)
    return sweep(follow_init, follow_step, lanes, None, steps=losses.shape[1], **options)


def curves(seed, lanes, steps, lost=0.0, at=()):
    """Random losses and readings; a part of the lanes is lost in one of them, readings ``at`` these steps likelier."""
    generator = np.random.default_rng(seed)
    losses = generator.normal(size=(lanes, steps)).astype(np.float32)
    readings = generator.normal(size=(lanes, steps + 1)).astype(np.float32)
    for lane in np.flatnonzero(generator.random(lanes) < lost):
        part, place = (losses, readings)[generator.integers(2)], generator.integers(steps)
        if part is readings and len(at):
            place = generator.choice(at)
        part[lane, place] = generator.choice([np.nan, np.inf, -np.inf])
    return losses, readings


def by_hand(losses, readings, at, keep, units, end):
    """Where each lane is lost and where it is dropped, update by update, of which ``end`` are done."""
    lanes, steps = losses.shape
    lost_at, dropped_at, left = np.full(lanes, -1), np.full(lanes, -1), sorted(set(units))
    fraction, rungs = (keep.fraction, keep.rungs) if isinstance(keep, Halving) else (0.5, 0)
    places = {round(steps * fraction**power) for power in range(1, rungs + 1)} - {0, steps}
    for done in range(end + 1):
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
        if done < end:
            lost_at[going & ~np.isfinite(losses[:, done])] = done
    return lost_at, dropped_at


KEEPS = ["all", "finite", Halving(0.5, 3), Halving(0.7, 4), Halving(0.2, 9)]


@pytest.mark.parametrize("keep", KEEPS, ids=str)
@pytest.mark.parametrize("evaluated", [False, True])
@pytest.mark.parametrize(
    ("plan", "budget", "compiling"),
    [("auto", None, 0.0), (Plan(3, steps=2), None, 1.0), (Plan(2, steps=9), 9000, 0.0)],
    ids=["smaller groups", "as they are", "waves"],
)
def test_lanes_are_lost_and_dropped_as_by_hand(keep, evaluated, plan, budget, compiling, monkeypatch):
    monkeypatch.setattr(engine, "COMPILE_SECONDS", compiling)  # where it takes none, a smaller group always pays
    fits, fitted = [], fitting._fitted
    monkeypatch.setattr(fitting, "_fitted", lambda *args: fits.append(fitted(*args)) or fits[-1])
    rungs = keep.at(40) if isinstance(keep, Halving) else []
    for seed in range(12):
        losses, readings = curves(seed, lanes=9, steps=40, lost=(0.0, 0.3, 0.8)[seed % 3], at=[0, 40, *rungs])
        readings = readings if evaluated else None
        options = {"validation_steps": [0, 14, 20, 40]} if evaluated else {}
        result = follow(losses, readings, keep=keep, plan=plan, memory_budget=budget, **options)
        at = sorted({0, 14, 20, 40, *rungs}) if evaluated else []
        lost_at, dropped_at = by_hand(losses, readings, at, keep, np.arange(9), 40)
        gone = np.maximum(lost_at, dropped_at)
        np.testing.assert_array_equal(result.lost_at, gone)
        status = np.where(lost_at >= 0, "diverged", np.where(dropped_at >= 0, "dropped", "finite"))
        np.testing.assert_array_equal(result.status, status)
        over = (gone[:, None] >= 0) & (np.arange(40) >= gone[:, None])
        np.testing.assert_array_equal(result.metrics["loss"], np.where(over, np.nan, losses))
        np.testing.assert_array_equal(result.metrics["number"], np.where(over, 0, np.arange(40)))
        pairs = np.stack([losses, np.tile(np.arange(40) + 0.5, (9, 1))], axis=-1)
        np.testing.assert_array_equal(result.metrics["pair"], np.where(over[..., None], np.nan, pairs))
        np.testing.assert_array_equal(result.validation_steps, at)
        if evaluated:
            unread = (gone[:, None] >= 0) & (at > gone[:, None] - (lost_at[:, None] >= 0))
            np.testing.assert_array_equal(result.validation_losses, np.where(unread, np.nan, readings[:, at]))
    assert {fit.wave < 9 for fit in fits} == {budget is not None}


@pytest.mark.parametrize("budget", [None, 9000], ids=["one wave", "waves"])
@pytest.mark.parametrize("keep", ["finite", Halving(0.5, 3)], ids=str)
def test_batches_that_end_early_end_every_wave_there(keep, budget):
    rungs = keep.at(20) if isinstance(keep, Halving) else []
    for end in (1, 2, 3, 5, 7, 9, 10, 11, 19, 20):
        losses, readings = curves(end, lanes=9, steps=20, lost=0.4, at=[0, 7, *rungs])
        losses[4], readings[4] = 0, 0  # never lost: a sweep whose lanes are all gone pulls no further batches
        result = sweep(
            follow_init,
            follow_step,
            (losses, readings),
            (np.float32(number) for number in range(end)),
            steps=20,
            evaluate=follow_reading,
            validation=np.float32(1),
            validation_steps=[0, 7, 20],
            keep=keep,
            plan=Plan(4, steps=6),
            memory_budget=budget,
        )
        at = sorted({step for step in {0, 7, 20, *rungs} if step <= end} | {end})
        lost_at, dropped_at = by_hand(losses, readings, at, keep, np.arange(9), end)
        assert result.steps_done == end
        assert result.note.startswith(f"The batches ended after {end} of 20 steps: ") or end == 20
        gone = np.maximum(lost_at, dropped_at)
        np.testing.assert_array_equal(result.lost_at, gone)
        over = (gone[:, None] >= 0) & (np.arange(end) >= gone[:, None])
        np.testing.assert_array_equal(result.metrics["loss"], np.where(over, np.nan, losses[:, :end]))
        np.testing.assert_array_equal(result.validation_steps, at)
        unread = (gone[:, None] >= 0) & (at > gone[:, None] - (lost_at[:, None] >= 0))
        np.testing.assert_array_equal(result.validation_losses, np.where(unread, np.nan, readings[:, at]))


def range_loss(params, batch):
    """``batch[rate, seed, step]``, with the rate known from the first update on."""
    rate, seed, step = (params[name].astype(int) for name in ("rate", "seed", "step"))
    return batch[rate, seed, step]


def range_init(key):
    return {"rate": jnp.zeros(()), "seed": jax.random.key_data(key)[1].astype(jnp.float32), "step": jnp.zeros(())}


def range_optimizer(rate):
    def update(updates, state, params):
        return {"rate": rate - 1 - params["rate"], "seed": jnp.zeros(()), "step": jnp.ones(())}, state

    return optax.GradientTransformation(lambda _: optax.EmptyState(), update)


@pytest.mark.parametrize("keep", [Halving(0.5, 3), Halving(0.7, 4)], ids=str)
def test_the_seeds_of_a_rate_are_kept_or_dropped_together(keep):
    """By the mean of all of them: a rate with a seed that is lost comes last at every rung."""
    for seed in range(12):
        losses, _ = curves(seed, lanes=14, steps=40, lost=(0.0, 0.3, 0.6, 0.9)[seed % 4])
        losses[:, 0] = 0.5
        table = losses.reshape(7, 2, 40)
        result = range_test(
            range_loss, range_init, [table], range_optimizer, np.arange(1, 8), steps=40, seeds=2, keep=keep
        )
        lost_at, dropped_at = by_hand(losses, None, [], keep, np.repeat(np.arange(7), 2), 40)
        np.testing.assert_array_equal(result.lost_at.ravel(), np.maximum(lost_at, dropped_at))
        np.testing.assert_array_equal(result.status.ravel() == "dropped", (dropped_at >= 0) & (lost_at < 0))


@pytest.mark.parametrize("budget", [None, 1500], ids=["one wave", "waves"])
def test_steps_after_a_rung_are_only_those_of_the_lanes_kept(budget, monkeypatch):
    """Lanes in groups that are gone do not run on."""
    seen, waves, waves_of = [], [], engine.Engine._waves
    monkeypatch.setattr(engine.Engine, "_waves", lambda self: waves.append(waves_of(self)) or waves[-1])

    def step(carry, _):
        jax.debug.callback(lambda lane: seen.append(int(lane)), carry["lane"])
        return carry, {"loss": carry["lane"] + 0.0}

    lanes = np.int32([3, 1, 0, 2, 4, 7, 6, 5])
    plan = Plan(1, steps=16)
    result = sweep(
        lambda lane, _: {"lane": lane},
        step,
        lanes,
        None,
        steps=16,
        keep=Halving(0.5, 3),
        plan=plan,
        memory_budget=budget,
    )
    jax.effects_barrier()
    assert [len(parts) > 1 for parts in waves] == [budget is not None] * 2 + [False] * 2
    assert result.lost_at[np.argsort(lanes)].tolist() == [-1, 8, 4, 4, 2, 2, 2, 2]
    assert [seen.count(lane) for lane in range(8)] == [16, 8, 4, 4, 2, 2, 2, 2]


@pytest.mark.parametrize(("keep", "calls"), [("finite", [20, 20, 6, 20]), ("all", [20, 20, 20, 20])])
def test_lanes_that_are_lost_stop_at_the_next_tenth(keep, calls):
    seen = []

    def step(carry, _):
        lane, number = carry
        jax.debug.callback(lambda lane: seen.append(int(lane)), lane)
        return (lane, number + 1), {"loss": jnp.where((lane == 2) & (number == 5), jnp.nan, 1.0)}

    result = sweep(
        lambda lane, _: (lane, jnp.int32(0)), step, np.arange(4), None, steps=20, keep=keep, plan=Plan(1, steps=20)
    )
    jax.effects_barrier()
    assert result.lost_at.tolist() == [-1, -1, 5, -1]
    assert [seen.count(lane) for lane in range(4)] == calls


# the rest


def test_functions_are_traced_once_however_many_groups_there_are():
    traces = []

    def init(hyperparams, rng):
        traces.append("init")
        return hyperparams

    def step(carry, batch):
        traces.append("step")
        return 0.5 * carry, {"loss": carry}

    for plan in (Plan(2, steps=3), Plan(1, steps=2), Plan(2, steps=3)):
        sweep(init, step, np.float32([1, 2, 3, 4, 5]), None, steps=7, plan=plan)
    assert traces == ["init", "step"]


def test_a_generator_is_pulled_once_however_many_waves_there_are():
    pulled = []

    def batches():
        for number in range(100):
            pulled.append(number)
            yield np.float32([number, 2 * number])

    def step(carry, batch):
        return carry + batch.sum(), {"loss": carry}

    whole = sweep(lambda h, _: h, step, np.arange(40.0), batches(), steps=90, plan=Plan(4, steps=16))
    assert pulled == list(range(90))
    parts = sweep(
        lambda h, _: h, step, np.arange(40.0), batches(), steps=90, plan=Plan(4, steps=16), memory_budget=7000
    )
    assert pulled[90:] == list(range(90))
    np.testing.assert_array_equal(parts.metrics["loss"], whole.metrics["loss"])
    expected = np.arange(40)[:, None] + 3 * np.cumsum([0, *range(89)])
    np.testing.assert_array_equal(whole.metrics["loss"], expected)


def test_callers_arrays_stay_as_they_were():
    lanes = {"start": jnp.asarray(GRID["start"]), "optimizer": (jnp.asarray(RATES), jnp.asarray(DECAYS))}
    rng, batches = {"noise": jnp.ones(3)}, (jnp.asarray(X), jnp.asarray(Y))
    first, second = (sweep(decayed_init, decayed_step, lanes, batches, rng=rng) for _ in range(2))
    np.testing.assert_array_equal(first.metrics["loss"], second.metrics["loss"])
    for before, after in zip(jax.tree.leaves(GRID), jax.tree.leaves({"start": 0} | lanes), strict=True):
        np.testing.assert_array_equal(before, after)
    np.testing.assert_array_equal(batches[0], X)
    np.testing.assert_array_equal(rng["noise"], 1)


def test_debug_nans_is_off_in_the_lanes():
    losses, readings = np.ones((2, 6), np.float32), np.ones((2, 7), np.float32)
    losses[0, 3] = readings[1, 5] = np.nan
    with jax.debug_nans(True):
        result = follow(losses, readings, validation_steps=[0, 5])
    assert result.lost_at.tolist() == [3, 5]


def test_x64_runs_in_float64(x64):
    lanes = {"optimizer": (np.array([0.1, 0.3]), np.array([0.2, 0.1])), "start": np.ones((2, 2))}
    result = sweep(decayed_init, decayed_step, lanes, (X.astype(float), Y.astype(float)))
    assert result.metrics["loss"].dtype == np.float64
    for lane, (rate, decay) in enumerate(zip([0.1, 0.3], [0.2, 0.1], strict=True)):
        w = np.ones(2)
        for number in range(STEPS):
            expected = ((X[number].astype(float) @ w - Y[number]) ** 2).mean()
            np.testing.assert_allclose(result.metrics["loss"][lane, number], expected, rtol=1e-12)
            w = (1 - decay) * w - rate * gradient(w, number)


def test_a_sweep_prints_its_best_lane_and_remedies():
    lanes = {"end": np.float32([np.nan, 2.5, 1.5]), "is_odd": np.array([False, True, True]), "w": np.ones((3, 2))}
    result = sweep(lambda h, _: h, lambda c, _: (c, {"cost": c["end"]}), lanes, None, steps=3, plan=Plan(3, steps=2))
    assert repr(result) == "Sweep(3 lanes, 3 steps, metrics cost)"
    lines = str(result).splitlines()
    assert lines[0] == repr(result)
    assert lines[1] == "lowest last cost: 1.5 in lane 2, {end: 1.5, is_odd: 1, w: ...}"
    assert lines[2].startswith("1 diverged: not finite any more: lower the rate")
    assert lines[3] == "plan: 3 lanes a call, 2 steps a call"
    assert len(lines) == 4
    halved = follow(np.float32(np.arange(4)[:, None] * np.ones(8)), None, keep=Halving(0.5, 1))
    assert any(line.startswith("2 dropped: worse than others at a rung") for line in str(halved).splitlines())
    lost = follow(np.full((2, 3), np.nan, np.float32), None)
    assert str(lost).splitlines()[1].startswith("2 diverged")
