"""Which plan a sweep runs under, and how many lanes fit in memory at a time."""

from __future__ import annotations

import math
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple

import jax
import numpy as np

from lrjax import _checks
from lrjax.finder import choosing, memory, programs, trees
from lrjax.finder.batches import CHUNK_SHARE, CHUNK_STEPS
from lrjax.finder.feed import Feed
from lrjax.finder.groups import even_size
from lrjax.finder.plan import Plan
from lrjax.finder.programs import Program, shardings
from lrjax.finder.request import Request
from lrjax.finder.segments import Segments
from lrjax.finder.work import work_of

BATCH_SHARE = 8
"""The part of the budget, one in so many, that batches kept for further waves may take in memory."""

_measured: OrderedDict[tuple[str, int, int], Plan] = OrderedDict()


class Fit(NamedTuple):
    """A plan made to fit.

    Attributes:
        plan: The plan, with the lanes and devices that it got.
        segments: Its programs.
        first: The program that advances a group.
        size: Lanes of a group.
        wave: Lanes that are in memory at a time.
        spare: Bytes for batches that are kept for further waves.
    """

    plan: Plan
    segments: Segments
    first: Program
    size: int
    wave: int
    spare: int


def fit(request: Request, feed: Feed, plan: Plan | None) -> Fit:
    """The plan, or the one chosen where it is None, cut to the memory budget."""
    lane, devices = request.lane, request.processes.local_devices
    lanes = max(1, len(request.processes.lanes))
    if plan is not None:
        return _fitted(request, plan, lanes)
    first = choosing.first_choice(lane.work, trees.nbytes(lane.raw), lanes, devices, request.chunks)
    fitted = _fitted(request, first, lanes)
    platform, lane_steps = devices[0].platform, lanes * request.steps
    if not choosing.worth_measuring(lane.work, lane_steps, fitted.plan, platform):
        return fitted
    key = (fitted.first.text_hash, lanes, request.steps)
    if key not in _measured:
        others = choosing.alternatives(fitted.plan, lane.work, lanes, platform)
        fits = {fitted.plan: fitted}

        def measure(plan: Plan) -> tuple[float, float]:
            if plan not in fits:
                fits[plan] = _fitted(request, plan, lanes)
            return _seconds(request, feed, fits[plan]), fits[plan].segments.compile_seconds

        _measured[key] = choosing.measured(fitted.plan, others, lane_steps, measure)
        if len(_measured) > programs.CAPACITY:
            _measured.popitem(last=False)
    return _fitted(request, _measured[key], lanes)


def _fitted(request: Request, plan: Plan, lanes: int) -> Fit:
    """The plan with as many lanes a call as the budget allows, and as many of those in memory at a time."""
    lane, devices = request.lane, request.processes.local_devices
    if plan.threads > 1 and _factorizes(request):
        # a batched call of LAPACK waits for the threads that another one holds, and both may wait for ever
        reason = f"{plan.reason}; one thread, since LAPACK takes part" if plan.reason else ""
        plan = replace(plan, threads=1, reason=reason)
    budget = int(memory.HEADROOM * request.budget)
    used = min(plan.devices or len(devices), len(devices), lanes)
    if plan.unroll:  # steps that no chunk has would be compiled in vain
        longest = max(np.diff([0, *request.boundaries]))
        plan = replace(plan, steps=int(min(plan.steps, longest, CHUNK_STEPS)))
    copies = 2 if request.checkpoint is not None else 1  # saving copies every state to the host
    per_lane = copies * (trees.nbytes(lane.raw) + CHUNK_STEPS * trees.nbytes(lane.metrics))
    chunk = request.source.chunk
    fixed = 2 * trees.nbytes(chunk) + trees.nbytes((request.shared, list(request.readings.batches)))
    size = even_size(lanes, plan.lanes, used)
    while size > used and fixed + size // used * (per_lane + lane.work.live_bytes // 4) > budget:
        size = even_size(lanes, size // 2, used)
    while True:
        segments = Segments(request.loop, lane, plan, devices[:used])
        state = segments.state(size)
        first = segments.advance(state, chunk, plan.steps)
        fixed_here = fixed + plan.threads * first.temporary_bytes
        groups = max(1, -(-lanes // size))
        spare = 0 if fixed_here + groups * size // used * per_lane <= budget else budget // BATCH_SHARE
        room = (budget - fixed_here - spare) // per_lane * used // size * size
        if size == used or room >= size:
            break
        size = even_size(lanes, size // 2, used)
    if room < size:
        # a larger budget has larger chunks of batches, two of them at a time, and may keep more
        shares = memory.HEADROOM * (1 - 2 / CHUNK_SHARE - 1 / BATCH_SHARE)
        needed = math.ceil((fixed_here + size // used * per_lane) / shares)
        together = len(devices) if devices[0].platform == "cpu" else 1
        _checks.refuse(
            request.call,
            "memory_budget",
            f"enough for the {'lane' if size == 1 else f'{size} lanes'} of a call, some {needed * together:,} bytes",
            f"{request.budget * together:,}",
        )
    plan = replace(plan, lanes=size, devices=used)
    return Fit(plan, segments, first, size, min(room, groups * size), spare)


def _factorizes(request: Request) -> bool:
    """Whether lanes, or what they are evaluated by, call LAPACK."""
    lane, evaluate, batches = request.lane, request.loop.evaluate, request.readings.batches
    if lane.work.factorizations or evaluate is None or not batches:
        return lane.work.factorizations
    shapes = jax.tree.map(trees.shape_of, (lane.carry, batches[0]))

    def traced() -> bool:
        return work_of(jax.make_jaxpr(evaluate)(*shapes)).factorizations

    known_as = request.loop.known_as
    return traced() if known_as is None else programs.remembered(("lapack", *known_as, *trees.form(shapes)), traced)


def _seconds(request: Request, feed: Feed, fit: Fit) -> float:
    """What a lane's step takes under a plan, from a few calls on copies of the first lanes."""
    split, whole = shardings(request.processes.local_devices[: fit.plan.devices])
    chunk = feed.peek(request.first_stop)
    batches = jax.device_put(chunk.batches, whole)
    rows = request.processes.lanes[np.arange(fit.size) % len(request.processes.lanes)]
    hyperparams = jax.device_put(trees.rows(request.hyperparams, rows), split)
    shared = jax.device_put(request.shared, whole)
    steps = min(fit.plan.steps, chunk.steps)
    program = fit.segments.advance(fit.segments.state(fit.size), batches, steps)
    scalars = [np.int32(number) for number in (chunk.first, 0, steps)]

    def go(state: list[jax.Array]) -> list[jax.Array]:
        with jax.debug_nans(new_val=False):
            leaves = program.executable(*program.constants, *state, *jax.tree.leaves(batches), *scalars)
            return jax.block_until_ready(leaves)  # type: ignore[no-any-return, no-untyped-call]

    start = fit.segments.start(hyperparams, shared)
    with ThreadPoolExecutor(fit.plan.threads) as pool:
        states = [start(hyperparams, shared) for _ in range(fit.plan.threads)]
        states = list(pool.map(go, states))  # the first call allocates
        began = choosing.clock()
        list(pool.map(go, states))
        seconds = choosing.clock() - began
    return seconds / (steps * fit.size * fit.plan.threads)
