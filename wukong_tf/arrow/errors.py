"""Raw values and types that break a rule."""

from typing import Any


class InvalidValue(ValueError):
    """A raw value that breaks a rule, in the first such row.

    Args:
        row: row of the array, from 0.
        rule: description of valid values.
        value: received value.
    """

    def __init__(self, row: int, rule: str, value: Any):
        super().__init__(
            f"row {row} (from 0): must be {rule}; received {value!r}"
        )
        self.row, self.rule, self.value = row, rule, value


class UnsupportedType(ValueError):
    """An Arrow type that is not supported; says what to write instead."""
