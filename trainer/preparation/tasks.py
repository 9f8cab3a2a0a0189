"""The tasks of a preparation: each a function of one shard, table or file.

A task writes its result to a temporary file of the job's directory, renames
it, and does nothing if the result exists. So tasks may run in any order, in
any processes that share the directory, and again after an interruption.
"""

import contextlib
import functools
import hashlib
import json
import os
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from trainer.preparation import counting, encoding
from trainer.preparation.job import (
    Job,
    encodings_of,
    splitter_of,
    vectors,
    vocabularies,
)
from trainer.preparation.labels import read_labels
from trainer.preparation.splitting import SPLITS
from wukong_tf import files
from wukong_tf.arrow.errors import UnsupportedType
from wukong_tf.arrow.plain import plain_array
from wukong_tf.config import encodings
from wukong_tf.config.features import LARGEST_NUMBER, NUMBER_RANGE
from wukong_tf.errors import DataError

ROW_GROUP_ROWS = 65_536


def _atomic(path):
    return files.atomic_path(path, f"{files.UNFINISHED}-{os.getpid()}")


def _task(kind: str, ending: str) -> Callable[[Callable], Callable]:
    """Makes a task of a function that writes one result of a job.

    The function takes the path to write to, the job, and the number or name
    of a shard, table or file, which names the result.
    """

    def decorate(write):
        @functools.wraps(write)
        def run(job: Job, name: int | str, *arguments):
            path = job.path(kind, name, ending)
            if not os.path.exists(path):
                with _atomic(path) as temporary:
                    write(temporary, job, name, *arguments)

        return run

    return decorate


@_task("files", "json")
def checksum(path: str, job: Job, number: int):
    """Computes MD5 and size in bytes of an input file."""
    source = job.files[number].path
    with open(source, "rb") as content:
        md5 = hashlib.file_digest(content, "md5").hexdigest()
    _write_json(path, {"md5": md5, "bytes": os.path.getsize(source)})


def _write_json(path, content):
    with open(path, "w", encoding="utf-8") as file:
        json.dump(content, file)


@_task("counts", "parquet")
def count(path: str, job: Job, number: int):
    """Counts the rows of a shard."""
    shard = job.shards[number]
    # If rows are divided, values are counted later, once splits are known.
    learn = job.may_train(shard) and not job.divides
    counts = counting.count(shard, job.read(shard), job.recipe, learn=learn)
    counting.write(counts, path)


@_task("learned", "parquet")
def learn(path: str, job: Job, number: int):
    """Counts only the train rows of a shard, if rows are divided."""
    shard = job.shards[number]
    splitter = splitter_of(job)

    def train_rows():
        seen = (0, 0)
        for table in job.read(shard):
            labels = read_labels(shard, table, job.recipe)
            mine = splitter.assign(number, labels, seen) == 0
            seen = encoding.with_labels(seen, labels)
            yield _plain(table).filter(pa.array(mine))

    rows = train_rows() if job.may_train(shard) else iter(())
    counts = counting.count(shard, rows, job.recipe, learn=True)
    counting.write(counts, path)


def _plain(table):
    """Casts a table to types that Arrow can filter, unlike views."""
    columns = {}
    for name in table.column_names:
        columns[name] = table[name]
        # Other types raise an error that names the file when they are read.
        with contextlib.suppress(UnsupportedType):
            columns[name] = plain_array(table[name])
    return pa.table(columns)


@_task("vocabulary", "parquet")
def make_vocabulary(path: str, job: Job, table: str):
    """Writes the values of a table that get ids, from all shards' counts."""
    total: pa.Table | None = None
    for number in range(len(job.shards)):
        part = counting.read(
            job.path(job.learned, number, "parquet"), table
        ).values.get(table)
        if part is not None:
            total = part if total is None else counting.add_values(total, part)
    if total is None:
        total = pa.table(
            {"value": pa.array([], pa.string()), "count": pa.array([], "i8")}
        )
    columns = job.recipe.columns_of("categorical")
    (least,) = {c.min_count for c in columns if c.table_name == table}
    words = counting.vocabulary(
        total, job.min_count if least is None else least, job.max_vocabulary
    )
    known = dict(job.extended).get(table)
    if known is not None:
        before = pa.array(known, pa.string())
        added = words.filter(pc.invert(pc.is_in(words, value_set=before)))
        if job.max_vocabulary is not None:
            # Earlier ids are always kept.
            added = added.slice(0, max(0, job.max_vocabulary - len(before)))
        words = pa.concat_arrays([before, added])
    pq.write_table(pa.table({"value": words}), path)


@_task("vocabulary", "parquet")
def keep_vocabulary(path: str, job: Job, table: str, words: Sequence[str]):
    """Writes an earlier vocabulary of a table unchanged."""
    pq.write_table(pa.table({"value": pa.array(words, pa.string())}), path)


@_task("vectors", "npy")
def read_vectors(path: str, job: Job, name: str):
    """Converts the vectors of a side file to files that workers can mmap."""
    import h5py

    (column,) = [c for c in job.recipe.columns if c.name == name]
    source = job.vectors[name]
    try:
        with h5py.File(source) as file:
            keys = np.asarray(file["key"]).astype(str)
            rows = np.asarray(file["value"], np.float32)
    except (OSError, KeyError, ValueError) as error:
        raise DataError(
            f"{source}: must be an HDF5 file with data sets key and value: "
            f"{error}."
        ) from error
    if rows.shape != (len(keys), column.size):
        raise DataError(
            f"{source}: value must have shape {(len(keys), column.size)}; it "
            f"has {rows.shape}."
        )
    good = (np.abs(rows) <= LARGEST_NUMBER).all(axis=1)
    if not good.all():
        raise DataError(
            f"{source}: vector {int(np.argmin(good))} (from 0) must be of "
            f"numbers {NUMBER_RANGE}."
        )
    with _atomic(job.path("vectors", name, "parquet")) as temporary:
        pq.write_table(pa.table({"key": keys}), temporary)
    with open(path, "wb") as out:
        np.save(out, rows)


@_task("done", "json")
def encode(path: str, job: Job, number: int):
    """Writes a shard's encoded rows as Parquet, one file per split."""
    shard = job.shards[number]
    tallies: encoding.Tallies = {}
    encoded = encoding.encode(
        shard,
        job.read(shard),
        job.recipe,
        vocabularies(job),
        splitter_of(job),
        oov_buckets=job.oov_buckets,
        vectors=vectors(job),
        optional_labels=job.fixed is not None,
        tallies=tallies,
    )
    metadata = encodings.metadata(encodings_of(job))
    rows = dict.fromkeys(SPLITS, 0)
    with contextlib.ExitStack() as stack:
        writers: dict[str, pq.ParquetWriter] = {}
        for split, table in encoded:
            if split not in writers:
                output = job.path("output", f"{split}-{number:05d}", "parquet")
                temporary = stack.enter_context(_atomic(output))
                schema = table.schema.with_metadata(metadata)
                writers[split] = stack.enter_context(
                    pq.ParquetWriter(temporary, schema)
                )
            writers[split].write_table(table, ROW_GROUP_ROWS)
            rows[split] += table.num_rows
    _write_json(path, {"rows": rows, "tallies": tallies})
