"""What a preparation must write, by plain Python sets and counts."""

import collections
import datetime
import math
import statistics
from fractions import Fraction
from typing import Any

import numpy as np

from export.client.encode import fingerprint64
from tests.properties.logs import Log, Row
from trainer.preparation.columns import Column

MISSING, FIRST = 1, 2


class Expectation:
    """What a log's preparation must hold.

    Args:
        log: the log.
    """

    def __init__(self, log: Log):
        self.log = log
        self._buckets = log.options.get("oov_buckets", 1)
        self._words = {
            column.table_name: self._vocabulary(column.table_name)
            for column in log.recipe.columns_of("categorical")
            if not column.buckets
        }

    def words(self, column: Column, row: Row) -> list[str]:
        """The values of a row that are counted."""
        value = row[column.column]
        values = value if column.is_bag else [value]
        texts = [_text(each) for each in values or []]
        return [_changed(column.rule, each) for each in texts if each]

    def _vocabulary(self, table):
        counts: collections.Counter[str] = collections.Counter()
        for column in self.log.recipe.columns_of("categorical"):
            if column.table_name == table:
                for row in self.log.train:
                    counts.update(self.words(column, row))
        kept = [
            word
            for word, count in counts.items()
            if count >= self.log.options["min_count"]
        ]
        kept.sort(key=lambda word: (-counts[word], len(word), word))
        return kept[: self.log.options.get("max_vocabulary")]

    def vocabulary(self, column: Column) -> list[str] | None:
        """The values of a column's table that have ids, in order."""
        return self._words.get(column.table_name)

    def num_ids(self, column: Column) -> int:
        """Ids of a column's table."""
        words = self.vocabulary(column)
        if words is None:
            return FIRST + column.buckets
        return FIRST + self._buckets + len(words)

    def value(self, column: Column, row: Row) -> Any:
        """What is written of a row; numbers as they came."""
        raw = row[column.column]
        if column.kind == "categorical":
            ids = [self._id(column, word) for word in self.words(column, row)]
            if column.is_bag:
                return ids
            return ids[0] if ids else MISSING
        return raw

    def _id(self, column, word):
        words = self.vocabulary(column)
        if words is not None and word in words:
            return FIRST + self._buckets + words.index(word)
        buckets = column.buckets if words is None else self._buckets
        return FIRST + fingerprint64(word.encode()) % buckets

    def label(self, row: Row) -> int:
        """The label of a row, 0 or 1."""
        value = str(row[self.log.recipe.label]).strip().lower()
        return int(value in ("1", "1.0", "true", "t", "yes"))

    def missing(self, column: Column) -> int:
        """Train rows without a value."""
        rows = self.log.train
        if column.kind == "categorical":
            return sum(not self.words(column, row) for row in rows)
        return sum(row[column.column] is None for row in rows)

    def numbers(self, column: Column) -> list[float]:
        """A numeric column's transformed numbers of the train rows."""
        found = [row[column.column] for row in self.log.train]
        there = [float(each) for each in found if each is not None]
        if column.transform == "none":
            return there
        return [math.copysign(math.log1p(abs(x)), x) for x in there]

    def moments(self, column: Column) -> tuple[float, float]:
        """Mean and standard deviation, of float32 by exact sums."""
        found = [float(np.float32(x)) for x in self.numbers(column)]
        numbers = [Fraction(x) for x in found]
        if not numbers:
            return 0.0, 1.0
        mean = sum(numbers, Fraction()) / len(numbers)
        variance = statistics.pvariance(numbers, mean)
        return float(mean), math.sqrt(variance) or 1.0


def _text(value):
    return "" if value is None else str(value)


def _changed(rule, text):
    if rule == "log2":
        number = int(text)
        power = 0
        while 2 ** (power + 1) <= number:
            power += 1
        return str(power if number > 2 else number)
    if rule in ("hour", "weekday", "weekend"):
        day = datetime.date(
            2000 + int(text[:2]), int(text[2:4]), int(text[4:6])
        )
        sunday_first = day.isoweekday() % 7
        return {
            "hour": text[6:],
            "weekday": str(sunday_first),
            "weekend": str(int(sunday_first in (0, 6))),
        }[rule]
    return text
