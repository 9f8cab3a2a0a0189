"""How a file's ids were made, noted in it, so that no other model reads them.

A prepared Parquet file carries, in its schema's metadata, by column: the
number of out-of-vocabulary ids, of vocabulary words, and the words' SHA-256;
or the number of buckets that all values were hashed to.
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


def of_words(words: Iterable[str], oov_buckets: int) -> dict[str, Any]:
    """Returns the encoding by a vocabulary.

    Args:
        words: the vocabulary, in the order of its ids.
        oov_buckets: ids for values out of vocabulary.
    """
    found, count = hashlib.sha256(), 0
    for word in words:
        found.update(f"{word}\n".encode())
        count += 1
    return {
        "oov_buckets": oov_buckets,
        "words": count,
        "sha256": found.hexdigest(),
    }


def of_buckets(buckets: int) -> dict[str, Any]:
    """Returns the encoding by a hash into `buckets` ids."""
    return {"buckets": buckets}


def of_spec(spec: FeatureSpec) -> Encodings:
    """Returns the encoding of each feature that `spec` says one of.

    Features that share a table share its encoding. Plain ids and buckets
    between boundaries have none.
    """
    of_tables: Encodings = {}
    found: Encodings = {}
    for feature in spec.categorical:
        table = feature.table_name
        if table not in of_tables:
            words = spec.vocabulary(table)
            if words is not None:
                of_tables[table] = of_words(words, feature.oov_buckets)
        if table in of_tables:
            found[feature.name] = of_tables[table]
        elif feature.raw and feature.boundaries is None:
            found[feature.name] = of_buckets(feature.num_ids - OOV_ID)
    return found


def name_of(encodings: Mapping[str, Any]) -> str:
    """Returns the short name of a preparation: 12 digits of a SHA-256."""
    text = json.dumps(dict(encodings), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def name_of_spec(spec: FeatureSpec) -> str:
    """Returns the short name of the preparation that made a spec."""
    return name_of(of_spec(spec))


def metadata(encodings: Encodings) -> dict[bytes, bytes]:
    """Returns the metadata of a file whose ids were made so."""
    return {METADATA: json.dumps(encodings, sort_keys=True).encode()}


def read(found: Mapping[bytes, bytes] | None) -> Encodings | None:
    """Returns the encodings in a file's metadata; None where it has none."""
    text = (found or {}).get(METADATA)
    return None if text is None else json.loads(text)


def check(where: str, found: Mapping[bytes, bytes] | None, spec: FeatureSpec):
    """Raises DataError if a file's ids were made otherwise than the spec's.

    A vocabulary that goes on where the file's ended keeps the meaning of its
    ids, so such a file passes, as does one without a note.

    Args:
        where: names the file in the error.
        found: metadata of the file's schema.
        spec: the features that its columns are read as.
    """
    theirs = read(found)
    if theirs is None:
        return
    raw = [
        f.name for f in spec.categorical if f.logged_raw and f.name in theirs
    ]
    if raw:
        raise DataError(
            f"{where}: column {raw[0]!r} holds ids of the preparation "
            f"{name_of(theirs)}, but raw values are to be read."
        )
    wrong = [
        feature.name
        for feature in spec.categorical
        if feature.name in theirs
        and not _same(theirs[feature.name], feature, spec)
    ]
    if wrong:
        raise DataError(
            f"{where}: was prepared otherwise: its ids are those of the "
            f"preparation {name_of(theirs)}, the model's those of "
            f"{name_of_spec(spec)}; of other meaning are the columns "
            f"{', '.join(wrong)}. Score the raw rows, or encode them by "
            "trainer.prepare --vocabularies=DIR, of the model's run or "
            "preparation."
        )


def _same(theirs, feature: CategoricalFeature, spec: FeatureSpec) -> bool:
    """Whether a column's ids mean what the feature's do, as far as is said."""
    words = spec.vocabulary(feature.table_name)
    if words is None:
        hashed = feature.raw is not None and feature.boundaries is None
        return not hashed or theirs == of_buckets(feature.num_ids - OOV_ID)
    count = theirs.get("words", 0)
    return count <= len(words) and theirs == of_words(
        words[:count], feature.oov_buckets
    )
