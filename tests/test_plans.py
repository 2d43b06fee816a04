"""Plans: what auto takes, that it stays within its means, and that no plan changes an answer."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lrjax.finder import Halving, Plan, choosing, fitting, plan, range_test, sweep
from lrjax.finder.work import Work

GENERATOR = np.random.default_rng(0)
STEPS = 24
X = GENERATOR.normal(size=(STEPS, 8, 3)).astype(np.float32)
Y = (X @ np.float32([1, -2, 0.5])).astype(np.float32)
HELD_OUT = (X[3] + 0.5, Y[3])
RATES = [*np.geomspace(1e-3, 3e-2, 5), 1e4, 1e20, 1e30]  # an edge near .3, and three that are lost at once
SMALL = Work(operations=1e5, live_bytes=1000, convolutions=False, factorizations=False, calls_back=False)
LARGE = SMALL._replace(operations=3e9)


def loss_fn(params, batch):
    x, y = batch
    return jnp.mean((jnp.tanh(x @ params["w"]) @ params["v"] - y) ** 2)


def init(key):
    return {"w": jax.random.normal(key, (3, 5)), "v": jnp.zeros(5)}


def momentum(rate):
    return optax.sgd(rate, momentum=0.9)


def test(**options):
    arguments = {"seeds": 2, "validation": HELD_OUT, "steps": STEPS} | options
    return range_test(loss_fn, init, iter(zip(X, Y, strict=True)), momentum, RATES, **arguments)


test.__test__ = False


def assert_same(result, other):
    np.testing.assert_array_equal(result.status, other.status)
    np.testing.assert_array_equal(result.lost_at, other.lost_at)
    np.testing.assert_array_equal(result.validation_steps, other.validation_steps)
    np.testing.assert_allclose(result.losses[:5], other.losses[:5], rtol=1e-4)
    np.testing.assert_allclose(result.validation_losses[:5], other.validation_losses[:5], rtol=1e-4)


@pytest.fixture(scope="module", params=["finite", "all", Halving(rungs=2)], ids=str)
def one_by_one(request):
    """A lane and a step at a time."""
    return request.param, test(keep=request.param, plan=Plan(1, 1))


@pytest.mark.parametrize(
    "options",
    [
        {"plan": Plan(3, 5)},
        {"plan": Plan(5, 4, unroll=True)},
        {"plan": Plan(16, 50)},
        {"plan": Plan(2, 1, threads=3)},
        {"plan": "auto"},
        {"plan": Plan(4, 7), "memory_budget": 16_000},
    ],
    ids=str,
)
def test_no_plan_changes_an_answer(one_by_one, options):
    keep, reference = one_by_one
    assert_same(test(keep=keep, **options), reference)


def test_a_small_budget_runs_waves_and_the_batches_are_pulled_once():
    pulled = []

    def batches():
        for batch in zip(X, Y, strict=True):
            pulled.append(batch)
            yield batch

    result = range_test(loss_fn, init, batches(), momentum, RATES, seeds=2, steps=STEPS, memory_budget=16_000)
    assert len(pulled) == STEPS
    assert result.plan.lanes < 16
    np.testing.assert_allclose(result.losses[:5], test(validation=None).losses[:5], rtol=1e-4)


def test_batches_are_pulled_while_the_device_works():
    events = []

    def batches():
        for number in range(4):
            events.append(f"pulled {number}")
            yield np.zeros(1, np.float32)

    def slow(x):
        time.sleep(0.2)
        events.append("stepped")
        return x

    def step(carry, batch):
        carry = jax.pure_callback(
            slow, jax.ShapeDtypeStruct((), jnp.float32), carry + batch[0], vmap_method="sequential"
        )
        return carry, {"loss": carry}

    options = {"steps": 4, "keep": "all", "validation": np.zeros(1, np.float32), "validation_steps": [2]}
    sweep(lambda rate, _: rate, step, np.float32([1]), batches(), evaluate=lambda carry, _: carry, **options)
    assert events[:5] == ["pulled 0", "pulled 1", "pulled 2", "pulled 3", "stepped"]
    assert events.count("stepped") == 4


@pytest.mark.parametrize("keep", ["finite", Halving(rungs=2)], ids=str)
def test_auto_with_random_timings(monkeypatch, keep):
    """Whatever is measured, the answer is the same."""
    chosen = set()
    reference = test(keep=keep, plan=Plan(1, 1))
    monkeypatch.setattr(choosing, "OPERATIONS_A_SECOND", {"cpu": 1e-6})
    monkeypatch.setattr(choosing, "SHARE", 1e4)
    for seed in range(6):
        fitting._measured.clear()
        generator = np.random.default_rng(seed)
        times = itertools.accumulate(10.0 ** generator.uniform(-3, 1, 1000))
        monkeypatch.setattr(choosing, "clock", times.__next__)
        result = test(keep=keep)
        assert_same(result, reference)
        chosen.add(result.plan.lanes)
    assert len(chosen) > 1


def measured(seconds, lane_steps=1000, compiling=1.0):
    """What is chosen among plans of 1, 2, 4, 8 lanes that take so long, and which were tried."""
    plans = [Plan(lanes) for lanes in (1, 2, 4, 8)]
    now, tried = [0.0], []

    def measure(plan):
        tried.append(plan.lanes)
        now[0] += compiling
        return seconds[plan.lanes], compiling

    choosing_clock, choosing.clock = choosing.clock, lambda: now[0]
    try:
        return choosing.measured(plans[0], plans[1:], lane_steps, measure), tried
    finally:
        choosing.clock = choosing_clock


def test_the_fastest_measured_plan_is_taken_and_says_so():
    taken, tried = measured({1: 1.0, 2: 0.5, 4: 0.25, 8: 0.3})
    assert (taken.lanes, tried) == (4, [1, 2, 4, 8])
    assert taken.reason.startswith("measured in 3 s, 1.2% of the sweep: 1e+03 ms a lane's step at 1 lane a call")


@pytest.mark.parametrize(("lane_steps", "expected"), [(39, [1]), (40, [1, 2]), (60, [1, 2, 4]), (10_000, [1, 2, 4, 8])])
def test_measuring_stops_at_its_share(lane_steps, expected):
    """Of a sweep of lane_steps seconds 5% may go into measuring; a plan is taken to need twice a compilation."""
    taken, tried = measured({1: 1.0, 2: 2.0, 4: 2.0, 8: 2.0}, lane_steps)
    assert (taken.lanes, tried) == (1, expected)


def test_only_long_sweeps_are_measured():
    seconds_of_a_sweep = 1e6 * LARGE.operations / 5e10
    assert seconds_of_a_sweep * choosing.SHARE > 1
    assert choosing.worth_measuring(LARGE, 1_000_000, Plan(1), "cpu")
    assert not choosing.worth_measuring(LARGE, 100, Plan(1), "cpu")
    assert not choosing.worth_measuring(LARGE._replace(calls_back=True), 1_000_000, Plan(1), "cpu")


class Device:
    """A device of some platform."""

    def __init__(self, platform):  # noqa: D107
        self.platform = platform


@pytest.mark.parametrize(
    ("platform", "devices", "work", "carry_bytes", "expected"),
    [
        ("cpu", 2, SMALL, 2**15, Plan(64, 64, devices=2)),
        ("cpu", 2, SMALL, 2**20, Plan(4, 64, devices=2)),
        ("cpu", 2, LARGE, 2**23, Plan(2, 64, devices=2)),
        ("cpu", 2, SMALL._replace(convolutions=True), 2**15, Plan(2, 1, devices=2)),
        ("cpu", 1, SMALL, 2**15, Plan(32, 64, devices=1, threads=2)),
        ("cpu", 1, LARGE, 2**23, Plan(1, 64, devices=1, threads=2)),
        ("gpu", 1, LARGE, 2**23, Plan(64, 64, devices=1)),
        ("gpu", 4, SMALL._replace(convolutions=True), 2**15, Plan(64, 64, devices=4)),
    ],
)
def test_first_choice(monkeypatch, platform, devices, work, carry_bytes, expected):
    monkeypatch.setattr(choosing, "cores", lambda: 2)
    chosen = choosing.first_choice(work, carry_bytes, 64, [Device(platform)] * devices, [10, 10])
    assert chosen.reason
    assert (chosen.lanes, chosen.steps, chosen.unroll, chosen.devices, chosen.threads) == (
        expected.lanes,
        expected.steps,
        expected.unroll,
        expected.devices,
        expected.threads,
    )


@pytest.mark.parametrize(
    ("chunks", "steps"), [([10] * 10, 5), ([64, 36], 4), ([3, 4, 3], 1), ([9, 6] * 9, 3), ([64] * 3 + [2], 2)]
)
def test_long_convolutions_are_written_out_in_parts_of_every_chunk(chunks, steps):
    convolution = LARGE._replace(convolutions=True)
    chosen = choosing.first_choice(convolution, 2**15, 64, [Device("cpu")] * 2, chunks)
    assert (chosen.steps, chosen.unroll) == (steps, steps > 1)
    assert choosing.first_choice(convolution, 2**15, 2, [Device("cpu")] * 2, [4]).steps == 1


def test_alternatives_are_plans_for_the_same_machine():
    for platform, work, first in itertools.product(
        ["cpu", "gpu"], [SMALL, LARGE, SMALL._replace(convolutions=True)], [Plan(8, 64, devices=2), Plan(1, devices=1)]
    ):
        for other in choosing.alternatives(first, work, 64, platform):
            assert other.devices == first.devices
            assert other.lanes % first.devices == 0
            assert 1 <= other.lanes <= 64


def test_one_cpu_device_names_the_setting_that_gives_more():
    result = test()
    assert "jax.config.update('jax_num_cpu_devices'" in result.plan.reason or plan.cores() == 1


def test_plans_print():
    assert str(Plan(1)) == "1 lane a call, 1 step a call"
    text = "8 lanes a call, 5 steps a call (unrolled), 2 devices, 3 threads: a reason"
    assert str(Plan(8, 5, unroll=True, devices=2, threads=3, reason="a reason")) == text


LANES = """
import pathlib, threading, time
import jax, jax.numpy as jnp, numpy as np, optax
from lrjax.finder import range_test

