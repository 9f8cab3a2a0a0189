"""The report's HTML page: self-contained, no scripts, all text escaped."""

import html
import json

from trainer.report import markup
from trainer.report.markup import METRICS, Picture, section, text_of

HEADLINE = ("attained_share", "auc", "logloss", "ne", "calibration")
COMPARED = (
    "auc",
    "group_auc",
    "logloss",
    "ne",
    "calibration",
    "attained_share",
)
SLICED = ("rows", "positives", "auc", "calibration")
FACTS = {
    "run": "Run",
    "model": "Model",
    "training": "Training",
    "cost": "Cost",
    "progressive": "Progressive evaluation",
    "bad_values": "Bad values, read as missing",
}
# Keys of metrics.json that are no splits.
OTHERS = (*FACTS, "compared", "curves", "importance", "slices")


def splits_of(metrics: dict) -> list[str]:
    """Returns the splits in `metrics`, "test" first, others in order."""
    splits = [
        key
        for key, value in metrics.items()
        if key not in OTHERS and isinstance(value, dict)
    ]
    return sorted(splits, key=lambda split: split != "test")


def build(
    title: str, metrics: dict, pictures: list[Picture], example: str = ""
) -> str:
    """Returns the page as text.

    Args:
        title: heading of the page.
        metrics: content of metrics.json.
        pictures: the rendered plots, task by task, then of the model.
        example: a Python program that scores rows. Defaults to "", none.

    Returns:
        An HTML document that needs no other file.
    """
    splits = splits_of(metrics)
    compared = metrics.get("compared") or {}
    parts = [_headline(metrics, split) for split in splits[:1]]
    if splits:
        parts.append(section("Metrics", _metrics_table(metrics, splits)))
    if splits and compared:
        table = _compared_tables(title, metrics, compared, splits[0])
        parts.append(section("Compared with", table))
    parts += _plots(pictures)
    if metrics.get("slices"):
        parts += _slices(metrics["slices"])
    if example:
        code = f"<pre>{html.escape(example)}</pre>"
        parts.append(section("Score rows in Python", code))
    facts = [
        section(heading, _facts(metrics[key]))
        for key, heading in FACTS.items()
        if metrics.get(key)
    ]
    parts.append(f'<div class="pair">{"".join(facts)}</div>')
    return markup.page(title, _subtitle(metrics), parts)


def _plots(pictures):
    """Returns a section of plots for each task, and one of the model's."""
    every = list(dict.fromkeys(picture.task for picture in pictures))
    single = len([task for task in every if task is not None]) == 1
    sections = []
    for task in every:
        figures = [markup.figure(p) for p in pictures if p.task == task]
        heading = "Plots" if single else f"Plots of {task}"
        if task is None:
            heading = "Inside the model"
        body = f'<div class="plots">{"".join(figures)}</div>'
        sections.append(section(heading, body))
    return sections


def _subtitle(metrics):
    model, run = metrics.get("model") or {}, metrics.get("run") or {}
    name = model.get("name") or model.get("model")
    facts = [name] if name else []
    for text, key, values in (
        ("{} parameters", "parameters", model),
        ("checkpoint of step {}", "checkpoint_step", run),
        ("trained for {}", "seconds", run),
        ("{} examples/s", "examples_per_s", run),
    ):
        if values.get(key) is not None:
            facts.append(text.format(text_of(key, values[key])))
    return " · ".join(facts)


def _headline(metrics, split):
    rows = []
    for task, values in metrics[split].items():
        cards = [
            f'<div class="card"><div class="name">{METRICS[key][0]}</div>'
            f'<div class="value">{html.escape(text_of(key, values[key]))}'
            f'</div><div class="note">{html.escape(_note(key, values))}'
            "</div></div>"
            for key in HEADLINE
            if key in values
        ]
        label = html.escape(f"{task}, {split} rows")
        rows.append(
            f'<h2>{label}</h2><div class="cards">{"".join(cards)}</div>'
        )
    return f"<section>{''.join(rows)}</section>"


