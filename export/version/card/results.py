"""The parts of a model card on metrics and on the export's proof."""

from typing import Any

from export.version.card import head
from export.version.card.facts import Facts
from export.version.card.markup import name, number, table, text

_COLUMNS = {
    "rows": "rows",
    "base_rate": "positives",
    "negative_rate": "sampling rate of negatives",
} | {key: title for key, (_, title) in head.METRICS.items()}


def describe(manifest: dict[str, Any], run: Facts) -> list[str]:
    """Returns the parts as Markdown.

    Args:
        manifest: content of the version's manifest.
        run: facts of the run.
    """
    parts = ["## Metrics", *_metrics(manifest, run), "## Export"]
    parts += _parity(manifest["parity"])
    if smaller := manifest["smaller_forms"]:
        parts += _smaller(smaller)
    return parts


def _metrics(manifest, run):
    found = run.results
    if found is None:
        yield (
            "The run's files have no metrics of the exported model: this "
            "checkpoint was not evaluated, or units were removed from it."
        )
        return
    columns = {
        key: title
        for key, title in _COLUMNS.items()
        if any(key in values for values in found.tasks.values())
    }
    area = "computed from all rows" if found.exact else "from 65,536 bins"
    yield (
        f"On the {found.split} split of "
        f"{text(head.data_name(run, found.split))}, of the checkpoint as it "
        f"was trained. AUC is {area}."
    )
    yield table(
        ("task", *columns.values()),
        [
            (name(task), *(number(values.get(key)) for key in columns))
            for task, values in found.tasks.items()
        ],
    )
    yield (
        "Calibration is the sum of the predictions over the number of "
        "positives, 1 at best; normalized entropy is LogLoss over the entropy "
        "of the share of positives. Rows are those with a label of the task."
    )
    if "negative_rate" in columns:
        yield "A sampled negative counts as one over the sampling rate."


def _parity(parity):
    logits = parity["max_abs_logit_difference"]
    rows = [
        (
            text(form),
            _difference(logits.get(form)),
            _difference(difference),
            f"{parity['tolerance'][form]:g}",
        )
        for form, difference in parity["max_abs_probability_difference"].items()
    ]
    return [
        f"Each file and signature scored {number(parity['rows'])} held-out "
        "rows, and variants of them; the largest differences from the "
        "checkpoint in float32, with the tables as published:",
        table(("form", "logit", "probability", "tolerance of logits"), rows),
    ]


def _difference(value):
    return "no such output" if value is None else f"{value:.1e}"


def _smaller(smaller):
    rows = [
        (
            text(form),
            name(task),
            *(
                f"{number(figures[key])} ({figures[f'{key}_change']:+.6f})"
                for key in ("auc", "ne")
            ),
            number(figures["logit_change"]),
        )
        for form, tasks in smaller["changes"].items()
        for task, figures in tasks.items()
    ]
    return [
        f"What the reduced precision changes, on {number(smaller['rows'])} "
        "held-out rows:",
        table(
            (
                "form",
                "task",
                "AUC (change)",
                "normalized entropy (change)",
                "largest change of a logit",
            ),
            rows,
        ),
    ]
