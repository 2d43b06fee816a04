"""What a test of a GAN says: verdicts, balance, the surface and the edge, tables and the picture."""

from __future__ import annotations

import re
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import pyplot as plt

import lrjax.plot
from lrjax.finder import GanRampTest, GanRangeTest, GanSuggestion, Plan, gan_suggest
from lrjax.finder.gan.balance import distance_from_balance, verdicts
from lrjax.finder.gan.surface import smoothed
from lrjax.finder.gan.table import troubles

mpl.use("Agg")
NAN = np.nan
SCALES, RATIOS = np.geomspace(1e-4, 1e-1, 7), 2.0 ** np.arange(-2, 4)


def grid(values, *, start=None, signals=None, status=None, scales=SCALES, ratios=RATIOS, steps=600):
    """A result whose metric ends at ``values``, ``[A, B]`` or ``[A, B, R]``; NaN is a lost lane."""
    values = np.asarray(values, np.float64)
    values = values.reshape(len(scales) * len(ratios), -1)
    scale, ratio = (axis.ravel() for axis in np.meshgrid(scales, ratios, indexing="ij"))
    lost = np.isnan(values)
    readings = values[..., None] if start is None else np.stack([np.full(values.shape, start), values], axis=-1)
    none = np.zeros((*values.shape, 0))
    return GanRangeTest(
        generator_learning_rates=scale / np.sqrt(ratio),
        discriminator_learning_rates=scale * np.sqrt(ratio),
        axes={"scales": np.asarray(scales), "ratios": np.asarray(ratios)},
        seeds=np.arange(values.shape[1]),
        generator_losses=none,
        discriminator_losses=none,
        signals=signals or {},
        validation_steps=np.array([steps] if start is None else [0, steps]),
        validation_losses=readings,
        status=np.where(lost, "diverged", "finite") if status is None else status,
        lost_at=np.where(lost, steps, -1),
        steps_done=steps,
        plan=Plan(1),
        note="",
    )


def bowl(scale, ratio, noise=0.0, seeds=1):
    """A metric with its lowest place there, at every pair of the grid."""
    u = np.log10(SCALES / scale)[:, None, None]
    v = np.log10(RATIOS / ratio)[None, :, None]
    wobble = noise * np.random.default_rng(0).normal(size=(len(SCALES), len(RATIOS), seeds))
    return np.exp(1.5 * u**2 + v**2 + wobble)


def listed(result, places):
    """Some of the pairs, as a list."""
    names = ("generator_learning_rates", "discriminator_learning_rates", "validation_losses", "status", "lost_at")
    return replace(result, axes={}, **{name: getattr(result, name)[places] for name in names})


# The surface


def test_the_lowest_place_of_a_bowl():
    answer = gan_suggest(grid(bowl(SCALES[3], RATIOS[2])))
    assert answer.scale == pytest.approx(SCALES[3])
    assert answer.ratio == pytest.approx(RATIOS[2])
    assert answer.generator_learning_rate * answer.discriminator_learning_rate == pytest.approx(SCALES[3] ** 2)
    assert (answer.objective, answer.at_boundary) == ("metric", False)
    assert (answer.scale_low, answer.scale_high) == (pytest.approx(SCALES[3]), pytest.approx(SCALES[3]))
    assert "one seed gives no interval" in answer.reason
    assert "runs of up to about 3,000 steps; longer ones prefer smaller ratios" in answer.reason


def test_a_lucky_lane_far_from_the_bowl_is_not_believed():
    values = bowl(SCALES[4], RATIOS[3])
    values[0, 0] = 0.5 * values.min()
    answer = gan_suggest(grid(values))
    assert (answer.scale, answer.ratio) == (pytest.approx(SCALES[4]), pytest.approx(RATIOS[3]))


