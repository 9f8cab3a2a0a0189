"""A preparation as a job: its inputs, parameters and results."""

import collections
import dataclasses
import functools
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trainer.preparation import counting, encoding, reading, shards, specs
from trainer.preparation.columns import Recipe
from trainer.preparation.shards import InputFile, Shard
from trainer.preparation.splitting import SPLITS, Part, Splitter
from wukong_tf import files
from wukong_tf.config import FeatureSpec, encodings, schema
from wukong_tf.names import file_name


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
                for column in self.recipe.columns_of("categorical")
                if not column.buckets
            )
        )

    def read(self, shard: Shard) -> Iterator[pa.Table]:
        """Reads the rows of a shard; labels may be missing if `fixed`."""
        columns = list(self.recipe.sources)
        if self.fixed and self.recipe.label not in shards.names_of(shard):
            columns.remove(self.recipe.label)
        return reading.read(shard, columns)

    def may_train(self, shard: Shard) -> bool:
        """Returns whether a shard may hold train rows."""
        if self.rule == "last" and shard.file == len(self.files) - 1:
            return False
        return shard.split in ("train", "all")

    @property
    def learned(self) -> str:
        """Kind of the results that count the train rows."""
        return "learned" if self.divides else "counts"


@functools.lru_cache(maxsize=1)
def _read_vocabularies(folder, tables):
    return {table: _read_words(path) for table, path in tables}


def _read_words(path):
    with counting.reading_result(path):
        table = pq.read_table(path, memory_map=True)
        return table["value"].combine_chunks()


def vocabularies(job: Job) -> dict[str, pa.Array]:
    """Returns the vocabularies by table, which each process reads once."""
    return _read_vocabularies(job.folder, _paths(job))


def _paths(job):
    return tuple((t, job.path("vocabulary", t, "parquet")) for t in job.tables)


def encodings_of(job: Job) -> encodings.Encodings:
    """Returns the id encodings by column, as in the files' metadata."""
    by_table = _table_encodings(job.folder, _paths(job), job.oov_buckets)
    return {
        column.name: by_table.get(column.table_name)
        or encodings.from_buckets(column.buckets)
        for column in job.recipe.columns_of("categorical")
    }


@functools.lru_cache(maxsize=1)
def _table_encodings(folder, tables, oov_buckets):
    return {
        table: encodings.from_words(words.to_pylist(), oov_buckets)
        for table, words in _read_vocabularies(folder, tables).items()
    }


def vectors(job: Job) -> dict[str, tuple[pa.Array, np.ndarray]]:
    """Returns the keys and the vectors [K, size] of side files by column."""
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
    total = counting.Counts()
    for shard in job.shards:
        if job.may_train(shard):
            path = job.path(job.learned, shard.number, "parquet")
            total = counting.merge(total, counting.read(path))
    return total


def make_spec(job: Job) -> FeatureSpec:
    """Returns the feature spec of the encoded rows."""
    return specs.spec_of(
        job.recipe, learned_counts(job), vocabularies(job), job.oov_buckets
    )


def tallies_of(job: Job) -> encoding.Tallies:
    """Returns the tallies of all shards by categorical column."""
    total: encoding.Tallies = {}
    for shard in job.shards:
        for name, tally in _done(job, shard)["tallies"].items():
            total.setdefault(name, collections.Counter()).update(tally)
    return total


def _done(job, shard):
    path = job.path("done", shard.number, "json")
    with counting.reading_result(path):
        content = schema.read_json(path)
        return {key: dict(content[key]) for key in ("rows", "tallies")}


def results(job: Job) -> list[dict[str, Any]]:
    """Returns the output files with split, rows, bytes and SHA-256."""
    outputs = []
    for split in SPLITS:
        for shard in job.shards:
            rows = _done(job, shard)["rows"][split]
            if not rows:
                continue
            path = job.path("output", f"{split}-{shard.number:05d}", "parquet")
            outputs.append(
                {
                    "file": os.path.basename(path),
                    "split": split,
                    "rows": rows,
                    "bytes": os.path.getsize(path),
                    "sha256": files.sha256(path),
                }
            )
    return outputs
