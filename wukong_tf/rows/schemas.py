"""Checks that the columns of a file or a frame are there, and their types."""

from collections.abc import Sequence

import pyarrow as pa

from wukong_tf.arrow.errors import UnsupportedType
from wukong_tf.arrow.plain import plain_type
from wukong_tf.errors import DataError
from wukong_tf.names import alike
from wukong_tf.rows.checks import Check


def check_names(where: str, columns: Sequence[str], names: Sequence[str]):
    """Raises DataError unless each of `names` is the name of one column.

    Args:
        where: names the file in errors.
        columns: names of the columns in the file.
        names: the columns to read.
    """
    missing = [name for name in names if name not in columns]
    if missing:
        shown = ", ".join(map(repr, missing))
        problem = f"s {shown} are" if missing[1:] else f" {shown} is"
        raise DataError(
            f"{where}: column{problem} missing; the columns are "
            f"{', '.join(map(str, columns)) or 'none'}"
            f"{alike(missing[0], columns)}."
        )
    for name in names:
        if columns.count(name) > 1:
            raise DataError(f"{where}: column {name!r} occurs more than once.")


def check_type(where: str, schema: pa.Schema, check: Check):
    """Raises DataError if a column is missing, repeated or of a wrong type."""
    check_names(where, schema.names, [check.name])
    field = schema.field(check.name)
    try:
        kind = plain_type(field)
        # A column without values has the null type.
        valid = pa.types.is_null(kind) or check.has_type(kind)
        received = str(field.type)
    except UnsupportedType as error:
        valid, received = False, str(error)
    if not valid:
        raise DataError(
            f"{where}: column {check.name!r} must be {check.types}; it is "
            f"{received}."
        )