def test_seeds_are_averaged_and_give_an_interval():
    low, high = bowl(SCALES[2], RATIOS[2]), bowl(SCALES[4], RATIOS[4])
    answer = gan_suggest(grid(np.concatenate([low, high], axis=-1)))
    assert (answer.scale, answer.ratio) == (pytest.approx(SCALES[3]), pytest.approx(RATIOS[3]))
    assert (answer.scale_low, answer.scale_high) == (pytest.approx(SCALES[2]), pytest.approx(SCALES[4]))
    assert (answer.ratio_low, answer.ratio_high) == (pytest.approx(RATIOS[2]), pytest.approx(RATIOS[4]))
    assert "its 2 seeds alone answer scales 0.001 to 0.01 and ratios 1 to 4, though they share the" in answer.reason


def test_noise_is_smoothed_away():
    answers = [gan_suggest(grid(bowl(SCALES[3], RATIOS[3], noise=0.4, seeds=8)[..., [seed]])) for seed in range(8)]
    raw = [np.unravel_index(bowl(SCALES[3], RATIOS[3], 0.4, 8)[..., seed].argmin(), (7, 6)) for seed in range(8)]
    found = [abs(np.log10(answer.scale / SCALES[3])) for answer in answers]
    minimum = [abs(np.log10(SCALES[i] / SCALES[3])) for i, _ in raw]
    assert np.mean(found) < 0.5 * np.mean(minimum)


coefficients = st.lists(st.floats(-3, 3, width=16), min_size=6, max_size=6)


@settings(max_examples=40, deadline=None)
@given(c=coefficients, seed=st.integers(0, 99), pairs=st.integers(7, 40))
def test_smoothing_leaves_any_quadratic_as_it_is(c, seed, pairs):
    powers = np.random.default_rng(seed).uniform(-2, 2, (pairs, 2))
    g, d = powers.T
    values = c[0] + c[1] * g + c[2] * d + c[3] * g**2 + c[4] * g * d + c[5] * d**2
    np.testing.assert_allclose(smoothed(10**powers, values), values, atol=1e-6)


def test_smoothing_is_the_weighted_fit_that_it_says():
    rng = np.random.default_rng(1)
    powers, values = rng.uniform(-2, 2, (15, 2)), rng.normal(size=15)
    k = 4
    apart = powers - powers[k]
    weights = np.exp(-(apart**2).sum(axis=1) / 2)
    design = np.stack([np.ones(15), *apart.T, apart[:, 0] ** 2, apart[:, 0] * apart[:, 1], apart[:, 1] ** 2], axis=1)
    normal = design.T @ (weights[:, None] * design)
    expected = np.linalg.solve(normal, design.T @ (weights * values))[0]
    assert smoothed(10**powers, values)[k] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("values", "scales", "ratios", "advice"),
    [
        (bowl(1.0, RATIOS[2]), SCALES, RATIOS, "; that is the largest of scales, so extend them beyond 0.1"),
        (bowl(1e-6, RATIOS[2]), SCALES, RATIOS, "; that is the smallest of scales, so extend them below 0.0001"),
        (bowl(SCALES[2], 64.0), SCALES, RATIOS, "; that is the largest of ratios, so extend them beyond 8"),
        (bowl(SCALES[3], RATIOS[2])[:, [2]], SCALES, RATIOS[[2]], ""),
    ],
    ids=["scale above", "scale below", "ratio above", "one ratio"],
)
def test_an_answer_at_the_edge_says_which_way_to_go_on(values, scales, ratios, advice):
    answer = gan_suggest(grid(values, scales=scales, ratios=ratios))
    assert answer.at_boundary == bool(advice)
    assert advice in answer.reason


def test_an_answer_at_the_edge_of_both_rates():
    result = grid(bowl(SCALES[3], RATIOS[2]))
    flat = replace(result, axes={"generator_learning_rates": SCALES, "discriminator_learning_rates": RATIOS})
    inside = gan_suggest(flat)
    assert not inside.at_boundary
    last = listed(result, [result.place(inside.generator_learning_rate, inside.discriminator_learning_rate)])
    rates = {"generator_learning_rates": np.ones(1), "discriminator_learning_rates": np.ones(1)}
    assert not gan_suggest(replace(last, axes=rates)).at_boundary
    few = listed(result, np.flatnonzero(result.generator_learning_rates <= inside.generator_learning_rate))
    answer = gan_suggest(replace(few, axes={**flat.axes}))
    assert answer.generator_learning_rate == pytest.approx(inside.generator_learning_rate)
    assert "largest of generator learning rates, so extend them beyond" in answer.reason


