"""Sets which versions a server serves: `python -m export.rollout --help`.

    python -m export.rollout --output=exports/clicks --stable=41 --canary=42

writes models.config, which TensorFlow Serving rereads while it runs, with
batching.config and monitoring.config next to it. To promote a version, or to
roll back to it, name it as stable. Exit codes: 0 done; 1 a fault in the
program; 2 a flag or a version breaks a rule.
"""

import dataclasses
import functools
import os

from absl import flags

from export import program
from trainer.settings import fields
from trainer.settings.fields import Settings, setting
from wukong_tf import extras
from wukong_tf.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class RollOut(Settings):
    """Roll-out."""

    output: str = setting(
        None,
        "Directory of versions, export.main's --output. Required.",
        needed=True,
    )
    stable: int | None = setting(None, 'Version to label "stable".', minimum=1)
    canary: int | None = setting(
        None, 'Version to label "canary". Default: none.', minimum=1
    )
    name: str | None = setting(
        None,
        "Name of the model. Default: the name the stable version was exported "
        "with.",
    )
    base_path: str | None = setting(
        None,
        "Path of --output on the server. Default: /models/ and the last part "
        "of --output, as in TensorFlow Serving's image.",
    )
    config: str | None = setting(
        None,
        "models.config to write; other models in it are kept. Default: next to "
        "--output.",
    )
    prune_to: int | None = setting(
        None,
        "Number of the highest versions to keep; removes all others that "
        "models.config does not name. Default: removes none.",
        minimum=1,
    )


define = functools.partial(fields.define, RollOut)


def run(argv, values: flags.FlagValues) -> int:
    """Rolls out as configured by the flags; returns the exit code."""
    return program.exit_code(
        argv,
        lambda: roll_out(fields.from_flags(RollOut, values)),
        "interrupted; every file was either replaced or left unchanged",
    )


def roll_out(settings: RollOut):
    """Writes the configuration files, then removes old versions."""
    from export.version import serving_config

    extras.require("models.config", "tensorflow_serving")
    if settings.stable is None and settings.prune_to is None:
        raise ConfigError("--stable or --prune_to is required.")
    if settings.canary is not None and settings.stable is None:
        raise ConfigError("--canary requires --stable.")
    output = os.path.abspath(settings.output)
    config = settings.config or os.path.join(
        os.path.dirname(output), serving_config.MODELS
    )
    if settings.stable is not None:
        labels = {"stable": settings.stable}
        if settings.canary is not None:
            labels["canary"] = settings.canary
        base = settings.base_path or f"/models/{os.path.basename(output)}"
        name = serving_config.write(output, config, labels, base, settings.name)
        text = ", ".join(f"{label}={v}" for label, v in labels.items())
        print(f"{config}: {name} {text}")
    if settings.prune_to is not None:
        for version in serving_config.prune(output, config, settings.prune_to):
            print(f"removed version {version}")


def main():
    """Runs the command `wukong-rollout`."""
    program.start(__doc__, define, run)


if __name__ == "__main__":
    main()
