"""Loads the checkpoint to evaluate or predict with, and writes --output."""

import contextlib
import os
from collections.abc import Iterator

from trainer.distribution.agreement import check_same, plain_text
from trainer.distribution.strategies import Distribution, set_up
from trainer.loop.evaluator import Evaluator
from trainer.modes.packages import check_packages
from trainer.modes.placement import place_together
from trainer.process.console import log, only_chief_logs
from trainer.settings import DTYPES, Settings, memory_dtype
from wukong_tf import files, runs
from wukong_tf.errors import DataError
from wukong_tf.runs.checkpoint import step_of
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
    """Returns an evaluator of the checkpoint that the settings name.

    All workers must call it together, and load the chief's choice.
    """
    run_dir, lookup = settings.run.directory, settings.training.lookup
    workers = distribution.workers
    trained = runs.read_config(run_dir)["training"]
    config = runs.read_model_config(run_dir)
    check_packages(config.model, lookup)
    checkpoint = runs.checkpoint_path(run_dir, settings.run.checkpoint)
    step = workers.from_chief(step_of(checkpoint))
    # Counted as for training, since scoring needs less memory.
    costs = cost(
        config,
        batch_size=trained["batch_size"],
        dtype=memory_dtype(trained["precision"]),
        state_workers=workers.count,
    )
    placed, lines = place_together(
        settings, distribution, costs, config.features, trains=False
    )
    check_same(
        workers,
        {
            "sharded_tables": plain_text(placed.sharded_tables),
            "eval_batch_size": plain_text(settings.training.eval_batch_size),
        },
    )
    for line in lines:
        log(line)
    with distribution.strategy.scope():
        model = runs.load_run(
            run_dir,
            step,
            lookup=lookup,
            dtype=DTYPES[trained["precision"]],
            host_tables=placed.host_tables,
            sharded_tables=placed.sharded_tables,
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
