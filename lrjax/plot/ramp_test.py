"""The picture of a ramp test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from lrjax import _checks
from lrjax.finder.ramp_result import RampTest
from lrjax.finder.reading.suggest import Suggestion, suggest
from lrjax.plot._axes import COLORS, axes, mark_suggestion, scale_losses

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_CALL = "plot.ramp_test"
_GROUP_COLORS = ("#1f5fa8", "#c8102e", "#2e8b57", "#b8860b", "#7b3fa0", "#3a3f47")


def ramp_test(
    result: RampTest | Mapping[str, RampTest],
    suggestion: Suggestion | Mapping[str, Suggestion] | None = None,
    *,
    ax: Axes | None = None,
) -> Axes:
    """The loss along a ramp, over its rates; a logarithmic axis where the ramp is exponential.

    The smoothed training loss, a line of the mean over the seeds in a band from the smallest to the largest, as far as
    all of them go; the raw losses as faint points; the validation loss where there is one; a cross at the top where a
    seed was stopped or lost; and the suggestion with its value. What runs away leaves the picture at the top. Several
    ramps, one for each group of parameters, are a line each, of the loss that its suggestion is for.

    Args:
        result: What ``lrjax.finder.ramp_test`` returned, with groups or without.
        suggestion: What to mark, for groups a dict by their labels; by default ``suggest`` of each result.
        ax: Where to draw; by default a new figure.

    Returns:
        The matplotlib axes; ``axes.figure.savefig("ramp.png")`` writes the picture.

    Raises:
        ImportError: Where matplotlib is missing.
        TypeError: Where an argument is of the wrong kind.
        ValueError: Where there is no group, or a suggestion for other groups than there are.

    Example:
        >>> import jax.numpy as jnp, numpy as np, optax, lrjax.plot
        >>> from lrjax.finder import ramp_test
        >>> def loss_fn(params, batch):
        ...     return jnp.mean((batch @ params - 1.0) ** 2)
        >>> result = ramp_test(loss_fn, jnp.zeros(2), np.ones((100, 4, 2)), optax.sgd)
        >>> print(lrjax.plot.ramp_test(result).get_xscale())
        log
    """
    results = dict(result) if isinstance(result, Mapping) else {"": result}
    if not results:
        _checks.refuse(_CALL, "result", "a RampTest or a dict with at least one", "an empty dict")
    for value in results.values():
        if not isinstance(value, RampTest):
            _checks.refuse_type(_CALL, "result", "a RampTest or a dict of them", value)
    suggestions = _suggestions(results, suggestion)
    ax = axes(_CALL, ax)
    first = next(iter(results.values()))
    if first.spacing == "exponential":
        ax.set_xscale("log")
    ax.set_xlim(*_limits(first))
    if "" in results:
        _draw_one(ax, results[""], suggestions[""])
    else:
        _draw_groups(ax, results, suggestions)
    ax.set_xlabel("learning rate")
    ax.set_ylabel("loss")
    ax.grid(visible=True, which="major", alpha=0.25)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False)
    return ax


def _suggestions(results: dict[str, RampTest], given: Any) -> dict[str, Suggestion]:
    """A suggestion for every result."""
    if given is None:
        return {label: suggest(result) for label, result in results.items()}
    named = {"": given} if "" in results else given
    wanted = "a Suggestion" if "" in results else "a dict of a Suggestion for every label"
    if not (isinstance(named, Mapping) and all(isinstance(value, Suggestion) for value in named.values())):
        _checks.refuse_type(_CALL, "suggestion", wanted, given)
    if set(named) != set(results):
        _checks.refuse(_CALL, "suggestion", f"{wanted}, {', '.join(results)}", ", ".join(named) or "none")
    return dict(named)


def _draw_one(ax: Any, result: RampTest, suggestion: Suggestion) -> None:
    """All there is to see of one ramp."""
    curves = {"training": _curve(result, "training")}
    if result.validation_steps.size:
        curves["validation"] = _curve(result, "validation")
    ends = _ends(result)
    rates, color = result.learning_rates, COLORS["training"]
    for losses, end in zip(result.losses, ends, strict=True):
        ax.plot(rates[:end], losses[:end], color=color, alpha=0.35, marker=".", markersize=3, linestyle="none")
    for objective, (at, losses) in curves.items():
        label = "training, smoothed" if objective == "training" and result.smoothing else objective
        _line_and_band(ax, at, losses, COLORS[objective], label)
    finite = [losses[np.isfinite(losses)] for _, losses in curves.values()]
    starts = [losses[:, :1][np.isfinite(losses[:, :1])] for _, losses in curves.values()]
    scale_losses(ax, np.concatenate(finite), np.concatenate(starts))
    for name, is_so in (("stopped", result.stopped_at >= 0), ("lost", (result.stopped_at < 0) & (result.lost_at >= 0))):
        if is_so.any():
            at = rates[np.clip(np.array(ends)[is_so] - 1, 0, None)]
            style = {"color": COLORS["diverged"], "marker": "x" if name == "stopped" else "+", "linestyle": "none"}
            ax.plot(at, np.full(len(at), 0.96), transform=ax.get_xaxis_transform(), label=name, **style)
    mark_suggestion(ax, suggestion)


def _draw_groups(ax: Any, results: dict[str, RampTest], suggestions: dict[str, Suggestion]) -> None:
    """A line for each of several ramps."""
    finite, starts = [], []
    for place, (label, result) in enumerate(results.items()):
        suggestion, color = suggestions[label], _GROUP_COLORS[place % len(_GROUP_COLORS)]
        at, losses = _curve(result, suggestion.objective)
        _line_and_band(ax, at, losses, color, f"{label}, {suggestion.objective}")
        mark_suggestion(ax, suggestion, color, f"{label}, suggestion", height=0.04 + 0.06 * (place % 8))
        finite.append(losses[np.isfinite(losses)])
        starts.append(losses[:, :1][np.isfinite(losses[:, :1])])
    scale_losses(ax, np.concatenate(finite), np.concatenate(starts))


def _limits(result: RampTest) -> tuple[float, float]:
    """The rates that the picture shows, a little more than those tested."""
    low, high = float(result.learning_rates[0]), float(result.learning_rates[-1])
    if result.spacing == "linear":
        return low - 0.02 * (high - low), high + 0.02 * (high - low)
    return low * (low / high) ** 0.02 / 1.01, high * (high / low) ** 0.02 * 1.01


def _ends(result: RampTest) -> list[int]:
    """The number of steps of each seed that rules read."""
    steps = result.losses.shape[1]
    pairs = zip(result.stopped_at.tolist(), result.lost_at.tolist(), strict=True)
    return [stop + 1 if stop >= 0 else lost if lost >= 0 else steps for stop, lost in pairs]


def _curve(result: RampTest, objective: str) -> tuple[np.ndarray, np.ndarray]:
    """Rates, ``[N]``, and the losses that go by them, ``[R, N]``, NaN where they are not read."""
    made_by = np.arange(len(result.learning_rates)) if objective == "training" else result.validation_steps - 1
    losses = result.smoothed if objective == "training" else result.validation_losses
    is_read = (made_by < np.array(_ends(result))[:, None]) & np.isfinite(losses)
    shown = made_by >= 0
    return result.learning_rates[made_by[shown]], np.where(is_read, losses, np.nan)[:, shown]


def _line_and_band(ax: Any, rates: np.ndarray, losses: np.ndarray, color: str, label: str) -> None:
    """The mean over the seeds and the band between them, as far as all go that have begun."""
    begun = losses[np.isfinite(losses[:, :1]).all(axis=1)] if losses.shape[1] else losses
    all_go = np.isfinite(begun).all(axis=0)
    rates, losses = rates[all_go], begun[:, all_go]
    if not losses.size:
        return
    ax.plot(rates, losses.mean(axis=0), color=color, linewidth=1.8, label=label)
    if len(losses) > 1:
        ax.fill_between(rates, losses.min(axis=0), losses.max(axis=0), color=color, alpha=0.2, linewidth=0)
