"""Converts a data set to Parquet: `python -m trainer.prepare --help`.

Exit codes: 0 done; 1 a fault in the program; 2 the flags or the files are
invalid; 130 interrupted, and the same command resumes.
"""

import os

from absl import flags as absl_flags

from trainer.preparation import earlier, inputs, outputs, work
from trainer.preparation.settings import Prepare, define
from trainer.process import loading, program
from trainer.settings import fields
from wukong_tf.config import FeatureSpec
from wukong_tf.errors import ConfigError, DataError

UNFINISHED = ".unfinished"

loading.prepare()  # values are hashed by TensorFlow, in spawned processes too


def prepare(settings: Prepare) -> FeatureSpec:
    """Writes --output; returns its feature spec.

    Vocabularies are made only from the train rows, or are those of an
    earlier preparation; other values are out of vocabulary, as they will be
    in serving.

    Raises:
        DataError: a file or a row is invalid, or nothing can be written.
        ConfigError: the flags are invalid.
    """
    output = os.path.abspath(settings.output)
    before = earlier.named(settings)
    source = inputs.find(settings, before)
    if os.path.lexists(output):
        raise ConfigError(
            f"--output={settings.output} already exists and is not "
            "overwritten. Choose another, or remove it."
        )
    run_all = work.runner(settings)
    folder = f"{output}{UNFINISHED}"
    try:
        with work.locked(folder):
            job = work.make_job(settings, source, folder, before)
            work.claim(job)
            spec = work.run(job, run_all, before)
            outputs.publish(job, source, spec, output, before)
    except OSError as error:
        kept = ""
        if os.path.isdir(folder):
            kept = (
                f" Finished work is kept in {folder}; the same command resumes."
            )
        raise DataError(
            f"--output={settings.output} cannot be written: {error}.{kept}"
        ) from error
    return spec


def run(argv, values: absl_flags.FlagValues) -> int:
    """Prepares the data set of the flags; returns the exit code."""

    def prepare_it():
        program.refuse_arguments(argv)
        settings = fields.from_flags(Prepare, values)
        spec = prepare(settings)
        ids = sum(feature.num_ids for feature in spec.categorical)
        count = len(spec.feature_names)
        print(f"wrote {settings.output}: {count} features, {ids:,} ids")

    return program.exit_code(
        prepare_it, "interrupted; the same command resumes"
    )


def main():
    """Runs `python -m trainer.prepare`."""
    program.start_interruptible(__doc__, {"Preparation": define}, run)


if __name__ == "__main__":
    main()
