"""How exact are the schedules in float32? The largest error in ulp against extended precision, beside optax's.

    python benchmarks/schedule_precision.py [--smoke]

Prints a markdown table: a row a schedule, a column a run length, `lrjax / optax` in each cell. The references are those
of the tests, in NumPy's longdouble at hyperparameters rounded to float32; the steps surround every boundary and are
spread over the run evenly and geometrically from both ends. Values below 1e-30 of the peak do not count; nan is a
schedule that is NaN somewhere in the run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from schedule_table import CASES, LENGTHS, VARIANTS, Case

LENGTH_NAMES = {1_000: "1e3", 1_000_000: "1e6", 2**24: "2^24", 10**8: "1e8", 2**31 - 1: "2^31-1"}


def restarts(peak_value: float, cycle_steps: int, cycle_factor: int, peak_factor: float, end_value: float) -> Callable:
    """As many cycles as begin in the int32 range."""
    cycles, start, length, peak = [], 0, cycle_steps, peak_value
    while start + length < 2**31:
        cycles.append({"init_value": peak, "peak_value": peak, "warmup_steps": 0, "decay_steps": length})
        cycles[-1]["end_value"] = end_value
        start, length, peak = start + length, length * cycle_factor, peak * peak_factor
    return optax.sgdr_schedule(cycles)


def warmup_then(fall: Callable) -> Callable:
    """A linear warmup joined to ``fall(peak_value, end_value, steps)``."""

    def build(peak_value: float, init_value: float, total_steps: int, warmup_steps: int, end_value: float) -> Callable:
        rise = optax.linear_schedule(init_value, peak_value, warmup_steps)
        return optax.join_schedules([rise, fall(peak_value, end_value, total_steps - warmup_steps)], [warmup_steps])

    return build


def linear_wsd(
    peak_value: float, total_steps: int, warmup_steps: int, decay_steps: int, init_value: float, end_value: float
) -> Callable:
    pieces = [
        optax.linear_schedule(init_value, peak_value, warmup_steps),
        optax.constant_schedule(peak_value),
        optax.linear_schedule(peak_value, end_value, decay_steps),
    ]
    return optax.join_schedules(pieces, [warmup_steps, total_steps - decay_steps])


def one_cycle(
    peak_value: float, total_steps: int, peak_fraction: float, div_factor: float, final_div_factor: float
) -> Callable:
    return optax.cosine_onecycle_schedule(total_steps, peak_value, peak_fraction, div_factor, final_div_factor)


def three_phases(
    peak_value: float, total_steps: int, peak_fraction: float, div_factor: float, final_div_factor: float
) -> Callable:
    return optax.linear_onecycle_schedule(
        total_steps, peak_value, peak_fraction, 2 * peak_fraction, div_factor, final_div_factor
    )


OPTAX: dict[str, Callable[..., Callable]] = {
    "constant": optax.constant_schedule,
    "linear": lambda init_value, end_value, steps: optax.linear_schedule(init_value, end_value, steps),
    "cosine": lambda init_value, end_value, steps: optax.cosine_decay_schedule(
        init_value, steps, end_value / init_value
    ),
    "polynomial": lambda init_value, end_value, power, steps: optax.polynomial_schedule(
        init_value, end_value, power, steps
    ),
    "exponential": lambda init_value, decay_rate, steps: optax.exponential_decay(init_value, steps, decay_rate),
    "exponential staircase": lambda init_value, decay_rate, end_value, steps: optax.exponential_decay(
        init_value, steps, decay_rate, staircase=True, end_value=end_value
    ),
    "step_decay": lambda init_value, decay_rate, step_size: optax.exponential_decay(
        init_value, step_size, decay_rate, staircase=True
    ),
    "multistep": lambda init_value, decay_rate, first, second: optax.piecewise_constant_schedule(
        init_value, {first: decay_rate, second: decay_rate}
    ),
    "cosine_restarts": restarts,
    "warmup_cosine": lambda total_steps, **others: optax.warmup_cosine_decay_schedule(
        decay_steps=total_steps, **others
    ),
    "warmup_linear": warmup_then(optax.linear_schedule),
    "wsd linear": linear_wsd,
    "one_cycle": one_cycle,
    "one_cycle linear three_phase": three_phases,
    "infinite": lambda peak_value, constant_value, init_value, warmup_steps, cosine_steps: (
        optax.warmup_cosine_decay_schedule(
            init_value, peak_value, warmup_steps, warmup_steps + cosine_steps, constant_value
        )
    ),
    "interpolate": lambda low, high, last, first, second, third: optax.piecewise_interpolate_schedule(
        "linear", low, {first: 1.0, second: high / low, third: last / high}
    ),
    "join": lambda low, high, boundary: optax.join_schedules(
        [optax.constant_schedule(low), optax.constant_schedule(high)], [boundary]
    ),
    "with_warmup": lambda peak_value, init_value, steps, warmup_steps: optax.join_schedules(
        [optax.linear_schedule(init_value, peak_value, warmup_steps), optax.cosine_decay_schedule(peak_value, steps)],
        [warmup_steps],
    ),
}
"""optax's way to the same curve, from the hyperparameters of the table of the tests."""


