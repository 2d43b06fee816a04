"""What a range test found, and the table in which a person reads it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from lrjax.finder.plan import Plan
from lrjax.finder.reading.curves import start_and_final
from lrjax.finder.reading.suggest import suggest
from lrjax.finder.status import remedies

MAX_ROWS = 24
"""Rates in a printed table, the suggested one apart."""


@dataclass(frozen=True, eq=False, repr=False)
class RangeTest:
    """The result of ``range_test``: K rates, R seeds, S steps, V validations. ``print`` shows it as a table.

    Attributes:
        learning_rates: ``[K]``, in the order given.
        seeds: ``[R]``, in the order given.
        losses: ``[K, R, S]``, the training loss before update 0, 1, ...; NaN once the lane is lost.
        validation_steps: ``[V]``, the updates that came before each validation; V is 0 without validation.
        validation_losses: ``[K, R, V]``; NaN once the lane is lost.
        status: ``[K, R]``: ``"finite"``; ``"high"``, finite but ended above its start (the last validation loss, or
            every one of the last tenth of the training losses); ``"diverged"``; or ``"dropped"`` at a rung.
        lost_at: ``[K, R]``, the first update whose loss, or the first number of updates whose validation loss, was not
            finite, or the number of updates after which the lane was dropped; -1 where neither.
        steps_done: Updates done, S.
        plan: How the test was executed, and why so.
        note: What else a reader should know, empty where there is nothing.
        schedules: What each rate is where it belongs to a schedule of lrjax, ``[K]`` texts such as ``the peak of
            warmup_cosine(0.01, 1000, warmup_steps=50)``; empty where it does not.
        multipliers: What such a schedule makes of the rate at each step, as a part of it, ``[total_steps]``; empty
            where the rate is constant.
        horizon: Steps of the run that the rate is for, None where the test was not told.
    """

    learning_rates: np.ndarray
    seeds: np.ndarray
    losses: np.ndarray
    validation_steps: np.ndarray
    validation_losses: np.ndarray
    status: np.ndarray
    lost_at: np.ndarray
    steps_done: int
    plan: Plan
    note: str
    schedules: tuple[str, ...] = ()
    multipliers: np.ndarray = field(default_factory=lambda: np.zeros(0))
    horizon: int | None = None

    def __repr__(self) -> str:
        """The size of the test, in a line."""
        rates, seeds, steps = self.losses.shape
        low, high = self.learning_rates.min(), self.learning_rates.max()
        return f"RangeTest({rates} rates from {low:.3g} to {high:.3g}, {seeds} seeds, {steps} steps)"

    def __str__(self) -> str:
        """A row a rate, the suggested one marked, then the suggestion's reason, remedies and the note."""
        suggestion = suggest(self)
        order = np.argsort(self.learning_rates)
        marked = int(np.abs(np.log(self.learning_rates[order] / suggestion.learning_rate)).argmin())
        shown = thinned(len(order), marked)
        objectives = ["training", "validation"] if self.validation_steps.size else ["training"]
        columns = [
            ["", *("->" if row == marked else "" for row in shown)],
            ["rate", *(f"{rate:.3g}" for rate in self.learning_rates[order][shown])],
            *(column for name in objectives for column in _loss_columns(self, name, order[shown])),
            ["status", *(_status_text(self.status[lane], self.lost_at[lane]) for lane in order[shown])],
        ]
        rates, seeds, steps = self.losses.shape
        head = f"{counted(rates, 'rate')}, {counted(seeds, 'seed')}, {counted(steps, 'step')}"
        fewer = f"; {len(shown)} of the rates shown" if len(shown) < rates else ""
        aligned = [[cell.rjust(max(map(len, column))) for cell in column] for column in columns[:-1]]
        rows = ["  ".join(row) for row in zip(*aligned, columns[-1], strict=True)]
        return "\n".join([head + fewer, *rows, suggestion.reason, *remedies(self.status), *filter(None, [self.note])])


def thinned(rows: int, marked: int) -> list[int]:
    """At most ``MAX_ROWS`` evenly spaced row numbers, and the marked one."""
    return sorted({*np.linspace(0, rows - 1, min(rows, MAX_ROWS)).round().astype(int).tolist(), marked})


def _loss_columns(result: RangeTest, objective: str, order: np.ndarray) -> list[list[str]]:
    """The mean of the final loss over the seeds and the spread between them, where none was lost."""
    losses = result.losses if objective == "training" else result.validation_losses
    _, final = start_and_final(losses[order], objective)
    columns = [[objective, *(f"{value:.4g}" for value in final.mean(axis=1))]]
    if final.shape[1] > 1:
        columns.append(["spread", *(f"{value:.2g}" for value in np.ptp(final, axis=1))])
    return [["-" if cell == "nan" else cell for cell in column] for column in columns]


def _status_text(status: np.ndarray, lost_at: np.ndarray) -> str:
    """One word where all seeds agree, else how many of them; and at which update the first was lost."""
    words, counts = np.unique(status, return_counts=True)
    when = {"diverged": f" at {lost_at[lost_at >= 0].min(initial=np.iinfo(np.int64).max)}"}
    texts = [f"{count} {word}{when.get(word, '')}" for word, count in zip(words, counts, strict=True)]
    return ", ".join(texts) if len(texts) > 1 else texts[0].removeprefix(f"{counts[0]} ")


def counted(number: int, noun: str) -> str:
    """``1 rate``, ``2 rates``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
