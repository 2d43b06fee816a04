"""Generative adversarial runs with known faults, and the facts by which they are labelled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from regret_tasks import Params, _perceptron
from sklearn import datasets

import lrjax

STEPS, BATCH, SAMPLES = 1200, 64, 1000
USUAL = (1e-3, 1e-3)
"""Rates of the generator and the discriminator."""


USUAL_PAIRS = [(1.0, 1.0), (0.5, 0.5), (0.5, 1.0), (1.0, 2.0), (0.3, 0.6)]
SLOW_PLAYER = [(0.01, 1.0), (0.02, 2.0), (0.003, 1.0), (1.0, 0.01), (1.0, 0.003), (3.0, 0.02)]
FAST_GENERATOR = [(10.0, 1.0), (30.0, 1.0), (100.0, 1.0), (3.0, 0.3), (10.0, 0.3), (20.0, 0.5), (50.0, 3.0), (5.0, 0.3)]
"""Factors on the rates of the generator and the discriminator."""


class Game(NamedTuple):
    """Real samples, the noise's width, the hidden width, and the loss of a game."""

    real: np.ndarray
    latent: int
    hidden: int
    loss: str


def _ring(modes: int) -> np.ndarray:
    """Normal distributions on a circle."""
    rng = np.random.default_rng(0)
    angles = 2 * np.pi * rng.integers(modes, size=2000) / modes
    return np.float32(np.stack([np.cos(angles), np.sin(angles)], -1) + 0.05 * rng.normal(size=(2000, 2)))


def _digits(loss: str, latent: int, hidden: int) -> Game:
    return Game(np.float32(datasets.load_digits().data / 8 - 1), latent, hidden, loss)


def _standardised(name: str) -> np.ndarray:
    x = getattr(datasets, f"load_{name}")().data
    return np.float32((x - x.mean(axis=0)) / x.std(axis=0))


GAMES: dict[str, dict[str, Callable[[], Game]]] = {
    "choosing": {
        "digits": lambda: _digits("cross-entropy", 16, 64),
        "ring8": lambda: Game(_ring(8), 4, 48, "cross-entropy"),
        "wine": lambda: Game(_standardised("wine"), 8, 32, "squares"),
    },
    "tried": {
        "digits": lambda: _digits("squares", 8, 96),
        "ring6": lambda: Game(_ring(6), 2, 64, "cross-entropy"),
        "breast_cancer": lambda: Game(_standardised("breast_cancer"), 12, 48, "cross-entropy"),
    },
    "third": {
        "upper_digits": lambda: Game(_digits("cross-entropy", 6, 80).real[:, :32], 6, 80, "cross-entropy"),
        "ring10": lambda: Game(_ring(10), 3, 56, "squares"),
        "iris": lambda: Game(_standardised("iris"), 5, 40, "cross-entropy"),
        "diabetes": lambda: Game(_standardised("diabetes"), 10, 72, "squares"),
    },
}
GAMES["reporting"] = {f"{half}_{game}": make for half, games in GAMES.items() for game, make in games.items()}
FIRST_SEED = {"choosing": 0, "tried": 700, "third": 2700, "reporting": 18_000}


@dataclass(frozen=True)
class GanRun:
    """One game, the factors on both rates, and what else was done to it."""

    half: str
    game: str
    seed: int
    generator: float = 1.0
    discriminator: float = 1.0
    words: str = "no fault"

    @property
    def name(self) -> str:
        """Without the number that makes it the only one."""
        return f"{self.half}/gan/{self.game}/{self.generator:g}/{self.discriminator:g}/seed{self.seed}"

    def twin(self) -> GanRun:
        """The same game at the usual rates."""
        return replace(self, generator=1.0, discriminator=1.0, words="no fault")


class GanTrained(NamedTuple):
    """Per step, and at the end."""

    generator_losses: np.ndarray
    discriminator_losses: np.ndarray
    generator_norms: np.ndarray
    fake_accuracy: np.ndarray
    """Of the discriminator, on fakes."""
    real_accuracy: np.ndarray
    spread: np.ndarray
    """The fakes' standard deviation as a part of the real ones'."""
    distance: float
    """Fréchet distance at the end."""


