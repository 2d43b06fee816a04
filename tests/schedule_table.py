"""One row for every public schedule: how to build it, and what it is in extended precision.

The references are written from the definitions, in NumPy's longdouble, apart from the code under test.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

import lrjax
from lrjax import schedules as S  # noqa: N812

LENGTHS = (1_000, 1_000_000, 2**24, 10**8, 2**31 - 1)
PI = np.longdouble("3.14159265358979323846264338327950288")
Real = np.longdouble


@dataclass(frozen=True)
class Case:
    """A schedule under contract: ``build(**values, **counts)`` against ``reference(t, **values, **counts)``."""

    name: str
    build: Callable[..., lrjax.typing.Schedule]
    reference: Callable[..., np.ndarray]
    values: Mapping[str, float] = field(default_factory=dict)
    """Hyperparameters that are not steps."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Step counts, for a run of 1,000 steps."""
    holds: bool = True
    """Whether the value stays where it is from the run's end on."""

    def counts_for(self, total: int) -> dict[str, int]:
        """The step counts stretched to a run of ``total`` steps."""
        return {name: count * total // 1000 for name, count in self.counts.items()}

    def schedule(self, total: int = 1000, **changed: Any) -> lrjax.typing.Schedule:
        """The schedule of a run of ``total`` steps."""
        return self.build(**{**self.values, **self.counts_for(total), **changed})

    def expected(self, steps: np.ndarray, total: int = 1000, *, dtype: type = np.float32, **changed: Any) -> np.ndarray:
        """The reference at hyperparameters rounded to ``dtype``."""
        values = {k: v if isinstance(v, int) else Real(dtype(v)) for k, v in self.values.items()}
        arguments = {**values, **self.counts_for(total), **changed}
        return np.asarray([self.reference(int(step), **arguments) for step in steps.ravel()], Real).reshape(steps.shape)


def between(start: Real, end: Real, fall: Real) -> Real:
    return Real(end) + (Real(start) - Real(end)) * Real(fall)


def half_cosine(q: Real) -> Real:
    return np.sin(PI / 2 * (1 - q)) ** 2


def cooldown(name: str, q: Real, start: Real, end: Real) -> Real:
    r = Real(end) / Real(start) if end else Real("0.1")
    weight = {
        "linear": lambda: 1 - q,
        "cosine": lambda: half_cosine(q),
        "1-sqrt": lambda: 1 - np.sqrt(q),
        "square": lambda: 1 - q * q,
        "mirror_cosine": lambda: 2 * (1 - q) - half_cosine(q),
        "exponential": lambda: (r**q - r) / (1 - r),
        "inverse": lambda: (1 / (q / r + 1 - q) - r) / (1 - r),
    }[name]()
    return between(start, end, weight)


def warmup_then(t, shape, peak_value, total_steps, warmup_steps, init_value, end_value):
    if t >= total_steps:
        return end_value
    if t < warmup_steps:
        return between(init_value, peak_value, 1 - Real(t) / warmup_steps)
    return cooldown(shape, Real(t - warmup_steps) / (total_steps - warmup_steps), peak_value, end_value)


def wsd(t, decay, peak_value, total_steps, warmup_steps, decay_steps, init_value, end_value):
    if t >= total_steps:
        return end_value
    if t < warmup_steps:
        return between(init_value, peak_value, 1 - Real(t) / warmup_steps)
    start = total_steps - decay_steps
    return peak_value if t < start else cooldown(decay, Real(t - start) / decay_steps, peak_value, end_value)


def one_cycle(t, anneal, three_phase, peak_value, total_steps, peak_fraction, div_factor, final_div_factor):
    init = peak_value / div_factor
    peak_at = Real(peak_fraction) * total_steps
    knots = [(Real(0), init), (peak_at, peak_value)]
    knots += [(2 * peak_at, init)] if three_phase else []
    knots += [(Real(total_steps), init / final_div_factor)]
    for (start, low), (stop, high) in pairwise(knots):
        if t < stop:
            return cooldown(anneal, (t - start) / (stop - start), low, high)
    return knots[-1][1]


def power(t, decay, total_steps, batch_size, sequence_length, warmup_steps, decay_steps, a, b, max_value, end_value):
    def eta(step):
        tokens = Real(step) * batch_size * sequence_length
        return min(max_value, batch_size * a * tokens**b) if step else max_value

    if t >= total_steps:
        return end_value
    if t < warmup_steps:
        return eta(warmup_steps) * t / warmup_steps
    start = total_steps - decay_steps
    return eta(t) if t < start else cooldown(decay, Real(t - start) / decay_steps, eta(start), end_value)


RISE = {"peak_value": 3e-3, "init_value": 1e-5, "end_value": 1e-4}
TO_ZERO = {"peak_value": 0.1, "init_value": 0.0, "end_value": 0.0}
WARM = {"total_steps": 1000, "warmup_steps": 10}
STABLE = {**WARM, "decay_steps": 200}
CYCLE = {"peak_value": 0.1, "peak_fraction": 0.3, "div_factor": 25.0, "final_div_factor": 1e4}
RUN = {"total_steps": 1000}
FIRST = {"cycle_steps": 1}
POWER = {"batch_size": 1024, "sequence_length": 4096, "a": 4.0, "b": -0.51, "max_value": 0.02, "end_value": 0.0}


def one_phase(t, shape, init_value, end_value, steps):
    return end_value if t >= steps else cooldown(shape, Real(t) / steps, init_value, end_value)


def polynomial(t, init_value, end_value, steps, power):
    return end_value if t >= steps else between(init_value, end_value, (Real(steps - t) / steps) ** power)


def exponential(t, init_value, decay_rate, steps, end_value=0, staircase=False):
    return max(init_value * decay_rate ** (Real(t // steps) if staircase else Real(t) / steps), end_value)


def step_decay(t, init_value, step_size, decay_rate):
    return init_value * decay_rate ** (t // step_size)


def multistep(t, init_value, decay_rate, first, second):
    return init_value * decay_rate ** ((t >= first) + (t >= second))


def inverse_sqrt(t, peak_value, warmup_steps, timescale, init_value):
    if t < warmup_steps:
        return between(init_value, peak_value, 1 - Real(t) / warmup_steps)
    return peak_value * np.sqrt(Real(timescale) / (t - warmup_steps + timescale))


def inverse_time(t, init_value, decay_rate, steps):
    return init_value / (1 + decay_rate * Real(t) / steps)


def cyclic(t, mode, base_value, peak_value, up_steps, down_steps, decay_rate):
    cycle, at = divmod(t, up_steps + down_steps)
    height = Real(at) / up_steps if at < up_steps else Real(up_steps + down_steps - at) / down_steps
    scale = {"triangular": Real(1), "triangular2": Real(2) ** -cycle, "exp_range": decay_rate ** Real(t)}[mode]
    return base_value + (peak_value - base_value) * height * scale


def cosine_restarts(t, peak_value, cycle_steps, cycle_factor, peak_factor, end_value):
    cycle, start, length = 0, 0, cycle_steps
    if cycle_factor == 1:
        cycle, start = t // length, t // length * length
    while t >= start + length:
        cycle, start, length = cycle + 1, start + length, length * cycle_factor
    return between(peak_value * peak_factor**cycle, end_value, half_cosine(Real(t - start) / length))


def infinite(t, peak_value, constant_value, warmup_steps, cosine_steps, init_value):
    return warmup_then(t, "cosine", peak_value, warmup_steps + cosine_steps, warmup_steps, init_value, constant_value)


def interpolate(t, low, high, last, first, second, third):
    if t >= third:
        return last
    if t >= second:
        return between(high, last, 1 - Real(t - second) / (third - second))
    return low if t < first else between(low, high, 1 - Real(t - first) / (second - first))


def wsd_cycles(t, peak_value, first, second, warmup_steps, decay_steps, init_value, end_value):
    if t < first:
        return wsd(t, "inverse", peak_value, first, warmup_steps, decay_steps, init_value, end_value)
    return wsd(t - first, "inverse", peak_value, second - first, 0, decay_steps, init_value, end_value)


def one_cycle_momentum(t, total_steps, max_value, base_value, peak_fraction):
    trough = Real(peak_fraction) * total_steps
    if t < trough:
        return cooldown("cosine", t / trough, max_value, base_value)
    if t >= total_steps:
        return max_value
    return cooldown("cosine", (t - trough) / (total_steps - trough), base_value, max_value)


def slanted_triangular(t, peak_value, total_steps, cut_fraction, ratio):
    return one_cycle(t, "linear", False, peak_value, total_steps, cut_fraction, ratio, Real(1))


def with_warmup(t, init_value, peak_value, steps, warmup_steps):
    if t < warmup_steps:
        return between(init_value, peak_value, 1 - Real(t) / warmup_steps)
    return one_phase(t - warmup_steps, "cosine", peak_value, 0, steps)


def with_cooldown(t, init_value, steps, start_step, decay_steps, end_value):
    if t < start_step:
        return one_phase(t, "cosine", init_value, 0, steps)
    left_at = one_phase(start_step, "cosine", init_value, 0, steps)
    if t >= start_step + decay_steps:
        return end_value
    return cooldown("1-sqrt", Real(t - start_step) / decay_steps, left_at, end_value)


def clamp(t, init_value, steps, min_value, max_value):
    return min(max(one_phase(t, "cosine", init_value, 0, steps), min_value), max_value)


def fixed_value(t, value):
    return value


def fixed(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """``function`` with its options, positional ones included, given by name."""
    return lambda *args, **numbers: function(*args, **options, **numbers)


CASES = [
    Case("constant", lrjax.constant, fixed_value, {"value": 0.1}),
    Case("linear", S.linear, fixed(one_phase, shape="linear"), {"init_value": 0.1, "end_value": 1e-3}, {"steps": 900}),
    Case("cosine", S.cosine, fixed(one_phase, shape="cosine"), {"init_value": 0.1, "end_value": 1e-3}, {"steps": 900}),
    Case(
        "polynomial",
        S.polynomial,
        polynomial,
        {"init_value": 0.1, "end_value": 1e-3, "power": 2.7},
        {"steps": 900},
    ),
    Case(
        "exponential",
        S.exponential,
        exponential,
        {"init_value": 0.1, "decay_rate": 1e-6},
        {"steps": 1000},
        holds=False,
    ),
    Case(
        "step_decay", S.step_decay, step_decay, {"init_value": 0.1, "decay_rate": 0.3}, {"step_size": 20}, holds=False
    ),
    Case(
        "multistep",
        lambda init_value, decay_rate, first, second: S.multistep(init_value, [second, first], decay_rate=decay_rate),
        multistep,
        {"init_value": 0.1, "decay_rate": 0.3},
        {"first": 300, "second": 600},
    ),
    Case(
        "inverse_sqrt",
        S.inverse_sqrt,
        inverse_sqrt,
        {"peak_value": 0.01, "init_value": 1e-5},
        {"warmup_steps": 10, "timescale": 20},
        holds=False,
    ),
    Case(
        "inverse_time",
        S.inverse_time,
        inverse_time,
        {"init_value": 0.1, "decay_rate": 0.5},
        {"steps": 100},
        holds=False,
    ),
    Case(
        "cyclic",
        fixed(S.cyclic, mode="exp_range"),
        fixed(cyclic, mode="exp_range"),
        {"base_value": 1e-3, "peak_value": 0.1, "decay_rate": 0.99},
        {"up_steps": 100, "down_steps": 150},
        holds=False,
    ),
    Case(
        "cosine_restarts",
        S.cosine_restarts,
        cosine_restarts,
        {"peak_value": 0.1, "end_value": 1e-3, "cycle_factor": 2, "peak_factor": 0.7},
        {"cycle_steps": 60},
        holds=False,
    ),
    Case("warmup_cosine", lrjax.warmup_cosine, fixed(warmup_then, shape="cosine"), RISE, WARM),
    Case("warmup_linear", S.warmup_linear, fixed(warmup_then, shape="linear"), RISE, WARM),
    Case("wsd", lrjax.wsd, fixed(wsd, decay="1-sqrt"), RISE, STABLE),
    Case(
        "wsd_cycles",
        lambda first, second, **numbers: S.wsd_cycles(cycle_ends=[first, second], **numbers),
        wsd_cycles,
        RISE,
        {"first": 400, "second": 1000, "warmup_steps": 10, "decay_steps": 200},
    ),
    Case("one_cycle", lrjax.one_cycle, fixed(one_cycle, anneal="cosine", three_phase=False), CYCLE, RUN),
    Case(
        "one_cycle_momentum",
        S.one_cycle_momentum,
        one_cycle_momentum,
        {"max_value": 0.95, "base_value": 0.85, "peak_fraction": 0.3},
        RUN,
    ),
    Case(
        "slanted_triangular",
        S.slanted_triangular,
        slanted_triangular,
        {"peak_value": 0.1, "cut_fraction": 0.1, "ratio": 32.0},
        RUN,
    ),
    Case("power", lrjax.power, fixed(power, decay="exponential"), POWER, STABLE),
    Case(
        "infinite",
        S.infinite,
        infinite,
        {"peak_value": 0.1, "constant_value": 0.01, "init_value": 1e-3},
        {"warmup_steps": 10, "cosine_steps": 500},
    ),
    Case(
        "interpolate",
        lambda low, high, last, first, second, third: S.interpolate([first, second, third], [low, high, last]),
        interpolate,
        {"low": 1e-3, "high": 0.1, "last": 0.02},
        {"first": 100, "second": 300, "third": 1000},
    ),
    Case(
        "join",
        lambda low, high, boundary: lrjax.join([lrjax.constant(low), lrjax.constant(high)], [boundary]),
        lambda t, low, high, boundary: low if t < boundary else high,
        {"low": 1e-3, "high": 0.1},
        {"boundary": 300},
    ),
    Case(
        "scale_by",
        lambda init_value, steps, factor: S.scale_by(S.cosine(init_value, steps), factor),
        lambda t, init_value, steps, factor: factor * one_phase(t, "cosine", init_value, 0, steps),
        {"init_value": 0.1, "factor": 0.3},
        {"steps": 1000},
    ),
    Case(
        "clamp",
        lambda init_value, steps, min_value, max_value: S.clamp(S.cosine(init_value, steps), min_value, max_value),
        clamp,
        {"init_value": 0.1, "min_value": 0.01, "max_value": 0.05},
        {"steps": 1000},
    ),
    Case(
        "with_warmup",
        lambda peak_value, steps, warmup_steps, init_value: S.with_warmup(
            S.cosine(peak_value, steps), warmup_steps, init_value=init_value
        ),
        with_warmup,
        {"peak_value": 0.1, "init_value": 1e-3},
        {"steps": 900, "warmup_steps": 100},
    ),
    Case(
        "with_cooldown",
        lambda init_value, steps, start_step, decay_steps, end_value: S.with_cooldown(
            S.cosine(init_value, steps), start_step, decay_steps, end_value=end_value
        ),
        with_cooldown,
        {"init_value": 0.1, "end_value": 1e-3},
        {"steps": 1000, "start_step": 800, "decay_steps": 200},
    ),
    Case(
        "per_epoch",
        lambda init_value, steps, steps_per_epoch: S.per_epoch(S.cosine(init_value, steps), steps_per_epoch),
        lambda t, init_value, steps, steps_per_epoch: one_phase(t, "cosine", init_value, 0, steps * steps_per_epoch),
        {"init_value": 0.1, "steps_per_epoch": 13},
        {"steps": 70},
    ),
    Case(
        "in_units",
        lambda init_value, steps, units_per_step: S.in_units(S.cosine(init_value, steps), units_per_step),
        lambda t, init_value, steps, units_per_step: one_phase(t * units_per_step, "cosine", init_value, 0, steps),
        {"init_value": 0.1, "units_per_step": 0.7},
        {"steps": 600},
    ),
]
"""One row for every public schedule."""

SHAPES = ("linear", "cosine", "1-sqrt", "exponential", "inverse", "square", "mirror_cosine")
FALLING = {"init_value": 0.1, "end_value": 0.0}
RISING = {"init_value": 0.0, "end_value": 0.1}
TRIANGLE = {"base_value": 1e-3, "peak_value": 0.1, "decay_rate": 1.0}
SIDES = {"up_steps": 100, "down_steps": 150}
RESTARTS = {"peak_value": 0.1, "end_value": 0.0, "peak_factor": 1.0}

VARIANTS = [
    Case("warmup_cosine to zero", lrjax.warmup_cosine, fixed(warmup_then, shape="cosine"), TO_ZERO, WARM),
    *(Case(f"wsd {s}", fixed(lrjax.wsd, decay=s), fixed(wsd, decay=s), RISE, STABLE) for s in SHAPES),
    *(Case(f"wsd {s} to zero", fixed(lrjax.wsd, decay=s), fixed(wsd, decay=s), TO_ZERO, STABLE) for s in SHAPES),
    Case(
        "one_cycle linear three_phase",
        fixed(lrjax.one_cycle, anneal="linear", three_phase=True),
        fixed(one_cycle, anneal="linear", three_phase=True),
        CYCLE,
        RUN,
    ),
    *(
        Case(f"polynomial {ways} {p}", S.polynomial, polynomial, {**values, "power": p}, {"steps": 1000})
        for ways, values in (("falling", FALLING), ("rising", RISING))
        for p in (0.5, 2.0, 9.0)
    ),
    Case("exponential slow", S.exponential, exponential, {"init_value": 0.1, "decay_rate": 0.999}, {"steps": 1}, False),
    Case(
        "exponential staircase",
        fixed(S.exponential, staircase=True),
        fixed(exponential, staircase=True),
        {"init_value": 0.1, "decay_rate": 0.9, "end_value": 1e-4},
        {"steps": 20},
    ),
    *(
        Case(f"cyclic {mode}", fixed(S.cyclic, mode=mode), fixed(cyclic, mode=mode), TRIANGLE, SIDES, False)
        for mode in ("triangular", "triangular2")
    ),
    *(
        Case(f"cosine_restarts x{f}", S.cosine_restarts, cosine_restarts, {**RESTARTS, "cycle_factor": f}, FIRST, False)
        for f in (1, 3, 10)
    ),
]
"""Other options of the same schedules: held to the precision, and not to every contract again."""
