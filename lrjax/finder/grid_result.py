"""What a test of rates and one other hyperparameter found, and the table in which a person reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lrjax import _checks
from lrjax.finder.plan import Plan
from lrjax.finder.reading.curves import start_and_final
from lrjax.finder.reading.suggest import suggest
from lrjax.finder.result import RangeTest, counted, thinned
from lrjax.finder.status import remedies


@dataclass(frozen=True, eq=False, repr=False)
class GridTest:
    """The result of ``grid_test``: K rates, M values, R seeds, S steps, V validations. ``print`` shows it as a table.

    Attributes:
        learning_rates: ``[K]``, in the order given.
        name: The other hyperparameter.
        values: Its values, ``[M]``, in the order given.
        seeds: ``[R]``, in the order given.
        losses: ``[K, M, R, S]``, the training loss before update 0, 1, ...; NaN once the lane is lost.
        validation_steps: ``[V]``, the updates that came before each validation; V is 0 without validation.
        validation_losses: ``[K, M, R, V]``; NaN once the lane is lost.
        status: ``[K, M, R]``, what became of each lane, as in a ``RangeTest``.
        lost_at: ``[K, M, R]``, the update at which it was lost or dropped, -1 where it was not.
        steps_done: Updates done, S.
        plan: How the test was executed, and why so.
        note: What else a reader should know, empty where there is nothing.
        schedules: What each rate is with each value where it belongs to a schedule of lrjax, ``[M][K]`` texts; empty
            where it does not.
        multipliers: What such a schedule makes of the rate at each step with each value, ``[M][total_steps]``; each
            empty where the rate is constant.
    """

    learning_rates: np.ndarray
    name: str
    values: np.ndarray
    seeds: np.ndarray
    losses: np.ndarray
    validation_steps: np.ndarray
    validation_losses: np.ndarray
    status: np.ndarray
    lost_at: np.ndarray
    steps_done: int
    plan: Plan
    note: str
    schedules: tuple[tuple[str, ...], ...] = ()
    multipliers: tuple[np.ndarray, ...] = ()

    def at(self, value: float) -> RangeTest:
        """The range test of one of the values, which every function that reads a range test reads.

        Args:
            value: One of ``values``.

        Raises:
            ValueError: Where it is none of them.
        """
        number = _checks.number("GridTest.at", "value", value)
        places = np.flatnonzero(self.values.astype(np.float32) == np.float32(number))
        if not len(places):
            known = ", ".join(f"{known:g}" for known in self.values)
            _checks.refuse("GridTest.at", "value", f"one of {known}", f"{number:g}")
        place = int(places[0])
        lanes: dict[str, Any] = {
            name: getattr(self, name)[:, place] for name in ("losses", "validation_losses", "status", "lost_at")
        }
        return RangeTest(
            learning_rates=self.learning_rates,
            seeds=self.seeds,
            validation_steps=self.validation_steps,
            steps_done=self.steps_done,
            plan=self.plan,
            note=self.note,
            schedules=self.schedules[place] if self.schedules else (),
            multipliers=self.multipliers[place] if self.multipliers else np.zeros(0),
            **lanes,
        )

    def final(self, objective: str) -> tuple[np.ndarray, np.ndarray]:
        """The loss at the start, ``[R]``, and each lane's final loss, ``[K, M, R]``, NaN where it was lost.

        Args:
            objective: ``"validation"`` or ``"training"``.
        """
        losses = self.losses if objective == "training" else self.validation_losses
        order = np.argsort(self.learning_rates)
        start, final = start_and_final(losses[order].reshape(-1, *losses.shape[2:]), objective)
        return start, final.reshape(self.status.shape)[np.argsort(order)]

    def __repr__(self) -> str:
        """The size of the test, in a line."""
        rates, values, seeds, steps = self.losses.shape
        return f"GridTest({rates} rates x {values} of {self.name}, {seeds} seeds, {steps} steps)"

    def __str__(self) -> str:
        """A row a rate and a column a value, the suggested cell marked; then the reason, remedies and the note."""
        suggestion = suggest(self)
        order = np.argsort(self.learning_rates)
        rates = self.learning_rates[order]
        nearest = int(np.abs(np.log(rates / suggestion.learning_rate)).argmin())
        column = int(np.flatnonzero(self.values == suggestion.hyperparams[self.name])[0])
        shown = thinned(len(rates), nearest)
        cells = self.final(suggestion.objective)[1].mean(axis=-1)[order][shown]
        table = [["rate", *(f"{self.name}={value:.4g}" for value in self.values)]]
        for row, losses in zip(shown, cells, strict=True):
            texts = ["-" if np.isnan(loss) else f"{loss:.4g}" for loss in losses]
            if row == nearest:
                texts[column] = f"-> {texts[column]}"
            table.append([f"{rates[row]:.3g}", *texts])
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in table]
        sizes = (
            (len(rates), "rate"),
            (len(self.values), "value"),
            (len(self.seeds), "seed"),
            (self.steps_done, "step"),
        )
        head = ", ".join(counted(number, noun) for number, noun in sizes)
        fewer = f"; {len(shown)} of the rates shown" if len(shown) < len(rates) else ""
        title = f"{head}; final {suggestion.objective} loss{fewer}"
        return "\n".join([title, *lines, suggestion.reason, *remedies(self.status), *filter(None, [self.note])])
