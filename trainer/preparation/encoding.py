"""Encodes rows into the ids, numbers and labels that the trainer reads."""

import collections
from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trainer.preparation import values
from trainer.preparation.columns import Column, Recipe
from trainer.preparation.labels import MISSING, read_labels
from trainer.preparation.shards import Shard
from trainer.preparation.specs import Vocabularies, group_column, schema_of
from trainer.preparation.splitting import SPLITS, Splitter
from wukong_tf.arrow import texts as arrow_texts
from wukong_tf.arrow.groups import groups
from wukong_tf.config.categorical_feature import MISSING_ID, OOV_ID

Tallies = dict[str, collections.Counter[str]]


def encode(
    shard: Shard,
    tables: Iterator[pa.Table],
    recipe: Recipe,
    vocabularies: Vocabularies,
    splitter: Splitter,
    *,
    oov_buckets: int = 1,
    vectors: Mapping[str, tuple[pa.Array, np.ndarray]] | None = None,
    optional_labels: bool = False,
    tallies: Tallies | None = None,
) -> Iterator[tuple[str, pa.Table]]:
    """Yields (split, table) of the encoded rows of a shard.

    Args:
        shard: the shard.
        tables: its rows.
        recipe: the recipe.
        vocabularies: vocabularies by table.
        splitter: divides the rows.
        oov_buckets: ids for values out of vocabulary. Defaults to 1.
        vectors: keys and vectors [K, size] by vector column with a `key`.
            Defaults to None, none.
        optional_labels: whether labels may be missing: null in a row, or no
            column in a file and the output. Defaults to False.
        tallies: counts of what is cut or unknown. Defaults to None.
    """
    tallies = {} if tallies is None else tallies
    seen = (0, 0)
    for table in tables:
        schema = schema_of(recipe, recipe.label in table.column_names)
        labels = read_labels(shard, table, recipe, optional=optional_labels)
        columns: dict[str, pa.Array] = {
            recipe.label_name: pa.array(labels, mask=labels == MISSING)
        }
        for column in recipe.columns:
            if column.kind == "numeric":
                columns[column.name] = _numbers(shard, table, column)
            elif column.kind == "vector":
                columns[column.name] = _vectors(shard, table, column, vectors)
            else:
                words = vocabularies.get(column.table_name)
                texts = values.texts(shard, table, column)
                texts, cut = values.cut(texts, column)
                encoded_ids = ids(column, texts, words, oov_buckets)
                columns[column.name] = encoded_ids
                tallies.setdefault(column.name, collections.Counter()).update(
                    _tally(encoded_ids, words, oov_buckets, cut)
                )
                if column.name == recipe.group:
                    columns[group_column(recipe) or ""] = groups(texts)
        encoded = pa.table(columns).select(schema.names).cast(schema)
        splits = splitter.assign(shard.number, labels, seen)
        seen = with_labels(seen, labels)
        for place, split in enumerate(SPLITS):
            mine = splits == place
            if mine.all():
                yield split, encoded
            elif mine.any():
                yield split, encoded.filter(pa.array(mine))


def _numbers(shard, table, column):
    numbers = values.numbers(shard, table, column)
    return pa.array(numbers.astype(np.float32), from_pandas=True)


def _tally(ids, words, oov_buckets, cut):
    """Returns the numbers of cut bags, values and values out of vocabulary."""
    flat = ids.flatten() if pa.types.is_list(ids.type) else ids
    flat = flat.to_numpy()
    unknown = (flat >= OOV_ID) & (flat < OOV_ID + oov_buckets)
    return {
        "bags_cut": cut,
        "values": int((flat >= OOV_ID).sum()),
        "out_of_vocabulary": 0 if words is None else int(unknown.sum()),
    }


def with_labels(seen: tuple[int, int], labels: np.ndarray) -> tuple[int, int]:
    """Returns `seen`, rows of label 0 and of label 1, plus `labels`."""
    ones = int(labels.sum())
    return seen[0] + len(labels) - ones, seen[1] + ones


def ids(
    column: Column,
    texts: pa.Array,
    words: pa.Array | None,
    oov_buckets: int,
) -> pa.Array:
    """Returns the ids of a categorical column, int32 [N] or lists of them.

    Args:
        column: the column.
        texts: the result of `values.texts`.
        words: the vocabulary; None for a hashed column.
        oov_buckets: number of ids for values out of vocabulary.
    """
    if column.is_bag:
        flat = _value_ids(texts.flatten(), words, column.buckets, oov_buckets)
        return pa.ListArray.from_arrays(texts.offsets, flat)
    flat = _value_ids(texts, words, column.buckets, oov_buckets)
    return pc.if_else(
        pc.equal(texts, ""), pa.scalar(MISSING_ID, pa.int32()), flat
    )


def _value_ids(texts, words, buckets, oov_buckets):
    """Returns the ids, int32, of values that are not missing."""
    if words is None:
        return _hashed(texts, buckets)
    place = pc.index_in(texts, value_set=words)
    ids = pc.add(place, pa.scalar(OOV_ID + oov_buckets, pa.int32()))
    if oov_buckets == 1 or not ids.null_count:
        return pc.fill_null(ids, pa.scalar(OOV_ID, pa.int32()))
    return pc.if_else(pc.is_valid(ids), ids, _hashed(texts, oov_buckets))


def _hashed(texts, buckets):
    """Hashes values as the trainer and the exported graph do."""
    import tensorflow as tf

    encoded = texts.dictionary_encode()
    words = encoded.dictionary.to_pylist()
    if not words:
        return pa.array([], pa.int32())
    ids = OOV_ID + tf.strings.to_hash_bucket_fast(words, buckets).numpy()
    return pa.array(ids.astype(np.int32)).take(encoded.indices)


def _vectors(shard, table, column, vectors):
    if column.key is None:
        rows = values.vectors(shard, table, column)
    else:
        keys, known = (vectors or {})[column.name]
        row_keys = arrow_texts.texts(table[column.key])
        place = pc.index_in(row_keys, value_set=keys)
        # Keys without a vector get zeros.
        place = pc.fill_null(place, len(known)).to_numpy()
        rows = np.concatenate([known, np.zeros((1, column.size), np.float32)])
        rows = rows[place]
    flat = pa.array(rows.reshape(-1).astype(np.float32))
    return pa.FixedSizeListArray.from_arrays(flat, column.size)
