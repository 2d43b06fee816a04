"""How much it costs to miss the best learning rate."""

from __future__ import annotations

import numpy as np

from lrjax import _checks
from lrjax.finder.reading.curves import Curves, by_rate, checked_objective, is_ramp
from lrjax.finder.reading.grid_answers import is_grid


def sensitivity(result: Curves, objective: str | None = None) -> float:
    """The learning-rate sensitivity: the mean loss above the best, over the rates tested.

    ``mean(min(final, start) - best)``, with ``final`` a rate's final loss (the last validation loss, or the mean of the
    last tenth of the training losses; a lane that was lost counts as ended at its start), averaged over the seeds,
    ``start`` the loss before any update and ``best`` the smallest final loss of all rates.

    It does not change where all losses are shifted, nor with the best rate, as long as the rates cover it. Compare
    optimizers, schedules or models by it, of one loss and on the same rates, evenly spaced in their logarithm, such
    as ``np.geomspace(3e-4, 0.3, 7)``; and read their best losses beside it.

    Args:
        result: What ``range_test`` returned.
        objective: ``"validation"`` or ``"training"``; by default validation where the result has it.

    Returns:
        The sensitivity in units of the loss; 0 where all rates end alike, NaN where none ended below its start.

    Raises:
        TypeError: Where an argument is of the wrong kind.
        ValueError: Where the objective is unknown, or validation is asked for and was not measured.

    Example:
        >>> import jax.numpy as jnp, numpy as np, optax
        >>> from lrjax.finder import range_test, sensitivity
        >>> def loss_fn(params, batch):
        ...     return jnp.mean((batch @ params - 1.0) ** 2)
        >>> batches = np.ones((20, 4, 2), np.float32)
        >>> result = range_test(loss_fn, jnp.zeros(2), batches, optax.sgd, np.geomspace(1e-3, 1.0, 4))
        >>> round(sensitivity(result), 2)  # 0.86, 0.22 and 0 above the best of 0, and 1, the start, where it diverges
        0.52

    Source:
        Wortsman et al., "Small-scale proxies for large-scale transformer training instabilities" (2023),
        arXiv:2309.14322.
    """
    if is_ramp(result) or is_grid(result):
        of_grid = ", as GridTest.at(value) gives" if is_grid(result) else ""
        _checks.refuse_type("sensitivity", "result", f"a RangeTest{of_grid}", result)
    objective = checked_objective("sensitivity", result, objective)
    _, start, final = by_rate(result, objective)
    started = np.isfinite(start)
    if not (final < start).any():
        return float("nan")
    losses = np.fmin(final, start)[:, started].mean(axis=1)
    return float(np.mean(losses - losses.min()))
