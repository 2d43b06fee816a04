"""Optimizers as Optax transformations: gradient clipping, presets, and the two players of a GAN."""

from lrjax.optimizers._preset import Monitor, PresetState
from lrjax.optimizers.adam import adam
from lrjax.optimizers.adamw import adamw
from lrjax.optimizers.clipping import ClipState, clip_gradients
from lrjax.optimizers.dadapt import dadapt_adamw
from lrjax.optimizers.decay_mask import NO_DECAY, decay_mask
from lrjax.optimizers.defaults import (
    OPTIMIZER_DEFAULTS,
    SCENARIOS,
    OptimizerDefaults,
    ScenarioDefaults,
    optimizer_defaults,
    scenario_defaults,
)
from lrjax.optimizers.gan import GanOptimizers, gan_init, gan_optimizers
from lrjax.optimizers.gan_presets import GAN_PRESETS, GanPreset
from lrjax.optimizers.gan_state import GanModelState, GanState, Player
from lrjax.optimizers.gan_step import GanMetrics, gan_step
from lrjax.optimizers.groups import ParamGroupsState, param_groups
from lrjax.optimizers.lamb import lamb
from lrjax.optimizers.layerwise import BLOCK_INDEX, FIRST_LAYER, LayerRate, LayerRates, layer_rates, layerwise
from lrjax.optimizers.lion import LionHyperparameters, lion, lion_from_adamw
from lrjax.optimizers.muon import muon
from lrjax.optimizers.prodigy import prodigy
from lrjax.optimizers.recipes import RECIPES, Recipe, recipe
from lrjax.optimizers.rmsprop import rmsprop
from lrjax.optimizers.schedule_free import evaluation_params, schedule_free_adamw
from lrjax.optimizers.sgd import sgd

__all__ = [
    "BLOCK_INDEX",
    "FIRST_LAYER",
    "GAN_PRESETS",
    "NO_DECAY",
    "OPTIMIZER_DEFAULTS",
    "RECIPES",
    "SCENARIOS",
    "ClipState",
    "GanMetrics",
    "GanModelState",
    "GanOptimizers",
    "GanPreset",
    "GanState",
    "LayerRate",
    "LayerRates",
    "LionHyperparameters",
    "Monitor",
    "OptimizerDefaults",
    "ParamGroupsState",
    "Player",
    "PresetState",
    "Recipe",
    "ScenarioDefaults",
    "adam",
    "adamw",
    "clip_gradients",
    "dadapt_adamw",
    "decay_mask",
    "evaluation_params",
    "gan_init",
    "gan_optimizers",
    "gan_step",
    "lamb",
    "layer_rates",
    "layerwise",
    "lion",
    "lion_from_adamw",
    "muon",
    "optimizer_defaults",
    "param_groups",
    "prodigy",
    "recipe",
    "rmsprop",
    "scenario_defaults",
    "schedule_free_adamw",
    "sgd",
]
