"""Pieces of HTML: values as text, tables, sections and pictures."""

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
    "negative_rate": ("Rate of negatives", None, ""),
    "rows": ("Rows", None, ""),
    "positives": ("Positives", None, ""),
}
COUNTS = ("rows", "positives", "examples", "parameters", "steps", "macs")
COUNT_ENDS = ("_step", "_rows", "_parameters", "_flop", "batch_size")


@dataclasses.dataclass(frozen=True)
class Picture:
    """A rendered plot: title, caption and PNG bytes for each theme.

    It is of one task, or of the whole model if `task` is None.
    """

    task: str | None
    title: str
    caption: str
    light: bytes
    dark: bytes


def page(title: str, subtitle: str, parts: list[str]) -> str:
    """Returns a document that needs no other file, from HTML parts."""
    return string.Template(PAGE).substitute(
        title=html.escape(title),
        subtitle=html.escape(subtitle),
        body="\n".join(parts),
    )


def text_of(key: str, value) -> str:
    """Returns `value` as readable text, in the unit implied by `key`."""
    if value in (None, "") or (
        isinstance(value, float) and not math.isfinite(value)
    ):
        return "n/a"
    if isinstance(value, list) and all(isinstance(x, int | str) for x in value):
        return ", ".join(map(str, value)) or "none"
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
    if key in COUNTS or key.endswith(COUNT_ENDS):
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


def section(heading: str, body: str) -> str:
    """Returns a section of the page, with its body as HTML."""
    return f"<section><h2>{html.escape(heading)}</h2>{body}</section>"


def table(headings, rows) -> str:
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


def best(key, runs) -> set[str]:
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


def figure(picture: Picture) -> str:
    """Returns a picture with its caption, for both themes."""
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
