"""Says which versions a server serves: `python -m export.rollout --help`.

    python -m export.rollout --output=exports/clicks --stable=41 --canary=42

writes models.config, which TensorFlow Serving reads again while it runs, with
batching.config and monitoring.config beside it. A version is promoted, and
gone back from, by naming it as stable. Exit codes: 0 done; 1 a fault in the
program; 2 a flag or a version breaks a rule.
"""

import os

from absl import flags

from export import program
from wukong_tf import extras
from wukong_tf.errors import ConfigError


def define(values: flags.FlagValues):
    """Defines the flags; call it once, before they are parsed."""
    flags.DEFINE_string(
        "output",
        None,
        "Directory of versions, as export.main's --output. Needed.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "stable",
        None,
        'Version that gets the label "stable".',
        1,
        flag_values=values,
    )
    flags.DEFINE_integer(
        "canary",
        None,
        'Version that gets the label "canary". Default: none.',
        1,
        flag_values=values,
    )
    flags.DEFINE_string(
        "name",
        None,
        "Name of the model. Default: that of the stable version's export.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "base_path",
        None,
        "--output as the server sees it. Default: /models/ and the last part "
        "of --output, as in TensorFlow Serving's image.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "config",
        None,
        "models.config to write; other models that it names stay. Default: "
        "beside --output.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "prune_to",
        None,
        "Removes versions until so many of the highest are left, and never one "
        "that models.config names. Default: removes none.",
        1,
        flag_values=values,
    )


def run(argv, values: flags.FlagValues) -> int:
    """Does what the flags say; returns the exit code."""
    return program.exit_code(
        argv, lambda: roll_out(values), "interrupted; no file is half-written"
    )


def roll_out(values: flags.FlagValues):
    """Writes the files, then prunes."""
    from export.version import serving_config

    program.check_given(values, "output")
    extras.require("models.config", "tensorflow_serving")
    if values.stable is None and values.prune_to is None:
        raise ConfigError("--stable or --prune_to is needed.")
    if values.canary is not None and values.stable is None:
        raise ConfigError("--canary needs --stable beside it.")
    output = os.path.abspath(values.output)
    config = values.config or os.path.join(
        os.path.dirname(output), serving_config.MODELS
    )
    if values.stable is not None:
        labels = {"stable": values.stable}
        if values.canary is not None:
            labels["canary"] = values.canary
        base = values.base_path or f"/models/{os.path.basename(output)}"
        name = serving_config.write(output, config, labels, base, values.name)
        said = ", ".join(f"{label}={v}" for label, v in labels.items())
        print(f"{config}: {name} {said}")
    if values.prune_to is not None:
        for version in serving_config.prune(output, config, values.prune_to):
            print(f"removed version {version}")


def main():
    """Entry point of `wukong-rollout`."""
    program.start(__doc__, define, run)


if __name__ == "__main__":
    main()
