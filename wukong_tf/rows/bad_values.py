"""Handlers of values that break their column's rule."""

import collections
from typing import Protocol

from wukong_tf.errors import DataError


class BadValues(Protocol):
    """A handler of bad values: raises, or lets them be read as missing."""

    def found(
        self,
        where: str,
        row: int,
        column: str,
        rule: str,
        value: str,
        rows: int,
    ) -> None:
        """Records rows of a column that break a rule.

        Args:
            where: names the file and the part of it.
            row: row number, in the file, of the first of them.
            column: its name.
            rule: description of valid values.
            value: received value of that row, as text.
            rows: number of rows of this part that break the rule.
        """
        ...


class Refuse:
    """A handler that raises an error for the first bad value."""

    def found(self, where, row, column, rule, value, rows):
        """Raises a DataError."""
        del rows
        raise DataError(
            f"{where}: row {row} (from 0), column {column!r}: must be {rule}; "
            f"received {value}."
        )


class Count:
    """A handler that counts bad values, which are then read as missing.

    Args:
        max_fraction: share of the rows read so far that may be bad in one
            column.

    Attributes:
        counts: bad values by column.
        first: the first bad value of each column, as text.
        rows: rows read.
    """

    def __init__(self, max_fraction: float = 1.0):
        self.max_fraction = max_fraction
        self.counts: collections.Counter[str] = collections.Counter()
        self.first: dict[str, str] = {}
        self.rows = 0

    def found(self, where, row, column, rule, value, rows):
        """Counts the rows."""
        self.counts[column] += rows
        self.first.setdefault(
            column,
            f"{where}: row {row} (from 0), must be {rule}; received {value}",
        )

    def add(self, part: "Count", rows: int):
        """Adds the counts of another part of the rows.

        Raises:
            DataError: too many values of a column are bad.
        """
        self.rows += rows
        self.counts += part.counts
        self.first = {**part.first, **self.first}
        for column, count in self.counts.items():
            if count > self.max_fraction * self.rows:
                raise DataError(
                    f"column {column!r}: {count} of the {self.rows} rows read "
                    f"are bad, more than the share of {self.max_fraction:g} "
                    "that --max_bad_fraction allows. The first: "
                    f"{self.first[column]}."
                )


REFUSE = Refuse()