def _note(key, values):
    attainable = values.get(f"attainable_{key}")
    if attainable is not None:
        return f"attainable: {text_of(key, attainable)}"
    return METRICS[key][2]


def _metrics_table(metrics, splits):
    every = dict.fromkeys(
        key
        for split in splits
        for values in metrics[split].values()
        for key in values
    )
    keys = [key for key in METRICS if key in every]
    keys += [key for key in every if key not in METRICS]
    headings = [METRICS[key][0] if key in METRICS else key for key in keys]
    rows = [
        [split, task, *(text_of(key, values.get(key)) for key in keys)]
        for split in splits
        for task, values in metrics[split].items()
    ]
    return markup.table(["Split", "Task", *headings], rows)


def _compared_tables(title, metrics, compared, split):
    seed = (metrics.get("training") or {}).get("seed")
    tables = []
    for task, mine in metrics[split].items():
        name = f"{title} (this run)"
        runs, seeds = {name: mine}, {name: seed}
        for other, theirs in compared.items():
            runs[other] = (theirs.get(split) or {}).get(task) or {}
            seeds[other] = theirs.get("seed")
        shown = [k for k in COMPARED if any(k in r for r in runs.values())]
        best = {key: markup.best(key, runs) for key in shown}
        seeded = any(each is not None for each in seeds.values())
        rows = [
            [run]
            + [text_of("seed", seeds[run])] * seeded
            + [
                (
                    text_of(key, values.get(key)),
                    "best" if run in best[key] else "",
                )
                for key in shown
            ]
            for run, values in runs.items()
        ]
        headings = ["Run", *["Seed"] * seeded]
        headings += [METRICS[key][0] for key in shown]
        caption = html.escape(f"{task}, {split} rows; the best in bold.")
        tables.append(f"<p>{caption}</p>{markup.table(headings, rows)}")
    return "".join(tables)


def _slices(slices):
    """Returns sections of the slices predicted worst, and of all by value."""
    split, worst = slices["split"], []
    headings = [METRICS[key][0] for key in SLICED] + ["95% interval"]
    for task, found in slices["worst"].items():
        caption = (
            f"{task}, {split} rows: slices of at least "
            f"{slices['enough_rows']} rows whose calibration is furthest from "
            "1, measured from the nearer end of its 95% interval."
        )
        table = ""
        if found:
            rows = [[f"{r['feature']} {r['value']}", *_slice(r)] for r in found]
            table = markup.table(["Slice", *headings], rows)
        else:
            caption += " There are none whose interval excludes 1."
        worst.append(f"<p>{html.escape(caption)}</p>{table}")
    by_value = []
    for feature, tasks in slices["features"].items():
        for task, found in tasks.items():
            rows = [[row["value"], *_slice(row)] for row in found["largest"]]
            caption = f"{task}, {split} rows by {feature}"
            if found["slices"] > len(rows):
                caption += (
                    f": the {len(rows)} most frequent of "
                    f"{found['slices']:,} values"
                )
            table = markup.table([feature, *headings], rows)
            by_value.append(
                f"<section><p>{html.escape(caption)}</p>{table}</section>"
            )
    tables = f'<div class="plots">{"".join(by_value)}</div>'
    return [
        section("Worst-calibrated slices", "".join(worst)),
        section("Slices", tables),
    ]


def _slice(row):
    """Returns the cells of a slice after its value."""
    ends = (row["calibration_low"], row["calibration_high"])
    return [
        *(text_of(key, row[key]) for key in SLICED),
        "n/a" if None in ends else "{:.3f} to {:.3f}".format(*ends),
    ]


def _facts(facts):
    rows = []
    for key, value in facts.items():
        name = html.escape(str(key).replace("_", " "))
        if isinstance(value, dict) or (
            isinstance(value, list) and any(isinstance(v, dict) for v in value)
        ):
            text = html.escape(json.dumps(value, indent=2))
            text = (
                f"<details><summary>show</summary><pre>{text}</pre></details>"
            )
        else:
            text = html.escape(text_of(str(key), value))
        rows.append(f"<dt>{name}</dt><dd>{text}</dd>")
    return f"<dl>{''.join(rows)}</dl>"
