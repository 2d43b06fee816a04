"""A log for Weights & Biases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lrjax.monitors.loggers.logger import Logger


def wandb_logger(run: Any = None, **init: Any) -> Logger:
    """Logs to a run of Weights & Biases, with the step as the axis of every chart.

    The step is logged as a metric, ``step``, that the others are drawn over, and not as W&B's own, which drops
    rows of steps that are not ascending: a resumed run, or a callback in compiled code, may give such.

    Args:
        run: A run of ``wandb.init``, which stays open. None begins one, finished when the logger is closed.
        **init: Arguments of ``wandb.init`` where ``run`` is None, such as ``project="digits"`` or
            ``mode="offline"``.

    Returns:
        A ``Logger``: call it with ``(step, {name: value})``, then ``close()`` it, or use ``with``.

    Raises:
        ImportError: wandb is not installed.
        TypeError: There are both a run and arguments for one; the step, a name or a value is of the wrong kind.
        ValueError: The step is no count; a value is an array of several; a name is ``step``, empty, of several
            lines, or there twice; the logger is closed.

    Example:
        >>> from lrjax.monitors import wandb_logger
        >>> with wandb_logger(project="digits", mode="disabled") as logger:
        ...     logger(0, {"loss": 2.5, "learning_rate": 0.1})

    Source:
        https://docs.wandb.ai, "Customize log axes"
    """
    try:
        import wandb
    except ImportError as error:
        raise ImportError("`wandb_logger` needs wandb: pip install 'lrjax[wandb]'") from error
    if run is not None and init:
        raise TypeError(f"`wandb_logger(run=...)` is begun already: give {', '.join(init)} to its wandb.init")
    begun = wandb.init(**init) if run is None else run
    begun.define_metric("step")
    begun.define_metric("*", step_metric="step")

    def write(step: int, named: Mapping[str, int | float]) -> None:
        begun.log({"step": step, **named})

    return Logger(write, begun.finish if run is None else lambda: None)
