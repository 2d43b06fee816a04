"""The learning rate at another batch size, and the batch size beyond which a larger one stops paying."""

from lrjax.scaling.batch_size import AdamScaling, effective_learning_rate, scale_learning_rate
from lrjax.scaling.noise_scale import NoiseScale, gradient_noise_scale

__all__ = ["AdamScaling", "NoiseScale", "effective_learning_rate", "gradient_noise_scale", "scale_learning_rate"]
