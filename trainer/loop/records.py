"""Records of each window of steps, and progressive evaluation."""

import collections
from collections.abc import Sequence
from typing import Any

import numpy as np

from trainer.console import log
from trainer.distribution.workers import Workers
from trainer.loop.metrics_log import Metrics
from trainer.loop.progress import Progress, Schedule, Window
from trainer.placement import host_memory
from wukong_tf.metrics import SCALARS, of_scalars
from wukong_tf.rows.bad_values import BadValues, Count

PERCENTILES = (50, 95, 99)


class WriteTraining:
    """Records every window.

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

    def __call__(self, progress: Progress, window: Window):
        """Records the window."""
        epoch = window.first_step // self._schedule.steps_per_epoch
        values: dict[str, Any] = {
            "epoch": epoch,
            "loss": window.loss,
            "learning_rate": float(self._rate(progress.step - 1)),
            "examples_per_s": window.rows / window.seconds,
            "input_wait": window.input_wait,
            **worker_figures(window),
        }
        of_all = self._workers.gather(
            {
                "figures": {
                    "examples_per_s": window.local_rows / window.seconds,
                    "input_wait": window.input_wait,
                    **worker_figures(window),
                },
                "bad": self._bad and dict(self._bad.counts),
            }
        )
        if len(of_all) > 1:
            values["workers"] = {
                str(number): each["figures"]
                for number, each in enumerate(of_all)
            }
        if self._bad is not None:
            if self._before is None:  # counts from before the run resumed
                self._before = collections.Counter(progress.bad_values)
            counts = self._before.copy()
            for each in of_all:
                counts.update(each["bad"])
            progress.bad_values = dict(counts)
            values["bad_values"] = progress.bad_values
        self._metrics.write("train", progress.step, values)


def worker_figures(window: Window) -> dict[str, Any]:
    """Returns a worker's step times in ms, all-reduce share and memory."""
    found: dict[str, Any] = {}
    if window.times is not None and len(window.times.steps):
        found["step_ms"] = {
            f"p{percent}": window.times.milliseconds(percent)
            for percent in PERCENTILES
        }
        if window.times.exchange is not None:
            found["all_reduce"] = window.times.exchange / window.seconds
    found["memory_bytes"] = host_memory.resident_bytes()
    return found


class Progressive:
    """Progressive evaluation: metrics of rows scored before training on them.

    Metrics are written for each window of steps, and for all rows so far.

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

    def __call__(self, progress: Progress, window: Window):
        """Adds the steps' sums, and writes metrics if a window ends."""
        if window.sums is None:
            return
        state = progress.progressive or {
            "window": np.zeros_like(window.sums).tolist(),
            "lifetime": np.zeros_like(window.sums).tolist(),
            "windows": 0,
        }
        for name in ("window", "lifetime"):
            state[name] = (np.array(state[name]) + window.sums).tolist()
        last = progress.step == self._schedule.total_steps
        if progress.step % self._schedule.window == 0 or last:
            found = {
                task: {
                    name: of_scalars(self._sums(state[name][row]))
                    for name in ("window", "lifetime")
                }
                for row, task in enumerate(self._tasks)
            }
            self._metrics.write("progressive", progress.step, found)
            if progress.step % self._schedule.window and state["windows"]:
                # A short last window is noisier than the full one before.
                for task, before in state["metrics"].items():
                    found[task]["window"] = before["window"]
            state["metrics"] = found
            state["windows"] += 1
            state["window"] = np.zeros_like(window.sums).tolist()
            for task, each in found.items():
                log(
                    f"step {progress.step}: progressive {task} "
                    + ", ".join(
                        f"{name} logloss {values['logloss']:.5f}, "
                        f"ne {values['ne']:.5f}"
                        for name, values in each.items()
                    )
                )
        progress.progressive = state

    def _sums(self, values):
        return dict(zip(SCALARS, map(np.float64, values), strict=True))
