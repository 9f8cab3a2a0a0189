"""Runs the trials of all models within their budgets."""

import glob
import os
import time

from trainer.distribution.processes import gpus
from trainer.process.console import log
from trainer.process.stop_signal import STOP
from trainer.tuning.flags import (
    flag_of,
    tracking_flags,
    trial_config,
    trial_flags,
)
from trainer.tuning.model_study import (
    PRUNED,
    SECONDS,
    TIMED_OUT,
    ModelStudy,
    Trial,
)
from trainer.tuning.plan import SPLITS, Plan
from trainer.tuning.trial_run import Restarts, TrialRun, evaluations
from wukong_tf import files, runs
from wukong_tf.errors import ConfigError, RunError, one_line

POLL_S = 0.5


def check_parallel(parallel: int) -> list[str]:
    """Returns the ids of the GPUs; empty if trials share the cores.

    Raises:
        ConfigError: there are fewer GPUs or cores than parallel trials.
    """
    devices, cores = gpus(), _cores()
    if parallel > (len(devices) or cores):
        have = f"{len(devices)} GPUs" if devices else f"{cores} cores"
        raise ConfigError(
            f"--parallel must be at most the {have}; received {parallel}."
        )
    return devices


def _cores():
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_folder(output: str, model: str, number: int) -> str:
    """Returns the run directory of a trial."""
    return os.path.join(output, model, f"trial-{number:04d}")


class Running:
    """A trial that is being trained.

    Args:
        study: the study of its model.
        trial: the trial.
        reported: number of its evaluations that Optuna knows.
        slot: index below --parallel.
        start: starts its process.
    """

    def __init__(
        self, study: ModelStudy, trial: Trial, reported: int, slot: int, start
    ):
        self.study = study
        self.trial = trial
        self.reported = reported
        self.slot = slot
        self.name = f"{study.model} trial {trial.number}"
        self.restarts = Restarts()
        self._start = start
        self._before = trial.user_attrs.get(SECONDS, 0.0)
        study.seconds -= self._before
        self.run: TrialRun = start(self)

    @property
    def seconds(self) -> float:
        """Seconds that all its processes have run."""
        return self._before + self.run.seconds

    def restart(self):
        """Starts another process, which resumes."""
        self._before = self.seconds
        self.run = self._start(self)

    def note_seconds(self):
        """Stores the seconds, for a tuner that resumes."""
        self.trial.set_user_attr(SECONDS, round(self.seconds, 3))


