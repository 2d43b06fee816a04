"""What `diagnose` finds in curves made by hand, whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrjax.diagnosis import KINDS, diagnose

STEPS = 400
T = np.arange(STEPS)


def noise(scale, seed=0, steps=STEPS):
    return scale * np.random.default_rng(seed).standard_normal(steps)


def falling(steps=STEPS, scale=0.03, seed=0, pace=12.0):
    """A healthy loss: from 2.3 towards 0.3, most of it at the start."""
    return 0.3 + 2.0 * np.exp(-pace * np.arange(steps) / steps) + noise(scale, seed, steps)


def with_values(curve, at, values):
    changed = np.array(curve, float)
    changed[at : at + len(values)] = values
    return changed


def with_rise(curve, at, height, length):
    """The curve with a jump by ``height`` at a step, gone again in about ``length`` steps."""
    after = np.arange(len(curve)) - at
    return curve + np.where(after >= 0, height * np.exp(-np.clip(after, 0, None) / length), 0.0)


RATES = np.full(STEPS, 0.3)
RISES_LATE = np.concatenate([falling()[:200], 0.35 + (T[:200] / 60.0) ** 3])
FLAT = 2.3 + noise(0.05)
BOUNCES = 2.0 + 0.8 * np.sin(T / 5.0) + noise(0.1)
EARLY_BURST = with_rise(falling(), 5, 6.0, 3.0)
SPIKE = with_rise(falling(), 231, 3.0, 2.0)
OVERFIT = 0.5 + np.exp(-T[::8] / 30.0) + 0.002 * T[::8]
THROWN = np.where((T > 60) & (T % 7 == 3), 60.0, falling() + 0.7)
RESTARTS = 0.15 + 0.15 * np.cos(np.pi * (T % 100) / 100)

MADE = {
    "NaN from a step on": ("divergence", (31, 399), {"losses": with_values(falling(), 31, [np.nan] * 369)}),
    "infinite, then a few numbers": (
        "divergence",
        (31, 399),
        {"losses": with_values(falling(), 31, [np.inf, np.nan] * 150 + [0.3, 0.3] + [np.nan] * 67)},
    ),
    "exponential growth": ("divergence", None, {"losses": 2.3 * 1.05**T}),
    "falls, then rises over its start": ("divergence", None, {"losses": RISES_LATE}),
    "loses what it had gained": ("divergence", (200, 399), {"losses": np.where(T < 200, falling(), FLAT)}),
    "a burst to a dead network": ("divergence", None, {"losses": with_rise(FLAT - 0.1 * (T > 0), 3, 900.0, 1.5)}),
    "thrown far off again and again": ("divergence", (200, 399), {"losses": THROWN}),
    "rises and comes back, but no lower": ("divergence", None, {"losses": FLAT + np.exp(-(((T - 120) / 40.0) ** 2))}),
    "one spike": ("spike", None, {"losses": SPIKE}),
    "a NaN that passes": ("spike", (231, 231), {"losses": with_values(falling(), 231, [np.nan])}),
    "bounces without falling": ("oscillation", None, {"losses": BOUNCES}),
    "flat from the start": ("plateau_from_start", (0, 399), {"losses": FLAT}),
    "flat and without noise": ("plateau_from_start", (0, 399), {"losses": np.full(STEPS, 2.3)}),
    "a straight line": ("plateau_from_start", (0, 399), {"losses": 2.3 - 0.08 * T / STEPS + noise(0.05)}),
    "the rate runs out": (
        "plateau",
        None,
        {"losses": np.where(T < 60, 2.3 - T / 60, 1.3) + noise(0.03), "learning_rates": np.where(T < 60, 0.3, 1e-6)},
    ),
    "a burst at the start": ("short_warmup", None, {"losses": EARLY_BURST}),
    "validation turns": ("overfitting", None, {"losses": falling(), "validation_losses": OVERFIT}),
    "large gradients": ("gradient_norm", (0, 399), {"losses": falling(), "gradient_norms": 250 + noise(20.0)}),
    "vanished gradients": ("gradient_norm", (0, 399), {"losses": FLAT, "gradient_norms": np.full(STEPS, 1e-6)}),
    "the discriminator wins": (
        "gan_imbalance",
        (56, 399),
        {"losses": None, "generator_losses": 0.7 + T / 40, "discriminator_losses": 1.4 * np.exp(-T / 30)},
    ),
    "the generator wins": (
        "gan_imbalance",
        None,
        {"losses": None, "generator_losses": 0.7 * np.exp(-T / 30), "discriminator_losses": 1.4 + T / 40},
    ),
    "the players chase each other": (
        "gan_collapse",
        (200, 399),
        {
            "losses": None,
            "generator_losses": 0.7 + 0.3 * np.sin(T / 20) + noise(0.03),
            "discriminator_losses": 1.5 + 0.4 * np.sin(T / 20 + 2) + noise(0.03),
        },
    ),
    "a GAN lost": (
        "divergence",
        (99, 399),
        {"losses": None, "generator_losses": with_values(FLAT, 99, [np.nan] * 301), "discriminator_losses": FLAT},
    ),
}


@pytest.mark.parametrize(("kind", "steps", "run"), MADE.values(), ids=MADE.keys())
def test_what_is_wrong(kind, steps, run):
    first = diagnose(**run).findings[0]
    assert first.kind == kind
    if steps:
        assert first.steps == steps


HEALTHY = {
    "falling": {"losses": falling()},
    "without noise": {"losses": falling(scale=0.0)},
    "at its floor for most of the run": {"losses": falling(pace=100.0)},
    "batches of one example": {"losses": falling(2000) * np.random.default_rng(0).exponential(size=2000)},
    "below zero": {"losses": falling() - 50.0},
    "restarts": {"losses": falling() + 0.3 * (RESTARTS - 0.15) * (T > 100), "learning_rates": RESTARTS},
    "with all there is": {
        "losses": falling(),
        "validation_losses": falling(20, seed=1) + 0.1,
        "gradient_norms": 1 + np.abs(noise(0.3)),
        "learning_rates": 0.3 * (1 - T / STEPS),
    },
    "short": {"losses": falling(30)},
    "too short to tell": {"losses": [2.3, 2.9, 2.2, 2.8]},
    "a balanced GAN": {"losses": None, "generator_losses": 0.9 + noise(0.1), "discriminator_losses": 1.2 + noise(0.1)},
    "a critic": {"losses": None, "generator_losses": noise(1.0), "discriminator_losses": -1.0 + noise(0.1)},
}


@pytest.mark.parametrize("run", HEALTHY.values(), ids=HEALTHY.keys())
def test_what_is_healthy(run):
    diagnosis = diagnose(**run)
    assert diagnosis.healthy, diagnosis
    assert len(diagnosis.findings) == 1
    assert diagnosis.findings[0].remedy == ()
    assert diagnosis.findings[0].severity == "note"


TABLE = {
    "NaN from a step on": [
        "learning rate by 10",
        "with_warmup(schedule, 20)",
        "clip_gradients(1.0)",
        "mixed precision",
        "weight decay",
    ],
    "bounces without falling": [
        "momentum, or divide the learning rate",
        "clip_gradients(1.0)",
        "larger batch",
        "weight decay off norms",
    ],
    "flat from the start": ["3 to 10 times; range_test", "for longer", "larger batch", "data or the labels"],
    "one spike": ["batches of step", "clip_gradients(1.0)", "learning rate by 10", "backoff(optimizer)"],
    "a burst at the start": ["with_warmup(schedule, 20)", "clip_gradients(1.0)", "learning rate by 3"],
    "validation turns": ["weight decay", "dropout", "Augment", "Stop early"],
    "large gradients": ["Cut the learning rate at once", "clip_gradients(1.0)", "with_warmup", "scale of the inputs"],
    "the discriminator wins": ["twice the generator's: gan_optimizers", "discriminator's rate", "gan_range_test"],
    "the players chase each other": ["gan_optimizers", "the generator's rate", "gan_range_test", "samples"],
}


@pytest.mark.parametrize("name", TABLE)
def test_remedies_come_in_the_order_of_the_table(name):
    remedy = diagnose(**MADE[name][2]).findings[0].remedy
    assert len(remedy) == len(TABLE[name])
    for text, words in zip(remedy, TABLE[name], strict=True):
        assert words in text


def test_remedies_name_the_rates_of_the_run():
    diverged = diagnose(2.3 * 1.05**T, learning_rates=np.linspace(0, 0.4, STEPS))
    first = diverged.findings[0].steps[0]
    rate = 0.4 * first / (STEPS - 1)
    assert diverged.findings[0].remedy[0] == f"Divide the learning rate by 10, from {rate:.3g} to {rate / 10:.3g}."
    flat = diagnose(FLAT, learning_rates=RATES).findings[0].remedy[0]
    assert flat == "Raise the learning rate from 0.3 to between 0.9 and 3; range_test shows how far it may go."
    unknown = diagnose(FLAT, learning_rates=np.full(STEPS, np.nan)).findings[0].remedy[0]
    assert unknown == "Raise the learning rate 3 to 10 times; range_test shows how far it may go."


def test_evidence_is_of_this_run():
    spike = diagnose(SPIKE).findings[0]
    assert spike.evidence.startswith(f"The loss rose from 0.288 to {SPIKE[231]:.3g} at step 231, ")
    assert 229 <= spike.steps[0] <= 231 <= spike.steps[1] <= 240
    nan = diagnose(**MADE["NaN from a step on"][2]).findings[0]
    assert nan.evidence == f"The loss is NaN from step 31 on, after {falling()[30]:.3g} the step before."
    overfit = diagnose(**MADE["validation turns"][2]).findings[0]
    best = int(np.argmin(OVERFIT))
    assert f"rose from {OVERFIT[best]:.3g} at step {round(best * 399 / 49 - 0.5)}" in overfit.evidence
    assert overfit.steps == (int(best * 399 / 49), 399)
    given = diagnose(falling(), validation_losses=(T[::8], OVERFIT)).findings[0]
    assert given.steps == (8 * best, 399)
    rise = diagnose(RISES_LATE).findings[0]
    assert 205 <= rise.steps[0] <= 225  # 0.35 + ((step - 200) / 60) ** 3 leaves the noise of 0.03


def test_a_cause_stands_for_what_follows_from_it():
    burst = with_rise(with_rise(falling(), 5, 6.0, 3.0), 120, 4.0, 2.0)
    diverged = with_values(burst, 300, [np.inf] * 100)
    diagnosis = diagnose(diverged, gradient_norms=np.full(STEPS, 1e3), validation_losses=OVERFIT)
    assert [finding.kind for finding in diagnosis.findings] == ["divergence"]
    assert [finding.kind for finding in diagnose(burst).findings] == ["short_warmup", "spike"]
    several = diagnose(burst, gradient_norms=np.full(STEPS, 1e3), validation_losses=OVERFIT).findings
    assert [finding.kind for finding in several] == ["overfitting", "gradient_norm"]
    assert [finding.kind for finding in diagnose(FLAT, gradient_norms=np.full(STEPS, 1e-5)).findings] == [
        "gradient_norm"
    ]


def test_a_spike_after_a_change_of_the_rate_is_the_schedule_s():
    batch = diagnose(SPIKE, learning_rates=RATES).findings[0]
    jump = diagnose(SPIKE, learning_rates=np.where(T < 230, 0.1, 0.3)).findings[0]
    drop = diagnose(SPIKE, learning_rates=np.where(T < 230, 0.1, 0.03)).findings[0]
    assert (batch.severity, jump.severity, drop.severity) == ("warning", "note", "note")
    assert "The learning rate rose from 0.1 to 0.3 just before." in jump.evidence
    assert "The learning rate fell from 0.1 to 0.03 just before." in drop.evidence
    assert batch.steps == jump.steps == drop.steps


def test_few_steps_say_only_whether_the_loss_was_lost():
    assert diagnose([2.3, 2.2, np.nan]).findings[0].steps == (2, 2)
    assert diagnose([np.inf]).kind == "divergence"
    short = diagnose([1.0, 5.0, 9.0]).findings[0]
    assert short.kind == "healthy"
    assert short.evidence == "3 steps are too few to tell: the last of the losses is neither NaN nor infinite."


LOSS_RUNS = [name for name, (_, _, run) in MADE.items() if run["losses"] is not None]


def seen(run):
    return [(finding.kind, finding.steps) for finding in diagnose(**run).findings]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([*LOSS_RUNS, "falling", "restarts", "batches of one example"]),
    st.integers(-20, 20),
    st.integers(-64, 64),
    st.sampled_from([np.float64, np.float32]),
)
def test_units_and_zero_of_the_loss_do_not_matter(name, exponent, shift, dtype):
    run = MADE[name][2] if name in MADE else HEALTHY[name]
    moved = dict(run, losses=(np.asarray(run["losses"]).astype(dtype) + dtype(shift)) * dtype(2.0**exponent))
    assert seen(moved) == seen(run)


@pytest.mark.parametrize("name", LOSS_RUNS)
@pytest.mark.parametrize("every", [2, 4])
def test_every_other_step_tells_the_same(name, every):
    kind, _, run = MADE[name]
    thinned = {
        key: value if key == "validation_losses" else np.asarray(value)[3 % every :: every]
        for key, value in run.items()
    }
    if name not in {"a NaN that passes", "one spike", "a burst to a dead network"}:
        assert diagnose(**thinned).kind == kind


def test_a_million_steps():
    steps = 10**6
    losses = falling(steps)
    assert diagnose(losses, learning_rates=np.full(steps, 0.1)).healthy
    spike = diagnose(with_values(losses, 700_000, np.full(500, 4.0))).findings[0]
    assert (spike.kind, spike.steps) == ("spike", (700_000, 700_499))


def test_all_kinds_are_made():
    assert {kind for kind, _, _ in MADE.values()} | {"healthy"} == set(KINDS)


ANY_FLOATS = st.lists(st.one_of(st.floats(), st.sampled_from([0.0, 1.0, np.nan, np.inf])), min_size=1, max_size=60)


@settings(max_examples=60, deadline=None)
@given(ANY_FLOATS, st.lists(st.booleans(), min_size=4, max_size=4))
def test_whatever_a_run_recorded_is_data(values, given_too):
    values = np.array(values)
    others = {
        "validation_losses": values[::-1],
        "gradient_norms": np.abs(values),
        "learning_rates": np.abs(values[::-1]),
    }
    options = {name: other for (name, other), is_given in zip(others.items(), given_too, strict=False) if is_given}
    if given_too[3]:
        options |= {"generator_losses": values, "discriminator_losses": values[::-1]}
    diagnosis = diagnose(values, **options)
    assert diagnosis == diagnose(values, **options)
    for finding in diagnosis.findings:
        assert 0 <= finding.steps[0] <= finding.steps[1] < len(values)
        assert finding.kind in KINDS
    assert diagnosis.healthy == (len(diagnosis.findings) == 1 and diagnosis.kind == "healthy")


def test_the_more_severe_comes_first():
    players = MADE["the generator wins"][2] | {"losses": falling(), "validation_losses": OVERFIT}
    found = [(finding.kind, finding.severity) for finding in diagnose(**players).findings]
    assert found == [("gan_imbalance", "critical"), ("overfitting", "warning")]
    restart = diagnose(SPIKE, learning_rates=np.where(T < 230, 0.1, 0.3), validation_losses=OVERFIT).findings
    assert [(finding.kind, finding.severity) for finding in restart] == [("overfitting", "warning"), ("spike", "note")]


def test_validation_losses_are_spread_from_the_first_to_the_last_step():
    losses = falling(401)
    assert diagnose(losses, validation_losses=[1.0, 0.8, 0.5, 0.9, 1.2]).findings[0].steps == (200, 400)
    assert diagnose(losses, validation_losses=[[0, 40, 90, 100, 400], [1.0, 0.8, 0.5, 0.9, 1.2]]).findings[0].steps == (
        90,
        400,
    )


def test_what_float32_cannot_hold_is_infinite():
    diagnosis = diagnose(with_values(falling(), 250, [1e39] * 150))
    assert (
        diagnosis.findings[0].evidence
        == f"The loss is infinite from step 250 on, after {falling()[249]:.3g} the step before."
    )


def test_a_level_given_up_again():
    half = np.where(T < 200, falling(), falling() + 0.8)
    finding = diagnose(half).findings[0]
    assert (finding.kind, finding.steps[1]) == ("oscillation", 399)
    assert "stays there: 4" in finding.evidence  # 0.8 of 2.0
    assert diagnose(np.where(T < 200, falling(), falling() + 0.2)).healthy


def test_up_and_down_in_turn_is_no_noise_of_batches():
    edge = 1.0 + 0.5 * (-1.0) ** T + noise(0.05)
    assert diagnose(np.where(T < 20, 2.3 - T / 20, edge)).kind == "oscillation"


def test_a_loss_that_leaves_its_first_value_at_once_has_risen():
    bounced = np.concatenate([[4.9], 20 + noise(5.0, steps=299)])
    assert diagnose(bounced).kind == "divergence"
    assert diagnose(20 + noise(5.0)).kind == "plateau_from_start"


def test_a_burst_below_the_full_rate_is_none_of_a_short_warmup():
    early = {"losses": EARLY_BURST, "learning_rates": np.minimum(T / 40, 1.0) * 0.3}
    assert diagnose(**early).healthy
    full = {"losses": EARLY_BURST, "learning_rates": np.minimum((T + 1) / 4, 1.0) * 0.3}
    finding = diagnose(**full).findings[0]
    assert finding.kind == "short_warmup"
    assert finding.evidence.endswith("The learning rate had reached 0.3 by then.")


def test_jumps_are_divergence_only_where_they_go_on_and_lift_the_mean_over_the_start():
    thrown = diagnose(THROWN).findings[0].evidence
    assert thrown.startswith(f"From step 200 on the loss is {min(THROWN[200:300].mean(), THROWN[300:].mean()):.3g} or")
    assert diagnose(np.where(T < 300, THROWN, falling() + 0.7)).kind != "divergence"
    assert diagnose(np.minimum(THROWN, 8.0)).kind != "divergence"
    assert diagnose(with_values(falling(), 310, [900.0] * 3)).kind == "spike"


def test_a_loss_that_rose_has_recovered_where_it_ends_visibly_lower():
    hump = FLAT + np.exp(-(((T - 120) / 40.0) ** 2))
    assert diagnose(hump - 0.3 * (T > 200)).kind != "divergence"
    assert diagnose(hump - 0.05 * (T > 200)).kind == "divergence"


@pytest.mark.parametrize("steps", [100, 300, 600])
def test_noise_alone_shows_nothing(steps):
    noises = [noise(1.0, seed, steps) for seed in range(30)]
    assert sum(diagnose(flat).kind == "plateau_from_start" for flat in noises) >= 29
    trend = 8.0 * np.exp(-6.0 * np.arange(steps) / steps)
    kinds = [diagnose(trend + flat).kind for flat in noises]
    assert kinds.count("healthy") >= 28
    assert not {"divergence", "spike", "short_warmup"} & {*kinds}


def test_a_rise_by_a_small_part_of_what_was_gained_costs_nothing():
    assert diagnose(with_rise(falling(), 231, 0.45, 2.0)).kind == "spike"
    assert diagnose(with_rise(falling(), 231, 0.2, 2.0)).healthy


def test_a_small_rise_counts_where_it_undoes_much_of_the_run():
    slow = 0.3 + 2.0 * np.exp(-3.0 * T / STEPS) + noise(0.003)
    assert diagnose(with_rise(slow, 300, 0.2, 1.0)).healthy  # 0.1 of 1.9, and the loss of step 240
    assert diagnose(with_rise(slow, 300, 0.35, 1.0)).kind == "spike"  # above 0.15, of the same age
    fast = falling(scale=0.003)
    assert diagnose(with_rise(fast, 300, 0.25, 1.0)).kind == "spike"  # 0.12, and the loss of step 70
    assert diagnose(with_rise(fast, 300, 0.09, 1.0)).healthy  # below 0.05 of 2.0


def test_a_level_that_climbs_without_a_batch_that_stands_out_oscillates():
    hill = 0.8 * np.exp(-(((T - 130) / 8.0) ** 2))
    finding = diagnose(falling(scale=0.15) + hill).findings[0]
    assert (finding.kind, 115 < finding.steps[0] < 130) == ("oscillation", True)
    assert "no single batch" in finding.evidence
    jump = with_values(falling(scale=0.15), 250, [3.0, 3.0])
    assert diagnose(jump).kind == "spike"


def test_thrown_up_again_and_again_is_divergence_where_nothing_was_gained():
    thrown = np.where(T % 60 == 30, 40.0, 0.0)
    assert diagnose(FLAT + thrown).kind == "divergence"
    assert diagnose(falling() + thrown).kind == "oscillation"


def test_large_gradients_are_the_cause_of_a_loss_that_does_not_move():
    norms = np.where(T % 4 == 0, 300.0, 5.0)  # a quarter of the steps, and no block's median
    assert diagnose(FLAT, gradient_norms=norms).kind == "gradient_norm"
    assert diagnose(falling(), gradient_norms=norms).kind == "gradient_norm"
    assert diagnose(FLAT, gradient_norms=np.where(T % 6 == 0, 300.0, 5.0)).kind == "plateau_from_start"


def test_a_run_that_warmed_up_is_told_for_how_long():
    rates = 0.3 * np.minimum(1.0, T / 20)
    remedies = diagnose(RISES_LATE, learning_rates=rates).findings[0].remedy
    assert remedies[1] == "Warm the rate up for longer: over 40 steps, where it took 20."
    lost_at_once = diagnose(np.full(STEPS, np.nan), learning_rates=rates).findings[0]
    assert lost_at_once.remedy[0] == "Divide the learning rate by 10, from 0.3 to 0.03."


def test_what_is_given_up_on_average_counts_where_medians_hide_it():
    """A quarter of the batches are lost in the second half: the median stays, the mean loses a quarter, or two thirds."""
    steps = 2000
    hit = np.random.default_rng(0).random(steps) < 0.25
    for height, kind in ((2.5, "oscillation"), (5.5, "divergence")):
        finding = diagnose(falling(steps) + np.where(hit & (np.arange(steps) > 1000), height, 0.0)).findings[0]
        assert finding.kind == kind, height
        assert "on average" in finding.evidence
    assert diagnose(falling(steps) + np.where(hit, 0.5, 0.0)).healthy


def test_skewed_noise_of_batches_of_one_is_no_plateau():
    level = 0.05 + 4.0 * np.exp(-np.arange(650) / 40)
    runs = [level * np.random.default_rng(seed).chisquare(1, 650) for seed in range(40)]
    assert not any(diagnose(losses).kind == "plateau_from_start" for losses in runs)


def test_a_schedule_that_is_over_early_is_a_plateau_only_where_the_loss_stands_still():
    over = np.where(T < 100, 0.3, 0.001)
    assert diagnose(falling(pace=30.0), learning_rates=over).kind == "plateau"
    assert diagnose(falling(pace=4.0), learning_rates=over).kind != "plateau"
    still = np.where(T < 100, 2.3 - T / 100, 1.3) + noise(0.03)
    assert diagnose(still - 0.12 * (T > 200), learning_rates=over).kind == "plateau"
    assert diagnose(still - 0.3 * (T > 200), learning_rates=over).kind != "plateau"
    assert diagnose(falling(pace=30.0), learning_rates=np.where(T < 300, 0.3, 0.001)).healthy


def test_players_chase_each_other_whoever_loses_more():
    _, _, run = MADE["the players chase each other"]
    higher = {"generator_losses": run["discriminator_losses"], "discriminator_losses": run["generator_losses"]}
    assert diagnose(None, **higher).kind == "gan_collapse"


def test_a_validation_loss_that_wavers_is_not_overfitting():
    wavering = falling(40, seed=2, scale=0.15)
    assert diagnose(falling(), validation_losses=wavering).healthy
    rising = diagnose(RISES_LATE[:270], validation_losses=np.concatenate([falling(20), np.linspace(0.3, 2.0, 20)]))
    assert "overfitting" not in [finding.kind for finding in rising.findings]


def test_spikes_that_come_again_and_again_are_of_the_rate_and_restarts_are_not():
    losses, rates = falling(600), np.full(600, 0.1)
    for at in range(160, 600, 80):
        losses = with_rise(losses, at, 4.0, 1.5)
        rates[at - 40 : at] = 0.01
    assert diagnose(losses).kind == "oscillation"
    assert "6 times far above its noise" in diagnose(losses).findings[0].evidence
    assert [(finding.kind, finding.severity) for finding in diagnose(losses, learning_rates=rates).findings] == [
        ("spike", "note")
    ]


def test_a_loss_that_is_a_number_again_at_the_end_was_not_lost():
    assert diagnose([*falling(18), np.inf, 0.3]).kind != "divergence"
    assert diagnose([*falling(18), 0.3, np.inf]).findings[0].steps == (19, 19)
