"""Columns of any name are prepared as columns of plain names are."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests import tiers
from tests.trainer.preparation.command import prepared, rows, run, words

# In pairs, of which earlier versions made one file name each.
COLUMNS = (
    "价格", "城市", "user id", "user_id", "User_ID", "é", "e\u0301", "..", "._",
    "a\nb", "a b", "label", "_place", "_global_rows", "x" * 400, "y" * 400,
)  # fmt: skip


def log(names, count=3000):
    """Each column has values of its own, in numbers of its own."""
    draw = np.random.default_rng(0)
    columns = {"click": draw.integers(0, 2, count)}
    for place, name in enumerate(names):
        values = draw.integers(0, 4 + place, count)
        columns[name] = [f"{place}-{value}" for value in values]
    return pa.table(columns)


def write(folder, names):
    folder.mkdir()
    table = log(names)
    pq.write_table(table, folder / "train.parquet", row_group_size=500)
    pq.write_table(table.slice(0, 300), folder / "valid.parquet")
    return folder


@pytest.mark.parametrize("workers", tiers.first([1, 3]))
def test_names_make_no_difference(tmp_path, workers):
    plain = [f"c{place}" for place in range(len(COLUMNS))]
    options = ("--label=click", "--shard_mb=1")
    found = {}
    for name, columns, processes in (
        ("any", COLUMNS, workers),
        ("plain", plain, 1),
    ):
        source = write(tmp_path / name, columns)
        output = tmp_path / f"{name}-out"
        spec, _ = prepared(
            "parquet", source, output, *options, f"--workers={processes}"
        )
        found[name] = spec, rows(output, "valid")
    (spec, valid), (other, expected) = found["any"], found["plain"]
    label, table = "click", log(COLUMNS)
    assert [task.label for task in spec.tasks] == [label]
    assert valid[label] == expected["label"]
    for place, (name, its) in enumerate(zip(COLUMNS, plain, strict=True)):
        assert valid[name] == expected[its]
        assert words(spec, name) == words(other, its)
        assert {*words(spec, name)[3:]} == {*table[name].to_pylist()}
        read = [words(spec, name)[i] for i in valid[name]]
        assert read == table[name].to_pylist()[:300], place


@pytest.mark.parametrize("name", ["a/b", "a\0b", "/"])
def test_names_that_no_feature_has_are_refused_before_any_work(tmp_path, name):
    source = write(tmp_path / "in", ["user", name])
    output = tmp_path / "out"
    code, _, err = run("parquet", source, output, "--label=click")
    assert code == 2
    assert repr(name) in err and "without '/' and NUL" in err
    assert "`source`" in err
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    recipe = tmp_path / "recipe.json"
    columns = [{"name": "user"}, {"name": "other", "source": name}]
    recipe.write_text(json.dumps({"label": "click", "columns": columns}))
    spec, _ = prepared("parquet", source, output, f"--recipe={recipe}")
    assert len(words(spec, "other")) == 3 + 5


@pytest.mark.parametrize(
    "recipe, named",
    [
        ({"columns": [{"name": "user", "table": "a/b"}]}, "(its `table`)"),
        (
            {
                "columns": [{"name": "user"}, {"name": "n", "kind": "numeric"}],
                "group": "n",
            },
            "`group` column 'n'",
        ),
    ],
)
def test_a_recipe_of_no_spec_is_refused_before_any_work(
    tmp_path, recipe, named
):
    source = write(tmp_path / "in", ["user", "n"])
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps({"label": "click", **recipe}))
    output = tmp_path / "out"
    code, out, err = run("parquet", source, output, f"--recipe={path}")
    assert code == 2 and named in err
    assert not out and len(list(tmp_path.iterdir())) == 2
