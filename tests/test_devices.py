"""Lanes on several devices and in several processes give what one device gives.

Run as a script, this file is a process with devices of its own:
``python test_devices.py RUNS DEVICES OUTPUT [PROCESS PROCESSES PORT]``.
"""

from __future__ import annotations

import itertools
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lrjax.finder import Halving, Plan, checkpoint, range_test, sweep

SECONDS = 90
STEPS = 60
BATCHES = np.random.default_rng(0).normal(size=(STEPS, 8)).astype(np.float32)
STABLE = np.geomspace(0.01, 0.4, 9).tolist()
RATES = [STABLE[8], 1.7, 2.5, STABLE[7], *STABLE[:7], 8.0, 1e30]  # an odd number; four are lost at step 1 to 60
KEEPS = {"all": "all", "finite": "finite", "halving": Halving()}


def init(key):
    return {"w": jax.random.normal(key, (4,))}


def loss_fn(params, batch):
    return (params["w"] ** 2).sum() + 0.1 * batch.mean() * params["w"].sum()


def range_of(keep, batches=BATCHES, rates=RATES, seeds=2, **options):
    """A range test of 26 lanes, unless told otherwise."""
    return range_test(
        loss_fn, init, batches, optax.sgd, rates, steps=STEPS, seeds=seeds, validation=BATCHES[0], keep=KEEPS[keep], **options
    )  # fmt: skip


def sweep_of(batches=BATCHES, rates=(9, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6), **options):
    """A sweep of 7 lanes, the first of which is lost, with metrics and readings of all kinds."""
    return sweep(
        lambda hyperparams, rng: {"rate": hyperparams["rate"], "w": jax.random.normal(rng, (3,))},
        lambda carry, batch: (
            carry | {"w": (1 - carry["rate"]) * carry["w"] + 0.1 * batch.mean()},
            {"loss": (carry["w"] ** 2).sum(), "count": jnp.int32(1), "w": carry["w"]},
        ),
        {"rate": np.float32(rates)},
        batches,
        rng=jax.random.key(2),
        steps=STEPS,
        evaluate=lambda carry, batch: ((carry["w"] ** 2).sum() + batch.sum()).astype(jnp.float16),
        validation=BATCHES[0],
        **options,
    )


def generator(end=STEPS, error=None):
    """Batches that have no length, up to an end or an error."""
    yield from BATCHES[:end]
    if error is not None:
        raise error


def runs_on_devices():
    """Every way to divide the lanes among this process's devices, by the run on one device that it must equal."""
    devices = jax.devices()
    yield from ((keep, range_of(keep)) for keep in KEEPS)
    yield "halving", range_of("halving", plan=Plan(8, 7))
    yield "finite", range_of("finite", plan=Plan(5, 3, unroll=True))
    yield "finite", range_of("finite", plan=Plan(9, 10, devices=1))
    yield "all", range_of("all", plan=Plan(16, 64, devices=2), devices=devices[::-1])
    yield "finite", range_of("finite", devices=devices[1:], batches=generator())
    yield "halving", range_of("halving", memory_budget=24_000, plan=Plan(8, 10), batches=generator())
    yield "few", range_of("finite", rates=STABLE[:3], seeds=1)
    yield "sweep", sweep_of()


def runs_in_processes():
    """The same in several processes; of the loader that raises, only in the last."""
    is_last = jax.process_index() == jax.process_count() - 1
    yield from ((keep, range_of(keep)) for keep in KEEPS)
    yield "finite", range_of("finite", batches=generator(), plan=Plan(4, 7))
    yield "halving", range_of("halving", memory_budget=24_000, plan=Plan(8, 10), batches=generator())
    yield "ended", range_of("finite", batches=generator(31, OSError("disk gone")) if is_last else BATCHES)
    yield "ended", range_of("finite", batches=generator(31))
    yield "lost", range_of("halving", rates=sorted(RATES, reverse=True), seeds=1)
    yield "one", range_of("halving", rates=STABLE[:1], seeds=1)
    yield "sweep", sweep_of(batches=generator())
    yield "one sweep", sweep_of(rates=[0.1])
    yield "here", range_of("finite", rates=STABLE[:3], seeds=1, devices=jax.local_devices())
    with tempfile.TemporaryDirectory() as folder:
        yield "saved", range_of("halving", checkpoint=f"{folder}/folder", batches=generator())


def runs_that_are_killed():
    """A test that ends with its process; the second process falls behind by a rung in what it has saved."""
    chunks = itertools.count(1)

    def is_due(_):
        chunk = next(chunks)
        if chunk == 6 + 5 * jax.process_index():
            os.kill(os.getpid(), signal.SIGKILL)
        return chunk <= 2 or jax.process_index() == 0

    checkpoint.Checkpoint.is_due = is_due
    yield "saved", range_of("halving", checkpoint=Path(sys.argv[3]).parent / "folder", batches=generator())


def runs_that_go_on():
    """The same test from where it is, first with too few batches for the process that is behind."""
    folder = Path(sys.argv[3]).parent
    few = generator(7) if jax.process_index() else generator()
    yield "behind", range_of("halving", checkpoint=folder / "copy", batches=few)
    yield "saved", range_of("halving", checkpoint=folder / "folder", batches=generator())


