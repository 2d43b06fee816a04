"""What every schedule promises, for every row of the table."""

from __future__ import annotations

import zlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from schedule_table import CASES, LENGTHS, VARIANTS, Case

import lrjax

MAX_STEP = 2**31 - 1
ULPS = 8

every_schedule = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
every_variant = pytest.mark.parametrize("case", [*CASES, *VARIANTS], ids=lambda case: case.name)


def probes(case: Case, total: int, size: int = 512) -> np.ndarray:
    """Steps around every boundary, spread over the run, and beyond it."""
    rng = np.random.default_rng(zlib.crc32(case.name.encode()))
    near = np.arange(-3, 4)
    edges = [np.asarray(edge + near) for edge in (3, total, 3 * total // 10, *case.counts_for(total).values())]
    edges += [np.asarray(total - count + near) for count in case.counts_for(total).values()]
    small = np.geomspace(1, total, 64).astype(np.int64)
    fixed = np.concatenate([*edges, small, total - small, [MAX_STEP]])
    steps = np.concatenate([fixed, rng.integers(0, total, size - len(fixed))])
    return np.clip(steps, 0, MAX_STEP).astype(np.int32)


def ulp_errors(values: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Distance in units of the last place of a float32, where the value counts."""
    counts = np.abs(expected) >= 1e-30 * np.abs(expected).max()
    ulp = np.spacing(np.abs(expected).astype(np.float32)).astype(np.longdouble)
    return np.where(counts, np.abs(values.astype(np.longdouble) - expected) / ulp, 0)


@pytest.mark.parametrize("total", LENGTHS)
@every_variant
def test_within_8_ulp_of_the_definition(case: Case, total: int):
    steps = probes(case, total)
    errors = ulp_errors(np.asarray(case.schedule(total)(steps)), case.expected(steps, total))
    worst = int(errors.argmax())
    assert errors[worst] <= ULPS, f"{errors[worst]:.1f} ulp at step {steps[worst]}"


@every_variant
def test_x64_matches_the_definition(case: Case, x64: None):
    steps = probes(case, 1_000_000)
    with jax.disable_jit():  # the same operations one by one: nothing to compile for each schedule
        values = np.asarray(case.schedule(1_000_000)(steps))
    expected = case.expected(steps, 1_000_000, dtype=np.float64)
    assert values.dtype == np.float64
    scale = np.abs(expected).max()
    np.testing.assert_allclose(values, expected.astype(np.float64), rtol=1e-12, atol=1e-30 * float(scale))


@every_schedule
def test_eager_jit_and_vmap_agree(case: Case):
    schedule, steps = case.schedule(), probes(case, 1000)
    eager = np.asarray(schedule(steps)).astype(np.longdouble)
    scalars = np.asarray([schedule(int(step)) for step in steps[:40]])
    jitted, vmapped = jax.jit(lambda steps: (schedule(steps), jax.vmap(schedule)(steps)))(steps)
    for other in (jitted, vmapped, schedule(jnp.asarray(steps))):
        assert ulp_errors(np.asarray(other), eager).max() <= ULPS
    assert ulp_errors(scalars, eager[:40]).max() <= ULPS


@every_schedule
def test_any_kind_of_step_gives_float32_of_its_shape(case: Case):
    schedule = case.schedule()
    expected = float(schedule(7))
    for kind in (np.int8, np.uint8, np.int16, np.int32, np.uint32, np.int64, np.uint64, np.float16, np.float32):
        for step in (kind(7), jnp.asarray(kind(7))):
            value = schedule(step)
            assert isinstance(value, jax.Array)
            assert (value.dtype, value.shape) == (jnp.float32, ())
            assert float(value) == expected
    assert float(schedule(7.9)) == expected
    for shape in ((), (0,), (2, 3)):  # kinds differ until they are int32, shapes from there on
        for dtype in (jnp.int8, jnp.int32, jnp.uint32, jnp.float32, jnp.bfloat16):
            value = jax.eval_shape(schedule, jax.ShapeDtypeStruct(shape, dtype))
            assert (value.dtype, value.shape, value.weak_type) == (jnp.float32, shape, False)


@every_schedule
def test_steps_outside_the_int32_range_are_clamped(case: Case):
    schedule = case.schedule()
    first, last = float(schedule(0)), float(schedule(MAX_STEP))
    for step in (-1, -(10**12), np.int8(-128), np.int64(-(2**40)), -1.5, -np.inf, jnp.int32(-5), jnp.float32(-9)):
        assert float(schedule(step)) == first
    for step in (2**31, 10**12, np.int64(2**32 + 7), np.uint64(2**63), np.uint32(2**32 - 1), 1e12, np.inf):
        assert float(schedule(step)) == last
    for step in (jnp.uint32(2**32 - 1), jnp.float32(2.0**31), jnp.float32(jnp.inf)):
        assert float(schedule(step)) == last


@every_schedule
def test_held_after_the_end(case: Case):
    if case.holds:
        after = np.resize(np.asarray([1000, 1001, 2000, 10**6, MAX_STEP], np.int32), 512)
        np.testing.assert_array_equal(case.schedule()(after), np.full(512, np.float32(case.expected(after[:1])[0])))


@every_schedule
def test_new_numbers_do_not_retrace(case: Case):
    traces = 0

    @jax.jit
    def value(numbers, step):
        nonlocal traces
        traces += 1
        return case.build(**numbers)(step)

    numbers = {**case.values, **case.counts}
    for scale in (1.0, 0.5, 0.25):
        jax.eval_shape(value, {name: type(number)(number * scale) for name, number in numbers.items()}, 17)
    assert traces == 1


@every_schedule
def test_vmap_over_every_number(case: Case):
    steps, numbers = probes(case, 1000), {**case.values, **case.counts}
    both = {
        name: np.asarray([number, number * 0.9], np.int32 if isinstance(number, int) else np.float32)
        for name, number in numbers.items()
    }
    for names in filter(None, (list(both)[::2], list(both)[1::2])):  # each half beside the other one's plain numbers
        shape = jax.eval_shape(
            jax.vmap(lambda some: case.schedule(**some)(steps)), {name: both[name] for name in names}
        )
        assert shape.shape == (2, len(steps))

    # Each lane changes one number alone; one compilation serves them all.
    lanes = [{**numbers, name: type(numbers[name])(numbers[name] * 0.9)} for name in numbers]
    stacked = {name: np.asarray([lane[name] for lane in lanes]) for name in numbers}
    together = jax.vmap(lambda lane: case.build(**lane)(steps))(stacked)
    for lane, values in zip(lanes, together, strict=True):
        alone = np.asarray(case.build(**lane)(steps)).astype(np.longdouble)
        assert ulp_errors(np.asarray(values), alone).max() <= ULPS, lane


def rates_in_scan(schedule):
    """The rates that an optax chain applies, inside jit and scan."""
    optimizer = optax.scale_by_schedule(schedule)

    def update(state, _):
        updates, state = optimizer.update(jnp.ones(()), state)
        return state, updates

    return jax.lax.scan(update, optimizer.init(jnp.ones(())), length=20)[1]


@every_schedule
def test_inside_an_optax_chain_inside_scan(case: Case):
    rates = jax.eval_shape(lambda: rates_in_scan(case.schedule()))
    assert (rates.shape, rates.dtype) == ((20,), jnp.float32)


def test_a_scan_applies_the_rates_of_the_schedule():
    schedule = lrjax.warmup_cosine(0.1, 18, warmup_steps=3)
    np.testing.assert_allclose(rates_in_scan(schedule), schedule(np.arange(20)), rtol=1e-6)


def test_traced_steps_of_every_kind():
    traced = jax.jit(lrjax.warmup_cosine(0.1, 18, warmup_steps=3, end_value=0.01))
    for step in (np.int8(7), np.uint16(7), np.float32(7.9), jnp.bfloat16(7)):
        assert float(traced(step)) == float(traced(7))
    for step in (np.uint32(2**32 - 1), np.float32(2.0**31), np.float32(np.inf)):
        assert float(traced(step)) == np.float32(0.01)
    for step in (np.int8(-7), np.float32(-0.5), np.float32(-np.inf), np.float32(np.nan)):
        assert float(traced(step)) == 0.0


def test_a_schedule_is_a_pytree_of_its_numbers():
    halved = jax.tree.map(lambda number: number / 2, lrjax.schedules.scale_by(lrjax.constant(0.1), 0.5))
    assert float(halved(3)) == pytest.approx(0.0125)


@every_schedule
def test_prints_as_the_call_that_made_it(case: Case):
    text = repr(case.schedule())
    assert text.startswith(case.name.split()[0] + "(")
    assert text.endswith(")")


@pytest.mark.parametrize("step", [float("nan"), np.array([1.0, np.nan])])
def test_a_step_that_is_nan_is_refused(step):
    with pytest.raises(ValueError, match=r"schedule\(step\) must not be NaN, got"):
        CASES[0].schedule()(step)


@pytest.mark.parametrize("step", [True, "3", None, np.array(["a"]), 1j, np.array(True)])
def test_a_step_of_the_wrong_kind_is_refused(step):
    with pytest.raises(TypeError, match=r"schedule\(step\) takes"):
        CASES[0].schedule()(step)
