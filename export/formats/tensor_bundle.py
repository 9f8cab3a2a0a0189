"""Finds tensors in the files of a TensorFlow checkpoint, without reading them.

TensorFlow's own readers copy a whole tensor. The index is a table of LevelDB's
format (table_format.md of its documentation), not compressed, from tensor names
to `BundleEntryProto`.
"""

import os
from collections.abc import Iterator

from tensorflow.core.protobuf import tensor_bundle_pb2

from wukong_tf.errors import ExportError

_FOOTER, _MAGIC = 48, bytes.fromhex("57fb808b247547db")
_UINT32 = 4


def find(prefix: str, names: list[str]) -> dict[str, tuple[str, int, int]]:
    """Returns the file, offset and bytes of each named tensor.

    Args:
        prefix: path of the checkpoint, such as variables/variables.
        names: names of tensors, saved as a whole.

    Raises:
        ExportError: the index has another format, or lacks a tensor.
    """
    with open(f"{prefix}.index", "rb") as file:
        index = file.read()
    footer = index[-_FOOTER:]
    if not footer.endswith(_MAGIC):
        raise ExportError(f"{prefix}.index: is not a checkpoint's index.")
    _, _, at = _handle(footer, 0)  # of metadata
    found: dict[bytes, bytes] = {}
    for _, value in _block(index, footer, at):
        found.update(_block(index, value, 0))
    header = tensor_bundle_pb2.BundleHeaderProto.FromString(found[b""])
    places = {}
    for name in names:
        if name.encode() not in found:
            raise ExportError(f"{prefix}.index: has no tensor {name!r}.")
        entry = tensor_bundle_pb2.BundleEntryProto.FromString(
            found[name.encode()]
        )
        shard = f"{entry.shard_id:05d}-of-{header.num_shards:05d}"
        data = f"{os.path.basename(prefix)}.data-{shard}"
        data = os.path.join(os.path.dirname(prefix), data)
        places[name] = (data, entry.offset, entry.size)
    return places


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """Returns a number and where the next one begins."""
    value = shift = 0
    while True:
        byte = content[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _handle(content: bytes, at: int) -> tuple[int, int, int]:
    """Returns a block's offset and bytes, and where its handle ends."""
    offset, at = _varint(content, at)
    size, at = _varint(content, at)
    return offset, size, at


def _block(index: bytes, handle: bytes, at: int) -> Iterator[tuple]:
    """Yields the keys and values of the block that a handle names."""
    offset, size, _ = _handle(handle, at)
    block, key, at = index[offset : offset + size], b"", 0
    restarts = int.from_bytes(block[-_UINT32:], "little")
    end = len(block) - _UINT32 * (restarts + 1)
    while at < end:
        shared, at = _varint(block, at)
        rest, at = _varint(block, at)
        length, at = _varint(block, at)
        key = key[:shared] + block[at : at + rest]
        yield key, block[at + rest : at + rest + length]
        at += rest + length