class Tuner:
    """Runs trials, each of the model that has had the fewest.

    Args:
        plan: the plan.
        studies: the study of each model.
    """

    def __init__(self, plan: Plan, studies: list[ModelStudy]):
        self._plan = plan
        self._tune = plan.tune
        self._studies = studies
        self._devices = check_parallel(plan.tune.parallel)
        self._running: list[Running] = []

    def run(self) -> bool:
        """Runs what is left; returns False if a signal came first.

        Raises:
            RunError: the store cannot be read or written.
            ConfigError: the trainer refuses a model's first trial.
        """
        from optuna.exceptions import StorageInternalError

        STOP.noted = "stopping the trials"
        with STOP:
            try:
                while True:
                    if STOP():
                        for each in self._running:
                            each.run.stop("signal")
                    else:
                        self._fill()
                    if not self._running:
                        return not STOP()
                    time.sleep(POLL_S)
                    for each in list(self._running):
                        self._follow(each)
            except StorageInternalError as error:
                # The cause is the driver's own error, such as of a full disk.
                text = one_line(error.__cause__ or error)[:300]
                raise RunError(
                    f"the store of the study failed: {text}. The same command "
                    "resumes."
                ) from error
            finally:
                for each in self._running:
                    each.run.stop("error")
                for each in self._running:
                    each.run.wait()

    def _fill(self):
        """Starts trials in all free slots."""
        for study in self._studies:
            if not self._left(study):
                study.abandon()
        while len(self._running) < self._tune.parallel:
            ready = [s for s in self._studies if s.has_next() and self._left(s)]
            if not ready:
                return
            study = min(ready, key=lambda s: s.begun)
            trial, reported = study.next_trial()
            taken = {each.slot for each in self._running}
            slot = min(set(range(self._tune.parallel)) - taken)
            params = study.params(trial)
            text = ", ".join(f"{k}={v}" for k, v in params.items())
            name = f"{study.model} trial {trial.number}"
            log(f"{name}: {text}")
            if error := self._refusal(study.model, params):
                trial.set_user_attr(SECONDS, 0.0)
                study.fail(trial, error)
                log(f"{name}: {study.describe(trial.number)}")
                continue
            each = Running(study, trial, reported, slot, self._start)
            self._running.append(each)
            if reported and trial.should_prune():  # and was not yet stopped
                each.run.stop(PRUNED)

    def _refusal(self, model, params) -> str:
        """Returns why the trainer would refuse a trial's values; "" if not."""
        plan = self._plan
        try:
            trial_config(model, plan.base, params, plan.features)
        except ConfigError as error:
            return str(error)
        return ""

    def _left(self, study: ModelStudy) -> bool:
        """Returns whether a model's trials have minutes left."""
        used = study.seconds + sum(
            each.seconds for each in self._running if each.study is study
        )
        return not self._tune.minutes or used < 60 * self._tune.minutes

    def _start(self, each: Running) -> TrialRun:
        """Starts the process of a trial."""
        model, number = each.study.model, each.trial.number
        folder = run_folder(self._tune.output, model, number)
        os.makedirs(os.path.dirname(folder), exist_ok=True)
        params = each.study.params(each.trial)
        arguments = {"keep_checkpoints": "--keep_checkpoints=1"}
        environment = {}
        if self._devices and self._tune.parallel > 1:
            environment["CUDA_VISIBLE_DEVICES"] = self._devices[each.slot]
        elif self._tune.parallel > 1:
            cores = _cores() // self._tune.parallel
            for name in ("intra_op_threads", "inter_op_threads"):
                arguments[name] = flag_of(name, cores)
        arguments |= trial_flags(model, self._plan.base, params)
        arguments |= {
            "run_dir": flag_of("run_dir", folder),
            "seed": flag_of("seed", self._tune.seed),
            "splits": flag_of("splits", ",".join(SPLITS)),
            "plots": flag_of("plots", False),
        }
        study = os.path.basename(os.path.abspath(self._tune.output))
        arguments |= tracking_flags(
            self._plan.base,
            f"{study}/{model}/{os.path.basename(folder)}",
            study=study,
            trial=number,
        )
        return TrialRun(folder, list(arguments.values()), environment)

    def _follow(self, each: Running):
        """Reports evaluations, stops the trial if need be, ends it."""
        code = each.run.poll()  # before the evaluations, to miss none
        values = evaluations(
            each.run.run_dir, self._plan.task, self._plan.metric
        )
        for index in range(each.reported, len(values)):
            each.trial.report(values[index], index)
            each.reported = index + 1
            each.note_seconds()
            if each.trial.should_prune():
                each.run.stop(PRUNED)
        if not self._left(each.study):
            each.run.stop(TIMED_OUT)
        if code is not None:
            self._end(each, code, values)

    def _end(self, each: Running, code: int, values: list[float]):
        """Records the end of a trial's process."""
        study, trial, reason = each.study, each.trial, each.run.stopped_for
        fate = "" if reason else each.restarts.take(code)
        if fate and not STOP():
            log(f"{each.name}: {fate}; goes on")
            each.restart()
            return
        self._running.remove(each)
        each.note_seconds()
        study.seconds += each.seconds
        best = study.best_of(values)
        if code == 0 and best is not None:
            study.complete(trial, best)
        elif fate or reason == "signal":
            log(f"{each.name}: stopped; the same command resumes it")
            return
        elif reason and code:
            study.prune(trial, reason)
        else:
            self._fail(each, code)
        self._remove_checkpoints(study)
        log(f"{each.name}: {study.describe(trial.number)}")

    def _fail(self, each: Running, code: int):
        """Records a failure; raises ConfigError if it is the first trial's."""
        error = each.run.error() if code else "no evaluation has a finite value"
        model = each.study.model
        folder = glob.escape(self._tune.output)
        begun = glob.glob(os.path.join(folder, model, "trial-*", runs.CONFIG))
        if each.run.refused and not begun:
            raise ConfigError(
                f"--models={model}: the trainer refused the first trial: "
                f"{error}"
            )
        each.study.fail(each.trial, f"exit code {code}: {error}")

    def _remove_checkpoints(self, study: ModelStudy):
        """Removes the checkpoints of ended trials, except the best one's."""
        for number in study.ended_but_best():
            folder = run_folder(self._tune.output, study.model, number)
            files.remove(os.path.join(folder, runs.CHECKPOINTS))
