"""The plan of a study, written before its first trial and then fixed."""

import dataclasses
import glob
import os
from typing import Any

from trainer.data.spec import read_spec
from trainer.settings import command
from trainer.settings.tune import Tune
from trainer.tuning import study
from trainer.tuning.flags import TRACKING, Flags
from trainer.tuning.spaces import Space
from wukong_tf import runs
from wukong_tf.config import FeatureSpec
from wukong_tf.errors import without_credentials

FORMAT = 1
SPLITS = ("train", "valid")  # the test rows are not read


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
        features: the feature spec of the data.
    """

    tune: Tune
    base: Flags
    spaces: dict[str, Space]
    metric: str
    task: str
    data: dict[str, Any]
    versions: dict[str, str]
    features: FeatureSpec

    def content(self) -> dict[str, Any]:
        """Returns the plan as JSON values, without credentials."""
        tune = self.tune
        return {
            "format": FORMAT,
            "models": list(tune.models),
            "trials": tune.trials,
            "minutes": tune.minutes,
            "prune": tune.prune,
            "prune_warmup": tune.prune_warmup,
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
    return Plan(
        tune=tune,
        base=base,
        spaces=spaces,
        metric=settings.training.early_stopping_metric,
        task=study.task_of(settings),
        data=study.data_of(settings, SPLITS, "tuning"),
        versions=study.versions_of(*study.PACKAGES, "optuna"),
        features=read_spec(settings),
    )


def claim(output: str, plan: Plan) -> str:
    """Returns the study's id; see `study.claim`."""
    folder = glob.escape(output)
    begun = glob.glob(os.path.join(folder, "*", "trial-*", runs.CONFIG))
    return study.claim(output, plan.content(), bool(begun))
