"""Converts Arrow arrays to a few plain types.

pandas and polars write the same values as dictionaries, views, extension types
and others, which most Arrow functions do not support.
"""

import uuid

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wukong_tf.arrow.errors import UnsupportedType

_TYPES = pa.types
_EXTENSIONS = ("arrow.uuid", "arrow.bool8", "arrow.json")
EXTENSION_KEY = b"ARROW:extension:name"


def is_text(kind: pa.DataType) -> bool:
    """Returns whether a plain type is strings or binary."""
    return (
        _TYPES.is_string(kind)
        or _TYPES.is_large_string(kind)
        or _TYPES.is_binary(kind)
        or _TYPES.is_large_binary(kind)
    )


def is_number(kind: pa.DataType) -> bool:
    """Returns whether a plain type is integers, floats or decimals."""
    return (
        _TYPES.is_integer(kind)
        or _TYPES.is_floating(kind)
        or _TYPES.is_decimal(kind)
    )


def is_time(kind: pa.DataType) -> bool:
    """Returns whether a plain type is dates, times or timestamps."""
    return (
        _TYPES.is_date(kind)
        or _TYPES.is_time(kind)
        or _TYPES.is_timestamp(kind)
    )


def is_list(kind: pa.DataType) -> bool:
    """Returns whether a plain type is lists of any size."""
    return (
        _TYPES.is_list(kind)
        or _TYPES.is_large_list(kind)
        or _TYPES.is_fixed_size_list(kind)
    )


def plain_type(field: pa.Field | pa.DataType) -> pa.DataType:
    """Returns the type that `plain_array` gives to a column.

    Args:
        field: the column's field, whose metadata may name an extension that
            is not registered; or its type.

    Raises:
        UnsupportedType: it holds structs, maps, lists of lists or other values
            that are not scalars; names them.
    """
    if isinstance(field, pa.Field):
        name = (field.metadata or {}).get(EXTENSION_KEY, b"").decode()
        if name and name not in _EXTENSIONS:
            raise UnsupportedType(_unknown(name))
        field = field.type
    return _plain_type(field)


def _plain_type(kind):
    if isinstance(kind, pa.BaseExtensionType):
        if kind.extension_name not in _EXTENSIONS:
            raise UnsupportedType(_unknown(kind.extension_name))
        types = {"arrow.uuid": pa.string(), "arrow.bool8": pa.bool_()}
        return types.get(kind.extension_name, pa.string())
    if _TYPES.is_dictionary(kind) or _TYPES.is_run_end_encoded(kind):
        return _plain_type(kind.value_type)
    if _TYPES.is_string_view(kind):
        return pa.string()
    if _TYPES.is_binary_view(kind) or _TYPES.is_fixed_size_binary(kind):
        return pa.binary()
    if _is_any_list(kind):
        return _plain_list(kind)
    if (
        _TYPES.is_nested(kind)
        or _TYPES.is_interval(kind)
        or not (
            is_text(kind)
            or is_number(kind)
            or is_time(kind)
            or _TYPES.is_boolean(kind)
            or _TYPES.is_duration(kind)
            or _TYPES.is_null(kind)
        )
    ):
        raise UnsupportedType(
            f"{kind}, which is not a single value; write its parts as "
            "separate columns"
        )
    return kind


def _plain_list(kind):
    inner = _plain_type(kind.value_type)
    if is_list(inner):
        raise UnsupportedType(
            f"{kind}, lists of lists; write one list of single values per row"
        )
    if is_list(kind) and inner == kind.value_type:
        return kind
    if _TYPES.is_list(kind) or _TYPES.is_list_view(kind):
        return pa.list_(inner)
    return pa.large_list(inner)


def _is_any_list(kind):
    return (
        is_list(kind)
        or _TYPES.is_list_view(kind)
        or _TYPES.is_large_list_view(kind)
    )


def _unknown(name):
    return f"the extension type {name}; write it as text, numbers or timestamps"


def plain_array(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Returns the same values as one array of a plain type.

    Dictionaries and run-end encoded arrays are decoded; views become plain
    types; a UUID becomes its text; nulls stay nulls. Large types stay large,
    and an array of nulls stays one.

    Raises:
        UnsupportedType: as `plain_type` says.
    """
    if isinstance(array, pa.ChunkedArray):
        if array.num_chunks == 1:
            return plain_array(array.chunk(0))
        parts = [plain_array(chunk) for chunk in array.chunks]
        if not parts:
            return plain_array(pa.array([], array.type))
        return pa.concat_arrays(parts)
    kind = array.type
    wanted = _plain_type(kind)
    if isinstance(kind, pa.BaseExtensionType):
        if kind.extension_name == "arrow.uuid":
            return _uuids(array)
        return array.storage.cast(wanted)
    if _TYPES.is_dictionary(kind):
        return plain_array(array.dictionary).take(array.indices)
    if _TYPES.is_run_end_encoded(kind):
        return plain_array(pc.run_end_decode(array))
    if _is_any_list(kind):
        return _plain_lists(array, wanted)
    return array if kind == wanted else array.cast(wanted)


def _uuids(array):
    texts = [
        None if value is None else str(uuid.UUID(bytes=value))
        for value in array.storage.to_pylist()
    ]
    return pa.array(texts, pa.string())


def _plain_lists(array, wanted):
    """Converts lists of any kind to lists or large lists of plain values."""
    if array.type == wanted:
        return array
    lengths = pc.list_value_length(array)
    empty = pc.is_null(lengths)
    counts = pc.fill_null(lengths, 0).to_numpy(zero_copy_only=False)
    offsets = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    values = plain_array(array.flatten())
    large = not _TYPES.is_list(wanted)
    make = pa.LargeListArray if large else pa.ListArray
    places = pa.array(offsets, pa.int64() if large else pa.int32())
    return make.from_arrays(places, values, mask=empty)
