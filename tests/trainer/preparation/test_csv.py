"""Text as spreadsheets, pandas and others write it, against Python's csv."""

import codecs
import csv
import gzip
import io
import json

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.trainer.preparation.command import (
    contents,
    prepared,
    rows,
    run,
    words,
)
from trainer.preparation import reading, records, shards, text_files
from trainer.preparation.records import Layout
from trainer.preparation.shards import InputFile
from wukong_tf.errors import DataError

TEXTS = ["plain", 'say "hi"', "a,b;c", "two\nlines", "\r\nthree\n\n", "", "東"]
HEADER = ["label", "the text, quoted", "x"]


def table(count=40):
    return [
        [str(i % 2), TEXTS[i % len(TEXTS)], f"v{i % 5}"] for i in range(count)
    ]


def text_of(rows_, header=HEADER, **options):
    out = io.StringIO(newline="")
    writer = csv.writer(out, **{"lineterminator": "\n", **options})
    if header:
        writer.writerow(header)
    writer.writerows(rows_)
    return out.getvalue()


def write(folder, content, name="train.csv"):
    folder.mkdir(exist_ok=True)
    if isinstance(content, str):
        content = content.encode()
    if name.endswith(".gz"):
        content = gzip.compress(content)
    (folder / name).write_bytes(content)
    return folder


def read(path, layout, size):
    """The rows of a file, read in shards of `size` bytes."""
    file = InputFile(str(path), "train", layout)
    found = []
    for shard in shards.plan([file], size):
        for each in reading.read(shard, shard.names):
            found += zip(
                *(each[n].to_pylist() for n in shard.names), strict=True
            )
    return [list(row) for row in found]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"lineterminator": "\r\n"},
        {"quoting": csv.QUOTE_ALL},
        {"delimiter": ";"},
        {"delimiter": "\t"},
        {"delimiter": "|", "quoting": csv.QUOTE_NONNUMERIC},
    ],
)
@pytest.mark.parametrize("ending", [".csv", ".csv.gz"])
def test_values_are_those_of_the_csv_module(options, ending, tmp_path):
    content = text_of(table(), **options)
    rows_ = list(
        csv.reader(
            io.StringIO(content, newline=""),
            delimiter=options.get("delimiter", ","),
        )
    )[1:]
    assert rows_ == table()
    source = write(tmp_path / "in", content, f"train{ending}")
    write(source, content, f"valid{ending}")
    recipe = tmp_path / "recipe.json"
    columns = [{"name": "text", "source": HEADER[1]}, {"name": "x"}]
    recipe.write_text(json.dumps({"columns": columns}))
    spec, _ = prepared("csv", source, tmp_path / "out", f"--recipe={recipe}")
    found = rows(tmp_path / "out", "valid")
    known = words(spec, "text")
    assert [known[i] or "" for i in found["text"]] == [r[1] for r in rows_]
    assert "two\nlines" in known
    assert [words(spec, "x")[i] for i in found["x"]] == [r[2] for r in rows_]
    assert found["label"] == [int(row[0]) for row in rows_]


_FIELDS = st.text(st.sampled_from('a",;\n\r é'), max_size=6)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(st.lists(_FIELDS, min_size=3, max_size=3), min_size=1, max_size=9),
    st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
    st.sampled_from(["\n", "\r\n"]),
    st.integers(1, 40),
    st.booleans(),
)
def test_any_split_of_any_text_gives_the_same_rows(
    tmp_path, rows_, quoting, end, size, trailing
):
    if quoting == csv.QUOTE_MINIMAL:  # which leaves a lone CR without quotes
        rows_ = [[field.replace("\r", "") for field in row] for row in rows_]
    content = text_of(
        rows_, ["a", "b", "c"], quoting=quoting, lineterminator=end
    )
    content += "\n\r\n" if trailing else ""
    path = tmp_path / "x.csv"
    path.write_bytes(content.encode())
    wanted = list(csv.reader(io.StringIO(content, newline="")))
    wanted = [row for row in wanted if row][1:]
    assert read(path, Layout(), size) == wanted
    packed = tmp_path / "x.csv.gz"
    packed.write_bytes(gzip.compress(content.encode()))
    assert read(packed, Layout(), size) == wanted


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from('a",\n'), max_size=12))
def test_quotes_are_those_of_the_csv_module_wherever_they_stand(text):
    ends, open_quote = records.record_ends(text.encode(), Layout())
    if open_quote is not None:
        return
    cuts = [0, *(int(end) + 1 for end in ends), len(text)]
    parts = [text[a:b] for a, b in zip(cuts, cuts[1:], strict=False) if b > a]
    whole = list(csv.reader(io.StringIO(text, newline="")))
    one_by_one = [
        row
        for part in parts
        for row in csv.reader(io.StringIO(part, newline=""))
    ]
    assert one_by_one == whole and len(parts) == len(whole)


