"""One range test in several processes: handwritten digits, a flax.nnx model, AdamW.

Each process runs its part of the lanes (learning rates x seeds) on its own devices, and every process gets the whole
result. Started as it is, this script is the parent of such processes on this machine:

    python examples/multi_process_range_test.py [--processes 2] [--smoke] [--output output/]

On several machines, start it once on each; the first one is the coordinator, which all must reach:

    python examples/multi_process_range_test.py --processes 2 --process 0 --coordinator first-machine:12345
    python examples/multi_process_range_test.py --processes 2 --process 1 --coordinator first-machine:12345

Under SLURM, Open MPI, Kubernetes or on a TPU pod JAX finds these three settings itself:

    srun python examples/multi_process_range_test.py --cluster
"""

from __future__ import annotations

import argparse
import hashlib
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import matplotlib as mpl
import numpy as np
import optax
from flax import nnx
from jax.experimental import multihost_utils
from sklearn.datasets import load_digits

import lrjax.plot
from lrjax.finder import RangeTest, from_nnx, minibatches, range_test, suggest
from lrjax.optimizers import adamw

BATCH_SIZE = 64
Images = tuple[np.ndarray, np.ndarray]


class MLP(nnx.Module):
    """64 pixels, one hidden layer, ten digits."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        """Two dense layers."""
        self.hidden = nnx.Linear(64, 128, rngs=rngs)
        self.output = nnx.Linear(128, 10, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Logits, ``[batch, 10]``."""
        return self.output(nnx.relu(self.hidden(images)))


def cross_entropy(model: MLP, batch: Images) -> jax.Array:
    images, labels = batch
    return optax.softmax_cross_entropy_with_integer_labels(model(images), labels).mean()


def load() -> tuple[Images, Images]:
    """Training and validation images, in the same random order in every process."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    images, labels = np.float32(images[order] / 16), np.int32(labels[order])
    return (images[:1400], labels[:1400]), (images[1400:], labels[1400:])


def find(*, rates: int, steps: int, seeds: int, checkpoint: Path | None) -> RangeTest:
    """The range test: the same call in every process, on the same batches."""
    training, validation = load()
    problem = from_nnx(MLP, cross_entropy)
    return range_test(
        problem.loss_fn,
        problem.params,
        minibatches(training, BATCH_SIZE, steps, jax.random.key(0)),
        adamw,
        np.geomspace(1e-5, 1.0, rates),
        seeds=seeds,
        validation=validation,
        evaluate=problem.evaluate,
        progress=jax.process_index() == 0,
        checkpoint=checkpoint,
    )


def digests(result: RangeTest) -> list[str]:
    """The start of a hash of the result in every process."""
    arrays = (result.losses, result.validation_losses, result.lost_at)
    digest = hashlib.sha256(b"".join(array.tobytes() for array in arrays)).digest()[:8]
    everyone = multihost_utils.process_allgather(np.frombuffer(digest, np.uint8))
    return [bytes(row).hex() for row in np.reshape(everyone, (jax.process_count(), -1))]


def take_part(arguments: argparse.Namespace) -> None:
    """One of the processes."""
    if arguments.cluster:
        jax.distributed.initialize()
    else:
        jax.distributed.initialize(arguments.coordinator, arguments.processes, arguments.process)
    began = time.perf_counter()
    rates, steps, seeds = (9, 30, 2) if arguments.smoke else (61, 200, 4)
    result = find(rates=rates, steps=steps, seeds=seeds, checkpoint=arguments.checkpoint)
    seconds = time.perf_counter() - began
    hashes = digests(result)
    if jax.process_index() > 0:
        return
    suggestion = suggest(result)
    print(result)
    print(f"{rates * seeds} lanes on {jax.device_count()} devices of {jax.process_count()} processes: {seconds:.1f} s")
    for process, digest in enumerate(hashes):
        print(f"  process {process} holds {digest}")
    if len(set(hashes)) > 1:
        raise RuntimeError("the processes hold different results")
    arguments.output.mkdir(parents=True, exist_ok=True)
    picture = arguments.output / "multi_process_range_test.png"
    axes = lrjax.plot.range_test(result, suggestion)
    axes.set_title(f"AdamW on digits, {rates * seeds} lanes in {jax.process_count()} processes")
    axes.figure.savefig(picture, dpi=150)
    print(f"Picture: {picture}")


def start(processes: int) -> None:
    """Start the processes on this machine, each with its part of the cores, and end all if one fails."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        coordinator = f"localhost:{free.getsockname()[1]}"
    devices = max(1, (os.cpu_count() or 1) // processes)
    command = [sys.executable, *(f"-W{option}" for option in sys.warnoptions), *sys.argv]
    command += ["--processes", str(processes), "--coordinator", coordinator, "--process"]
    environment = {"JAX_NUM_CPU_DEVICES": str(devices), **os.environ}
    children = [subprocess.Popen([*command, str(process)], env=environment) for process in range(processes)]
    try:
        while any(child.poll() is None for child in children) and not any(child.poll() for child in children):
            time.sleep(0.1)
    finally:
        for child in children:
            child.terminate()
    if any(child.wait() for child in children):
        raise SystemExit("a process failed")


def main() -> None:
    parser = argparse.ArgumentParser(description="Find the learning rate of AdamW on digits in several processes.")
    parser.add_argument("--smoke", action="store_true", help="few rates and steps, to see that it runs")
    parser.add_argument("--output", type=Path, default=Path("output"), help="folder of the picture")
    parser.add_argument("--checkpoint", type=Path, help="folder to save in and to resume from")
    parser.add_argument("--processes", type=int, default=2, help="how many processes there are")
    parser.add_argument("--process", type=int, help="which one this is; left out, all are started here")
    parser.add_argument("--coordinator", help="host:port of process 0")
    parser.add_argument("--cluster", action="store_true", help="let JAX find these settings")
    arguments = parser.parse_args()
    mpl.use("Agg")
    if arguments.cluster or arguments.process is not None:
        take_part(arguments)
    else:
        start(arguments.processes)


if __name__ == "__main__":
    main()
