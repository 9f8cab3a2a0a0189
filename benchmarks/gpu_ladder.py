"""The top of the ladder on a GPU: `python -m benchmarks.gpu_ladder`.

With KERAS_BACKEND=jax and without TensorFlow, it trains rungs of the ladder
of docs/scaling_law.md: rows, their order, batches, sizes and optimizers are
those of the study in --study. All learning rates and seeds of a rung are
trained side by side, mapped over their weights, as small models leave most of
a GPU idle. The rate with the least LogLoss on valid rows, by the first seed,
is then scored on test rows with all seeds. After each rung, results.json in
--output is written, which `python -m trainer.scaling --results` draws with
the study's; the same command goes on with the next rung. A rung for which the
--seconds do not suffice is given up once its first steps were timed.

The value is the TFLOP/s of the last rung, of all its runs together. It has not
been run on a GPU yet, so no figures are given.
"""

import dataclasses
import itertools
import json
import math
import os
import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from absl import flags

from benchmarks import run_program
from trainer.data.block_log import SPLITS
from trainer.data.spec import open_features, synthetic
from trainer.data.synthetic_source import SyntheticSource
from trainer.process.console import log
from trainer.scaling_law import ladder as rungs
from trainer.scaling_law import plan, records, results_file, search
from trainer.settings.model import SIZES
from trainer.settings.scaling import Scaling
from trainer.tuning import study
from trainer.tuning.flags import read_base, trial_settings
from wukong_tf import source

STUDY = flags.DEFINE_string(
    "study", "benchmarks/ladder.json", "Results whose study is continued."
)
OUTPUT = flags.DEFINE_string(
    "output", "runs/gpu_ladder", "Directory of results.json."
)
MODELS = flags.DEFINE_list("models", ["wukong", "dcn_v2"], "Models.")
RUNGS = flags.DEFINE_list("rungs", ["30"], "MFLOP per example.")
RATES = flags.DEFINE_list(
    "learning_rates", ["0.00025", "0.0005", "0.001"], "Rates of a rung."
)
SEEDS = flags.DEFINE_list("seeds", ["1", "2"], "Seeds of a rung.")
SECONDS = flags.DEFINE_float("seconds", 540.0, "Seconds in all.")
CPU = flags.DEFINE_bool("cpu", False, "Run without a GPU.")


# Flags of a study that are followed, but for those of the log itself.
FOLLOWED = {"batch_size", "table_learning_rate", *SIZES}


class OutOfTime(Exception):
    """--seconds do not suffice for a rung."""


@dataclasses.dataclass(frozen=True)
class Ladder:
    """What all rungs share.

    Args:
        scaling: settings of the ladder.
        base: flags of the trainer.
        content: the study, with the rates and versions of this ladder.
        splits: "train", "valid" and "test".
        until: `time.monotonic()` after which no rung goes on.
    """

    scaling: Any
    base: Any
    content: dict[str, Any]
    splits: Mapping[str, Any]
    until: float

    def run(self, rung: Any) -> tuple[list[dict[str, Any]], list[Any]]:
        """Trains a rung; returns the results of its rates and its records.

        Raises:
            OutOfTime: there is no time left.
        """
        from benchmarks.lanes import Lanes
        from wukong_tf.metrics import exact_auc

        settings = trial_settings(rung.model, self.base, rung.sizes)
        batch_size = settings.training.batch_size
        steps = self.content["rows"] // batch_size
        every, window = plan.evaluated_steps(steps, self.content["evaluations"])
        pairs = list(
            itertools.product(self.scaling.rates, self.scaling.seed_numbers)
        )
        lanes = Lanes(
            settings.model.config(open_features(settings)),
            [rate for rate, _ in pairs],
            [seed for _, seed in pairs],
            settings.training.table_learning_rate,
            batch_size,
            every,
        )
        curve, last, seconds = self._train(lanes, steps, every, window)
        searches = [
            self._search(rung, rate, seed, float(loss))
            for (rate, seed), loss in zip(pairs, curve[-1][1], strict=True)
            if seed == self.scaling.seed_numbers[0]
        ]
        best = search.best_of(search.losses_of(rung, searches))
        if best is None:
            return searches, []
        logloss, logits = lanes.scores(self.splits["test"])
        labels = np.asarray(self.splits["test"].labels)
        found = [
            {
                "seed": seed,
                "auc": exact_auc(labels, logits[lane]),
                "logloss": float(logloss[lane]),
                "curve": tuple((rows, float(v[lane])) for rows, v in curve),
                "last_window_logloss": float(last[lane]),
                "seconds": seconds / len(pairs),
            }
            for lane, (rate, seed) in enumerate(pairs)
            if rate == best and math.isfinite(logloss[lane])
        ]
        searches += [
            {**self._search(rung, rate, seed, math.nan), "final": True}
            for lane, (rate, seed) in enumerate(pairs)
            if rate == best and not math.isfinite(logloss[lane])
        ]
        return searches, [self._record(rung, best, each) for each in found]

    def _train(self, lanes, steps, every, window):
        """Returns pairs of rows and valid losses, last window and seconds.

        The seconds are those of training. The first part is compiled, so with
        more parts it counts as long as the others.
        """
        curve, losses, spent = [], [], []
        for first in range(0, steps, every):
            start = time.monotonic()
            stop = min(first + every, steps)
            losses.append(lanes.train(self.splits["train"], first, stop))
            spent.append(time.monotonic() - start)
            loss, _ = lanes.scores(self.splits["valid"])
            curve.append((stop * lanes.batch_size, loss))
            if first:
                self._check_time(time.monotonic() - start, steps - stop, every)
        last = np.concatenate(losses)[-window:].astype(np.float64).mean(axis=0)
        if len(spent) == 1:
            return curve, last, spent[0]
        return curve, last, sum(spent[1:]) * steps / (steps - every)

    def _check_time(self, seconds, steps, every):
        """Raises OutOfTime if the steps left do not fit, at this speed."""
        left = self.until - time.monotonic()
        if (needed := seconds * steps / every) > left:
            raise OutOfTime(f"needs {needed:.0f} s more; {left:.0f} s left")

    def _search(self, rung, rate, seed, loss):
        error = None if math.isfinite(loss) else "the LogLoss is not finite"
        rows = self.content["rows"]
        return search.result(rung, rate, seed, rows, loss, error)

    def _record(self, rung, rate, found):
        return records.Record(
            **dataclasses.asdict(rung),
            **found,
            learning_rate=rate,
            rows=self.content["rows"],
            split="test",
            attainable_logloss=self.splits["test"].attainable,
            curve_attainable=self.splits["valid"].attainable,
            versions=self.content["versions"],
            commit=source.commit() or "",
        )


