"""Uncompressed TFRecord files of tf.Example as a source.

A file is read in blocks of records. Their offsets are in an index file next
to it, which is created once.
"""

import json
import mmap
import os
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf
from tensorflow.python.lib.io import tf_record  # has the only seeking reader

from trainer.data.file_source import FileSource
from trainer.data.shuffling import Block
from wukong_tf import files
from wukong_tf.config import schema
from wukong_tf.errors import ConfigError, DataError, one_line
from wukong_tf.rows.checks import Check
from wukong_tf.rows.schemas import check_type

INDEX = ".index.json"
BLOCK_RECORDS = 8192
_FORMAT = 1
# A record is its length and a checksum, then its bytes and a checksum.
_HEADER, _FOOTER = 12, 4
# Kinds of lists in a tf.Example: their TensorFlow and Arrow types.
_KINDS: dict[str, tuple[Any, pa.DataType]] = {
    "int64_list": (tf.int64, pa.int64()),
    "float_list": (tf.float32, pa.float32()),
    "bytes_list": (tf.string, pa.binary()),
}


class TFRecordSource(FileSource):
    """Reads rows of TFRecord files of tf.Example; a block is 8,192 records.

    Args and errors are those of `FileSource`. A feature of the Example is a
    column: an int64_list of ids, labels or groups, a float_list of numbers, a
    bytes_list of strings. A multi-hot or vector column has all its values in
    the list, any other column one. A feature missing from an Example is null.
    """

    part = "block"

    def open(self, path) -> Iterator[Block]:
        """Yields the blocks of a file, creating its index if missing."""
        index = read_index(path)
        if index is None:
            index = make_index(path)
            _write_index(path, index)
        offsets, records = index["offsets"], index["records"]
        kinds = self._kinds(path) if records else {}
        self._metadata[path] = (offsets, kinds)
        for number in range(len(offsets)):
            first = number * BLOCK_RECORDS
            yield Block(
                path, number, first, min(BLOCK_RECORDS, records - first)
            )

    def _kinds(self, path):
        """Returns each column's kind of list, from the file's first record."""
        (record,) = _records(path, 0, 1)
        try:
            example = tf.train.Example.FromString(record)
        except Exception as error:  # protobuf's error types differ by build
            raise DataError(
                f"{path}: row 0 (from 0) is not a tf.Example: {one_line(error)}"
            ) from error
        features = example.features.feature
        kinds: dict[str, str] = {}
        for check in self.checks:
            name = check.name
            stored = name in features and features[name].WhichOneof("kind")
            # The first row may lack a value for it.
            kind = _KINDS[kinds.setdefault(name, stored or _expected(check))][1]
            lists = check.size is not None or check.max_size is not None
            kind = pa.list_(kind) if lists else kind
            check_type(path, pa.schema([(name, kind)]), check)
        return kinds

    def table(self, block) -> pa.Table:
        """Returns the rows of a block."""
        offsets, kinds = self._metadata[block.path]
        records = _records(block.path, offsets[block.index], block.num_rows)
        if len(records) != block.num_rows:
            raise DataError(
                f"{block.path}: block {block.index} must have "
                f"{block.num_rows} records, but has {len(records)}. The file "
                f"was changed since {block.path}{INDEX} was written; remove "
                "the index to build it again."
            )
        parsed = tf.io.parse_example(
            tf.constant(records),
            {
                name: tf.io.RaggedFeature(_KINDS[kind][0])
                for name, kind in kinds.items()
            },
        )
        rules = {check.name: check for check in self.checks}
        return pa.table(
            {
                name: _column(block, rules[name], parsed[name])
                for name in self.names
            }
        )


def _expected(check: Check) -> str:
    if check.encode is not None and "strings or" in check.types:
        return "bytes_list"
    return "float_list" if check.dtype is np.float32 else "int64_list"


