"""Which runs are trained: faults of every sort, over the tasks of each set."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import regret_tasks
from diagnosis_training import Run

MAIN = {
    "choosing": list(regret_tasks.CHOOSING),
    "tried": [name for name in regret_tasks.REPORTING if name != "difflib_transformer"],
    "reporting": ["iris_mlp", "wine_column", "digits_parity", "digits_denoising", "statistics_characters"],
}
"""The transformer of that benchmark takes three times as long as those here."""
ATTENTION = {"choosing": "textwrap_transformer", "tried": "tokenize_transformer", "reporting": "ast_transformer"}
RECURRENT = {"choosing": "digits_rnn", "tried": "text_rnn", "reporting": "csv_rnn"}
DEEP = {"choosing": "digits_deep", "tried": "breast_cancer_deep", "reporting": "quadrants_deep"}
LIKELIHOOD = {"choosing": "diabetes_likelihood", "tried": "halves_likelihood", "reporting": "cells_likelihood"}
REGRESSIONS = ("diabetes_mlp", "digits_halves", "digits_autoencoder", "wine_column", "digits_denoising")
UNSCALED = {
    "choosing": ["digits_unscaled", "wine_unscaled"],
    "tried": ["breast_cancer_unscaled"],
    "reporting": ["quadrants_unscaled", "wine_column_unscaled"],
}
BATCH = {"choosing": 32, "tried": 24, "reporting": 20}
STEPS = {"choosing": (300, 600), "tried": (400, 700), "reporting": (350, 650)}
SEED = {"choosing": 0, "tried": 500, "reporting": 2000}
ALSO_WARMED = {"choosing": [], "tried": [], "reporting": ["statistics_characters", "digits_parity", "iris_mlp"]}
"""Without them, too few of the runs that lack a warmup had a hump."""
REPEATS = {"choosing": 1, "tried": 1, "reporting": 3}
"""With so many seeds each, high rates, missing warmups and little data: they seldom lead to what has a name."""


def _healthy(half: str) -> Iterator[Run]:
    seed, batch, (short, steps) = SEED[half], BATCH[half], STEPS[half]
    tasks = [*MAIN[half], ATTENTION[half], RECURRENT[half], LIKELIHOOD[half], DEEP[half]]
    schedules = ["constant", "cosine", "wsd", "one_cycle", "restarts", "step_decay", "exponential", "linear"]
    optimizers = ["sgd", "adamw", "gd", "lion", "adamw_clip"]
    for i, task in enumerate(dict.fromkeys(tasks)):
        for j in range(3):
            k = 3 * i + j
            schedule = "warmup_cosine" if task in ATTENTION.values() else schedules[k % len(schedules)]
            yield Run(half, task, optimizers[k % 5], steps if j else short, batch, seed + k, schedule=schedule)
    for i, task in enumerate(MAIN[half]):
        if i < 2:
            yield Run(half, task, ("sgd", "adamw")[i], 2000, batch, seed + 50 + i, schedule=("constant", "cosine")[i])
        yield Run(
            half,
            task,
            ("adamw", "sgd")[i % 2],
            100,
            batch,
            seed + 60 + i,
            schedule=("warmup_cosine", "constant")[i % 2],
        )
        if i < 3:
            yield Run(
                half, task, ("sgd", "adamw")[i % 2], steps, 1, seed + 70 + i, schedule=("constant", "cosine")[i % 2]
            )
        if i in (0, 3):
            yield Run(
                half, task, ("adamw", "gd")[i % 2], short, 256, seed + 80 + i, schedule=("wsd", "late_drop")[i % 2]
            )
        noisy = "label noise: 30% of the targets exchanged"
        yield Run(half, task, "sgd", steps, batch, seed + 90 + i, rows="noisy", schedule="cosine", words=noisy)
        yield Run(half, task, "sgd", steps, batch, seed + 95 + i, schedule=("late_drop", "inverse_sqrt")[i % 2])


def _rates(half: str) -> Iterator[Run]:
    seed, batch, (short, steps) = SEED[half] + 100, BATCH[half], STEPS[half]
    tasks = [*MAIN[half], ATTENTION[half], RECURRENT[half], LIKELIHOOD[half], DEEP[half]]
    for i, task in enumerate(dict.fromkeys(tasks)):
        high = functools.partial(Run, half, task, batch=batch, cause="high", twin_schedule="constant")
        costly = task in ATTENTION.values()
        factors = (3.0, 5.0, 7.0, 10.0, 14.0, 20.0, 30.0, 100.0)
        for repeat, optimizer, factor in product(range(REPEATS[half]), ("sgd", "adamw"), factors):
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
            yield Run(half, task, optimizer, steps, batch, seed + 10 + i, "low", 1 / factor, schedule, words=words)
        if i < 3:
            words = "labels of other examples"
            yield Run(half, task, "sgd", short, batch, seed + 20 + i, "labels", 0.3, rows="shuffled", words=words)


def _warmups(half: str) -> Iterator[Run]:
    seed, batch, steps = SEED[half] + 200, BATCH[half], STEPS[half][1]
    regressions = [task for task in MAIN[half] if task in REGRESSIONS]
    tasks = [*regressions, ATTENTION[half], LIKELIHOOD[half], RECURRENT[half], DEEP[half], *ALSO_WARMED[half]]
    for repeat, (i, task) in product(range(REPEATS[half]), enumerate(tasks)):
        for optimizer, factor in product(("adamw", "sgd", "lion"), (10.0, 20.0, 40.0, 80.0)):
            schedule = ("cosine", "short_warmup")[int(factor / 20) % 2]
            words = f"{'no' if schedule == 'cosine' else 'too short'} warmup to a rate of x{factor:g}"
            scale = 1.0 if task in regressions else 0.3
            mine = seed + i + 30 * repeat
            run = Run(half, task, optimizer, steps, batch, mine, "warmup", factor, schedule, words=words)
            yield replace(run, init_scale=scale)


def _bad_batches(half: str) -> Iterator[Run]:
    seed, batch, steps = SEED[half] + 300, BATCH[half], STEPS[half][1]
    tasks = [*MAIN[half], ATTENTION[half], RECURRENT[half]]
    for i, task in enumerate(dict.fromkeys(tasks)):
        for j, (copy, repeats) in enumerate([("shuffled", 1), ("shuffled", 5), ("outliers", 1), ("outliers", 4)]):
            event = (4 + (3 * i + 5 * j) % 13) * steps // 20
            schedule = ("constant", "cosine", "wsd", "warmup_cosine")[(i + j) % 4]
            what = "outliers" if copy == "outliers" else "shuffled labels"
            words = f"{what} in {repeats} equal batches from step {event}"
            optimizer = ("sgd", "adamw", "adamw_clip")[(i + j) % 3]
            yield Run(
                half,
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


def _early_decays(half: str) -> Iterator[Run]:
    seed, batch, (_, steps) = SEED[half] + 400, BATCH[half], STEPS[half]
    tasks = [*MAIN[half], ATTENTION[half], RECURRENT[half], DEEP[half]]
    for i, task in enumerate(dict.fromkeys(tasks)):
        for j, schedule in enumerate(("early_drop", "early_cosine", "early_exponential")):
            for event in (steps // 4, steps // 8):
                words = f"the rate decays to nothing by step {event} of {steps}"
                optimizer = ("sgd", "adamw")[(i + j) % 2]
                yield Run(
                    half,
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


def _little_data(half: str) -> Iterator[Run]:
    seed, batch, (short, steps) = SEED[half] + 500, BATCH[half], STEPS[half]
    tasks = [*MAIN[half], ATTENTION[half], RECURRENT[half]]
    for repeat, (i, task) in product(range(REPEATS[half]), enumerate(dict.fromkeys(tasks))):
        for j, examples in enumerate((40, 100, 20, 200)):
            optimizer = ("adamw", "sgd")[(i + j) % 2]
            words = f"{examples} training examples"
            length = short if j % 2 else steps
            yield Run(
                half,
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


def _architectures(half: str) -> Iterator[Run]:
    seed, batch, (short, steps) = SEED[half] + 600, BATCH[half], STEPS[half]
    recurrent, deep = RECURRENT[half], DEEP[half]
    for i, optimizer in enumerate(("sgd", "adamw", "sgd_clip", "adamw_clip")):
        sigmoid = "deep sigmoid network"
        yield Run(half, deep + "_sigmoid", optimizer, steps, batch, seed + i, "architecture", words=sigmoid)
        gain = "recurrence that amplifies"
        yield Run(half, recurrent + "_gain", optimizer, short, batch, seed + i, "architecture", words=gain)
        for task in UNSCALED[half]:
            words = "inputs not scaled"
            yield Run(half, task, optimizer, short, batch, seed + i, "architecture", words=words)
        for scale in (0.1, 0.3, 4.0, 10.0):
            words = f"initial weights x{scale:g}"
            for task in (deep, MAIN[half][i % 3], MAIN[half][(i + 1) % 3]):
                yield Run(half, task, optimizer, steps, batch, seed + i, "architecture", init_scale=scale, words=words)


def candidates() -> list[Run]:
    """Every run, of which the rules label some and drop the rest."""
    parts = (_healthy, _rates, _warmups, _bad_batches, _early_decays, _little_data, _architectures)
    return [run for half in MAIN for part in parts for run in part(half)]
