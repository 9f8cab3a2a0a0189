"""Flags of the trainer for trials and for the chosen flagfile."""

from collections.abc import Mapping, Sequence

from trainer.modes import early
from trainer.process.console import log
from trainer.settings import Settings, command
from wukong_tf.config import FeatureSpec, ModelConfig

# Set by the tuner, or without meaning for a trial.
REPLACED = (
    "run_dir",
    "mode",
    "model",
    "seed",
    "splits",
    "plots",
    "compare_runs",
)
TRACKING = ("track", "track_name", "track_tags")
# Counted in steps; trials of other batch sizes keep their number of rows.
STEPS = (
    "eval_every_steps",
    "checkpoint_every_steps",
    "max_steps",
    "decay_steps",
    "warmup_steps",
)

Value = bool | int | float | str
Flags = Mapping[str, str]  # arguments such as --seed=1 by name


def flag_of(name: str, value: Value) -> str:
    """Returns a flag of the trainer as an argument, `--name=value`."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"--{name}={text}"


def read_base(arguments: Sequence[str]) -> dict[str, str]:
    """Returns the flags that all trials share, without those replaced.

    Of these, which a flagfile may have, it logs a line.

    Raises:
        ConfigError: a flag is unknown or cannot be parsed.
    """
    given = command.read(arguments)
    if dropped := [text for name, text in given.items() if name in REPLACED]:
        log(f"not used, as each run has its own: {' '.join(dropped)}")
    return {name: text for name, text in given.items() if name not in REPLACED}


def trial_flags(
    model: str, base: Flags, params: Mapping[str, Value]
) -> dict[str, str]:
    """Returns the flags by which a trial differs from the trainer's defaults.

    If `params` has a batch size, the flags of `base` that count steps are
    changed to the same number of rows, so that trials are trained and
    evaluated after equal numbers of rows.

    Args:
        model: name of the model.
        base: flags that all trials share.
        params: the trial's own values by flag.
    """
    flags = {"model": flag_of("model", model), **base}
    if "batch_size" in params:
        before = command.check(["--mode=plan", *flags.values()]).training
        for name in set(STEPS) & base.keys() - params.keys():
            rows = getattr(before, name) * before.batch_size
            steps = round(rows / int(params["batch_size"]))
            flags[name] = flag_of(name, max(1, steps) if rows else 0)
    return flags | {name: flag_of(name, v) for name, v in params.items()}


def trial_settings(
    model: str, base: Flags, params: Mapping[str, Value]
) -> Settings:
    """Returns the settings of a trial.

    Raises:
        ConfigError: the trainer refuses a flag.
    """
    flags = trial_flags(model, base, params)
    return command.check(["--run_dir=RUN", *flags.values()])


def trial_config(
    model: str, base: Flags, params: Mapping[str, Value], spec: FeatureSpec
) -> ModelConfig:
    """Returns the configuration of a trial's model.

    Args:
        model: name of the model.
        base: flags that all trials share.
        params: the trial's own values by flag.
        spec: the feature spec of the data.

    Raises:
        ConfigError: the trainer refuses the flags with these features.
    """
    settings = trial_settings(model, base, params)
    features = settings.features.applied_to(spec)
    return early.check_training(settings, features)


def tracking_flags(base: Flags, name: str, **tags: Value) -> dict[str, str]:
    """Returns the flags by which trackers tell trials apart; {} without one.

    Args:
        base: flags that all trials share, perhaps with tags of the user.
        name: name of the trial's run.
        **tags: tags of the trial.
    """
    if "track" not in base:
        return {}
    listed = [f"{key}={value}".replace(",", "_") for key, value in tags.items()]
    shared = base.get("track_tags", "--track_tags=").partition("=")[2]
    every = ",".join([*filter(None, [shared]), *listed])
    return {
        "track_name": flag_of("track_name", name),
        "track_tags": flag_of("track_tags", every),
    }
