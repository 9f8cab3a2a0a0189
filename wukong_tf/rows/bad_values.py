"""What to do with a value that breaks its column's rule."""

import collections
from typing import Protocol

from wukong_tf.errors import DataError


class BadValues(Protocol):
    """Is told of bad values; raises, or lets them be read as missing."""

    def found(
        self,
        where: str,
        row: int,
        column: str,
        rule: str,
        value: str,
        rows: int,
    ) -> None:
        """Takes note of some rows of a column that break a rule.

        Args:
            where: names the file, and the part of it.
            row: number, in the file, of the first of them.
            column: its name.
            rule: what its values must be, in words.
            value: what came in that row, in words.
            rows: how many rows of this part break the rule.
        """
        ...


class Refuse:
    """Ends the reading with an error that names the first bad value."""

    def found(self, where, row, column, rule, value, rows):
        """Raises a DataError."""
        del rows
        raise DataError(
            f"{where}: row {row} (from 0), column {column!r}: must be {rule}; "
            f"received {value}."
        )


class Count:
    """Counts bad values, which are then read as missing.

    Args:
        max_fraction: share of the rows read so far that may be bad in one
            column.

    Attributes:
        counts: bad values by column.
        first: by column, the first bad value in words.
        rows: rows read.
    """

    def __init__(self, max_fraction: float = 1.0):
        self.max_fraction = max_fraction
        self.counts: collections.Counter[str] = collections.Counter()
        self.first: dict[str, str] = {}
        self.rows = 0

    def found(self, where, row, column, rule, value, rows):
        """Counts them."""
        self.counts[column] += rows
        self.first.setdefault(
            column,
            f"{where}: row {row} (from 0), must be {rule}; received {value}",
        )

    def add(self, part: "Count", rows: int):
        """Adds what was found in some rows.

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