@cache
def alone(name):
    """The result of this process's one device."""
    assert jax.local_device_count() == 1
    runs = {
        "few": lambda: range_of("finite", rates=STABLE[:3], seeds=1),
        "here": lambda: range_of("finite", rates=STABLE[:3], seeds=1),
        "lost": lambda: range_of("halving", rates=sorted(RATES, reverse=True), seeds=1),
        "one": lambda: range_of("halving", rates=STABLE[:1], seeds=1),
        "ended": lambda: range_of("finite", batches=generator(31)),
        "behind": lambda: range_of("halving", batches=generator(7)),
        "saved": lambda: range_of("halving"),
        "sweep": sweep_of,
        "one sweep": lambda: sweep_of(rates=[0.1]),
    }
    return runs.get(name, lambda: range_of(name))()


def started(runs, devices, output, *process):
    """A process of its own; what it writes goes to a file, since nobody reads while it runs."""
    command = [sys.executable, "-W", "error", __file__, runs, str(devices), str(output), *map(str, process)]
    with output.with_suffix(".log").open("w") as log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)


def ended(processes, outputs):
    """The results of processes that end in time and without an error."""
    until = time.monotonic() + SECONDS
    while None in (codes := [process.poll() for process in processes]) and not any(codes):
        if time.monotonic() > until:
            break
        time.sleep(0.05)
    for process in processes:
        process.kill()
        process.wait()
    assert codes == [0] * len(codes), "\n".join(output.with_suffix(".log").read_text() for output in outputs)
    return [pickle.loads(output.read_bytes()) for output in outputs]


def pair(runs, folder):
    """Two processes that talk to each other, with one device and with two, and where their results go."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    outputs = [folder / f"{runs} {index}" for index in range(2)]
    return [started(runs, 1 + index, outputs[index], index, 2, port) for index in range(2)], outputs


def assert_agree(result, expected):
    """Equal in everything that is decided, and in the losses of rates that are stable."""
    assert result.steps_done == expected.steps_done
    np.testing.assert_array_equal(result.status, expected.status)
    np.testing.assert_array_equal(result.lost_at, expected.lost_at)
    stable = expected.status != "diverged"
    np.testing.assert_array_equal(result.validation_steps, expected.validation_steps)
    rtol = 1e-4 if hasattr(expected, "losses") else 2e-3  # a sweep's are float16 here
    np.testing.assert_allclose(result.validation_losses[stable], expected.validation_losses[stable], rtol=rtol)
    if hasattr(expected, "losses"):
        np.testing.assert_allclose(result.losses[stable], expected.losses[stable], rtol=1e-4)
        np.testing.assert_array_equal(np.isnan(result.losses), np.isnan(expected.losses))
    else:
        assert result.metrics.keys() == expected.metrics.keys()
        for name, values in expected.metrics.items():
            assert result.metrics[name].dtype == values.dtype
            np.testing.assert_allclose(result.metrics[name][stable], values[stable], rtol=1e-4, atol=1e-6)


def without_last_reading(result):
    """What several processes give, which do not know in time where another one's batches end."""
    times, values = result.validation_steps[:-1], result.validation_losses[..., :-1]
    return replace(result, validation_steps=times, validation_losses=values)


def test_the_lanes_alone_are_of_every_kind():
    assert set(alone("finite").status.ravel()) == {"diverged", "finite"}
    assert set(alone("halving").status.ravel()) == {"diverged", "dropped", "finite"}
    late = alone("finite").lost_at[1]
    assert np.all((late > 31) & (late < STEPS))  # when another process has ended already
    assert alone("sweep").status.tolist() == ["diverged"] + ["finite"] * 6


@pytest.mark.parametrize("devices", [2, 8])  # that divide the lanes evenly and not
def test_devices_give_what_one_gives(devices, tmp_path):
    output = tmp_path / "output"
    [results] = ended([started("runs_on_devices", devices, output)], [output])
    for name, result in results:
        assert_agree(result, alone(name))
    auto, few = (next(result.plan for name, result in results if name == wanted) for wanted in ("all", "few"))
    assert auto.devices == devices
    assert auto.lanes % devices == 0
    assert f", {devices} devices" in str(auto)
    assert few.devices == min(devices, 3)
    assert results[5][1].plan.devices == 1
    assert results[7][1].plan.devices == devices - 1


def test_processes_give_what_one_gives(tmp_path):
    first, second = ended(*pair("runs_in_processes", tmp_path))
    for (name, result), (_, other) in zip(first, second, strict=True):
        assert_agree(result, without_last_reading(alone(name)) if name == "ended" else alone(name))
        assert_agree(other, result)
    notes = [[result.note for name, result in results if name == "ended"] for results in (first, second)]
    cause = "the iterable raised OSError('disk gone'); repair it and run again"
    assert notes[0][0] == "The test ended after 31 of 60 steps: another process stopped there."
    assert notes[1][0] == f"The batches ended after 31 of 60 steps: {cause}."
    assert notes[0][1] == notes[1][1]


def test_killed_processes_go_on_together(tmp_path):
    processes, _ = pair("runs_that_are_killed", tmp_path)
    try:
        assert processes[0].wait(SECONDS) == -signal.SIGKILL
    finally:
        for process in processes:
            process.kill()
            process.wait()
    shutil.copytree(tmp_path / "folder", tmp_path / "copy")
    results = ended(*pair("runs_that_go_on", tmp_path))
    for (_, behind), (_, saved) in results:
        assert_agree(behind, without_last_reading(alone("behind")))
        assert_agree(saved, alone("saved"))


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", int(sys.argv[2]))
    if sys.argv[4:]:
        jax.distributed.initialize(f"localhost:{sys.argv[6]}", int(sys.argv[5]), int(sys.argv[4]))
    results = list(globals()[sys.argv[1]]())
    Path(sys.argv[3]).write_bytes(pickle.dumps(results))
