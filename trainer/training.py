"""`--mode=train`: from flags to a run that has come to its end."""

import dataclasses
import os
import time

from absl import flags

from trainer import (
    distribution,
    run_config,
    run_directory,
    sources,
    start_checks,
)
from trainer.evaluation import Interrupted
from trainer.model_setup import model_cost
from trainer.placement import devices_from_flags, place
from trainer.plan import describe_model
from trainer.recording import log
from trainer.results import compared_metrics
from trainer.run_report import report
from trainer.session import Session
from wukong_tf import runs
from wukong_tf.config import FeatureSpec
from wukong_tf.errors import ConfigError


def run_training(values: flags.FlagValues) -> bool:
    """`--mode=train`; True where the run came to its end."""
    began = time.perf_counter()
    training = run_config.training_from_flags(values)
    strategy = distribution.set_up(
        seed=training.seed,
        deterministic=training.deterministic,
        intra_op=values.intra_op_threads,
        inter_op=values.inter_op_threads,
    )
    features = sources.open_features(values)
    config = run_config.model_from_flags(values, features)
    splits = sources.open_sources(values, features)
    _check(values, training, features)
    placed = place(
        model_cost(config, training),
        devices_from_flags(values),
        values.table_device,
    )
    placed.check()
    model = config.to_dict()
    del model["features"]
    content = {
        "format": runs.FORMAT,
        "model": model,
        "training": dataclasses.asdict(training),
        "data": {split: s.num_rows for split, s in splits.items()}
        | ({"seed": values.synthetic_seed} if values.synthetic else {}),
    }
    seen = start_checks.check_splits(
        splits, allow_overlap=values.allow_file_overlap
    )
    with run_directory.locked(values.run_dir):
        run_directory.claim(values.run_dir, content, features)
        held_out = next(
            splits[split]
            for split in ("test", "valid", "train")
            if split in splits
        )
        run_directory.write_samples(values.run_dir, held_out)
        session = Session(values, strategy, config, splits, placed)
        log(describe_model(session.model))
        log(distribution.describe(strategy))
        for split, source in splits.items():
            log(f"{split}: {source.num_rows:,} rows")
        for line in seen:
            log(line)
        session.restore()
        finished = session.run()
        if finished:
            try:
                report(session)
            except Interrupted:
                finished = False
    log(f"{time.perf_counter() - began:.1f} s in all")
    return finished


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
