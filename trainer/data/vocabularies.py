"""Raw values to ids: count a batch, merge counts, encode a batch.

Each function is pure, so the counting and the encoding of a large data set
can be split over its parts in any way.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wukong_tf.categorical_feature import MISSING_ID, OOV_ID
from wukong_tf.config import CategoricalFeature

RESERVED_IDS = OOV_ID + 1


def count(batch: pa.RecordBatch, names: Iterable[str]) -> dict[str, Counter]:
    """How often each value that is not empty stands in each column."""
    counts = {}
    for name in names:
        found = pc.value_counts(batch.column(name))
        counts[name] = Counter(
            {
                value: number
                for value, number in zip(
                    found.field("values").to_pylist(),
                    found.field("counts").to_pylist(),
                    strict=True,
                )
                if value
            }
        )
    return counts


def merge(
    one: Mapping[str, Counter], other: Mapping[str, Counter]
) -> dict[str, Counter]:
    """The counts of two parts together."""
    return {
        name: one.get(name, Counter()) + other.get(name, Counter())
        for name in {**one, **other}
    }


def feature(
    name: str, counts: Mapping[str, int], min_count: int = 1
) -> CategoricalFeature:
    """The feature whose vocabulary is what was counted.

    Args:
        name: of the column.
        counts: how often each value was seen.
        min_count: values seen less often are out of vocabulary. Defaults
            to 1, all are in.

    Returns:
        A feature with ids 0 for padding, 1 for missing, 2 for out of
        vocabulary, and then the values, the most frequent first and the
        smaller first among equals.
    """
    values = sorted(
        (value for value, number in counts.items() if number >= min_count),
        key=lambda value: (-counts[value], len(value), value),
    )
    return CategoricalFeature(
        name,
        len(values) + RESERVED_IDS,
        oov_id=OOV_ID,
        vocabulary=tuple(values),
    )


def encode(feature: CategoricalFeature, values: pa.Array) -> np.ndarray:
    """Ids, int32 [N], of raw values; those without one are missing."""
    vocabulary = pa.array(feature.vocabulary or (), pa.string())
    place = pc.index_in(values, value_set=vocabulary)
    ids = pc.add(pc.cast(place, pa.int64()), RESERVED_IDS)
    ids = pc.fill_null(ids, OOV_ID).to_numpy(zero_copy_only=False)
    empty = pc.fill_null(pc.equal(values, ""), True)
    empty = empty.to_numpy(zero_copy_only=False)
    return np.where(empty, MISSING_ID, ids).astype(np.int32)
