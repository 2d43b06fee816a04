"""Pictures of schedules, of tests and of training runs, drawn with matplotlib."""

from lrjax.plot.comparison import comparison
from lrjax.plot.gan_grid import gan_grid
from lrjax.plot.grid_test import grid_test
from lrjax.plot.ramp_test import ramp_test
from lrjax.plot.range_test import range_test
from lrjax.plot.schedule import schedule
from lrjax.plot.training import training

__all__ = ["comparison", "gan_grid", "grid_test", "ramp_test", "range_test", "schedule", "training"]