def test_a_lost_lane_counts_as_ended_where_it_began():
    values = bowl(SCALES[3], RATIOS[3], seeds=2)
    values[4:, :, 1] = NAN
    answer = gan_suggest(grid(values, start=20.0))
    assert answer.scale < SCALES[4]
    assert gan_suggest(grid(np.where(np.isnan(values), 20.0, values), start=20.0)).scale == answer.scale
    worse = np.where(np.isnan(values), 1e9, values)
    assert gan_suggest(grid(worse, start=20.0)).scale == answer.scale


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (grid(np.full((7, 6), NAN), start=2.0), "Every lane was lost, so test lower rates, or look for the fault"),
        (grid(np.full((7, 6), 2.0), start=2.0), "No pair brought the metric below its start, so test other rates"),
    ],
    ids=["lost", "no better"],
)
def test_without_an_answer_it_is_the_smallest_scale_and_advice(result, reason):
    answer = gan_suggest(result)
    assert answer.scale == pytest.approx(SCALES[0])
    assert answer.at_boundary
    assert answer.reason.startswith(reason)


def test_metrics_that_may_be_negative_are_read_as_they_are():
    answer = gan_suggest(grid(np.log(bowl(SCALES[3], RATIOS[2])) - 5.0))
    assert (answer.scale, answer.ratio) == (pytest.approx(SCALES[3]), pytest.approx(RATIOS[2]))


def test_lanes_in_trouble_are_told_of():
    values = bowl(SCALES[3], RATIOS[2])
    answer = gan_suggest(grid(values, status=np.full((42, 1), "collapsed")))
    assert "; its lanes ended 'collapsed', so look at their samples first" in answer.reason


metrics = st.floats(allow_nan=True, allow_infinity=True, width=32) | st.sampled_from([0.0, 1.0, -1.0, NAN])


@settings(max_examples=60, deadline=None)
@given(data=st.data(), a=st.integers(1, 4), b=st.integers(1, 3), r=st.integers(1, 3), from_start=st.booleans())
def test_any_metrics_give_a_suggestion_whatever_their_order(data, a, b, r, from_start):
    size = a * b * r
    values = np.array(data.draw(st.lists(metrics, min_size=size, max_size=size))).reshape(a, b, r)
    start = data.draw(metrics) if from_start else None
    result = grid(values, start=start, scales=SCALES[:a], ratios=RATIOS[:b])
    answer = gan_suggest(result)
    assert isinstance(answer, GanSuggestion)
    assert np.isfinite([answer.scale, answer.ratio, answer.scale_low, answer.ratio_high]).all()
    assert answer.reason.endswith(".")
    assert str(result)
    order = np.random.default_rng(0).permutation(a * b)
    again = gan_suggest(listed(result, order))
    if len(np.unique(values)) == size and np.isfinite(values).all() and np.abs(values).max() < 1e6:
        assert again.scale == pytest.approx(answer.scale)


# Balance and verdicts


def constant(**values):
    """Signals ``[1, R, 20]``, the last tenth of which has these values; nonsense before it."""
    return {
        name: np.concatenate(
            [np.full((1, len(v), 18), 9.0), np.repeat(np.array(v)[None, :, None], 2, axis=-1)], axis=-1
        )
        for name, v in values.items()
    }


def test_the_distance_from_balance_is_the_sum_of_those_that_there_are():
    all_three = constant(loss_ratio=[np.e, 1.0], accuracy=[0.85, 0.75], spread_ratio=[0.5, 1.0])
    np.testing.assert_allclose(distance_from_balance(all_three), [[1.0 + 2 * 0.1 + 0.5, 0.0]])
    np.testing.assert_allclose(distance_from_balance(constant(loss_ratio=[1 / np.e])), [[1.0]])
    np.testing.assert_allclose(distance_from_balance(constant(accuracy=[0.65], spread_ratio=[1.2])), [[0.4]])


