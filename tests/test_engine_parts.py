"""The engine's parts by themselves: groups, batches, what is kept of lanes, what a step costs, and memory."""

from __future__ import annotations

import contextlib
import hashlib
import math
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jax.experimental import io_callback

from lrjax.finder import Halving, Plan, memory
from lrjax.finder.batches import CHUNK_STEPS, EndOfBatches, Nothing, batch_source
from lrjax.finder.feed import Feed, Spill
from lrjax.finder.groups import Group, bucket, divided, even_size, filled, on_host, repacked
from lrjax.finder.history import History
from lrjax.finder.keeping import drop_checks
from lrjax.finder.processes import Processes
from lrjax.finder.programs import shardings
from lrjax.finder.segments import Segments
from lrjax.finder.work import work_of

prop = settings(deadline=None, max_examples=80, derandomize=True)
WHOLE = shardings(jax.devices()[:1])[1]


# groups


@prop
@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 8))
def test_even_sizes_are_the_smallest_for_as_few_groups_as_needed(lanes, most, devices):
    size = even_size(lanes, most, devices)
    most = math.ceil(most / devices) * devices
    groups = math.ceil(lanes / most)
    assert size % devices == 0
    assert size <= most
    assert math.ceil(lanes / size) == groups
    assert size == devices or groups * (size - devices) < lanes


@prop
@given(st.lists(st.integers(0, 9), min_size=1, max_size=9), st.integers(0, 9))
def test_filled_repeats_the_last_lane(lanes, more):
    found = filled(np.array(lanes), len(lanes) + more)
    assert found.tolist() == lanes + [lanes[-1]] * more


@prop
@given(st.integers(1, 40), st.integers(1, 8), st.data())
def test_buckets_halve_and_are_few(parts, devices, data):
    size = parts * devices
    chain = [size]
    while chain[-1] > devices and (half := math.ceil(chain[-1] / 2 / devices) * devices) < chain[-1]:
        chain.append(half)
    lanes = data.draw(st.integers(1, size))
    assert bucket(lanes, size, devices) == min(part for part in chain if part >= lanes)
    assert len({bucket(lanes, size, devices) for lanes in range(1, size + 1)}) <= math.log2(parts) + 2


def state_of(lanes):
    """Rows that tell whose they are."""
    return [np.array(lanes, np.float32)[:, None] * [1, 10], np.array(lanes)]


@st.composite
def packings(draw):
    """Groups of one size, a multiple of the devices, whose last rows may be fillers; and which lanes are alive."""
    devices = draw(st.integers(1, 3))
    size = devices * draw(st.integers(1, 4))
    counts = draw(st.lists(st.integers(1, size), min_size=1, max_size=6))
    numbers = draw(st.permutations(range(sum(counts))))
    groups, first = [], 0
    for count in counts:
        lanes = np.array(numbers[first : first + count])
        groups.append(Group(lanes, state_of(filled(lanes, size))))
        first += count
    alive = np.array(draw(st.lists(st.booleans(), min_size=first, max_size=first)))
    return groups, alive, size, devices


def assert_holds(groups, wanted):
    """Exactly these lanes, each with its own rows."""
    assert sorted(lane for group in groups for lane in group.lanes) == sorted(wanted)
    for group in groups:
        rows = state_of(group.lanes)
        for leaf, expected in zip(group.state, rows, strict=True):
            np.testing.assert_array_equal(leaf[: len(group.lanes)], expected)
            filler = np.repeat(leaf[len(group.lanes) - 1 : len(group.lanes)], len(leaf) - len(group.lanes), axis=0)
            np.testing.assert_array_equal(leaf[len(group.lanes) :], filler)


@prop
@given(packings(), st.integers(1, 9))
def test_divided_groups_hold_every_living_lane_once_and_in_order(packing, size):
    groups, alive, *_ = packing
    wanted = [lane for group in groups for lane in group.lanes if alive[lane]]
    found = list(divided((on_host(group, alive) for group in groups), size, lambda leaves: leaves))
    assert [lane for group in found for lane in group.lanes] == wanted
    assert [group.size for group in found] == [size] * math.ceil(len(wanted) / size)
    assert_holds(found, wanted)


