"""Which runs are trained: faults of every sort, over the tasks of each set."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import NamedTuple

import regret_tasks
from diagnosis_training import Run

REGRESSIONS = ("diabetes_mlp", "digits_halves", "digits_autoencoder", "wine_column", "digits_denoising")


class Draw(NamedTuple):
    """The tasks of a set, and what tells its runs from those of another set."""

    half: str
    main: list[str]
    attention: str
    recurrent: str
    deep: str
    likelihood: str
    unscaled: list[str]
    seed: int
    batch: int
    steps: tuple[int, int]
    also_warmed: tuple[str, ...] = ()
    """Without them, too few of the runs of the third set that lack a warmup had a hump."""
    repeats: int = 1
    """With so many seeds each, high rates, missing warmups and little data: they seldom lead to what has a name."""


CHOOSING = Draw(
    "choosing",
    list(regret_tasks.CHOOSING),
    attention="textwrap_transformer",
    recurrent="digits_rnn",
    deep="digits_deep",
    likelihood="diabetes_likelihood",
    unscaled=["digits_unscaled", "wine_unscaled"],
    seed=0,
    batch=32,
    steps=(300, 600),
)
TRIED = Draw(
    "tried",
    [name for name in regret_tasks.REPORTING if name != "difflib_transformer"],
    attention="tokenize_transformer",
    recurrent="text_rnn",
    deep="breast_cancer_deep",
    likelihood="halves_likelihood",
    unscaled=["breast_cancer_unscaled"],
    seed=500,
    batch=24,
    steps=(400, 700),
)
"""The transformer of that benchmark takes three times as long as those here."""
THIRD = Draw(
    "third",
    ["iris_mlp", "wine_column", "digits_parity", "digits_denoising", "statistics_characters"],
    attention="ast_transformer",
    recurrent="csv_rnn",
    deep="quadrants_deep",
    likelihood="cells_likelihood",
    unscaled=["quadrants_unscaled", "wine_column_unscaled"],
    seed=2000,
    batch=20,
    steps=(350, 650),
    also_warmed=("statistics_characters", "digits_parity", "iris_mlp"),
    repeats=3,
)
REPORTING = [
    draw._replace(half="reporting", seed=seed, batch=28, steps=(450, 800), repeats=1)
    for draw, seed in ((CHOOSING, 15_000), (TRIED, 16_000), (THIRD, 17_000))
]
"""Other runs of all tasks."""
HALVES = ("choosing", "tried", "third", "reporting")


def _healthy(draw: Draw) -> Iterator[Run]:
    seed, batch, (short, steps) = draw.seed, draw.batch, draw.steps
    tasks = [*draw.main, draw.attention, draw.recurrent, draw.likelihood, draw.deep]
    schedules = ["constant", "cosine", "wsd", "one_cycle", "restarts", "step_decay", "exponential", "linear"]
    optimizers = ["sgd", "adamw", "gd", "lion", "adamw_clip"]
    for i, task in enumerate(dict.fromkeys(tasks)):
        for j in range(3):
            k = 3 * i + j
            schedule = "warmup_cosine" if task == draw.attention else schedules[k % len(schedules)]
            yield Run(draw.half, task, optimizers[k % 5], steps if j else short, batch, seed + k, schedule=schedule)
    for i, task in enumerate(draw.main):
        if i < 2:
            yield Run(
                draw.half, task, ("sgd", "adamw")[i], 2000, batch, seed + 50 + i, schedule=("constant", "cosine")[i]
            )
        yield Run(
            draw.half,
            task,
            ("adamw", "sgd")[i % 2],
            100,
            batch,
            seed + 60 + i,
            schedule=("warmup_cosine", "constant")[i % 2],
        )
        if i < 3:
            yield Run(
                draw.half,
                task,
                ("sgd", "adamw")[i % 2],
                steps,
                1,
                seed + 70 + i,
                schedule=("constant", "cosine")[i % 2],
            )
        if i in (0, 3):
            yield Run(
                draw.half, task, ("adamw", "gd")[i % 2], short, 256, seed + 80 + i, schedule=("wsd", "late_drop")[i % 2]
            )
        noisy = "label noise: 30% of the targets exchanged"
        yield Run(draw.half, task, "sgd", steps, batch, seed + 90 + i, rows="noisy", schedule="cosine", words=noisy)
        yield Run(draw.half, task, "sgd", steps, batch, seed + 95 + i, schedule=("late_drop", "inverse_sqrt")[i % 2])


def _rates(draw: Draw) -> Iterator[Run]:
    seed, batch, (short, steps) = draw.seed + 100, draw.batch, draw.steps
    tasks = [*draw.main, draw.attention, draw.recurrent, draw.likelihood, draw.deep]
    for i, task in enumerate(dict.fromkeys(tasks)):
        high = functools.partial(Run, draw.half, task, batch=batch, cause="high", twin_schedule="constant")
        costly = task == draw.attention
        factors = (3.0, 5.0, 7.0, 10.0, 14.0, 20.0, 30.0, 100.0)
        for repeat, optimizer, factor in product(range(draw.repeats), ("sgd", "adamw"), factors):
            schedule = ("constant", "cosine", "wsd")[(i + int(factor)) % 3] if factor >= 30 else "constant"
            words = f"rate x{factor:g}"
            if not costly or factor in (10.0, 30.0, 100.0):
                mine = seed + i + 30 * repeat
                yield high(optimizer, steps, seed=mine, factor=factor, schedule=schedule, words=words)
        yield high("sgd", steps, seed=seed + i, factor=1000.0, schedule="cosine", words="rate x1000")
        yield high("gd", short, seed=seed + i, factor=5.0, words="rate x5, plain descent")
        for factor in (10.0, 25.0, 40.0, 80.0):
            yield high("lion", short, seed=seed + i, factor=factor, words=f"rate x{factor:g}")
        if i < 3:
            for factor in (4.0, 8.0, 12.0, 18.0, 27.0):
                words = f"rate x{factor:g}, plain descent on large batches"
                yield replace(high("gd", short, seed=seed + i, factor=factor, words=words), batch=256)
        words = "rate that rises to x60 over the first half"
        yield high("sgd", short, seed=seed + i, factor=60.0, schedule="rising", words=words)
        event = (i % 3 + 2) * short // 8
        words = f"rate x100 from step {event} on"
        yield high("sgd", short, seed=seed + i, factor=100.0, schedule="jump", event=event, words=words)
        for optimizer, factor in (("sgd", 1000.0), ("adamw", 300.0), ("sgd", 5000.0), ("adamw", 3000.0)):
            schedule = ("cosine", "constant", "wsd")[(i + int(factor)) % 3]
            words = f"rate /{factor:g}"
            yield Run(draw.half, task, optimizer, steps, batch, seed + 10 + i, "low", 1 / factor, schedule, words=words)
        if i < 3:
            words = "labels of other examples"
            yield Run(draw.half, task, "sgd", short, batch, seed + 20 + i, "labels", 0.3, rows="shuffled", words=words)


def _warmups(draw: Draw) -> Iterator[Run]:
    seed, batch, steps = draw.seed + 200, draw.batch, draw.steps[1]
    regressions = [task for task in draw.main if task in REGRESSIONS]
    tasks = [*regressions, draw.attention, draw.likelihood, draw.recurrent, draw.deep, *draw.also_warmed]
    for repeat, (i, task) in product(range(draw.repeats), enumerate(tasks)):
        for optimizer, factor in product(("adamw", "sgd", "lion"), (10.0, 20.0, 40.0, 80.0)):
            schedule = ("cosine", "short_warmup")[int(factor / 20) % 2]
            words = f"{'no' if schedule == 'cosine' else 'too short'} warmup to a rate of x{factor:g}"
            scale = 1.0 if task in regressions else 0.3
            mine = seed + i + 30 * repeat
            run = Run(draw.half, task, optimizer, steps, batch, mine, "warmup", factor, schedule, words=words)
            yield replace(run, init_scale=scale)


def _bad_batches(draw: Draw) -> Iterator[Run]:
    seed, batch, steps = draw.seed + 300, draw.batch, draw.steps[1]
    tasks = [*draw.main, draw.attention, draw.recurrent]
    for i, task in enumerate(dict.fromkeys(tasks)):
        for j, (copy, repeats) in enumerate([("shuffled", 1), ("shuffled", 5), ("outliers", 1), ("outliers", 4)]):
            event = (4 + (3 * i + 5 * j) % 13) * steps // 20
            schedule = ("constant", "cosine", "wsd", "warmup_cosine")[(i + j) % 4]
            what = "outliers" if copy == "outliers" else "shuffled labels"
            words = f"{what} in {repeats} equal batches from step {event}"
            optimizer = ("sgd", "adamw", "adamw_clip")[(i + j) % 3]
            yield Run(
                draw.half,
                task,
                optimizer,
                steps,
                batch,
                seed + i,
                "bad",
                1.0,
                schedule,
                event,
                bad=(copy, repeats),
                words=words,
            )


def _early_decays(draw: Draw) -> Iterator[Run]:
    seed, batch, (_, steps) = draw.seed + 400, draw.batch, draw.steps
    tasks = [*draw.main, draw.attention, draw.recurrent, draw.deep]
    for i, task in enumerate(dict.fromkeys(tasks)):
        for j, schedule in enumerate(("early_drop", "early_cosine", "early_exponential")):
            for event in (steps // 4, steps // 8):
                words = f"the rate decays to nothing by step {event} of {steps}"
                optimizer = ("sgd", "adamw")[(i + j) % 2]
                yield Run(
                    draw.half,
                    task,
                    optimizer,
                    steps,
                    batch,
                    seed + i,
                    "decay",
                    0.3,
                    schedule,
                    event,
                    twin_schedule="constant",
                    words=words,
                )


def _little_data(draw: Draw) -> Iterator[Run]:
    seed, batch, (short, steps) = draw.seed + 500, draw.batch, draw.steps
    tasks = [*draw.main, draw.attention, draw.recurrent]
    for repeat, (i, task) in product(range(draw.repeats), enumerate(dict.fromkeys(tasks))):
        for j, examples in enumerate((40, 100, 20, 200)):
            optimizer = ("adamw", "sgd")[(i + j) % 2]
            words = f"{examples} training examples"
            length = short if j % 2 else steps
            yield Run(
                draw.half,
                task,
                optimizer,
                length,
                batch,
                seed + i + 30 * repeat,
                "data",
                schedule=("constant", "cosine")[j % 2],
                examples=examples,
                words=words,
            )


def _architectures(draw: Draw) -> Iterator[Run]:
    seed, batch, (short, steps) = draw.seed + 600, draw.batch, draw.steps
    recurrent, deep = draw.recurrent, draw.deep
    for i, optimizer in enumerate(("sgd", "adamw", "sgd_clip", "adamw_clip")):
        sigmoid = "deep sigmoid network"
        yield Run(draw.half, deep + "_sigmoid", optimizer, steps, batch, seed + i, "architecture", words=sigmoid)
        gain = "recurrence that amplifies"
        yield Run(draw.half, recurrent + "_gain", optimizer, short, batch, seed + i, "architecture", words=gain)
        for task in draw.unscaled:
            words = "inputs not scaled"
            yield Run(draw.half, task, optimizer, short, batch, seed + i, "architecture", words=words)
        for scale in (0.1, 0.3, 4.0, 10.0):
            words = f"initial weights x{scale:g}"
            for task in (deep, draw.main[i % 3], draw.main[(i + 1) % 3]):
                yield Run(
                    draw.half, task, optimizer, steps, batch, seed + i, "architecture", init_scale=scale, words=words
                )


PARTS = {
    _healthy: 5,
    _rates: 5,
    _warmups: 8,
    _bad_batches: 5,
    _early_decays: 2,
    _little_data: 7,
    _architectures: 4,
}
"""Of each, the reporting set takes so many elevenths of the runs. Eleven divides none of the numbers of optimizers,
factors and the like, so that what is left out moves over all of them."""


def candidates() -> list[Run]:
    """Every run, of which the rules label some and drop the rest."""
    runs = [run for draw in (CHOOSING, TRIED, THIRD) for part in PARTS for run in part(draw)]
    for part, share in PARTS.items():
        every = [run for draw in REPORTING for run in part(draw)]
        runs += [run for i, run in enumerate(every) if i * share % 11 < share]
    return runs