def test_ratios_of_losses_are_averaged_by_their_logarithms():
    signals = {"loss_ratio": np.concatenate([np.full(18, 7.0), [0.1, 10.0]])[None, None]}
    np.testing.assert_allclose(distance_from_balance(signals), [[0.0]], atol=1e-12)


LANES = {  # loss ratio, accuracy, spread ratio
    "collapsed": (1.0, 0.95, 0.59),
    "discriminator wins": (1.0, 0.91, 0.9),
    "discriminator loses": (1.0, 0.51, 0.9),
    "healthy": (1.5, 0.65, 0.9),
    "finite": (1.5, 0.8, 0.9),
}


def test_verdicts_on_lanes():
    ratio, accuracy, spread = zip(*LANES.values(), strict=True)
    said = verdicts(constant(loss_ratio=ratio, accuracy=accuracy, spread_ratio=spread), (1, 5))
    assert said.tolist() == [list(LANES)]
    assert verdicts(constant(loss_ratio=[0.29, 1.91, 1.0]), (1, 3)).tolist() == [
        ["discriminator wins", "discriminator loses", "finite"]
    ]
    assert verdicts({}, (1, 1)).tolist() == [["finite"]]


def test_without_a_metric_the_answer_is_the_pair_in_balance():
    result = grid(bowl(SCALES[3], RATIOS[3]))
    accuracy = 0.75 + 0.05 * np.log(bowl(SCALES[3], RATIOS[3])).reshape(42, 1, 1)
    unmeasured = {"validation_losses": np.zeros((42, 1, 0)), "validation_steps": np.zeros(0, int)}
    answer = gan_suggest(replace(result, signals={"accuracy": accuracy}, **unmeasured))
    assert (answer.scale, answer.ratio) == (pytest.approx(SCALES[3]), pytest.approx(RATIOS[3]))
    assert answer.objective == "balance"
    assert "is closest to balance (0 by accuracy), a weak sign beside a metric, so give evaluate=" in answer.reason


# The edge of a ramp


RAMP = 10.0 ** np.arange(-4, 1)


def ramp(curves, scales=RAMP, warmup_steps=2, ratio=4.0, status="finite"):
    """A ramp of a step each for these scales, read after every step from its start on."""
    curves = np.atleast_2d(np.asarray(curves, np.float64))
    seeds, steps = len(curves), warmup_steps + len(scales)
    return GanRampTest(
        ratio=ratio,
        scales=np.concatenate([np.full(warmup_steps, scales[0]), scales]),
        warmup_steps=warmup_steps,
        seeds=np.arange(seeds),
        generator_losses=np.zeros((seeds, steps)),
        discriminator_losses=np.zeros((seeds, steps)),
        signals={},
        validation_steps=np.arange(warmup_steps, steps + 1),
        validation_losses=curves,
        status=np.full(seeds, status),
        lost_at=np.full(seeds, -1),
        steps_done=steps,
        plan=Plan(1),
        note="",
    )


@pytest.mark.parametrize(
    ("curve", "edge", "advice"),
    [
        # after the warm-up, then after the steps at 1e-4, 1e-3, 0.01, 0.1 and 1
        ([9.0, 8.0, 2.0, 2.9, 3.1, 9.0], 0.1, ""),
        ([9.0, 3.0, 2.0, 2.5, NAN, NAN], 0.1, ""),
        ([9.0, 8.0, 7.0, 6.0, 5.0, 4.0], 1.0, "; the metric has not risen at the largest scale, so raise max_scale"),
        (
            [2.0, 2.5, 3.5, 4.0, 5.0, 6.0],
            1e-3,
            "; the metric does not fall along the ramp, so lower min_scale or warm up",
        ),
        ([-1.0, -9.0, -8.0, -4.0, -1.0, 0.0], 1e-2, ""),
    ],
    ids=["edge", "lost", "never rose", "never fell", "negative"],
)
def test_the_answer_is_a_tenth_of_the_edge(curve, edge, advice):
    answer = gan_suggest(ramp(curve))
    assert answer.scale == pytest.approx(0.1 * edge)
    assert answer.ratio == pytest.approx(4.0)
    assert answer.generator_learning_rate == pytest.approx(0.05 * edge)
    assert advice in answer.reason
    assert answer.at_boundary == bool(advice) or "below the ramp" in answer.reason


