"""The tasks of a preparation: each a function of one shard, table or file.

A task writes its result to a temporary file of the job's directory, renames
it, and does nothing if the result exists. So tasks may run in any order, in
any processes that share the directory, and again after an interruption.
"""

import collections
import contextlib
import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from trainer.preparation import counting, encoding, shards
from trainer.preparation.columns import Recipe
from trainer.preparation.labels import read_labels
from trainer.preparation.shards import InputFile, Shard
from trainer.preparation.splitting import SPLITS, Part, Splitter
from wukong_tf.arrow.errors import UnsupportedType
from wukong_tf.arrow.plain import plain_array
from wukong_tf.config import FeatureSpec, encodings
from wukong_tf.config.features import LARGEST_NUMBER, NUMBER_RANGE
from wukong_tf.errors import DataError
from wukong_tf.names import file_name

ROW_GROUP_ROWS = 65_536


@dataclasses.dataclass(frozen=True)
class Job:
    """A preparation: its inputs and parameters.

    Args:
        folder: directory of results.
        recipe: the recipe.
        rule: rule of `Splitter` that divides rows.
        files: files of the data set.
        shards: shards of all files.
        min_count: least count of values with their own id, unless a column
            has another.
        max_vocabulary: maximum number of values with their own id in a
            table; None for no limit.
        oov_buckets: number of ids for values out of vocabulary.
        vectors: file of the vectors by vector column.
        extended: values that keep their earlier ids by table, in the order
            of the ids; new values follow. Defaults to (), none.
        fixed: digest of the earlier preparation whose vocabularies and
            statistics are reused: nothing is counted, no row is held out,
            and labels may be missing. Defaults to None.
    """

    folder: str
    recipe: Recipe
    rule: str
    files: tuple[InputFile, ...]
    shards: tuple[Shard, ...]
    min_count: int
    max_vocabulary: int | None
    oov_buckets: int
    vectors: dict[str, str]
    extended: tuple[tuple[str, tuple[str, ...]], ...] = ()
    fixed: str | None = None

    def path(self, kind: str, name: str | int, ending: str) -> str:
        """Returns the path of a result."""
        if isinstance(name, int):
            name = f"{name:05d}"
        return os.path.join(self.folder, kind, f"{file_name(name)}.{ending}")

    @property
    def divides(self) -> bool:
        """Whether the rows of a shard may belong to several splits."""
        return self.rule in ("folds", "every")

    @property
    def tables(self) -> list[str]:
        """Tables that have a vocabulary."""
        return list(
            dict.fromkeys(
                column.table_name
                for column in self.recipe.of_kind("categorical")
                if not column.buckets
            )
        )

    def read(self, shard: Shard) -> Iterator[pa.Table]:
        """Reads the rows of a shard; labels may be missing if `fixed`."""
        columns = list(self.recipe.sources)
        if self.fixed and self.recipe.label not in shards.names_of(shard):
            columns.remove(self.recipe.label)
        return shards.read(shard, columns)