@prop
@given(packings(), st.booleans())
@example(
    (
        *[[Group(np.arange(2), state_of([0, 1])), Group(np.array([2]), state_of([2, 2]))]],
        np.array([True, False, True]),
        2,
        1,
    ),
    False,
)
def test_repacked_groups_are_as_few_as_hold_the_living_lanes(packing, pays):
    groups, alive, size, devices = packing
    asked = []
    found = repacked(list(groups), alive, devices, lambda leaves: leaves, lambda *sizes: asked.append(sizes) or pays)
    count = int(alive.sum())
    assert len(found) == math.ceil(count / size)
    living = [Group(g.lanes[alive[g.lanes]], [leaf[: len(g.lanes)][alive[g.lanes]] for leaf in g.state]) for g in found]
    assert_holds(living, np.flatnonzero(alive))
    assert len({group.size for group in found}) <= 1
    for smaller in {group.size for group in found} - {size}:
        assert pays
        assert asked == [(size, smaller)]
        assert smaller == bucket(count, size, devices)
        assert smaller % devices == 0
    for group in groups:
        if len(group.lanes) == size and alive[group.lanes].all() and count > size:
            assert any(group is other for other in found)


# batches


def as_batches(numbers, dtype):
    return {"x": np.asarray(numbers)[:, None].astype(dtype) * np.array([1, 2]).astype(dtype), "n": np.array(numbers)}


def sourced(kind, numbers, dtype, chunk_bytes):
    """A source of batches by these numbers."""
    stacked = as_batches(numbers, dtype)
    rows = [jax.tree.map(lambda leaf, i=i: leaf[i], stacked) for i in range(len(numbers))]
    return batch_source("test", {"stacked": stacked, "list": rows, "generator": iter(rows)}[kind], chunk_bytes)


def numbers_in(chunk):
    """Of the batches of a chunk, which must agree in all leaves."""
    leaves = jax.tree.map(np.asarray, chunk.batches)
    places = [(chunk.first + i) % len(leaves["n"]) for i in range(chunk.steps)]
    np.testing.assert_array_equal(leaves["x"][places].astype(int), leaves["n"][places][:, None] * [1, 2])
    return leaves["n"][places].tolist()


def gone_through(feed, steps, stops, *, ahead):
    """The batches of one wave of lanes, and where its chunks began; stops early where they end."""
    found, cuts, start = [], [0], 0
    stops = {stop for stop in stops if stop < steps}
    while start < steps:
        try:
            chunk = feed.chunk(start, min([stop for stop in stops if stop > start], default=steps))
        except EndOfBatches:
            break
        assert 1 <= chunk.steps <= CHUNK_STEPS
        found += numbers_in(chunk)
        start += chunk.steps
        assert not any(cuts[-1] < stop < start for stop in stops)
        cuts.append(start)
        if ahead and start < steps:
            feed.prefetch(start, min([stop for stop in stops if stop > start], default=steps))
    return found, cuts


@prop
@given(
    st.sampled_from(["stacked", "list", "generator"]),
    st.integers(1, 30),
    st.integers(1, 90),
    st.sets(st.integers(1, 89), max_size=4),
    st.sampled_from([1, 60, 10**6]),
    st.sampled_from([0, 100, 10**6]),
    st.booleans(),
    st.booleans(),
)
def test_every_wave_sees_the_same_batches_in_the_same_chunks(
    kind, length, steps, stops, chunk_bytes, memory_bytes, ahead, peeked
):
    numbers = list(range(3, 3 + length))
    source = sourced(kind, numbers, np.float32, chunk_bytes)
    feed = Feed(source)
    if peeked:
        first = feed.peek(min([*stops, steps]))
        assert numbers_in(first)[0] == 3
    feed.place(WHOLE, Spill(memory_bytes))
    expected = (numbers * steps)[:steps] if kind != "generator" else numbers[:steps]
    with contextlib.closing(feed):
        waves = [gone_through(feed, steps, stops, ahead=ahead) for _ in range(3)]
        assert [found for found, _ in waves] == [expected] * 3
        assert [cuts for _, cuts in waves] == [feed.cuts] * 3


@prop
@given(st.sampled_from(["stacked", "list", "generator"]), st.integers(1, 20), st.sampled_from([1, 60, 10**6]))
def test_chunks_have_the_shapes_that_were_compiled_for(kind, length, chunk_bytes):
    source = sourced(kind, list(range(length)), np.float32, chunk_bytes)
    wanted = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), source.chunk)
    assert jax.tree.map(lambda leaf: leaf.shape, source.batch) == {"n": (), "x": (2,)}
    for _ in range(length):
        try:
            chunk = source.take(3)
        except EndOfBatches:
            assert kind == "generator"
            break
        assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), chunk.batches) == wanted
        assert chunk_bytes >= 10**6 or kind != "stacked" or wanted["n"][0][0] * 12 <= max(chunk_bytes, 12)


