"""Trains the rungs of a ladder, one run after the other."""

import dataclasses
import glob
import math
import os
import time
from typing import Any

from trainer.console import log
from trainer.program import EXIT_ERROR
from trainer.scaling_law import records
from trainer.scaling_law.plan import Plan
from trainer.scaling_law.records import Record, Rung
from trainer.settings.scaling import Scaling
from trainer.stop_signal import STOP
from trainer.tuning import study
from trainer.tuning.flags import flag_of
from trainer.tuning.trial_run import Restarts, TrialRun, evaluated
from wukong_tf import files, runs, source
from wukong_tf.errors import ConfigError, RunError

POLL_S = 0.5
SEARCH_SEED = 0  # the runs' seeds are others, unless --seeds has it too


class Stopped(Exception):
    """A signal asked the program to stop."""


class Refused(RunError):
    """The trainer ended a run with an error, such as a loss of NaN."""


class Runner:
    """Runs what a ladder lacks and writes results.json after each run.

    Args:
        scaling: settings of the ladder.
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
        self._path = os.path.join(scaling.output, records.RESULTS)
        self._commit = source.commit() or ""
        begun = glob.glob(
            os.path.join(scaling.output, "*", "*", "*", runs.CONFIG)
        )
        if os.path.exists(self._path):
            _, self.searches, self.done = records.read(self._path)
        study.claim(
            scaling.output,
            plan.content,
            bool(begun or os.path.exists(self._path)),
        )

    def run(self, rungs: list[Rung]) -> None:
        """Trains the rungs, the cheapest first.

        A run that fails is left out, and the others go on.

        Raises:
            Stopped: a signal came; the same command resumes.
            ConfigError: the trainer refuses the first run.
            RunError: runs have failed, or a rung was run with other sizes.
        """
        failed = []
        for rung in rungs:
            self._check_sizes(rung)
        STOP.noted = "stopping the run"
        with STOP:
            for rung in rungs:
                try:
                    rate = self._search(rung)
                except RunError as error:
                    failed.append(str(error))
                    continue
                for seed in self._scaling.seed_numbers:
                    try:
                        self._run(rung, rate, seed)
                    except RunError as error:
                        failed.append(str(error))
        if failed:
            raise RunError(
                f"{len(failed)} runs failed, and the same command tries them "
                f"again: {' '.join(failed)}"
            )

    def _check_sizes(self, rung):
        for entry in (*self.searches, *map(Record.to_dict, self.done)):
            if _same(entry, rung) and entry["sizes"] != rung.sizes:
                raise RunError(
                    f"{self._path}: {rung} was run with sizes "
                    f"{entry['sizes']}, and now has {rung.sizes}; give the "
                    "rung another name."
                )

    def _search(self, rung: Rung) -> float:
        """Returns the learning rate with the least LogLoss on valid rows.

        Raises:
            RunError: a run was killed or the trainer has a fault, which is
                not recorded; or no rate has a finite LogLoss.
        """
        rates = self._plan.content["learning_rates"]
        if len(rates) == 1:
            return rates[0]
        mine = {
            search["learning_rate"]: search
            for search in self.searches
            if _same(search, rung)
        }
        if len(mine) == len(rates) and not _finite(mine):
            self.searches = [s for s in self.searches if not _same(s, rung)]
            mine = {}  # all failed, so all are tried again
        for rate in rates:
            if rate not in mine:
                mine[rate] = self._tried(rung, rate)
        finite = _finite(mine)
        if not finite:
            raise RunError(
                f"{rung}: no learning rate has a finite LogLoss; the last "
                f"error: {mine[rates[-1]]['error']}"
            )
        return min(finite, key=lambda rate: finite[rate])

    def _tried(self, rung, rate) -> dict[str, Any]:
        """Returns the recorded result of a short run with a rate."""
        folder = self._folder(rung, f"rate-{rate:g}")
        arguments = self._plan.search_flags(rung, rate)
        value, error = math.nan, None
        try:
            self._train(f"{rung} rate {rate:g}", folder, arguments, SEARCH_SEED)
            found = evaluated(folder, self._plan.task, "logloss").values()
            value = [math.nan, *found][-1]
        except Refused as failure:
            error = str(failure)
        search = {
            "model": rung.model,
            "rung": rung.rung,
            "sizes": rung.sizes,
            "learning_rate": rate,
            "rows": self._plan.content["search_rows"],
            "seed": SEARCH_SEED,
            "valid_logloss": value if math.isfinite(value) else None,
            "error": error,
        }
        self.searches.append(search)
        self._write(folder)
        log(f"{rung} rate {rate:g}: LogLoss {value:.6g}")
        return search

    def _run(self, rung: Rung, rate: float, seed: int) -> None:
        """Trains a rung with a seed, unless that is done."""
        if any(r.key == (rung.model, rung.rung, seed) for r in self.done):
            return
        folder = self._folder(rung, f"seed-{seed}")
        arguments = self._plan.run_flags(rung, rate, self._scaling.evaluations)
        self._train(f"{rung} seed {seed}", folder, arguments, seed)
        rates = self._plan.content["learning_rates"]
        record = Record(
            **dataclasses.asdict(rung),
            seed=seed,
            learning_rate=rate,
            at_edge=len(rates) > 1 and rate in (rates[0], rates[-1]),
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
        self._write(folder)
        excess = (
            "" if record.excess is None else f", excess {record.excess:.6g}"
        )
        log(f"{rung} seed {seed}: LogLoss {record.logloss:.6g}{excess}")

    def _folder(self, rung, name) -> str:
        folder = os.path.join(self._scaling.output, rung.model, rung.rung)
        os.makedirs(folder, exist_ok=True)
        return os.path.join(folder, name)

    def _write(self, folder):
        """Writes the results, then removes what resumes the run."""
        records.write(self._path, self._plan.content, self.searches, self.done)
        files.remove(os.path.join(folder, runs.CHECKPOINTS))

    def _train(self, name, folder, arguments, seed) -> None:
        """Trains a run in a process of its own, to its end.

        Raises:
            Stopped: a signal came.
            ConfigError: the trainer refuses the flags of the first run.
            Refused: the trainer ended the run with an error.
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
        raise Refused(error) if code == EXIT_ERROR else RunError(error)


def _same(search, rung) -> bool:
    return (search["model"], search["rung"]) == (rung.model, rung.rung)


def _finite(searches) -> dict[float, float]:
    """Returns the LogLoss of each rate that has one."""
    return {
        rate: search["valid_logloss"]
        for rate, search in searches.items()
        if search["valid_logloss"] is not None
    }
