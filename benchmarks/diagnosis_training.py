"""Training of the labelled runs: one compiled program for each task and batch, run over its lanes one after another."""

from __future__ import annotations

import functools
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from diagnosis_tasks import TWINS, task, well_tuned_rate

import lrjax

LENGTHS = defaultdict(lambda: (700, 2000), reporting=(800, 2000))
"""What is compiled for a set; a shorter run is the beginning of one."""
CHECKPOINT = {700: 10, 800: 10, 2000: 40}
"""After so many steps each, the losses on the training and on the validation data are taken."""
EXAMPLES = 400
"""Of the training data, at most so many are the measure of a run's loss."""

OPTIMIZERS = {
    "gd": lambda: optax.sgd(1.0),
    "sgd": lambda: optax.sgd(1.0, momentum=0.9),
    "sgd_clip": lambda: optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(1.0, momentum=0.9)),
    "adamw": lambda: optax.adamw(1.0),
    "adamw_clip": lambda: optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1.0)),
    "lion": lambda: optax.lion(1.0),
}
"""At a rate of 1: the scan multiplies their updates by the rate of the step."""
NAMES = list(OPTIMIZERS)


@dataclass(frozen=True)
class Run:
    """One training, and what was done to it."""

    half: str
    task: str
    optimizer: str
    steps: int
    batch: int
    seed: int
    cause: str = "none"
    factor: float = 1.0
    schedule: str = "constant"
    event: int = 0
    examples: int | None = None
    rows: str = "clean"
    bad: tuple[str, int] | None = None
    init_scale: float = 1.0
    twin_schedule: str | None = None
    words: str = field(default="no fault", compare=False)

    @property
    def name(self) -> str:
        """Without the number that makes it the only one."""
        return f"{self.half}/{self.task}/{self.optimizer}/{self.steps}x{self.batch}/{self.schedule}/seed{self.seed}"

    @property
    def group(self) -> tuple[str, int, int]:
        """What is compiled together."""
        return self.task, self.batch, next(length for length in LENGTHS[self.half] if length >= self.steps)

    @property
    def every(self) -> int:
        """Steps from one checkpoint to the next."""
        return CHECKPOINT[self.group[2]]

    def twin(self) -> Run:
        """The same run without its fault; of a warmup that lacks, at the same rate with the warmup."""
        if self.cause == "warmup":
            return replace(self, cause="none", schedule="warmup_cosine", words="no fault")
        return replace(
            self,
            task=TWINS.get(self.task, self.task),
            cause="none",
            factor=1.0,
            schedule=self.twin_schedule or self.schedule,
            twin_schedule=None,
            event=0,
            examples=None,
            rows="clean",
            bad=None,
            init_scale=1.0,
            words="no fault",
        )

    def rates(self) -> np.ndarray:
        """``[steps]`` learning rates."""
        peak, steps = self.factor * well_tuned_rate(self.task, self.optimizer, self.batch), self.steps
        part = max(1, steps // 10)
        schedules = {
            "constant": lambda: lrjax.constant(peak),
            "cosine": lambda: lrjax.warmup_cosine(peak, steps, warmup_steps=0),
            "warmup_cosine": lambda: lrjax.warmup_cosine(peak, steps, warmup_steps=2 * part),
            "short_warmup": lambda: lrjax.warmup_cosine(peak, steps, warmup_steps=max(1, steps // 200)),
            "linear": lambda: lrjax.warmup_linear(peak, steps, warmup_steps=part // 2),
            "wsd": lambda: lrjax.wsd(peak, steps, warmup_steps=part // 2, decay_steps=2 * part),
            "one_cycle": lambda: lrjax.one_cycle(2 * peak, steps),
            "inverse_sqrt": lambda: lrjax.inverse_sqrt(peak, warmup_steps=part),
            "restarts": lambda: lrjax.schedules.cosine_restarts(peak, max(1, steps // 3)),
            "step_decay": lambda: lrjax.schedules.step_decay(peak, max(1, steps // 3), decay_rate=0.3),
            "exponential": lambda: lrjax.schedules.exponential(peak, decay_rate=0.1, steps=steps),
            "late_drop": lambda: lrjax.schedules.multistep(peak, [3 * steps // 4], decay_rate=0.1),
            "early_drop": lambda: lrjax.schedules.multistep(peak, [self.event], decay_rate=1e-3),
            "early_cosine": lambda: lrjax.warmup_cosine(peak, self.event, warmup_steps=0),
            "early_exponential": lambda: lrjax.schedules.exponential(peak, decay_rate=0.03, steps=self.event),
            "rising": lambda: lrjax.with_warmup(lrjax.constant(peak), steps // 2),
            "jump": lambda: lrjax.join([lrjax.constant(peak / 100), lrjax.constant(peak)], [self.event]),
        }
        return np.asarray(jax.vmap(schedules[self.schedule]())(jnp.arange(steps)), np.float32)

    def indices(self, count: int) -> np.ndarray:
        """``[steps, batch]``: which examples each step sees, of the four copies of ``pool``."""
        rng = np.random.default_rng(self.seed)
        rows = self.examples or count
        epochs = -(-self.steps * self.batch // rows)
        order = np.concatenate([rng.permutation(rows) for _ in range(epochs)])
        order = order[: self.steps * self.batch].reshape(self.steps, self.batch) + COPIES.index(self.rows) * count
        if self.bad:
            copy, repeats = self.bad
            order[self.event : self.event + repeats] = order[self.event] % count + COPIES.index(copy) * count
        return order


COPIES = ("clean", "noisy", "shuffled", "outliers")


def pool(name: str) -> tuple[np.ndarray, np.ndarray]:
    """The training data four times: as it is, 30% of the targets exchanged, all exchanged, and the inputs times 20."""
    x, y = task(name).train
    rng = np.random.default_rng(1)
    noisy, some = y.copy(), rng.permutation(len(y))[: int(0.3 * len(y))]
    noisy[some] = y[rng.permutation(some)]
    shuffled = y[rng.permutation(len(y))]
    wrong = 20 * x if x.dtype.kind == "f" else rng.permutation(x.ravel()).reshape(x.shape)
    return np.concatenate([x, x, x, wrong]), np.concatenate([y, noisy, shuffled, shuffled])


class Trained(NamedTuple):
    """What a run gave; only some of it is shown to ``diagnose``."""

    losses: np.ndarray
    gradient_norms: np.ndarray
    learning_rates: np.ndarray
    full: np.ndarray
    """``[checkpoints]`` losses on the run's training data as a whole."""
    validation: np.ndarray


def train(runs: list[Run]) -> list[Trained]:
    """Runs of one group."""
    name, _, length = runs[0].group
    problem, every = task(name), CHECKPOINT[length]
    count = len(problem.train[0])
    x, y = map(jnp.asarray, pool(name))
    measured = np.arange(min(EXAMPLES, count))
    optimizers = [make() for make in OPTIMIZERS.values()]

    def lane(lane: tuple[jax.Array, ...]) -> Any:
        seed, which, scale, rows, rates, mine = lane
        params = jax.tree.map(lambda leaf: scale * leaf, problem.init(jax.random.key(seed)))

        def updated(i: int, grads: Any, states: tuple, params: Any) -> tuple:
            updates, state = optimizers[i].update(grads, states[i], params)
            return updates, (*states[:i], state, *states[i + 1 :])

        branches = [functools.partial(updated, i) for i in range(len(optimizers))]

        def gradient_step(carry: Any, seen: Any) -> Any:
            params, states = carry
            rows, rate = seen
            loss, grads = jax.value_and_grad(problem.loss_fn)(params, (x[rows], y[rows]))
            updates, states = jax.lax.switch(which, branches, grads, states, params)
            params = optax.apply_updates(params, jax.tree.map(lambda update: rate * update, updates))
            return (params, states), (loss, optax.global_norm(grads))

        def both(params: Any) -> jax.Array:
            return jnp.stack([problem.loss_fn(params, (x[mine], y[mine])), problem.loss_fn(params, problem.validation)])

        def segment(carry: Any, seen: Any) -> Any:
            measured = both(carry[0])
            carry, shown = jax.lax.scan(gradient_step, carry, seen)
            return carry, (shown, measured)

        states = tuple(optimizer.init(params) for optimizer in optimizers)
        split = jax.tree.map(lambda a: a.reshape(-1, every, *a.shape[1:]), (rows, rates))
        (params, _), ((losses, norms), checkpoints) = jax.lax.scan(segment, (params, states), split)
        return losses.ravel(), norms.ravel(), jnp.concatenate([checkpoints, both(params)[None]])

    def padded(array: np.ndarray) -> np.ndarray:
        """To the compiled length; what comes after the run's end is cut."""
        return np.concatenate([array, np.repeat(array[-1:], length - len(array), axis=0)])

    lanes = (
        np.array([run.seed for run in runs]),
        np.array([NAMES.index(run.optimizer) for run in runs]),
        np.array([run.init_scale for run in runs], np.float32),
        np.stack([padded(run.indices(count)) for run in runs]),
        np.stack([padded(run.rates()) for run in runs]),
        np.stack([measured % (run.examples or count) + COPIES.index(run.rows) * count for run in runs]),
    )
    losses, norms, checkpoints = map(np.asarray, jax.jit(lambda lanes: jax.lax.map(lane, lanes))(lanes))
    result = []
    for i, run in enumerate(runs):
        seen = checkpoints[i, : run.steps // every + 1]
        result.append(Trained(losses[i, : run.steps], norms[i, : run.steps], lanes[4][i, : run.steps], *seen.T))
    return result
