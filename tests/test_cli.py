"""python -m lrjax, called in process."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib import pyplot as plt

import lrjax
from lrjax.cli import main
from lrjax.diagnosis import diagnose
from lrjax.monitors import csv_logger, jsonl_logger
from lrjax.optimizers import OPTIMIZER_DEFAULTS, SCENARIOS


def rows(text):
    """The table of a schedule as numbers."""
    return np.array([line.split() for line in text.splitlines()[1:12]], float).T


@pytest.mark.parametrize(
    ("expression", "schedule", "steps"),
    [
        ("warmup_cosine(3e-4, 1000, warmup_steps=100)", lrjax.warmup_cosine(3e-4, 1000, warmup_steps=100), 1000),
        ("lrjax.schedules.cosine(2 * 0.1, 10 * 100 / 2)", lrjax.schedules.cosine(0.2, 500), 500),
        (" wsd(0.1, 1e3, warmup_steps=0, decay_steps=100, decay='linear')", None, 1000),
        ("linear(+1, 0.5 - 0.25, 20)", lrjax.schedules.linear(1, 0.25, 20), 20),
    ],
)
def test_a_schedule_is_tabled_over_its_own_steps(capsys, expression, schedule, steps):
    assert main(["schedule", expression]) == 0
    shown, values = rows(capsys.readouterr().out)
    np.testing.assert_array_equal(shown, np.linspace(0, steps, 11).round())
    schedule = schedule or lrjax.wsd(0.1, 1000, warmup_steps=0, decay_steps=100, decay="linear")
    np.testing.assert_allclose(values, schedule(shown), rtol=1e-5)


def test_a_composition_is_tabled_over_the_steps_given(capsys):
    expression = (
        "join([linear(0, 0.1, 10), scale_by(constant(0.2), 0.5), with_cooldown(constant(0.1), 5, 5)], (10, 40))"
    )
    assert main(["schedule", expression, "--steps", "50"]) == 0
    shown, values = rows(capsys.readouterr().out)
    np.testing.assert_allclose(values, np.interp(shown, [0, 10, 45, 50], [0, 0.1, 0.1, 0]), atol=1e-7)
    assert main(["schedule", "cosine(0.1, 1000)", "--steps", "3"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["step", "0", "1", "2", "3"]


def test_a_schedule_is_drawn(capsys, tmp_path):
    picture = tmp_path / "picture.png"
    assert main(["schedule", "cosine(0.1, 1000)", "--output", str(picture)]) == 0
    assert capsys.readouterr().out.endswith(f"drawn into {picture}\n")
    assert plt.imread(picture).std() > 0.01
    plt.close("all")


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("cosine(0.1)", "`cosine`: missing a required argument: 'steps'"),
        ("cosine(0.1, 10, end=0)", "`cosine`: got an unexpected keyword argument 'end'"),
        ("cosine(0.1, -5)", "`cosine(steps=...)` must be at least 0, got -5"),
        ("cosine(0.1, 1000", "'cosine(0.1, 1000' is not an expression of Python: '(' was never closed"),
        ("constant", "'constant' must call a schedule, such as cosine(0.1, 1000)"),
        ("kosine(0.1, 5)", "'kosine' is not a schedule; there are clamp, constant, cosine, cosine_restarts,"),
        ("basic(1)", "'basic' is not a schedule; there are"),
        ("constant.__class__(1)", "'constant.__class__' is not a schedule; there are"),
        ("cosine(0.1, open('x'))", "'open' is not a schedule; there are"),
        ("cosine(0.1, steps)", "'steps' must be a number, a string or a schedule of lrjax.schedules"),
        ("cosine(0.1, 2**10)", "'2 ** 10' must be a number, a string or a schedule of lrjax.schedules"),
        ("cosine('a' * 9, 10)", "\"'a' * 9\" must be arithmetic with numbers"),
        ("cosine(1 / 0, 10)", "'1 / 0' divides by 0"),
        ("cosine((lambda: 1)(), 10)", "'lambda: 1' is not a schedule"),
        ("constant(0.1)", "--steps, the last step to show, must be given: the schedule does not say how long it is"),
        ("cosine(0.1, 0)", "`schedule(steps=...)` must be at least 1, got 0"),
    ],
)
def test_what_is_no_schedule_is_refused(capsys, expression, message):
    assert main(["schedule", expression]) == 2
    output = capsys.readouterr()
    assert output.err.startswith(f"lrjax schedule: {message}")
    assert output.out == ""


def test_defaults(capsys):
    assert main(["defaults"]) == 0
    assert capsys.readouterr().out == f"{OPTIMIZER_DEFAULTS}\n\n{SCENARIOS}\n"
    for name, table in (("adamw", OPTIMIZER_DEFAULTS), ("vit", SCENARIOS)):
        assert main(["defaults", name]) == 0
        assert capsys.readouterr().out == f"{table[name]}\n"
    assert main(["defaults", "adan"]) == 2
    assert capsys.readouterr().err.startswith("lrjax defaults: nothing is known of 'adan', only of the optimizers sgd,")


def test_recipe(capsys):
    assert main(["recipe", "llm-pretraining", "1e5", "--learning-rate", "6e-4", "--warmup-steps", "2000"]) == 0
    expected = lrjax.recipe("llm-pretraining", 100_000, learning_rate=6e-4, warmup_steps=2000)
    assert capsys.readouterr().out == f"{expected}\n"
    assert main(["recipe", "cnn-finetuning", "1000", "--weight-decay", "0.1", "--head", "fc"]) == 0
    expected = lrjax.recipe("cnn-finetuning", 1000, weight_decay=0.1, head="fc")
    assert capsys.readouterr().out == f"{expected}\n"
    assert main(["recipe", "gan", "10.5"]) == 2
    assert capsys.readouterr().err == "lrjax recipe: `recipe(total_steps=...)` must be a whole number, got 10.5\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "lrjax: error: the following arguments are required: COMMAND"),
        (["scedule"], "invalid choice: 'scedule'"),
        (["recipe", "vit", "many"], "argument total_steps: invalid number value: 'many'"),
        (["schedule", "cosine(0.1, 9)", "--steps", "all"], "argument --steps: invalid number value: 'all'"),
    ],
)
def test_wrong_arguments_are_refused_with_the_usage(capsys, arguments, message):
    with pytest.raises(SystemExit, match=r"^2$"):
        main(arguments)
    assert message in capsys.readouterr().err


def losses(diverging=False):
    steps = np.arange(200.0)
    falling = 2.0 * np.exp(-steps / 40) + 0.02 * np.cos(1.7 * steps)
    return np.where(steps < 120, falling, 3.0 * 1.1 ** (steps - 120)) if diverging else falling


def logged(logger, names, columns, steps):
    with logger:
        for step, values in zip(steps, zip(*columns, strict=True), strict=True):
            logger(int(step), {name: value for name, value in zip(names, values, strict=True) if value is not None})


def test_a_run_is_diagnosed_from_its_log(capsys, tmp_path):
    path = str(tmp_path / "run.csv")
    columns = (losses(diverging=True), np.full(200, 0.3), np.ones(200))
    logged(csv_logger(path), ("loss", "learning_rate", "gradient_norm"), columns, range(200))
    assert main(["diagnose", path]) == 1
    expected = diagnose(columns[0], learning_rates=columns[1], gradient_norms=columns[2])
    assert expected.kind == "divergence"
    assert capsys.readouterr().out == f"{expected}\n"


def test_rows_are_matched_by_their_steps(capsys, monkeypatch, tmp_path):
    """Losses of every tenth step from 10 on, rates now and then, validation in between."""
    path = str(tmp_path / "run.jsonl")
    steps = range(10, 2010, 10)
    rates = [0.1 if step < 1000 else 0.01 if step % 100 == 0 else None for step in steps]
    logged(jsonl_logger(path), ("loss", "learning_rate"), (losses(), rates), steps)
    validation = 1.0 + np.abs(np.linspace(-0.5, 1.0, 41))
    with jsonl_logger(path) as logger:
        for step, value in zip(range(5, 2055, 50), validation, strict=True):
            logger(step, {"validation_loss": value})
    passed = {}

    def spy(losses, **curves):
        passed.update(curves)
        return diagnose(losses, **curves)

    monkeypatch.setattr("lrjax.cli.diagnose", spy)
    assert main(["diagnose", path]) == 1
    np.testing.assert_array_equal(passed.pop("learning_rates"), np.where(np.arange(200) < 99, 0.1, 0.01))
    at, values = passed.pop("validation_losses")
    np.testing.assert_array_equal(at, np.maximum(np.arange(5, 2055, 50) // 10 - 1, 0))
    np.testing.assert_array_equal(values, validation)
    assert passed == {}
    output = capsys.readouterr().out
    assert output.startswith("overfitting (warning, steps ")
    note = f"Steps are counted in rows of {path}: row 0 is step 10, the last is step 2000."
    assert output.endswith(f"\n\n{note}\n")


def test_a_healthy_run_and_a_gan(capsys, tmp_path):
    healthy, gan = str(tmp_path / "healthy.csv"), str(tmp_path / "gan.csv")
    logged(csv_logger(healthy), ("loss",), (losses(),), range(200))
    assert main(["diagnose", healthy]) == 0
    assert capsys.readouterr().out.startswith("healthy (note, steps 0 to 199)")
    players = (1.0 + 0.01 * np.arange(200), 0.7 * np.exp(-np.arange(200) / 20))
    logged(csv_logger(gan), ("generator_loss", "discriminator_loss"), players, range(200))
    assert main(["diagnose", gan]) == 1
    expected = diagnose(None, generator_losses=players[0], discriminator_losses=players[1])
    assert capsys.readouterr().out == f"{expected}\n"


def test_logs_that_cannot_be_read(capsys, tmp_path):
    assert main(["diagnose", str(tmp_path / "none.csv")]) == 2
    assert "No such file" in capsys.readouterr().err
    path = str(tmp_path / "other.csv")
    logged(csv_logger(path), ("accuracy", "generator_loss"), ([0.5], [1.0]), [0])
    assert main(["diagnose", path]) == 2
    message = f"{path} has no column loss, nor generator_loss and discriminator_loss; it has step, accuracy,"
    assert capsys.readouterr().err == f"lrjax diagnose: {message} generator_loss\n"


def test_python_m_lrjax(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["lrjax", "defaults", "lion"])
    with pytest.raises(SystemExit, match=r"^0$"):
        runpy.run_path(str(Path(lrjax.__file__).with_name("__main__.py")), run_name="__main__")
    assert capsys.readouterr().out == f"{OPTIMIZER_DEFAULTS['lion']}\n"
