"""Optimizers as Optax transformations: gradient clipping, presets, and the two players of a GAN."""

from lrjax.optimizers._preset import PresetState
from lrjax.optimizers.adamw import adamw
from lrjax.optimizers.clipping import ClipState, clip_gradients
from lrjax.optimizers.gan import GanOptimizers, GanState, Player, gan_init, gan_optimizers
from lrjax.optimizers.gan_step import GanMetrics, gan_step
from lrjax.optimizers.lion import lion
from lrjax.optimizers.sgd import sgd

__all__ = [
    "ClipState",
    "GanMetrics",
    "GanOptimizers",
    "GanState",
    "Player",
    "PresetState",
    "adamw",
    "clip_gradients",
    "gan_init",
    "gan_optimizers",
    "gan_step",
    "lion",
    "sgd",
]
