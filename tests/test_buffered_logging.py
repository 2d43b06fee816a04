"""Logging that a training loop does not wait for, and logging from inside of compiled code."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from lrjax.monitors import buffered, csv_logger, jsonl_logger, log_callback, read_log, tee
from lrjax.monitors.loggers import buffering
from lrjax.monitors.loggers.rows import numbers


class Gate:
    """A logger that stands still until it is opened, and keeps its rows."""

    def __init__(self) -> None:
        """Shut."""
        self.open, self.entered, self.rows, self.ended = threading.Event(), threading.Event(), [], 0

    def __call__(self, step, metrics):
        """Wait and keep."""
        self.entered.set()
        assert self.open.wait(60)
        self.rows.append((step, dict(metrics)))

    def close(self):
        """Count how often."""
        self.ended += 1


def writers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "lrjax.buffered"]


def test_rows_are_python_numbers_in_order():
    gate = Gate()
    gate.open.set()
    with buffered(gate) as logger:
        for step in range(50):
            logger(jnp.int32(step), {"loss": jnp.bfloat16(1.5), "rate": {"head": 0.1}, "n": np.int64(step)})
            logger(step, {})
    assert gate.rows == [row for i in range(50) for row in ((i, {"loss": 1.5, "rate/head": 0.1, "n": i}), (i, {}))]
    assert {type(value) for step, row in gate.rows for value in (step, *row.values())} == {int, float}
    assert gate.ended == 1
    assert not writers()


def test_the_loop_goes_on_while_the_writer_stands_still():
    gate, mutable = Gate(), np.zeros(())
    with buffered(gate, capacity=3) as logger:
        logger(0, {"loss": mutable})
        assert gate.entered.wait(60)  # this row counts until it is written
        for step in (1, 2):
            mutable += 1
            logger(step, {"loss": mutable})
        mutable += 1
        full = threading.Thread(target=logger, args=(3, {"loss": 3.0}))
        full.start()
        full.join(0.2)
        waits, written = full.is_alive(), list(gate.rows)
        gate.open.set()
        full.join(60)
        logger.flush()
    assert waits, "a row beyond the capacity"
    assert written == []
    assert gate.rows == [(step, {"loss": float(step)}) for step in range(4)]


def test_the_call_returns_before_the_device_has_the_values():
    slow = jax.jit(lambda x: jnp.linalg.matrix_power(x, 200).sum())
    x, rows, waiting = jnp.eye(400), [], []
    with buffered(lambda step, metrics: rows.append((step, metrics))) as logger:
        logger(0, {"loss": slow(x)})  # compiles
        logger.flush()
        for step in range(1, 6):  # one would do, were the machine never busy with something else
            loss = slow(x)
            logger(step, {"loss": loss})
            waiting.append(not loss.is_ready())
            logger.flush()
    assert any(waiting)
    assert rows == [(step, {"loss": 400.0}) for step in range(6)]


def test_donated_values_are_logged():
    gate = Gate()
    step = jax.jit(lambda state: {"rate": state["rate"] * 0.5, "n": state["n"] + 1}, donate_argnums=0)
    state = {"rate": jnp.float32(1.0), "n": jnp.int32(0)}
    with buffered(gate) as logger:
        for i in range(4):
            logger(state["n"], state | {"i": i})
            old, state = state, step(state)
            assert old["rate"].is_deleted()
        gate.open.set()
    assert gate.rows == [(i, {"rate": 0.5**i, "n": i, "i": i}) for i in range(4)]


def failing_at(step, rows):
    """A logger that keeps the steps of its rows, but for one."""

    def logger(at, _):
        if at == step:
            raise OSError(f"disk full at {at}")
        rows.append(at)

    return logger


def test_an_error_is_raised_by_a_call_that_follows_and_loses_its_own_row_only():
    rows, step = [], 0
    background = buffered(failing_at(1, rows))

    def log_on():
        nonlocal step
        while step < 10_000:
            background(step, {})
            step += 1
            time.sleep(1e-3)

    with pytest.raises(OSError, match="disk full at 1"):
        log_on()
    background.close()
    assert rows == [0, *range(2, step + 1)]


def test_an_error_of_the_last_row_is_raised_at_the_end():
    rows = []
    background = buffered(failing_at(1, rows))
    background(0, {})
    background(1, {})
    with pytest.raises(OSError, match="disk full at 1"):
        background.close()
    background.close()
    assert rows == [0]
    assert not writers()


def test_of_several_errors_the_first_is_raised_with_the_number_of_the_others():
    gate = Gate()

    def logger(step, metrics):
        gate(step, metrics)
        raise OSError(f"disk full at {step}")

    background = buffered(logger)
    for step in range(3):
        background(step, {})
    gate.open.set()
    with pytest.raises(OSError, match="disk full at 0") as caught:
        background.flush()
    assert caught.value.__notes__ == ["rows after it that were not logged either: 2"]
    background.close()


def test_a_wrong_row_is_refused_where_it_is_logged():
    rows = []
    with buffered(lambda step, _: rows.append(step)) as logger:
        with pytest.raises(
            ValueError, match=r"^`logger\(metrics\['loss'\]=...\)` must be a number, got an array of shape"
        ):
            logger(0, {"loss": jnp.ones(2)})
        logger(1, {})
    assert rows == [1]
    with pytest.raises(ValueError, match=r"^this logger is closed: log before `close\(\)`"):
        logger(2, {})


def test_bad_arguments():
    with pytest.raises(
        TypeError, match=r"^`buffered\(logger=...\)` must be a function \(step, metrics\), got 'log.csv'"
    ):
        buffered("log.csv")
    with pytest.raises(ValueError, match=r"^`buffered\(capacity=...\)` must be at least 1, got 0$"):
        buffered(print, capacity=0)
    with pytest.raises(TypeError, match=r"^`log_callback\(logger=...\)` must be a function \(step, metrics\), got 3 "):
        log_callback(3)
    with pytest.raises(ValueError, match=r"^`log_callback\(every=...\)` must be at least 1, got 0$"):
        log_callback(print, every=0)
    log = log_callback(print)
    with pytest.raises(ValueError, match=r"^`logger\(metrics\['loss'\]=...\)` must be a number, got an array of shape"):
        jax.jit(lambda x: log(0, {"loss": x}))(jnp.ones(2))
    assert not writers()


def test_numbers_pass_a_full_buffer_while_the_device_is_waited_for(monkeypatch):
    """They may be logged by callbacks of the very program that is waited for, which no CPU runs beside the host."""
    ready, rows = threading.Event(), []

    def late(step, named):
        assert "result" not in named or ready.wait(60)
        return numbers(step, named)

    monkeypatch.setattr(buffering, "numbers", late)
    with buffered(lambda step, _: rows.append(step), capacity=2) as logger:
        logger(0, {"result": jnp.float32(1.0)})
        more = threading.Thread(target=lambda: [logger(step, {"loss": 1.0}) for step in range(1, 6)])
        more.start()
        more.join(60)
        waited = more.is_alive()
        ready.set()
    assert not waited
    assert rows == list(range(6))


def test_one_logger_inside_and_outside_of_the_program():
    rows = []
    logger = buffered(lambda step, _: rows.append(step), capacity=4)
    log = log_callback(logger)
    program = jax.jit(halving(log, steps=40))
    with logger:
        for step in range(1000, 1003):
            logger(step, {"result": program(1.0)})
    assert sorted(rows) == sorted([*range(40)] * 3 + [1000, 1001, 1002])


AT_EXIT = """
import sys, weakref
weakref.finalize(sys, print, "after")  # whose hook is older than JAX's
import jax, jax.numpy as jnp
from lrjax.monitors import buffered, csv_logger
slow = jax.jit(lambda x: jnp.linalg.matrix_power(x, 500).sum())
logger = buffered(csv_logger(sys.argv[1]))
for step in range(20):
    logger(step, {"loss": slow(jnp.eye(100))})
