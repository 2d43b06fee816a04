"""Find the learning rate: many short runs side by side, and what they say."""

from lrjax.finder.minibatches import minibatches
from lrjax.finder.problems import Problem, from_nnx
from lrjax.finder.range_test import range_test
from lrjax.finder.result import RangeTest
from lrjax.finder.suggest import Suggestion, suggest

__all__ = ["Problem", "RangeTest", "Suggestion", "from_nnx", "minibatches", "range_test", "suggest"]
