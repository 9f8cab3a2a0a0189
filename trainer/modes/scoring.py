"""The checkpoint that is evaluated or scores, and the file of what it gives."""

import contextlib
import os
from collections.abc import Iterator

from absl import flags

from trainer import run_config
from trainer.console import only_chief_logs
from trainer.distribution.strategies import Distribution, set_up
from trainer.loop.evaluator import Evaluator
from trainer.modes.packages import check_packages
from trainer.placement.tables import devices_from_flags, place
from wukong_tf import files, runs
from wukong_tf.errors import ConfigError, DataError
from wukong_tf.scaling import cost


def open_distribution(values: flags.FlagValues) -> Distribution:
    """Where to compute; asked for before TensorFlow computes anything."""
    if not os.path.isdir(values.run_dir):
        raise ConfigError(f"--run_dir={values.run_dir}: there is no such run.")
    training = runs.read_config(values.run_dir)["training"]
    distribution = set_up(
        values, seed=training["seed"], deterministic=values.deterministic
    )
    only_chief_logs(distribution.workers.is_chief)
    return distribution


def make_evaluator(
    values: flags.FlagValues, distribution: Distribution
) -> Evaluator:
    """An evaluator of the checkpoint that the flags name."""
    training = runs.read_config(values.run_dir)["training"]
    config = runs.read_model_config(values.run_dir)
    check_packages(config.model, values.lookup, reports=False)
    dtype = run_config.DTYPES[training["precision"]]
    # As it was trained: what scoring takes is less.
    placed = place(
        cost(
            config,
            batch_size=training["batch_size"],
            dtype=run_config.counted_dtype(training["precision"]),
        ),
        devices_from_flags(values),
        values.table_device,
        replicas=distribution.replicas_on_this_host,
    )
    placed.check()
    with distribution.strategy.scope():
        model = runs.load_run(
            values.run_dir,
            values.checkpoint,
            lookup=values.lookup,
            dtype=dtype,
            host_tables=placed.host_tables,
            keep_units=runs.parse_keep_units(values.keep_units),
        )
    return Evaluator(
        distribution,
        model,
        values.eval_batch_size,
        negative_rate=values.eval_negative_rate,
    )


def make_folder(output: str) -> str:
    """The directory of --output, made if it is missing."""
    folder = os.path.dirname(os.path.abspath(output))
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"--output={output} cannot be written: {error}."
        ) from error
    return folder


@contextlib.contextmanager
def written(output: str) -> Iterator[str]:
    """A path beside --output, which becomes it once the block has ended."""
    make_folder(output)
    try:
        with files.atomic_path(output) as temporary:
            yield temporary
    except OSError as error:
        raise DataError(
            f"--output={output} cannot be written: {error}."
        ) from error