@contextlib.contextmanager
def _beside(path: str) -> Iterator[str]:
    """Yields a temporary path that is renamed to `path` at the end."""
    beside = f"{path}.unfinished-{os.getpid()}"
    try:
        yield beside
        os.replace(beside, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.remove(beside)


def checksum(job: Job, number: int):
    """Computes MD5 and size in bytes of an input file."""
    path = job.path("files", number, "json")
    if os.path.exists(path):
        return
    file = job.files[number]
    with open(file.path, "rb") as content:
        found = hashlib.file_digest(content, "md5").hexdigest()
    with _beside(path) as beside, open(beside, "w", encoding="utf-8") as out:
        json.dump({"md5": found, "bytes": os.path.getsize(file.path)}, out)


def count(job: Job, number: int):
    """Counts the rows of a shard."""
    path = job.path("counts", number, "parquet")
    if os.path.exists(path):
        return
    shard = job.shards[number]
    # If rows are divided, values are counted later, once splits are known.
    learn = _is_train(job, shard) and not job.divides
    found = counting.count(shard, job.read(shard), job.recipe, learn=learn)
    with _beside(path) as beside:
        counting.write(found, beside)


def learn(job: Job, number: int):
    """Counts only the train rows of a shard, if rows are divided."""
    path = job.path("learned", number, "parquet")
    if os.path.exists(path):
        return
    shard = job.shards[number]
    splitter = splitter_of(job)

    def train_rows():
        seen = (0, 0)
        for table in job.read(shard):
            labels = read_labels(shard, table, job.recipe)
            mine = splitter.of_shard(number, labels, seen) == 0
            seen = encoding.with_labels(seen, labels)
            yield _plain(table).filter(pa.array(mine))

    rows = train_rows() if _is_train(job, shard) else iter(())
    found = counting.count(shard, rows, job.recipe, learn=True)
    with _beside(path) as beside:
        counting.write(found, beside)


def _plain(table):
    """Casts a table to types that Arrow can filter, unlike views."""
    columns = {}
    for name in table.column_names:
        columns[name] = table[name]
        # Other types raise an error that names the file when they are read.
        with contextlib.suppress(UnsupportedType):
            columns[name] = plain_array(table[name])
    return pa.table(columns)


def _is_train(job, shard):
    """Returns whether a shard may hold train rows."""
    if job.rule == "last" and shard.file == len(job.files) - 1:
        return False
    return shard.split in ("train", "all")


def _learned(job):
    return "learned" if job.divides else "counts"


def make_vocabulary(job: Job, table: str):
    """Writes the values of a table that get ids, from all shards' counts."""
    path = job.path("vocabulary", table, "parquet")
    if os.path.exists(path):
        return
    total: pa.Table | None = None
    for number in range(len(job.shards)):
        part = counting.read(
            job.path(_learned(job), number, "parquet"), table
        ).values.get(table)
        if part is not None:
            total = part if total is None else counting.add_values(total, part)
    if total is None:
        total = pa.table(
            {"value": pa.array([], pa.string()), "count": pa.array([], "i8")}
        )
    columns = job.recipe.of_kind("categorical")
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
    with _beside(path) as beside:
        pq.write_table(pa.table({"value": words}), beside)


def keep_vocabulary(job: Job, table: str, words: Sequence[str]):
    """Writes an earlier vocabulary of a table unchanged."""
    path = job.path("vocabulary", table, "parquet")
    if os.path.exists(path):
        return
    with _beside(path) as beside:
        pq.write_table(
            pa.table({"value": pa.array(words, pa.string())}), beside
        )


def read_vectors(job: Job, name: str):
    """Converts the vectors of a side file to files that workers can mmap."""
    path = job.path("vectors", name, "npy")
    if os.path.exists(path):
        return
    import h5py

    (column,) = [c for c in job.recipe.columns if c.name == name]
    source = job.vectors[name]
    try:
        with h5py.File(source) as file:
            keys = np.asarray(file["key"]).astype(str)
            found = np.asarray(file["value"], np.float32)
    except (OSError, KeyError, ValueError) as error:
        raise DataError(
            f"{source}: must be an HDF5 file with data sets key and value: "
            f"{error}."
        ) from error
    if found.shape != (len(keys), column.size):
        raise DataError(
            f"{source}: value must have shape {(len(keys), column.size)}; it "
            f"has {found.shape}."
        )
    good = (np.abs(found) <= LARGEST_NUMBER).all(axis=1)
    if not good.all():
        raise DataError(
            f"{source}: vector {int(np.argmin(good))} (from 0) must be of "
            f"numbers {NUMBER_RANGE}."
        )
    with _beside(job.path("vectors", name, "parquet")) as beside:
        pq.write_table(pa.table({"key": keys}), beside)
    with _beside(path) as beside, open(beside, "wb") as out:
        np.save(out, found)


def encode(job: Job, number: int):
    """Writes a shard's encoded rows as Parquet, one file per split."""
    path = job.path("done", number, "json")
    if os.path.exists(path):
        return
    shard = job.shards[number]
    tallies: encoding.Tallies = {}
    encoded = encoding.encode(
        shard,
        job.read(shard),
        job.recipe,
        _vocabularies(job),
        splitter_of(job),
        oov_buckets=job.oov_buckets,
        vectors=_vectors(job),
        optional_labels=job.fixed is not None,
        tallies=tallies,
    )
    metadata = encodings.metadata(encodings_of(job))
    rows = dict.fromkeys(SPLITS, 0)
    with contextlib.ExitStack() as stack:
        writers: dict[str, pq.ParquetWriter] = {}
        for split, table in encoded:
            if split not in writers:
                beside = stack.enter_context(
                    _beside(
                        job.path("output", f"{split}-{number:05d}", "parquet")
                    )
                )
                schema = table.schema.with_metadata(metadata)
                writers[split] = stack.enter_context(
                    pq.ParquetWriter(beside, schema)
                )
            writers[split].write_table(table, ROW_GROUP_ROWS)
            rows[split] += table.num_rows
    with _beside(path) as beside, open(beside, "w", encoding="utf-8") as out:
        json.dump({"rows": rows, "tallies": tallies}, out)


@functools.lru_cache(maxsize=1)
def _vocabularies_in(folder, tables):
    found = {}
    for table, path in tables:
        words = pq.read_table(path, memory_map=True)["value"]
        found[table] = words.combine_chunks()
    return found


def _vocabularies(job):
    """Returns the vocabularies, which each process reads once."""
    return _vocabularies_in(job.folder, _paths(job))


def _paths(job):
    return tuple((t, job.path("vocabulary", t, "parquet")) for t in job.tables)


def encodings_of(job: Job) -> encodings.Encodings:
    """Returns the id encodings by column, as in the files' metadata."""
    of_tables = _encodings_in(job.folder, _paths(job), job.oov_buckets)
    return {
        column.name: of_tables.get(column.table_name)
        or encodings.of_buckets(column.buckets)
        for column in job.recipe.of_kind("categorical")
    }


@functools.lru_cache(maxsize=1)
def _encodings_in(folder, tables, oov_buckets):
    return {
        table: encodings.of_words(words.to_pylist(), oov_buckets)
        for table, words in _vocabularies_in(folder, tables).items()
    }


def _vectors(job):
    return {
        name: (
            pq.read_table(job.path("vectors", name, "parquet"))["key"]
            .combine_chunks()
            .cast(pa.string()),
            np.load(job.path("vectors", name, "npy"), mmap_mode="r"),
        )
        for name in job.vectors
    }


def splitter_of(job: Job) -> Splitter:
    """Returns the splitter of the rows, from the counts of all shards."""
    if job.fixed:
        parts = [Part(s.file, s.split, (0, 0)) for s in job.shards]
        return Splitter(job.rule, parts)
    return _splitter(job.folder, job.rule, job.shards)


@functools.lru_cache(maxsize=1)
def _splitter(folder, rule, all_shards):
    parts = []
    for shard in all_shards:
        path = os.path.join(folder, "counts", f"{shard.number:05d}.parquet")
        labels = counting.read(path).labels
        parts.append(Part(shard.file, shard.split, labels))
    return Splitter(rule, parts)


def learned_counts(job: Job) -> counting.Counts:
    """Returns counts of all train rows, without values."""
    found = counting.Counts()
    for shard in job.shards:
        if _is_train(job, shard):
            path = job.path(_learned(job), shard.number, "parquet")
            found = counting.merge(found, counting.read(path))
    return found


def make_spec(job: Job) -> FeatureSpec:
    """Returns the feature spec of the encoded rows."""
    return encoding.spec_of(
        job.recipe, learned_counts(job), _vocabularies(job), job.oov_buckets
    )


def tallies_of(job: Job) -> encoding.Tallies:
    """Returns the tallies of all shards by categorical column."""
    found: encoding.Tallies = {}
    for shard in job.shards:
        for name, tally in _done(job, shard)["tallies"].items():
            found.setdefault(name, collections.Counter()).update(tally)
    return found


def _done(job, shard):
    with open(job.path("done", shard.number, "json"), encoding="utf-8") as file:
        return json.load(file)


def results(job: Job) -> list[dict[str, Any]]:
    """Returns the output files with split, rows, bytes and SHA-256."""
    found = []
    for split in SPLITS:
        for shard in job.shards:
            rows = _done(job, shard)["rows"]
            if not rows[split]:
                continue
            name = f"{split}-{shard.number:05d}"
            path = job.path("output", name, "parquet")
            with open(path, "rb") as content:
                sha256 = hashlib.file_digest(content, "sha256").hexdigest()
            found.append(
                {
                    "file": os.path.basename(path),
                    "split": split,
                    "rows": rows[split],
                    "bytes": os.path.getsize(path),
                    "sha256": sha256,
                }
            )
    return found
