"""A sweep is saved as it goes, resumed bit by bit after any death, and never taken for another one.

Run as a script, this file is a process to be killed: ``python test_checkpoint.py CASE FOLDER WHEN NUMBER``.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
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


def batches():
    """What a loader yields."""
    yield from zip(X, Y, strict=True)


def numbers(result):
    """All that a result holds but its plan's reason, ready to be compared bit by bit."""
    training = result.metrics if hasattr(result, "metrics") else result.losses
    leaves = jax.tree.leaves((training, result.validation_steps, result.validation_losses, result.lost_at))
    return [leaf.tobytes() for leaf in leaves], result.status.tolist(), result.steps_done, result.note


def saved_state(folder):
    """The manifest of the last state in a folder."""
    newest = max((int(entry.name) for entry in Path(folder).iterdir() if entry.name.isdigit()), default=None)
    return None if newest is None else json.loads((Path(folder) / f"{newest}" / "manifest" / "metadata").read_text())


def contents(folder):
    """Every file and folder with its bytes."""
    paths = sorted(Path(folder).rglob("*"))
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "" for path in paths}


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def dies(case, folder, when, number):
    """Run in this process, which ends before it returns: as batch ``number`` is pulled, after chunk ``number``, or
    before the ``number``-th write to a folder that is being saved. Every second chunk is saved.
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
    ("case", "when", "low", "high", "times"),
    [("finite", "batch", 1, STEPS, 3), ("waves", "chunk", 3, 40, 2), ("sweep", "batch", 20, STEPS, 1), ("rungs", "write", 1, 40, 2)],
)  # fmt: skip
def test_a_killed_process_is_gone_on_with_bit_by_bit(case, when, low, high, times, tmp_path):
    points = np.sort(np.random.default_rng(4).integers(low, high, times))
    undisturbed = CASES[case](batches(), tmp_path / "undisturbed")
    for point in points:
        killed(case, tmp_path / "killed", when, point)
    assert saved_state(tmp_path / "killed")["done"] > 0
    assert numbers(CASES[case](batches(), tmp_path / "killed")) == numbers(undisturbed)
    if case == "waves":
        assert saved_state(tmp_path / "killed")["wave_lanes"] < undisturbed.losses[..., 0].size / 2


if __name__ == "__main__":
    dies(*sys.argv[1:4], int(sys.argv[4]))
