"""Learning-rate schedules: pure functions of the step, exact over the whole int32 range."""

from lrjax.schedules.basic import constant
from lrjax.schedules.compose import join
from lrjax.schedules.one_cycle import one_cycle
from lrjax.schedules.power import power
from lrjax.schedules.warmup import warmup_cosine
from lrjax.schedules.wsd import wsd

__all__ = ["constant", "join", "one_cycle", "power", "warmup_cosine", "wsd"]
