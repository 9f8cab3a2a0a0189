"""Loads the checkpoint to evaluate or predict with, and writes --output."""

import contextlib
import os
from collections.abc import Iterator

from trainer.console import only_chief_logs
from trainer.distribution.strategies import Distribution, set_up
from trainer.loop.evaluator import Evaluator
from trainer.modes.packages import check_packages
from trainer.placement.tables import available_devices, place
from trainer.settings import DTYPES, Settings, memory_dtype
from wukong_tf import files, runs
from wukong_tf.errors import DataError
from wukong_tf.scaling import cost


def open_distribution(settings: Settings) -> Distribution:
    """Sets up the devices; must be called before TensorFlow uses them."""
    run_dir = settings.run.directory
    distribution = set_up(
        settings.devices,
        settings.machine,
        seed=runs.read_config(run_dir)["training"]["seed"],
        deterministic=settings.training.deterministic,
    )
    only_chief_logs(distribution.workers.is_chief)
    return distribution


def make_evaluator(settings: Settings, distribution: Distribution) -> Evaluator:
    """Returns an evaluator of the checkpoint that the settings name."""
    run_dir, lookup = settings.run.directory, settings.training.lookup
    trained = runs.read_config(run_dir)["training"]
    config = runs.read_model_config(run_dir)
    check_packages(config.model, lookup)
    # Placed as for training, since scoring needs less memory.
    placed = place(
        cost(
            config,
            batch_size=trained["batch_size"],
            dtype=memory_dtype(trained["precision"]),
        ),
        available_devices(settings.machine),
        settings.machine.table_device,
        replicas=distribution.replicas_on_this_host,
    )
    placed.check()
    with distribution.strategy.scope():
        model = runs.load_run(
            run_dir,
            settings.run.checkpoint,
            lookup=lookup,
            dtype=DTYPES[trained["precision"]],
            host_tables=placed.host_tables,
            keep_units=settings.run.units_kept,
        )
    return Evaluator(
        distribution,
        model,
        settings.training.eval_batch_size,
        negative_rate=settings.data.eval_negative_rate,
    )


def make_folder(output: str) -> str:
    """Returns the directory of --output, creating it if missing."""
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
    """Yields a temporary path that is renamed to --output at the end."""
    make_folder(output)
    try:
        with files.atomic_path(output) as temporary:
            yield temporary
    except OSError as error:
        raise DataError(
            f"--output={output} cannot be written: {error}."
        ) from error
