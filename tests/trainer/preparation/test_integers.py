"""Integers of Parquet stay integers, and distinct texts stay distinct."""

import collections
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.trainer.preparation.command import prepared, rows, run, words
from wukong_tf.config import FeatureSpec
from wukong_tf.features import Lookups

KINDS = [
    pa.int8(),
    pa.int16(),
    pa.int32(),
    pa.int64(),
    pa.uint8(),
    pa.uint16(),
    pa.uint32(),
    pa.float64(),  # as pandas writes integers with gaps
]


def write(folder, columns, name="train.parquet"):
    folder.mkdir(exist_ok=True)
    table = pa.table(columns)
    pq.write_table(table, folder / name, row_group_size=11)
    return folder


def labels(count):
    return [number % 2 for number in range(count)]


def recipe(tmp_path, *columns):
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps({"columns": list(columns)}))
    return f"--recipe={path}"


@pytest.mark.parametrize("kind", KINDS)
def test_a_number_of_parquet_is_an_integer_to_requests(kind, tmp_path):
    draw = np.random.default_rng(0)
    numbers = [None, *draw.integers(0, 30, 200).tolist()]
    source = write(
        tmp_path / "in",
        {"label": labels(201), "user": pa.array(numbers, kind)},
    )
    write(source, {"label": [0], "user": pa.array([7], kind)}, "valid.parquet")
    option = recipe(tmp_path, {"name": "user"})
    spec, _ = prepared("parquet", source, tmp_path / "out", option)
    (user,) = spec.categorical
    assert (user.raw, user.encoded) == ("int64", True)
    counts = collections.Counter(n for n in numbers if n is not None)
    order = sorted(counts, key=lambda n: (-counts[n], len(str(n)), str(n)))
    assert words(spec, "user")[3:] == [str(n) for n in order]
    found = rows(tmp_path / "out", "train")["user"]
    assert found == [1 if n is None else 3 + order.index(n) for n in numbers]
    # A request with the same integers gets the same ids.
    asked = [user.missing_value if n is None else n for n in numbers]
    ids = Lookups(spec).ids(user, np.array(asked, np.int64)).numpy()
    assert ids.tolist() == found
    written = json.loads((tmp_path / "out" / "recipe.json").read_text())
    assert written["columns"][0]["raw"] == "int64"


def test_integers_are_hashed_as_requests_are(tmp_path):
    """All of them, and those out of a vocabulary to one of three ids."""
    draw = np.random.default_rng(1)
    numbers = [None, -1, *draw.integers(-(10**12), 10**12, 99).tolist()]
    half = {"label": labels(50), "user": pa.array(numbers[:50], pa.int64())}
    source = write(tmp_path / "in", half)
    whole = {"label": labels(101), "user": pa.array(numbers, pa.int64())}
    write(source, whole, "valid.parquet")
    option = recipe(
        tmp_path,
        {"name": "user"},
        {"name": "hashed", "source": "user", "buckets": 13},
    )
    spec, _ = prepared(
        "parquet", source, tmp_path / "out", option, "--oov_buckets=3"
    )
    found = rows(tmp_path / "out", "valid")
    missing = spec.categorical[0].missing_value
    asked = np.array([missing if n is None else n for n in numbers])
    assert set(found["user"][50:]) == {2, 3, 4}
    for feature in spec.categorical:
        assert feature.raw == "int64"
        ids = Lookups(spec).ids(feature, asked).numpy()
        assert ids.tolist() == found[feature.name]


