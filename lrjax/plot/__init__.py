"""Pictures of schedules and of tests, drawn with matplotlib."""

from lrjax.plot.range_test import range_test
from lrjax.plot.schedule import schedule

__all__ = ["range_test", "schedule"]
