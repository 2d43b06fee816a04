"""What `diagnose` refuses, word for word, and what it takes."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrjax.diagnosis import KINDS, Diagnosis, Finding, diagnose

LOSSES = np.exp(-np.arange(40) / 8.0)

REFUSED = [
    (
        (None,),
        {},
        TypeError,
        "(losses=...)` must be an array of losses, unless both GAN losses are given, got None (NoneType)",
    ),
    ((0.5,), {}, TypeError, "(losses=...)` must be an array of numbers with one axis, got 0.5 (float)"),
    (("2.3 2.1",), {}, TypeError, "(losses=...)` must be an array of numbers with one axis, got '2.3 2.1' (str)"),
    ((["2.3", "2.1"],), {}, TypeError, "(losses=...)` must be an array of numbers with one axis, got dtype <U3"),
    (([1.0, None],), {}, TypeError, "(losses=...)` must be an array of numbers with one axis, got dtype object"),
    (([True, False],), {}, TypeError, "(losses=...)` must be an array of numbers with one axis, got dtype bool"),
    (([1 + 2j],), {}, TypeError, "(losses=...)` must be an array of numbers with one axis, got dtype complex128"),
    (
        ([[1.0], [1.0, 2.0]],),
        {},
        TypeError,
        "(losses=...)` must be an array of numbers with one axis, got rows of unequal lengths",
    ),
    ((np.ones((4, 2)),), {}, ValueError, "(losses=...)` must be an array of numbers with one axis, got shape (4, 2)"),
    (([],), {}, ValueError, "(losses=...)` must be of at least one value, got an empty array"),
    (
        (LOSSES,),
        {"gradient_norms": LOSSES[:-1]},
        ValueError,
        "(gradient_norms=...)` must be as long as losses, got 39 values with 40",
    ),
    (
        (LOSSES,),
        {"learning_rates": [0.1]},
        ValueError,
        "(learning_rates=...)` must be as long as losses, got 1 values with 40",
    ),
    (
        (LOSSES,),
        {"learning_rates": 0.1},
        TypeError,
        "(learning_rates=...)` must be an array of numbers with one axis, got 0.1 (float)",
    ),
    ((LOSSES,), {"learning_rates": -LOSSES}, ValueError, "(learning_rates=...)` must be at least 0, got -1 at step 0"),
    (
        (LOSSES,),
        {"gradient_norms": LOSSES - 0.99},
        ValueError,
        "(gradient_norms=...)` must be at least 0, got -0.107503 at step 1",
    ),
    (
        (LOSSES,),
        {"validation_losses": ([0, 5, 5], [1.0, 1.0, 1.0])},
        ValueError,
        "(validation_losses[0]=...)` must be steps that rise, from 0 on, got [0.0, 5.0, 5.0]",
    ),
    (
        (LOSSES,),
        {"validation_losses": ([0, 5], [1.0, 1.0, 1.0])},
        ValueError,
        "(validation_losses=...)` must be a pair (steps, values) of equal lengths, got 2 with 3",
    ),
    (
        (LOSSES,),
        {"validation_losses": np.ones((2, 3, 4))},
        ValueError,
        "(validation_losses=...)` must be an array of numbers with one axis, got shape (2, 3, 4)",
    ),
    (
        (LOSSES,),
        {"generator_losses": LOSSES},
        ValueError,
        "(discriminator_losses=...)` must be given where the other player's losses are, got None",
    ),
    (
        (None,),
        {"discriminator_losses": LOSSES},
        ValueError,
        "(generator_losses=...)` must be given where the other player's losses are, got None",
    ),
    (
        (None,),
        {"generator_losses": LOSSES, "discriminator_losses": LOSSES[1:]},
        ValueError,
        "(discriminator_losses=...)` must be as long as generator_losses, got 39 values with 40",
    ),
]


@pytest.mark.parametrize(("arguments", "options", "error", "message"), REFUSED)
def test_wrong_input_is_named(arguments, options, error, message):
    with pytest.raises(error, match="^" + re.escape("`diagnose" + message) + "$"):
        diagnose(*arguments, **options)


def test_a_tracer_is_refused():
    with pytest.raises(ValueError, match=r"^`diagnose\(losses=\.\.\.\)` must be .* outside jit and vmap, got a tracer"):
        jax.jit(lambda losses: diagnose(losses).kind)(jnp.ones(20))


@pytest.mark.parametrize(
    "losses",
    [
        LOSSES,
        LOSSES.tolist(),
        tuple(LOSSES),
        jnp.asarray(LOSSES),
        [jnp.float32(loss) for loss in LOSSES],
        LOSSES[::-1][::-1],
    ],
    ids=["numpy", "list", "tuple", "jax", "jax scalars", "strided"],
)
def test_every_sort_of_array_is_taken(losses):
    before = np.array(losses)
    assert diagnose(losses).kind == "healthy"
    np.testing.assert_array_equal(np.array(losses), before)


def test_a_finding_prints_as_a_note():
    finding = Finding("gan_collapse", (3, 7), "The loss is gone.", "critical", ("Do this.", "Then that."))
    assert str(finding) == "GAN collapse (critical, steps 3 to 7)\n  The loss is gone.\n  1. Do this.\n  2. Then that."
    assert repr(finding) == "Finding(gan_collapse, critical, steps=(3, 7))"
    other = Finding("spike", (5, 5), "word " * 30, "note", ("word " * 30,))
    diagnosis = Diagnosis((finding, other))
    assert (diagnosis.kind, diagnosis.healthy) == ("gan_collapse", False)
    assert repr(diagnosis) == "Diagnosis(gan_collapse, spike)"
    assert str(diagnosis).startswith(str(finding) + "\n\nspike (note, step 5)\n  word")
    assert max(map(len, str(diagnosis).splitlines())) <= 100
    assert Diagnosis((Finding("healthy", (0, 1), "", "note", ()),)).healthy


def test_the_kinds():
    assert set(KINDS) == {
        "divergence",
        "spike",
        "oscillation",
        "plateau_from_start",
        "plateau",
        "short_warmup",
        "overfitting",
        "gradient_norm",
        "gan_imbalance",
        "gan_collapse",
        "healthy",
    }
    assert len(KINDS) == 11
