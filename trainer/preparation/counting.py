"""Statistics of rows before they are encoded: counts and moments."""

import contextlib
import dataclasses
import json
import operator
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from trainer.preparation import values
from trainer.preparation.columns import Recipe
from trainer.preparation.labels import read_labels
from trainer.preparation.moments import Moments
from trainer.preparation.shards import Shard
from wukong_tf.errors import DataError, WukongError, one_line

_SCHEMA = pa.schema(
    [("table", pa.string()), ("value", pa.string()), ("count", pa.int64())]
)


@dataclasses.dataclass
class Counts:
    """Counts over a set of rows; two of them can be merged.

    Args:
        rows: number of rows.
        labels: number of rows with label 0 and with label 1.
        moments: moments of the transformed values by numeric column.
        missing: number of rows without a value by categorical column.
        values: distinct values with their counts by table.
    """

    rows: int = 0
    labels: tuple[int, int] = (0, 0)
    moments: dict[str, Moments] = dataclasses.field(default_factory=dict)
    missing: dict[str, int] = dataclasses.field(default_factory=dict)
    values: dict[str, pa.Table] = dataclasses.field(default_factory=dict)


def count(
    shard: Shard, tables: Iterable[pa.Table], recipe: Recipe, *, learn: bool
) -> Counts:
    """Counts the rows of a shard.

    Args:
        shard: names the file in errors.
        tables: its rows.
        recipe: the recipe.
        learn: whether to count values and moments too, as for train rows,
            or only rows and labels.
    """
    total = Counts()
    for table in tables:
        total = merge(total, _count_table(shard, table, recipe, learn))
    return total


def _count_table(shard, table, recipe, learn):
    ones = int(read_labels(shard, table, recipe).sum())
    counts = Counts(table.num_rows, (table.num_rows - ones, ones))
    if not learn:
        return counts
    parts: dict[str, list[pa.Array]] = {}
    for column in recipe.columns_of("categorical"):
        texts, _ = values.cut(values.texts(shard, table, column), column)
        if column.is_bag:
            empty = pc.equal(pc.list_value_length(texts), 0)
            texts = texts.flatten()
        else:
            empty = pc.equal(texts, "")
            texts = texts.filter(pc.invert(empty))
        counts.missing[column.name] = pc.sum(empty).as_py() or 0
        if not column.buckets:
            parts.setdefault(column.table_name, []).append(texts)
    for name, arrays in parts.items():
        counted = pc.value_counts(pa.chunked_array(arrays, pa.string()))
        counts.values[name] = pa.table(
            {
                "value": counted.field("values"),
                "count": counted.field("counts"),
            }
        )
    for column in recipe.columns_of("numeric"):
        numbers = values.numbers(shard, table, column)
        if column.transform == "log1p":
            numbers = np.sign(numbers) * np.log1p(np.abs(numbers))
        counts.moments[column.name] = Moments.from_numbers(numbers)
    return counts


def merge(one: Counts, other: Counts) -> Counts:
    """Returns the merged counts of two parts."""
    return Counts(
        one.rows + other.rows,
        (one.labels[0] + other.labels[0], one.labels[1] + other.labels[1]),
        _merged(one.moments, other.moments, operator.add),
        _merged(one.missing, other.missing, operator.add),
        _merged(one.values, other.values, add_values),
    )


def _merged(one: Mapping, other: Mapping, add):
    return {
        name: add(one[name], other[name])
        if name in one and name in other
        else one.get(name, other.get(name))
        for name in {**one, **other}
    }


def add_values(one: pa.Table, other: pa.Table) -> pa.Table:
    """Merges two tables of distinct values, adding their counts."""
    both = pa.concat_tables([one, other])
    summed = both.group_by("value").aggregate([("count", "sum")])
    return summed.rename_columns(["value", "count"])


def write(counts: Counts, path: str):
    """Writes the counts of a shard to a Parquet file."""
    tables = {name: t for name, t in counts.values.items() if t.num_rows}
    rest = {
        "rows": counts.rows,
        "labels": counts.labels,
        "moments": {
            name: dataclasses.astuple(moments)
            for name, moments in counts.moments.items()
        },
        "missing": counts.missing,
        "tables": list(tables),
    }
    schema = _SCHEMA.with_metadata({"counts": json.dumps(rest)})
    with pq.ParquetWriter(path, schema) as writer:
        for name, table in tables.items():
            names = pa.array([name] * table.num_rows, pa.string())
            columns = [names, table["value"], table["count"]]
            # One row group per table, since a reduction reads one at a time.
            writer.write_table(
                pa.table(columns, schema=schema),
                row_group_size=table.num_rows,
            )


@contextlib.contextmanager
def reading_result(path: str) -> Iterator[None]:
    """Raises DataError if the block cannot read a result of a task."""
    try:
        yield
    except (WukongError, OSError, LookupError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: this part of unfinished work is invalid: "
            f"{one_line(error)}. Remove it; the same command makes it again."
        ) from error


def read(path: str, table: str | None = None) -> Counts:
    """Reads the counts in a file.

    Args:
        path: the file.
        table: name of the table whose values are read. Defaults to None, no
            values.
    """
    with reading_result(path), pq.ParquetFile(path) as file:
        rest = json.loads(file.schema_arrow.metadata[b"counts"])
        counts = Counts(
            rest["rows"],
            tuple(rest["labels"]),
            {name: Moments(*parts) for name, parts in rest["moments"].items()},
            rest["missing"],
        )
        if table is not None and table in rest["tables"]:
            group = rest["tables"].index(table)
            counts.values[table] = file.read_row_group(
                group, columns=["value", "count"]
            )
    return counts


def vocabulary(
    counts: pa.Table, min_count: int, most: int | None = None
) -> pa.Array:
    """Returns the values that get ids, the most frequent first.

    Args:
        counts: columns "value" and "count".
        min_count: values counted less often are left out.
        most: maximum number of values. Defaults to None, no limit.

    Returns:
        Strings; ties are broken by length, and then by string order.
    """
    frequent = counts.filter(pc.greater_equal(counts["count"], min_count))
    frequent = frequent.append_column(
        "length", pc.utf8_length(frequent["value"])
    )
    frequent = frequent.sort_by(
        [
            ("count", "descending"),
            ("length", "ascending"),
            ("value", "ascending"),
        ]
    )
    return frequent["value"].combine_chunks().slice(0, most)
