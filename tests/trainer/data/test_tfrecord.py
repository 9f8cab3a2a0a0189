"""TFRecord files of tf.Example: the same rows as Parquet, by an index."""

import json
import os
import struct

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from tests.trainer.cli import arguments, run
from tests.worlds import clicks, raw_clicks, rich_clicks
from trainer.data import tfrecord
from trainer.data.parquet import ParquetSource
from trainer.data.tfrecord import INDEX, TFRecordSource
from wukong_tf import runs
from wukong_tf.errors import DataError

KINDS = {
    "int64_list": (tf.train.Int64List, int),
    "float_list": (tf.train.FloatList, float),
    "bytes_list": (tf.train.BytesList, str.encode),
}


def example(row):
    """A tf.Example of a row; a missing value is left out."""
    features = {}
    for name, value in row.items():
        values = value if isinstance(value, list) else [value]
        if value is None or not values:
            continue
        kind = {int: "int64_list", str: "bytes_list", bool: "int64_list"}.get(
            type(values[0]), "float_list"
        )
        make, convert = KINDS[kind]
        features[name] = tf.train.Feature(
            **{kind: make(value=[convert(each) for each in values])}
        )
    return tf.train.Example(features=tf.train.Features(feature=features))


def write(path, rows):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for row in rows:
            writer.write(example(row).SerializeToString())
    return str(path)


@pytest.fixture(scope="module")
def small_blocks():
    old = tfrecord.BLOCK_RECORDS
    tfrecord.BLOCK_RECORDS = 50
    yield
    tfrecord.BLOCK_RECORDS = old


pytestmark = pytest.mark.usefixtures("small_blocks")
LOGS = {"plain": clicks, "rich": rich_clicks, "raw": raw_clicks}


@pytest.fixture(scope="module", params=LOGS)
def both(request, tmp_path_factory):
    """The spec, and the same rows in both formats."""
    folder = str(tmp_path_factory.mktemp(request.param))
    LOGS[request.param].write_log(folder)
    parquet = os.path.join(folder, "train.parquet")
    rows = pq.read_table(parquet).to_pylist()
    return (
        LOGS[request.param].SPEC,
        parquet,
        write(os.path.join(folder, "train.tfrecord"), rows),
    )


def assert_same(one, other):
    assert set(one) == set(other)
    for name, values in one.items():
        assert values.dtype == other[name].dtype, name
        np.testing.assert_array_equal(values, other[name], err_msg=name)


def test_the_rows_are_those_of_parquet(both):
    spec, parquet, records = both
    one = next(ParquetSource([parquet], spec).batches(1500))
    assert_same(one, next(TFRecordSource([records], spec).batches(1500)))


def test_any_step_is_read_without_those_before_it(both):
    spec, _, records = both
    source = TFRecordSource([records], spec, shuffle_rows=120, seed=4)
    whole = list(source.batches(64, epoch=1))
    again = TFRecordSource([records], spec, shuffle_rows=120, seed=4)
    for step in (1, 9, len(whole) - 1):
        later = list(again.batches(64, epoch=1, first_step=step))
        assert len(later) == len(whole) - step
        for batch, expected in zip(later, whole[step:], strict=True):
            assert_same(batch, expected)


def test_the_index_is_made_once(tmp_path):
    rows = raw_clicks.table(130, 0).to_pylist()
    path = write(tmp_path / "a.tfrecord", rows)
    TFRecordSource([path], raw_clicks.SPEC)
    with open(path + INDEX) as file:
        index = json.load(file)
    assert index["records"] == 130 and len(index["offsets"]) == 3
    assert index["size"] == os.path.getsize(path)
    stamp = os.stat(path + INDEX).st_mtime_ns
    source = TFRecordSource([path], raw_clicks.SPEC)
    assert os.stat(path + INDEX).st_mtime_ns == stamp
    assert source.num_rows == 130


def test_where_no_index_can_be_written_it_is_made_each_time(
    tmp_path, monkeypatch
):
    path = write(tmp_path / "a.tfrecord", raw_clicks.table(9, 0).to_pylist())

    def refuse(*args):
        raise PermissionError(args)

    monkeypatch.setattr(tfrecord.os, "replace", refuse)
    assert TFRecordSource([path], raw_clicks.SPEC).num_rows == 9
    assert not os.path.exists(path + INDEX)


def refusal(path, spec=clicks.SPEC):
    with pytest.raises(DataError) as error:
        list(TFRecordSource([str(path)], spec).batches(64))
    text = str(error.value)
    assert text.startswith(str(path)), text
    return text


@pytest.fixture
def path(tmp_path):
    data = {n: v.tolist() for n, v in clicks.columns(130, 0).items()}
    columns = zip(*data.values(), strict=True)
    rows = [dict(zip(data, row, strict=True)) for row in columns]
    return tmp_path / "a.tfrecord", rows


