"""Find the learning rate: many short runs side by side, and what they say."""

from lrjax.finder.equinox_problem import from_equinox
from lrjax.finder.gan.answers import GanSuggestion
from lrjax.finder.gan.frechet import frechet_distance
from lrjax.finder.gan.ramp_result import GanRampTest
from lrjax.finder.gan.ramp_test import gan_ramp_test
from lrjax.finder.gan.range_test import gan_range_test
from lrjax.finder.gan.result import GanRangeTest
from lrjax.finder.gan.suggest import gan_suggest
from lrjax.finder.grid_result import GridTest
from lrjax.finder.grid_test import grid_test
from lrjax.finder.keeping import Halving
from lrjax.finder.linen_problem import from_linen
from lrjax.finder.merge import merge
from lrjax.finder.minibatches import minibatches
from lrjax.finder.nnx_problem import from_nnx
from lrjax.finder.plan import Plan
from lrjax.finder.problems import Problem
from lrjax.finder.ramp_result import RampTest
from lrjax.finder.ramp_test import ramp_test
from lrjax.finder.range_test import range_test
from lrjax.finder.reading.sensitivity import sensitivity
from lrjax.finder.reading.suggest import Suggestion, suggest
from lrjax.finder.result import RangeTest
from lrjax.finder.supervised import Hyperparams
from lrjax.finder.sweep import Sweep, sweep
from lrjax.finder.training import training

__all__ = [
    "GanRampTest",
    "GanRangeTest",
    "GanSuggestion",
    "GridTest",
    "Halving",
    "Hyperparams",
    "Plan",
    "Problem",
    "RampTest",
    "RangeTest",
    "Suggestion",
    "Sweep",
    "frechet_distance",
    "from_equinox",
    "from_linen",
    "from_nnx",
    "gan_ramp_test",
    "gan_range_test",
    "gan_suggest",
    "grid_test",
    "merge",
    "minibatches",
    "ramp_test",
    "range_test",
    "sensitivity",
    "suggest",
    "sweep",
    "training",
]
