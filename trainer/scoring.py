"""Evaluates and scores with a finished or running run's checkpoint."""

import contextlib
import json
import os
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from absl import flags

from trainer import run_config, sources, start_checks
from trainer.console import log, only_chief_logs
from trainer.data.held_out import open_files
from trainer.distribution import lost
from trainer.distribution.strategies import set_up
from trainer.evaluation import Evaluator
from trainer.placement import devices_from_flags, place
from trainer.results import evaluate_splits
from wukong_tf import files, runs
from wukong_tf.errors import ConfigError, DataError
from wukong_tf.scaling import cost


def _evaluator(values: flags.FlagValues) -> Evaluator:
    """An evaluator of the checkpoint that the flags name."""
    if not os.path.isdir(values.run_dir):
        raise ConfigError(f"--run_dir={values.run_dir}: there is no such run.")
    training = runs.read_config(values.run_dir)["training"]
    distribution = set_up(
        values, seed=training["seed"], deterministic=values.deterministic
    )
    only_chief_logs(distribution.workers.is_chief)
    config = runs.read_model_config(values.run_dir)
    start_checks.check_packages(config.model, values.lookup, reports=False)
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


def run_evaluation(values: flags.FlagValues):
    """`--mode=eval`: prints exact metrics as JSON; --output keeps them.

    The model is the run's own, whatever sizes the flags give; the data are
    those that the flags name, and must have the run's features.
    """
    features = sources.open_features(values)
    own = runs.read_features(values.run_dir)
    if run_config.columns_of(features) != run_config.columns_of(own):
        raise ConfigError(
            f"the feature spec of the data is not that of --run_dir="
            f"{values.run_dir}; a run can be evaluated only on its features."
        )
    splits = sources.open_sources(values, features)
    splits.pop("train", None)
    if not splits:
        raise ConfigError("--mode=eval needs valid or test rows.")
    evaluator = _evaluator(values)
    with lost.named(evaluator.workers):
        results, _ = evaluate_splits(evaluator, splits)
    if not evaluator.workers.is_chief:
        return
    if found := start_checks.bad_values(splits):
        results["bad_values"] = found
    print(json.dumps(results, indent=2))
    if values.output:
        with _written(values.output) as beside:
            files.write_json(beside, results)


def run_prediction(values: flags.FlagValues):
    """`--mode=predict`: scores files, row by row, into one Parquet file."""
    spec = runs.read_features(values.run_dir)
    source = open_files(
        values.predict_files,
        spec,
        labels=False,
        bad=sources.bad_values(values),
    )
    evaluator = _evaluator(values)
    with lost.named(evaluator.workers):
        if evaluator.workers.is_chief:
            _write_scores(values, spec, source, evaluator)
        else:
            for _ in evaluator.score(source):
                pass  # The chief writes what all of them score.


def _write_scores(values, spec, source, evaluator):
    """Scores a source into --output."""
    names = [
        f"{task.name}_{what}"
        for task in spec.tasks
        for what in ("logit", "probability")
    ]
    schema = pa.schema([(name, pa.float32()) for name in names])
    rows = 0
    with (
        _written(values.output) as beside,
        pq.ParquetWriter(beside, schema) as writer,
    ):
        for logits in evaluator.score(source):
            columns = {}
            for task, logit in logits.items():
                columns[f"{task}_logit"] = logit
                columns[f"{task}_probability"] = _sigmoid(logit)
            writer.write_table(pa.table(columns, schema))
            rows += len(columns[names[0]])
    log(f"wrote {rows:,} scores to {values.output}")
    for found in start_checks.bad_values({"predict": source}).values():
        for name, count in found["columns"].items():
            log(
                f"column {name!r}: {count:,} bad values were read as missing; "
                f"the first: {found['first'][name]}"
            )


@contextlib.contextmanager
def _written(output: str) -> Iterator[str]:
    """A path beside --output, which becomes it once the block has ended."""
    try:
        with files.atomic_path(output) as temporary:
            yield temporary
    except OSError as error:
        raise DataError(
            f"--output={output} cannot be written: {error}."
        ) from error


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    """Probabilities, float32, without overflow."""
    e = np.exp(-np.abs(logits.astype(np.float64)))
    return np.where(logits >= 0, 1 / (1 + e), e / (1 + e)).astype(np.float32)
