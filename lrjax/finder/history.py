"""What the lanes did, step by step, and where each was lost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np


class History:
    """Metrics and readings of all lanes, filled in as they come; a lane's numbers end where it is lost or dropped."""

    def __init__(self, forms: dict[str, jax.ShapeDtypeStruct], metric: str, lanes: int, steps: int) -> None:
        """Nothing yet.

        Args:
            forms: The shape and dtype of each metric of one lane's step.
            metric: The one by which a lane is lost.
            lanes: How many lanes.
            steps: How many steps.
        """
        self.metrics = {
            name: np.full((lanes, steps, *form.shape), _nothing(form.dtype), form.dtype) for name, form in forms.items()
        }
        self.metric = metric
        self.readings: dict[int, np.ndarray] = {}
        self.lost_at = np.full(lanes, -1)
        """The first update whose metric, or the first number of updates whose reading, was not finite."""
        self.dropped_at = np.full(lanes, -1)
        """The number of updates after which a lane was dropped for better ones."""

    @property
    def alive(self) -> np.ndarray:
        """Which lanes are neither lost nor dropped."""
        return (self.lost_at < 0) & (self.dropped_at < 0)

    def add_steps(self, lanes: np.ndarray, start: int, values: dict[str, np.ndarray]) -> None:
        """Metrics ``[lanes, steps, ...]`` from step ``start`` on."""
        steps = next(iter(values.values())).shape[1]
        going = self.dropped_at[lanes] < 0
        for name, value in values.items():
            self.metrics[name][lanes[going], start : start + steps] = value[going]
        finite: np.ndarray = np.isfinite(values[self.metric].astype(np.float64))
        self._lose(lanes, np.any(~finite, axis=1), start + finite.argmin(axis=1))

    def add_reading(self, lanes: np.ndarray, step: int, values: np.ndarray) -> None:
        """Readings ``[lanes]`` after ``step`` updates."""
        known = self.readings.setdefault(step, np.full(len(self.lost_at), np.nan, values.dtype))
        going = self.dropped_at[lanes] < 0
        known[lanes[going]] = values[going]
        bad: np.ndarray = ~np.isfinite(values.astype(np.float64))
        self._lose(lanes, bad, np.full(len(lanes), step))

    def scores(self, done: int, *, by_reading: bool) -> np.ndarray:
        """What lanes are compared by after ``done`` updates, NaN where a lane is lost."""
        if by_reading:
            unread = np.full(len(self.lost_at), np.nan)  # where no lane was left to be read
            scores = self.readings.get(done, unread).astype(np.float64)
        else:
            last = self.metrics[self.metric][:, done - max(1, round(done / 10)) : done].astype(np.float64)
            with np.errstate(invalid="ignore", over="ignore"):
                scores = last.mean(axis=1)
        return np.where(self.alive & np.isfinite(scores), scores, np.nan)

    def best(self, done: int) -> int | None:
        """The lane with the lowest metric of the last update, None where no lane is alive."""
        last = np.where(self.alive, self.metrics[self.metric][:, done - 1], np.inf)
        return int(last.argmin()) if len(last) and np.isfinite(last.min()) else None

    def ended(self, done: int, at: Sequence[int]) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """The metrics up to ``done``, and the readings after the numbers of updates ``at``, ``[lanes, len(at)]``."""
        steps = np.arange(done)
        gone = _later(self.lost_at, steps) | _later(self.dropped_at, steps)
        metrics = {}
        for name, values in self.metrics.items():
            shape = (*gone.shape, *[1] * (values.ndim - 2))
            metrics[name] = np.where(gone.reshape(shape), _nothing(values.dtype), values[:, :done]).astype(values.dtype)
        dtype = jax.dtypes.canonicalize_dtype(np.float64)  # the same in a process without lanes
        unread = np.full(len(self.lost_at), np.nan, dtype)
        readings = np.stack([self.readings.get(step, unread) for step in at], axis=1) if at else unread[:, None][:, :0]
        return metrics, np.where(_later(self.lost_at, at), np.nan, readings).astype(dtype)

    def forget_after(self, done: int) -> None:
        """Lanes that were lost or dropped after so many updates no longer are."""
        read = self.readings.get(done, np.zeros(len(self.lost_at))).astype(np.float64)
        is_late = (self.lost_at > done) | ((self.lost_at == done) & np.isfinite(read))
        self.lost_at[is_late] = -1
        self.dropped_at[self.dropped_at > done] = -1

    def arrays(self) -> dict[str, np.ndarray]:
        """All that must be saved, by name."""
        return {
            **{f"metric {name}": values for name, values in self.metrics.items()},
            **{f"reading {step}": values for step, values in self.readings.items()},
            "lost_at": self.lost_at,
            "dropped_at": self.dropped_at,
        }

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Take over what ``arrays`` gave."""
        self.metrics = {name: np.array(arrays[f"metric {name}"]) for name in self.metrics}
        self.readings = {
            int(name.removeprefix("reading ")): np.array(values)
            for name, values in arrays.items()
            if name.startswith("reading ")
        }
        self.lost_at, self.dropped_at = np.array(arrays["lost_at"]), np.array(arrays["dropped_at"])

    def _lose(self, lanes: np.ndarray, is_lost: np.ndarray, at: np.ndarray) -> None:
        """Note where lanes were lost that were not before."""
        new = is_lost & self.alive[lanes]
        self.lost_at[lanes[new]] = at[new]


def _nothing(dtype: Any) -> float:
    """What stands where nothing was computed: NaN, or 0 where the dtype has none."""
    return np.nan if jax.numpy.issubdtype(dtype, np.inexact) else 0


def _later(at: np.ndarray, steps: Sequence[int] | np.ndarray) -> np.ndarray:
    """``[lanes, len(steps)]``: whether a lane was gone by that step."""
    return (at[:, None] >= 0) & (np.asarray(steps, np.int64)[None] >= at[:, None])
