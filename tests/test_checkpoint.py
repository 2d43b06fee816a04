"""A sweep is saved as it goes, resumed bit by bit after any death, and never taken for another one.

Run as a script, this file is a process to be killed: ``python test_checkpoint.py CASE FOLDER WHEN NUMBER``.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from functools import cache, partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as orbax
import pytest

from lrjax.finder import Halving, Plan, checkpoint, range_test, resuming, sweep
from lrjax.finder.engine import Engine

GENERATOR = np.random.default_rng(0)
STEPS = 60
X = GENERATOR.normal(size=(STEPS, 8, 3)).astype(np.float32)
Y = (X @ np.float32([1, -2, 0.5])).astype(np.float32)
HELD_OUT = (X[0], Y[0])
RATES = [*np.geomspace(1e-3, 0.05, 9), 3e18, 6e18, 1e19, 1e30]
SECONDS = 120
POINTS = np.random.default_rng(4)


def init(key):
    return {"w": jax.random.normal(key, (3, 5)), "v": jnp.zeros(5)}


def dropout_loss(params, batch, rng):
    x, y = batch
    hidden = jnp.tanh(x @ params["w"]) * jax.random.bernoulli(rng, 0.8, (5,))
    return jnp.mean((hidden @ params["v"] - y) ** 2)


def evaluate(params, batch):
    x, y = batch
    return jnp.mean((jnp.tanh(x @ params["w"]) @ params["v"] - y) ** 2)


def spring(hyperparams, rng):
    return {"stiffness": hyperparams, "x": 1 + jax.random.normal(rng, (8,)), "v": jnp.zeros(8)}


def swing(carry, push):
    v = carry["v"] - 0.1 * carry["stiffness"] * carry["x"] + push.mean()
    x = carry["x"] + 0.1 * v
    return carry | {"x": x, "v": v}, {"energy": (v**2 + carry["stiffness"] * x**2).sum()}


def dropout_test(batches, folder, **options):
    return range_test(
        dropout_loss,
        init,
        batches,
        optax.adam,
        RATES,
        seeds=2,
        rng=jax.random.key(3),
        steps=STEPS,
        validation=HELD_OUT,
        evaluate=evaluate,
        checkpoint=folder,
        **options,
    )


CASES = {
    "finite": dropout_test,
    "waves": partial(dropout_test, keep=Halving(), memory_budget=17_000),
    "rungs": partial(dropout_test, keep=Halving(), plan=Plan(5, 7)),
    "sweep": lambda batches, folder: sweep(
        spring,
        swing,
        np.geomspace(0.1, 500, 11).astype(np.float32),
        (x for x, _ in batches),
        rng=jax.random.key(5),
        steps=STEPS,
        evaluate=lambda carry, _: (carry["x"] ** 2).sum(),
        validation=np.zeros(1),
        checkpoint=folder,
    ),
}


def plain_test(folder, source=None):
    """Nothing but rates, of which one is lost."""

    def loss_fn(params, batch):
        return jnp.mean((batch[0] @ params - batch[1]) ** 2)

    return range_test(
        loss_fn, np.zeros(3), source or batches(), optax.sgd, [1e-3, 1e-2, 1e30], steps=20, checkpoint=folder
    )


def batches():
    """What a loader yields."""
    yield from zip(X, Y, strict=True)


@cache
def undisturbed(case):
    """The result of a process that nobody killed; saving, it has the same memory for lanes."""
    with tempfile.TemporaryDirectory() as folder:
        return CASES[case](batches(), f"{folder}/folder")


def numbers(result):
    """All that a result holds but its plan's reason, ready to be compared bit by bit."""
    training = result.metrics if hasattr(result, "metrics") else result.losses
    leaves = jax.tree.leaves((training, result.validation_steps, result.validation_losses, result.lost_at))
    return [leaf.tobytes() for leaf in leaves], result.status.tolist(), result.steps_done, result.note


def saved_state(folder):
    """The manifest of the last state in a folder."""
    newest = max((int(entry.name) for entry in Path(folder).iterdir() if entry.name.isdigit()), default=None)
    return (
        None
        if newest is None
        else json.loads((Path(folder) / f"{newest}" / "manifest" / "index.json").read_text())["value"]
    )


