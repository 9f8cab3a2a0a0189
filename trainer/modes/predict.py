"""`--mode=predict`: scores files with a run's checkpoint."""

import contextlib
import os
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from trainer.data.file_source import FileSource
from trainer.data.paths import expand
from trainer.data.scored_files import open_to_score
from trainer.data.splits import bad_values
from trainer.distribution import lost
from trainer.modes.scoring import (
    make_evaluator,
    make_folder,
    open_distribution,
    written,
)
from trainer.preparation.recorded import Preparation
from trainer.process.console import log
from trainer.settings import Settings
from wukong_tf import files, runs
from wukong_tf.errors import ConfigError, DataError
from wukong_tf.names import output_names
from wukong_tf.rows.bad_values import Count
from wukong_tf.rows.scoring import probabilities


def run_prediction(settings: Settings):
    """Scores files, row by row, into one Parquet file."""
    distribution = open_distribution(settings)
    run_dir, output = settings.run.directory, str(settings.run.output)
    spec = runs.read_features(run_dir)
    preparation = Preparation.read(run_dir)
    bad = bad_values(settings.data)
    paths = expand(settings.data.predict_files or ())
    if os.path.realpath(output) in map(os.path.realpath, paths):
        raise ConfigError(
            f"--output={output}: is one of --predict_files, which the scores "
            "would replace."
        )
    with scratch_folder(output, distribution.workers.index) as scratch:
        sources: list[FileSource] = []
        for number, path in enumerate(paths):
            own = os.path.join(scratch, str(number))
            os.mkdir(own)
            file = open_to_score(path, spec, preparation, own, bad=bad)
            for line in file.notes:
                log(f"warning: {line}")
            if file.source is not None:
                sources.append(file.source)
        evaluator = make_evaluator(settings, distribution)
        with lost.named(evaluator.workers):
            if evaluator.workers.is_chief:
                _write_scores(output, spec, sources, evaluator)
            else:
                for source in sources:
                    for _ in evaluator.score(source):
                        pass  # The chief writes the scores of all workers.
    if isinstance(bad, Count):
        for name, count in bad.counts.items():
            log(
                f"column {name!r}: {count:,} bad values were read as missing; "
                f"the first: {bad.first[name]}"
            )


@contextlib.contextmanager
def scratch_folder(output: str, worker: int) -> Iterator[str]:
    """Yields an empty directory next to --output, and removes it at the end.

    A directory left by a killed process is reused by the same command.

    Args:
        output: the file that is being written.
        worker: index of this worker.

    Raises:
        DataError: another process is writing the same file.
    """
    name = f".{os.path.basename(output)}.rows-{worker}"
    path = os.path.join(make_folder(output), name)
    os.makedirs(path, exist_ok=True)
    try:
        with files.locked(os.path.join(path, "lock")):
            rows = os.path.join(path, "rows")
            files.remove(rows)
            os.mkdir(rows)
            try:
                yield rows
            finally:
                files.remove(path)
    except BlockingIOError as error:
        raise DataError(
            f"--output={output} is being written by another process."
        ) from error


def _write_scores(output, spec, sources, evaluator):
    """Writes the scores of the sources to --output."""
    tasks = [task.name for task in spec.tasks]
    names = output_names(tasks, spec.feature_names)
    schema = pa.schema(
        [(name, pa.float32()) for pair in names.values() for name in pair]
    )
    rows = 0
    with (
        written(output) as temporary,
        pq.ParquetWriter(temporary, schema) as writer,
    ):
        for source in sources:
            for logits in evaluator.score(source):
                columns = {}
                for task, logit in logits.items():
                    probability, name = names[task]
                    columns[probability] = probabilities(logit)
                    columns[name] = logit
                writer.write_table(pa.table(columns, schema))
                rows += len(logit)
    log(f"wrote {rows:,} scores to {output}")