def probes(case: Case, total: int, size: int) -> np.ndarray:
    """Steps of the run: around its boundaries, evenly, and geometrically from both ends."""
    counts = case.counts_for(total).values()
    boundaries = [0, total, 3 * total // 10, *counts, *(total - count for count in counts)]
    near = np.concatenate([boundary + np.arange(-3, 4) for boundary in boundaries])
    geometric = np.geomspace(1, total, size // 4).astype(np.int64)
    even = np.linspace(0, total, size // 2).astype(np.int64)
    return np.unique(np.clip(np.concatenate([near, geometric, total - geometric, even]), 0, total)).astype(np.int32)


def worst_ulp(schedule: Callable, steps: np.ndarray, expected: np.ndarray) -> float:
    """The largest error in units of the last place of a float32."""
    values = np.asarray(jax.jit(jax.vmap(schedule))(jnp.asarray(steps)), np.float32).astype(np.longdouble)
    counts = np.abs(expected) >= 1e-30 * np.abs(expected).max()
    ulp = np.spacing(np.abs(expected).astype(np.float32)).astype(np.longdouble)
    return float(np.max(np.where(counts, np.abs(values - expected) / ulp, 0)))


def shown(ulp: float) -> str:
    return f"{ulp:.1f}" if ulp < 100 else f"{ulp:.0f}" if ulp < 1e4 else f"{ulp:.0e}"


def cell(case: Case, total: int, size: int) -> str:
    """``lrjax / optax`` for one schedule and one length."""
    steps = probes(case, total, size)
    expected = case.expected(steps, total)
    ours = shown(worst_ulp(case.schedule(total), steps, expected))
    if case.name not in OPTAX:
        return f"{ours} / n/a"
    theirs = OPTAX[case.name](**case.values, **case.counts_for(total))
    return f"{ours} / {shown(worst_ulp(theirs, steps, expected))}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="two schedules, two lengths, few steps")
    smoke = parser.parse_args().smoke

    cases = [*CASES, *(case for case in VARIANTS if case.name in OPTAX)]
    lengths, size = LENGTHS, 4096
    if smoke:
        cases, lengths, size = [case for case in cases if case.name in ("warmup_cosine", "wsd")], LENGTHS[:2], 64
    print("Largest error in float32 ulp, lrjax / optax\n")
    print("| schedule | " + " | ".join(LENGTH_NAMES[total] for total in lengths) + " |")
    print("|---|" + "---|" * len(lengths))
    for case in cases:
        print(f"| {case.name} | " + " | ".join(cell(case, total, size) for total in lengths) + " |", flush=True)


if __name__ == "__main__":
    main()