@pytest.mark.parametrize("size", [1, 64, 10**6])
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_a_bad_value_is_named_by_its_physical_line(size, ending, tmp_path):
    rows_ = table()
    rows_[31][0] = "maybe"
    content = text_of(rows_)
    line = text_of(rows_[:31]).count("\n") + 1
    assert line > 33  # as some values take several lines
    source = write(tmp_path / "in", content, f"train.csv{ending}")
    path = source / f"train.csv{ending}"
    recipe = shards_recipe()
    with pytest.raises(DataError) as error:
        from trainer.preparation.labels import read_labels

        for shard in shards.plan(
            [InputFile(str(path), "train", Layout())], size
        ):
            for each in reading.read(shard, shard.names):
                read_labels(shard, each, recipe)
    assert f"{path}: line {line}, column 'label': must be" in str(error.value)
    assert "'maybe'" in str(error.value)


def shards_recipe():
    from trainer.preparation.columns import Column, Recipe

    return Recipe((Column("x"),))


GOOD = "label,a,b\n1,x,y\n0,x,y\n"


@pytest.mark.parametrize(
    "content, named",
    [
        (GOOD + "1,x\n", "line 4: must have 3 fields, one per column"),
        (GOOD + "1,x,y,z\n", "line 4: must have 3 fields"),
        (GOOD + '1,"x\ny",z\n1,x\n', "line 6: must have 3 fields"),
        (GOOD + "\n1,x,y\n", "line 4: is blank"),
        (GOOD + '1,"x,y\n', "line 4: a quoted field is never"),
        (GOOD + "1,x\0,y\n", "line 4: contains a NUL byte"),
        (GOOD + "1,x\ry,z\n", "line 4: a carriage return (CR)"),
        (GOOD.replace("\n", "\r"), "line 1: a carriage return (CR)"),
        (GOOD.encode("utf-16"), "is UTF-16 or UTF-32 text; write it as UTF-8"),
        (GOOD.encode("utf-16-be"), "line 1: contains a NUL byte"),
        (codecs.BOM_UTF16_BE + GOOD.encode("utf-16-be"), "is UTF-16 text"),
        (
            (GOOD + "1,é,y\n").encode("latin-1"),
            "line 4, column 'a': must be UTF-8 text (this may be Latin-1",
        ),
        ("label,é,b\n1,x,y\n".encode("latin-1"), "line 1: must be UTF-8 text"),
        (gzip.compress(GOOD.encode(), mtime=0), "is compressed by gzip"),
        (b"PK\x03\x04" + b"0" * 20, "is a ZIP file or a spreadsheet"),
        (b"PAR1" + b"0" * 20, "is a Parquet file"),
        ("label,a,a\n1,x,y\n", "names column 'a' twice"),
        ("label\n1\n0\n", "only one field; set --delimiter"),
        ("label:a:b\n1:x:y\n", "set --delimiter"),
        ("a;x,b\n1;x,y\n", "both possible delimiters; set --delimiter"),
        ("\nlabel,a\n1,x\n", "line 1"),
    ],
)
def test_text_that_breaks_a_rule_is_named(content, named, tmp_path):
    source = write(tmp_path / "in", content)
    write(source, GOOD, "valid.csv")
    code, _, err = run("csv", source, tmp_path / "out")
    assert code == 2 and err.startswith(f"error: {source / 'train.csv'}: "), err
    assert named in err and "Traceback" not in err, err


def test_of_several_possible_delimiters_tsv_says_tab(tmp_path):
    source = write(tmp_path / "in", "label\ta,b\n1\tx,y\n0\tz,z\n", "train.tsv")
    spec, _ = prepared("csv", source, tmp_path / "out", "--min_count=1")
    assert [feature.name for feature in spec.categorical] == ["a,b"]


def test_rows_longer_than_the_most_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "RECORD_BYTES", 1000)
    for field, named in (
        ("x" * 2000, "a row of more than"),
        ('"x\n' + "y" * 2000, "never be closed"),
    ):
        content = GOOD * 1 + f"1,{field},y\n"
        source = write(tmp_path / "in", content)
        monkeypatch.setattr(records, "BLOCK", 500)
        code, _, err = run("csv", source, tmp_path / "out")
        assert code == 2 and "train.csv: line 4: a row of more than" in err, err
        assert named in err


