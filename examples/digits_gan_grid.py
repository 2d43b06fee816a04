"""Which two learning rates? A grid over both players of a small GAN on scikit-learn's handwritten digits.

64 pairs of rates x 2 seeds train side by side for 600 steps, ranked by the Fréchet distance of generated digits from
real ones on 20 principal components. The table and the answer are printed and the surface drawn; then the answer and
the usual pair, 2e-4 and 4e-4, are trained five times as long from 3 other seeds. Networks and losses are those of
digits_gan.py.

    python examples/digits_gan_grid.py [--smoke] [--output output/]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import jax
import matplotlib as mpl
import numpy as np
from digits_gan import BATCH, LATENT, PIXELS, Params, discriminator_loss, generate, generator_loss, init_mlp
from sklearn.datasets import load_digits

import lrjax.plot
from lrjax.finder import frechet_distance, gan_range_test, gan_suggest, minibatches

mpl.use("Agg")

USUAL = (2e-4, 4e-4)
REAL = np.float32(load_digits().data / 8 - 1)
distance = frechet_distance(REAL)


class Size(NamedTuple):
    """How long everything takes."""

    grid: dict[str, np.ndarray]
    test_steps: int
    training_steps: int


FULL = Size(grid={}, test_steps=600, training_steps=3000)
SMOKE = Size(
    grid={"scales": np.geomspace(1e-4, 1e-2, 3), "ratios": np.array([1.0, 4.0])}, test_steps=40, training_steps=80
)


def init(key: jax.Array) -> tuple[Params, Params]:
    """Both players."""
    generator, discriminator = jax.random.split(key)
    return init_mlp(generator, LATENT, PIXELS), init_mlp(discriminator, PIXELS, 1)


def evaluate(generator: Params, rng: jax.Array) -> jax.Array:
    """How far as many generated digits are from the real ones."""
    return distance(generate(generator, rng, len(REAL)))


def compare(pairs: list[tuple[float, float]], steps: int) -> np.ndarray:
    """Train each pair from 3 fresh seeds on fresh batches; the distances at the end, ``[pairs, seeds]``."""
    trained = gan_range_test(
        generator_loss,
        discriminator_loss,
        init,
        minibatches(REAL, BATCH, steps, jax.random.key(100)),
        pairs=pairs,
        seeds=range(100, 103),
        rng=jax.random.key(100),
        evaluate=evaluate,
        validation=jax.random.key(101),
        validation_steps=[steps],
    )
    return trained.validation_losses[:, :, -1]


def main() -> None:
    parser = argparse.ArgumentParser(description="Find both learning rates of a GAN on handwritten digits.")
    parser.add_argument("--smoke", action="store_true", help="few pairs and steps, to see that it runs")
    parser.add_argument("--output", type=Path, default=Path("output"), help="folder of the picture")
    arguments = parser.parse_args()
    size = SMOKE if arguments.smoke else FULL
    arguments.output.mkdir(parents=True, exist_ok=True)

    result = gan_range_test(
        generator_loss,
        discriminator_loss,
        init,
        minibatches(REAL, BATCH, size.test_steps, jax.random.key(0)),
        **size.grid,
        seeds=2,
        evaluate=evaluate,
        validation=jax.random.key(1),
        progress=True,
    )
    print(result, flush=True)
    suggestion = gan_suggest(result)
    picture = arguments.output / "digits_gan_grid.png"
    axes = lrjax.plot.gan_grid(result, suggestion)
    axes.figure.suptitle("Fréchet distance of generated digits")
    axes.figure.savefig(picture, dpi=110)
    print(f"Picture: {picture}", flush=True)

    pairs = [(suggestion.generator_learning_rate, suggestion.discriminator_learning_rate), USUAL]
    distances = compare(pairs, size.training_steps)
    print(f"Fréchet distance after {size.training_steps:,} steps from 3 other seeds")
    for (generator, discriminator), values in zip(pairs, distances, strict=True):
        seeds = "  ".join(f"{value:.2f}" for value in values)
        print(f"  generator {generator:<8.3g} discriminator {discriminator:<8.3g} {seeds}  mean {values.mean():.2f}")


if __name__ == "__main__":
    main()
