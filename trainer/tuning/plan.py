"""The plan of a study, written before its first trial and then fixed."""

import dataclasses
import glob
import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from importlib import metadata
from typing import Any

import wukong_tf
from trainer.console import log
from trainer.data.paths import expand
from trainer.settings import Data, Settings, command
from trainer.settings.tune import Tune
from trainer.tuning.flags import TRACKING, Flags
from trainer.tuning.spaces import Space
from wukong_tf import files, runs
from wukong_tf.config import schema
from wukong_tf.errors import ConfigError, RunError, without_credentials

PLAN = "study.json"
FORMAT = 1
SPLITS = ("train", "valid")  # the test rows are not read
_PACKAGES = ("tensorflow", "keras", "optuna")


@dataclasses.dataclass(frozen=True)
class Plan:
    """What all trials of a study share.

    Args:
        tune: settings of the tuner.
        base: flags of the trainer that all trials share.
        spaces: search space by model.
        metric: name of the metric that values are of.
        task: name of the task that it is of.
        data: files and SHA-256 by split, or the seed of the synthetic log.
        versions: versions by package.
    """

    tune: Tune
    base: Flags
    spaces: dict[str, Space]
    metric: str
    task: str
    data: dict[str, Any]
    versions: dict[str, str]

    def content(self) -> dict[str, Any]:
        """Returns the plan as JSON values, without credentials."""
        tune = self.tune
        return {
            "format": FORMAT,
            "models": list(tune.models),
            "trials": tune.trials,
            "minutes": tune.minutes,
            "prune": tune.prune,
            "seed": tune.seed,
            "storage": without_credentials(tune.storage or ""),
            "metric": self.metric,
            "task": self.task,
            "data": self.data,
            "versions": self.versions,
            # Trackers may come and go while a study proceeds.
            "flags": {
                name: text
                for name, text in self.base.items()
                if name not in TRACKING
            },
            "spaces": {
                model: {flag: str(d) for flag, d in space.items()}
                for model, space in self.spaces.items()
            },
        }

    def describe(self) -> list[str]:
        """Returns lines on the budget and the spaces."""
        tune = self.tune
        limit = "without a limit of minutes"
        if tune.minutes:
            limit = f"at most {tune.minutes:g} minutes of training"
        lines = [
            f"budget of each of {', '.join(tune.models)}: {tune.trials} "
            f"trials, {limit}",
            f"chosen by the best {self.metric} of {self.task} on the valid "
            f"rows; seed {tune.seed}; test rows are not read",
        ]
        for model, space in self.spaces.items():
            ranges = "; ".join(f"{flag} {d}" for flag, d in space.items())
            lines.append(f"space of {model}: {ranges}")
        return lines


def make(tune: Tune, base: Flags, spaces: dict[str, Space]) -> Plan:
    """Returns the plan of a study; reads every train and valid file.

    Raises:
        ConfigError: the feature spec or a split is not given.
        DataError: a file is missing or invalid.
    """
    settings = command.check(["--run_dir=RUN", *base.values()])
    versions = {name: metadata.version(name) for name in _PACKAGES}
    return Plan(
        tune=tune,
        base=base,
        spaces=spaces,
        metric=settings.training.early_stopping_metric,
        task=settings.training.early_stopping_task or _first_task(settings),
        data=_data(settings.data),
        versions={"wukong_tf": wukong_tf.__version__, **versions},
    )


def _first_task(settings: Settings) -> str:
    if settings.data.synthetic:
        return settings.data.synthetic_tasks[0]
    return settings.data.read_features().tasks[0].name


def _data(data: Data) -> dict[str, Any]:
    """Returns what identifies the rows; several files have one digest."""
    if data.synthetic:
        return {"synthetic_seed": data.synthetic_seed}
    record = {}
    for split in SPLITS:
        paths = expand(data.files(split))
        if not paths:
            raise ConfigError(
                f"tuning needs {split} rows; give --data_dir with "
                f"{split}*.parquet in it, or --{split}_files, after --."
            )
        log(f"reading {len(paths)} {split} files for their SHA-256")
        digests = [files.sha256(path) for path in paths]
        if len(digests) > 1:
            text = "".join(f"{digest}\n" for digest in digests)
            digests = [hashlib.sha256(text.encode()).hexdigest()]
        record[split] = {"files": len(paths), "sha256": "".join(digests)}
    return record


def claim(output: str, plan: Plan) -> str:
    """Writes OUTPUT/study.json, or checks that it is of the same plan.

    Until the run of a trial has begun, the plan may change.

    Args:
        output: the locked directory of the study.
        plan: the plan.

    Returns:
        The study's id, which is unique in a store of several studies.

    Raises:
        RunError: the directory belongs to another study; the message names
            what differs.
    """
    path = os.path.join(output, PLAN)
    content = json.loads(json.dumps(plan.content()))
    begun = glob.glob(os.path.join(output, "*", "trial-*", runs.CONFIG))
    if not (begun and os.path.exists(path)):
        study = uuid.uuid4().hex
        files.write_json(path, {"id": study, **content})
        return study
    try:
        with open(path, encoding="utf-8") as file:
            before = schema.parse_json(file.read(), path)
        study = before.pop("id")
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise RunError(f"{path}: is not a plan of a study: {error}.") from error
    if different := list(_differences(before, content)):
        raise RunError(
            f"--output={output} belongs to another study; different: "
            f"{'; '.join(different)}. Choose another --output, or the same "
            "flags as before."
        )
    return study


def _differences(before, now, prefix="") -> Iterator[str]:
    for key in sorted({*before, *now}):
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differences(old, new, f"{prefix}{key}.")
        elif old != new:
            yield f"{prefix}{key} was {old}, is {new}"
