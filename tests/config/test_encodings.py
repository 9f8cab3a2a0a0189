"""A file's note of how its ids were made, and who may read them."""

import dataclasses
import hashlib
import json

import pyarrow.parquet as pq
import pytest

from tests.trainer.preparation.command import prepared
from trainer.data.parquet import ParquetSource
from wukong_tf.config import CategoricalFeature, FeatureSpec, encodings
from wukong_tf.errors import DataError


def spec_of(*words, raw="string", encoded=True, oov_buckets=1, more=0):
    return FeatureSpec(
        (
            CategoricalFeature(
                "city",
                2 + oov_buckets + len(words) + more,
                vocabulary=words,
                raw=raw,
                encoded=encoded,
                oov_buckets=oov_buckets,
            ),
            CategoricalFeature("user", 102 + more, raw="int64", encoded=True),
            CategoricalFeature("hour", 24),
        )
    )


def write(folder, text):
    folder.mkdir(parents=True)
    for split in ("train", "valid"):
        (folder / f"{split}.csv").write_text(text, encoding="utf-8")
    return folder


def log(cities):
    lines = [f"{place % 2},{city}" for place, city in enumerate(cities)]
    return "\n".join(["label,city", *lines, ""])


def test_the_note_is_that_of_the_words_and_buckets():
    found = encodings.from_spec(spec_of("berlin", "東京", oov_buckets=3))
    words = hashlib.sha256("berlin\n東京\n".encode()).hexdigest()
    assert found == {
        "city": {"oov_buckets": 3, "words": 2, "sha256": words},
        "user": {"buckets": 100},
    }
    text = json.dumps(found, sort_keys=True).encode()
    name = hashlib.sha256(text).hexdigest()[:12]
    assert encodings.short_name(found) == name
    assert encodings.read(encodings.metadata(found)) == found


@pytest.mark.parametrize(
    "reader, wrong",
    [
        (spec_of("a", "b"), ""),
        (spec_of("a", "b", "c"), ""),  # goes on where the file's ended
        (spec_of("a", "b", raw=None, encoded=False), ""),
        (spec_of("b", "a"), "city"),
        (spec_of("a"), "city"),
        (spec_of("a", "b", oov_buckets=2), "city"),
        (spec_of("a", "b", more=1), "user"),
        (spec_of("b", more=1), "city, user"),
    ],
)
def test_ids_of_other_meaning_are_refused(reader, wrong):
    note = encodings.metadata(encodings.from_spec(spec_of("a", "b")))
    if not wrong:
        encodings.check("f", note, reader)
        return
    with pytest.raises(DataError) as caught:
        encodings.check("f", note, reader)
    names = [encodings.short_name(encodings.from_spec(spec_of("a", "b")))]
    names.append(encodings.short_name(encodings.from_spec(reader)))
    for part in (
        "f: must hold ids of",
        f"columns {wrong}.",
        *names,
    ):
        assert part in str(caught.value)


def test_ids_are_not_read_as_raw_values_and_others_pass():
    note = encodings.metadata(encodings.from_spec(spec_of("a", "b")))
    raw = spec_of("a", "b", encoded=False)
    with pytest.raises(DataError, match="'city' must hold raw values; it"):
        encodings.check("f", note, raw)
    for nothing in (None, {}, {b"pandas": b"{}"}):
        encodings.check("f", nothing, raw)


def test_prepared_files_carry_it_and_readers_look(tmp_path):
    made = {}
    for name, cities in (
        ("one", "aab" * 40),
        ("other", "bba" * 40),
        ("same", "baa" * 40),
    ):
        folder = write(tmp_path / name / "in", log(cities))
        out = tmp_path / name / "out"
        spec, manifest = prepared("csv", folder, out)
        (path,) = out.glob("train-*.parquet")
        note = encodings.read(pq.read_schema(path).metadata)
        assert note == encodings.from_spec(spec)
        assert manifest["preparation"] == encodings.short_name(note)
        made[name] = (spec, str(path))
    (one, path), (other, _), (same, twin) = made.values()
    assert one.vocabulary("city") == ("a", "b") == same.vocabulary("city")
    assert ParquetSource([twin], one).num_rows == 120
    with pytest.raises(DataError, match=rf"{path}: must hold ids of"):
        ParquetSource([path], other)
    # One that goes on with the first one's ids reads its files.
    output = tmp_path / "grown"
    folder = write(tmp_path / "more" / "in", log("cccb" * 40))
    grown, _ = prepared(
        "csv", folder, output, f"--extend={tmp_path / 'one' / 'out'}"
    )
    assert grown.vocabulary("city") == ("a", "b", "c")
    assert ParquetSource([path], grown).num_rows == 120
    # A reader of plain ids asks for no vocabulary.
    (city,) = one.categorical
    ids = dataclasses.replace(
        city, raw=None, encoded=False, vocabulary=None, oov_id=2
    )
    plain = dataclasses.replace(one, categorical=(ids,))
    assert ParquetSource([path], plain).num_rows == 120
