"""Samples of held-out rows, as literals of a program."""

import datetime

import numpy as np
import pyarrow as pa
import pytest

from trainer.data.samples import literals


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([23.15, np.nan, None], pa.float32()), [23.15, None, None]),
        (
            pa.array([[0.1, 0.2], None], pa.list_(pa.float32())),
            [[0.1, 0.2], None],
        ),
        (pa.array([1 / 3], pa.float64()), [1 / 3]),
        (pa.array(["a", None]), ["a", None]),
        (pa.array([datetime.date(2026, 3, 2)]), ["2026-03-02"]),
    ],
)
def test_literals_are_as_short_as_their_type_allows(column, expected):
    assert literals(pa.chunked_array([column])) == expected


def test_a_literal_is_read_as_the_same_float32():
    values = np.random.default_rng(0).normal(size=999).astype(np.float32)
    shown = literals(pa.chunked_array([pa.array(values)]))
    np.testing.assert_array_equal(np.array(shown, np.float32), values)
    assert max(len(repr(value)) for value in shown) <= 15
