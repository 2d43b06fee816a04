"""Invariants of schedules over random valid hyperparameters."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import lrjax
from lrjax import schedules as S  # noqa: N812

SHAPES = ("linear", "cosine", "1-sqrt", "exponential", "inverse", "square", "mirror_cosine")
MAX_STEP = 2**31 - 1

rates = st.floats(2.0**-20, 10.0, width=32)
fractions = st.floats(0.1, 1.0)
settings.register_profile("lrjax", deadline=None, max_examples=60, derandomize=True)
settings.load_profile("lrjax")


@st.composite
def runs(draw):
    """A peak, an initial and a final rate, and the three lengths of a run; every phase may be empty."""
    peak = draw(rates)
    init, end = (draw(st.sampled_from([0.0, float(np.float32(peak * draw(fractions)))])) for _ in range(2))
    total = draw(st.integers(1, draw(st.sampled_from([10, 1000, 10**6, MAX_STEP]))))
    warmup = draw(st.integers(0, total))
    decay = draw(st.sampled_from([0, total - warmup, draw(st.integers(0, total - warmup))]))
    return peak, init, end, total, warmup, decay


def grid(total: int, *edges: int) -> np.ndarray:
    """64 steps over the run, its boundaries and their neighbours among them."""
    near = [edge + offset for edge in (0, total, *edges) for offset in (-1, 0, 1)]
    steps = np.concatenate([near, np.linspace(0, total, 64 - len(near)), [2 * total]])[:64]
    return np.sort(np.clip(steps, 0, MAX_STEP)).astype(np.int64)


def values_at(schedule, steps):
    """The values at a few steps, in the shape of a grid: one compilation serves every test of a schedule."""
    return np.asarray(schedule(np.resize(np.asarray(steps), 64)))[: len(steps)]


def phases_of(run, shape):
    """Every recipe of warmup, plateau and decay with its boundaries."""
    peak, init, end, total, warmup, decay = run
    yield (
        S.wsd(peak, total, warmup_steps=warmup, decay_steps=decay, decay=shape, init_value=init, end_value=end),
        (
            warmup,
            total - decay,
        ),
    )
    yield lrjax.warmup_cosine(peak, total, warmup_steps=warmup, init_value=init, end_value=end), (warmup,)
    yield S.warmup_linear(peak, total, warmup_steps=warmup, init_value=init, end_value=end), (warmup,)
    yield S.one_cycle(peak, total, peak_fraction=warmup / total, div_factor=10.0, final_div_factor=10.0), (warmup,)


@given(runs(), st.sampled_from(SHAPES))
def test_finite_and_within_its_values(run, shape):
    peak, init, end, total, *_ = run
    for schedule, edges in phases_of(run, shape):
        values = np.asarray(schedule(grid(total, *edges)))
        assert np.isfinite(values).all()
        lowest = min(init, end, peak) if "one_cycle" not in repr(schedule) else peak / 101
        assert values.min() >= np.nextafter(np.float32(lowest), np.float32(-1)), schedule
        assert values.max() <= np.nextafter(np.float32(peak), np.float32(100)), schedule


@given(runs(), st.sampled_from(SHAPES))
def test_boundaries(run, shape):
    peak, init, end, total, warmup, decay = run
    for schedule in (
        S.wsd(peak, total, warmup_steps=warmup, decay_steps=decay, decay=shape, init_value=init, end_value=end),
        lrjax.warmup_cosine(peak, total, warmup_steps=warmup, init_value=init, end_value=end),
        S.warmup_linear(peak, total, warmup_steps=warmup, init_value=init, end_value=end),
    ):
        first, top, last, held = values_at(schedule, [0, warmup, total, MAX_STEP])
        assert last == held == np.float32(end)
        if warmup < total and ("wsd" not in repr(schedule) or warmup < total - decay or shape != "exponential"):
            assert top == np.float32(peak)
        assert first == np.float32(init if warmup else peak)


@given(runs(), st.sampled_from(SHAPES))
def test_monotone_within_a_phase(run, shape):
    peak, _, _, total, *_ = run
    for schedule, edges in phases_of(run, shape):
        steps = grid(total, *edges)
        values = np.asarray(schedule(steps))
        bounds = sorted({0, total, *edges})
        for start, stop in pairwise(bounds):
            inside = values[(steps >= start) & (steps < stop)]
            slack = 4 * np.spacing(np.float32(peak))
            assert (np.diff(inside) >= -slack).all() or (np.diff(inside) <= slack).all(), (schedule, start, stop)


@given(runs(), st.sampled_from(SHAPES))
def test_continuous_across_joins(run, shape):
    peak, _, _, total, warmup, decay = run
    assume(warmup < total and decay)  # a phase without steps is a drop by definition
    for schedule, edges in phases_of(run, shape):
        bounds = sorted({0, total, *edges})
        for left, edge in pairwise(bounds):
            before, after = values_at(schedule, [edge - 1, edge])
            # the steepest shape, inverse, falls 10 times as fast as a line at its start; 1-sqrt falls as a root
            slope = max(16 / (edge - left), np.sqrt(1 / (edge - left)))
            assert abs(float(after) - float(before)) <= peak * slope, (schedule, edge)


@given(runs(), st.integers(-5, 2 * 10**9))
def test_kinds_of_steps_agree(run, step):
    peak, init, end, total, warmup, decay = run
    schedule = S.wsd(peak, total, warmup_steps=warmup, decay_steps=decay, init_value=init, end_value=end)
    value = float(schedule(step))
    assert value == float(schedule(float(step))) == float(schedule(np.int64(step))) == float(schedule(np.float64(step)))
    np.testing.assert_allclose(schedule(np.asarray([step])), value, rtol=8 * 2**-23)
    if step < 0:
        assert value == float(schedule(0))


@given(runs(), st.just(0.0) | st.floats(2.0**-20, 4, width=32))
def test_scale_by_is_linear(run, factor):
    peak, init, end, total, warmup, _ = run
    steps = grid(total, warmup)
    schedule = lrjax.warmup_cosine(peak, total, warmup_steps=warmup, init_value=init, end_value=end)
    expected = np.float32(factor) * np.asarray(schedule(steps))
    np.testing.assert_allclose(S.scale_by(schedule, factor)(steps), expected, rtol=2**-23)


@given(rates, st.integers(0, 10**6), st.integers(0, 2 * 10**6))
def test_warmup_of_a_constant_is_a_line_and_then_the_constant(value, warmup, step):
    warmed = float(S.with_warmup(S.constant(value), warmup)(step))
    expected = value if step >= warmup else value * step / warmup
    assert warmed == pytest.approx(expected, rel=1e-6)


@given(runs(), st.integers(0, 10**6))
def test_join_shifts_its_pieces(run, boundary):
    peak, init, end, total, warmup, _ = run
    piece = lrjax.warmup_cosine(peak, total, warmup_steps=warmup, init_value=init, end_value=end)
    joined = lrjax.join([S.constant(peak), piece], [boundary])
    steps = grid(min(total, 10**9), warmup)
    np.testing.assert_allclose(joined(steps + boundary), piece(steps), rtol=8 * 2**-23)
    assert boundary == 0 or float(joined(boundary - 1)) == np.float32(peak)


@given(runs(), st.sampled_from(SHAPES))
def test_a_longer_run_keeps_the_rates_up_to_the_cooldown(run, shape):
    peak, init, _, total, warmup, decay = run
    short = S.wsd(peak, total, warmup_steps=warmup, decay_steps=decay, decay=shape, init_value=init)
    doubled = min(2 * total, MAX_STEP)
    long = S.wsd(peak, doubled, warmup_steps=warmup, decay_steps=decay, decay=shape, init_value=init)
    until = total - decay
    steps = np.minimum(grid(total, warmup), max(until - 1, 0))
    if until:
        np.testing.assert_array_equal(np.asarray(short(steps)), np.asarray(long(steps)))


@given(runs(), st.sampled_from(SHAPES))
def test_a_branched_cooldown_is_the_short_run(run, shape):
    peak, init, end, total, warmup, decay = run
    short = S.wsd(peak, total, warmup_steps=warmup, decay_steps=decay, decay=shape, init_value=init, end_value=end)
    endless = S.with_warmup(S.constant(peak), warmup, init_value=init)
    branch = S.with_cooldown(endless, total - decay, decay, decay=shape, end_value=end)
    steps = grid(total, warmup, total - decay)
    np.testing.assert_allclose(branch(steps), short(steps), rtol=8 * 2**-23)


@given(st.integers(1, 10**6), st.integers(1, 50), st.integers(0, 10**6), rates)
def test_staircase_epochs_change_only_between_epochs(steps_per_epoch, epochs, step, peak):
    by_epoch = S.cosine(peak, epochs)
    stairs = S.per_epoch(by_epoch, steps_per_epoch, staircase=True)
    assert float(stairs(step)) == float(by_epoch(step // steps_per_epoch))


@given(st.integers(1, 1000), st.integers(1, 10), st.integers(0, 10**6))
def test_restarts_agree_with_a_loop_over_cycles(first, growth, step):
    start, length = 0, first
    while step >= start + length:
        start, length = start + length, length * growth
    restart = S.cosine_restarts(1.0, first, cycle_factor=growth)
    expected = (1 + np.cos(np.pi * (step - start) / length)) / 2
    assert float(restart(step)) == pytest.approx(expected, abs=1e-6)
