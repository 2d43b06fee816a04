"""What a range test of a GAN found."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lrjax.finder.gan import table as gan_table
from lrjax.finder.gan.balance import GAN_REMEDIES
from lrjax.finder.gan.suggest import gan_suggest
from lrjax.finder.gan.surface import heights
from lrjax.finder.plan import Plan
from lrjax.finder.result import counted
from lrjax.finder.status import REMEDIES, remedies


@dataclass(frozen=True, eq=False, repr=False)
class GanRangeTest:
    """The result of ``gan_range_test``: K pairs of rates, R seeds, S steps, V readings. ``print`` shows it as a table.

    Attributes:
        generator_learning_rates: ``[K]``, the generator's rate of each pair.
        discriminator_learning_rates: ``[K]``, the discriminator's.
        axes: The two axes of the grid with their values, by the names of the arguments, ``"scales"`` and ``"ratios"``
            or those of both rates; the second varies first along ``K``. Empty for a list of pairs.
        seeds: ``[R]``, in the order given.
        generator_losses: ``[K, R, S]``, before the generator's update 0, 1, ...; NaN once the lane is lost.
        discriminator_losses: ``[K, R, S]``.
        signals: ``[K, R, S]`` by name, of these that the losses give: ``"loss_ratio"``, the discriminator's
            cross-entropy (its two halves summed) over the non-saturating generator's, of the logits in ``aux`` whatever
            the losses are, or else simply the one loss over the other; ``"accuracy"``, the mean of that on real and on
            generated samples; ``"spread_ratio"``, the standard deviation of generated samples over that of real ones.
        validation_steps: ``[V]``, the GAN steps that came before each reading; V is 0 without a metric.
        validation_losses: ``[K, R, V]``, the metric; NaN once the lane is lost.
        status: ``[K, R]``, what became of a lane, by its signals over the last tenth of the steps: ``"collapsed"``
            (spread ratio below 0.6), ``"discriminator wins"`` (accuracy above 0.9 or loss ratio below 0.3),
            ``"discriminator loses"`` (accuracy below 0.52 or loss ratio above 1.9), ``"healthy"`` (accuracy from 0.55
            to 0.75 and spread ratio above 0.85), ``"finite"`` for anything else; ``"diverged"``; or ``"dropped"`` at a
            rung.
        lost_at: ``[K, R]``, the first step whose losses, or the first number of steps whose reading, was not finite, or
            the number of steps after which the lane was dropped; -1 where neither.
        steps_done: GAN steps done, S.
        plan: How the test was executed, and why so.
        note: What else a reader should know, empty where there is nothing.
    """

    generator_learning_rates: np.ndarray
    discriminator_learning_rates: np.ndarray
    axes: dict[str, np.ndarray]
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

    @property
    def scales(self) -> np.ndarray:
        """``[K]``, the geometric mean of each pair."""
        scales: np.ndarray = np.sqrt(self.generator_learning_rates * self.discriminator_learning_rates)
        return scales

    @property
    def ratios(self) -> np.ndarray:
        """``[K]``, the discriminator's rate over the generator's."""
        ratios: np.ndarray = self.discriminator_learning_rates / self.generator_learning_rates
        return ratios

    def __repr__(self) -> str:
        """The size of the test, in a line."""
        return f"GanRangeTest({self._size()})"

    def _size(self) -> str:
        """How many pairs, seeds and steps."""
        pairs, seeds = self.status.shape
        grid = " x ".join(f"{len(values)} {name.replace('_learning_', ' ')}" for name, values in self.axes.items())
        return f"{grid or counted(pairs, 'pair')}, {counted(seeds, 'seed')}, {counted(self.steps_done, 'step')}"

    def __str__(self) -> str:
        """A grid as a matrix, other pairs in rows, the suggested one marked; then the reason, remedies and the note."""
        suggestion = gan_suggest(self)
        marked = self.place(suggestion.generator_learning_rate, suggestion.discriminator_learning_rate)
        is_grid = len(self.axes) == 2 and min(map(len, self.axes.values())) > 1
        table = gan_table.matrix(self, marked) if is_grid else gan_table.rows(self, marked)
        what = {"metric": "metric", "balance": "distance from balance"}[heights(self).objective]
        lines = [f"{self._size()}; {what}", table, suggestion.reason, *remedies(self.status, GAN_REMEDIES | REMEDIES)]
        return "\n".join([*lines, *filter(None, [self.note])])

    def place(self, generator_learning_rate: float, discriminator_learning_rate: float) -> int:
        """The place along ``K`` of the pair that is nearest to these rates, by their logarithms.

        Args:
            generator_learning_rate: The generator's.
            discriminator_learning_rate: The discriminator's.
        """
        apart = np.log(self.generator_learning_rates / generator_learning_rate) ** 2
        apart += np.log(self.discriminator_learning_rates / discriminator_learning_rate) ** 2
        return int(apart.argmin())
