"""HParams of TensorBoard: settings and final metrics of runs."""

import os
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from trainer.loop.metrics_log import EVENTS, write_scalars
from trainer.tracking.tracker import Start, Status


class HParams:
    """Writes a run's settings and final metrics for TensorBoard.

    The events of each call are in a file of their own, since TensorBoard reads
    the files of a directory one after the other.

    Args:
        run_dir: the run directory.
        check: called before every write; raises RunError if `run_dir` is no
            longer that of the run.
    """

    def __init__(self, run_dir: str, check: Callable[[], None]):
        self._check = check
        self._folder = os.path.join(run_dir, EVENTS)

    def start(self, start: Start) -> None:
        """Writes the settings."""
        from tensorboard.plugins.hparams import summary_v2

        settings = {**start.parameters, **start.tags}
        self._write(0, summary_v2.hparams_pb(settings, start.run))

    def metrics(self, kind: str, step: int, values: dict[str, Any]) -> None:
        """Does nothing, since the trainer writes all as events."""

    def report(self, step: int, values: dict[str, Any], folder: str) -> None:
        """Writes the final metrics."""
        self._write(step, scalars=values)

    def finish(self, status: Status) -> None:
        """Writes whether the run ended well."""
        from tensorboard.plugins.hparams import api_pb2, summary

        ended = "SUCCESS" if status == "finished" else "FAILURE"
        code = api_pb2.Status.Value(f"STATUS_{ended}")
        self._write(0, summary.session_end_pb(code))

    def _write(self, step, summary=None, scalars=None):
        self._check()
        writer = tf.summary.create_file_writer(self._folder)
        with writer.as_default():
            if summary is not None:
                content = summary.SerializeToString()
                tf.summary.experimental.write_raw_pb(content, step)
            write_scalars((scalars or {}).items(), step)
        writer.close()
