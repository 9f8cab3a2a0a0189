"""The Frappe data set as its users have it: text files of one split each.

Frappe (Baltrunas et al., arXiv 1505.03014) logs which of 4,082 apps 957 users
opened, in which context. Two published forms hold the same split 7:2:1: comma
separated files (BARS' Frappe_x1) and libFM files (He and Chua, "Neural
Factorization Machines", SIGIR 2017). Its licence forbids redistribution, so
nothing of it is here.
"""

import dataclasses
import hashlib
import os
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from wukong_tf.errors import DataError

LABEL = "label"
FEATURES = (
    "user",
    "item",
    "daytime",
    "weekday",
    "isweekend",
    "homework",
    "cost",
    "weather",
    "country",
    "city",
)
GROUP = "user"
COLUMNS = (LABEL, *FEATURES)
LABELS = {"0": 0, "1": 1, "-1": 0}  # libFM files write -1 for no click

# Names that the splits' files go by, in the order they are looked for.
NAMES = {
    split: tuple(
        f"{prefix}{word}.{ending}"
        for ending in ("csv", "libfm")
        for prefix in ("", "frappe.")
        for word in words
    )
    for split, words in {
        "train": ("train",),
        "valid": ("valid", "validation"),
        "test": ("test",),
    }.items()
}

# MD5 of BARS' files, from the README of reczoo/Datasets, Frappe_x1.
PUBLISHED_MD5 = {
    "train": "ba7306e6c4fc19dd2cd84f2f0596d158",
    "valid": "88d51bf2173505436d3a8f78f2a59da8",
    "test": "3470f6d32713dc5f7715f198ca7c612a",
}


@dataclasses.dataclass(frozen=True)
class RawFile:
    """The file of one split.

    Args:
        split: "train", "valid" or "test".
        path: the file.
    """

    split: str
    path: str

    @property
    def libfm(self) -> bool:
        """Whether it is a libFM file rather than a comma-separated one."""
        return self.path.endswith(".libfm")

    def published(self) -> bool | None:
        """Whether it is BARS' file to the byte; None for a libFM file."""
        if self.libfm:
            return None
        with open(self.path, "rb") as file:
            found = hashlib.file_digest(file, "md5").hexdigest()
        return found == PUBLISHED_MD5[self.split]

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Batches of COLUMNS: the label int8, raw values as strings.

        Raises:
            DataError: the file is no such text, or a row breaks a rule; the
                message names file and row.
        """
        first_row = 0
        try:
            with csv.open_csv(self.path, **self._options()) as reader:
                if not self.libfm:
                    self._check_header(reader.schema)
                for batch in reader:
                    yield self._checked(batch, first_row)
                    first_row += batch.num_rows
        except (OSError, pa.ArrowException, UnicodeError) as error:
            text = " ".join(str(error).split()).rstrip(".")
            raise DataError(f"{self.path}: {text}.") from error
        if first_row == 0:
            raise DataError(f"{self.path}: there are no rows.")

    def _options(self):
        names = list(COLUMNS) if self.libfm else None
        return {
            # One thread keeps count of rows, which errors name.
            "read_options": csv.ReadOptions(
                column_names=names, use_threads=False
            ),
            "parse_options": csv.ParseOptions(
                delimiter=" " if self.libfm else ",",
                quote_char=False if self.libfm else '"',
                ignore_empty_lines=False,
            ),
            "convert_options": csv.ConvertOptions(
                column_types=dict.fromkeys(COLUMNS, pa.string()),
                strings_can_be_null=False,
            ),
        }

    def _check_header(self, schema):
        if sorted(schema.names) != sorted(COLUMNS):
            raise DataError(
                f"{self.path}: the first line must name the columns "
                f"{', '.join(COLUMNS)}; it names {', '.join(schema.names)}."
            )

    def _checked(self, batch, first_row):
        columns = {LABEL: self._labels(batch.column(LABEL), first_row)}
        for name in FEATURES:
            values = batch.column(name)
            if self.libfm:
                values = self._indices(name, values, first_row)
            self._check(
                pc.match_substring_regex(values, "^[0-9]*$"),
                first_row,
                name,
                "an integer of at least 0, or empty",
                values,
            )
            columns[name] = values
        return pa.record_batch(columns)

    def _labels(self, values, first_row):
        known = pa.array(LABELS)
        place = pc.index_in(values, value_set=known)
        self._check(
            pc.is_valid(place),
            first_row,
            LABEL,
            f"one of {', '.join(LABELS)}",
            values,
        )
        return pc.take(pa.array(LABELS.values(), pa.int8()), place)

    def _indices(self, name, values, first_row):
        """`17` of each `17:1`, libFM's form of a category."""
        self._check(
            pc.match_substring_regex(values, r"^[0-9]+:1(\.0*)?$"),
            first_row,
            name,
            "INDEX:1",
            values,
        )
        return pc.replace_substring_regex(values, ":.*", "")

    def _check(self, good, first_row, name, rule, values):
        if pc.all(good).as_py():
            return
        row = pc.index(good, False).as_py()
        line = first_row + row + (1 if self.libfm else 2)
        raise DataError(
            f"{self.path}: line {line}, column {name!r}: must be {rule}; "
            f"received {values[row].as_py()!r}."
        )


def find(folder: str) -> list[RawFile]:
    """The files of the three splits in `folder`.

    Raises:
        DataError: the folder or a split's file is missing; the message
            gives the names that were looked for.
    """
    if not os.path.isdir(folder):
        raise DataError(f"--input={folder}: there is no such directory.")
    files = []
    for split, names in NAMES.items():
        paths = [os.path.join(folder, name) for name in names]
        found = [path for path in paths if os.path.isfile(path)]
        if not found:
            raise DataError(
                f"--input={folder}: the {split} split is missing; it must be "
                f"there as one of {', '.join(names)}."
            )
        files.append(RawFile(split, found[0]))
    if len({file.libfm for file in files}) > 1:
        raise DataError(
            f"--input={folder}: the splits must have one form; there are "
            f"{', '.join(os.path.basename(file.path) for file in files)}."
        )
    return files