@prop
@given(
    st.lists(
        st.tuples(st.sampled_from(["stacked", "list"]), st.sets(st.integers(1, 39)), st.sampled_from([1, 60, 10**6])),
        min_size=2,
        max_size=2,
    ),
    st.sampled_from([np.float32, jnp.bfloat16, np.uint8]),
)
def test_the_rolling_hash_knows_no_cuts(pairs, dtype):
    hashes = []
    for kind, stops, chunk_bytes in pairs:
        feed = Feed(sourced(kind, list(range(7)), dtype, chunk_bytes), hashed=True)
        feed.place(WHOLE, None)
        gone_through(feed, 40, stops, ahead=True)
        hashes.append(feed.hashes)
    rolling = hashlib.sha256()
    canonical = jax.tree.map(np.asarray, jax.tree.map(jnp.asarray, as_batches(range(7), dtype)))
    for step in range(40):
        for leaf in jax.tree.leaves(canonical):
            rolling.update(leaf[step % 7].tobytes())
        for known in hashes:
            assert known.get(step + 1, rolling.hexdigest()) == rolling.hexdigest()
    assert all(max(known) == 40 for known in hashes)


def test_skipped_batches_are_hashed_and_counted_and_the_next_ones_follow():
    numbers, cuts = list(range(20)), [0, 4, 7, 12]
    feed = Feed(sourced("generator", numbers, np.float32, 10**6), hashed=True)
    feed.place(WHOLE, None)
    gone_through(feed, 12, cuts, ahead=False)
    again = Feed(sourced("generator", numbers, np.float32, 10**6), hashed=True)
    again.place(WHOLE, Spill(0))
    with contextlib.closing(again):
        assert again.skip(cuts) == 12
        assert again.hashes == feed.hashes
        assert numbers_in(again.chunk(12, 15)) == [12, 13, 14]
        assert gone_through(again, 15, cuts, ahead=False) == (list(range(15)), [*cuts, 15])
    short = Feed(sourced("generator", numbers[:6], np.float32, 10**6), hashed=True)
    short.place(WHOLE, None)
    assert short.skip(cuts) == 6


def test_a_generator_that_ends_ends_every_wave_alike():
    feed = Feed(sourced("generator", list(range(5)), np.float32, 10**6))
    feed.place(WHOLE, Spill(0))
    with contextlib.closing(feed):
        for _ in range(3):
            assert gone_through(feed, 9, {2}, ahead=True) == (list(range(5)), [0, 2, 5])
            with pytest.raises(EndOfBatches, match="the iterable was exhausted"):
                feed.chunk(5, 9)


def test_only_one_chunk_is_pulled_ahead():
    pulled = []

    def numbered():
        for number in range(100):
            pulled.append(number)
            yield np.float32(number)

    feed = Feed(batch_source("test", numbered(), 40))
    feed.place(WHOLE, None)
    assert feed.chunk(0, 10).steps == 10
    feed.prefetch(10, 20)
    feed.prefetch(10, 20)
    assert len(pulled) == 20


def test_no_batches_are_none():
    source = Nothing()
    assert source.take(1000) == (None, 0, CHUNK_STEPS)
    assert source.take(3) == (None, 0, 3)


TREE = {
    "bfloat16": np.arange(-3, 3).astype(jnp.bfloat16).reshape(2, 3),
    "float8": np.arange(4).astype(jnp.float8_e4m3fn),
    "key": np.asarray(jax.random.key_data(jax.random.split(jax.random.key(1), 2))),
    "bool": np.array([True, False]),
    "empty": np.zeros((0, 3), np.float32),
    "strided": np.arange(12.0)[::3],
}


