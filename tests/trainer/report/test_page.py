"""The page's words: escaping, units, and runs side by side."""

import html
import math
import re

import pytest

from trainer.report import markup, page


def texts_of(document):
    """The page's texts as a reader sees them, tags cut at."""
    body = document[document.index("</style>") :]
    return [html.unescape(text) for text in re.split("<[^>]*>", body)]


def test_page_escapes_all_text():
    bad = "<b>\"&'"
    values = {"auc": 0.5, bad: bad}
    metrics = {
        bad: {bad: values},
        "compared": {bad: {bad: {bad: values}}},
        "run": {bad: bad, "nested": {bad: [bad]}},
        "model": {"name": bad},
        "training": {"learning_rate": 0.001},
    }
    picture = markup.Picture(bad, bad, bad, b"", b"")
    text = page.build(bad, metrics, [picture])
    assert "<b>" not in text
    shown = "\n".join(texts_of(text))
    assert shown.count(bad) >= 9
    assert "learning rate\n\n0.001" in shown


def test_plots_of_the_model_follow_those_of_tasks():
    def picture(task):
        return markup.Picture(task, "title", "caption", b"", b"")

    one = page.build("A run", {}, [picture("click"), picture(None)])
    assert re.findall("<h2>(.*?)</h2>", one) == ["Plots", "Inside the model"]
    tasks = [picture("click"), picture("buy"), picture(None)]
    two = page.build("A run", {}, tasks)
    assert re.findall("<h2>(.*?)</h2>", two) == [
        "Plots of click", "Plots of buy", "Inside the model",
    ]  # fmt: skip


def test_page_puts_compared_runs_side_by_side_with_the_best_in_bold():
    mine = {"auc": 0.8125, "logloss": 0.4375, "ne": 0.75}
    mine |= {"calibration": 1.0625, "attained_share": 0.8333}
    metrics = {"test": {"click": mine}, "model": {"name": "wukong"}}
    other = {"auc": 0.75, "logloss": 0.5, "ne": 0.875, "calibration": 1.03125}
    metrics["compared"] = {"logistic": {"test": {"click": other}}, "gone": {}}
    text = page.build("A run", metrics, [])
    table = text[text.index("Compared with") :]
    rows = re.findall(r"<tr>(<td.*?)</tr>", table)[:3]
    cells = [re.findall(r'<td(?: class="(.*?)")?>(.*?)</td>', r) for r in rows]
    assert [row[0][1] for row in cells] == [
        "A run (this run)", "logistic", "gone",
    ]  # fmt: skip
    assert cells[0][1:] == [
        ("best", "0.81250"), ("best", "0.43750"), ("best", "0.75000"),
        ("", "1.06250"), ("", "83.33%"),
    ]  # fmt: skip
    assert cells[1][1:] == [
        ("", "0.75000"), ("", "0.50000"), ("", "0.87500"),
        ("best", "1.03125"), ("", "n/a"),
    ]  # fmt: skip
    assert cells[2][1:] == [("", "n/a")] * 5


def test_compared_runs_have_the_columns_that_any_of_them_has():
    mine = {"auc": 0.75, "logloss": 0.5, "group_auc": 0.625}
    metrics = {"test": {"click": mine}, "training": {"seed": 7}}
    other = {"auc": 0.5, "logloss": 0.25}
    metrics["compared"] = {"other": {"test": {"click": other}, "seed": 8}}
    texts = texts_of(page.build("A run", metrics, []))
    table = [text for text in texts[texts.index("Compared with") :] if text]
    first = table.index("Run")
    assert table[first : first + 15] == [
        "Run", "Seed", "AUC", "Group AUC", "LogLoss",
        "A run (this run)", "7", "0.75000", "0.62500", "0.50000",
        "other", "8", "0.50000", "n/a", "0.25000",
    ]  # fmt: skip
    assert not any("ttain" in text for text in table)


def test_slices_are_tables_by_value_and_the_worst_of_all():
    row = {"value": "<b>", "rows": 1234, "positives": 56, "auc": None}
    row |= {"calibration": 1.5, "calibration_low": 1.25}
    row["calibration_high"] = 1.75
    slices = {
        "split": "test",
        "features": {
            "device": {"click": {"slices": 30, "largest": [row]}},
        },
        "worst": {"click": [{"feature": "device", **row}], "buy": []},
        "enough_rows": 100,
    }
    metrics = {"test": {"click": {"auc": 0.75}}, "slices": slices}
    assert page.splits_of(metrics) == ["test"]
    texts = texts_of(page.build("A run", metrics, []))
    cells = ["1,234", "56", "n/a", "1.50000", "1.250 to 1.750"]
    shown = [text for text in texts if text]
    first = shown.index("Worst-calibrated slices")
    assert "at least 100 rows" in shown[first + 1]
    assert shown[first + 8 : first + 14] == ["device <b>", *cells]
    assert "There are none" in shown[first + 14]
    first = shown.index("Slices")
    assert shown[first + 1].endswith(
        "by device: the 1 most frequent of 30 values"
    )
    assert shown[first + 8 : first + 14] == ["<b>", *cells]


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("auc", 0.5, "0.50000"),
        ("auc", math.nan, "n/a"),
        ("peak_bytes", 0, "0 B"),
        ("peak_bytes", 1023, "1023 B"),
        ("peak_bytes", 1 << 10, "1.00 KiB"),
        ("peak_bytes", 5 << 40, "5.00 TiB"),
        ("peak_bytes", 5 << 50, "5,120.00 TiB"),
        ("seconds", 59.04, "59 s"),
        ("seconds", 3 * 3600 + 59, "3 h 0 min"),
        ("examples_per_s", 21234.4, "21,234"),
        ("input_wait", 0.0123, "1.23%"),
        ("embedding_dim", 1024, "1024"),
        ("eval_batch_size", 8192, "8,192"),
        ("early_stopping_task", "", "n/a"),
        ("deterministic", True, "true"),
        ("units", [1, 2], "1, 2"),
        ("remove", [], "none"),
    ],
)
def test_values_are_shown_in_their_units(key, value, expected):
    assert markup.text_of(key, value) == expected