def anonymous():
    text = pathlib.Path("/proc/self/status").read_text()
    return int(text.split("RssAnon:")[1].split()[0]) / 2**20

def loss_fn(params, batch):
    x, y = batch
    for layer in params[:-1]:
        x = jax.nn.relu(x @ layer["w"] + layer["b"])
    return optax.softmax_cross_entropy_with_integer_labels(x @ params[-1]["w"] + params[-1]["b"], y).mean()

rng = np.random.default_rng(0)
sizes = [(64, 256), (256, 256), (256, 10)]
params = [{"w": np.float32(rng.normal(0, i**-0.5, (i, o))), "b": np.zeros(o, np.float32)} for i, o in sizes]
assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 85002
batches = np.float32(rng.normal(size=(2, 8, 64))), rng.integers(0, 10, (2, 8)).astype(np.int32)
range_test(loss_fn, params, batches, optax.adamw, np.geomspace(1e-4, 1e-2, 8))
before, most, running = anonymous(), [0.0], [True]

def watch():
    while running[0]:
        most[0] = max(most[0], anonymous())
        time.sleep(0.005)

watching = threading.Thread(target=watch)
watching.start()
result = range_test(loss_fn, params, zip(*batches), optax.adamw, np.geomspace(1e-4, 1e-2, 4096), steps=2, memory_budget=2**30)
running[0] = False
watching.join()
assert np.isfinite(result.losses).all() and result.losses.shape == (4096, 1, 2)
some = [0, 2000, 4095]
alone = range_test(loss_fn, params, batches, optax.adamw, result.learning_rates[some], keep="all")
np.testing.assert_allclose(result.losses[some], alone.losses, rtol=1e-4)
print(most[0] - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
def test_4096_lanes_of_85_thousand_parameters_within_a_gibibyte():
    ran = subprocess.run([sys.executable, "-W", "error", "-c", LANES], capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    gibibytes = float(ran.stdout)
    assert 0.3 < gibibytes < 1.0


@pytest.mark.parametrize(("kept_in", "computed_in"), [("bfloat16", "bfloat16"), ("float32", "float16")])
@pytest.mark.parametrize(
    "factory",
    [lambda rate: optax.rmsprop(rate, momentum=0.9), optax.lars, optax.contrib.schedule_free_adamw, optax.adamw],
    ids=["rmsprop", "lars", "schedule_free", "adamw"],
)
def test_half_precision_goes_through_range_test(kept_in, computed_in, factory):
    seen = set()

    def watched(rate):
        seen.add(jnp.asarray(rate).dtype)
        return factory(rate)

    def half_loss(params, batch):
        assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(kept_in)}
        return loss_fn(*jax.tree.map(lambda leaf: jnp.asarray(leaf, computed_in), (params, batch)))

    start = jax.tree.map(lambda leaf: leaf.astype(kept_in), init(jax.random.key(0)))
    result = range_test(half_loss, start, (X, Y), watched, [1e-3, 1e-2], keep="all")
    assert seen == {jnp.dtype(jnp.float32)}
    assert result.losses.dtype == np.float32
    assert (result.losses[:, 0, -1] < result.losses[:, 0, 0]).all()


def test_sweep_refuses_a_carry_that_changes_dtype_and_names_the_leaf():
    def step(carry, batch):
        return carry | {"w": carry["w"] - carry["rate"] * carry["w"]}, {"loss": jnp.sum(carry["w"] ** 2)}

    def start(rate, rng):
        return {"w": jnp.ones(3, jnp.bfloat16), "rate": rate}

    message = (
        r"`sweep\(step=...\)` must keep .* dtype of every leaf of its carry, got float32\[3\] .*bfloat16\[3\].* \['w'\]"
    )
    with pytest.raises(TypeError, match=message):
        sweep(start, step, np.float32([0.1, 0.2]), None, steps=3)


def decay(carry, _):
    return 0.9 * carry, {"loss": jnp.sum(carry)}


def factorized(carry, _):
    return 0.9 * jnp.linalg.cholesky(carry @ carry.T), {"loss": jnp.trace(carry)}


@pytest.mark.parametrize(
    ("step", "evaluate", "threads"),
    [
        (decay, lambda carry, weights: jnp.sum(carry * weights), 2),
        (decay, lambda carry, weights: jnp.abs(jnp.linalg.qr(carry * weights, mode="r")).sum(), 1),
        (factorized, None, 1),
    ],
    ids=["neither", "evaluation", "step"],
)
def test_lanes_that_call_lapack_share_one_thread(step, evaluate, threads):
    """Two threads in batched calls of LAPACK may wait for each other for ever."""

    def start(lane, _):
        return lane * jnp.eye(3)

    lanes = np.linspace(1, 2, 4, dtype=np.float32)
    options = {} if evaluate is None else {"evaluate": evaluate, "validation": np.float32(1.0)}
    ran = sweep(start, step, lanes, None, steps=3, plan=Plan(2, threads=2, reason="as asked"), **options)
    assert ran.plan.threads == threads
    assert ("one thread, since LAPACK takes part" in ran.plan.reason) == (threads == 1)