raise SystemExit("the run fails")
"""


def test_a_program_that_fails_logs_what_waits(tmp_path):
    command = [sys.executable, "-W", "error", "-c", AT_EXIT, str(tmp_path / "log")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, "after\n", "the run fails\n")
    assert read_log(tmp_path / "log")["loss"].tolist() == [100.0] * 20


DEVICES = """
import jax, jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
from lrjax.monitors import buffered, log_callback
mesh = jax.make_mesh((2,), ("data",))
shared = jax.device_put(jnp.float32(3), NamedSharding(mesh, PartitionSpec()))
second = jax.device_put(jnp.float32(4), jax.devices()[1])
with buffered(print) as logger:
    logger(0, {"shared": shared, "second": second, "first": jnp.float32(5)})
    logger.flush()
    with jax.set_mesh(mesh):
        logger(1, {"shared": shared, "second": second, "first": jnp.float32(5)})
        logger.flush()
    log = log_callback(logger)
    xs = jax.device_put(jnp.arange(8.0), NamedSharding(mesh, PartitionSpec("data")))
    jax.jit(lambda xs: log(2, {"sum": xs.sum()}))(xs)
"""


def test_values_on_several_devices():
    environment = {"JAX_NUM_CPU_DEVICES": "2", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-W", "error", "-c", DEVICES]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    row = "{'shared': 3.0, 'second': 4.0, 'first': 5.0}"
    assert (done.stdout, done.stderr) == (f"0 {row}\n1 {row}\n2 {{'sum': 28.0}}\n", "")


@pytest.fixture
def seen() -> list:
    return []


@pytest.fixture
def log(seen):
    return log_callback(lambda step, metrics: seen.append((step, dict(metrics))))


def halving(log, steps=4):
    """Halves x in every step, and logs it."""

    def body(x, step):
        log(step, {"loss": x, "rate": 0.5, "n": step})
        return x * 0.5, None

    return lambda x: lax.scan(body, x, jnp.arange(steps))[0]


def rows_of(x, steps=range(4)):
    return [(step, {"loss": x * 0.5**step, "rate": 0.5, "n": step}) for step in steps]


def finished(seen):
    """The rows by step, once all programs are through."""
    jax.effects_barrier()
    return sorted(seen, key=lambda row: row[0])


@pytest.mark.parametrize(
    "around",
    [
        lambda f: f,
        jax.jit,
        jax.grad,
        lambda f: jax.jit(jax.value_and_grad(f)),
        lambda f: lambda x: jax.jvp(f, (x,), (1.0,)),
        lambda f: lambda x: lax.cond(x > 0, f, lambda x: x, x),
    ],
    ids=["scan", "jit", "grad", "jit of grad", "jvp", "cond"],
)
def test_inside_of_compiled_code(seen, log, around):
    around(halving(log))(8.0)
    assert finished(seen) == rows_of(8.0)
    assert {type(value) for step, row in seen for value in (step, *row.values())} == {int, float}


def test_what_is_computed_again_may_be_logged_again(seen, log):
    jax.grad(jax.checkpoint(halving(log)))(8.0)
    rows = finished(seen)
    assert [row for i, row in enumerate(rows) if row not in rows[:i]] == rows_of(8.0)


def test_gradients_do_not_see_the_log(log):
    assert jax.grad(halving(log))(8.0) == 0.5**4


@pytest.mark.parametrize("of", [lambda f: f, jax.grad], ids=["values", "gradients"])
@pytest.mark.parametrize("every", [1, 3])
def test_lanes_share_a_row(seen, of, every):
    log = log_callback(lambda step, metrics: seen.append((step, dict(metrics))), every=every)
    jax.vmap(of(halving(log)))(jnp.array([1.0, 2.0]))
    assert finished(seen) == [
        (i, {"loss[0]": 0.5**i, "loss[1]": 2 * 0.5**i, "rate": 0.5, "n": i}) for i in range(0, 4, every)
    ]


def test_lanes_at_different_steps_and_lanes_of_lanes(seen):
    log = log_callback(lambda step, metrics: seen.append((step, dict(metrics))))
    jax.vmap(lambda step, x: log(step, {"loss": x, "rate": 0.5}))(jnp.array([4, 1, 0, 4]), jnp.arange(4.0))
    assert finished(seen) == [
        (0, {"loss[2]": 2.0, "rate": 0.5}),
        (1, {"loss[1]": 1.0, "rate": 0.5}),
        (4, {"loss[0]": 0.0, "loss[3]": 3.0, "rate": 0.5}),
    ]
    seen.clear()
    some = log_callback(lambda step, metrics: seen.append((step, dict(metrics))), every=2)
    jax.vmap(lambda step, x: some(step, {"loss": x}))(jnp.array([4, 1, 0, 4]), jnp.arange(4.0))
    assert finished(seen) == [(0, {"loss[2]": 2.0}), (4, {"loss[0]": 0.0, "loss[3]": 3.0})]
    seen.clear()

    def outer(step, a):
        jax.vmap(lambda b: log(step, {"a": a, "b": b, "ab": a + b}))(jnp.array([10.0, 20.0, 30.0]))

    jax.vmap(outer)(jnp.array([0, 2]), jnp.array([1.0, 2.0]))
    assert finished(seen) == [
        (
            step,
            {f"a[{i}]": i + 1.0}
            | {f"b[{j}]": 10.0 * (j + 1) for j in range(3)}
            | {f"ab[{i},{j}]": i + 1.0 + 10.0 * (j + 1) for j in range(3)},
        )
        for i, step in enumerate((0, 2))
    ]


def test_only_some_steps_call(seen):
    log = log_callback(lambda step, metrics: seen.append((step, dict(metrics))), every=3)
    program = jax.jit(halving(log, steps=8))
    program(8.0)
    assert finished(seen) == rows_of(8.0, range(0, 8, 3))
    assert "cond" in str(jax.make_jaxpr(halving(log))(8.0))
    seen.clear()
    for step in range(5):  # outside of jit, too
        log(step, {"loss": 1.0})
    assert [step for step, _ in finished(seen)] == [0, 3]


def test_a_new_run_compiles_nothing(log):
    traces = []

    @jax.jit
    def program(x):
        traces.append(1)
        return halving(log)(x)

    for x in (1.0, 2.0, 3.0):
        program(x)
    assert len(traces) == 1


def test_values_are_exact_whatever_their_type(seen, log):
    values = {
        "a": jnp.float32(0.1),
        "b": jnp.bfloat16(0.1),
        "c": jnp.int32(2**31 - 1),
        "d": jnp.array(True),
        "e": jnp.float16(0.1),
    }
    jax.jit(lambda values: log(jnp.int32(7), {"x": values, "z": jnp.nan}))(values)
    ((step, row),) = finished(seen)
    assert step == 7
    assert np.isnan(row.pop("z"))
    assert row == {"x/a": 0.10000000149011612, "x/b": 0.10009765625, "x/c": 2**31 - 1, "x/d": 1, "x/e": 0.0999755859375}


def test_closing_waits_for_the_program(tmp_path):
    for name, make in (("csv", csv_logger), ("jsonl", lambda path: buffered(tee(jsonl_logger(path))))):
        with make(tmp_path / name) as logger:
            jax.jit(halving(log_callback(logger), steps=100))(1.0)
        written = read_log(tmp_path / name)
        assert written["step"].tolist() == list(range(100))
        assert written["loss"].tolist() == [float(np.float32(0.5**step)) for step in range(100)]


def test_an_error_of_the_logger_fails_the_program():
    def full(step, metrics):
        raise OSError("disk full")

    program = jax.jit(halving(log_callback(full)))
    with pytest.raises(jax.errors.JaxRuntimeError, match="disk full"):
        jax.block_until_ready(program(1.0))
