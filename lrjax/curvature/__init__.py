"""How sharply the loss curves, and which learning rate that allows."""

from lrjax.curvature.critical_learning_rate import CriticalLearningRate, critical_learning_rate
from lrjax.curvature.sharpness import Sharpness, sharpness
from lrjax.curvature.stability_edge import stability_edge

__all__ = ["CriticalLearningRate", "Sharpness", "critical_learning_rate", "sharpness", "stability_edge"]
