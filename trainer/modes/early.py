"""Checks what the settings name, before TensorFlow is loaded."""

import os

from trainer.data.paths import expand
from trainer.data.spec import check_needed, open_features
from trainer.report.compared import compared_metrics
from trainer.settings import Settings, Training
from wukong_tf import files, runs
from wukong_tf.config import FeatureSpec, ModelConfig
from wukong_tf.errors import ConfigError
from wukong_tf.extras import require


def check(settings: Settings) -> None:
    """Raises WukongError if settings contradict files, or files are missing.

    Checks only what is read within milliseconds: the feature spec, the
    model's sizes, that files of rows exist, the packages of trackers, and a
    run's configuration.
    """
    mode, data = settings.run.mode, settings.data
    if mode == "train":
        for name in settings.run.track:
            # Not loaded, since only its own process shall hold it.
            require(f"--track={name}", name, load=False)
    if mode in ("eval", "predict"):
        _check_output(settings.run.output)
        _check_run(settings)
    if mode == "predict":
        expand(data.predict_files or ())
        return
    features = open_features(settings)
    if mode == "plan":
        settings.model.config(features)
    if mode == "train":
        check_training(settings, features)
    _check_splits(settings)


def _check_output(output: str | None):
    """Raises ConfigError if --output is not a path of a file."""
    kind = files.kind_of(output) if output else None
    if kind not in (None, files.FILE, files.BROKEN):
        raise ConfigError(f"--output={output}: must be a file, but is {kind}.")


def _check_run(settings: Settings):
    run_dir = settings.run.directory
    if not os.path.isdir(run_dir):
        raise ConfigError(f"--run_dir={run_dir}: there is no such run.")
    runs.check_run(
        run_dir, settings.run.checkpoint, keep_units=settings.run.units_kept
    )
    settings.model.check_same(runs.read_model_config(run_dir), run_dir)


def _check_splits(settings: Settings):
    """Raises WukongError if a split's files, or a split needed, is missing."""
    data, splits = settings.data, []
    for split in data.splits:
        paths = [] if data.synthetic else data.files(split)
        expand(paths)
        if paths or data.synthetic:
            splits.append(split)
    if settings.run.mode == "train":
        check_needed(settings, splits)
    elif settings.run.mode == "eval" and not {*splits} - {"train"}:
        raise ConfigError("--mode=eval needs valid or test rows.")


def check_training(settings: Settings, features: FeatureSpec) -> ModelConfig:
    """Returns the model's configuration over the run's features.

    Raises:
        ConfigError: settings would only fail later.
    """
    config = settings.model.config(features)
    run, training = settings.run, settings.training
    if training.early_stopping_metric == "group_auc" and not features.group:
        raise ConfigError(
            "--early_stopping_metric=group_auc needs a group column in the "
            "feature spec; there is none."
        )
    tasks = [task.name for task in features.tasks]
    if training.early_stopping_task not in ("", *tasks):
        raise ConfigError(
            f"--early_stopping_task must be one of {tasks}; received "
            f"{training.early_stopping_task!r}."
        )
    placement = settings.devices.table_placement
    if training.table_optimizer == "adam" and placement != "replicated":
        raise ConfigError(
            "--table_optimizer=adam moves the rows of whole tables, which "
            f"must have --table_placement=replicated; received {placement}."
        )
    for path in run.compare_runs:
        compared_metrics(path)  # raises if the path is wrong
    if run.init_from:
        if os.path.realpath(run.init_from) == os.path.realpath(run.directory):
            raise ConfigError(
                "--init_from must not be --run_dir; a run that has a "
                "checkpoint resumes without --init_from."
            )
        runs.read_model_config(run.init_from)
        if run.init_optimizer:
            _check_same_optimizer(run.init_from, training)
    return config


def _check_same_optimizer(run_dir: str, training: Training):
    """Raises ConfigError if --init_optimizer would copy foreign slots."""
    theirs = runs.read_config(run_dir).get("training", {})
    for flag, default in (
        ("dense_optimizer", "adam"),
        ("table_optimizer", "rowwise_adagrad"),
    ):
        before, now = theirs.get(flag, default), getattr(training, flag)
        if before != now:
            raise ConfigError(
                f"--init_optimizer copies the slots of {before}, the optimizer "
                f"of --init_from={run_dir}; --{flag} must be the same, but is "
                f"{now}. Without --init_optimizer, it starts anew."
            )
