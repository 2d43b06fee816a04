"""The tables of defaults: true of the presets, complete, and readable."""

from __future__ import annotations

import inspect
import re

import pytest

from lrjax.optimizers import (
    adam,
    adamw,
    dadapt_adamw,
    lamb,
    lion,
    muon,
    prodigy,
    rmsprop,
    schedule_free_adamw,
    sgd,
)
from lrjax.optimizers.defaults import OPTIMIZER_DEFAULTS, SCENARIOS, optimizer_defaults, scenario_defaults
from lrjax.optimizers.recipes import RECIPES, recipe
from lrjax.scaling import scale_learning_rate

PRESETS = {
    "sgd": sgd,
    "sgd_momentum": sgd,
    "adam": adam,
    "adamw": adamw,
    "rmsprop": rmsprop,
    "lion": lion,
    "lamb": lamb,
    "schedule_free_adamw": schedule_free_adamw,
    "dadapt_adamw": dadapt_adamw,
    "prodigy": prodigy,
    "muon": muon,
}
TABLES = {"OPTIMIZER_DEFAULTS": OPTIMIZER_DEFAULTS, "SCENARIOS": SCENARIOS}
every_table = pytest.mark.parametrize("table", TABLES.values(), ids=TABLES.keys())


def test_every_preset_has_a_row():
    assert list(OPTIMIZER_DEFAULTS) == list(PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_a_row_says_what_the_preset_does(name):
    row = optimizer_defaults(name)
    parameters = inspect.signature(PRESETS[name]).parameters
    assert row is OPTIMIZER_DEFAULTS[name]
    assert row.name == name
    assert row.learning_rate == parameters["learning_rate"].default
    if row.weight_decay is None:
        assert "weight_decay" not in parameters
    else:
        assert row.weight_decay == parameters["weight_decay"].default
    assert row.low <= row.learning_rate <= row.high
    assert row.scaling in ("linear", "sqrt", None)


@pytest.mark.parametrize(
    ("name", "low", "high", "scaling"),
    [
        ("sgd", 0.01, 0.1, "linear"),
        ("sgd_momentum", 0.001, 0.1, "linear"),
        ("adam", 1e-4, 1e-3, "sqrt"),
        ("adamw", 1e-4, 1e-3, "sqrt"),
        ("rmsprop", 1e-3, 1e-2, "sqrt"),
        ("lamb", 6.25e-4, 5e-3, "sqrt"),
    ],
)
def test_ranges_and_batch_rules(name, low, high, scaling):
    row = optimizer_defaults(name)
    assert (row.low, row.high, row.scaling) == (low, high, scaling)


@pytest.mark.parametrize("name", [name for name, row in OPTIMIZER_DEFAULTS.items() if row.scaling])
def test_the_batch_rule_is_the_one_that_scaling_would_choose(name):
    row = optimizer_defaults(name)
    scaled = scale_learning_rate(row.learning_rate, 256, 4096, rule=row.scaling, optimizer=name)
    assert scaled == pytest.approx(row.learning_rate * (16 if row.scaling == "linear" else 4))
    assert scaled == pytest.approx(scale_learning_rate(row.learning_rate, 256, 4096, optimizer=name))


def test_relations_between_optimizers():
    adamw_row, lion_row = optimizer_defaults("adamw"), optimizer_defaults("lion")
    assert lion_row.learning_rate * 10 == pytest.approx(adamw_row.learning_rate)
    assert lion_row.weight_decay == pytest.approx(10 * adamw_row.weight_decay)
    assert optimizer_defaults("schedule_free_adamw").high == pytest.approx(10 * adamw_row.high)
    assert optimizer_defaults("sgd").learning_rate >= 10 * optimizer_defaults("adam").learning_rate


@pytest.mark.parametrize(
    ("name", "rate", "low", "high"),
    [
        ("llm-pretraining", 3e-4, 1e-4, 3e-4),
        ("llm-finetuning", 2e-5, 1e-5, 5e-5),
        ("lora", 2e-4, 1e-4, 3e-4),
        ("transformer", 1e-4, 1e-4, 5e-4),
        ("vit", 1e-3, 5e-4, 1e-3),
        ("cnn", 1e-3, 1e-4, 3e-3),
        ("resnet", 0.1, 0.01, 0.1),
        ("cnn-finetuning", 1e-4, 1e-5, 1e-4),
        ("rnn", 1e-3, 1e-3, 1e-2),
        ("very-deep", None, None, None),
        ("gan", 2e-4, 1e-4, 2e-4),
        ("diffusion", 1e-4, 2e-5, 2e-4),
        ("small", 1e-3, 1e-3, 1e-2),
    ],
)
def test_scenarios(name, rate, low, high):
    row = scenario_defaults(name)
    assert (row.learning_rate, row.low, row.high) == (rate, low, high)
    assert row is SCENARIOS[name]
    assert row.name == name


def test_every_recipe_belongs_to_a_scenario_and_starts_at_its_rate():
    assert sorted(name for row in SCENARIOS.values() for name in row.recipes) == sorted(RECIPES)
    for row in SCENARIOS.values():
        for name in row.recipes:
            made = recipe(name, 1000, warmup_steps=0)
            assert float(made.schedule(0)) == pytest.approx(row.learning_rate, rel=1e-6)


@every_table
def test_rows_cite_public_sources(table):
    for row in table.values():
        assert re.search(r"arXiv:\d{4}\.\d{4,5}|\(20\d\d\)", row.source), row.name
        assert row.note.endswith(".")


@every_table
def test_a_table_prints_in_columns(table):
    head, rule, *lines = str(table).splitlines()
    columns = [match.start() for match in re.finditer(r"-+", rule)]
    assert [head[start:].split()[0] for start in columns] == [*next(iter(table.values())).cells, "note"]
    assert max(map(len, lines)) <= 120
    for line in lines:
        for start in columns[1:]:
            assert line[start - 2 : start].strip() == ""
    named = [line.split()[0] for line in lines if line[0] != " "]
    assert named == list(table)


@every_table
def test_a_row_prints_all_it_knows(table):
    for row in table.values():
        text = " ".join(str(row).split())
        assert text.startswith(row.name)
        assert row.note in text
        assert row.source in text


def test_a_table_is_read_only():
    with pytest.raises(TypeError):
        OPTIMIZER_DEFAULTS["adam"] = OPTIMIZER_DEFAULTS["sgd"]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: optimizer_defaults("adagrad"),
            ValueError,
            "`optimizer_defaults(name=...)` must be one of " + ", ".join(map(repr, PRESETS)) + ", got 'adagrad'",
        ),
        (lambda: optimizer_defaults(adamw), TypeError, "`optimizer_defaults(name=...)` must be one of 'sgd', "),
        (
            lambda: scenario_defaults("bert"),
            ValueError,
            "`scenario_defaults(name=...)` must be one of 'llm-pretraining', 'llm-finetuning', 'lora', 'transformer', ",
        ),
        (lambda: scenario_defaults(None), TypeError, "got None (NoneType)"),
    ],
    ids=["unknown optimizer", "a preset", "unknown scenario", "no name"],
)
def test_wrong_names_are_refused_with_the_known_ones(call, error, message):
    with pytest.raises(error, match=re.escape(message)):
        call()
