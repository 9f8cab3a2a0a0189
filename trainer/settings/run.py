"""Settings of the mode and of the paths of its results."""

import dataclasses
from typing import Literal

from trainer.settings.fields import Settings, check_distinct, setting
from wukong_tf import runs
from wukong_tf.errors import ConfigError

TRACKERS = ("mlflow", "wandb", "tensorboard")


@dataclasses.dataclass(frozen=True)
class Run(Settings):
    """Run."""

    mode: Literal["train", "eval", "predict", "plan"] = setting(
        "train",
        "train: train, evaluate and report; the same command resumes a "
        "stopped run. eval: metrics of a trained run. predict: scores of "
        "--predict_files as Parquet. plan: print tables, rows, bytes and "
        "parameters without training.",
    )
    run_dir: str | None = setting(
        None,
        "Directory of the run: configuration, checkpoints, metrics, report. "
        "Created if missing. Required by all modes except plan.",
    )
    init_from: str | None = setting(
        None,
        "Run directory whose weights a new run starts from. Rows of tables "
        "are mapped by their vocabulary, parameters by their features; new "
        "ones are initialized.",
    )
    init_checkpoint: str = setting(
        "best", 'Checkpoint of --init_from: "best", "latest" or a step.'
    )
    init_optimizer: bool = setting(
        True, "Restore the optimizers' state of --init_from too."
    )
    compare_runs: tuple[str, ...] = setting(
        (),
        "Directories of finished runs whose metrics the report compares with "
        "this run's.",
    )
    slices: tuple[str, ...] = setting(
        (),
        "Features by whose values the report and eval give rows, AUC and "
        "calibration of the test rows, or of the valid rows if there are no "
        "others. They must have one value per row.",
    )
    importance_rows: int | None = setting(
        None,
        "Held-out rows on which the report measures the importance of "
        "features, by permuting the values of each three times; 0 for none. "
        "Default: 8192, or fewer if more than a quarter of the trained rows "
        "would be scored again, but at least 512.",
        minimum=0,
    )
    plots: bool = setting(
        True,
        "Draw the plots and the page of the report, which takes a few "
        "seconds. metrics.json is always written.",
    )
    track: tuple[str, ...] = setting(
        (),
        "Experiment trackers that follow a training run: mlflow, wandb, and "
        "tensorboard for its HParams. Each is set up by its own variables, "
        "such as MLFLOW_TRACKING_URI and WANDB_PROJECT.",
    )
    track_name: str | None = setting(
        None,
        "Name of the run in the trackers. Default: the last part of --run_dir.",
    )
    track_tags: tuple[str, ...] = setting(
        (), "Tags of the run in the trackers, KEY=VALUE,..."
    )
    checkpoint: str = setting(
        "best",
        'Checkpoint for eval and predict: "best", "latest" or a step.',
    )
    keep_units: tuple[str, ...] = setting(
        (),
        "For eval and predict: units to keep of features that have several, "
        "one number for all of them or FEATURE:NUMBER,... Default: all.",
    )
    output: str | None = setting(
        None,
        "File to which predict writes scores as Parquet, and eval its "
        "metrics as JSON.",
    )

    def __post_init__(self):
        super().__post_init__()
        self.units_kept  # noqa: B018  raises early if invalid
        check_distinct("track", self.track, TRACKERS)
        self.tags  # noqa: B018

    @property
    def directory(self) -> str:
        """The run directory, for a mode that needs one.

        Raises:
            ConfigError: --run_dir is not given.
        """
        if not self.run_dir:
            raise ConfigError(f"--mode={self.mode} needs --run_dir.")
        return self.run_dir

    @property
    def tags(self) -> dict[str, str]:
        """The tags of the run in the trackers.

        Raises:
            ConfigError: a tag is not KEY=VALUE.
        """
        pairs = [tag.partition("=") for tag in self.track_tags]
        for key, equals, value in pairs:
            if not (key and equals and value):
                raise ConfigError(
                    "--track_tags must be KEY=VALUE,...; received "
                    f"{key + equals + value!r}."
                )
        return {key: value for key, _, value in pairs}

    @property
    def units_kept(self) -> int | dict[str, int] | None:
        """The argument `keep_units` of `wukong_tf.load_run`."""
        return runs.parse_keep_units(self.keep_units)
