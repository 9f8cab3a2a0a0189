"""The log of the tutorial: what its files hold, and that clicks have causes."""

import ast
import csv
import datetime

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tests.programs import call
from trainer import example_log
from trainer.preparation import example_rows

ROWS = 500
DRAWN = 40_000


def run(output, *more):
    """The exit code of the command line."""
    return call(example_log, f"--output={output}", f"--rows={ROWS}", *more)


def read(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("log") / "days"
    assert run(folder) == 0
    return folder


@pytest.fixture(scope="module")
def days(folder):
    """The rows of each day, in the order of the days."""
    return [read(path) for path in sorted(folder.glob("2026-*.csv"))]


def test_a_day_has_a_file_with_rows_in_order(folder, days):
    assert len(days) == example_rows.DAYS
    for path, rows in zip(sorted(folder.glob("2*.csv")), days, strict=True):
        times = [datetime.datetime.fromisoformat(row["time"]) for row in rows]
        assert times == sorted(times) and len(times) == ROWS
        assert {f"{time.date()}" for time in times} == {path.stem}


def test_tomorrow_is_the_last_day_without_labels(folder, days):
    rows = [dict(row) for row in days[-1]]
    for row in rows:
        assert row.pop(example_rows.LABEL) in ("true", "false")
    assert read(folder / example_rows.TOMORROW) == rows


def test_columns_are_as_people_have_them(days):
    rows = sum(days, [])
    assert {row["clicked"] for row in rows} == {"true", "false"}
    for name, missing in (("price", "n/a"), ("rating", ""), ("city", "")):
        share = np.mean([row[name] == missing for row in rows])
        assert 0.01 < share < 0.12, name
    assert any(not row["city"].isascii() for row in rows)
    assert any(len(ast.literal_eval(row["tags"])) > 1 for row in rows)
    assert max(row["last clicks"].count("|") for row in rows) == 4
    assert len({row["request id"] for row in rows}) == len(rows)


def test_last_clicks_are_the_clicks_before(days):
    seen = {}
    for row in sum(days, []):
        user = row["user id"]
        before = [each for each in row["last clicks"].split("|") if each]
        if user in seen:
            assert before == seen[user]
        seen[user] = before
        if row["clicked"] == "true":
            seen[user] = [row["item id"], *before][:5]


def test_new_items_appear_from_day_to_day(days):
    first = {row["item id"] for row in days[0]}
    later = {row["item id"] for row in sum(days[4:], [])}
    assert later - first


def test_the_same_seed_gives_the_same_bytes(folder, tmp_path):
    def contents(where):
        return [path.read_bytes() for path in sorted(where.iterdir())]

    assert run(tmp_path / "again") == run(tmp_path / "other", "--seed=1") == 0
    assert contents(tmp_path / "again") == contents(folder)
    for mine, theirs in zip(
        contents(folder), contents(tmp_path / "other"), strict=True
    ):
        assert mine != theirs


def test_clicks_need_interactions():
    """Only the effects of users and items rank them far worse than all do."""
    random = np.random.default_rng(0)
    shop = example_rows.Shop.make(random)
    users, items = len(shop.tastes), len(shop.appeal)
    user, item = (
        random.integers(0, users, 40_000),
        random.integers(0, items, 40_000),
    )
    hour, device = np.full(40_000, 18.0), np.zeros(40_000, np.int64)
    logit = shop.logits(user, item, hour, device)
    clicked = random.random(40_000) < 1 / (1 + np.exp(-logit))
    taste = (shop.tastes[user] * shop.appeal[item]).sum(1) / 2
    assert clicked.mean() == pytest.approx(0.25, abs=0.07)
    assert roc_auc_score(clicked, logit) > 0.76
    assert roc_auc_score(clicked, logit - taste) < 0.71


def test_refuses_to_overwrite(folder, capsys):
    assert run(folder) == 2
    assert f"--output={folder} already exists" in capsys.readouterr().err


@pytest.mark.parametrize(
    "output, rule", [("", "--output is required"), ("/proc/no", "be written")]
)
def test_refuses_an_output_that_cannot_be(output, rule, capsys):
    assert run(output) == 2
    assert rule in capsys.readouterr().err


def test_refuses_further_arguments(tmp_path, capsys):
    assert run(tmp_path / "days", "more") == 2
    assert "unexpected arguments: ['more']" in capsys.readouterr().err
