"""The full runs that the regret benchmark measures answers by: every task, optimizer, schedule, horizon, rate and seed.

Writes ``benchmarks/regret_truth.npz``; what is there already is kept.

    python benchmarks/regret_truth.py [TASK ...]
"""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import numpy as np
import regret_tasks as tasks
from tqdm import tqdm

import lrjax

TRUTH = Path(__file__).with_name("regret_truth.npz")
SEEDS = range(1000, 1006)
"""Apart from those that the rules see."""


def runs(task: tasks.Task, optimizer: str, schedule: str, horizons: list[int], seed: int) -> list[np.ndarray]:
    """``[horizons][rates, 2]``: the final validation and training losses of full runs from a seed."""
    steps = horizons[-1]
    batches = lrjax.minibatches(task.train, task.batch_size, steps, jax.random.key(seed))
    result = lrjax.range_test(
        task.loss_fn,
        task.init,
        batches,
        lambda peak: tasks.OPTIMIZERS[optimizer](tasks.SCHEDULES[schedule](peak, steps)),
        tasks.RATES[optimizer],
        seeds=[seed],
        validation=task.validation,
        validation_steps=[0, *horizons],
    )
    training = [result.losses[:, 0, h - h // 10 : h].mean(axis=-1) for h in horizons]
    return [np.stack([result.validation_losses[:, 0, 1 + i], training[i]], axis=-1) for i in range(len(horizons))]


def losses_at_start(task: tasks.Task) -> np.ndarray:
    """``[2]``: validation and training; the smaller of the mean over the seeds and a constant prediction's."""
    values = [
        [task.loss_fn(task.init(jax.random.key(seed)), part) for part in (task.validation, task.train)]
        for seed in SEEDS
    ]
    return np.minimum(np.mean(np.asarray(values, np.float64), axis=0), task.constant_loss)


def main() -> None:
    every = {**tasks.CHOOSING, **tasks.REPORTING}
    known = dict(np.load(TRUTH)) if TRUTH.exists() else {}
    for name in sys.argv[1:] or every:
        task = every[name]()
        known[f"{name}/start"] = losses_at_start(task)
        for optimizer in tasks.OPTIMIZERS:
            for schedule, groups in (("constant", [[600, 3000]]), ("cosine", [[600], [3000]])):
                for horizons in groups:
                    keys = [f"{name}/{optimizer}/{schedule}/{horizon}" for horizon in horizons]
                    if all(key in known for key in keys):
                        continue
                    seeds = tqdm(SEEDS, desc=keys[-1], disable=None)
                    every_seed = [runs(task, optimizer, schedule, horizons, seed) for seed in seeds]
                    for key, *parts in zip(keys, *every_seed, strict=True):
                        known[key] = np.stack(parts, axis=1)  # [rates, seeds, 2]
                    np.savez(TRUTH, **known)


if __name__ == "__main__":
    main()
