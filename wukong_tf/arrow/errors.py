"""Raw values and types that break a rule."""

from typing import Any


class InvalidValue(ValueError):
    """Reports the first row whose raw value breaks a rule.

    Args:
        row: of the array, from 0.
        rule: what a value must be, in words.
        value: what came.
    """

    def __init__(self, row: int, rule: str, value: Any):
        super().__init__(
            f"row {row} (from 0): must be {rule}; received {value!r}"
        )
        self.row, self.rule, self.value = row, rule, value


class UnsupportedType(ValueError):
    """Reports an Arrow type that no rule reads, and what to write instead."""
