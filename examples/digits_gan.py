"""A small GAN on scikit-learn's handwritten digits: two optimizers, two schedules, one jitted loop.

The Fréchet distance between generated and real digits, on their first 20 principal components, is printed
before and after; a full run has to bring it to a fifth of its start. The picture shows the digits beside what the
steps reported: how many of both kinds the discriminator knew, and how far the generated digits spread.

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


def discriminator_loss(
    discriminator: Params, generator: Params, batch: jax.Array, rng: jax.Array
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Cross-entropy of telling real digits from fakes, and what the accuracies and the spread are measured on."""
    fake = generate(generator, rng)
    real_logits, fake_logits = mlp(discriminator, batch), mlp(discriminator, fake)
    loss = jnp.mean(jax.nn.softplus(-real_logits)) + jnp.mean(jax.nn.softplus(fake_logits))
    return loss, {"real_logits": real_logits, "fake_logits": fake_logits, "real": batch, "fake": fake}


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


def draw_digits(ax: plt.Axes, images: np.ndarray, title: str) -> None:
    """64 digits, 8 by 8."""
    padded = np.pad(images[:64].reshape(8, 8, 8, 8), [(0, 0), (0, 0), (1, 1), (1, 1)], constant_values=-1)
    ax.imshow(padded.transpose(0, 2, 1, 3).reshape(80, 80), cmap="gray", vmin=-1, vmax=1)
    ax.set_title(title)
    ax.set_axis_off()


def draw_curve(ax: plt.Axes, values: np.ndarray, label: str) -> None:
    """One of the reported numbers, each point the mean of a hundredth of the run."""
    width = max(1, len(values) // 100)
    means = values[: len(values) // width * width].reshape(-1, width).mean(axis=1)
    ax.plot((np.arange(len(means)) + 0.5) * width, means, label=label, linewidth=1.5)


def draw(real: np.ndarray, fake: np.ndarray, reports: GanMetrics, title: str, path: Path) -> None:
    """Real digits, generated ones, and the run's reports."""
    figure = plt.figure(figsize=(13, 4.9), layout="constrained")
    figure.suptitle(title)
    grid = figure.add_gridspec(2, 3, width_ratios=[1, 1, 0.9])
    draw_digits(figure.add_subplot(grid[:, 0]), real, "real")
    draw_digits(figure.add_subplot(grid[:, 1]), fake, "generated")
    accuracy, spread = (figure.add_subplot(grid[row, 2]) for row in (0, 1))
    draw_curve(accuracy, reports.real_accuracy, "real")
    draw_curve(accuracy, reports.fake_accuracy, "generated")
    accuracy.axhline(0.5, color="gray", linewidth=0.8, linestyle=":")
    accuracy.annotate("guessing", (0.99, 0.49), xycoords=("axes fraction", "data"), ha="right", va="top", color="gray")
    accuracy.set(title="share that the discriminator knew", ylim=(0.4, 1.02))
    accuracy.tick_params(labelbottom=False)
    accuracy.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 0.16))
    draw_curve(spread, reports.spread_ratio, "generated / real")
    spread.axhline(0.6, color="gray", linewidth=0.8, linestyle=":")
    spread.annotate("collapse", (0.99, 0.59), xycoords=("axes fraction", "data"), ha="right", va="top", color="gray")
    spread.set(title="spread, generated / real", xlabel="GAN step", ylim=(0.4, 1.2))
    for ax in (accuracy, spread):
        ax.spines[["top", "right"]].set_visible(False)
        ax.set_xlim(0, len(reports.spread_ratio))
    figure.savefig(path, dpi=110)
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

    digits = jnp.asarray(real, jnp.float32)
    rngs = jax.random.split(rng_train, steps)
    segments = []
    with tqdm(total=steps, unit="step") as progress:
        for first in range(0, steps, SEGMENT):
            state, metrics = segment(state, digits, rngs[first : first + SEGMENT])
            segments.append(metrics)
            progress.update(len(metrics.generator_loss))
            progress.set_postfix(
                real=f"{metrics.real_accuracy.mean():.0%}",
                fake=f"{metrics.fake_accuracy.mean():.0%}",
                spread=f"{metrics.spread_ratio.mean():.2f}",
                distance=f"{distance(samples()):.2f}",
            )

    end = distance(samples())
    print(f"Fréchet distance after {steps:,} steps: {end:.2f}, {end / start:.3f} of its start")
    reports = jax.tree.map(lambda *parts: np.concatenate(parts), *segments)
    path = arguments.output / "digits_gan_after.png"
    draw(real, samples(), reports, f"After {steps:,} steps: Fréchet distance {end:.2f}", path)
    print(f"Picture: {path}")
    if not arguments.smoke and end > TARGET_RATIO * start:
        raise SystemExit(f"The distance should have come down to {TARGET_RATIO} of its start.")


if __name__ == "__main__":
    main()
