"""Ids of an earlier preparation that go on: all are kept, or nothing is."""

import json

import numpy as np
import pytest

from tests.trainer.preparation.command import prepared, rows, run, words
from wukong_tf.config import FeatureSpec

COLUMNS = [
    {"name": "user"},
    {"name": "friend", "table": "user"},
    {"name": "site", "buckets": 9},
    {"name": "hour", "rule": "log2"},
    {"name": "price", "kind": "numeric"},
]
NAMES = ["label", "user", "friend", "site", "hour", "price"]


def log(count, seed, first=0):
    draw = np.random.default_rng(seed)
    return [
        [
            str(int(draw.integers(2))),
            f"u{int(draw.zipf(1.3)) % 30 + first}",
            f"u{int(draw.integers(30)) + first}",
            f"s{int(draw.integers(30))}",
            str(int(draw.integers(40))),
            str(float(draw.exponential())),
        ]
        for _ in range(count)
    ]


def write(folder, lines):
    """The same rows to train on and to hold out."""
    folder.mkdir()
    text = "".join(",".join(line) + "\n" for line in [NAMES, *lines])
    for split in ("train", "valid"):
        (folder / f"{split}.csv").write_text(text)
    return folder


def recipe(folder, columns):
    path = folder / "recipe.json"
    path.write_text(json.dumps({"columns": columns}))
    return f"--recipe={path}"


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """The first day, with three ids for values out of vocabulary."""
    folder = tmp_path_factory.mktemp("first")
    source = write(folder / "in", log(300, 0))
    options = [recipe(folder, COLUMNS), "--oov_buckets=3", "--min_count=2"]
    spec, _ = prepared("csv", source, folder / "out", *options)
    return folder / "out", spec


def second(tmp_path, first, *more, columns=COLUMNS, code=0):
    source = write(tmp_path / "in", log(200, 1, first=12))
    options = [recipe(tmp_path, columns), f"--extend={first[0]}", *more]
    if code:
        return run("csv", source, tmp_path / "out", *options)
    return prepared("csv", source, tmp_path / "out", *options)[0]


def new_users(spec, least=1):
    """The second day's users without an id before, in the order of ids."""
    lines = log(200, 1, first=12)
    seen = [line[place] for line in lines for place in (1, 2)]
    counts = {user: seen.count(user) for user in seen}
    return sorted(
        (
            u
            for u in counts
            if counts[u] >= least and u not in words(spec, "user")
        ),
        key=lambda user: (-counts[user], len(user), user),
    )


def test_ids_stay_and_new_values_follow(first, tmp_path):
    """Ids out of vocabulary too, though no flag says how many they are."""
    spec = second(tmp_path, first)
    before = words(first[1], "user")
    assert words(spec, "user") == before + new_users(first[1])
    assert spec.categorical[0].oov_buckets == 3
    known = words(spec, "user")
    lines = log(200, 1, first=12)
    assert rows(tmp_path / "out", "valid")["user"] == [
        known.index(line[1]) for line in lines
    ]
    assert words(spec, "hour")[: len(words(first[1], "hour"))] == words(
        first[1], "hour"
    )


def test_the_recipe_goes_on_unless_the_flags_give_another(first, tmp_path):
    source = write(tmp_path / "in", log(200, 1, first=12))
    for path in source.iterdir():  # a column more than yesterday
        head, _, rest = path.read_text().partition("\n")
        lines = [f"{line},new" for line in rest.splitlines()]
        path.write_text("\n".join([f"{head},city", *lines]) + "\n")
    extend = f"--extend={first[0]}"
    code, out, err = run("csv", source, tmp_path / "out", extend)
    assert code == 0, err
    assert f"the recipe is that of {extend}\n" in out
    assert "not in the recipe, and left out: 'city'\n" in out
    text = (tmp_path / "out" / "recipe.json").read_text()
    assert text == (first[0] / "recipe.json").read_text()
    # A guess makes a table of its own for friends.
    code, out, err = run(
        "csv", source, tmp_path / "guess", extend, "--label=label"
    )
    assert code == 2 and "guessed from" in out and "'friend'" in err


@pytest.mark.parametrize("most", [1, 5, 25, 30, 33, 500])
def test_a_smaller_vocabulary_takes_no_id_back(most, first, tmp_path):
    option = f"--max_vocabulary={most}"
    code, said, err = second(tmp_path, first, option, code=2)
    assert code == 0, err
    spec = FeatureSpec.from_json(
        (tmp_path / "out" / "features.json").read_text()
    )
    before = words(first[1], "user")
    full = f"table 'user': its {len(before) - 5} earlier values reach"
    assert (full in said) == (len(before) - 5 >= most)
    left = max(0, most - (len(before) - 5))
    assert words(spec, "user") == before + new_users(first[1])[:left]


