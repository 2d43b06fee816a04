"""What is a short test of a GAN worth in the run that follows? Rules compared on four grids that are really trained.

    python benchmarks/gan_answers.py [--smoke]

Grids of 64 pairs x 4 seeds run to the end: digits over scales and ratios and over both rates (3,000 steps), digits with
deeper networks and breast-cancer features (2,000 steps). Each rule reads the first fifth or the first tenth of the run
on 2 of the seeds; the pair that it picks is judged by the Fréchet distance at the end on the other 2, for all 6 ways to
divide them. Printed is the geometric mean of that distance over the best pair's, so that 1 is perfect, and the largest.
Takes about five minutes on 2 cores.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits

from lrjax.finder import GanRangeTest, frechet_distance, gan_range_test, gan_suggest, minibatches

USUAL = (2e-4, 4e-4)
SEEDS = 4
BATCH = 64
RATES = np.geomspace(2e-5, 2e-2, 8)
BY_RATES = {"generator_learning_rates": RATES, "discriminator_learning_rates": RATES}
Layers = list[dict[str, jax.Array]]


class Task(NamedTuple):
    """Real samples, the widths of both networks from input to output, the generator's last function, and the grid."""

    real: np.ndarray
    generator: list[int]
    discriminator: list[int]
    output: Callable[[jax.Array], jax.Array]
    steps: int
    grid: dict[str, np.ndarray]
    components: int


def tasks() -> dict[str, Task]:
    digits, cancer = load_digits().data / 8 - 1, load_breast_cancer().data
    cancer = (cancer - cancer.mean(axis=0)) / cancer.std(axis=0)
    shallow, deep = ([16, 128, 64], [64, 128, 1]), ([16, 64, 64, 64], [64, 64, 64, 1])
    return {
        "digits": Task(digits, *shallow, jnp.tanh, 3000, {}, 20),
        "digits, both rates": Task(digits, *shallow, jnp.tanh, 3000, BY_RATES, 20),
        "digits, deeper": Task(digits, *deep, jnp.tanh, 2000, {}, 20),
        "breast cancer": Task(cancer, [8, 64, 30], [30, 64, 1], lambda x: x, 2000, {}, 10),
    }


def layers(key: jax.Array, widths: list[int]) -> Layers:
    keys = jax.random.split(key, len(widths) - 1)
    return [
        {"w": jax.random.normal(k, (i, o)) * (2 / i) ** 0.5, "b": jnp.zeros(o)}
        for k, i, o in zip(keys, widths[:-1], widths[1:], strict=True)
    ]


def network(params: Layers, x: jax.Array) -> jax.Array:
    for layer in params[:-1]:
        x = jax.nn.leaky_relu(x @ layer["w"] + layer["b"], 0.2)
    return x @ params[-1]["w"] + params[-1]["b"]


def run(task: Task, steps: int, **pairs: Any) -> GanRangeTest:
    """The task's pairs, or those given, trained to the end and read on the way."""
    real = np.float32(task.real)
    distance = frechet_distance(real, components=task.components)

    def init(key: jax.Array) -> tuple[Layers, Layers]:
        first, second = jax.random.split(key)
        return layers(first, task.generator), layers(second, task.discriminator)

    def generate(generator: Layers, rng: jax.Array, count: int = BATCH) -> jax.Array:
        return task.output(network(generator, jax.random.normal(rng, (count, task.generator[0]))))

    def generator_loss(generator: Layers, discriminator: Layers, batch: jax.Array, rng: jax.Array) -> jax.Array:
        del batch
        return jnp.mean(jax.nn.softplus(-network(discriminator, generate(generator, rng))))

    def discriminator_loss(discriminator: Layers, generator: Layers, batch: jax.Array, rng: jax.Array) -> Any:
        fake = generate(generator, rng)
        real_logits, fake_logits = network(discriminator, batch), network(discriminator, fake)
        loss = jnp.mean(jax.nn.softplus(-real_logits)) + jnp.mean(jax.nn.softplus(fake_logits))
        return loss, {"real_logits": real_logits, "fake_logits": fake_logits, "real": batch, "fake": fake}

    return gan_range_test(
        generator_loss,
        discriminator_loss,
        init,
        minibatches(real, BATCH, steps, jax.random.key(0)),
        **(pairs or task.grid),
        seeds=SEEDS,
        evaluate=lambda generator, rng: distance(generate(generator, rng, 1500)),
        validation=jax.random.key(1),
        validation_steps=[0, steps // 10, steps // 5, steps],
    )


def begun(result: GanRangeTest, steps: int, seeds: list[int]) -> GanRangeTest:
    """The test as it would have been with these seeds and steps."""
    kept = result.validation_steps <= steps
    return replace(
        result,
        seeds=result.seeds[seeds],
        signals={name: values[:, seeds, :steps] for name, values in result.signals.items()},
        validation_steps=result.validation_steps[kept],
        validation_losses=result.validation_losses[:, seeds][..., kept],
        status=result.status[:, seeds],
        lost_at=result.lost_at[:, seeds],
        steps_done=steps,
    )


def suggested(test: GanRangeTest) -> int:
    answer = gan_suggest(test)
    return test.place(answer.generator_learning_rate, answer.discriminator_learning_rate)


def raw(test: GanRangeTest) -> int:
    return int(np.log(test.validation_losses[..., -1]).mean(axis=1).argmin())


def balanced(test: GanRangeTest) -> int:
    none = np.zeros((*test.status.shape, 0))
    return suggested(replace(test, validation_steps=test.validation_steps[:0], validation_losses=none))


RULES = {"gan_suggest": suggested, "raw minimum": raw, "gan_suggest by balance alone": balanced}


def divisions() -> Iterator[tuple[list[int], list[int]]]:
    """Which seeds a rule reads, and which judge it."""
    for read in itertools.combinations(range(SEEDS), 2):
        yield list(read), [seed for seed in range(SEEDS) if seed not in read]


def worth(name: str, task: Task, steps: int) -> dict[tuple[str, str], list[float]]:
    """For each rule and part of the run, the logarithms of the picks' distances over the best."""
    result, usual = run(task, steps), run(task, steps, pairs=[USUAL])
    final, of_usual = (np.log(test.validation_losses[..., -1].astype(np.float64)) for test in (result, usual))
    found: dict[tuple[str, str], list[float]] = {}
    for read, judges in divisions():
        ends = final[:, judges].mean(axis=1)
        for part, count in (("a fifth", steps // 5), ("a tenth", steps // 10)):
            for rule, pick in RULES.items():
                found.setdefault((rule, part), []).append(ends[pick(begun(result, count, read))] - ends.min())
        found.setdefault(("2e-4 and 4e-4", "-"), []).append(of_usual[:, judges].mean() - ends.min())
    print(f"{name}: best distance {np.exp(final.mean(axis=1).min()):.2f}, trained", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="one task and few steps, to see that it runs")
    arguments = parser.parse_args()
    known = {"breast cancer": tasks()["breast cancer"]} if arguments.smoke else tasks()
    found = {name: worth(name, task, 40 if arguments.smoke else task.steps) for name, task in known.items()}
    print(f"\n| rule | part of the run | {' | '.join(found)} | mean |")
    print("|---" * (len(found) + 3) + "|")
    for rule, part in next(iter(found.values())):
        each = [values[rule, part] for values in found.values()]
        cells = [f"{np.exp(np.mean(values)):.2f} ({np.exp(max(values)):.2f})" for values in each]
        print(f"| {rule} | {part} | {' | '.join(cells)} | {np.exp(np.mean(each)):.2f} |")


if __name__ == "__main__":
    main()
