"""The house: imports point down, nothing goes in a circle, and the public names are what was promised."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest

import lrjax

ROOT = Path(lrjax.__file__).parent
FLOORS = {
    "typing": 0,
    "_checks": 0,
    "_norm": 0,
    "schedules": 1,
    "scaling": 1,
    "diagnosis": 1,
    "curvature": 1,
    "optimizers": 2,
    "monitors": 2,
    "finder": 3,
    "plot": 4,
    "cli": 5,
    "__main__": 6,
}
MODULES = ["lrjax", *(module.name for module in pkgutil.walk_packages([str(ROOT)], "lrjax."))]


def imports_of(name: str) -> set[str]:
    """The modules of lrjax that a module names, inside functions too."""
    module = importlib.import_module(name)
    found = set()
    for node in ast.walk(ast.parse(Path(module.__file__).read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("lrjax"):
            submodules = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {sub if sub in MODULES else node.module for sub in submodules}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("lrjax")}
        assert not (isinstance(node, ast.ImportFrom) and node.level), f"{name} imports relatively"
    return found - {name}


IMPORTS = {name: imports_of(name) for name in MODULES}


def floor_of(name: str) -> int:
    """The floor of a module; the package itself stands on the roof."""
    return FLOORS[name.split(".")[1]] if "." in name else 7


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_down(name: str):
    for target in IMPORTS[name]:
        same_room = name.split(".")[:2] == target.split(".")[:2]
        assert floor_of(target) < floor_of(name) or same_room, f"{name} imports {target}"


def test_no_circles():
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path, name))
        if name not in done:
            for target in IMPORTS[name]:
                visit(target, (*path, name))
            done.add(name)

    for name in MODULES:
        visit(name, ())


def test_core_needs_only_core_dependencies():
    extras = {"flax", "matplotlib", "tqdm", "sklearn", "equinox", "orbax", "rich", "chex", "tensorboardX", "wandb"}
    for name in MODULES:
        tree = ast.parse(Path(importlib.import_module(name).__file__).read_text())
        for node in tree.body:
            names = [alias.name for alias in getattr(node, "names", [])] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            assert not extras & {found.split(".")[0] for found in names}, f"{name} imports an extra at import time"


@pytest.mark.parametrize("name", [name for name in MODULES if hasattr(importlib.import_module(name), "__all__")])
def test_all_is_sorted_and_true(name: str):
    module = importlib.import_module(name)
    # Constants first, then classes, as the linter wants it.
    assert sorted(module.__all__, key=lambda name: (not name.isupper(), name)) == list(module.__all__)
    for public in module.__all__:
        assert hasattr(module, public), f"{name}.{public}"


def test_the_public_names():
    assert lrjax.__all__ == [
        "CriticalLearningRate",
        "Diagnosis",
        "Finding",
        "GanRampTest",
        "GanRangeTest",
        "GanSuggestion",
        "GridTest",
        "Halving",
        "Plan",
        "Problem",
        "RampTest",
        "RangeTest",
        "Sharpness",
        "Suggestion",
        "Sweep",
        "adam",
        "adamw",
        "backoff",
        "clip_gradients",
        "constant",
        "critical_learning_rate",
        "current_learning_rate",
        "curvature",
        "dadapt_adamw",
        "diagnose",
        "diagnosis",
        "effective_learning_rate",
        "evaluation_params",
        "finder",
        "frechet_distance",
        "from_equinox",
        "from_linen",
        "from_nnx",
        "gan_init",
        "gan_optimizers",
        "gan_ramp_test",
        "gan_range_test",
        "gan_step",
        "gan_suggest",
        "gradient_noise_scale",
        "grid_test",
        "infinite",
        "inverse_sqrt",
        "join",
        "lamb",
        "layer_rates",
        "layerwise",
        "lion",
        "lion_from_adamw",
        "merge",
        "minibatches",
        "monitors",
        "muon",
        "one_cycle",
        "one_cycle_momentum",
        "optimizer_defaults",
        "optimizers",
        "param_groups",
        "plot",
        "power",
        "prodigy",
        "ramp_test",
        "range_test",
        "recipe",
        "record",
        "reduce_on_plateau",
        "rmsprop",
        "scale_learning_rate",
        "scaling",
        "scenario_defaults",
        "schedule_free_adamw",
        "schedules",
        "sensitivity",
        "sgd",
        "sharpness",
        "stability_edge",
        "suggest",
        "sweep",
        "training",
        "typing",
        "warmup_cosine",
        "warmup_linear",
        "with_cooldown",
        "with_warmup",
        "wsd",
        "wsd_cycles",
    ]


def public_functions() -> list[tuple[str, object]]:
    """Every function that a package of lrjax exports, once."""
    packages = [importlib.import_module(name) for name in MODULES if hasattr(importlib.import_module(name), "__all__")]
    found = {f"{p.__name__}.{n}": getattr(p, n) for p in packages for n in p.__all__ if p is not lrjax.typing}
    unique = {id(value): (name, value) for name, value in found.items() if inspect.isfunction(value)}
    return sorted(unique.values(), key=lambda item: item[0])


@pytest.mark.parametrize(
    ("name", "function"), public_functions(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_docstrings_are_complete(name: str, function: object):
    text = inspect.getdoc(function) or ""
    assert text.splitlines()[0].endswith("."), f"{name}: the first line is one sentence"
    for section in ("Args:", "Returns:", "Raises:", "Example:"):
        assert section in text, f"{name} has no {section}"
    for argument in inspect.signature(function).parameters:
        assert f"{argument}:" in text.replace("**", "").replace("*", ""), f"{name} does not explain {argument}"
