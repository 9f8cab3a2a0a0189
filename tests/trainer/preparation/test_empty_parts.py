"""Files without rows among the others, and columns in another order."""

import gzip
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.trainer.preparation.command import contents, prepared, rows, run
from tests.trainer.preparation.frappe_files import HEADER, write_csv

NAMES = ["label", "user", "price"]


def log(count, seed=0):
    draw = np.random.default_rng(seed)
    return [
        [
            int(draw.integers(2)),
            f"u{int(draw.integers(6))}",
            float(draw.exponential(9.0)),
        ]
        for _ in range(count)
    ]


def csv(lines, names=NAMES):
    places = [NAMES.index(name) for name in names]
    text = ",".join(names) + "\n"
    for line in lines:
        text += ",".join(str(line[place]) for place in places) + "\n"
    return text


def table(lines, names=NAMES):
    columns = [
        pa.array([line[NAMES.index(n)] for line in lines]) for n in names
    ]
    kinds = {"label": pa.int64(), "user": pa.string(), "price": pa.float64()}
    fields = [pa.field(name, kinds[name]) for name in names]
    return pa.table(
        [c.cast(f.type) for c, f in zip(columns, fields, strict=True)],
        schema=pa.schema(fields),
    )


def write(folder, parts):
    """Files by name: rows, or text as it stands there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, part in parts.items():
        path = folder / name
        if name.endswith(".parquet"):
            pq.write_table(part, path, row_group_size=11)
            continue
        text = part if isinstance(part, str) else csv(part)
        opened = gzip.open if name.endswith(".gz") else open
        with opened(path, "wb") as file:
            file.write(text.encode())
    return folder


EMPTY = {
    "nothing": "",
    "header": "label,user,price\n",
    "header_without_end": "label,user,price",
    "blank": "\n\n",
    "header_and_blank": "label,user,price\n\n \n",
    "twice": "label,user,price\nlabel,user,price\n",
}


def outcome(output):
    """What was made, without names of files and their checksums."""
    files = contents(output)
    return files["features.json"], [rows(output, s) for s in ("train", "test")]


@pytest.mark.parametrize("name", sorted(EMPTY))
def test_an_empty_part_of_text_changes_nothing(name, tmp_path):
    number = sorted(EMPTY).index(name)
    place = ["train-0.csv", "train-1.csv.gz", "train-3.csv"][number % 3]
    parts = {
        "train-0a.csv": log(60),
        "train-2.csv": log(40, 1),
        "valid.csv": log(20, 2),
        "test.csv": log(9, 3),
    }
    prepared("csv", write(tmp_path / "in", parts), tmp_path / "plain")
    parts[place] = EMPTY[name]
    source = write(tmp_path / "in", parts)
    code, said, err = run("csv", source, tmp_path / "out")
    assert code == 0, err
    assert outcome(tmp_path / "out") == outcome(tmp_path / "plain")
    if name != "twice":
        assert f"{place}: there are no rows; it is left out" in said
    want = [line[0] for line in log(60) + log(40, 1)]
    assert rows(tmp_path / "out", "train")["label"] == want


@pytest.mark.parametrize("place", ["train-0.parquet", "train-3.parquet"])
def test_an_empty_part_of_parquet_changes_nothing(place, tmp_path):
    parts = {
        "train-0a.parquet": table(log(60)),
        "train-2.parquet": table(log(40, 1)),
        "valid.parquet": table(log(20, 2)),
    }
    prepared("parquet", write(tmp_path / "in", parts), tmp_path / "plain")
    # As pandas writes one: no row says what type a column is.
    parts[place] = pa.table({name: pa.array([], pa.null()) for name in NAMES})
    source = write(tmp_path / "in", parts)
    prepared("parquet", source, tmp_path / "out")
    assert outcome(tmp_path / "out") == outcome(tmp_path / "plain")


@pytest.mark.parametrize("name", ["nothing", "header", "twice"])
def test_a_valid_file_without_rows_is_none(name, tmp_path):
    """Then each 20th train row is set apart, as without such a file."""
    lines = log(100)
    parts = {"train.csv": lines, "valid.csv": EMPTY[name]}
    output = tmp_path / "out"
    _, manifest = prepared("csv", write(tmp_path / "in", parts), output)
    assert manifest["rows"] == {"train": 95, "valid": 5, "test": 0}
    assert manifest["split_rule"] == "every"
    valid = [line[0] for line in lines[::20]]
    assert rows(output, "valid")["label"] == valid


def test_an_empty_valid_file_of_parquet_is_none(tmp_path):
    parts = {"train.parquet": table(log(100)), "valid.parquet": table([])}
    source = write(tmp_path / "in", parts)
    _, manifest = prepared("parquet", source, tmp_path / "out")
    assert manifest["rows"] == {"train": 95, "valid": 5, "test": 0}


@pytest.mark.parametrize("name", ["nothing", "header", "twice"])
def test_train_files_without_rows_are_refused(name, tmp_path):
    parts = {"train.csv": EMPTY[name], "valid.csv": log(9)}
    source = write(tmp_path / "in", parts)
    code, _, err = run("csv", source, tmp_path / "out")
    assert code == 2 and "there are no train rows" in err, err
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_a_known_data_set_has_no_empty_files(split, tmp_path):
    source = write_csv(tmp_path / "in")
    for text in ("", ",".join(HEADER) + "\n"):
        (source / f"{split}.csv").write_text(text)
        code, _, err = run("frappe", source, tmp_path / "out")
        assert code == 2
        assert f"{split}.csv: there are no {split} rows" in err


def test_a_parquet_file_of_no_bytes_is_none_and_named(tmp_path):
    parts = {"train.parquet": table(log(60))}
    source = write(tmp_path / "in", parts)
    (source / "train-1.parquet").write_bytes(b"")
    code, _, err = run("parquet", source, tmp_path / "out")
    assert code == 2 and "train-1.parquet: " in err and "Traceback" not in err


def test_a_file_and_its_compressed_copy_are_refused(tmp_path):
    parts = {"train.csv": log(60), "train.csv.gz": log(60)}
    source = write(tmp_path / "in", parts)
    code, _, err = run("csv", source, tmp_path / "out")
    assert code == 2 and "train.csv: also exists compressed" in err


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_columns_stand_in_any_order_in_each_file(kind, tmp_path):
    make = csv if kind == "csv" else table
    orders = (NAMES, NAMES[::-1], ["user", "label", "price"])
    lines = [log(50), log(30, 1), log(20, 2)]
    found = []
    for number, each in enumerate((orders, (NAMES,) * 3)):
        parts = {
            f"train-{part}.{kind}": make(lines[part], each[part])
            for part in range(3)
        }
        source = write(tmp_path / "in", parts)
        prepared(kind, source, tmp_path / f"out-{number}")
        found.append(outcome(tmp_path / f"out-{number}"))
    assert found[0] == found[1]


def test_a_part_that_lacks_a_column_is_named(tmp_path):
    parts = {"train-0.csv": log(50), "train-1.csv": csv(log(9), NAMES[:2])}
    source = write(tmp_path / "in", parts)
    code, _, err = run("csv", source, tmp_path / "out")
    assert code == 2
    assert "train-1.csv: column 'price' is missing" in err
