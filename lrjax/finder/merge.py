"""Results of lanes that ran apart, read together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

import jax
import numpy as np

from lrjax import _checks
from lrjax.finder import trees
from lrjax.finder.result import RangeTest
from lrjax.finder.sweep import Sweep

Result = TypeVar("Result", RangeTest, Sweep)


def merge(results: Sequence[Result]) -> Result:
    """Join results of lanes that ran in separate jobs, on the same batches for the same steps.

    Range tests may differ in their rates, in their seeds, or in both, as long as together they have every seed of every
    rate once: ``losses[k, r]`` are those of the result that has rate ``k`` and seed ``r``. Sweeps are laid end to end.

    Args:
        results: Results of ``range_test`` or of ``sweep``, at least one.

    Returns:
        One result, as if the lanes had run together; its rates and seeds stand in the order in which they first appear,
        its ``plan`` is that of the first result, and its ``note`` has all notes.

    Raises:
        TypeError: Where the results are not all of one of these kinds.
        ValueError: Where their steps, validation steps, metrics or hyperparameters do not go together, or a lane is
            missing or there twice.

    Example:
        >>> import jax.numpy as jnp, numpy as np, optax
        >>> from lrjax.finder import merge, range_test
        >>> def loss_fn(params, batch):
        ...     return jnp.mean((batch @ params - 1.0) ** 2)
        >>> batches = np.ones((20, 4, 2), np.float32)
        >>> low, high = (
        ...     range_test(loss_fn, jnp.zeros(2), batches, optax.sgd, rates) for rates in ([0.001, 0.01], [0.1, 1.0])
        ... )
        >>> print(merge([low, high]).learning_rates)
        [0.001 0.01  0.1   1.   ]
    """
    parts: list[Any] = list(_checks.sequence("merge", "results", results, "results"))
    if not parts:
        _checks.refuse("merge", "results", "at least one result", "none")
    kind = type(parts[0])
    for place, part in enumerate(parts):
        if not isinstance(part, RangeTest | Sweep) or type(part) is not kind:
            _checks.refuse_type("merge", f"results[{place}]", "a RangeTest or a Sweep, like the others", part)
    _alike("steps", [part.steps_done for part in parts])
    _alike("validation steps", [part.validation_steps.tolist() for part in parts])
    note = " ".join(dict.fromkeys(part.note for part in parts if part.note))
    joined: Any = _range_tests(parts) if kind is RangeTest else _sweeps(parts)
    return replace(joined, note=note)  # type: ignore[no-any-return]


def _range_tests(parts: list[RangeTest]) -> RangeTest:
    """Rates by seeds."""
    rates = list(dict.fromkeys(rate for part in parts for rate in part.learning_rates.tolist()))
    seeds = list(dict.fromkeys(seed for part in parts for seed in part.seeds.tolist()))
    places = [
        np.ix_([rates.index(rate) for rate in part.learning_rates], [seeds.index(seed) for seed in part.seeds])
        for part in parts
    ]
    times = np.zeros((len(rates), len(seeds)), int)
    for place in places:
        times[place] += 1
    for number, trouble in ((0, "no"), (2, "more than one")):
        found = np.argwhere(times == 0 if number == 0 else times >= number)
        if len(found):
            rate, seed = rates[found[0][0]], seeds[found[0][1]]
            requirement = "results with every seed of every rate once"
            _checks.refuse("merge", "results", requirement, f"{trouble} lane of rate {rate:g} and seed {seed}")

    def joined(name: str) -> np.ndarray:
        values = [getattr(part, name) for part in parts]
        whole = np.empty((len(rates), len(seeds), *values[0].shape[2:]), np.result_type(*values))
        for place, value in zip(places, values, strict=True):
            whole[place] = value
        return whole

    lanes: dict[str, Any] = {name: joined(name) for name in ("losses", "validation_losses", "status", "lost_at")}
    texts = {rate: text for part in parts for rate, text in zip(part.learning_rates, part.schedules, strict=False)}
    return replace(
        parts[0],
        learning_rates=np.array(rates),
        seeds=np.array(seeds, parts[0].seeds.dtype),
        schedules=tuple(texts.get(rate, "") for rate in rates) if texts else (),
        **lanes,
    )


def _sweeps(parts: list[Sweep]) -> Sweep:
    """Lanes end to end."""
    _alike("metric", [part.metric for part in parts])
    for what in ("metrics", "hyperparams"):
        one_lane = [jax.tree.map(trees.without_lanes, getattr(part, what)) for part in parts]
        _alike(what, [trees.form(lane) for lane in one_lane], [trees.described(lane) for lane in one_lane])

    def joined(values: Sequence[Any]) -> Any:
        return jax.tree.map(lambda *leaves: np.concatenate(leaves), *values)

    names = ("hyperparams", "metrics", "validation_losses", "status", "lost_at")
    return replace(parts[0], **{name: joined([getattr(part, name) for part in parts]) for name in names})


def _alike(what: str, values: list[Any], texts: list[str] | None = None) -> None:
    """Refuse results that differ; ``texts`` show the values."""
    texts = texts or [_checks.shown(value) for value in values]
    for place, value in enumerate(values):
        if value != values[0]:
            got = f"{texts[0]} and, in results[{place}], {texts[place]}"
            _checks.refuse("merge", "results", f"of equal {what}", got)