def _column(block, check, ragged):
    """Returns a parsed feature as an Arrow array of lists or single values."""
    values = ragged.values.numpy()
    starts = ragged.row_splits.numpy()
    flat = pa.array(values, pa.binary() if values.dtype == object else None)
    if check.size is not None or check.max_size is not None:
        return pa.LargeListArray.from_arrays(pa.array(starts), flat)
    lengths = np.diff(starts)
    if (lengths > 1).any():
        row = int(np.argmax(lengths > 1))
        raise DataError(
            f"{block.path}: row {block.first_row + row} (from 0), column "
            f"{check.name!r}: must be one value; received {lengths[row]}."
        )
    if (lengths == 1).all():
        return flat
    place = np.where(lengths == 1, starts[:-1], -1)
    return flat.take(pa.array(place, mask=place < 0))


def _records(path, offset, count) -> list[bytes]:
    """Returns up to `count` records from an offset on, verifying checksums."""
    reader = tf_record.tf_record_random_reader(path)
    records: list[bytes] = []
    while len(records) < count:
        try:
            record, offset = reader.read(offset)
        except IndexError:  # end of file
            break
        records.append(record)
    return records


def make_index(path: str) -> dict[str, Any]:
    """Returns an index of the offsets of a file's blocks.

    Returns:
        "size" of the file in bytes, its number of "records", and "offsets" of
        the first record of each block of 8,192.

    Raises:
        DataError: the file is compressed, truncated or not a TFRecord file.
    """
    size = os.path.getsize(path)
    offsets, records, place = [], 0, 0
    if size:
        with open(path, "rb") as file:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            with content:
                while place + _HEADER <= size:
                    if records % BLOCK_RECORDS == 0:
                        offsets.append(place)
                    (length,) = struct.unpack_from("<Q", content, place)
                    place += _HEADER + length + _FOOTER
                    records += 1
    if records:
        try:
            _records(path, 0, 1)
        except tf.errors.OpError as error:
            if "truncated" not in str(error):
                raise DataError(
                    f"{path}: is not an uncompressed TFRecord file: "
                    f"{one_line(error)}."
                ) from error
    if place != size:
        raise DataError(
            f"{path}: is truncated: record {max(records - 1, 0)} (from 0) "
            f"should end at byte {place}, but the file has {size}."
        )
    return {"size": size, "records": records, "offsets": offsets}


def read_index(path: str) -> dict[str, Any] | None:
    """Returns the index next to a file, or None if there is none.

    Raises:
        DataError: the index is invalid, or the file was changed since then.
    """
    try:
        with open(f"{path}{INDEX}", encoding="utf-8") as file:
            text = file.read()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}{INDEX}: cannot be read: {error}.") from error
    advice = f"Remove {path}{INDEX} to build it again."
    try:
        index = schema.parse_json(text, f"{path}{INDEX}")
        size, records = int(index["size"]), int(index["records"])
        offsets = [int(offset) for offset in index["offsets"]]
        whole = (index["format"], index["block_records"]) == (
            _FORMAT,
            BLOCK_RECORDS,
        )
    except (ConfigError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}{INDEX}: is not a valid index: {one_line(error)}. {advice}"
        ) from error
    if not whole or len(offsets) != -(-records // BLOCK_RECORDS):
        raise DataError(f"{path}{INDEX}: has another format. {advice}")
    now = os.path.getsize(path)
    if now != size:
        raise DataError(
            f"{path}: has {now} bytes, but had {size} when its index was "
            f"written: it was changed since then. {advice}"
        )
    return {"size": size, "records": records, "offsets": offsets}


def _write_index(path, index):
    """Writes the index next to its file, if the directory is writable."""
    content = {"format": _FORMAT, "block_records": BLOCK_RECORDS, **index}
    mine = f"{files.UNFINISHED}-{os.getpid()}"
    try:
        with (
            files.atomic_path(f"{path}{INDEX}", mine) as temporary,
            open(temporary, "w", encoding="utf-8") as file,
        ):
            json.dump(content, file)
    except OSError:
        return  # a read-only directory; the next run computes it again