def test_seeds_of_a_ramp_are_averaged_geometrically():
    answer = gan_suggest(ramp([[9.0, 8.0, 2.0, 4.0, 5.0, 6.0], [9.0, 8.0, 2.0, 2.5, 2.5, 9.0], [NAN] * 6]))
    assert answer.scale == pytest.approx(0.1 * np.sqrt(1e-2 * 1.0))
    assert (answer.scale_low, answer.scale_high) == (pytest.approx(1e-3), pytest.approx(0.1))
    assert "the geometric mean of 2 of 3 seeds, which answer 0.001 to 0.1" in answer.reason


def test_an_answer_below_the_ramp_and_a_ramp_that_is_lost_say_so():
    below = gan_suggest(ramp([9.0, 2.0, 8.0, 9.0, 9.0, 9.0], scales=np.geomspace(1e-2, 1.0, 5)))
    assert "; that is below the ramp, so lower min_scale" in below.reason
    lost = gan_suggest(ramp([NAN] * 6))
    assert lost.scale == pytest.approx(1e-4)
    assert lost.reason.startswith("The metric is not finite where the ramp begins, so lower min_scale")


@settings(max_examples=60, deadline=None)
@given(curves=st.lists(st.lists(metrics, min_size=6, max_size=6), min_size=1, max_size=3))
def test_any_ramp_gives_a_suggestion(curves):
    result = ramp(curves)
    answer = gan_suggest(result)
    assert np.isfinite([answer.scale, answer.scale_low, answer.scale_high]).all()
    assert answer.scale_low <= answer.scale * (1 + 1e-9)
    assert answer.scale <= answer.scale_high * (1 + 1e-9)
    assert str(result)


# What a person reads


def test_a_grid_prints_as_a_matrix():
    values = bowl(SCALES[3], RATIOS[3])[2:5, 2:5]
    status = np.full((9, 1), "healthy", "U20")
    status[0], status[8] = "collapsed", "discriminator wins"
    result = grid(values, scales=SCALES[2:5], ratios=RATIOS[2:5], status=status)
    lines = str(result).splitlines()
    assert lines[:6] == [
        "3 scales x 3 ratios, 1 seed, 600 steps; metric",
        "scales \\ ratios     1      2      4",
        "0.001            1.59c  1.45   1.59",
        "0.00316          1.09   -> 1   1.09",
        "0.01             1.59   1.45   1.59w",
        "c collapsed, w discriminator wins",
    ]
    assert lines[6] == gan_suggest(result).reason
    assert lines[7].startswith("1 collapsed: generated samples spread less than 0.6 of real ones: raise the ratio")
    assert lines[8].startswith("1 discriminator wins: it knows the generated samples too surely")


def test_a_pair_is_marked_where_half_of_its_lanes_are_in_trouble():
    status = np.full((4, 4), "healthy", "U20")
    status[0, 0], status[1, :2], status[2, 1:] = "collapsed", "collapsed", "diverged"
    assert troubles(status) == ["", "collapsed", "diverged", ""]


def test_pairs_print_in_rows():
    signals = {"accuracy": np.full((3, 2, 10), 0.65)}
    values = np.array([[1.0, 4.0], [NAN, NAN], [9.0, 9.0]])
    status = np.array([["healthy", "finite"], ["diverged", "diverged"], ["healthy", "healthy"]])
    result = grid(values, scales=[0.1, 0.2, 0.4], ratios=[4.0], signals=signals, status=status, start=10.0)
    lines = str(result).splitlines()
    assert lines[:5] == [
        "3 scales x 1 ratios, 2 seeds, 600 steps; metric",
        "    generator  discriminator  scale  ratio  metric  accuracy               status",
        "->       0.05            0.2    0.1      4       2      0.65  1 finite, 1 healthy",
        "          0.1            0.4    0.2      4       -      0.65             diverged",
        "          0.2            0.8    0.4      4       9      0.65              healthy",
    ]


