"""Writes raw logs as the files that users have, in any number of parts."""

import contextlib
import csv
import dataclasses
import functools
import gzip
import random
from pathlib import Path
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

from tests.properties.logs import Log
from tests.trainer.preparation import command
from trainer.preparation import reading, shards, work


@dataclasses.dataclass(frozen=True)
class Layout:
    """How the rows of a log lie in files, and how these are read.

    Args:
        seed: of where files end and in which order their columns stand.
        parts: files of each split, at most.
        delimiter: of text files, which a name's ending says.
        compressed: whether text files are.
        line_end: of text files.
        quote_all: whether every field of a text file is quoted.
        group_rows: rows of a row group of Parquet.
        shard_bytes: of a shard, about.
        chunk_rows: rows that are counted or encoded at once.
        processes: whether tasks run in other processes.
    """

    seed: int
    parts: int
    delimiter: str
    compressed: bool
    line_end: str
    quote_all: bool
    group_rows: int
    shard_bytes: int
    chunk_rows: int
    processes: bool


def layouts() -> st.SearchStrategy[Layout]:
    """Any layout."""
    return st.builds(
        Layout,
        seed=st.integers(0, 2**32),
        parts=st.integers(1, 4),
        delimiter=st.sampled_from(",\t"),
        compressed=st.booleans(),
        line_end=st.sampled_from(["\n", "\r\n"]),
        quote_all=st.booleans(),
        group_rows=st.integers(1, 50),
        shard_bytes=st.sampled_from([1, 100, 10**6]),
        chunk_rows=st.sampled_from([1, 5, 2**18]),
        processes=st.booleans(),
    )


def write(log: Log, layout: Layout, folder: Path):
    """Writes the files of a log into a folder, which is made."""
    folder.mkdir()
    generator = random.Random(layout.seed)
    for split, rows in log.splits.items():
        cuts = [
            generator.randint(0, len(rows)) for _ in range(layout.parts - 1)
        ]
        # Each part has rows.
        edges = sorted({0, len(rows), *cuts})
        for number, (start, stop) in enumerate(
            zip(edges, edges[1:], strict=False)
        ):
            fields = list(log.fields)
            generator.shuffle(fields)
            path = folder / f"{split}-{number}"
            if log.parquet:
                _write_parquet(
                    path, fields, rows[start:stop], layout, generator
                )
            else:
                _write_text(path, fields, rows[start:stop], layout)


def _write_parquet(path, fields, rows, layout, generator):
    columns = {
        field.name: _array(field, [row[field.name] for row in rows], generator)
        for field in fields
    }
    pq.write_table(
        pa.table(columns),
        path.with_suffix(".parquet"),
        row_group_size=layout.group_rows,
    )


def _array(field, values, generator):
    if field.separator is not None:
        values = [_joined(field, value) for value in values]
        return pa.array(values, pa.string())
    kind = generator.choice(_types(field, values))
    if field.kind == "integer" and pa.types.is_string(kind):
        values = [None if value is None else str(value) for value in values]
    if field.kind == "integers" and pa.types.is_string(kind.value_type):
        values = [value and [str(each) for each in value] for value in values]
    return pa.array(values, kind)


def _types(field, values) -> list[pa.DataType]:
    """The Arrow types that hold values as they are."""
    if field.kind == "label":
        return [pa.infer_type(values)] if values else [pa.string()]
    if field.kind == "integers":
        return [pa.list_(kind) for kind in _integer_types(_flat(values))]
    if field.kind == "integer":
        return _integer_types(values)
    if field.kind == "texts":
        texts = [pa.string(), pa.large_string()]
        return [pa.list_(texts[0]), pa.large_list(texts[1])]
    if field.kind == "real":
        return [pa.float64(), pa.float32()]
    if field.kind == "reals":
        fixed = {len(value) for value in values}
        found = [pa.list_(pa.float64()), pa.large_list(pa.float32())]
        if len(fixed) == 1:
            found.append(pa.list_(pa.float32(), fixed.pop()))
        return found
    return [
        pa.string(),
        pa.large_string(),
        pa.string_view(),
        pa.binary(),
        pa.dictionary(pa.int32(), pa.string()),
    ]


def _flat(values):
    return [each for value in values for each in value or []]


def _integer_types(values):
    there = [value for value in values if value is not None]
    if not there:
        return [pa.int64(), pa.float64(), pa.string(), pa.null()]
    low, high = min(there), max(there)
    found = [pa.int64(), pa.decimal128(38, 0), pa.string()]
    if low >= 0:
        found.append(pa.uint64())
    if -(2**7) <= low and high < 2**7:
        found += [pa.int8(), pa.float16()]
    if -(2**53) < low and high < 2**53:
        found.append(pa.float64())
    return found


def _joined(field, value):
    if value is None:
        return None
    return field.separator.join(_text(each) for each in value)


def _text(value):
    """A value as a field of a text file."""
    return "" if value is None else str(value)


def _write_text(path, fields, rows, layout):
    ending = ".tsv" if layout.delimiter == "\t" else ".csv"
    opened = functools.partial(open, f"{path}{ending}")
    if layout.compressed:
        opened = functools.partial(gzip.open, f"{path}{ending}.gz")
    with opened(mode="wt", encoding="utf-8", newline="") as file:
        writers = [
            csv.writer(
                file,
                delimiter=layout.delimiter,
                lineterminator=layout.line_end,
                quoting=quoting,
            )
            for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL)
        ]
        writers[layout.quote_all].writerow([field.name for field in fields])
        for row in rows:
            texts = [
                _text(row[field.name])
                if field.separator is None
                else _text(_joined(field, row[field.name]))
                for field in fields
            ]
            # Before Python 3.13, csv does not quote a carriage return, which
            # is part of the line's end if it is the last character.
            quoted = layout.quote_all or "\r" in "".join(texts)
            writers[quoted].writerow(texts)


class TwoProcesses:
    """Runs tasks in this process and in another one, by turns.

    Args:
        other: an executor of one process, which stays.
    """

    def __init__(self, other):
        self._other = other

    def __call__(self, what, task, job, items):
        """Runs the task for each item."""
        waiting = [self._other.submit(task, job, item) for item in items[::2]]
        for item in items[1::2]:
            task(job, item)
        for each in waiting:
            each.result()


def prepare(log: Log, layout: Layout, folder: Path, other):
    """Returns (exit code, errors) of the command over a log's files."""
    write(log, layout, folder / "in")
    recipe = folder / "recipe.json"
    recipe.write_text(log.recipe.to_json(), encoding="utf-8")
    plan = shards.plan
    with contextlib.ExitStack() as stack:
        patch = functools.partial(mock.patch.object)
        stack.enter_context(
            patch(shards, "plan", lambda f, _: plan(f, layout.shard_bytes))
        )
        stack.enter_context(patch(reading, "CHUNK_ROWS", layout.chunk_rows))
        if layout.processes:
            stack.enter_context(
                patch(work, "runner", lambda values: TwoProcesses(other))
            )
        arguments = [
            "parquet" if log.parquet else "csv",
            folder / "in",
            folder / "out",
            f"--recipe={recipe}",
            *(f"--{name}={value}" for name, value in log.options.items()),
        ]
        code, _, errors = command.run(*arguments)
        if "are both possible delimiters; set --delimiter." in errors:
            arguments.append(f"--delimiter={layout.delimiter}")
            code, _, errors = command.run(*arguments)
    return code, errors
