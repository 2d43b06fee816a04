"""Learning rates for JAX and Optax: which rate, along which curve, and is the run healthy."""

from lrjax.schedules import constant, join, one_cycle, power, warmup_cosine, wsd

__all__ = ["constant", "join", "one_cycle", "power", "warmup_cosine", "wsd"]