def contents(folder):
    """Every file and folder with its bytes."""
    paths = sorted(Path(folder).rglob("*"))
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "" for path in paths}


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def dies(case, folder, when, number):
    """Run a case in this process until it dies; every second chunk is saved.

    It dies as batch ``number`` is pulled, after chunk ``number``, or before that write to a folder under way.
    """
    chunks, writes = itertools.count(1), itertools.count(1)

    def pulled():
        for place, batch in enumerate(batches(), 1):
            if when == "batch" and place == number:
                die()
            yield batch

    def is_due(_):
        chunk = next(chunks)
        if when == "chunk" and chunk == number:
            die()
        return chunk % 2 == 0

    def written(_, args):
        if when == "write" and "orbax-checkpoint-tmp" in str(args[:1]) and next(writes) == number:
            die()

    checkpoint.Checkpoint.is_due = is_due
    sys.addaudithook(written)
    CASES[case](pulled(), folder)


def killed(case, folder, when, number):
    """Whether a process of its own was killed there, and nothing else went wrong with it."""
    command = [sys.executable, "-W", "error", __file__, case, str(folder), when, str(number)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr


@pytest.mark.parametrize(
    ("case", "when", "points"),
    [
        ("finite", "batch", sorted(POINTS.integers(1, STEPS, 3))[::2]),  # the second further on
        ("waves", "chunk", POINTS.integers(3, 12, 2)),
        ("rungs", "write", POINTS.integers(30, 100, 2)),
        ("sweep", "batch", POINTS.integers(20, STEPS, 1)),
    ],
)
def test_a_killed_process_is_gone_on_with_bit_by_bit(case, when, points, tmp_path):
    for point in points:
        killed(case, tmp_path / "killed", when, point)
    if case == "waves":
        assert saved_state(tmp_path / "killed")["wave_lanes"] < undisturbed(case).status.size / 2
    assert saved_state(tmp_path / "killed")["done"] > 0
    assert numbers(CASES[case](batches(), tmp_path / "killed")) == numbers(undisturbed(case))


def test_every_moment_of_a_save_leaves_a_state_to_go_on_with(tmp_path, monkeypatch):
    """Copies of the folder as it is before each change to it, the removal of an older state included."""
    folder, copies = tmp_path / "folder", []

    def watch(event, args):
        if copies is not None and watch.on and event in {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir"}:
            watch.on = False
            copies.append(tmp_path / f"copy {len(copies)}")
            shutil.copytree(folder, copies[-1])
            watch.on = True

    def save(self, manifest, parts):
        watch.on = manifest["done"] == 8
        saving(self, manifest, parts)
        watch.on = False

    watch.on, saving = False, checkpoint.Checkpoint.save
    with monkeypatch.context() as patched:
        patched.setattr(checkpoint.Checkpoint, "is_due", lambda _: True)
        patched.setattr(checkpoint.Checkpoint, "save", save)
        sys.addaudithook(watch)
        whole = plain_test(folder)
    seen = {tuple(path.relative_to(copy) for path in contents(copy)): copy for copy in copies}
    assert len(seen) > 5
    for copy in seen.values():
        assert numbers(plain_test(copy)) == numbers(whole)


def test_a_finished_test_is_returned_at_once(tmp_path, monkeypatch):
    finished = CASES["rungs"](batches(), tmp_path / "new" / "folder")
    monkeypatch.setattr(Engine, "_run_chunk", None)
    again = CASES["rungs"](batches(), tmp_path / "new" / "folder")
    assert numbers(again) == numbers(finished)
    assert again.plan == finished.plan


@pytest.mark.parametrize("case", ["finite", "waves"])
def test_a_test_whose_loader_raised_goes_on_from_there(case, tmp_path, monkeypatch):
    def raising():
        yield from itertools.islice(batches(), 31)
        raise OSError("disk gone")

    ended = CASES[case](raising(), tmp_path / "folder")
    assert ended.steps_done == 31
    cause = "the iterable raised OSError('disk gone'); repair it and run again"
    assert ended.note == f"The batches ended after 31 of 60 steps: {cause}."
    places, run_chunk = [], Engine._run_chunk

    def counted(engine, chunk, stop):
        places.append(engine.state.done)
        run_chunk(engine, chunk, stop)

    monkeypatch.setattr(Engine, "_run_chunk", counted)
    assert numbers(CASES[case](batches(), tmp_path / "folder")) == numbers(undisturbed(case))
    assert places[0] == 31


class Interruption(BaseException):
    """Something that nobody catches."""


def interrupted_after(chunks, run, monkeypatch):
    """Run until so many chunks were saved."""
    count = itertools.count()

    def is_due(_):
        if next(count) == chunks:
            raise Interruption
        return True

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint.Checkpoint, "is_due", is_due)
        with pytest.raises(Interruption):
            run()


def test_more_memory_than_before_changes_no_wave(tmp_path, monkeypatch):
    def run(memory_budget, folder):
        return sweep(
            lambda rate, _: {"rate": rate, "x": jnp.ones(64)},
            lambda carry, _: (carry | {"x": carry["x"] * (1 - carry["rate"])}, {"loss": carry["x"].sum()}),
            np.linspace(0.1, 0.5, 16).astype(np.float32),
            None,
            steps=20,
            plan=Plan(2, 4),
            memory_budget=memory_budget,
            checkpoint=folder,
        )

    alone = run(10_000, tmp_path / "alone")
    interrupted_after(12, lambda: run(10_000, tmp_path / "folder"), monkeypatch)
    state = saved_state(tmp_path / "folder")
    assert state["wave"] == 1
    assert state["wave_lanes"] < 8
    assert numbers(run(20_000, tmp_path / "folder")) == numbers(alone)


def two_outputs(scale, addend=0.0):
    """A loss with a state, a key and an array that it closes over."""
    scales = np.float32([scale, 1])

    def loss_fn(params, batch, state, rng):
        noise = jax.random.normal(rng, (2,))
        return (batch.mean() * params["w"] * scales * noise).sum() + addend, {"n": state["n"] + 1}

    return loss_fn


def read(params, batch, state):
    return params["w"].sum() + batch.sum()


def stateful_test(folder, **changes):
    options = {
        "loss_fn": two_outputs(2.0),
        "params": {"w": np.float32([1, 2])},
        "batches": np.arange(24, dtype=np.float32).reshape(12, 2),
        "optimizer": optax.sgd,
        "learning_rates": [0.1, 0.2, 0.3],
        "seeds": 2,
        "rng": jax.random.key(1),
        "model_state": {"n": np.float32(0)},
        "validation": np.ones(2, np.float32),
        "evaluate": read,
        "steps": 12,
        **changes,
    }
    return range_test(**options, checkpoint=folder)


@pytest.fixture(scope="module")
def stateful(tmp_path_factory):
    """A folder that everything that follows must leave as it is."""
    folder = tmp_path_factory.mktemp("checkpoint") / "folder"
    stateful_test(folder)
    return folder


def refused(call, folder, got):
    """Whether the call is refused in these words and changes nothing in the folder."""
    before = contents(folder)
    with pytest.raises(ValueError) as raised:
        call()
    called = "sweep" if "`sweep(" in str(raised.value) else "range_test"
    requirement = f"`{called}(checkpoint=...)` must be a new folder or one of this very test"
    assert str(raised.value) == f"{requirement}, got {folder}, {got}; nothing is changed"
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("names", "changes"),
    [
        ("learning_rates", {"learning_rates": [0.1, 0.2, 0.4]}),
        ("learning_rates", {"learning_rates": [0.1, 0.2, 0.3, 0.4]}),
        ("seeds", {"seeds": [0, 2]}),
        ("seeds", {"seeds": 3}),
        ("params", {"params": {"w": np.float32([1, 3])}}),
        ("params", {"params": lambda _: {"w": jnp.ones(2)}}),
        ("model_state", {"model_state": {"n": np.float32(1)}}),
        ("rng", {"rng": jax.random.key(2)}),
        ("steps: 12 there, 11 here", {"steps": 11}),
        ("keep: finite there, all here", {"keep": "all"}),
        (
            "keep: finite there, Halving(fraction=0.5, rungs=1) here",
            {"keep": Halving(rungs=1), "validation_steps": [0, 1, 2, 4, 5, 6, 7, 8, 10, 11, 12]},
        ),
        ("plan: auto there, 2 lanes a call, 1 step a call here", {"plan": Plan(2)}),
        ("validation", {"validation": np.zeros(2, np.float32)}),
        ("validation", {"validation": [np.ones(2, np.float32)] * 2}),
        ("validation", {"validation_steps": [0, 12]}),
        ("program", {"loss_fn": two_outputs(2.0, addend=1.0)}),
        ("program", {"optimizer": optax.adam}),
        ("program", {"evaluate": lambda params, batch, state: 2 * read(params, batch, state)}),
        ("arrays that the functions close over", {"loss_fn": two_outputs(3.0)}),
        ("batches: the first 12 differ", {"batches": np.ones((12, 2), np.float32)}),
    ],
    ids=lambda value: value.split(":")[0] if isinstance(value, str) else "",
)
def test_another_test_is_refused_by_the_field_that_differs(names, changes, stateful):
    refused(lambda: stateful_test(stateful, **changes), stateful, f"one with other {names}")


