"""``plan="auto"``: a plan from what the step does and where it runs, measured where that pays.

What is known without measuring (figures: ``benchmarks/range_test.py``): on a CPU a convolution loses its fast form
within a loop and when it is batched over lanes; small lanes are best side by side, as many as a core's cache holds; a
large lane fills a core by itself. An accelerator is filled by as many lanes as memory takes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import jax

from lrjax.finder.batches import CHUNK_STEPS
from lrjax.finder.plan import Plan, cores
from lrjax.finder.work import Work

CACHE_BYTES = 2**21
"""Carries of the lanes that run side by side on one core of a CPU."""

CALL_OPERATIONS = 1e7
"""The least work for which a thread of its own pays."""

UNROLLED_STEPS = 5
"""Most steps of a convolution that are written out in one call, each of which is compiled anew."""

UNROLLED_SECONDS = 2.0
"""The shortest sweep for which compiling more than one step pays."""

SHARE = 0.05
"""The most of a sweep's time that measuring may take."""

OPERATIONS_A_SECOND = {"cpu": 5e10}
"""A high guess of what each core or device does, by platform, so that short sweeps are not measured."""

_ACCELERATOR = 1e13

clock = time.perf_counter
"""What measures; a test puts something else here."""


def first_choice(
    work: Work, carry_bytes: int, lanes: int, devices: Sequence[jax.Device], chunks: Collection[int]
) -> Plan:
    """The plan that needs no measuring.

    Args:
        work: Of one step of one lane.
        carry_bytes: Of one lane.
        lanes: How many there are.
        devices: Where they may run.
        chunks: The numbers of steps of all chunks of batches.
    """
    used = min(len(devices), lanes)
    if devices[0].platform != "cpu":
        reason = "an accelerator runs as many lanes together as memory takes"
        return Plan(lanes, CHUNK_STEPS, devices=used, reason=reason)
    together, steps, reason = 1, CHUNK_STEPS, "one lane's step fills a core"
    if work.convolutions:
        reason = "a convolution on a CPU is slow in a loop and slow batched over lanes"
        seconds = lanes * sum(chunks) * work.operations / (OPERATIONS_A_SECOND["cpu"] * min(cores(), lanes))
        most = UNROLLED_STEPS if seconds > UNROLLED_SECONDS else 1
        steps = max(count for count in range(1, most + 1) if all(chunk % count == 0 for chunk in chunks))
    elif carry_bytes <= CACHE_BYTES // 2:
        together = max(1, CACHE_BYTES // max(carry_bytes, 1))
        reason = f"the states of {min(together, -(-lanes // used))} lanes fit in a core's cache"
    threads = 1
    if used == 1 and cores() > 1:
        threads = min(cores(), lanes)
        if lanes * work.operations * min(steps, CHUNK_STEPS) / threads < CALL_OPERATIONS:
            threads = 1
        reason += f"; jax.config.update('jax_num_cpu_devices', {cores()}) before JAX starts gives more devices"
    together = min(together, -(-lanes // (used * threads)))
    unroll = work.convolutions and steps > 1
    return Plan(together * used, steps, unroll=unroll, devices=used, threads=threads, reason=reason)


def alternatives(plan: Plan, work: Work, lanes: int, platform: str) -> list[Plan]:
    """Plans that may be faster than the first choice, the likeliest first."""
    used = plan.devices or 1
    most = -(-lanes // (used * plan.threads)) * used
    if platform == "cpu" and work.convolutions:
        return [replace(plan, steps=1, unroll=False)] if plan.unroll else []
    if platform != "cpu":
        return [
            replace(plan, lanes=-(-plan.lanes // parts // used) * used)
            for parts in (2, 4)
            if plan.lanes >= parts * used
        ]
    sizes = [plan.lanes * 2, plan.lanes // 2 // used * used, plan.lanes * 4]
    others = [replace(plan, lanes=size) for size in sizes if used <= size <= most]
    return [*others, replace(plan, steps=1)]


def worth_measuring(work: Work, lane_steps: int, plan: Plan, platform: str) -> bool:
    """Whether the sweep is surely long enough that a second program could be compiled in its share."""
    rate = OPERATIONS_A_SECOND.get(platform, _ACCELERATOR) * (plan.devices or 1) * plan.threads
    return SHARE * lane_steps * work.operations / rate > 1.0 and not work.calls_back


def measured(
    first: Plan, others: Sequence[Plan], lane_steps: int, measure: Callable[[Plan], tuple[float, float]]
) -> Plan:
    """The fastest plan of those that could be measured within the share.

    Args:
        first: The plan to begin with.
        others: Plans that may be better.
        lane_steps: Updates of all lanes together.
        measure: The seconds that a lane's step takes under a plan, and those that compiling took.
    """
    began = clock()
    best, (best_seconds, compiling) = first, measure(first)
    spent = clock() - began - compiling  # compiling the first is no cost of measuring
    seconds = {str(replace(first, reason="")): best_seconds}
    for plan in others:
        allowance = SHARE * lane_steps * best_seconds
        if spent + 2 * compiling > allowance:
            break
        began = clock()
        taken, _ = measure(plan)
        spent += clock() - began
        seconds[str(replace(plan, reason=""))] = taken
        if taken < best_seconds:
            best, best_seconds = plan, taken
    if len(seconds) == 1:
        return first
    figures = "; ".join(f"{1e3 * value:.3g} ms a lane's step at {name}" for name, value in seconds.items())
    share = spent / max(lane_steps * best_seconds, 1e-9)
    return replace(best, reason=f"measured in {spent:.2g} s, {share:.1%} of the sweep: {figures}")