def test_every_integer_is_a_value_of_its_own(tmp_path):
    """The ends of 64 bits, 0 and -1 too; only the least one is missing."""
    numbers = [-1, 0, 1, -(2**63) + 1, 2**63 - 1, 2**53 + 1, 2**53, -(2**63)]
    source = write(
        tmp_path / "in",
        {
            "label": labels(len(numbers)),
            "user": pa.array(numbers, pa.int64()),
            "seen": pa.array([[n, 5] for n in numbers], pa.list_(pa.int64())),
        },
    )
    write(source, {"label": [0], "user": [5], "seen": [[5]]}, "valid.parquet")
    option = recipe(
        tmp_path,
        {"name": "user"},
        {"name": "seen", "table": "user", "longest": 3},
    )
    spec, _ = prepared("parquet", source, tmp_path / "out", option)
    known = words(spec, "user")
    texts = [str(number) for number in numbers[:-1]]
    assert sorted(known[3:]) == sorted([*texts, "5"])
    found = rows(tmp_path / "out", "train")
    assert found["user"] == [*(known.index(text) for text in texts), 1]
    five = known.index("5")
    assert found["seen"] == [
        *([known.index(text), five] for text in texts),
        [five],
    ]
    assert spec.categorical[0].missing_value == -(2**63)


@pytest.mark.parametrize(
    "columns, fields",
    [
        # Texts, and integers that 64 bits do not hold.
        ({"user": ["7", "8"]}, [{"name": "user"}]),
        ({"user": pa.array([7, 2**64 - 1], pa.uint64())}, [{"name": "user"}]),
        ({"user": [True, False]}, [{"name": "user"}]),
        # The recipe says so.
        ({"user": [7, 8]}, [{"name": "user", "raw": "string"}]),
        # A table of texts and integers.
        (
            {"user": [7, 8], "friend": ["7", "x"]},
            [{"name": "user"}, {"name": "friend", "table": "user"}],
        ),
    ],
)
def test_what_stays_text(columns, fields, tmp_path):
    for name in ("train.parquet", "valid.parquet"):
        source = write(tmp_path / "in", {"label": [0, 1], **columns}, name)
    option = recipe(tmp_path, *fields)
    spec, _ = prepared("parquet", source, tmp_path / "out", option)
    assert {feature.raw for feature in spec.categorical} == {"string"}
    assert "raw" not in json.loads(
        (tmp_path / "out" / "recipe.json").read_text()
    )["columns"][-1] or fields[0].get("raw")
    plain = pa.array(columns["user"]).to_pylist()
    known = words(spec, "user")
    texts = [str(value).lower() for value in plain]
    assert [known[i] for i in rows(tmp_path / "out", "train")["user"]] == texts


def test_one_file_of_texts_makes_a_column_of_texts(tmp_path):
    source = write(tmp_path / "in", {"label": [0, 1], "user": [7, 8]})
    write(source, {"label": [1], "user": ["8"]}, "valid.parquet")
    option = recipe(tmp_path, {"name": "user"})
    spec, _ = prepared("parquet", source, tmp_path / "out", option)
    assert spec.categorical[0].raw == "string"
    known = words(spec, "user")
    assert rows(tmp_path / "out", "valid")["user"] == [known.index("8")]


def write_csv(folder, texts):
    folder.mkdir(exist_ok=True)
    lines = "".join(f"{n % 2},{text}\n" for n, text in enumerate(texts))
    for split in ("train", "valid"):
        (folder / f"{split}.csv").write_text("label,user\n" + lines)
    return folder


def test_texts_of_csv_stay_what_they_are(tmp_path):
    """007 is not 7, nor is +7 or 7.0."""
    texts = ["007", "7", "+7", "7.0", "07"]
    source = write_csv(tmp_path / "in", texts)
    option = recipe(tmp_path, {"name": "user"})
    spec, _ = prepared("csv", source, tmp_path / "out", option)
    assert spec.categorical[0].raw == "string"
    known = words(spec, "user")
    assert sorted(known[3:]) == sorted(texts)
    found = rows(tmp_path / "out", "train")["user"]
    assert [known[i] for i in found] == texts


