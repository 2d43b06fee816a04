"""What a ramp test of a GAN found, and how it prints."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lrjax.finder.gan.balance import GAN_REMEDIES
from lrjax.finder.gan.suggest import gan_suggest
from lrjax.finder.plan import Plan
from lrjax.finder.result import counted, thinned
from lrjax.finder.status import REMEDIES, remedies
from lrjax.optimizers._table import aligned


@dataclass(frozen=True, eq=False, repr=False)
class GanRampTest:
    """The result of ``gan_ramp_test``: R seeds, S steps, V readings. ``print`` shows the metric along the ramp.

    Attributes:
        ratio: The discriminator's rate over the generator's.
        scales: ``[S]``, the geometric mean of both rates at step 0, 1, ...: level at first, then rising.
        warmup_steps: Steps before the ramp.
        seeds: ``[R]``, in the order given.
        generator_losses: ``[R, S]``, before the generator's update 0, 1, ...; NaN once the seed is lost.
        discriminator_losses: ``[R, S]``.
        signals: ``[R, S]`` by name, as in a ``GanRangeTest``.
        validation_steps: ``[V]``, the GAN steps that came before each reading. The one after ``v`` steps goes by the
            scale of step ``v - 1``.
        validation_losses: ``[R, V]``, the metric; NaN once the seed is lost.
        status: ``[R]``, what became of a seed at the end of the ramp, as in a ``GanRangeTest``.
        lost_at: ``[R]``, the first step whose losses, or the first number of steps whose reading, was not finite; -1
            where all were.
        steps_done: GAN steps done, S, warm-up included.
        plan: How the test was executed, and why so.
        note: What else a reader should know, empty where there is nothing.
    """

    ratio: float
    scales: np.ndarray
    warmup_steps: int
    seeds: np.ndarray
    generator_losses: np.ndarray
    discriminator_losses: np.ndarray
    signals: dict[str, np.ndarray]
    validation_steps: np.ndarray
    validation_losses: np.ndarray
    status: np.ndarray
    lost_at: np.ndarray
    steps_done: int
    plan: Plan
    note: str

    def __repr__(self) -> str:
        """The size of the test, in a line."""
        return f"GanRampTest({self._size()})"

    def _size(self) -> str:
        """Which steps, seeds and ratio."""
        ramp = self.scales[min(self.warmup_steps, len(self.scales) - 1) :]
        steps = (
            f"{counted(len(ramp), 'step')} from {ramp[0]:.3g} to {ramp[-1]:.3g} after {self.warmup_steps} of warm-up"
        )
        return f"{steps}, ratio {self.ratio:.3g}, {counted(len(self.seeds), 'seed')}"

    def reading_scales(self) -> np.ndarray:
        """``[V]``, the scale by which each reading goes."""
        scales: np.ndarray = self.scales[np.maximum(self.validation_steps - 1, 0)]
        return scales

    def __str__(self) -> str:
        """A row a reading, the one at the suggested scale marked; then the reason, remedies and the note."""
        suggestion = gan_suggest(self)
        at = self.reading_scales()
        marked = int(np.abs(np.log(at / suggestion.scale)).argmin())
        shown = thinned(len(at), marked)
        with np.errstate(invalid="ignore"):
            mean, spread = self.validation_losses.mean(axis=0), np.ptp(self.validation_losses, axis=0)
        columns = [
            ["", *("->" if v == marked else "" for v in shown)],
            ["step", *(f"{self.validation_steps[v]:,}" for v in shown)],
            ["scale", *(f"{at[v]:.3g}" for v in shown)],
            ["metric", *(f"{mean[v]:.4g}" for v in shown)],
            *([["spread", *(f"{spread[v]:.2g}" for v in shown)]] if len(self.seeds) > 1 else []),
        ]
        lines = [[cell.replace("nan", "-") for cell in line] for line in zip(*columns, strict=True)]
        troubles = remedies(self.status[self.status == "diverged"], GAN_REMEDIES | REMEDIES)
        table = aligned(lines, str.rjust)
        return "\n".join([self._size(), table, suggestion.reason, *troubles, *filter(None, [self.note])])
