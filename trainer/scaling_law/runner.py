"""Trains the rungs of a ladder, one run after the other."""

import dataclasses
import glob
import itertools
import math
import os
import time
from typing import Any

from trainer.process.console import log
from trainer.process.stop_signal import STOP
from trainer.scaling_law import records, results_file, search
from trainer.scaling_law.plan import Plan, tried
from trainer.scaling_law.records import Record, Rung
from trainer.settings.scaling import Scaling
from trainer.tuning import study
from trainer.tuning.flags import flag_of
from trainer.tuning.trial_run import Restarts, TrialRun, evaluated
from wukong_tf import files, runs, source
from wukong_tf.errors import ConfigError, RunError

POLL_S = 0.5
SEARCH_SEED = 0  # the runs' seeds are others, unless --seeds has it too


class Stopped(Exception):
    """A signal asked the program to stop."""


class Diverged(RunError):
    """A run ended as its loss or weights were not finite."""


class Runner:
    """Runs what a ladder lacks and writes results.json after each run.

    Args:
        scaling: settings of the ladder; with `plan`, nothing is written.
        plan: the plan.

    Attributes:
        done: records of the ended runs.
        searches: results of the searches' runs.

    Raises:
        DataError: results.json of an earlier start is invalid.
        RunError: the directory belongs to another ladder.
    """

    def __init__(self, scaling: Scaling, plan: Plan):
        self.done: list[Record] = []
        self.searches: list[dict[str, Any]] = []
        self._scaling = scaling
        self._plan = plan
        self._path = os.path.join(scaling.output, results_file.RESULTS)
        self._commit = source.commit() or ""
        folder = glob.escape(scaling.output)
        begun = glob.glob(os.path.join(folder, "*", "*", "*", runs.CONFIG))
        before = None
        if os.path.exists(self._path):
            before, self.searches, self.done = results_file.read(self._path)
        study.claim(
            scaling.output,
            plan.content,
            bool(begun or before),
            grows=("learning_rates",),
            before=before,
            writes=not scaling.plan,
        )

    def run(self, rungs: list[Rung]) -> None:
        """Trains the rungs, the cheapest first.

        A run that fails is left out, and the others go on.

        Raises:
            Stopped: a signal came; the same command resumes.
            ConfigError: the trainer refuses the first run.
            RunError: runs have failed.
        """
        failed = []
        STOP.noted = "stopping the run"
        with STOP:
            for rung in rungs:
                try:
                    rate = self._search(rung)
                except RunError as error:
                    failed.append(str(error))
                    log(f"failed: {error}")
                    continue
                self._drop_others(rung, rate)
                for seed in self._scaling.seed_numbers:
                    try:
                        self._run(rung, rate, seed)
                    except RunError as error:
                        failed.append(str(error))
                        log(f"failed: {error}")
        if failed:
            count = f"{len(failed)} run{'s' * (len(failed) > 1)}"
            raise RunError(
                f"{count} failed, and the same command tries again: "
                f"{' '.join(failed)}"
            )

    def check_sizes(self, rungs: list[Rung]) -> None:
        """Raises RunError if a rung was run with other sizes."""
        entries = [*self.searches, *map(Record.to_dict, self.done)]
        for rung, entry in itertools.product(rungs, entries):
            if search.same(entry, rung) and entry["sizes"] != rung.sizes:
                raise RunError(
                    f"{self._path}: {rung} was run with sizes "
                    f"{entry['sizes']}, and now has {rung.sizes}; give the "
                    "rung another name."
                )

    def _drop_others(self, rung: Rung, rate: float) -> None:
        """Removes runs of a rung with a learning rate other than its best."""
        keep = [
            record
            for record in self.done
            if not search.same(record.to_dict(), rung)
            or record.learning_rate == rate
        ]
        if len(keep) < len(self.done):
            log(f"{rung}: its runs are replaced, as a better rate was found")
            self.done = keep
            self.searches = [
                each
                for each in self.searches
                if not search.is_final(each, rung)
            ]
            self._write()

    def _search(self, rung: Rung) -> float:
        """Returns the learning rate with the least LogLoss on valid rows.

        Raises:
            RunError: a run failed otherwise than by diverging, which is not
                recorded; or no rate has a finite LogLoss.
        """
        rates = self._plan.content["learning_rates"]
        if len(rates) == 1:
            return rates[0]
        losses = tried(
            self._plan, self._scaling, rung, self.searches, self.done
        )
        if len(losses) == len(rates) and search.best_of(losses) is None:
            self.searches = [
                each for each in self.searches if not search.same(each, rung)
            ]
            losses = {}  # all failed, so all are tried again
        error = None
        while (rate := search.following(rates, losses)) is not None:
            result = self._try(rung, rate)
            losses[rate], error = result["valid_logloss"], result["error"]
        best = search.best_of(losses)
        if best is None:
            raise RunError(
                f"{rung}: no learning rate has a finite LogLoss; the last "
                f"error: {error}"
            )
        for rate in losses:
            folder, _, seed = self._search_run(rung, rate)
            if folder != self._seed_folder(rung, best, seed):  # which goes on
                files.remove(os.path.join(folder, runs.CHECKPOINTS))
        return best

    def _search_run(self, rung, rate) -> tuple[str, list[str], int]:
        """Returns the folder, flags and seed of a run of the search.

        If the search is on all rows, the run with the best rate is the first
        seed's, which then scores the test rows too.
        """
        if not self._plan.searches_all_rows:
            flags = self._plan.search_flags(rung, rate)
            return self._folder(rung, f"rate-{rate:g}"), flags, SEARCH_SEED
        seed = self._scaling.seed_numbers[0]
        flags = self._plan.run_flags(rung, rate)
        splits = flag_of("splits", "train,valid")
        return self._seed_folder(rung, rate, seed), [*flags, splits], seed

    def _try(self, rung, rate) -> dict[str, Any]:
        """Returns the recorded result of a run of the search."""
        folder, arguments, seed = self._search_run(rung, rate)
        value, error = math.nan, None
        try:
            self._train(f"{rung} rate {rate:g}", folder, arguments, seed)
            found = evaluated(folder, self._plan.task, "logloss").values()
            value = [math.nan, *found][-1]
        except Diverged as failure:
            error = str(failure)
        rows = self._plan.content["search_rows"]
        result = search.result(rung, rate, seed, rows, value, error)
        self.searches.append(result)
        self._write()
        log(error or f"{rung} rate {rate:g}: LogLoss {value:.6g}")
        return result

    def _run(self, rung: Rung, rate: float, seed: int) -> None:
        """Trains a rung with a seed, unless that is done with this rate."""
        key = (rung.model, rung.rung, seed)
        if any(record.key == key for record in self.done):
            return
        folder = self._seed_folder(rung, rate, seed)
        arguments = self._plan.run_flags(rung, rate)
        self.searches = [
            each
            for each in self.searches
            if not search.is_final(each, rung) or each["seed"] != seed
        ]
        try:
            self._train(f"{rung} seed {seed}", folder, arguments, seed)
        except Diverged as failure:
            rows = self._plan.content["rows"]
            result = search.result(
                rung, rate, seed, rows, math.nan, str(failure)
            )
            self.searches.append({**result, "final": True})
            self._write()
            raise
        record = Record(
            **dataclasses.asdict(rung),
            seed=seed,
            learning_rate=rate,
            versions=self._plan.content["versions"],
            commit=self._commit,
            **records.measured(folder, self._plan.task, self._plan.batch_size),
        )
        if record.rows != self._plan.content["rows"]:
            raise RunError(
                f"{folder}: the run must be of "
                f"{self._plan.content['rows']:,} rows; it had {record.rows:,}."
            )
        self.done.append(record)
        self._write()
        files.remove(os.path.join(folder, runs.CHECKPOINTS))
        excess = (
            "" if record.excess is None else f", excess {record.excess:.6g}"
        )
        log(f"{rung} seed {seed}: LogLoss {record.logloss:.6g}{excess}")

    def _seed_folder(self, rung, rate, seed) -> str:
        return self._folder(rung, f"seed-{seed}-lr-{rate:g}")

    def _folder(self, rung, name) -> str:
        folder = os.path.join(self._scaling.output, rung.model, rung.rung)
        os.makedirs(folder, exist_ok=True)
        return os.path.join(folder, name)

    def _write(self):
        """Writes the results."""
        results_file.write(
            self._path, self._plan.content, self.searches, self.done
        )

    def _train(self, name, folder, arguments, seed) -> None:
        """Trains a run in a process of its own, to its end.

        Raises:
            Stopped: a signal came.
            ConfigError: the trainer refuses the flags of the first run.
            Diverged: the loss or weights were not finite.
            RunError: the run failed otherwise, or was killed twice.
        """
        place = [flag_of("run_dir", folder), flag_of("seed", seed)]
        restarts = Restarts()
        while True:
            if STOP():
                raise Stopped
            log(f"{name}: {folder}")
            process = TrialRun(folder, [*arguments, *place], {})
            try:
                while (code := process.poll()) is None:
                    if STOP():
                        process.stop("signal")
                    time.sleep(POLL_S)
            finally:
                process.stop("error")  # does nothing once it has ended
                process.wait()
            if code == 0:
                return
            if STOP():
                raise Stopped
            if not (fate := restarts.take(code)):
                break
            log(f"{name}: {fate}, exit code {code}; goes on")
        error = f"{name}: exit code {code}: {process.error()}"
        if process.refused and not (self.done or self.searches):
            raise ConfigError(error)
        if process.diverged:
            raise Diverged(error)
        raise RunError(error)