def test_a_larger_min_count_takes_no_id_back(first, tmp_path):
    spec = second(tmp_path, first, "--min_count=9")
    before = words(first[1], "user")
    assert words(spec, "user") == before + new_users(first[1], 9)


def without(name):
    return [column for column in COLUMNS if column["name"] != name]


def changed(name, **fields):
    return [
        {**column, **fields} if column["name"] == name else column
        for column in COLUMNS
    ]


REFUSED = [
    (without("hour"), "feature 'hour'", "no categorical feature"),
    (without("site"), "feature 'site'", "no categorical feature"),
    (
        [*without("hour"), {"name": "time", "source": "hour", "rule": "log2"}],
        "feature 'hour'",
        "no categorical feature of that name or table",
    ),
    (changed("hour", table="times"), "feature 'hour'", "read table 'times'"),
    (changed("friend", table="friend"), "feature 'friend'", "table 'friend'"),
    (changed("site", table="user", buckets=0), "feature 'site'", "'user'"),
    (changed("hour", buckets=50), "feature 'hour'", "hashed to 50"),
    (changed("site", buckets=0), "feature 'site'", "hashed to 9 and would be"),
    (changed("site", buckets=99), "feature 'site'", "would be hashed to 99"),
    (changed("hour", rule="text"), "feature 'hour'", "would be 'string'"),
    (changed("hour", rule="squared_log"), "feature 'hour'", "was 'log2'"),
    (
        changed("hour", kind="numeric", rule="text"),
        "feature 'hour'",
        "no categorical",
    ),
]


@pytest.mark.parametrize("columns, feature, problem", REFUSED)
def test_a_recipe_that_would_lose_ids_is_refused(
    columns, feature, problem, first, tmp_path
):
    code, _, err = second(tmp_path, first, columns=columns, code=2)
    assert code == 2, err
    assert f"error: --extend={first[0]}: the ids of {feature}" in err
    assert problem in err
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize("buckets, refused", [(1, True), (4, True), (3, False)])
def test_other_oov_buckets_would_move_every_id(
    buckets, refused, first, tmp_path
):
    option = f"--oov_buckets={buckets}"
    if not refused:
        spec = second(tmp_path, first, option)
        assert words(spec, "user")[5] == words(first[1], "user")[5]
        return
    code, _, err = second(tmp_path, first, option, code=2)
    assert code == 2 and f"{option} would change every id of --extend=" in err
    assert "which has 3" in err


def test_a_renamed_feature_of_the_same_table_keeps_its_ids(first, tmp_path):
    columns = [
        *without("hour"),
        {"name": "time", "source": "hour", "rule": "log2", "table": "hour"},
        {"name": "new", "source": "site"},
    ]
    spec = second(tmp_path, first, columns=columns)
    before = words(first[1], "hour")
    assert words(spec, "time")[: len(before)] == before
    assert len(words(spec, "new")) > 5


@pytest.mark.parametrize(
    "feature, expected",
    [
        ({"name": "user", "num_ids": 9}, "they come from neither"),
        (
            {"name": "user", "num_ids": 9, "raw": "float", "boundaries": [1.0]},
            "they come from neither a vocabulary nor a hash",
        ),
        (
            {"name": "user", "num_ids": 5, "vocabulary": ["a", "b"]},
            "`raw` is None and would be 'string'",
        ),
        (
            {
                "name": "user",
                "num_ids": 5,
                "raw": "int64",
                "vocabulary": ["7"],
            },
            "`missing_value` of a preparation is -9223372036854775808",
        ),
        (
            {
                "name": "user",
                "num_ids": 4,
                "raw": "int64",
                "missing_value": -(2**63),
                "vocabulary": ["7"],
            },
            "`raw` is 'int64' and would be 'string'",
        ),
    ],
)
def test_ids_that_no_recipe_makes_are_refused(feature, expected, tmp_path):
    (tmp_path / "before").mkdir()
    path = tmp_path / "before" / "features.json"
    path.write_text(json.dumps({"categorical": [feature]}))
    first = (tmp_path / "before", None)
    columns = [{"name": "user", "raw": "string"}]
    code, _, err = second(tmp_path, first, columns=columns, code=2)
    assert code == 2 and expected in err, err


def test_a_table_that_was_empty_goes_on(tmp_path):
    """A column without any value has no vocabulary, but is not hashed."""
    source = write(tmp_path / "one", [[v, "", "", "s", "", ""] for v in "01"])
    columns = [{"name": "user"}, {"name": "site"}]
    option = recipe(tmp_path, columns)
    spec, _ = prepared("csv", source, tmp_path / "first", option)
    assert words(spec, "user") == [None] * 3
    spec = second(tmp_path, (tmp_path / "first", spec), columns=columns)
    assert len(words(spec, "user")) > 3
