"""The picture of a training run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from lrjax import _checks
from lrjax.diagnosis import Diagnosis, diagnose
from lrjax.plot._axes import COLORS, import_pyplot

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

_CALL = "plot.training"
_SEVERITIES = {"critical": "#c8102e", "warning": "#e08a00", "note": "#8a8f98"}
_LOG_RATIO = 5  # curves that differ by more than this factor get a logarithmic axis
_PARTS = 100  # whose means are drawn; a run of fewer steps is drawn as it is


def training(
    losses: ArrayLike | None,
    *,
    validation_losses: ArrayLike | tuple[ArrayLike, ArrayLike] | None = None,
    gradient_norms: ArrayLike | None = None,
    learning_rates: ArrayLike | None = None,
    generator_losses: ArrayLike | None = None,
    discriminator_losses: ArrayLike | None = None,
    diagnosis: Diagnosis | None = None,
    figure: Figure | SubFigure | None = None,
) -> Figure | SubFigure:
    """The losses, learning rates and gradient norms of a run under one another, with what ``diagnose`` found marked.

    Losses of S steps: as they are in a faint line and, from 100 steps on, the means of a hundred equal parts of the run
    in a strong one; a cross at the top where the first value is not finite. The axis is logarithmic where losses, all
    positive, are far apart; what runs away from the start by more than 100 times leaves the picture at the top. A band
    over all panels marks the steps of each finding, red where it is critical, orange where it is a warning, grey where
    it is a note. A healthy run has no band and says so in its title. The arguments are those of ``diagnose``.

    Args:
        losses: Training loss of each step, ``[S]``; None where both losses of a GAN are given.
        validation_losses: ``[V]``, evenly spaced over the run from its start to its end, or a pair (steps, losses).
        gradient_norms: ``[S]``, before clipping.
        learning_rates: ``[S]``.
        generator_losses: ``[S]``.
        discriminator_losses: ``[S]``.
        diagnosis: What to mark; by default ``diagnose`` of the same arguments.
        figure: Where to draw: an empty figure or subfigure of matplotlib; by default a new one.

    Returns:
        The figure; ``figure.savefig("training.png")`` writes the picture.

    Raises:
        ImportError: Where matplotlib is missing.
        TypeError: Where an argument is of the wrong kind.
        ValueError: Where ``diagnose`` refuses an argument.

    Example:
        >>> import numpy as np, lrjax.plot
        >>> losses = 2.0 * 0.98 ** np.arange(300)
        >>> figure = lrjax.plot.training(losses, learning_rates=np.full(300, 1e-3))
        >>> [axes.get_ylabel() for axes in figure.axes]
        ['loss', 'learning rate']
    """
    curves = {
        "validation_losses": validation_losses,
        "gradient_norms": gradient_norms,
        "learning_rates": learning_rates,
        "generator_losses": generator_losses,
        "discriminator_losses": discriminator_losses,
    }
    found = diagnose(losses, **curves)  # also the check of all of them
    if diagnosis is None:
        diagnosis = found
    elif not isinstance(diagnosis, Diagnosis):
        _checks.refuse_type(_CALL, "diagnosis", "a Diagnosis", diagnosis)
    plt = import_pyplot(_CALL)
    panels = 1 + (learning_rates is not None) + (gradient_norms is not None)
    if figure is not None and not callable(getattr(figure, "subplots", None)):
        _checks.refuse_type(_CALL, "figure", "a figure of matplotlib", figure)
    if figure is None:
        figure = plt.figure(figsize=(10, 3.2 + 1.5 * (panels - 1)), layout="constrained")
    heights = [2.2] + [1.0] * (panels - 1)
    axes = figure.subplots(panels, 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]

    trained = {"training": losses, "generator": generator_losses, "discriminator": discriminator_losses}
    by_name = {name: np.asarray(values, float) for name, values in trained.items() if values is not None}
    steps = len(next(iter(by_name.values())))
    for name, values in by_name.items():
        _curve(axes[0], np.arange(steps), values, name, smooth=True)
    shown = list(by_name.values())
    if validation_losses is not None:
        at, values = _validation(validation_losses, steps)
        _curve(axes[0], at, values, "validation", smooth=False)
        shown.append(values)
    _scale(axes[0], shown)
    axes[0].set_ylabel("loss")
    rest = iter(axes[1:])
    if learning_rates is not None:
        ax, values = next(rest), np.asarray(learning_rates, float)
        _curve(ax, np.arange(steps), values, "learning rate", smooth=False)
        ax.set_ylabel("learning rate")
    if gradient_norms is not None:
        ax, values = next(rest), np.asarray(gradient_norms, float)
        _curve(ax, np.arange(steps), values, "gradient norm", smooth=True)
        _scale(ax, [values])
        ax.set_ylabel("gradient norm")
    for ax in axes:
        ax.grid(visible=True, which="major", alpha=0.25)
        ax.spines[["top", "right"]].set_visible(False)
    axes[-1].set_xlabel("step")
    axes[-1].set_xlim(0, max(steps - 1, 1))
    _mark(axes, diagnosis)
    return figure


def _validation(given: Any, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of the validation losses."""
    if isinstance(given, tuple):
        return np.asarray(given[0], float), np.asarray(given[1], float)
    values = np.asarray(given, float)
    return np.linspace(0, steps - 1, len(values)), values


