"""Bags of ids, their weights and missing labels in Parquet files."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trainer.data.parquet import ParquetSource
from wukong_tf.config import CategoricalFeature, FeatureSpec, Task
from wukong_tf.errors import DataError

BAG = CategoricalFeature("bag", 6, pooling="sum", max_ids=3, weights="weights")
SPEC = FeatureSpec((BAG,), tasks=(Task(missing_labels=True),))
GOOD = {
    "bag": [[1, 5], None, [], [2, 2, 3]],
    "weights": [[0.5, 2.0], None, [], [0.0, 1.0, 3.0]],
    "label": [1.0, None, float("nan"), 0.0],
}
LISTS = {"bag": pa.list_(pa.int64()), "weights": pa.list_(pa.float64())}


def write(path, kinds=LISTS, **changes):
    data = {**GOOD, **changes}
    arrays = {name: pa.array(v, kinds.get(name)) for name, v in data.items()}
    pq.write_table(pa.table(arrays), path)
    return str(path)


def read(path, spec=SPEC, size=4):
    return next(ParquetSource([path], spec).batches(size))


@pytest.mark.parametrize("kind", [pa.list_, pa.large_list])
@pytest.mark.parametrize("ids", [pa.int8(), pa.uint16(), pa.int64()])
def test_bags_become_rectangles(tmp_path, kind, ids):
    kinds = {"bag": kind(ids), "weights": kind(pa.float32())}
    batch = read(write(tmp_path / "a.parquet", kinds))
    assert batch["bag"].dtype == np.int32
    assert batch["bag"].tolist() == [[1, 5, 0], [0] * 3, [0] * 3, [2, 2, 3]]
    assert batch["weights"].dtype == np.float32
    assert batch["weights"].tolist() == [
        [0.5, 2.0, 0.0],
        [0.0] * 3,
        [0.0] * 3,
        [0.0, 1.0, 3.0],
    ]


def test_lists_of_a_fixed_size_are_bags_too(tmp_path):
    kinds = {"bag": pa.list_(pa.int32(), 2), "weights": pa.list_(pa.float32())}
    path = write(
        tmp_path / "a.parquet",
        kinds,
        bag=[[1, 2], [3, 4], None, [5, 1]],
        weights=[[1, 1], [1, 1], None, [1, 1]],
    )
    assert read(path)["bag"].tolist() == [
        [1, 2, 0],
        [3, 4, 0],
        [0, 0, 0],
        [5, 1, 0],
    ]


@pytest.mark.parametrize(
    "labels", [GOOD["label"], [True, None, None, False], [1, None, None, 0]]
)
def test_a_missing_label_is_nan(tmp_path, labels):
    batch = read(write(tmp_path / "a.parquet", label=labels))
    np.testing.assert_array_equal(batch["label"], [1, np.nan, np.nan, 0])
    assert batch["label"].dtype == np.float32


def test_rows_are_the_same_wherever_reading_starts(tmp_path):
    path = write(tmp_path / "a.parquet")
    source = ParquetSource([path], SPEC, shuffle_rows=10, seed=3)
    whole = list(source.batches(1, epoch=2))
    later = list(source.batches(1, epoch=2, first_step=2))
    for one, other in zip(whole[2:], later, strict=True):
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])


def test_of_a_long_bag_the_first_ids_count(tmp_path):
    long = [[1, 5], [4, 3, 2, 1, 1], [], [2, 2, 3, 4]]
    weights = [[0.5, 2.0], [5.0, 4.0, 3.0, 2.0, 1.0], None, [0.0, 1.0, 3.0, 9]]
    path = write(tmp_path / "a.parquet", bag=long, weights=weights)
    batch = read(path)
    for name, given in (("bag", long), ("weights", weights)):
        cut = [(row or [])[:3] for row in given]
        want = [row + [0] * (3 - len(row)) for row in cut]
        assert batch[name].tolist() == want


@pytest.mark.parametrize(
    "changes, words",
    [
        (
            {"bag": [[1, 5], None, [], [2, 2, 3, 4]]},
            ["row 3", "'weights'", "one weight for each", "3 weights for 4"],
        ),
        (
            {
                "bag": [[1, 5], None, [], [2, 2, 3, 4, 1]],
                "weights": [[0.5, 2.0], None, [], [0.0, 1.0, 3.0, 1.0]],
            },
            ["row 3", "4 weights for 5 ids"],
        ),
        ({"bag": [[1, 5], None, [], [2, 0, 3]]}, ["row 3", "[2 0 3]"]),
        ({"bag": [[1, 6], None, [], [2, 2, 3]]}, ["row 0", "below 6", "[1 6]"]),
        ({"bag": [[1, -1], None, [], [2, 2, 3]]}, ["row 0", "[ 1 -1]"]),
        ({"bag": [[1, 5], None, [], [2, None, 3]]}, ["row 3", "a null"]),
        (
            {"weights": [[0.5], None, [], [0.0, 1.0, 3.0]]},
            ["row 0", "'weights'", "one weight for each id", "1 weights for 2"],
        ),
        (
            {"weights": [[0.5, 1.0], [1.0], [], [0.0, 1.0, 3.0]]},
            ["row 1", "1 weights for 0 ids"],
        ),
        (
            {"weights": [[0.5, -1.0], None, [], [0.0, 1.0, 3.0]]},
            ["row 0", "'weights'", "[0, 2**53]"],
        ),
        (
            {"weights": [[0.5, float("inf")], None, [], [0.0, 1.0, 3.0]]},
            ["row 0", "2**53", "inf"],
        ),
        ({"label": [1.0, None, 0.5, 0.0]}, ["row 2", "or missing", "0.5"]),
    ],
)
def test_a_bad_row_is_named(tmp_path, changes, words):
    path = write(tmp_path / "bad.parquet", **changes)
    with pytest.raises(DataError) as error:
        read(path)
    for word in ("bad.parquet", *words):
        assert word in str(error.value)


@pytest.mark.parametrize(
    "name, kind, values",
    [
        ("bag", pa.int64(), [1, 2, 3, 4]),
        ("bag", pa.list_(pa.float64()), [[1.0]] * 4),
        ("weights", pa.float64(), [1.0] * 4),
        ("weights", pa.list_(pa.string()), [["a"]] * 4),
    ],
)
def test_a_column_of_another_type_is_refused(tmp_path, name, kind, values):
    kinds = {**LISTS, name: kind}
    path = write(tmp_path / "a.parquet", kinds, **{name: values})
    with pytest.raises(DataError, match=f"column '{name}' must be lists of"):
        read(path)


def test_a_label_must_be_there_where_the_task_says_so(tmp_path):
    path = write(tmp_path / "a.parquet")
    spec = FeatureSpec((BAG,))
    with pytest.raises(DataError, match="row 1.*'label'.*no value"):
        read(path, spec)


def test_a_raw_column_without_any_list_is_sampled(tmp_path):
    """Its type in the file is that of nulls, which have no values' type."""
    path = str(tmp_path / "a.parquet")
    pq.write_table(pa.table({"bag": pa.nulls(3), "label": [0, 1, 0]}), path)
    bag = CategoricalFeature(
        "bag", 9, raw="int64", pooling="sum", max_ids=2, missing_value=-7
    )
    found = ParquetSource([path], FeatureSpec((bag,))).sample(3)
    assert all(not row for row in found["bag"].to_pylist())
    assert found["label"].to_pylist() == [0.0, 1.0, 0.0]
