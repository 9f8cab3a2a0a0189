"""Id encodings in the metadata of files, checked against a model's spec.

The schema metadata of a prepared Parquet file holds, by column, the number of
out-of-vocabulary ids, the number of vocabulary words and their SHA-256, or the
number of buckets that all values were hashed to.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from wukong_tf.config.categorical_feature import OOV_ID, CategoricalFeature
from wukong_tf.config.feature_spec import FeatureSpec
from wukong_tf.errors import DataError

METADATA = b"wukong_tf.encodings"

Encodings = dict[str, dict[str, Any]]


def from_words(words: Iterable[str], oov_buckets: int) -> dict[str, Any]:
    """Returns the encoding of a vocabulary.

    Args:
        words: the vocabulary, in the order of its ids.
        oov_buckets: number of ids for out-of-vocabulary values.
    """
    digest, count = hashlib.sha256(), 0
    for word in words:
        digest.update(f"{word}\n".encode())
        count += 1
    return {
        "oov_buckets": oov_buckets,
        "words": count,
        "sha256": digest.hexdigest(),
    }


def from_buckets(buckets: int) -> dict[str, Any]:
    """Returns the encoding of a hash into `buckets` ids."""
    return {"buckets": buckets}


def from_spec(spec: FeatureSpec) -> Encodings:
    """Returns the encodings of the features of `spec` that have one.

    Features that share a table share its encoding. Plain ids and buckets
    between boundaries have none.
    """
    by_table: Encodings = {}
    encodings: Encodings = {}
    for feature in spec.categorical:
        table = feature.table_name
        if table not in by_table:
            words = spec.vocabulary(table)
            if words is not None:
                by_table[table] = from_words(words, feature.oov_buckets)
        if table in by_table:
            encodings[feature.name] = by_table[table]
        elif feature.raw and feature.boundaries is None:
            encodings[feature.name] = from_buckets(feature.num_ids - OOV_ID)
    return encodings


def short_name(encodings: Mapping[str, Any]) -> str:
    """Returns the short name of a preparation: 12 digits of a SHA-256."""
    text = json.dumps(dict(encodings), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def name_from_spec(spec: FeatureSpec) -> str:
    """Returns the short name of a spec's preparation."""
    return short_name(from_spec(spec))


def metadata(encodings: Encodings) -> dict[bytes, bytes]:
    """Returns the file metadata that records `encodings`."""
    return {METADATA: json.dumps(encodings, sort_keys=True).encode()}


def read(metadata: Mapping[bytes, bytes] | None) -> Encodings | None:
    """Returns the encodings in a file's metadata, or None if it has none."""
    text = (metadata or {}).get(METADATA)
    return None if text is None else json.loads(text)


def check(
    where: str, metadata: Mapping[bytes, bytes] | None, spec: FeatureSpec
):
    """Raises DataError if a file's encodings contradict the spec's.

    A vocabulary that extends the file's keeps the meaning of its ids, so such a
    file passes, as does a file without recorded encodings.

    Args:
        where: names the file in the error.
        metadata: metadata of the file's schema.
        spec: the features that its columns are read as.
    """
    theirs = read(metadata)
    if theirs is None:
        return
    raw = [
        f.name for f in spec.categorical if f.logged_raw and f.name in theirs
    ]
    if raw:
        raise DataError(
            f"{where}: column {raw[0]!r} must hold raw values; it holds ids of "
            f"the preparation {short_name(theirs)}."
        )
    wrong = [
        feature.name
        for feature in spec.categorical
        if feature.name in theirs
        and not _same(theirs[feature.name], feature, spec)
    ]
    if wrong:
        raise DataError(
            f"{where}: must hold ids of the model's preparation "
            f"{name_from_spec(spec)}; it holds ids of the preparation "
            f"{short_name(theirs)}, which differ in the columns "
            f"{', '.join(wrong)}. Score the raw rows, or encode them with "
            "trainer.prepare --vocabularies=DIR, the directory of the model's "
            "run or preparation."
        )


def _same(theirs, feature: CategoricalFeature, spec: FeatureSpec) -> bool:
    """Returns whether a column's encoding agrees with the feature's."""
    words = spec.vocabulary(feature.table_name)
    if words is None:
        hashed = feature.raw is not None and feature.boundaries is None
        return not hashed or theirs == from_buckets(feature.num_ids - OOV_ID)
    count = theirs.get("words", 0)
    return count <= len(words) and theirs == from_words(
        words[:count], feature.oov_buckets
    )
