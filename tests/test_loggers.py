"""Loggers that write files, the adapters of TensorBoard and Weights & Biases, and what they refuse."""

from __future__ import annotations

import csv
import json
import math
import os
import signal
import struct
import subprocess
import sys
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrjax.monitors import csv_logger, jsonl_logger, read_log, tee, tensorboard_logger, wandb_logger

FILES = {"csv": csv_logger, "jsonl": jsonl_logger}
both = pytest.mark.parametrize("kind", FILES)
NAMES = ["loss", "größe/β", 'a "b", c', "learning rate", "'", " x ", "{y}", "1"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file in a folder that is not there yet."""
    return tmp_path / "runs" / "1" / "log"


def plain_rows(kind: str, path: Path) -> list[dict[str, float]]:
    """What the standard library reads, and nothing of lrjax."""
    with path.open(newline="", encoding="utf-8") as file:
        if kind == "csv":
            return [{name: float(cell) for name, cell in row.items() if cell} for row in csv.DictReader(file)]
        return [json.loads(line) for line in file]


def same(a: float, b: float) -> bool:
    """Equal to the bit, all NaNs alike."""
    return struct.pack("d", a) == struct.pack("d", b) or (math.isnan(a) and math.isnan(b))


def test_a_table_as_text(path):
    with csv_logger(path) as logger:
        logger(0, {"loss": 0.1, 'a "b", c': 2})
        logger(7, {"loss": -math.inf})
        logger(8, {})
        logger(9, {"rate": {"head": 1e-5, "body": {"bias": True}}, "loss": math.nan})
    assert path.read_text() == (
        'step,loss,"a ""b"", c",rate/head,rate/body/bias\n0,0.1,2,,\n7,-inf,,,\n8,,,,\n9,nan,,1e-05,1\n'
    )


def test_json_lines_as_text(path):
    with jsonl_logger(path) as logger:
        logger(0, {"loss": 0.1, 'a "b"': 2})
        logger(7, {"größe": -math.inf})
        logger(8, {})
        logger(9, {"rate": {"head": 1e-5}, "loss": math.nan})
    assert path.read_text(encoding="utf-8") == (
        '{"step": 0, "loss": 0.1, "a \\"b\\"": 2}\n{"step": 7, "größe": -Infinity}\n{"step": 8}\n'
        '{"step": 9, "rate/head": 1e-05, "loss": NaN}\n'
    )


@both
@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(
        st.dictionaries(st.sampled_from(NAMES), st.floats() | st.floats(width=32) | st.integers(-(2**60), 2**60)),
        min_size=1,
        max_size=6,
    )
)
def test_every_number_reads_back_exactly(tmp_path_factory, kind, rows):
    path = tmp_path_factory.mktemp("log") / "log"
    with FILES[kind](path) as logger:
        for step, row in enumerate(rows):
            logger(step, row)
    found = plain_rows(kind, path)
    log = read_log(path)
    assert len(found) == len(rows)
    assert log["step"].tolist() == list(range(len(rows)))
    assert log["step"].dtype == np.int64
    assert log.keys() == {"step"}.union(*rows)
    for step, row in enumerate(rows):
        assert found[step].keys() == {"step", *row}
        for name, column in log.items():
            if name in row:
                assert same(float(row[name]), float(found[step][name]))
                assert same(float(row[name]), column[step])
            elif name != "step":
                assert math.isnan(column[step])


@both
def test_scalars_of_every_type(path, kind):
    third = {
        np.float64: 0.3333333333333333,
        np.float32: 0.3333333432674408,
        np.float16: 0.333251953125,
        jnp.bfloat16: 0.333984375,
        jnp.float8_e4m3fn: 0.34375,
    }
    metrics = {f"numpy {dtype.__name__}": np.asarray(1 / 3, dtype) for dtype in third}
    metrics |= {f"jax {dtype.__name__}": jnp.asarray(1 / 3, dtype) for dtype in third if dtype is not np.float64}
    metrics |= {f"item {dtype.__name__}": np.asarray(1 / 3, dtype)[()] for dtype in third}
    wanted = {name: value for name in metrics for dtype, value in third.items() if name.endswith(f" {dtype.__name__}")}
    whole = {
        "bool": True,
        "np": np.int8(-3),
        "jax bool": jnp.array(False),
        "uint": np.uint64(2**60),
        "int": jnp.int32(7),
    }
    with FILES[kind](path) as logger:
        logger(jnp.int32(5), metrics | whole)
        logger(np.float32(6), {})
        logger(2**40, {})
    assert plain_rows(kind, path)[0] == wanted | {
        "bool": 1,
        "np": -3,
        "jax bool": 0,
        "uint": 2**60,
        "int": 7,
        "step": 5,
    }
    assert read_log(path)["step"].tolist() == [5, 6, 2**40]


@both
def test_float64_of_jax(x64, path, kind):
    with FILES[kind](path) as logger:
        logger(0, {"loss": jnp.float64(0.1)})
    assert read_log(path)["loss"][0] == 0.1


@both
def test_each_row_is_there_at_once_and_ten_thousand_of_them(path, kind):
    losses = np.random.default_rng(0).normal(size=10_000)
    with FILES[kind](path) as logger:
        for step, loss in enumerate(losses):
            logger(step, {"loss": loss, "rate": 0.1})
            if step in (0, 1, 5000):
                assert read_log(path)["loss"].tolist() == losses[: step + 1].tolist()
    assert read_log(path)["loss"].tolist() == losses.tolist()


@both
def test_a_cut_at_any_byte_loses_that_line_only(tmp_path, kind):
    """A kill may stop a write anywhere; what is logged afterwards must not grow together with it."""
    whole = tmp_path / "whole"
    rows = [{"loß": 1.25, 'a "b", c': -3e-30}, {"loß": math.inf}, {"loß": 10.5, 'a "b", c': 2.0}]
    with FILES[kind](whole) as logger:
        for step, row in enumerate(rows):
            logger(step, row)
    content = whole.read_bytes()
    ends = [i + 1 for i, byte in enumerate(content) if byte == ord("\n")][1 if kind == "csv" else 0 :]
    assert len(ends) == 3
    for cut in range(len(content) + 1):
        path = tmp_path / f"cut_{cut}"
        path.write_bytes(content[:cut])
        kept = sum(end <= cut for end in ends)
        assert read_log(path)["step"].tolist() == list(range(kept)), cut
        with FILES[kind](path) as logger:
            logger(9, {"loß": 0.1})
        assert plain_rows(kind, path) == [{"step": i, **rows[i]} for i in range(kept)] + [{"step": 9, "loß": 0.1}], cut
    assert not list(tmp_path.glob("*.new"))


@both
def test_an_existing_log_is_continued(path, kind):
    with FILES[kind](path) as logger:
        logger(0, {"loss": 1.0, "rate": 0.1})
    with FILES[kind](path):
        pass
    with FILES[kind](path) as logger:
        logger(1, {"loss": 0.5})
        logger(1, {"validation": 0.75})
        logger(2, {"validation": math.nan, "loss": 0.25})
    log = read_log(path)
    assert list(log) == ["step", "loss", "rate", "validation"]
    np.testing.assert_array_equal(log["loss"], [1.0, 0.5, 0.25])
    np.testing.assert_array_equal(log["rate"], [0.1, math.nan, math.nan])
    np.testing.assert_array_equal(log["validation"], [math.nan, 0.75, math.nan])
    # The NaN that was logged is told from what was not.
    some = read_log(path, ["validation"])
    np.testing.assert_array_equal(some["step"], [1, 2])
    np.testing.assert_array_equal(some["validation"], [0.75, math.nan])
    assert list(some) == ["step", "validation"]
    assert read_log(path, ["rate", "loss"])["step"].tolist() == [0]


@both
@pytest.mark.parametrize(
    ("purge_step", "kept"), [(None, [0, 1, 2, 3, 4]), (0, []), (3, [0, 1, 2]), (9, [0, 1, 2, 3, 4])]
)
def test_a_run_that_resumes_at_an_earlier_step(path, kind, purge_step, kept):
    with FILES[kind](path) as logger:
        for step in (0, 1, 3, 2, 4):
            logger(step, {"loss": float(step)})
    with FILES[kind](path, purge_step=purge_step) as logger:
        assert read_log(path)["step"].tolist() == kept
        logger(3, {"loss": -3.0})
    log = read_log(path)
    assert log["step"].tolist() == sorted({*kept, 3})
    assert log["loss"].tolist() == [-3.0 if step == 3 else step for step in log["step"]]
    assert not list(path.parent.glob("*.new"))


@both
def test_the_folder_may_change_and_the_file_may_be_a_link(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "target").touch()
    (tmp_path / "link").symlink_to("target")
    (tmp_path / "other").mkdir()
    with FILES[kind]("link") as logger:
        os.chdir(tmp_path / "other")
        logger(0, {"loss": 1.0})
        logger(1, {"rate": 2.0})
    assert (tmp_path / "link").is_symlink()
    assert read_log(tmp_path / "target")["step"].tolist() == [0, 1]
    assert not list((tmp_path / "other").iterdir())


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
@pytest.mark.parametrize("content", ["notes without an end", "loss,step\n1,0\n", '{"loss": 1, "step": 0}\n', "\n"])
def test_another_file_is_refused_and_left_alone(path, kind, content):
    path.parent.mkdir(parents=True)
    path.write_text(content)
    what = {"csv": "csv_logger, whose first column is step", "jsonl": 'jsonl_logger, whose lines begin with {"step": '}
    begins = content.split("\n")[0]
    message = f"`{kind}_logger(path=...)` must be a new file or a log of {what[kind]}, got {str(path)!r}, which begins with {begins!r}"
    with pytest.raises(ValueError) as caught:
        FILES[kind](path)
    assert str(caught.value) == message
    assert path.read_text() == content


KILLED = """
import sys
import jax.numpy as jnp
from lrjax.monitors import buffered, csv_logger, jsonl_logger, tee, tensorboard_logger

folder = sys.argv[1]
logger = tee(
    csv_logger(f"{folder}/csv"), jsonl_logger(f"{folder}/jsonl"), tensorboard_logger(f"{folder}/tensorboard"),
    buffered(jsonl_logger(f"{folder}/buffered"), capacity=5),
)
for step in range(10**9):
    logger(step, {"loss": jnp.float32(1 / (1 + step)), "a long name, to be cut in its midst": step})
    if step == 100:
        print("100 rows", flush=True)
"""


def test_kill(tmp_path):
    """What was logged before SIGKILL is readable, and the log goes on."""
    with subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "100 rows\n"
        os.kill(child.pid, signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    logs = {name: read_log(tmp_path / name) for name in ("csv", "jsonl", "buffered")}
    for name, log in logs.items():
        steps = np.arange(len(log["step"]))
        np.testing.assert_array_equal(log["step"], steps)
        np.testing.assert_array_equal(log["loss"], (1 / (1 + steps)).astype(np.float32))
        assert len(steps) >= (95 if name == "buffered" else 101), name  # five rows may wait, and one more is counted
    assert len([event for event in events(tmp_path / "tensorboard") if event.summary.value]) >= 101
    for kind, make in FILES.items():
        with make(tmp_path / kind, purge_step=50) as logger:
            logger(50, {"loss": 0.5})
        assert read_log(tmp_path / kind)["loss"][-2:].tolist() == [np.float32(1 / 50), 0.5]


LOSS = "`logger(metrics['loss']=...)` must be a number, got "
BAD_ROWS = {
    "no dict": (0, 3.0, TypeError, "`logger(metrics=...)` must be a dict of numbers by name, got 3.0 (float)"),
    "no name": (0, {1: 3.0}, TypeError, "`logger(metrics=...)` must be a dict whose names are strings, got 1 (int)"),
    "no label": (0, {"a": {1: 3.0}}, TypeError, "`logger(metrics=...)` must be a dict whose names are strings, got 1 (int)"),
    "empty": (0, {"": 1}, ValueError, "`logger(metrics=...)` must be a dict whose names are not empty and of one line, got ''"),
    "lines": (0, {"a\nb": 1}, ValueError, "`logger(metrics=...)` must be a dict whose names are not empty and of one line, got 'a\\nb'"),
    "step": (0, {"step": 1}, ValueError, "`logger(metrics=...)` must be a dict without 'step', which the first argument gives, got 1"),
    "twice": (0, {"a": {"b": 1}, "a/b": 2}, ValueError, "`logger(metrics=...)` must be a dict of distinct names, got 'a/b' twice"),
    "None": (0, {"loss": None}, TypeError, LOSS + "None (NoneType)"),
    "text": (0, {"loss": "low"}, TypeError, LOSS + "'low' (str)"),
    "array": (0, {"loss": np.ones(3)}, ValueError, LOSS + "an array of shape (3,); log its mean, or each entry by a name"),
    "complex": (0, {"loss": jnp.complex64(1)}, TypeError, LOSS + "dtype complex64"),
    "key": (0, {"loss": jax.random.key(0)}, TypeError, LOSS + "dtype key<fry>"),
    "fraction": (0.5, {}, ValueError, "`logger(step=...)` must be a whole number, got 0.5"),
    "negative": (-1, {}, ValueError, "`logger(step=...)` must be at least 0, got -1"),
    "steps": (np.arange(2), {}, ValueError, "`logger(step=...)` must be a number, got an array of shape (2,); log its mean, or each entry by a name"),
    "no step": ("1", {}, TypeError, "`logger(step=...)` must be a number, got '1' (str)"),
}  # fmt: skip


@both
@pytest.mark.parametrize(("step", "metrics", "error", "message"), BAD_ROWS.values(), ids=BAD_ROWS)
def test_bad_rows(path, kind, step, metrics, error, message):
    with FILES[kind](path) as logger:
        logger(0, {"loss": 1.0})
        content = path.read_text()
        with pytest.raises(error) as caught:
            logger(step, metrics)
        assert str(caught.value) == message
        assert path.read_text() == content


def test_bad_arguments(tmp_path):
    for make, name in ((csv_logger, "csv_logger"), (jsonl_logger, "jsonl_logger")):
        with pytest.raises(TypeError, match=rf"^`{name}\(path=...\)` must be the path of a file, got 3 \(int\)$"):
            make(3)
        with pytest.raises(ValueError, match=rf"^`{name}\(path=...\)` must be the path of a file, got the folder '"):
            make(tmp_path)
        with pytest.raises(ValueError, match=rf"^`{name}\(purge_step=...\)` must be at least 0, got -1$"):
            make(tmp_path / "log", purge_step=-1)
    with pytest.raises(TypeError, match=r"^`tee\(loggers\[1\]=...\)` must be a function \(step, metrics\), got 'x'"):
        tee(print, "x")
    with pytest.raises(
        TypeError, match=r"^`tensorboard_logger\(log_dir=...\)` must be the path of a folder, got 3 \(int\)$"
    ):
        tensorboard_logger(3)
    with pytest.raises(ValueError, match=r"^`tensorboard_logger\(purge_step=...\)` must be a whole number, got 1.5$"):
        tensorboard_logger(tmp_path / "run", purge_step=1.5)
    with pytest.raises(
        TypeError, match=r"^`wandb_logger\(run=...\)` is begun already: give project, dir to its wandb.init$"
    ):
        wandb_logger(object(), project="p", dir="d")
    assert not list(tmp_path.iterdir())


def test_inside_jit_the_message_says_what_to_call(path):
    with csv_logger(path) as logger, pytest.raises(TypeError) as caught:
        jax.jit(lambda loss: logger(0, {"loss": loss}))(1.0)
    assert str(caught.value) == (
        "`logger(metrics['loss']=...)` has no value inside jit: call `log_callback(logger)` there, not `logger`"
    )


def test_a_logger_may_be_called_while_a_value_is_waited_for():
    """As callbacks of the program that computes the value do, on a device that runs beside the host."""
    steps = []
    logger = tee(lambda step, _: steps.append(step))

    class Late(float):
        def __float__(self):
            logger(1, {})
            return 0.5

    waiting = threading.Thread(target=logger, args=(2, {"loss": Late()}), daemon=True)
    waiting.start()
    waiting.join(60)
    assert steps == [1, 2]


@both
def test_closed(path, kind):
    logger = FILES[kind](path)
    logger.close()
    logger.close()
    with pytest.raises(
        ValueError, match=r"^this logger is closed: log before `close\(\)`, inside of the `with` block$"
    ):
        logger(0, {"loss": 1.0})
    FILES[kind](path)(0, {"loss": 1.0})  # nobody closes it, and no ResourceWarning
    assert read_log(path)["step"].tolist() == [0]


BAD_LOGS = {
    "a row too long": ("step,loss\n0,1\n1,2,3\n", "line 3: '1,2,3'"),
    "a row too short": ("step,loss,rate\n0,1\n", "line 2: '0,1'"),
    "no number": ("step,loss\n0,low\n", "line 2: '0,low'"),
    "no step": ("step,loss\n,1\n", "line 2: ',1'"),
    "another table": ("epoch,loss\n0,1\n", "line 1: 'epoch,loss'"),
    "no text of numbers": ('{"step": 0}\n{"step": 1, "loss": "low"}\n', """line 2: '{"step": 1, "loss": "low"}'"""),
    "no object": ('{"step": 0}\n[1]\n', "line 2: '[1]'"),
    "no step in JSON": ('{"loss": 0}\n', """line 1: '{"loss": 0}'"""),
    "half an object": ('{"step": 0}\n{"step": 1, "lo\n', """line 2: '{"step": 1, "lo'"""),
}  # fmt: skip


@pytest.mark.parametrize(("content", "line"), BAD_LOGS.values(), ids=BAD_LOGS)
def test_what_is_no_log(tmp_path, content, line):
    path = tmp_path / "log"
    path.write_text(content)
    with pytest.raises(ValueError) as caught:
        read_log(path)
    assert str(caught.value) == (
        f"`read_log(path=...)` must be a log of csv_logger or jsonl_logger, got {str(path)!r} with {line}"
    )


def test_names_that_are_not_logged(path):
    with csv_logger(path) as logger:
        logger(0, {"loss": 1.0, "rate": 0.1})
    with pytest.raises(ValueError, match=r"^`read_log\(names=...\)` must be one of 'loss', 'rate', got 'los'$"):
        read_log(path, ["los"])
    with pytest.raises(TypeError, match=r"^`read_log\(names=...\)` must be a sequence of names, got 'loss' \(str\)$"):
        read_log(path, "loss")


def test_an_empty_log(tmp_path):
    (tmp_path / "log").touch()
    assert [(name, column.shape) for name, column in read_log(tmp_path / "log").items()] == [("step", (0,))]


def test_tee_serves_all_where_one_raises(path):
    rows = []

    def full(step, metrics):
        raise OSError("disk full")

    logger = tee(lambda *_: rows.append("first"), csv_logger(path), full, lambda *row: rows.append(row))
    with pytest.raises(OSError, match="disk full"):
        logger(3, {"loss": 1.5})
    logger.close()
    assert rows == ["first", (3, {"loss": 1.5})]
    assert read_log(path)["loss"].tolist() == [1.5]


def events(folder: Path) -> list:
    """The events of a TensorBoard run, files in order; checksums are the writer's own affair."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for file in sorted(folder.iterdir()):
        data, at = file.read_bytes(), 0
        while at < len(data):
            (length,) = struct.unpack_from("<Q", data, at)
            found.append(Event.FromString(data[at + 12 : at + 12 + length]))
            at += 16 + length
    return found


def test_tensorboard(tmp_path):
    for purge_step, steps in ((None, (0, 1, 5)), (3, (3, 4))):
        with tensorboard_logger(tmp_path, purge_step=purge_step) as logger:
            for step in steps:
                logger(step, {"loss": jnp.float32(1 / (1 + step)), "rate": {"head": math.nan}})
    found = events(tmp_path)
    assert [event.file_version for event in found if event.file_version] == ["brain.Event:2"] * 2
    assert [(event.step, event.session_log.status) for event in found if event.HasField("session_log")] == [(3, 1)]
    values = [(event.step, {value.tag: value.simple_value for value in event.summary.value}) for event in found]
    values = [(step, row) for step, row in values if row]
    assert [step for step, _ in values] == [0, 1, 5, 3, 4]
    for step, row in values:
        assert row["loss"] == np.float32(1 / (1 + step))
        assert math.isnan(row["rate/head"])


def test_tensorboard_checksums(tmp_path):
    from tensorboardX.record_writer import RecordWriter

    with tensorboard_logger(tmp_path / "run") as logger:
        logger(0, {"loss": 1.0})
    writer = RecordWriter(str(tmp_path / "theirs"))
    for event in events(tmp_path / "run"):
        writer.write(event.SerializeToString())
    writer.close()
    assert next((tmp_path / "run").iterdir()).read_bytes() == (tmp_path / "theirs").read_bytes()


def history(path: Path) -> list[dict[str, float]]:
    """The rows of an offline run: W&B keeps protobufs in the log format of LevelDB, after 7 bytes."""
    from wandb.proto import wandb_internal_pb2

    data, at, whole, rows = path.read_bytes(), 7, b"", []
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
        _, length, part = struct.unpack_from("<IHB", data, at)
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if part in (1, 4):  # a full record, or the last part of one
            record = wandb_internal_pb2.Record.FromString(whole)
            rows.append(
                {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            )
            whole = b""
    return [row for row in rows if row]


def test_weights_and_biases(tmp_path):
    import wandb

    silent = wandb.Settings(silent=True, console="off", x_disable_meta=True, x_disable_stats=True)
    with wandb_logger(project="p", mode="offline", dir=tmp_path, settings=silent) as logger:
        for step in (0, 5, 3):  # W&B's own step drops the last
            logger(step, {"loss": jnp.float32(1 / (1 + step)), "rate": {"head": 0.1}})
    assert wandb.run is None
    wandb.teardown()  # its process may be writing still when the run has finished
    (file,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    rows = history(file)
    assert [row["step"] for row in rows] == [0, 5, 3]
    assert [np.float32(row["loss"]) for row in rows] == [np.float32(1 / (1 + step)) for step in (0, 5, 3)]
    assert [row["rate/head"] for row in rows] == [0.1] * 3


def test_a_run_that_was_given_stays_open():
    calls = []

    class Run:
        def __getattr__(self, name):
            return lambda *args, **kwargs: calls.append((name, *args, kwargs))

    with wandb_logger(Run()) as logger:
        logger(2, {"loss": 0.5})
    assert calls == [
        ("define_metric", "step", {}),
        ("define_metric", "*", {"step_metric": "step"}),
        ("log", {"step": 2, "loss": 0.5}, {}),
    ]


@pytest.mark.parametrize(
    ("call", "module", "message"),
    [
        (lambda: tensorboard_logger("run"), "tensorboardX", "`tensorboard_logger` needs tensorboardX: pip install 'lrjax[tensorboard]'"),
        (wandb_logger, "wandb", "`wandb_logger` needs wandb: pip install 'lrjax[wandb]'"),
    ],
    ids=["tensorboard", "wandb"],
)  # fmt: skip
def test_missing_extras(monkeypatch, tmp_path, call, module, message):
    monkeypatch.chdir(tmp_path)
    for name in [module, *(name for name in sys.modules if name.startswith(f"{module}."))]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError) as caught:
        call()
    assert str(caught.value) == message
    assert not list(tmp_path.iterdir())
