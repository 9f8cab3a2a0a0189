"""Guesses are reported; a suspicious one comes with what mends it."""

import datetime
import json
import re
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tests.trainer.preparation.command import prepared, rows, run, words
from trainer.preparation import guessed_times

N = 600
DRAW = np.random.default_rng(3)
TIMES = [
    datetime.datetime(2024, 3, 1) + datetime.timedelta(minutes=37 * i)
    for i in range(N)
]
BAGS = [[f"t{x}" for x in DRAW.integers(0, 9, i % 4)] for i in range(N)]
PRICES = [round(float(x), 2) for x in DRAW.exponential(9.0, N)]
VECTORS = [
    [round(float(x), 3) for x in row] for row in DRAW.normal(size=(N, 3))
]
COLUMNS = {
    "iso": [f"{t}" for t in TIMES],
    "slashed": [f"{t:%d/%m/%Y %H:%M}" for t in TIMES],
    "unix": [int(t.timestamp()) for t in TIMES],
    "price": ["n/a" if i % 40 == 7 else f"{p}" for i, p in enumerate(PRICES)],
    "comma": [f"{p:.2f}".replace(".", ",") for p in PRICES],
    "piped": ["|".join(bag) for bag in BAGS],
    "quoted": [repr(bag) for bag in BAGS],
    "json": [json.dumps(bag) for bag in BAGS],
    "embedding": [str(vector) for vector in VECTORS],
    "constant": ["x"] * N,
    "gap": [None] * N,
    "float": [f"{x}.0" for x in DRAW.integers(0, 40, N)],
    "own": [f"u{i:05d}" for i in range(N)],
    "city": DRAW.choice(["b c", "d e", "f"], N).tolist(),
    "plain": PRICES,
}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("guesses")
    frame = pd.DataFrame({"label": [0, 1] * (N // 2), **COLUMNS})
    frame.to_csv(folder / "train.csv")
    frame.to_csv(folder / "valid.csv")
    return folder


@pytest.fixture(scope="module")
def said(source, tmp_path_factory):
    output = tmp_path_factory.mktemp("guessed") / "out"
    code, out, err = run("csv", source, output)
    assert code == 0, err
    return out


def line_of(said, name):
    (line,) = [
        each for each in said.splitlines() if each.startswith(f"  {name}: ")
    ]
    return line


def test_each_column_is_described(said):
    assert f"guessed from the first {N} rows of " in said
    assert line_of(said, "label") == "  label: the label"
    for name, values in COLUMNS.items():
        line = line_of(said, name)
        there = [v for v in values if v not in (None, "")]
        if not there:
            assert line.endswith("left out, as it has no values in these rows")
            continue
        kind = "numeric" if name == "plain" else "categorical"
        missing = f"{1 - len(there) / N:.1%}"
        assert f"{kind}, {len(set(there)):,} values, {missing} missing" in line
        assert str(there[0])[:20] in line
    assert line_of(said, "Unnamed: 0").endswith("as it numbers the rows")
    assert '(if these are codes: {"name": "plain"})' in line_of(said, "plain")
    assert '"kind": "numeric"' in line_of(said, "float")
    assert '"kind": "numeric"' not in line_of(said, "city")


def test_numbers_count_as_features(said):
    features = len(COLUMNS) - len(["gap"])
    assert re.search(rf": {features} features, [\d,]+ ids$", said.strip())


def warnings(said):
    found = re.findall(r"^warning: column '(\w+)': (.*)$", said, re.MULTILINE)
    assert len(dict(found)) == len(found)
    return dict(found)


def mended(said):
    """Of each warning, the columns of its recipe."""
    recipes = {
        name: text.partition("In the recipe: ")[2]
        for name, text in warnings(said).items()
    }
    return {n: json.loads(f"[{text}]") for n, text in recipes.items()}


def test_suspicious_guesses_are_warned_of_and_others_not(said):
    found = warnings(said)
    assert set(found) == set(COLUMNS) - {"city", "plain", "gap"}
    for name in ("iso", "slashed", "unix"):
        assert "dates or times" in found[name]
    assert "numbers, with the texts 'n/a' among them" in found["price"]
    assert "decimal commas" in found["comma"]
    assert "between them" in found["piped"]
    assert "lists in text" in found["quoted"]
    assert "lists in text" in found["json"]
    assert "vectors in text" in found["embedding"]
    assert "100.00% of the rows hold 'x'" in found["constant"]
    assert "written as floats" in found["float"]
    assert "600 values in 600 rows" in found["own"]


def test_the_recipes_of_warnings_make_what_python_makes(source, said, tmp_path):
    recipe = {"columns": [c for made in mended(said).values() for c in made]}
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(recipe))
    output = tmp_path / "out"
    spec, _ = prepared("csv", source, output, f"--recipe={path}")
    found = rows(output, "valid")

    def values(name):
        known = words(spec, name)
        return [
            [known[i] for i in each] if isinstance(each, list) else known[each]
            for each in found[name]
        ]

    for name in ("iso", "slashed", "unix"):
        assert values(f"{name}_hour") == [f"{t:%H}" for t in TIMES]
        assert values(f"{name}_weekday") == [f"{t:%w}" for t in TIMES]
        (made,) = [c for c in recipe["columns"] if c["name"] == f"{name}_age"]
        last = datetime.datetime.fromisoformat(made["reference"])
        assert last.date() == TIMES[-1].date()
        step = 60 if name == "slashed" else 1
        for age, time in zip(found[f"{name}_age"], TIMES, strict=True):
            days = (last - time) / datetime.timedelta(days=1)
            assert age == pytest.approx(days, abs=step / 86_400 + 1e-5)
    assert found["price"] == pytest.approx(
        [None if i % 40 == 7 else p for i, p in enumerate(PRICES)]
    )
    for name in ("piped", "quoted", "json"):
        assert values(name) == BAGS
    np.testing.assert_allclose(found["embedding"], VECTORS, rtol=1e-6)
    derived = {f.name: f.derived for f in (*spec.categorical, *spec.numeric)}
    assert derived["iso_hour"] == "hour of 'iso' in UTC"
    assert derived["unix_age"].startswith(
        "age_in_days of 'unix' in UTC, before"
    )
    assert derived["price"] is None
    (hour,) = [f for f in spec.categorical if f.name == "iso_hour"]
    assert hour.raw == "string"  # a request holds "07"


@pytest.mark.parametrize("write", ["to_parquet", "to_csv"])
def test_times_of_parquet_and_of_text_are_the_same(write, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    kind = write.removeprefix("to_")
    frame = pd.DataFrame(
        {
            "label": [0, 1] * (N // 2),
            "aware": pd.to_datetime(TIMES, utc=True),
            "naive": TIMES,
            "unix": COLUMNS["unix"],
        }
    )
    for split in ("train", "valid"):
        getattr(frame, write)(folder / f"{split}.{kind}", index=False)
    zone = "America/Los_Angeles"
    columns = [
        {
            "name": f"{name}_{rule}",
            "source": name,
            "rule": rule,
            "format": "unix" if name == "unix" else "iso",
            "time_zone": zone,
        }
        for name in ("aware", "naive", "unix")
        for rule in ("hour", "weekday")
    ]
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps({"columns": columns}))
    spec, _ = prepared(kind, folder, tmp_path / "out", f"--recipe={path}")
    found = rows(tmp_path / "out", "valid")
    utc = [time.replace(tzinfo=datetime.UTC) for time in TIMES]
    there = [time.astimezone(ZoneInfo(zone)) for time in utc]
    for name in ("aware", "naive", "unix"):
        shown = TIMES if name == "naive" else there
        for rule, code in (("hour", "%H"), ("weekday", "%w")):
            known = words(spec, f"{name}_{rule}")
            values = [known[i] for i in found[f"{name}_{rule}"]]
            assert values == [time.strftime(code) for time in shown]


@pytest.mark.parametrize(
    "column, named",
    [
        ({"rule": "hour", "format": "%Q"}, "`format` must be iso, unix"),
        ({"rule": "hour", "format": "iso", "time_zone": "X"}, "`time_zone`"),
        ({"kind": "numeric", "rule": "hour"}, "`rule` must be one of"),
        ({"kind": "numeric", "rule": "age_in_days"}, "`reference` must be"),
        ({"reference": "2024-01-01"}, "`reference` needs the rule"),
        ({"format": "iso"}, '`format` must be "list"'),
        (
            {"longest": 2, "format": "list", "separator": "|"},
            "`format` must be",
        ),
        ({"longest": 2, "rule": "digits"}, "a bag cannot have a `rule`"),
        ({"missing_values": [1]}, "`missing_values` must be strings"),
        ({"longest": 2, "separator": ""}, "`separator` must be a non-empty"),
        ({"longest": 2, "separator": 5}, "`separator` must be a non-empty"),
        ({"source": 5}, "`source` must be a non-empty"),
        ({"min_count": "5"}, "`min_count` must be an integer"),
        ({"min_count": 0}, "`min_count` must be at least 1"),
        ({"source": "label"}, "'iso': is derived from the label 'label'"),
    ],
)
def test_a_recipe_of_times_that_breaks_a_rule_is_refused(
    column, named, source, tmp_path
):
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps({"columns": [{"name": "iso", **column}]}))
    code, _, err = run("csv", source, tmp_path / "out", f"--recipe={path}")
    assert code == 2 and named in err, err


def test_a_time_that_breaks_its_format_is_named_by_line(source, tmp_path):
    path = tmp_path / "recipe.json"
    column = {"name": "h", "source": "slashed", "rule": "hour", "format": "iso"}
    path.write_text(json.dumps({"columns": [column]}))
    code, _, err = run("csv", source, tmp_path / "out", f"--recipe={path}")
    assert code == 2
    assert "train.csv: line 2, column 'slashed': must be a time in ISO" in err
    assert "'01/03/2024 00:00'" in err


def test_spaces_and_booleans_in_texts_are_warned_of(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    bags = [", ".join(bag) for bag in BAGS]
    frame = pd.DataFrame(
        {
            "label": [0, 1] * (N // 2),
            "listed": bags,
            "mixed": [bag.replace(", ", ",", 1) for bag in bags],
            "some": ["a ", "a", "b"] * (N // 3),
            "all": [" x", " y"] * (N // 2),
            "inner": ["x y", "y z"] * (N // 2),
            "flag": [True, False] * (N // 2),
        }
    )
    for split in ("train", "valid"):
        frame.to_csv(folder / f"{split}.csv", index=False)
    code, said, err = run("csv", folder, tmp_path / "guessed")
    assert code == 0, err
    found, columns = warnings(said), mended(said)
    assert set(found) == {"listed", "mixed", "some", "all", "flag"}
    assert columns["listed"][0]["separator"] == ", "
    assert columns["mixed"][0]["separator"] == ","
    assert "spaces around values, such as 'a '" in found["some"]
    assert "such as ' x'" in found["all"]
    assert "'True' and 'False'; requests hold" in found["flag"]


def test_texts_among_times_stand_for_none(tmp_path):
    """One of them far behind the values at which formats are tried."""
    folder = tmp_path / "in"
    folder.mkdir()
    times = [
        datetime.datetime(2024, 3, 1) + datetime.timedelta(minutes=11 * i)
        for i in range(2400)
    ]
    texts = [f"{time}" for time in times]
    texts[7], texts[2300] = "0000-00-00", "n/a"
    slashed = [f"{time:%m/%d/%Y}" for time in times]
    mixed = texts[:2350] + [f"day {i}" for i in range(50)]
    codes = [f"{10**39 + i}" for i in range(2400)]
    frame = pd.DataFrame(
        {
            "label": [0, 1] * 1200,
            "time": texts,
            "day": slashed,
            "mixed": mixed,
            "code": codes,
        }
    )
    for split in ("train", "valid"):
        frame.to_csv(folder / f"{split}.csv", index=False)
    code, said, err = run("csv", folder, tmp_path / "guessed")
    assert code == 0, err
    found, columns = warnings(said), mended(said)
    assert "texts '0000-00-00', 'n/a' among them, each" in found["time"]
    assert columns["day"][0]["format"] == "%m/%d/%Y"
    for name in ("mixed", "code"):
        assert "values in 2,400 rows" in found[name]
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps({"columns": columns["time"]}))
    output = tmp_path / "out"
    spec, _ = prepared("csv", folder, output, f"--recipe={path}")
    ages = rows(output, "valid")["time_age"]
    assert [i for i, age in enumerate(ages) if age is None] == [7, 2300]
    hours, known = rows(output, "valid")["time_hour"], words(spec, "time_hour")
    assert [known[i] for i in hours] == [
        None if i in (7, 2300) else f"{time:%H}" for i, time in enumerate(times)
    ]


NO_DATES = (
    *("1.2.3", "2024.1.0", "2023.10.1 LTS", "01-23-4000", "2025-55-01"),
    *("Marching 12 2020", "Decimal 10 1000", "10/12/5", "12-10-24"),
)


@pytest.mark.parametrize(
    "forms, shown",
    [
        (("%Y-%m-%d", "%m/%d/%Y"), "'2024-03-01', '03/13/2024'"),
        (("%Y-%m-%dT%H:%M", "%d %b %Y"), "'2024-03-01T00:00', '13 Mar 2024'"),
        (("%Y-%m-%d", "2024-02-30"), "'2024-03-01', '2024-02-30'"),
        (("%b %d, %Y",), "'Mar 01, 2024'"),
        (("%A, %B %d %Y",), "'Friday, March 01 2024'"),
        (("%d-%B-%Y %H:%M",), "'01-March-2024 00:00'"),
        (("%d/%b/%Y:%H:%M:%S +0000",), "'01/Mar/2024:00:00:00 +0000'"),
        (("[%d/%b/%Y:%H:%M:%S]",), "'[01/Mar/2024:00:00:00]'"),
        (("%m/%d/%y",), "'03/01/24'"),
        (("%d-%b-%y",), "'01-Mar-24'"),
        (("%a %b %d %H:%M:%S +0000 %Y",), "'Fri Mar 01 00:00:00 +0000 2024'"),
    ],
)
def test_dates_in_no_known_format_are_warned_of(forms, shown):
    days = [
        datetime.datetime(2024, 3, 1) + datetime.timedelta(days=i)
        for i in range(24)
    ]
    texts = [f"{d:{forms[i // 12 % len(forms)]}}" for i, d in enumerate(days)]
    distinct = pa.array(texts)
    found = guessed_times.suggestion("t", distinct, distinct, False)
    assert found is not None and f"such as {shown}, but" in found[0]
    for other in NO_DATES:
        values = pa.array([*texts, other])
        assert guessed_times.suggestion("t", values, values, False) is None
