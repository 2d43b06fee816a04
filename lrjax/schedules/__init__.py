"""Learning-rate schedules: pure functions of the step, exact over the whole int32 range."""

from lrjax.schedules.basic import constant, cosine, linear, polynomial
from lrjax.schedules.compose import clamp, join, scale_by
from lrjax.schedules.cyclic import cyclic
from lrjax.schedules.ends import with_cooldown, with_warmup
from lrjax.schedules.exponential import exponential, multistep, step_decay
from lrjax.schedules.infinite import infinite
from lrjax.schedules.interpolate import interpolate
from lrjax.schedules.inverse import inverse_sqrt, inverse_time
from lrjax.schedules.one_cycle import one_cycle, one_cycle_momentum, slanted_triangular
from lrjax.schedules.power import power
from lrjax.schedules.restarts import cosine_restarts
from lrjax.schedules.units import in_units, per_epoch
from lrjax.schedules.warmup import warmup_cosine, warmup_linear
from lrjax.schedules.wsd import wsd, wsd_cycles

__all__ = [
    "clamp",
    "constant",
    "cosine",
    "cosine_restarts",
    "cyclic",
    "exponential",
    "in_units",
    "infinite",
    "interpolate",
    "inverse_sqrt",
    "inverse_time",
    "join",
    "linear",
    "multistep",
    "one_cycle",
    "one_cycle_momentum",
    "per_epoch",
    "polynomial",
    "power",
    "scale_by",
    "slanted_triangular",
    "step_decay",
    "warmup_cosine",
    "warmup_linear",
    "with_cooldown",
    "with_warmup",
    "wsd",
    "wsd_cycles",
]
