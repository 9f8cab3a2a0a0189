"""Cases of a test that `make test` has no time for."""

from collections.abc import Iterable

import pytest


def first(values: Iterable, count: int = 1) -> list:
    """The values, of which those after the first few are in `make test-full`.

    Args:
        values: of `pytest.mark.parametrize`; a tuple is a case of several.
        count: how many stay in `make test`. Defaults to 1.
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
