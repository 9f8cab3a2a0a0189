"""What `trainer.prepare` writes of any log."""

import concurrent.futures
import json
import math
import multiprocessing
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, seed

from export.client.encode import Encoder
from tests.properties import files, logs, plain, profile
from tests.trainer.preparation import command

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def other():
    """A process that tasks run in too."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        yield pool


def prepared(log, layout, folder, other):
    """(features.json, manifest.json, columns by split) of a preparation."""
    code, errors = files.prepare(log, layout, folder, other)
    assert code == 0, errors
    output = folder / "out"
    features = json.loads((output / "features.json").read_text("utf-8"))
    manifest = json.loads((output / "manifest.json").read_text("utf-8"))
    return (
        features,
        manifest,
        {split: command.rows(output, split) for split in log.splits},
    )


@seed(profile.SEED)
@given(log=logs.logs(), layout=files.layouts())
def test_files_hold_what_sets_and_counts_say(other, log, layout):
    with tempfile.TemporaryDirectory() as folder:
        features, manifest, splits = prepared(log, layout, Path(folder), other)
    expected = plain.Expectation(log)
    check_features(expected, features)
    check_statistics(expected, features, manifest)
    for split, rows in log.divided.items():
        check_rows(expected, features, rows, splits[split])
        assert manifest["rows"][split] == len(rows)
        check_clients(log, features, rows, splits[split])


def check_features(expected, features):
    """Vocabularies and ids."""
    recipe = expected.log.recipe
    stated = {}
    columns = recipe.columns_of("categorical")
    found = features.get("categorical", [])
    assert [f["name"] for f in found] == [c.name for c in columns]
    for column, feature in zip(columns, found, strict=True):
        assert feature["num_ids"] == expected.num_ids(column)
        assert feature.get("table") == column.table
        assert feature.get("pooling") == (
            column.pooling if column.is_bag else None
        )
        if "vocabulary" in feature:
            stated[column.table_name] = feature["vocabulary"]
    for column in columns:
        assert stated.get(column.table_name) == expected.vocabulary(column)
    assert ("group" in features) == (recipe.group is not None)


def check_statistics(expected, features, manifest):
    """Numbers, gaps and labels of the train rows."""
    log = expected.log
    found = manifest["statistics"]
    labels = [expected.label(row) for row in log.train]
    assert found["rows"] == len(log.train)
    assert math.isclose(found["label_rate"], sum(labels) / len(labels))
    numeric = {f["name"]: f for f in features.get("numeric", [])}
    for column in log.recipe.columns:
        if column.kind == "vector":
            continue
        said = found["columns"][column.name]
        assert said["missing"] == expected.missing(column)
        if column.kind == "categorical":
            continue
        feature = numeric[column.name]
        mean, stddev = expected.moments(column)
        numbers = expected.numbers(column)
        # As far as log1p in float64 rounds to another float32.
        close = 1e-6 * max((abs(x) for x in numbers), default=0.0)
        assert math.isclose(feature.get("mean", 0.0), mean, abs_tol=close)
        assert math.isclose(
            feature.get("stddev", 1.0), stddev, rel_tol=1e-6, abs_tol=close
        )
        if stddev != 1.0:
            assert feature.get("stddev", 1.0) != 1.0
        assert feature["missing"] == column.missing
        if numbers:
            assert math.isclose(said["min"], min(numbers), rel_tol=1e-12)
            assert math.isclose(said["max"], max(numbers), rel_tol=1e-12)


def check_rows(expected, features, rows, columns):
    """Every row, in order."""
    if not rows:
        assert columns == {}
        return
    recipe = expected.log.recipe
    taken = [c.name for c in recipe.columns]
    label = recipe.label if "label" in taken else "label"
    assert columns[label] == [expected.label(row) for row in rows]
    group = [features["group"]] if recipe.group else []
    assert list(columns) == [label, *taken, *group]
    if group:
        check_groups(expected, rows, columns[group[0]])
    for column in recipe.columns:
        want = [expected.value(column, row) for row in rows]
        got = columns[column.name]
        if column.kind == "categorical":
            assert got == want
            continue
        for one, wanted in zip(got, want, strict=True):
            if wanted is None:
                assert one is None
            else:
                np.testing.assert_array_equal(
                    np.float32(one), np.float32(wanted)
                )


def check_groups(expected, rows, groups):
    """Rows are of one group if and only if they have one raw value."""
    recipe = expected.log.recipe
    (column,) = [c for c in recipe.columns if c.name == recipe.group]
    values = [tuple(expected.words(column, row)) for row in rows]
    pairs = set(zip(values, groups, strict=True))
    assert len(pairs) == len(set(values)) == len(set(groups))


def check_clients(log, features, rows, columns):
    """A client that sends what was logged has the ids of the files."""
    raw = [f for f in features.get("categorical", []) if f.get("raw")]
    recipe = {c.name: c for c in log.recipe.columns}
    sent = [
        {f["name"]: sent_value(row[recipe[f["name"]].column]) for f in raw}
        for row in rows
    ]
    ids = Encoder({"categorical": raw}).encode(sent)
    for feature in raw:
        size = feature.get("max_ids")
        want = columns.get(feature["name"], [])
        if size:
            want = [bag + [0] * (size - len(bag)) for bag in want]
        assert ids[feature["name"]].tolist() == want


def sent_value(value):
    """A logged value as a request holds it, without what is missing."""
    if isinstance(value, list):
        return [each for each in value if each not in ("", None)]
    return value
