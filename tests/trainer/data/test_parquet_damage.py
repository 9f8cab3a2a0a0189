"""Files that are no whole Parquet: an error that names them, at any byte."""

import random

import pyarrow.parquet as pq
import pytest

from tests.worlds import clicks, logs
from trainer.data.parquet import ParquetSource
from wukong_tf.errors import DataError

GROUP, ROWS = 64, 200  # rows of a row group, and of the file


def refusal(path):
    """The text of the error that reading the file raises."""
    with pytest.raises(DataError) as error:
        list(ParquetSource([str(path)], clicks.SPEC).batches(32))
    text = str(error.value)
    assert text.startswith(str(path)), text
    return text


def test_files_that_are_no_whole_parquet(tmp_path):
    path = tmp_path / "x.parquet"
    logs.write(str(path), clicks.columns(ROWS, 0), GROUP)
    whole = path.read_bytes()
    for content in (
        b"",
        b"user,item\n1,2\n",
        whole[:-1],
        whole[: len(whole) // 2],
    ):
        path.write_bytes(content)
        assert "cannot be read as Parquet" in refusal(path)


def test_damage_within_a_file_is_named_by_rows(tmp_path):
    path = tmp_path / "x.parquet"
    logs.write(str(path), clicks.columns(ROWS, 0), GROUP)
    with pq.ParquetFile(path) as file:
        column = file.metadata.row_group(1).column(0)
        start = column.dictionary_page_offset or column.data_page_offset
    content = bytearray(path.read_bytes())
    content[start : start + 24] = b"\xff" * 24
    path.write_bytes(content)
    assert f"rows {GROUP} to {2 * GROUP - 1} cannot be read" in refusal(path)


@pytest.mark.parametrize("compression", ["none", "snappy", "zstd"])
def test_damage_anywhere_is_an_error_of_data_or_unseen(compression, tmp_path):
    """Parquet has no checksum here: some damage is another good value."""
    path = tmp_path / "x.parquet"
    logs.write(str(path), clicks.columns(ROWS, 0), GROUP)
    pq.write_table(
        pq.read_table(path), path, row_group_size=GROUP, compression=compression
    )
    whole = path.read_bytes()
    generator = random.Random(0)
    refused = 0
    for _ in range(200):
        content = bytearray(whole)
        start = generator.randrange(len(whole) - 8)
        for place in range(start, start + 8):
            content[place] ^= generator.randrange(1, 256)
        path.write_bytes(content)
        try:
            batches = list(ParquetSource([str(path)], clicks.SPEC).batches(32))
        except DataError as error:
            refused += 1
            assert str(path) in str(error)
        else:
            for name in clicks.SPEC.columns:
                assert sum(len(batch[name]) for batch in batches) == ROWS
    assert refused > 50


def test_a_name_that_is_no_text(tmp_path):
    path = tmp_path / "x.parquet"
    logs.write(str(path), clicks.columns(5, 0))
    content = path.read_bytes()
    assert b"importance" in content
    path.write_bytes(content.replace(b"importance", b"\xff" * 10))
    assert "cannot be read as Parquet" in refusal(path)


def test_row_groups_that_do_not_sum_to_the_file_s_rows(tmp_path):
    path = tmp_path / "x.parquet"
    logs.write(str(path), clicks.columns(ROWS, 0), GROUP)
    # The footer's field of 200 rows, in Thrift's compact form; 199 after.
    whole = path.read_bytes()
    assert whole.count(b"\x16\x90\x03") == 1
    path.write_bytes(whole.replace(b"\x16\x90\x03", b"\x16\x8e\x03"))
    assert pq.read_metadata(path).num_rows == ROWS - 1
    assert "is damaged: it should have 199 rows" in refusal(path)


def test_a_file_that_is_gone_by_the_time_its_rows_are_read(tmp_path):
    path = tmp_path / "x.parquet"
    logs.write(str(path), clicks.columns(ROWS, 0), GROUP)
    found = ParquetSource([str(path)], clicks.SPEC)
    path.unlink()
    with pytest.raises(DataError, match="rows 0 to 63 cannot be read") as error:
        next(found.batches(32))
    assert str(path) in str(error.value)


def test_a_file_that_is_gone_is_named_by_rows(tmp_path):
    path = tmp_path / "x.parquet"
    logs.write(str(path), clicks.columns(ROWS, 0), GROUP)
    source = ParquetSource([str(path)], clicks.SPEC)
    path.unlink()
    with pytest.raises(DataError) as error:
        list(source.batches(32))
    text = str(error.value)
    assert text.startswith(f"{path}: rows 0 to {GROUP - 1} cannot be read")
