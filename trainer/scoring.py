"""Evaluates and scores with a finished or running run's checkpoint."""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq
from absl import flags

from trainer import run_config
from trainer.console import log, only_chief_logs
from trainer.data import preflight
from trainer.data.file_source import FileSource
from trainer.data.paths import expand
from trainer.data.scored_files import open_to_score
from trainer.data.splits import bad_values, open_features, open_sources
from trainer.distribution import lost
from trainer.distribution.strategies import Distribution, set_up
from trainer.loop.evaluator import Evaluator
from trainer.modes.packages import check_packages
from trainer.placement.tables import devices_from_flags, place
from trainer.preparation.requests import Preparation
from trainer.results import evaluate_splits
from wukong_tf import files, runs
from wukong_tf.config import encodings
from wukong_tf.errors import ConfigError, DataError
from wukong_tf.names import output_names
from wukong_tf.rows.bad_values import Count
from wukong_tf.rows.scoring import probabilities
from wukong_tf.scaling import cost


def _distribution(values: flags.FlagValues) -> Distribution:
    """Where to compute; asked for before TensorFlow computes anything."""
    if not os.path.isdir(values.run_dir):
        raise ConfigError(f"--run_dir={values.run_dir}: there is no such run.")
    training = runs.read_config(values.run_dir)["training"]
    distribution = set_up(
        values, seed=training["seed"], deterministic=values.deterministic
    )
    only_chief_logs(distribution.workers.is_chief)
    return distribution


def _evaluator(
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


def run_evaluation(values: flags.FlagValues):
    """`--mode=eval`: prints exact metrics as JSON; --output keeps them.

    The model is the run's own, whatever sizes the flags give; the data are
    those that the flags name, and must have the run's features.
    """
    features = open_features(values)
    own = runs.read_features(values.run_dir)
    if run_config.columns_of(features) != run_config.columns_of(own):
        theirs, ours = map(encodings.name_of_spec, (features, own))
        raise ConfigError(
            f"the feature spec of the data (preparation {theirs}) is not that "
            f"of --run_dir={values.run_dir} (preparation {ours}); a run can "
            "be evaluated only on its features."
        )
    splits = open_sources(values, features)
    splits.pop("train", None)
    if not splits:
        raise ConfigError("--mode=eval needs valid or test rows.")
    evaluator = _evaluator(values, _distribution(values))
    with lost.named(evaluator.workers):
        results, _ = evaluate_splits(evaluator, splits)
    if not evaluator.workers.is_chief:
        return
    if found := preflight.bad_values(splits):
        results["bad_values"] = found
    print(json.dumps(results, indent=2))
    if values.output:
        with _written(values.output) as beside:
            files.write_json(beside, results)


def run_prediction(values: flags.FlagValues):
    """`--mode=predict`: scores files, row by row, into one Parquet file."""
    distribution = _distribution(values)
    spec = runs.read_features(values.run_dir)
    preparation = Preparation.read(values.run_dir)
    bad = bad_values(values)
    folder = _folder(values.output)
    with tempfile.TemporaryDirectory(prefix=".predict-", dir=folder) as scratch:
        found: list[FileSource] = []
        for number, path in enumerate(expand(values.predict_files)):
            own = os.path.join(scratch, str(number))
            os.mkdir(own)
            file = open_to_score(path, spec, preparation, own, bad=bad)
            if file.source is not None:
                found.append(file.source)
        evaluator = _evaluator(values, distribution)
        with lost.named(evaluator.workers):
            if evaluator.workers.is_chief:
                _write_scores(values, spec, found, evaluator)
            else:
                for source in found:
                    for _ in evaluator.score(source):
                        pass  # The chief writes what all of them score.
    if isinstance(bad, Count):
        for name, count in bad.counts.items():
            log(
                f"column {name!r}: {count:,} bad values were read as missing; "
                f"the first: {bad.first[name]}"
            )


def _write_scores(values, spec, found, evaluator):
    """Scores sources into --output."""
    tasks = [task.name for task in spec.tasks]
    names = output_names(tasks, spec.feature_names)
    schema = pa.schema(
        [(name, pa.float32()) for pair in names.values() for name in pair]
    )
    rows = 0
    with (
        _written(values.output) as beside,
        pq.ParquetWriter(beside, schema) as writer,
    ):
        for source in found:
            for logits in evaluator.score(source):
                columns = {}
                for task, logit in logits.items():
                    probability, name = names[task]
                    columns[probability] = probabilities(logit)
                    columns[name] = logit
                writer.write_table(pa.table(columns, schema))
                rows += len(logit)
    log(f"wrote {rows:,} scores to {values.output}")


def _folder(output: str) -> str:
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
def _written(output: str) -> Iterator[str]:
    """A path beside --output, which becomes it once the block has ended."""
    _folder(output)
    try:
        with files.atomic_path(output) as temporary:
            yield temporary
    except OSError as error:
        raise DataError(
            f"--output={output} cannot be written: {error}."
        ) from error
