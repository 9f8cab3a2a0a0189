"""Means, deviations and missing values of numbers."""

import json
import math
import statistics
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.trainer.preparation.command import prepared, rows, run
from trainer.preparation import datasets, specs
from trainer.preparation.counting import Counts
from trainer.preparation.moments import Moments


def write_log(folder, numbers, parts=1):
    """A Parquet log of one number, its train rows in some files."""
    folder.mkdir()
    table = pa.table(
        {"label": [i % 2 for i in range(len(numbers))], "x": numbers}
    )
    for part, places in enumerate(np.array_split(np.arange(len(table)), parts)):
        path = folder / f"train-{part}.parquet"
        pq.write_table(table.take(places), path, row_group_size=7)
    pq.write_table(table, folder / "valid.parquet")
    return folder


def made(tmp_path, numbers, transform="none", parts=1, **fields):
    column = {"name": "x", "kind": "numeric", "transform": transform}
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps({"columns": [{**column, **fields}]}))
    source = write_log(tmp_path / "in", numbers, parts)
    return prepared("parquet", source, tmp_path / "out", f"--recipe={path}")


HOUR = (1_700_000_000.0 + 128.0 * np.arange(29)).tolist()


@pytest.mark.parametrize(
    "numbers",
    [
        [1.5, -2.0, 7.25, 0.0, 3e5],
        [1e-9, 2e-9, 5e-9],
        [2.0**63, -(2.0**63), 3e18, 1e-30],
        HOUR,
        [16_777_216.0, 16_777_217.5, 16_777_220.0],
        [1e-40, 0.0, 1e-44],  # below float32's normal numbers
    ],
)
@pytest.mark.parametrize("transform", ["none", "log1p"])
def test_mean_and_stddev_are_those_of_plain_python(
    numbers, transform, tmp_path
):
    spec, manifest = made(tmp_path, [*numbers, None], transform)
    seen = [
        float(
            np.float32(
                math.copysign(math.log1p(abs(x)), x)
                if transform == "log1p"
                else x
            )
        )
        for x in numbers
    ]
    (number,) = spec.numeric
    exact = [Fraction(x) for x in seen]
    assert number.mean == float(sum(exact) / len(exact))
    deviation = statistics.pstdev(exact)
    assert number.stddev == pytest.approx(float(deviation) or 1.0, rel=1e-12)
    assert manifest["statistics"]["columns"]["x"] == {
        "count": len(numbers),
        "mean": number.mean,
        "stddev": pytest.approx(float(deviation), rel=1e-12),
        "min": pytest.approx(min(seen), rel=1e-7),
        "max": pytest.approx(max(seen), rel=1e-7),
        "missing": 1,
    }


def test_no_cut_and_no_order_of_the_rows_changes_a_bit(tmp_path):
    draw = np.random.default_rng(3)
    numbers = (
        draw.normal(size=997) * 10.0 ** draw.integers(-8, 9, 997)
    ).tolist()
    found = set()
    for parts, order in ((1, 1), (3, 1), (10, -1), (1, -1)):
        folder = tmp_path / f"{parts}{order}"
        folder.mkdir()
        spec, _ = made(folder, numbers[::order], "log1p", parts)
        found.add((spec.numeric[0].mean, spec.numeric[0].stddev))
    assert len(found) == 1


def test_moments_of_many_rows_are_exact():
    draw = np.random.default_rng(5)
    numbers = draw.normal(size=300_000).astype(np.float32).astype(float)
    whole = Moments.from_numbers(numbers)
    assert whole.mean == math.fsum(numbers) / len(numbers)
    parts = [Moments.from_numbers(each) for each in np.array_split(numbers, 17)]
    assert sum(parts, Moments()) == whole
    assert whole.stddev == pytest.approx(numbers.std(), rel=1e-12)


@pytest.mark.parametrize(
    "numbers, mean, said",
    [
        ([2.5] * 40, 2.5, "number 'x': constant in the train rows; stddev 1"),
        ([None] * 40, 0.0, "number 'x': no train row has a value"),
        (HOUR, None, "number 'x': its train rows differ by little more"),
        ([1.0, 2.0] * 9, 1.5, None),
    ],
)
def test_a_number_that_says_nothing_is_printed(numbers, mean, said, tmp_path):
    transform = "log1p" if numbers is HOUR else "none"
    column = {"name": "x", "kind": "numeric", "transform": transform}
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps({"columns": [column]}))
    source = write_log(tmp_path / "in", pa.array(numbers, pa.float64()))
    output = tmp_path / "out"
    code, out, err = run("parquet", source, output, f"--recipe={path}")
    assert code == 0, err
    (number,) = json.loads((output / "features.json").read_text())["numeric"]
    if mean is not None:
        assert number.get("mean", 0.0) == mean
    if said is None:
        assert "number 'x'" not in out and number["stddev"] == 0.5
    else:
        assert said in out
    # JSON knows no infinity.
    text = (output / "manifest.json").read_text()
    json.loads(text, parse_constant=pytest.fail)


@pytest.mark.parametrize("fields", [{}, {"missing": -7.5}])
@pytest.mark.parametrize("gap", [None, 4.0])
def test_what_a_row_without_a_number_is_read_as_is_stated(
    fields, gap, tmp_path
):
    spec, _ = made(tmp_path, [1.0, 2.0, gap, 8.0], **fields)
    (number,) = spec.numeric
    assert number.missing == fields.get("missing", 0.0)
    there = [x for x in (1.0, 2.0, gap, 8.0) if x is not None]
    assert number.mean == statistics.fmean(there)
    # The files keep the gap: the trainer and the server read it alike.
    assert rows(tmp_path / "out", "train")["x"] == [1.0, 2.0, gap, 8.0]
    text = json.loads((tmp_path / "out" / "features.json").read_text())
    assert text["numeric"][0]["missing"] == number.missing


@pytest.mark.parametrize("name", sorted(datasets.KNOWN))
def test_every_number_of_a_known_data_set_states_its_missing_value(name):
    for form in datasets.dataset(name).forms:
        recipe = form.recipe
        spec = specs.spec_of(
            recipe,
            Counts(
                moments={
                    column.name: Moments.from_numbers(np.array([1.0, 2.0]))
                    for column in recipe.columns_of("numeric")
                }
            ),
            {
                column.table_name: pa.array(["a"])
                for column in recipe.columns_of("categorical")
                if not column.buckets
            },
        )
        for number in spec.numeric:
            assert number.missing == 0.0 and number.stddev != 1.0


def test_a_missing_value_must_be_a_number(tmp_path):
    source = write_log(tmp_path / "in", [1.0, 2.0])
    path = tmp_path / "recipe.json"
    column = {"name": "x", "kind": "numeric", "missing": "none"}
    path.write_text(json.dumps({"columns": [column]}))
    code, _, err = run("parquet", source, tmp_path / "o", f"--recipe={path}")
    assert code == 2 and "column 'x': `missing` must be a finite" in err