def train(runs: list[GanRun]) -> list[GanTrained]:
    """Runs of one game as lanes of one scan."""
    game = GAMES[runs[0].half][runs[0].game]()
    real = jnp.asarray(game.real)
    width = real.shape[1]
    init_g, apply_g = _perceptron([game.latent, game.hidden, game.hidden, width], jax.nn.leaky_relu)
    init_d, apply_d = _perceptron([width, game.hidden, game.hidden, 1], jax.nn.leaky_relu)

    def generate(params: Params, rng: jax.Array, count: int = BATCH) -> jax.Array:
        return apply_g(params, jax.random.normal(rng, (count, game.latent)))

    def real_loss(logits: jax.Array) -> jax.Array:
        return jnp.mean(jax.nn.softplus(-logits) if game.loss == "cross-entropy" else 0.5 * (logits - 1) ** 2)

    def fake_loss(logits: jax.Array) -> jax.Array:
        return jnp.mean(jax.nn.softplus(logits) if game.loss == "cross-entropy" else 0.5 * (logits + 1) ** 2)

    def generator_loss(own: Params, other: Params, batch: jax.Array, rng: jax.Array) -> jax.Array:
        del batch
        return real_loss(apply_d(other, generate(own, rng)))

    def discriminator_loss(own: Params, other: Params, batch: jax.Array, rng: jax.Array) -> tuple[jax.Array, dict]:
        fake = generate(other, rng)
        real_logits, fake_logits = apply_d(own, batch), apply_d(own, fake)
        shown = {"real_logits": real_logits, "fake_logits": fake_logits, "real": batch, "fake": fake}
        return real_loss(real_logits) + fake_loss(fake_logits), shown

    def lane(seed: jax.Array, rates: jax.Array) -> tuple:
        adam = [optax.adam(USUAL[i] * rates[i], b1=0.5) for i in range(2)]
        optimizers = lrjax.optimizers.GanOptimizers(*adam)
        step = lrjax.optimizers.gan_step(generator_loss, discriminator_loss, optimizers, ema=0.99)
        first, second, train_rng, draw = jax.random.split(jax.random.key(seed), 4)
        rows = jax.random.randint(train_rng, (STEPS, BATCH), 0, len(real))
        state = lrjax.optimizers.gan_init(optimizers, init_g(first), init_d(second))

        def one(state: lrjax.optimizers.GanState, seen: tuple) -> tuple:
            return step(state, real[seen[0]], seen[1])

        state, m = jax.lax.scan(one, state, (rows, jax.random.split(train_rng, STEPS)))
        judged = (m.fake_accuracy, m.real_accuracy, m.spread_ratio)
        shown = (m.generator_loss, m.discriminator_loss, m.generator_grad_norm, *judged)
        return shown, generate(state.average, draw, SAMPLES)

    seeds = np.array([run.seed for run in runs])
    rates = np.array([[run.generator, run.discriminator] for run in runs], np.float32)
    shown, fakes = jax.jit(lambda lanes: jax.lax.map(lambda x: lane(*x), lanes))((seeds, rates))
    distances = jax.vmap(lrjax.frechet_distance(game.real))(fakes)
    return [
        GanTrained(*parts, float(d)) for *parts, d in zip(*map(np.asarray, shown), np.asarray(distances), strict=True)
    ]


def label(run: GanRun, trained: GanTrained, twin: GanTrained) -> str | None:
    """By the discriminator's accuracy, the spread of the fakes, and their distance from the real samples."""
    late = slice(len(trained.spread) // 2, None)
    spread, fakes, reals = (np.mean(a[late]) for a in (trained.spread, trained.fake_accuracy, trained.real_accuracy))
    if not np.isfinite(trained.distance):
        return None
    far = trained.distance > 3 * twin.distance
    if (run.generator, run.discriminator) in FAST_GENERATOR:
        collapsed = fakes >= 0.1 and np.mean(trained.spread[late] < 0.5) > 0.75
        return "gan_collapse" if far and collapsed else None
    if (run.generator, run.discriminator) not in USUAL_PAIRS:
        one_wins = min(fakes, reals) > 0.95 or (fakes < 0.1 and spread > 0.5)
        return "gan_imbalance" if far and one_wins else None
    if trained.distance <= 1.5 * twin.distance and 0.75 < spread < 1.3 and min(fakes, reals) < 0.9:
        return "healthy"
    return None


def candidates() -> list[GanRun]:
    """Every game at many pairs of rates; the reporting set takes five elevenths of them."""
    runs = []
    for half, games in GAMES.items():
        mine = []
        for i, game in enumerate(games):
            for j, (g, d) in enumerate(SLOW_PLAYER + FAST_GENERATOR + USUAL_PAIRS):
                faulty = f"the generator's rate x{g:g}, the discriminator's x{d:g}"
                words = "no fault" if (g, d) in USUAL_PAIRS else faulty
                mine.append(GanRun(half, game, 10 * i + j % 3 + FIRST_SEED[half], g, d, words))
        runs += [run for i, run in enumerate(mine) if half != "reporting" or i * 5 % 11 < 5]
    return runs
