"""A small GAN on scikit-learn's handwritten digits: two optimizers, two schedules, one jitted loop.

The Fréchet distance between generated and real digits, on their first 20 principal components, is printed
before and after; a full run has to bring it to a fifth of its start.

    python examples/digits_gan.py [--steps 12000] [--seed 0] [--output output] [--smoke]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
from sklearn.datasets import load_digits
from tqdm import tqdm

from lrjax.optimizers import GanMetrics, GanOptimizers, GanState, gan_init, gan_optimizers, gan_step
from lrjax.schedules import warmup_cosine

mpl.use("Agg")
from matplotlib import pyplot as plt

LATENT, HIDDEN, PIXELS, BATCH = 16, 128, 64, 64
SEGMENT = 500  # GAN steps in one compiled call
TARGET_RATIO = 0.2
Params = dict[str, jax.Array]


def init_mlp(rng: jax.Array, inputs: int, outputs: int) -> Params:
    """A perceptron with one hidden layer."""
    first, second = jax.random.split(rng)
    return {
        "w1": jax.random.normal(first, (inputs, HIDDEN)) * (2 / inputs) ** 0.5,
        "b1": jnp.zeros(HIDDEN),
        "w2": jax.random.normal(second, (HIDDEN, outputs)) * HIDDEN**-0.5,
        "b2": jnp.zeros(outputs),
    }


def mlp(params: Params, x: jax.Array) -> jax.Array:
    hidden = jax.nn.leaky_relu(x @ params["w1"] + params["b1"], 0.2)
    return hidden @ params["w2"] + params["b2"]


def generate(generator: Params, rng: jax.Array, count: int = BATCH) -> jax.Array:
    """Digits with pixels from -1 to 1."""
    return jnp.tanh(mlp(generator, jax.random.normal(rng, (count, LATENT))))


def generator_loss(generator: Params, discriminator: Params, batch: jax.Array, rng: jax.Array) -> jax.Array:
    """The non-saturating loss: call the fakes real."""
    del batch
    return jnp.mean(jax.nn.softplus(-mlp(discriminator, generate(generator, rng))))


def discriminator_loss(discriminator: Params, generator: Params, batch: jax.Array, rng: jax.Array) -> jax.Array:
    """Cross-entropy of telling real digits from fakes."""
    real, fake = mlp(discriminator, batch), mlp(discriminator, generate(generator, rng))
    return jnp.mean(jax.nn.softplus(-real)) + jnp.mean(jax.nn.softplus(fake))


def players_optimizers(steps: int) -> GanOptimizers:
    """Rates of 2e-4 and 4e-4, each on its own schedule: the generator's decays to 0, the other's to a half."""
    warmup = steps // 20
    return gan_optimizers(
        warmup_cosine(2e-4, steps, warmup_steps=warmup),
        warmup_cosine(4e-4, steps, warmup_steps=warmup, end_value=2e-4),
        max_norm=1.0,
    )


class FrechetDistance:
    """``|m - m'|² + tr(C + C' - 2 (C C')^½)`` of the first 20 principal components, in float64."""

    def __init__(self, real: np.ndarray) -> None:
        """Find the components, their mean and their covariance in the real digits."""
        self.center = real.mean(axis=0)
        self.components = np.linalg.svd(real - self.center, full_matrices=False)[2][:20].T
        self.mean, self.covariance = self._moments(real)

    def _moments(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        features = (images.astype(np.float64) - self.center) @ self.components
        return features.mean(axis=0), np.cov(features, rowvar=False)

    def __call__(self, fake: np.ndarray) -> float:
        """The distance of generated digits from the real ones."""
        mean, covariance = self._moments(fake)
        values, vectors = np.linalg.eigh(self.covariance)
        root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
        cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ covariance @ root), 0)).sum()
        return float(np.sum((mean - self.mean) ** 2) + np.trace(self.covariance) + np.trace(covariance) - 2 * cross)


def draw(real: np.ndarray, fake: np.ndarray, title: str, path: Path) -> None:
    """Real digits beside generated ones, 8 by 8 of each."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 4.9), layout="constrained")
    for ax, images, name in zip(axes, (real, fake), ("real", "generated"), strict=True):
        padded = np.pad(images[:64].reshape(8, 8, 8, 8), [(0, 0), (0, 0), (1, 1), (1, 1)], constant_values=-1)
        ax.imshow(padded.transpose(0, 2, 1, 3).reshape(80, 80), cmap="gray", vmin=-1, vmax=1)
        ax.set_title(name)
        ax.set_axis_off()
    figure.suptitle(title)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a small GAN on handwritten digits.")
    parser.add_argument("--steps", type=int, default=12_000, help="GAN steps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("output"), help="folder for the pictures")
    parser.add_argument("--smoke", action="store_true", help="a few steps, to see that it runs")
    arguments = parser.parse_args()
    steps = 200 if arguments.smoke else arguments.steps
    arguments.output.mkdir(parents=True, exist_ok=True)

    real = np.random.default_rng(arguments.seed).permutation(load_digits().data) / 8.0 - 1.0
    distance = FrechetDistance(real)
    rng_g, rng_d, rng_train, rng_test = jax.random.split(jax.random.key(arguments.seed), 4)
    optimizers = players_optimizers(steps)
    state = gan_init(optimizers, init_mlp(rng_g, LATENT, PIXELS), init_mlp(rng_d, PIXELS, 1))
    step = gan_step(generator_loss, discriminator_loss, optimizers, ema=0.995)

    @jax.jit
    def segment(state: GanState, digits: jax.Array, rngs: jax.Array) -> tuple[GanState, GanMetrics]:
        def one(state: GanState, rng: jax.Array) -> tuple[GanState, GanMetrics]:
            rng_batch, rng_step = jax.random.split(rng)
            batch = jax.random.choice(rng_batch, digits, (BATCH,))
            return step(state, batch, rng_step)

        return jax.lax.scan(one, state, rngs)

    def samples() -> np.ndarray:
        return np.asarray(generate(state.average, rng_test, len(real)))

    start = distance(samples())
    print(f"Fréchet distance before training: {start:.2f}")
    before, after = arguments.output / "digits_gan_before.png", arguments.output / "digits_gan_after.png"
    draw(real, samples(), f"before training: Fréchet distance {start:.2f}", before)

    digits = jnp.asarray(real, jnp.float32)
    rngs = jax.random.split(rng_train, steps)
    with tqdm(total=steps, unit="step") as progress:
        for first in range(0, steps, SEGMENT):
            state, metrics = segment(state, digits, rngs[first : first + SEGMENT])
            progress.update(len(metrics.generator_loss))
            progress.set_postfix(
                G=f"{metrics.generator_loss.mean():.2f}",
                D=f"{metrics.discriminator_loss.mean():.2f}",
                distance=f"{distance(samples()):.2f}",
            )

    end = distance(samples())
    print(f"Fréchet distance after {steps} steps: {end:.2f}, {end / start:.3f} of its start")
    draw(real, samples(), f"after {steps} steps: Fréchet distance {end:.2f}", after)
    print(f"Pictures: {before}, {after}")
    if not arguments.smoke and end > TARGET_RATIO * start:
        raise SystemExit(f"The distance should have come down to {TARGET_RATIO} of its start.")


if __name__ == "__main__":
    main()
