"""Watching a run: what is recorded of it, where that is written, and what steps in when it goes wrong."""

from lrjax.monitors.backoff import BackoffState, backoff
from lrjax.monitors.learning_rate import current_learning_rate
from lrjax.monitors.loggers import (
    BufferedLogger,
    Logger,
    buffered,
    csv_logger,
    jsonl_logger,
    log_callback,
    read_log,
    tee,
    tensorboard_logger,
    wandb_logger,
)
from lrjax.monitors.plateau import PlateauState, reduce_on_plateau
from lrjax.monitors.record import record
from lrjax.monitors.recorded import RecordState

__all__ = [
    "BackoffState",
    "BufferedLogger",
    "Logger",
    "PlateauState",
    "RecordState",
    "backoff",
    "buffered",
    "csv_logger",
    "current_learning_rate",
    "jsonl_logger",
    "log_callback",
    "read_log",
    "record",
    "reduce_on_plateau",
    "tee",
    "tensorboard_logger",
    "wandb_logger",
]
