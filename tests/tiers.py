"""Marks test cases that only `make test-full` runs."""

from collections.abc import Iterable

import pytest


def first(values: Iterable, count: int = 1) -> list:
    """Returns the values, those after the first few marked as `full`.

    Args:
        values: for `pytest.mark.parametrize`; a tuple is one case of several.
        count: number of values that `make test` runs. Defaults to 1.
    """
    return [
        value
        if index < count
        else pytest.param(
            *(value if isinstance(value, tuple) else (value,)),
            marks=pytest.mark.full,
        )
        for index, value in enumerate(values)
    ]
