"""What a ramp test found, and how it prints."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from lrjax.finder.plan import Plan
from lrjax.finder.reading.ramp_curves import smoothed_change, stopped_at
from lrjax.finder.reading.suggest import suggest
from lrjax.optimizers._table import aligned

MAX_ROWS = 24
"""Seeds in a printed table."""


@dataclass(frozen=True, eq=False, repr=False)
class RampTest:
    """The result of ``ramp_test``: R seeds, S steps, V validations. ``print`` shows a line a seed and the suggestion.

    What is derived follows its fields: ``dataclasses.replace(result, smoothing=0.9)`` reads the same losses anew.

    Attributes:
        learning_rates: ``[S]``, the rate of update 0, 1, ..., rising.
        seeds: ``[R]``, in the order given.
        losses: ``[R, S]``, the training loss before update 0, 1, ...; NaN once the seed is lost.
        validation_steps: ``[V]``, the updates that came before each validation; V is 0 without validation. The one
            after ``v`` updates goes by the rate of update ``v - 1``.
        validation_losses: ``[R, V]``; NaN once the seed is lost.
        status: ``[R]``: ``"finite"``; ``"high"``, finite but ended above its start, as ramps do; or ``"diverged"``.
        lost_at: ``[R]``, the first update whose loss, or the first number of updates whose validation loss, was not
            finite; -1 where all were.
        steps_done: Updates done, S.
        spacing: ``"exponential"`` or ``"linear"``.
        smoothing: The part of the smoothed loss that is carried over from one step to the next.
        stop_factor: By how many ranges of the losses a rise stops the ramp; None where none does.
        plan: How the test was executed, and why so.
        note: What else a reader should know, empty where there is nothing.
    """

    learning_rates: np.ndarray
    seeds: np.ndarray
    losses: np.ndarray
    validation_steps: np.ndarray
    validation_losses: np.ndarray
    status: np.ndarray
    lost_at: np.ndarray
    steps_done: int
    spacing: str
    smoothing: float
    stop_factor: float | None
    plan: Plan
    note: str

    @cached_property
    def smoothed(self) -> np.ndarray:
        """The training losses smoothed, ``[R, S]``.

        ``m[i] / (1 - smoothing**(i + 1))``, with ``m[i] = smoothing * m[i - 1] + (1 - smoothing) * losses[i]`` from 0.
        """
        smoothed: np.ndarray = self.losses[:, :1] + smoothed_change(self.losses, self.smoothing)
        return smoothed

    @cached_property
    def stopped_at(self) -> np.ndarray:
        """The first step at which the loss had run away, ``[R]``, -1 where it did not; rules read no further.

        There the smoothed loss stood above its best so far by more than ``stop_factor`` times the range that the raw
        losses had up to the step of that best. The first tenth of the steps, at least 5, stop nothing, and count in the
        range.
        """
        stops = [stopped_at(losses, self.smoothing, self.stop_factor) for losses in self.losses]
        return np.array(stops, np.int64)

    def __repr__(self) -> str:
        """The size of the test, in a line."""
        seeds, steps = self.losses.shape
        low, high = self.learning_rates[0], self.learning_rates[-1]
        return f"RampTest({steps} steps from {low:.3g} to {high:.3g}, {self.spacing}, {seeds} seeds)"

    def __str__(self) -> str:
        """A line a seed with its own suggestion, the reason of the suggestion of all, and the note."""
        shown = min(len(self.seeds), MAX_ROWS)
        head = f"{self.losses.shape[1]} steps, {self.spacing}, from {self.learning_rates[0]:.3g} "
        fewer = f"; {shown} of {len(self.seeds)} seeds shown" if shown < len(self.seeds) else ""
        lines = [["seed", *self._columns()], *(self._line(row) for row in range(shown))]
        texts = [aligned(lines, str.rjust), suggest(self).reason, self.note]
        return "\n".join([f"{head}to {self.learning_rates[-1]:.3g}{fewer}", *filter(None, texts)])

    def _columns(self) -> list[str]:
        """What a line says of a seed."""
        lowest = [name for objective in self._objectives() for name in (f"lowest {objective}", "at rate")]
        return [*lowest, "read to", "suggestion"]

    def _objectives(self) -> list[str]:
        """The losses that there are."""
        return ["training", "validation"] if self.validation_steps.size else ["training"]

    def _line(self, row: int) -> list[str]:
        """A seed's lowest losses, smoothed in training; where it ends; and what it suggests alone."""
        stop, lost = int(self.stopped_at[row]), int(self.lost_at[row])
        end = stop + 1 if stop >= 0 else lost if lost >= 0 else self.losses.shape[1]
        curves = {"training": (self.smoothed[row, :end], self.learning_rates[:end])}
        at = np.maximum(self.validation_steps - 1, 0)
        curves["validation"] = (self.validation_losses[row, at < end], self.learning_rates[at[at < end]])
        cells = [cell for objective in self._objectives() for cell in _lowest(*curves[objective])]
        last = self.learning_rates[max(end - 1, 0)]
        why = " (stopped)" if stop >= 0 else " (lost)" if lost >= 0 else ""
        names = ("seeds", "losses", "validation_losses", "status", "lost_at")
        alone = replace(self, **{name: getattr(self, name)[[row]] for name in names})
        return [str(self.seeds[row]), *cells, f"{last:.3g}{why}", f"{suggest(alone).learning_rate:.3g}"]


def _lowest(losses: np.ndarray, rates: np.ndarray) -> list[str]:
    """The lowest loss and its rate, dashes where none is finite."""
    finite = np.isfinite(losses)
    if not finite.any():
        return ["-", "-"]
    lowest = int(np.where(finite, losses, np.inf).argmin())
    return [f"{losses[lowest]:.4g}", f"{rates[lowest]:.3g}"]
