"""Records of each loop chunk, and progressive evaluation."""

import collections
from collections.abc import Sequence
from typing import Any

import numpy as np

from trainer.distribution.workers import Workers
from trainer.loop.metrics_log import Metrics
from trainer.loop.progress import LoopChunk, Progress, Schedule
from trainer.placement import host_memory
from trainer.process.console import log
from wukong_tf.metrics import SCALARS, of_scalars
from wukong_tf.rows.bad_values import BadValues, Count

PERCENTILES = (50, 95, 99)


class WriteTraining:
    """Records every loop chunk.

    Args:
        metrics: receives the records.
        schedule: gives the epoch.
        rate: learning-rate schedule, called with a step.
        bad: counts of bad values, if they are counted.
        workers: gather each other's figures.
    """

    def __init__(
        self,
        metrics: Metrics,
        schedule: Schedule,
        rate,
        bad: BadValues,
        workers: Workers,
    ):
        self._metrics = metrics
        self._workers = workers
        self._schedule = schedule
        self._rate = rate
        self._bad = bad if isinstance(bad, Count) else None
        self._before: collections.Counter[str] | None = None

    def __call__(self, progress: Progress, chunk: LoopChunk):
        """Records the chunk."""
        epoch = chunk.first_step // self._schedule.steps_per_epoch
        values: dict[str, Any] = {
            "epoch": epoch,
            "loss": chunk.loss,
            "learning_rate": float(self._rate(progress.step - 1)),
            "examples_per_s": chunk.rows / chunk.seconds,
            "input_wait": chunk.input_wait,
            **worker_figures(chunk),
        }
        by_worker = self._workers.gather(
            {
                "figures": {
                    "examples_per_s": chunk.local_rows / chunk.seconds,
                    "input_wait": chunk.input_wait,
                    **worker_figures(chunk),
                },
                "bad": self._bad and dict(self._bad.counts),
            }
        )
        if len(by_worker) > 1:
            values["workers"] = {
                str(index): worker["figures"]
                for index, worker in enumerate(by_worker)
            }
        if self._bad is not None:
            if self._before is None:  # counts from before the run resumed
                self._before = collections.Counter(progress.bad_values)
            counts = self._before.copy()
            for worker in by_worker:
                counts.update(worker["bad"])
            progress.bad_values = dict(counts)
            values["bad_values"] = progress.bad_values
        self._metrics.write("train", progress.step, values)


def worker_figures(chunk: LoopChunk) -> dict[str, Any]:
    """Returns a worker's step times in ms, all-reduce share and memory."""
    figures: dict[str, Any] = {}
    if chunk.times is not None and len(chunk.times.steps):
        figures["step_ms"] = {
            f"p{percent}": chunk.times.milliseconds(percent)
            for percent in PERCENTILES
        }
        if chunk.times.exchange is not None:
            figures["all_reduce"] = chunk.times.exchange / chunk.seconds
    figures["memory_bytes"] = host_memory.resident_bytes()
    return figures


class Progressive:
    """Progressive evaluation: metrics of rows scored before training on them.

    Metrics are written for each window of rows, and for all rows so far.

    Args:
        metrics: receives the records.
        schedule: gives the steps of a window.
        tasks: names of the tasks.
    """

    def __init__(
        self, metrics: Metrics, schedule: Schedule, tasks: Sequence[str]
    ):
        self._metrics = metrics
        self._schedule = schedule
        self._tasks = tasks

    def __call__(self, progress: Progress, chunk: LoopChunk):
        """Adds the steps' sums, and writes metrics if a window ends."""
        if chunk.sums is None:
            return
        state = progress.progressive or {
            "window": np.zeros_like(chunk.sums).tolist(),
            "lifetime": np.zeros_like(chunk.sums).tolist(),
            "windows": 0,
        }
        for name in ("window", "lifetime"):
            state[name] = (np.array(state[name]) + chunk.sums).tolist()
        last = progress.step == self._schedule.total_steps
        if progress.step % self._schedule.window == 0 or last:
            metrics = {
                task: {
                    name: of_scalars(self._sums(state[name][row]))
                    for name in ("window", "lifetime")
                }
                for row, task in enumerate(self._tasks)
            }
            self._metrics.write("progressive", progress.step, metrics)
            if progress.step % self._schedule.window and state["windows"]:
                # A short last window is noisier than the full one before.
                for task, before in state["metrics"].items():
                    metrics[task]["window"] = before["window"]
            state["metrics"] = metrics
            state["windows"] += 1
            state["window"] = np.zeros_like(chunk.sums).tolist()
            for task, spans in metrics.items():
                log(
                    f"step {progress.step}: progressive {task} "
                    + ", ".join(
                        f"{name} logloss {values['logloss']:.5f}, "
                        f"ne {values['ne']:.5f}"
                        for name, values in spans.items()
                    )
                )
        progress.progressive = state

    def _sums(self, values):
        return dict(zip(SCALARS, map(np.float64, values), strict=True))