def test_too_few_batches_are_refused(tmp_path):
    plain_test(tmp_path)
    few = itertools.islice(batches(), 7)
    refused(
        lambda: plain_test(tmp_path, few), tmp_path, "one with other batches: 20 were consumed, and now only 7 come"
    )
    one_changed = ((x, y + (place == 3)) for place, (x, y) in enumerate(batches()))
    refused(lambda: plain_test(tmp_path, one_changed), tmp_path, "one with other batches: the first 20 differ")


def test_other_versions_and_platforms_are_refused(stateful, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(resuming, "version", lambda _: "9.9")
        there = saved_state(stateful)["fields"]["versions"]
        assert f"jax {jax.__version__}" in there
        here = "jax 9.9, jaxlib 9.9, optax 9.9, numpy 9.9, lrjax 9.9"
        refused(lambda: stateful_test(stateful), stateful, f"one with other versions: {there} there, {here} here")
    there = f"cpu cpu, Python {platform.python_version()}"
    monkeypatch.setattr(platform, "python_version", lambda: "2.7.1")
    here = "cpu cpu, Python 2.7.1"
    refused(lambda: stateful_test(stateful), stateful, f"one with other platform: {there} there, {here} here")


def test_a_budget_that_asks_for_other_programs_is_refused(tmp_path):
    def run(memory_budget):
        step = lambda x, _: (x / 2, {"loss": x.sum()})  # noqa: E731
        return sweep(
            lambda x, _: x, step, np.ones((8, 99)), None, steps=9, memory_budget=memory_budget, checkpoint=tmp_path
        )

    run(None)
    with pytest.raises(ValueError) as raised:
        run(7_000)
    detail = r"one with other memory_budget: enough for 8 lanes a call there, enough for \d lanes? a call here; nothing"
    assert re.search(detail, str(raised.value))


def small_sweep(folder, *, start=1.0, shrink=0.5, hyperparams=(1, 2), rng=3):
    starts = np.float32([start, 1])
    return sweep(
        lambda rate, rng: {"rate": rate, "x": starts * jax.random.normal(rng, (2,))},
        lambda carry, batch: (carry | {"x": shrink * carry["x"]}, {"loss": (carry["rate"] * batch * carry["x"]).sum()}),
        np.float32(hyperparams),
        np.ones(4, np.float32),
        rng=jax.random.key(rng),
        checkpoint=folder,
    )


@pytest.mark.parametrize(
    ("names", "changes"),
    [
        ("hyperparams", {"hyperparams": (1, 3)}),
        ("rng", {"rng": 4}),
        ("program", {"shrink": 0.25}),
        ("arrays that the functions close over", {"start": 2.0}),
    ],
)
def test_another_sweep_is_refused_by_the_field_that_differs(names, changes, tmp_path):
    small_sweep(tmp_path)
    refused(lambda: small_sweep(tmp_path, **changes), tmp_path, f"one with other {names}")


def cut(file):
    os.truncate(file, file.stat().st_size // 2)


def flip(file):
    """Change one bit."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(("damage", "kinds"), [(Path.unlink, "*"), (cut, "*"), (flip, "[0-9]*")])
def test_a_damaged_state_is_refused(damage, kinds, tmp_path):
    """Files that only orbax has use for may be missing."""
    whole, refusals = numbers(plain_test(tmp_path / "whole")), 0
    newest = max((tmp_path / "whole").iterdir(), key=lambda entry: int(entry.name))
    for file in sorted(path for path in newest.rglob(kinds) if path.is_file()):
        folder = tmp_path / "damaged"
        shutil.copytree(tmp_path / "whole", folder)
        damage(folder / file.relative_to(tmp_path / "whole"))
        before, message = contents(folder), ""
        try:
            assert numbers(plain_test(folder)) == whole
        except ValueError as error:
            message = str(error)
        if message:
            refusals += 1
            assert f"got {folder}, one whose state {newest.name} is damaged (" in message
            assert message.endswith("); nothing is changed")
        assert contents(folder) == before
        shutil.rmtree(folder)
    own = [file for file in newest.glob(f"*/{kinds}") if file.name.isdigit() or file.name == "index.json"]
    assert refusals == len(own)


def test_a_state_without_its_manifest_is_refused(tmp_path):
    plain_test(tmp_path)
    newest = max(tmp_path.iterdir(), key=lambda entry: int(entry.name))
    shutil.rmtree(newest / "manifest")
    refused(lambda: plain_test(tmp_path), tmp_path, f"one that holds {newest.name}")


def standard(folder):
    with orbax.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder, {"a": np.ones(3)})


def managed(folder, **items):
    with orbax.CheckpointManager(folder) as manager:
        manager.save(0, args=orbax.args.Composite(**items))


def another_format(folder):
    plain_test(folder)
    for index in folder.glob("*/manifest/index.json"):
        index.write_text(index.read_text().replace(checkpoint.FORMAT, "another"))


@pytest.mark.parametrize(
    ("make", "got"),
    [
        (lambda folder: (folder.mkdir(), (folder / "notes.txt").write_text("mine")), "one that holds notes.txt"),
        (lambda folder: (folder / "old" / "manifest").mkdir(parents=True), "one that holds old"),
        (lambda folder: managed(folder, model=orbax.args.StandardSave({"a": np.ones(3)})), "one that holds 0"),
        (another_format, "one that something else has written"),
    ],
)
def test_a_folder_of_something_else_is_refused(make, got, tmp_path):
    make(tmp_path / "folder")
    refused(lambda: plain_test(tmp_path / "folder"), tmp_path / "folder", got)


def test_a_checkpoint_of_a_model_is_refused(tmp_path):
    standard(tmp_path / "folder")
    names = [entry.name for entry in (tmp_path / "folder").glob("*")]
    with pytest.raises(ValueError, match="one that holds") as raised:
        plain_test(tmp_path / "folder")
    assert str(raised.value).split("holds ")[1].split(";")[0] in names


def test_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    refused(lambda: plain_test(tmp_path / "file"), tmp_path / "file", "a file")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("path", [5, b"folder", ["folder"]])
def test_what_is_no_path_is_refused(path):
    with pytest.raises(TypeError) as raised:
        plain_test(path)
    assert str(raised.value) == f"`range_test(checkpoint=...)` must be a path, got {path!r} ({type(path).__name__})"


def test_the_extra_is_named_where_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "orbax.checkpoint", None)
    with pytest.raises(ImportError) as raised:
        plain_test(tmp_path / "folder")
    assert str(raised.value) == "`range_test(checkpoint=...)` needs orbax: pip install 'lrjax[checkpoint]'"
    with pytest.raises(ImportError, match=r"`sweep\(checkpoint=...\)` needs orbax"):
        small_sweep(tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


if __name__ == "__main__":
    dies(*sys.argv[1:4], int(sys.argv[4]))
