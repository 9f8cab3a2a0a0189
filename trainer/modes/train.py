"""`--mode=train`: from flags to a run that has come to its end."""

import contextlib
import dataclasses
import os
import time

from absl import flags

from trainer import run_config
from trainer.checkpoints import run_directory
from trainer.console import log, only_chief_logs
from trainer.data import preflight
from trainer.data.content import Contents
from trainer.data.splits import features_folder, open_features, open_sources
from trainer.distribution import agreement, lost
from trainer.distribution.cluster import warnings_of
from trainer.distribution.strategies import set_up
from trainer.loop.evaluator import Interrupted
from trainer.loop.optimizers import model_cost
from trainer.loop.restore import restore
from trainer.loop.session import Session
from trainer.modes.packages import check_packages
from trainer.modes.plan import describe_model
from trainer.placement.tables import devices_from_flags, place
from trainer.report.figures import compared_metrics
from trainer.report.summary import report
from wukong_tf import runs
from wukong_tf.config import FeatureSpec
from wukong_tf.errors import ConfigError


def run_training(values: flags.FlagValues) -> bool:
    """`--mode=train`; True where the run came to its end."""
    began = time.perf_counter()
    training = run_config.training_from_flags(values)
    distribution = set_up(
        values, seed=training.seed, deterministic=training.deterministic
    )
    with lost.named(distribution.workers):
        finished = _train(values, training, distribution)
        log(f"{time.perf_counter() - began:.1f} s in all")
    return finished


def _train(values, training, distribution):
    workers = distribution.workers
    only_chief_logs(workers.is_chief)
    features = open_features(values)
    config = run_config.model_from_flags(values, features)
    for line in check_packages(config.model, training.lookup, reports=True):
        log(line)
    splits = open_sources(values, features)
    _check(values, training, features)
    placed = place(
        model_cost(config, training),
        devices_from_flags(values),
        values.table_device,
        replicas=distribution.replicas_on_this_host,
    )
    placed.check()
    content = _config_content(values, training, config, splits)
    contents = Contents(splits)
    if workers.count > 1:  # it reads some of every file
        content_of_all = {**content, "features": features.to_dict()}
        agreement.check_same(
            workers, agreement.identity(content_of_all, contents)
        )
    seen = preflight.check_splits(
        splits, allow_overlap=values.allow_file_overlap
    )
    # The chief alone writes; the others begin once it may.
    with contextlib.ExitStack() as held:
        directory, data = None, None
        if workers.is_chief:
            directory = held.enter_context(run_directory.locked(values.run_dir))
            run_directory.claim(values.run_dir, content, features)
            data = run_directory.read_data(values.run_dir)
            contents.expect(data)
            _note_data(values, features, splits)
        contents.expect(workers.from_chief(data))
        contents.start()
        session = Session(
            values, distribution, config, splits, placed, contents, directory
        )
        for line in [*_describe(session), *seen]:
            log(line)
        restore(session)
        return session.run() and _report(session)


def _config_content(values, training, config, splits):
    """What config.json says of the run."""
    model = config.to_dict()
    del model["features"]
    return {
        "format": runs.FORMAT,
        "model": model,
        "training": dataclasses.asdict(training),
        "data": {split: s.num_rows for split, s in splits.items()}
        | ({"seed": values.synthetic_seed} if values.synthetic else {}),
    }


def _note_data(values, features, splits):
    """Writes how the data were prepared, and which rows are held out."""
    folder = features_folder(values)
    if folder is not None:
        run_directory.write_preparation(
            values.run_dir, folder, features, splits["train"]
        )
    held_out = next(
        split for split in ("test", "valid", "train") if split in splits
    )
    run_directory.write_held_out(values.run_dir, held_out, splits[held_out])


def _describe(session):
    """The model, the machines and the data of a run, for the log."""
    distribution = session.distribution
    return [
        describe_model(session.model),
        *run_config.describe_sizes(session.values, session.model.config),
        *distribution.describe(session.training.batch_size),
        *session.describe_exchange(),
        *warnings_of(distribution.cluster),
        *(
            f"{split}: {source.num_rows:,} rows"
            for split, source in session.splits.items()
        ),
    ]


def _report(session):
    """Writes the report; False if a signal came first."""
    try:
        if session.held is not None:
            session.held.check()
        report(session)
    except Interrupted:
        return False
    return True


def _check(values, training: run_config.Training, features: FeatureSpec):
    """Refuses what would fail only at the end."""
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
    for path in values.compare_runs:
        compared_metrics(path)  # a wrong path must not wait for the end
    if values.init_from:
        if os.path.realpath(values.init_from) == os.path.realpath(
            values.run_dir
        ):
            raise ConfigError(
                "--init_from must be another run than --run_dir; the same "
                "command goes on with its own run by itself."
            )
        runs.read_model_config(values.init_from)