@pytest.mark.parametrize("memory_bytes", [0, 10**6])
def test_spilled_trees_come_back_as_they_went(memory_bytes, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    spill = Spill(memory_bytes)
    kept = [spill.put(TREE), spill.put(jax.tree.map(np.flip, TREE))]
    on_disk = [isinstance(leaf, np.memmap) for leaf in jax.tree.leaves(kept)]
    assert any(on_disk) == bool(list(tmp_path.iterdir())) == (memory_bytes == 0)
    assert sum(on_disk) == (10 if memory_bytes == 0 else 0)
    for tree, original in zip(kept, (TREE, jax.tree.map(np.flip, TREE)), strict=True):
        for leaf, expected in zip(jax.tree.leaves(tree), jax.tree.leaves(original), strict=True):
            assert (leaf.shape, leaf.dtype) == (expected.shape, expected.dtype)
            assert leaf.tobytes() == expected.tobytes()
            np.testing.assert_array_equal(np.asarray(jnp.asarray(leaf)), np.asarray(jnp.asarray(expected)))
    spill.close()
    assert not list(tmp_path.iterdir())


def test_memory_is_used_up_before_the_disk():
    spill = Spill(100)
    trees = [spill.put(np.zeros(size, np.uint8)) for size in (60, 60, 40, 1)]
    assert [isinstance(tree, np.memmap) for tree in trees] == [False, True, False, True]
    spill.close()


@prop
@given(st.integers(1, CHUNK_STEPS), st.integers(1, 80), st.booleans())
def test_calls_cover_a_chunk_and_need_two_programs_at_most(chunk, steps, unroll):
    calls = list(Segments(None, None, Plan(1, steps=steps, unroll=unroll), []).calls(chunk))
    covered = [offset + place for offset, count in calls for place in range(count)]
    assert covered == list(range(chunk))
    counts = {count for _, count in calls}
    assert max(counts) <= steps
    assert not unroll or counts <= {steps, 1}


@prop
@given(st.lists(st.integers(0, 3), min_size=1, max_size=8), st.integers(1, 40))
def test_processes_share_the_lanes_by_their_devices(owners, lanes):
    devices = [SimpleNamespace(process_index=owner) for owner in sorted(owners)]
    parts = []
    for process in sorted(set(owners)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(jax, "process_index", lambda process=process: process)
            parts.append(Processes(devices, lanes).lanes)
        assert abs(len(parts[-1]) - lanes * owners.count(process) / len(owners)) < 1
    assert np.concatenate(parts).tolist() == list(range(lanes))


# which lanes go on


@prop
@given(st.floats(0.05, 0.95), st.integers(1, 12), st.integers(1, 500))
def test_rungs_are_powers_of_the_fraction_within_the_run(fraction, rungs, steps):
    at = Halving(fraction, rungs).at(steps)
    expected = {round(steps * fraction**power) for power in range(1, rungs + 1)} - {0, steps}
    assert at == sorted(expected)


@prop
@given(st.lists(st.sampled_from([0.0, 1.0, -2.5, math.nan, math.inf]), max_size=12), st.floats(0.05, 0.95))
def test_the_lowest_are_kept_and_what_is_not_finite_goes_first(scores, fraction):
    kept = Halving(fraction).kept(np.array(scores))
    ranked = sorted(
        range(len(scores)),
        key=lambda i: (not math.isfinite(scores[i]), scores[i] if math.isfinite(scores[i]) else 0, i),
    )
    assert np.flatnonzero(kept).tolist() == sorted(ranked[: math.ceil(fraction * len(scores))])


@prop
@given(st.integers(1, 300))
def test_lanes_are_checked_at_each_tenth(steps):
    checks = drop_checks("finite", steps)
    assert checks == sorted({round(steps * tenth / 10) for tenth in range(1, 10)} - {0, steps})
    assert drop_checks(Halving(), steps) == checks
    assert drop_checks("all", steps) == []
    assert len(checks) <= 9


@st.composite
def runs(draw):
    """Losses ``[lanes, steps]``, readings after some numbers of updates, and the ends of chunks."""
    lanes, steps = draw(st.integers(1, 4)), draw(st.integers(1, 8))
    numbers = st.sampled_from([0.0, 1.0, 2.0, math.nan, math.inf, -math.inf]) | st.floats(-9, 9, width=32)
    losses = draw(st.lists(numbers, min_size=lanes * steps, max_size=lanes * steps))
    at = draw(st.sets(st.integers(0, steps)))
    readings = draw(st.lists(numbers, min_size=lanes * len(at), max_size=lanes * len(at)))
    cuts = draw(st.sets(st.integers(1, steps))) | at | {0, steps}
    dropped = draw(st.lists(st.sampled_from([-1, *sorted(cuts)]), min_size=lanes, max_size=lanes))
    return (
        np.array(losses, np.float32).reshape(lanes, steps),
        np.array(readings, np.float32).reshape(lanes, len(at)),
        sorted(at),
        sorted(cuts),
        np.array(dropped),
    )


@prop
@given(runs(), st.booleans())
def test_history_ends_each_lane_where_it_is_lost_or_dropped(run, saved):
    losses, readings, at, cuts, dropped = run
    lanes, steps = losses.shape
    shapes = {"n": jax.ShapeDtypeStruct((2,), np.int32), "loss": jax.ShapeDtypeStruct((), np.float32)}
    history = History(shapes, "loss", lanes, steps)
    counted = np.tile(np.arange(1, steps + 1)[None, :, None], (lanes, 1, 2))
    for start, stop in zip(cuts, [*cuts[1:], None], strict=True):
        order = np.roll(np.arange(lanes), start)  # lanes come in any order, in two groups
        for part in np.array_split(order, 2):
            if start in at and len(part):
                history.add_reading(part, start, readings[part, at.index(start)])
        history.dropped_at[history.alive & (dropped == start)] = start
        if saved:
            arrays = history.arrays()
            history = History(shapes, "loss", lanes, steps)
            history.restore(arrays)
        for part in np.array_split(order, 2):
            if stop is not None and len(part):
                history.add_steps(part, start, {"n": counted[part, start:stop], "loss": losses[part, start:stop]})
    metrics, values = history.ended(steps, at)
    for lane in range(lanes):
        bad = [step for step in range(steps) if not math.isfinite(losses[lane, step])]
        bad += [step for column, step in enumerate(at) if not math.isfinite(readings[lane, column])]
        lost = min(bad, default=-1)
        # at the step of a drop a reading is there before it, and a loss after it
        first_read = lost in at and not math.isfinite(readings[lane, at.index(lost)])
        if dropped[lane] >= 0 and (lost < 0 or dropped[lane] < lost or (dropped[lane] == lost and not first_read)):
            lost, gone, last_read = -1, dropped[lane], dropped[lane]
        else:
            gone, last_read = (lost if lost >= 0 else steps), (lost - 1 if lost >= 0 else steps)
        assert history.lost_at[lane] == lost
        assert history.alive[lane] == (lost < 0 and dropped[lane] < 0)
        np.testing.assert_array_equal(metrics["loss"][lane], [*losses[lane, :gone], *[np.nan] * (steps - gone)])
        np.testing.assert_array_equal(metrics["n"][lane, :, 1], [*range(1, gone + 1), *[0] * (steps - gone)])
        expected = [readings[lane, column] if step <= last_read else np.nan for column, step in enumerate(at)]
        np.testing.assert_array_equal(values[lane], expected)
    assert metrics["n"].dtype == np.int32


# what a step costs


def counted(function, *args):
    return work_of(jax.make_jaxpr(function)(*args))


BATCH, IN, HIDDEN = 8, 3, 5
DENSE = (jnp.ones((IN, HIDDEN)), jnp.ones((HIDDEN, IN)))


def dense(weights, x):
    return jax.lax.dot(jax.lax.tanh(jax.lax.dot(x, weights[0])), weights[1])


def test_work_of_a_perceptron():
    products = 2 * BATCH * IN * HIDDEN * 2
    work = counted(dense, DENSE, jnp.ones((BATCH, IN)))
    assert work.operations == products + BATCH * HIDDEN
    assert (work.convolutions, work.calls_back) == (False, False)
    inner = counted(jax.jit(jax.checkpoint(dense)), DENSE, jnp.ones((BATCH, IN)))
    assert inner.operations == work.operations
    backward = counted(jax.grad(lambda w, x: dense(w, x).sum()), DENSE, jnp.ones((BATCH, IN)))
    # forward without the last product, whose result is not needed; then one product for each weight and one back
    assert 2.5 * products - BATCH * HIDDEN <= backward.operations <= 3.2 * products


def test_work_of_a_batched_product_counts_every_lane():
    stacked = jnp.ones((6, BATCH, IN)), jnp.ones((6, IN, HIDDEN))
    work = counted(lambda a, b: jax.lax.dot_general(a, b, (((2,), (1,)), ((0,), (0,)))), *stacked)
    assert work.operations == 6 * 2 * BATCH * IN * HIDDEN


def test_work_of_a_scan_is_its_length_times_its_body():
    def twice(weights, x):
        def again(carry, _):
            return jax.lax.scan(lambda c, _: (dense(weights, c), None), carry, length=3)[0], None

        return jax.lax.scan(again, x, length=4)[0]

    once = counted(dense, DENSE, jnp.ones((BATCH, IN))).operations
    work = counted(twice, DENSE, jnp.ones((BATCH, IN)))
    assert work.operations == 12 * once


@pytest.mark.parametrize("groups", [1, 2])
def test_work_of_a_convolution(groups):
    image, kernel = jnp.ones((2, 7, 7, 4)), jnp.ones((3, 3, 4 // groups, 6))

    def convolve(kernel, image):
        return jax.lax.conv_general_dilated(
            image, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=groups
        )

    product = 2 * (2 * 7 * 7 * 6) * (3 * 3 * 4 // groups)
    work = counted(convolve, kernel, image)
    assert work.operations == product
    assert work.convolutions
    both = counted(lambda kernel, image: jax.vjp(convolve, kernel, image)[1](jnp.ones((2, 7, 7, 6))), kernel, image)
    assert 3 * product <= both.operations <= 3.2 * product


CALLS = [
    lambda x: jax.pure_callback(np.sin, jax.ShapeDtypeStruct((), np.float32), x),
    lambda x: io_callback(np.sin, jax.ShapeDtypeStruct((), np.float32), x),
    lambda x: jax.debug.callback(print, x) or x,
]


@pytest.mark.parametrize("call", CALLS, ids=["pure", "io", "debug"])
def test_work_knows_of_calls_back_anywhere_within(call):
    nested = jax.jit(lambda x: jax.lax.cond(x > 0, call, lambda x: x, x))
    assert counted(nested, 1.0).calls_back
    looping = jax.jit(lambda x: jax.lax.while_loop(lambda c: c < 9, lambda c: c + 1, x))
    assert not counted(looping, 1.0).calls_back


def test_live_bytes_are_what_is_computed_and_still_needed():
    x = jnp.ones(100)
    assert counted(lambda x: jax.lax.add(jax.lax.sin(x), jax.lax.cos(x)), x).live_bytes == 3 * 400
    assert counted(lambda x: jax.lax.sin(jax.lax.sin(jax.lax.sin(x))), x).live_bytes == 2 * 400
    assert counted(lambda x: x, x).live_bytes == 0
    halves = counted(lambda x: jax.lax.sin(jax.lax.convert_element_type(x, jnp.bfloat16)), x)
    assert halves.live_bytes == 2 * 200
    scanned = counted(lambda x: jax.lax.scan(lambda c, _: (jax.lax.sin(jax.lax.sin(c)), None), x, length=3)[0], x)
    assert scanned.live_bytes == 400 + 2 * 400


# memory


def device(platform, limit=None, used=0):
    stats = None if limit is None else {"bytes_limit": limit, "bytes_in_use": used}
    return SimpleNamespace(platform=platform, memory_stats=lambda: stats)


def test_a_budget_is_for_each_accelerator_and_for_all_devices_of_a_cpu():
    assert memory.budget("test", 1000, [device("cpu")] * 4) == 250
    assert memory.budget("test", 1000, [device("gpu", 10**9)] * 4) == 1000
    assert memory.budget("test", 1e3, [device("gpu")]) == 1000


def test_the_default_is_a_part_of_what_is_free(monkeypatch, tmp_path):
    gpus = [device("gpu", 1000, 100), device("gpu", 1000, 600)]
    assert memory.budget("test", None, gpus) == int(0.9 * 400)
    monkeypatch.setattr(memory, "_CGROUP_LIMITS", ())
    machine = memory.budget("test", None, [device("cpu")])
    assert 2**28 < machine < 2**45
    assert memory.budget("test", None, [device("cpu")] * 2) == machine // 2
    assert memory.budget("test", None, [device("gpu")]) == machine
    for text, expected in (("max\n", machine), ("1000\n", 500), (str(2**63), machine)):
        (tmp_path / "limit").write_text(text)
        monkeypatch.setattr(memory, "_CGROUP_LIMITS", (tmp_path / "none", tmp_path / "limit"))
        assert memory.budget("test", None, [device("cpu")]) == expected
