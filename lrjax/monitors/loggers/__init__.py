"""Loggers: functions of ``(step, {name: value})`` that write to a file, to TensorBoard, to Weights & Biases."""

from lrjax.monitors.loggers.buffering import BufferedLogger, buffered
from lrjax.monitors.loggers.callback import log_callback
from lrjax.monitors.loggers.csv_file import csv_logger
from lrjax.monitors.loggers.jsonl_file import jsonl_logger
from lrjax.monitors.loggers.logger import Logger
from lrjax.monitors.loggers.reading import read_log
from lrjax.monitors.loggers.tee import tee
from lrjax.monitors.loggers.tensorboard import tensorboard_logger
from lrjax.monitors.loggers.weights_and_biases import wandb_logger

__all__ = [
    "BufferedLogger",
    "Logger",
    "buffered",
    "csv_logger",
    "jsonl_logger",
    "log_callback",
    "read_log",
    "tee",
    "tensorboard_logger",
    "wandb_logger",
]
