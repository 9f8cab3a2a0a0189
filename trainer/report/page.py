"""The report's HTML page: self-contained, no scripts, all text escaped."""

import base64
import dataclasses
import html
import json
import math
import string

from trainer.report.template import PAGE

# Metrics with their heading, whether higher is better (None: nearest to 1
# is best), and meaning. Others are shown under their own names.
METRICS = {
    "auc": ("AUC", True, "probability that a positive outranks a negative"),
    "logloss": ("LogLoss", False, "mean cross-entropy, in nats"),
    "ne": ("NE", False, "normalized entropy: LogLoss over the base rate's"),
    "calibration": ("Calibration", None, "predicted over observed positives"),
    "group_auc": ("Group AUC", True, "AUC within each group, averaged"),
    "attained_share": (
        "Attained share",
        True,
        "of the attainable AUC gain over 0.5",
    ),
    "attainable_auc": ("Attainable AUC", None, ""),
    "attainable_logloss": ("Attainable LogLoss", None, ""),
    "base_rate": ("Base rate", None, ""),
    "rows": ("Rows", None, ""),
}
HEADLINE = ("attained_share", "auc", "logloss", "ne", "calibration")
COMPARED = ("auc", "logloss", "ne", "calibration", "attained_share")
FACTS = {
    "run": "Run",
    "model": "Model",
    "training": "Training",
    "cost": "Cost",
    "progressive": "Progressive evaluation",
    "bad_values": "Bad values, read as missing",
}


@dataclasses.dataclass(frozen=True)
class Picture:
    """A rendered plot: task, title, caption and PNG bytes for each theme."""

    task: str
    title: str
    caption: str
    light: bytes
    dark: bytes


def splits_of(metrics: dict) -> list[str]:
    """Returns the splits in `metrics`, "test" first, others in order."""
    splits = [
        key
        for key, value in metrics.items()
        if key not in (*FACTS, "compared") and isinstance(value, dict)
    ]
    return sorted(splits, key=lambda split: split != "test")


def build(
    title: str, metrics: dict, pictures: list[Picture], example: str = ""
) -> str:
    """Returns the page as text.

    Args:
        title: heading of the page.
        metrics: content of metrics.json.
        pictures: the rendered plots, task by task.
        example: a Python program that scores rows. Defaults to "", none.

    Returns:
        An HTML document that needs no other file.
    """
    splits = splits_of(metrics)
    compared = metrics.get("compared") or {}
    parts = [_headline(metrics, split) for split in splits[:1]]
    if splits:
        parts.append(_section("Metrics", _metrics_table(metrics, splits)))
    if splits and compared:
        table = _compared_tables(metrics, compared, splits[0])
        parts.append(_section("Compared with", table))
    tasks = list(dict.fromkeys(picture.task for picture in pictures))
    for task in tasks:
        figures = [_figure(p) for p in pictures if p.task == task]
        heading = "Plots" if len(tasks) == 1 else f"Plots of {task}"
        body = f'<div class="plots">{"".join(figures)}</div>'
        parts.append(_section(heading, body))
    if example:
        code = f"<pre>{html.escape(example)}</pre>"
        parts.append(_section("Score rows in Python", code))
    facts = [
        _section(heading, _facts(metrics[key]))
        for key, heading in FACTS.items()
        if metrics.get(key)
    ]
    parts.append(f'<div class="pair">{"".join(facts)}</div>')
    return string.Template(PAGE).substitute(
        title=html.escape(title),
        subtitle=html.escape(_subtitle(metrics)),
        body="\n".join(parts),
    )


def text_of(key: str, value) -> str:
    """Returns `value` as readable text, in the unit implied by `key`."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "n/a"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value if isinstance(value, str) else json.dumps(value)
    if key.endswith("bytes"):
        return _bytes(value)
    if key in ("attained_share", "input_wait"):
        return f"{100 * value:.2f}%"
    if key == "seconds" or key.endswith("_seconds"):
        return _duration(value)
    if key.endswith("_per_s"):
        return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    if key in ("rows", "examples", "parameters", "steps") or key.endswith(
        "_step"
    ):
        return f"{value:,.0f}"
    if key in METRICS:
        return f"{value:.5f}"
    return str(value) if isinstance(value, int) else f"{value:.6g}"


def _bytes(value):
    if abs(value) < 1024:
        return f"{value:.0f} B"
    units = ("B", "KiB", "MiB", "GiB", "TiB")
    power = min(int(math.log2(abs(value)) // 10), len(units) - 1)
    return f"{value / 1024**power:,.2f} {units[power]}"


def _duration(seconds):
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


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


def _section(heading, body):
    return f"<section><h2>{html.escape(heading)}</h2>{body}</section>"


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


def _table(headings, rows):
    """Returns an HTML table; a cell is text or (text, CSS class)."""
    head = "".join(f"<th>{html.escape(text)}</th>" for text in headings)
    lines = []
    for row in rows:
        cells = []
        for cell in row:
            text, css = cell if isinstance(cell, tuple) else (cell, "")
            css = f' class="{css}"' if css else ""
            cells.append(f"<td{css}>{html.escape(text)}</td>")
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


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
    return _table(["Split", "Task", *headings], rows)


def _compared_tables(metrics, compared, split):
    tables = []
    for task, mine in metrics[split].items():
        name = (metrics.get("model") or {}).get("name") or "this run"
        runs = {f"{name} (this run)": mine}
        for other, theirs in compared.items():
            runs[other] = (theirs.get(split) or {}).get(task) or {}
        best = {key: _best(key, runs) for key in COMPARED}
        rows = [
            [run]
            + [
                (
                    text_of(key, values.get(key)),
                    "best" if run in best[key] else "",
                )
                for key in COMPARED
            ]
            for run, values in runs.items()
        ]
        headings = ["Run", *(METRICS[key][0] for key in COMPARED)]
        caption = html.escape(f"{task}, {split} rows; the best in bold.")
        tables.append(f"<p>{caption}</p>{_table(headings, rows)}")
    return "".join(tables)


def _best(key, runs):
    """Returns the names of the runs with the best value of a metric."""
    higher = METRICS[key][1]
    costs = {}
    for run, metrics in runs.items():
        value = metrics.get(key)
        if isinstance(value, int | float) and math.isfinite(value):
            cost = -value if higher else value
            costs[run] = abs(value - 1) if higher is None else cost
    if len(costs) < 2:
        return set()
    least = min(costs.values())
    return {run for run, cost in costs.items() if cost == least}


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


def _figure(picture):
    light, dark = (
        "data:image/png;base64," + base64.b64encode(data).decode("ascii")
        for data in (picture.light, picture.dark)
    )
    return (
        '<figure><picture><source media="(prefers-color-scheme: dark)" '
        f'srcset="{dark}"><img src="{light}" '
        f'alt="{html.escape(picture.title)}"></picture>'
        f"<figcaption>{html.escape(picture.caption)}</figcaption></figure>"
    )