def test_a_ramp_prints_its_readings():
    lines = str(ramp([[9.0, 8.0, 2.0, 2.9, 3.1, 9.0], [9.0, 7.0, 2.0, 2.9, NAN, NAN]], status="diverged")).splitlines()
    assert lines[:4] == [
        "5 steps from 0.0001 to 1 after 2 of warm-up, ratio 4, 2 seeds",
        "    step   scale  metric  spread",
        "       2  0.0001       9       0",
        "       3  0.0001     7.5       1",
    ]
    assert lines[5].split() == ["->", "5", "0.01", "2.9", "0"]
    assert lines[7].split() == ["7", "1", "-", "-"]


# The picture


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def line(axes, label):
    return next(line for line in axes.get_lines() if line.get_label() == label)


def test_the_picture_of_a_grid_in_any_order():
    status = np.full((42, 1), "healthy", "U20")
    status[7], status[9] = "collapsed", "diverged"
    result = grid(bowl(SCALES[2], RATIOS[2])[::-1], scales=SCALES[::-1], status=status)
    axes = lrjax.plot.gan_grid(result)
    axes.figure.canvas.draw()
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert axes.get_ylabel() == "ratio: discriminator's rate / generator's"
    mesh = axes.collections[0]
    np.testing.assert_allclose(mesh.get_array(), bowl(SCALES[2], RATIOS[2])[..., 0].T)
    np.testing.assert_allclose(mesh.get_coordinates()[0, :, 0], 10 ** np.linspace(-4.25, -0.75, 8))
    np.testing.assert_allclose(line(axes, "collapsed").get_xydata(), [[SCALES[5], RATIOS[1]]])
    np.testing.assert_allclose(line(axes, "diverged").get_xydata(), [[SCALES[5], RATIOS[3]]])
    ring = next(line for line in axes.get_lines() if line.get_label().startswith("suggestion"))
    np.testing.assert_allclose(ring.get_xydata(), [[SCALES[2], RATIOS[2]]])
    assert ring.get_label() == "suggestion: 0.001 and 0.001"
    assert axes.figure.axes[1].get_ylabel() == "metric after 600 steps"


def test_the_picture_of_listed_pairs_is_over_both_rates_with_lines_of_one_ratio():
    result = listed(grid(bowl(SCALES[3], RATIOS[2])), np.arange(0, 42, 2))
    axes = lrjax.plot.gan_grid(result, gan_suggest(result), ax=plt.figure().add_subplot())
    dots = axes.collections[0]
    np.testing.assert_allclose(dots.get_offsets()[:, 0], result.generator_learning_rates)
    np.testing.assert_allclose(dots.get_array(), result.validation_losses[:, 0, -1])
    texts = [text.get_text() for text in axes.texts]
    assert "ratio 1" in texts
    lines = [line.get_xydata() for line in axes.get_lines() if line.get_linestyle() == ":"]
    ratios = [one[:, 1] / one[:, 0] for one in lines]
    np.testing.assert_allclose(ratios, [[float(text.split()[1])] * 2 for text in texts])
    assert axes.get_xlabel() == "generator's learning rate"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: gan_suggest(0.5),
            "`gan_suggest(result=...)` must be a GanRangeTest or a GanRampTest, got 0.5 (float)",
        ),
        (lambda: lrjax.plot.gan_grid([1]), "`plot.gan_grid(result=...)` must be a GanRangeTest, got [1] (list)"),
        (
            lambda: lrjax.plot.gan_grid(grid(bowl(0.1, 1.0)), 0.1),
            "`plot.gan_grid(suggestion=...)` must be a GanSuggestion, got 0.1 (float)",
        ),
    ],
    ids=["result", "picture", "suggestion"],
)
def test_wrong_calls_are_refused_by_name(call, message):
    with pytest.raises(TypeError, match="^" + re.escape(message)):
        call()
