"""The command line: draw a schedule, look up defaults and recipes, diagnose a run from its log."""

from __future__ import annotations

import argparse
import ast
import inspect
import operator
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lrjax import _checks, plot, schedules
from lrjax.diagnosis import Diagnosis, diagnose
from lrjax.monitors import read_log
from lrjax.optimizers import OPTIMIZER_DEFAULTS, RECIPES, SCENARIOS, recipe

_ROWS = 11  # of the table of a schedule
_OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_CURVES = {"learning_rates": "learning_rate", "gradient_norms": "gradient_norm"}
_PLAYERS = {"generator_losses": "generator_loss", "discriminator_losses": "discriminator_loss"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command of ``python -m lrjax``.

    ``schedule "warmup_cosine(3e-4, 1000, warmup_steps=100)"`` prints and draws a schedule, ``defaults adamw`` and
    ``recipe vit 90000`` say where to start, and ``diagnose run.csv`` reads what ``csv_logger`` or ``jsonl_logger``
    wrote.

    Args:
        arguments: What stands behind ``python -m lrjax``; None for that itself.

    Returns:
        The exit status: 0; 1 where ``diagnose`` found something critical or worth a warning; 2 where the command could
        not be carried out, the reason printed.

    Raises:
        SystemExit: The arguments are not those of a command, or ask for help.

    Example:
        >>> from lrjax.cli import main
        >>> main(["schedule", "linear(0.1, 0, 20)"])
        step  learning rate
           0            0.1
           2           0.09
           4           0.08
           6           0.07
           8           0.06
          10           0.05
          12           0.04
          14           0.03
          16           0.02
          18           0.01
          20              0
        0
    """
    parsed = _parser().parse_args(arguments)
    try:
        return int(parsed.command(parsed))
    except (ImportError, OSError, TypeError, ValueError) as error:
        print(f"lrjax {parsed.name}: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    """The commands and what each takes."""
    parser = argparse.ArgumentParser(prog="lrjax", description=__doc__)
    commands = parser.add_subparsers(required=True, dest="name", metavar="COMMAND")

    def command(name: str, function: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        text = inspect.getdoc(function)
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(command=function)
        return added

    drawn = command("schedule", _schedule)
    drawn.add_argument("expression", help='such as "warmup_cosine(3e-4, 1000, warmup_steps=100)"')
    drawn.add_argument("--steps", type=_number, help="the last step; by default the schedule's own")
    drawn.add_argument("--output", metavar="PICTURE", help="draw it into this file, such as picture.png")
    looked_up = command("defaults", _defaults)
    looked_up.add_argument("of", nargs="?", help="an optimizer or a kind of training; by default all of them")
    built = command("recipe", _recipe)
    built.add_argument("of", metavar="NAME", help=", ".join(RECIPES))
    built.add_argument("total_steps", type=_number, help="optimizer steps of the whole run")
    for argument in ("learning_rate", "warmup_steps", "weight_decay"):
        built.add_argument(f"--{argument.replace('_', '-')}", type=_number, help="in place of the recipe's")
    built.add_argument("--head", metavar="PATTERN", help="regular expression of the new layers' paths")
    read = command("diagnose", _diagnose)
    columns = ", ".join(["validation_loss", *_CURVES.values()])
    read.add_argument(
        "log",
        help=f"CSV or JSON lines with step and loss, or {' and '.join(_PLAYERS.values())}; and, if any, {columns}",
    )
    return parser


def _number(text: str) -> float:
    """A number as Python writes it, whole where it is written so."""
    try:
        return int(text)
    except ValueError:
        return float(text)


_number.__name__ = "number"  # what argparse calls a value that is none


def _schedule(parsed: argparse.Namespace) -> int:
    """Print the learning rate along a schedule of lrjax.schedules, and draw it."""
    schedule, own_steps = _evaluated(parsed.expression)
    steps = own_steps if parsed.steps is None else parsed.steps
    if steps is None:
        raise ValueError("--steps, the last step to show, must be given: the schedule does not say how long it is")
    steps = _checks.count("schedule", "steps", steps, low=1)
    if parsed.output:
        figure: Any = plot.schedule(schedule, steps).figure
        figure.savefig(parsed.output, dpi=150)
    shown = np.unique(np.linspace(0, steps, _ROWS).round().astype(np.int64))
    width = max(4, len(str(steps)))
    print(f"{'step':>{width}}  learning rate")
    for step, value in zip(shown, np.broadcast_to(schedule(shown), shown.shape), strict=True):
        print(f"{step:>{width}}  {value:>13.6g}")
    if parsed.output:
        print(f"drawn into {parsed.output}")
    return 0


def _evaluated(expression: str) -> tuple[Any, Any]:
    """The schedule that an expression names, and how many steps it has, if it says so."""
    try:
        node = ast.parse(expression.strip(), mode="eval").body
    except SyntaxError as error:
        raise ValueError(f"{expression!r} is not an expression of Python: {error.msg}") from error
    if not isinstance(node, ast.Call):
        raise ValueError(f"{expression!r} must call a schedule, such as cosine(0.1, 1000)")
    schedule, arguments = _called(node)
    return schedule, arguments.get("total_steps", arguments.get("steps"))


def _called(node: ast.Call) -> tuple[Any, dict[str, Any]]:
    """What a function of lrjax.schedules returns, and its arguments; nothing else is ever called."""
    name = ast.unparse(node.func).removeprefix("lrjax.").removeprefix("schedules.")
    if name not in schedules.__all__:
        raise ValueError(f"{name!r} is not a schedule; there are {', '.join(schedules.__all__)}")
    function = getattr(schedules, name)
    try:
        bound = inspect.signature(function).bind(
            *map(_value, node.args), **{str(keyword.arg): _value(keyword.value) for keyword in node.keywords}
        )
    except TypeError as error:
        raise TypeError(f"`{name}`: {error}") from error
    return function(*bound.args, **bound.kwargs), bound.arguments


def _value(node: ast.expr) -> Any:
    """The value of a literal, of arithmetic with numbers, or of the call of a schedule."""
    if isinstance(node, ast.Call):
        return _called(node)[0]
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(member) for member in node.elts]
    text = ast.unparse(node)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        left, right = _value(node.left), _value(node.right)
        if not (isinstance(left, int | float) and isinstance(right, int | float)):
            raise ValueError(f"{text!r} must be arithmetic with numbers")
        if right == 0 and isinstance(node.op, ast.Div):
            raise ValueError(f"{text!r} divides by 0")
        return _OPERATORS[type(node.op)](left, right)
    try:
        return ast.literal_eval(node)
    except ValueError as error:
        raise ValueError(f"{text!r} must be a number, a string or a schedule of lrjax.schedules") from error


def _defaults(parsed: argparse.Namespace) -> int:
    """Print where to start with an optimizer or a kind of training."""
    if parsed.of is None:
        print(f"{OPTIMIZER_DEFAULTS}\n\n{SCENARIOS}")
        return 0
    found = [str(table[parsed.of]) for table in (OPTIMIZER_DEFAULTS, SCENARIOS) if parsed.of in table]
    if not found:
        known = f"the optimizers {', '.join(OPTIMIZER_DEFAULTS)} and the kinds of training {', '.join(SCENARIOS)}"
        raise ValueError(f"nothing is known of {parsed.of!r}, only of {known}")
    print("\n\n".join(found))
    return 0


def _recipe(parsed: argparse.Namespace) -> int:
    """Print the program of a documented optimizer and schedule, sized to a run."""
    names = ("learning_rate", "warmup_steps", "weight_decay", "head")
    print(recipe(parsed.of, parsed.total_steps, **{name: getattr(parsed, name) for name in names}))
    return 0


def _diagnose(parsed: argparse.Namespace) -> int:
    """Say from a run's log whether it is healthy, and else what to do."""
    diagnosis, steps = _diagnosis(parsed.log)
    print(diagnosis)
    if not np.array_equal(steps, np.arange(len(steps))):
        print(f"\nSteps are counted in rows of {parsed.log}: row 0 is step {steps[0]}, the last is step {steps[-1]}.")
    return int(any(finding.severity in ("critical", "warning") for finding in diagnosis.findings))


def _diagnosis(path: str) -> tuple[Diagnosis, np.ndarray]:
    """What the columns of a log say, and the steps of its rows."""
    present = list(read_log(path))
    players = _PLAYERS if set(_PLAYERS.values()) <= set(present) else {}
    lossy = {"losses": "loss", **players} if "loss" in present else players
    if not lossy:
        wanted = f"loss, nor {' and '.join(_PLAYERS.values())}"
        raise ValueError(f"{path} has no column {wanted}; it has {', '.join(present)}")
    log = read_log(path, list(lossy.values()))
    steps = log["step"]
    if not len(steps):
        raise ValueError(f"{path} has no row with {' and '.join(lossy.values())}")
    curves: dict[str, Any] = {"losses": None} | {argument: log[name] for argument, name in lossy.items()}
    for argument, name in _CURVES.items():
        if name in present:
            other = read_log(path, [name])
            latest = np.searchsorted(other["step"], steps, side="right") - 1
            curves[argument] = other[name][np.maximum(latest, 0)]
    if "validation_loss" in present:
        other = read_log(path, ["validation_loss"])
        rows = np.maximum(np.searchsorted(steps, other["step"], side="right") - 1, 0)
        rows, first = np.unique(rows, return_index=True)
        curves["validation_losses"] = (rows, other["validation_loss"][first])
    return diagnose(curves.pop("losses"), **curves), steps