def test_files_that_are_no_whole_tfrecord(path):
    path, rows = path
    whole = open(write(path, rows), "rb").read()
    assert "is truncated" in refusal(_with(path, whole[:-1]))
    assert "is truncated" in refusal(_with(path, whole[: len(whole) // 2 + 7]))
    assert "is not an uncompressed TFRecord" in refusal(
        _with(path, b"user,item\n1,2\n")
    )
    zipped = tf.io.encode_base64(whole[:90]).numpy()
    assert "is not an uncompressed TFRecord" in refusal(_with(path, zipped))
    assert "there are no rows" in refusal(_with(path, b""))
    spoilt = bytearray(whole)
    spoilt[8:12] = b"\0\0\0\0"
    assert "corrupted record" in refusal(_with(path, bytes(spoilt)))
    spoilt = bytearray(whole)
    spoilt[-9] ^= 255
    text = refusal(_with(path, bytes(spoilt)))
    assert "rows 100 to 129 cannot be read" in text


def _with(path, content):
    path.write_bytes(content)
    if os.path.exists(f"{path}{INDEX}"):
        os.remove(f"{path}{INDEX}")
    return path


def test_a_file_changed_since_its_index_was_made(path):
    path, rows = path
    write(path, rows)
    TFRecordSource([str(path)], clicks.SPEC)
    write(path, rows[:-1])
    assert "it was changed since then" in refusal(path)
    write(path, [*rows, rows[0]])
    assert "it was changed since then" in refusal(path)
    # As long as before, but with its records elsewhere.
    os.remove(f"{path}{INDEX}")
    write(path, [{**rows[0], "more": "x" * 99}, *rows[1:]])
    TFRecordSource([str(path)], clicks.SPEC)
    content = path.read_bytes()
    (length,) = struct.unpack_from("<Q", content, 0)
    end = 16 + length
    path.write_bytes(content[end:] + content[:end])
    text = refusal(path)
    assert "cannot be read" in text or "was changed since" in text


@pytest.mark.parametrize(
    "content, words",
    [
        ("{", "not a valid index"),
        ("{}", "not a valid index"),
        ('{"size": 1, "records": 2, "offsets": []}', "not a valid index"),
    ],
)
def test_an_index_that_is_none(path, content, words):
    path, rows = path
    write(path, rows)
    with open(f"{path}{INDEX}", "w") as file:
        file.write(content)
    text = refusal(path)
    assert words in text and f"Remove {path}{INDEX}" in text


def test_bad_rows_are_named(path):
    path, rows = path
    rows[103] = {**rows[103], "item": 30}
    text = refusal(_with(path, open(write(path, rows), "rb").read()))
    assert "block 2: row 103 (from 0), column 'item'" in text
    assert "received 30" in text
    rows[103] = {**rows[103], "item": [1, 2]}
    text = refusal(_with(path, open(write(path, rows), "rb").read()))
    assert "row 103 (from 0), column 'item': must be one value" in text
    del rows[103]["item"]
    text = refusal(_with(path, open(write(path, rows), "rb").read()))
    assert "row 103 (from 0), column 'item'" in text and "no value" in text
    rows[103]["item"] = 0.5
    text = refusal(_with(path, open(write(path, rows), "rb").read()))
    assert "rows 100 to 129 cannot be read" in text and "item" in text
    rows[0]["item"] = 0.5
    text = refusal(_with(path, open(write(path, rows), "rb").read()))
    assert "column 'item' must be integers; it is float" in text


def test_a_record_that_is_no_example(tmp_path):
    path = tmp_path / "a.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(b"\xff\xff\xff")
    assert "row 0 (from 0) is not a tf.Example" in refusal(path)


@pytest.mark.slow
def test_a_run_on_tfrecord_is_the_run_on_parquet(tmp_path):
    """One block and one row group a file, so that the order is the same."""
    found = []
    for ending in ("parquet", "tfrecord"):
        folder = tmp_path / ending
        clicks.write_log(str(folder))
        if ending == "tfrecord":
            for split in ("train", "valid", "test"):
                parquet = folder / f"{split}.parquet"
                rows = pq.read_table(parquet).to_pylist()
                write(folder / f"{split}.tfrecord", rows)
                parquet.unlink()
        run_dir = tmp_path / f"run-{ending}"
        options = {
            "data_dir": folder,
            "run_dir": run_dir,
            "rank": 2,
            "num_layers": 1,
            "mlp_units": 8,
            "head_units": 8,
            "shuffle_rows": 0,
        }
        assert run(*arguments(**options)) == 0
        found.append(dict(runs.find_checkpoint(str(run_dir))))
    for name, array in found[0].items():
        np.testing.assert_array_equal(array, found[1][name], err_msg=name)
