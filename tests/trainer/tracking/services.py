"""Reads what trackers leave in the files of their services."""

import importlib.util
import json
import struct

import pytest

SECRET = "0123456789abcdef0123456789abcdef01234567"


def lacks(package):
    """A mark that skips a test without a package."""
    return pytest.mark.skipif(
        importlib.util.find_spec(package) is None,
        reason=f"{package} is missing: pip install -e '.[{package}]'",
    )


def only_run(store):
    (found,) = store.glob("*/*/meta.yaml")
    return found.parent


def params(folder):
    return {p.name: p.read_text() for p in (folder / "params").iterdir()}


def wandb_history(path):
    """The rows of history in a file of Weights & Biases, as dicts.

    The file is a LevelDB log of blocks of 32 KiB, after a header of 7 bytes.
    """
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, content = path.read_bytes(), 7, b""
    while at < len(data):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        length, part = struct.unpack_from("<HB", data, at + 4)
        content += data[at + 7 : at + 7 + length]
        at += 7 + length
        if part in (1, 4):  # whole, or the last one
            record, content = Record.FromString(content), b""
            if record.HasField("history"):
                yield {
                    item.key or item.nested_key[0]: json.loads(item.value_json)
                    for item in record.history.item
                }
