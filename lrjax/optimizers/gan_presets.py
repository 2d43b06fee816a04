"""Settings that papers publish for the two optimizers of a GAN, as a table to read and to print."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class GanPreset(NamedTuple):
    """What ``gan_optimizers(preset=...)`` fills in where an argument is not given.

    Attributes:
        generator_learning_rate: The generator's rate.
        discriminator_learning_rate: The discriminator's rate.
        b1: Decay of both players' first moment.
        b2: Decay of both players' second moment.
        discriminator_steps: Updates of the discriminator per GAN step.
        source: Where the numbers stand.
    """

    generator_learning_rate: float
    discriminator_learning_rate: float
    b1: float
    b2: float
    discriminator_steps: int
    source: str


GAN_PRESETS: Mapping[str, GanPreset] = MappingProxyType(
    {
        "default": GanPreset(2e-4, 4e-4, 0.5, 0.999, 1, "DCGAN's Adam, the discriminator at twice its rate"),
        "dcgan": GanPreset(2e-4, 2e-4, 0.5, 0.999, 1, "Radford et al., arXiv:1511.06434, section 4"),
        "sagan": GanPreset(1e-4, 4e-4, 0.0, 0.9, 1, "Zhang et al., arXiv:1805.08318, section 5"),
        "ttur": GanPreset(1e-4, 3e-4, 0.0, 0.9, 1, "Heusel et al., arXiv:1706.08500, table 1, WGAN-GP on images"),
        "wgan-gp": GanPreset(1e-4, 1e-4, 0.0, 0.9, 5, "Gulrajani et al., arXiv:1704.00028, algorithm 1"),
    }
)
"""By name. "ttur" is the row that the paper uses for every data set of its WGAN-GP (the decays stand in its code);
its DCGAN rows differ by data set, from 1e-4 to 5e-4 for the generator and 1e-5 to 1e-4 for the discriminator."""