def _curve(ax: Any, at: np.ndarray, values: np.ndarray, name: str, *, smooth: bool) -> None:
    """A line as it is, or faint with its mean over a window; crosses at the top for what is not finite."""
    color = COLORS[name]
    finite = np.isfinite(values)
    if smooth and len(values) >= _PARTS:
        ax.plot(at, np.where(finite, values, np.nan), color=color, linewidth=0.8, alpha=0.35)
        ax.plot(*_means(at, values), color=color, linewidth=1.8, label=name)
    else:
        marker = "." if len(values) < _PARTS else None
        ax.plot(at, np.where(finite, values, np.nan), color=color, linewidth=1.8, marker=marker, label=name)
    if not finite.all():
        style: dict[str, Any] = {"color": COLORS["diverged"], "marker": "x", "linestyle": "none"}
        ax.plot(at[~finite][:1], [0.96], transform=ax.get_xaxis_transform(), label=f"{name} not finite", **style)


def _means(at: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The middle and the mean of each hundredth of a curve, as far as it is finite."""
    parts = [
        (steps[finite].mean(), part[finite].mean())
        for steps, part in zip(np.array_split(at, _PARTS), np.array_split(values, _PARTS), strict=True)
        if (finite := np.isfinite(part)).any()
    ]
    middles, means = np.array(parts).reshape(-1, 2).T
    return middles, means


def _scale(ax: Any, curves: list[np.ndarray]) -> None:
    """An axis from the lowest value to the highest that did not run away from the start."""
    finite = [values[np.isfinite(values)] for values in curves]
    known = np.concatenate(finite)
    if not known.size:
        return
    low, high = float(known.min()), float(known.max())
    start = max(float(values[: max(1, len(values) // 50)].max()) for values in finite if values.size)
    if low > 0 and high > _LOG_RATIO * low:
        ax.set_yscale("log")
        top = min(high, 100 * start)
        margin = (top / low) ** 0.06
        ax.set_ylim(low / margin, top * margin)
    elif low < high:
        top = min(high, start + 2 * (start - low)) if start > low else high
        margin = 0.06 * (top - low)
        ax.set_ylim(low - margin, top + margin)


def _mark(axes: np.ndarray, diagnosis: Diagnosis) -> None:
    """A band over the steps of each finding, its headline in the legend; the kinds as the title."""
    headlines = [str(finding).splitlines()[0] for finding in diagnosis.findings]
    for finding, headline in zip(diagnosis.findings, headlines, strict=True):
        if finding.kind == "healthy":
            continue
        first, last = finding.steps
        for place, ax in enumerate(axes):
            color = _SEVERITIES[finding.severity]
            ax.axvspan(first - 0.5, last + 0.5, color=color, alpha=0.15, label=headline if place == 0 else None)
            ax.axvline(first, color=color, linewidth=1, alpha=0.6)
    axes[0].set_title(", ".join(dict.fromkeys(headline.split(" (")[0] for headline in headlines)), loc="left")
    axes[0].legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
