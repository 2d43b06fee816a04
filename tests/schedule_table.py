"""One row for every public schedule: how to build it, and what it is in extended precision.

The references are written from the definitions, in NumPy's longdouble, apart from the code under test.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import lrjax

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

    def expected(self, steps: np.ndarray, total: int = 1000, **changed: Any) -> np.ndarray:
        """The reference at hyperparameters rounded to float32."""
        values = {k: v if isinstance(v, int) else Real(np.float32(v)) for k, v in self.values.items()}
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
    for (start, low), (stop, high) in zip(knots, knots[1:]):
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
POWER = {"batch_size": 1024, "sequence_length": 4096, "a": 4.0, "b": -0.51, "max_value": 0.02, "end_value": 0.0}


def fixed(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """``function`` with its options, positional ones included, given by name."""
    return lambda *args, **numbers: function(*args, **options, **numbers)


def _wsd_cases() -> list[Case]:
    shapes = ("linear", "cosine", "1-sqrt", "exponential", "inverse", "square", "mirror_cosine")
    cases = []
    for shape in shapes:
        for ending, values in (("", RISE), (" to zero", TO_ZERO)):
            build, reference = fixed(lrjax.wsd, decay=shape), fixed(wsd, decay=shape)
            cases.append(Case(f"wsd {shape}{ending}", build, reference, values, STABLE))
    return cases


CASES = [
    Case("constant", lrjax.constant, lambda t, value: value, {"value": 0.1}),
    Case("warmup_cosine", lrjax.warmup_cosine, fixed(warmup_then, shape="cosine"), RISE, WARM),
    Case("warmup_cosine to zero", lrjax.warmup_cosine, fixed(warmup_then, shape="cosine"), TO_ZERO, WARM),
    *_wsd_cases(),
    Case(
        "one_cycle",
        lrjax.one_cycle,
        fixed(one_cycle, anneal="cosine", three_phase=False),
        CYCLE,
        {"total_steps": 1000},
    ),
    Case(
        "one_cycle linear three_phase",
        fixed(lrjax.one_cycle, anneal="linear", three_phase=True),
        fixed(one_cycle, anneal="linear", three_phase=True),
        CYCLE,
        {"total_steps": 1000},
    ),
    Case("power", lrjax.power, fixed(power, decay="exponential"), POWER, STABLE),
    Case(
        "join",
        lambda low, high, boundary: lrjax.join([lrjax.constant(low), lrjax.constant(high)], [boundary]),
        lambda t, low, high, boundary: low if t < boundary else high,
        {"low": 1e-3, "high": 0.1},
        {"boundary": 300},
    ),
]