def test_a_recipe_makes_integers_of_csv(tmp_path):
    texts = ["7", "", "-3", "0", str(2**63 - 1)]
    source = write_csv(tmp_path / "in", texts)
    option = recipe(tmp_path, {"name": "user", "raw": "int64"})
    spec, _ = prepared("csv", source, tmp_path / "out", option)
    assert spec.categorical[0].raw == "int64"
    known = words(spec, "user")
    assert rows(tmp_path / "out", "train")["user"] == [
        known.index(text) if text else 1 for text in texts
    ]


@pytest.mark.parametrize(
    "bad", ["007", "+7", "7.0", "seven", str(2**63), "-0", "1e3"]
)
def test_a_text_that_is_no_such_integer_is_named(bad, tmp_path):
    source = write_csv(tmp_path / "in", ["7", "8", bad, "9"])
    option = recipe(tmp_path, {"name": "user", "raw": "int64"})
    code, _, err = run("csv", source, tmp_path / "out", option)
    assert code == 2
    assert "train.csv: line 4, column 'user': must be a 64-bit integer" in err
    assert f"received {bad!r}" in err


@pytest.mark.parametrize(
    "columns, expected",
    [
        ([{"name": "a", "raw": "float"}], "`raw` must be one of"),
        ([{"name": "a", "raw": "int64", "rule": "log2"}], "`raw` applies"),
        (
            [{"name": "a", "kind": "numeric", "raw": "int64"}],
            "`raw` applies only",
        ),
        (
            [{"name": "a", "raw": "int64"}, {"name": "b", "table": "a"}],
            "must agree in `raw`",
        ),
    ],
)
def test_kinds_that_contradict_are_refused(columns, expected, tmp_path):
    source = write_csv(tmp_path / "in", ["7"])
    option = recipe(tmp_path, *columns)
    code, _, err = run("csv", source, tmp_path / "out", option)
    assert code == 2 and expected in err, err


def test_integers_go_on_as_what_they_were(tmp_path):
    """By --extend and by --vocabularies, in text and in other types."""
    first = write(tmp_path / "a", {"label": [0, 1, 1], "user": [7, 8, 8]})
    write(first, {"label": [0], "user": [7]}, "valid.parquet")
    option = recipe(tmp_path, {"name": "user"})
    prepared("parquet", first, tmp_path / "first", option)
    csv = write_csv(tmp_path / "b", ["9", "7", ""])
    extend = f"--extend={tmp_path / 'first'}"
    spec, _ = prepared("csv", csv, tmp_path / "second", option, extend)
    assert words(spec, "user") == [None, None, None, "8", "7", "9"]
    assert spec.categorical[0].raw == "int64"
    again = f"--vocabularies={tmp_path / 'second'}"
    for kind in (pa.int16(), pa.uint64(), pa.float64(), pa.string()):
        users = pa.array([9, None, 7, 5]).cast(kind)
        source = write(tmp_path / str(kind), {"user": users}, "x.parquet")
        output = tmp_path / f"out-{kind}"
        found, _ = prepared("parquet", source, output, again)
        assert found == spec
        assert rows(output, "test")["user"] == [5, 1, 4, 2]


def test_texts_go_on_as_texts_in_parquet_s_integers(tmp_path):
    """As what an earlier version of this command made of integers."""
    csv = write_csv(tmp_path / "a", ["8", "7", "8"])
    option = recipe(tmp_path, {"name": "user"})
    prepared("csv", csv, tmp_path / "first", option)
    second = write(tmp_path / "b", {"label": [0, 1], "user": [9, 7]})
    write(second, {"label": [0], "user": [7]}, "valid.parquet")
    for flag in ("extend", "vocabularies"):
        more = [f"--{flag}={tmp_path / 'first'}"]
        more += [option] * (flag == "extend")
        spec, _ = prepared("parquet", second, tmp_path / flag, *more)
        assert isinstance(spec, FeatureSpec)
        assert spec.categorical[0].raw == "string"
        assert rows(tmp_path / flag, "valid")["user"] == [4]