@pytest.mark.parametrize(
    "change",
    [
        lambda text: b"\xef\xbb\xbf" + text.encode(),
        lambda text: (text + "\n\r\n\n").encode(),
        lambda text: text.rstrip("\n").encode(),
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: ('"label"' + text[5:]).encode(),
        lambda text: text.replace(",", "\t").encode(),
        lambda text: text.replace(",", ";").encode(),
        lambda text: text.replace(",", "|").encode(),
        # The header again, as where files were joined, with their marks.
        lambda text: (text + "\ufefflabel,a,b\n").encode(),
    ],
)
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_the_same_rows_in_other_dress(change, ending, tmp_path):
    text = "label,a,b\n" + "".join(
        f"{i % 2},u{i % 3},w{i}\n" for i in range(60)
    )
    prepared("csv", write(tmp_path / "plain", text), tmp_path / "one")
    source = write(tmp_path / "in", change(text), f"train.csv{ending}")
    prepared("csv", source, tmp_path / "two")
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    for name in ("manifest.json", "layout.json"):  # they tell of the dress
        del one[name], two[name]
    assert one == two


def test_a_row_with_a_column_s_name_for_its_value_stays(tmp_path):
    """It is not taken for a header, even as the only column."""
    path = tmp_path / "x.csv"
    path.write_text("label,a,b\n1,a,b\n0,x,y\n\ufefflabel,a,b\n1,a,é\n")
    file = InputFile(str(path), "train", Layout())
    (shard,) = shards.plan([file], 10**6)
    for columns in (["a"], ["a", "b"]):
        (found,) = reading.read(shard, columns)
        assert found.column_names == [*columns, reading.PLACE]
        assert found["a"].to_pylist() == ["a", "x", "a"]
        assert found[reading.PLACE].to_pylist() == [0, 1, 3]


def test_a_mark_at_a_row_s_begin_is_its_value_s(tmp_path):
    """A byte order mark is one only where the file begins."""
    for mark in ("", "\ufeff"):
        path = tmp_path / "x.csv"
        path.write_text(f"{mark}a,label\n\ufeffx,1\n\ufeff,0\nx,1\n")
        file = InputFile(str(path), "train", Layout())
        for size in (1, 10**6):
            found = [
                value
                for shard in shards.plan([file], size)
                for batch in reading.read(shard, ["a"])
                for value in batch["a"].to_pylist()
            ]
            assert found == ["\ufeffx", "\ufeff", "x"]


def test_no_row_of_one_column_is_a_header(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("a\na\n")
    file = InputFile(str(path), "train", Layout())
    assert shards.has_rows(file)
    (found,) = reading.read(shards.plan([file], 10**6)[0], ["a"])
    assert found["a"].to_pylist() == ["a"]


def test_the_delimiter_can_be_named(tmp_path):
    text = "a;x,label\n1;x,1\n2;y,0\n"
    source = write(tmp_path / "in", text)
    spec, _ = prepared("csv", source, tmp_path / "one", "--delimiter=,")
    assert [f.name for f in spec.categorical] == ["a;x"]
    text = text.replace(",", "^")
    source = write(tmp_path / "in", text)
    prepared("csv", source, tmp_path / "two", "--delimiter=^")
    for bad in ("ab", "é", '"', ""):
        code, _, err = run("csv", source, tmp_path / "x", f"--delimiter={bad}")
        assert code == 2 and "--delimiter must be one ASCII" in err


def test_an_index_of_pandas_is_left_out(tmp_path):
    frame = pd.DataFrame({"label": [0, 1] * 30, "a": list("xyz") * 20})
    source = tmp_path / "in"
    source.mkdir()
    frame.to_csv(source / "train.csv")
    spec, _ = prepared("csv", source, tmp_path / "out")
    assert [f.name for f in spec.categorical] == ["a"] and not spec.numeric


def test_line_numbers_of_every_record():
    text = text_of(table(), None, quoting=csv.QUOTE_ALL).encode()
    (block,) = records.blocks("f", [text], Layout())
    assert block.records == 40
    lines = [1]
    for row in table():
        lines.append(lines[-1] + text_of([row], None).count("\n"))
    assert [block.line_of(i) for i in range(40)] == lines[:-1]
    pieces = [text[i : i + 7] for i in range(0, len(text), 7)]
    parts = list(records.blocks("f", pieces, Layout()))
    found = [p.line_of(i) for p in parts for i in range(p.records)]
    assert found == lines[:-1]
    assert text_files.DELIMITERS == (",", ";", "\t", "|")
