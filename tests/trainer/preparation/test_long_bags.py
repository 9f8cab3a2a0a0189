"""Bags with more values than may count."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.trainer.preparation.command import prepared, rows, run, words
from trainer.data.parquet import ParquetSource


def bags(count, seed):
    draw = np.random.default_rng(seed)
    return [
        [f"t{int(draw.integers(9))}" for _ in range(int(draw.integers(8)))]
        for _ in range(count)
    ]


TRAIN, VALID = bags(300, 0), bags(80, 1)
COLUMNS = [
    {"name": "tags", "longest": 3},
    {"name": "all", "source": "tags", "longest": 8},
]


def write(folder, kind):
    folder.mkdir()
    for split, lists in (("train", TRAIN), ("valid", VALID)):
        labels = [number % 2 for number in range(len(lists))]
        if kind == "parquet":
            # A missing value counts for nothing, nor for the length.
            lists = [[None, *each] if each else None for each in lists]
            table = pa.table({"label": labels, "tags": lists})
            pq.write_table(table, folder / f"{split}.parquet")
            continue
        lines = [
            f"{label},{'|'.join(each)}\n"
            for label, each in zip(labels, lists, strict=True)
        ]
        text = "label,tags\n" + "".join(lines)
        (folder / f"{split}.csv").write_text(text)
    return folder


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_the_first_values_count_and_the_cut_is_told(kind, tmp_path):
    source = write(tmp_path / "in", kind)
    separator = {"separator": "|"} if kind == "csv" else {}
    path = tmp_path / "recipe.json"
    columns = [{**column, **separator} for column in COLUMNS]
    path.write_text(json.dumps({"columns": columns}))
    output = tmp_path / "out"
    code, said, err = run(kind, source, output, f"--recipe={path}")
    assert code == 0, err
    long = sum(len(each) > 3 for each in TRAIN + VALID)
    assert f"'tags': {long:,} rows have more than 3 values; the first 3" in said
    assert "'all'" not in said
    manifest = json.loads((output / "manifest.json").read_text())
    assert manifest["categories"]["tags"]["bags_cut"] == long
    assert manifest["categories"]["all"]["bags_cut"] == 0
    spec, _ = prepared(kind, source, tmp_path / "again", f"--recipe={path}")
    # The vocabulary is of what counts.
    seen = [tag for each in TRAIN for tag in each[:3]]
    order = sorted(set(seen), key=lambda t: (-seen.count(t), len(t), t))
    assert words(spec, "tags")[3:] == order
    known = words(spec, "tags")
    for split, lists in (("train", TRAIN), ("valid", VALID)):
        found = rows(output, split)
        assert [[known[i] for i in ids] for ids in found["tags"]] == [
            each[:3] for each in lists
        ]
        assert [len(ids) for ids in found["all"]] == list(map(len, lists))


def test_the_trainer_cuts_what_was_logged_alike(tmp_path):
    """Of raw lists, the ids that prepare made of the same ones."""
    source = write(tmp_path / "in", "parquet")
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps({"columns": COLUMNS}))
    spec, _ = prepared("parquet", source, tmp_path / "out", f"--recipe={path}")
    features = spec.to_dict()
    del features["categorical"][1]
    encoded = type(spec).from_dict(features)
    features["categorical"][0]["encoded"] = False
    raw = type(spec).from_dict(features)
    files = [
        ([str(tmp_path / "out" / "valid-00001.parquet")], encoded),
        ([str(source / "valid.parquet")], raw),
    ]
    one, other = (
        next(ParquetSource(paths, each).batches(80)) for paths, each in files
    )
    np.testing.assert_array_equal(one["tags"], other["tags"])


def test_values_of_an_earlier_vocabulary_are_counted(tmp_path):
    """What is new is printed as a share of all values."""
    folder = tmp_path / "in"
    folder.mkdir()
    for split in ("train", "valid"):
        (folder / f"{split}.csv").write_text("label,user\n0,a\n1,b\n1,a\n")
    prepared("csv", folder, tmp_path / "first")
    path = tmp_path / "new.csv"
    path.write_text("day,user\n1,a\n1,c\n1,\n1,b\n1,d\n1,c\n")
    option = f"--vocabularies={tmp_path / 'first'}"
    code, said, err = run("csv", path, tmp_path / "out", option)
    assert code == 0, err
    assert "'user': 60.0% of values out of vocabulary" in said
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["categories"]["user"] == {
        "bags_cut": 0,
        "values": 5,
        "out_of_vocabulary": 3,
    }
