"""Turns a public data set into Parquet: `python -m trainer.prepare --help`.

Exit codes: 0 done; 1 a fault in the program; 2 the flags or the files break
a rule.
"""

import functools
import os
import shutil
import sys
import tempfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tqdm
from absl import app
from absl import flags as absl_flags

from trainer.data import frappe, vocabularies
from wukong_tf.config import FeatureSpec
from wukong_tf.errors import ConfigError, DataError, WukongError

EXIT_ERROR = 2
DATASETS = {"frappe": frappe}
ROW_GROUP_ROWS = 65_536


def define_flags(values: absl_flags.FlagValues):
    """Defines the flags; call it once, before they are parsed."""
    absl_flags.DEFINE_enum(
        "dataset",
        None,
        sorted(DATASETS),
        "The data set that --input holds. Needed.",
        flag_values=values,
    )
    absl_flags.DEFINE_string(
        "input",
        None,
        "Directory of the data set's own files, one for each split. Needed.",
        flag_values=values,
    )
    absl_flags.DEFINE_string(
        "output",
        None,
        "Directory to make: features.json, train.parquet, valid.parquet and "
        "test.parquet. Must not exist. Needed.",
        flag_values=values,
    )
    absl_flags.DEFINE_integer(
        "min_count",
        1,
        "Values seen in fewer train rows get the out-of-vocabulary id.",
        lower_bound=1,
        flag_values=values,
    )


def prepare(dataset, source: str, output: str, min_count: int) -> FeatureSpec:
    """Writes OUTPUT/features.json and a Parquet file for each split.

    Vocabularies are made of the train rows alone; what other splits hold
    beside is out of vocabulary, as it will be in serving.

    Args:
        dataset: the data set's module.
        source: directory of its files.
        output: directory to make.
        min_count: least number of train rows of a value with its own id.

    Raises:
        DataError: a file or a row breaks a rule, or nothing can be written;
            `output` is not there then.
    """
    files = dataset.find(source)
    if os.path.lexists(output):
        raise ConfigError(
            f"--output={output} exists; nothing is overwritten. Choose "
            "another, or remove it."
        )
    parent = os.path.dirname(os.path.abspath(output))
    beside = None
    try:
        os.makedirs(parent, exist_ok=True)
        beside = tempfile.mkdtemp(prefix=".unfinished-", dir=parent)
        os.chmod(beside, 0o777 & ~_umask())  # mkdtemp's is its owner's alone
        spec = _make_spec(dataset, files, min_count)
        path = os.path.join(beside, "features.json")
        with open(path, "w", encoding="utf-8") as file:
            file.write(spec.to_json())
        for each in files:
            path = os.path.join(beside, f"{each.split}.parquet")
            rows = _write_split(each, spec, path)
            print(f"{each.split}: {rows:,} rows, {_origin(each)}")
        os.rename(beside, output)
    except OSError as error:
        raise DataError(
            f"--output={output} cannot be written: {error}."
        ) from error
    finally:
        if beside:
            shutil.rmtree(beside, ignore_errors=True)
    return spec


def _make_spec(dataset, files, min_count):
    """The spec, with vocabularies of the train rows."""
    (train,) = [file for file in files if file.split == "train"]
    counts = functools.reduce(
        vocabularies.merge,
        (
            vocabularies.count(batch, dataset.FEATURES)
            for batch in _shown(train, "count")
        ),
    )
    return FeatureSpec(
        categorical=tuple(
            vocabularies.feature(name, counts[name], min_count)
            for name in dataset.FEATURES
        ),
        group=dataset.GROUP,
    )


def _write_split(file, spec, path):
    """Writes one split's Parquet file; returns its rows."""
    (task,) = spec.tasks
    schema = pa.schema(
        [(task.label, pa.int8())]
        + [(feature.name, pa.int32()) for feature in spec.categorical]
    )
    rows = 0
    with pq.ParquetWriter(path, schema) as writer:
        for batch in _shown(file, "encode"):
            columns: dict[str, pa.Array | np.ndarray] = {
                task.label: batch.column(task.label)
            }
            for feature in spec.categorical:
                columns[feature.name] = vocabularies.encode(
                    feature, batch.column(feature.name)
                )
            writer.write_batch(
                pa.record_batch(columns, schema), row_group_size=ROW_GROUP_ROWS
            )
            rows += batch.num_rows
    return rows


def _shown(file, what):
    """The file's batches, under a progress bar where a person watches."""
    with tqdm.tqdm(
        desc=f"{what} {file.split}",
        unit=" rows",
        disable=not sys.stderr.isatty(),
    ) as bar:
        for batch in file.batches():
            yield batch
            bar.update(batch.num_rows)


def _origin(file):
    published = file.published()
    if published is None:
        return f"from {file.path}"
    is_it = "is" if published else "is not"
    return f"from {file.path}, which {is_it} the published file by its MD5"


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def run(argv, values: absl_flags.FlagValues) -> int:
    """Prepares as the flags say; returns the exit code."""
    try:
        if len(argv) > 1:
            raise WukongError(f"unexpected arguments: {argv[1:]}.")
        for name in ("dataset", "input", "output"):
            if not values[name].value:
                raise ConfigError(f"--{name} is needed.")
        spec = prepare(
            DATASETS[values.dataset],
            values.input,
            values.output,
            values.min_count,
        )
    except WukongError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_ERROR
    ids = sum(feature.num_ids for feature in spec.categorical)
    print(f"wrote {values.output}: {len(spec.categorical)} features, {ids} ids")
    return 0


def main():
    """Entry point of `python -m trainer.prepare`."""
    define_flags(absl_flags.FLAGS)
    app.run(lambda argv: sys.exit(run(argv, absl_flags.FLAGS)))


if __name__ == "__main__":
    main()
