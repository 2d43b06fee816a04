"""The picture of several range tests: of optimizers, schedules or models side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from lrjax import _checks
from lrjax.finder.reading.curves import by_rate, checked_objective
from lrjax.finder.reading.sensitivity import sensitivity
from lrjax.finder.reading.suggest import suggest
from lrjax.finder.result import RangeTest
from lrjax.plot._axes import axes, scale_losses

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def comparison(results: Mapping[str, RangeTest], *, objective: str | None = None, ax: Axes | None = None) -> Axes:
    """What several range tests ended with, over a logarithmic axis of rates, with the best loss and the sensitivity.

    A line a test, the mean over its seeds, in a band from the smallest seed to the largest; losses above the start and
    seeds that were lost count as ended at the start; the suggestion of each test as a dot. The legend has each test's
    best loss, of the seeds' mean, and its ``sensitivity``: how good the best rate is, and how much it costs to miss it.
    They are comparable for one loss, on the same rates.

    Args:
        results: Range tests by name, at least two to compare.
        objective: ``"validation"`` or ``"training"``; by default validation where all results have it.
        ax: Where to draw; by default a new figure.

    Returns:
        The matplotlib axes; ``axes.figure.savefig("comparison.png")`` writes the picture.

    Raises:
        ImportError: Where matplotlib is missing.
        TypeError: Where an argument is of the wrong kind.
        ValueError: Where there are no results, or the objective is unknown or was not measured in one of them.

    Example:
        >>> import jax.numpy as jnp, numpy as np, optax, lrjax.plot
        >>> from lrjax.finder import range_test
        >>> def loss_fn(params, batch):
        ...     return jnp.mean((batch @ params - 1.0) ** 2)
        >>> results = {
        ...     name: range_test(loss_fn, jnp.zeros(2), np.ones((20, 4, 2)), optimizer, [0.001, 0.01, 0.1])
        ...     for name, optimizer in {"SGD": optax.sgd, "Adam": optax.adam}.items()
        ... }
        >>> print(lrjax.plot.comparison(results).get_xscale())
        log

    Source: the curves and the sensitivity of Wortsman et al., arXiv:2309.14322.
    """
    call = "plot.comparison"
    wanted = "a dict of range tests by name"
    if not isinstance(results, Mapping):
        _checks.refuse_type(call, "results", wanted, results)
    if not results:
        _checks.refuse(call, "results", f"{wanted}, at least one", "none")
    for name, result in results.items():
        if not isinstance(result, RangeTest):
            _checks.refuse_type(call, f"results[{name!r}]", "a RangeTest", result)
    if objective is None:
        objective = "validation" if all(result.validation_steps.size for result in results.values()) else "training"
    for result in results.values():
        checked_objective(call, result, objective)
    ax = axes(call, ax)

    ax.set_xscale("log")
    lowest, starts = [], []
    for place, (name, result) in enumerate(results.items()):
        rates, start, final = by_rate(result, objective)
        started = np.isfinite(start)
        losses = np.fmin(final, start)[:, started if started.any() else ~started]
        mean, answer = losses.mean(axis=1), suggest(result, objective=objective)
        cost = sensitivity(result, objective)
        found = "no loss fell" if np.isnan(cost) else f"best {np.nanmin(mean):.3g}, sensitivity {cost:.3g}"
        color = f"C{place}"
        ax.plot(rates, mean, color=color, linewidth=1.8, label=f"{name}: {found}")
        if losses.shape[1] > 1:
            ax.fill_between(rates, losses.min(axis=1), losses.max(axis=1), color=color, alpha=0.15, linewidth=0)
        height = np.interp(np.log(answer.learning_rate), np.log(rates), mean)
        ax.plot(answer.learning_rate, height, color=color, marker="o", markersize=8, markeredgecolor="white")
        lowest.append(losses[np.isfinite(losses)])
        starts.append(start[np.isfinite(start)])
    scale_losses(ax, np.concatenate(lowest), np.concatenate(starts))
    ax.plot([], [], color="black", marker="o", markersize=8, linestyle="none", label="suggestion")
    ax.set_xlabel("learning rate")
    ax.set_ylabel(f"final {objective} loss")
    ax.grid(visible=True, which="major", alpha=0.25)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False)
    return ax