def open_ladder(until: float) -> Ladder:
    """Returns the ladder of the flags; reads all rows."""
    from benchmarks import lanes

    content, _, _ = results_file.read(STUDY.value)
    for name, flag in content["flags"].items():
        if not name.startswith("synthetic") and name not in FOLLOWED:
            sys.exit(f"error: {STUDY.value} has {flag}, which is not followed.")
    base = read_base([*content["flags"].values()])
    scaling = Scaling(
        output=OUTPUT.value,
        models=tuple(MODELS.value),
        rungs=tuple(RUNGS.value),
        learning_rates=tuple(RATES.value),
        seeds=tuple(SEEDS.value),
    )
    content["learning_rates"] = scaling.rates
    content["versions"] = study.versions_of("jax", "keras")
    settings = trial_settings(scaling.models[0], base, {})
    (task,) = open_features(settings).tasks
    splits = {}
    for split in SPLITS:
        count = getattr(settings.data, f"synthetic_{split}_rows")
        rows = SyntheticSource(synthetic(settings), split, count)
        splits[split] = lanes.read(rows, task)
    return Ladder(scaling, base, content, splits, until)


def train(ladder: Ladder, path: str) -> tuple[float | None, list[str]]:
    """Trains the rungs that `path` lacks; writes it after each.

    Returns:
        TFLOP/s of the last rung, and the rungs for which no time was left.
    """
    searches: list[dict[str, Any]] = []
    done: list[records.Record] = []
    if os.path.exists(path):
        before, searches, done = results_file.read(path)
        if different := [*study.changed(before, ladder.content)]:
            sys.exit(f"error: {path} is of another study: {different}")
    speed, missing = None, []
    wanted = {*ladder.scaling.seed_numbers}
    for rung in rungs.make(ladder.scaling, ladder.base):
        seeds = {run.seed for run in done if search.same(run.to_dict(), rung)}
        if wanted <= seeds:
            continue
        if any(search.same(each, rung) for each in searches):
            sys.exit(
                f"error: {path} has {rung} with seeds {sorted(seeds)}; "
                "choose another --output."
            )
        try:
            if time.monotonic() > ladder.until:
                raise OutOfTime("not begun")
            tried, runs = ladder.run(rung)
        except OutOfTime as error:
            missing.append(f"{rung}: {error}")
            continue
        searches, done = [*searches, *tried], [*done, *runs]
        results_file.write(path, ladder.content, searches, done)
        for run in runs:
            speed = run.training_flop * run.rows / run.seconds / 1e12
            log(f"{rung} seed {run.seed}: LogLoss {run.logloss:.6g}")
    return speed, missing


def main(argv):
    """Trains the ladder and prints the result."""
    del argv
    until = time.monotonic() + SECONDS.value
    import jax
    import keras

    if keras.backend.backend() != "jax":
        sys.exit("error: KERAS_BACKEND must be jax.")
    device = jax.devices()[0]
    if device.platform != "gpu" and not CPU.value:
        sys.exit("error: JAX has no GPU; --cpu runs without one.")
    # As precise as TensorFlow's products on a CPU.
    jax.config.update("jax_default_matmul_precision", "highest")
    os.makedirs(OUTPUT.value, exist_ok=True)
    path = os.path.join(OUTPUT.value, results_file.RESULTS)
    speed, missing = train(open_ladder(until), path)
    result = {
        "name": "gpu_ladder",
        "value": speed,
        "unit": "TFLOP/s",
        "bar": None,
        "holds": None,
        "missing": missing,
        "results": path,
        "chip": device.device_kind,
        "jax": jax.__version__,
        "keras": keras.version(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    run_program(main)
