"""Tables of a ladder as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trainer.scaling_law import search
from trainer.scaling_law.analysis import BASE, Analysis, last_window
from trainer.scaling_law.fit import EXPONENTS, MOST, Law
from trainer.scaling_law.frontier import curves
from trainer.scaling_law.records import Record, by_model, by_rung

PAPER = -0.1  # percent of LogLoss for each fourfold of compute
_PARTS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)  # of the rows, in `_by_rows`


def markdown(
    study: dict[str, Any],
    searches: Sequence[Mapping[str, Any]],
    records: Sequence[Record],
    analyses: Sequence[Analysis],
) -> str:
    """Returns the page of a ladder: runs, laws, frontiers and differences."""
    known = all(analysis.known_floor for analysis in analyses)
    loss = "excess" if known else "LogLoss"
    models = by_model(records)
    lines = [
        "# Scaling",
        "",
        *_study(study, searches, records),
        "",
        "## Runs",
        "",
    ]
    lines += _runs(study, searches, records)
    if ladders := [each for each in analyses if not each.differences]:
        several = len({record.seed for record in records}) > 1
        lines += ["", "## Laws", "", *_laws(ladders, loss, several)]
    for analysis in analyses:
        model = analysis.model
        if analysis.frontier:
            lines += ["", f"## Frontier of {model}", ""]
            lines += _frontier(analysis, loss)
            lines += ["", f"## Rows of {model}", ""]
            lines += _by_rows(models[model], loss)
        if analysis.differences:
            lines += ["", f"## Differences from {BASE} of {model}", ""]
            lines += _differences(analysis)
    return "\n".join([*lines, ""])


def _study(study, searches, records) -> list[str]:
    rates = [f"{rate:g}" for rate in study.get("learning_rates", ())]
    tries = f"rate of all rungs, without a search: {', '.join(rates)}"
    if len(rates) > 1:
        count = study.get("search_rows", 0)
        tries = f"rates to try on {count:,} rows: {', '.join(rates)}"
    diverged = [
        f"{each['model']} {each['rung']} {each['learning_rate']:g}"
        + (f" seed {each['seed']}" if each.get("final") else "")
        for each in searches
        if each["valid_logloss"] is None
    ]
    have = {(record.model, record.rung) for record in records}
    searched = [
        f"{each['model']} {each['rung']}"
        for each in searches
        if (each["model"], each["rung"]) not in have
    ]
    below = [
        f"{seeds[0].model} {seeds[0].rung}"
        for mine in by_model(records).values()
        for seeds in by_rung(mine)
        if np.mean([1.0 if r.excess is None else r.excess for r in seeds]) <= 0
    ]
    notes = {
        "rates that diverged": diverged,
        "searched, and not run": list(dict.fromkeys(searched)),
        "not above the attainable LogLoss, so left out of laws": below,
    }
    commits = sorted({r.commit or "unknown" for r in records})
    versions = sorted(
        {", ".join(f"{k} {v}" for k, v in r.versions.items()) for r in records}
    )
    flags = " ".join(study.get("flags", {}).values())
    floor = records[0].attainable_logloss
    return [
        f"- {len(records)} runs of {study['rows']:,} rows in one pass; {tries}",
        *(f"- {name}: {', '.join(of)}" for name, of in notes.items() if of),
        f"- metrics of {study.get('task')} on {records[0].split} rows"
        + ("" if floor is None else f"; attainable LogLoss {floor:.5f}"),
        f"- flags of the trainer: `{flags}`",
        f"- commit {', '.join(commits)}; {'; '.join(versions)}",
    ]


def _runs(study, searches, records) -> list[str]:
    """Returns a row for each rung: means, and deviations over seeds."""
    window = last_window(records)
    rates = study.get("learning_rates", [])
    lines = _head(
        "model", "rung", "MFLOP", "dense parameters", "seeds", "rate", "AUC",
        "LogLoss", "excess", "last window, %", "minutes",
    )  # fmt: skip
    for model, mine in by_model(records).items():
        for seeds in by_rung(mine):
            first = seeds[0]
            rate = first.learning_rate
            is_open = search.leaves_open(rates, rate, searches, first)
            lines.append(
                _row(
                    model,
                    first.rung,
                    f"{first.training_flop / 1e6:.3g}",
                    f"{first.dense_parameters:,}",
                    len(seeds),
                    f"{rate:g}{' (end)' if is_open else ''}",
                    _mean([r.auc for r in seeds]),
                    _mean([r.logloss for r in seeds]),
                    _mean([r.excess for r in seeds]),
                    _mean([window(r) for r in seeds], digits=3),
                    f"{np.mean([r.seconds for r in seeds]) / 60:.1f}",
                )
            )
    return [
        *lines,
        "",
        "After ±, the standard deviation over seeds. MFLOP are those of "
        "training per example. A rate marked (end) is an end of those tried "
        "for the rung: a better one may lie beyond. The last window is "
        "relative to the cheapest rung of all models.",
    ]


def _laws(analyses, loss, several) -> list[str]:
    floor = "" if loss == "excess" else "floor + "
    over = "rungs and seeds" if several else "rungs, with one seed"
    lines = _head(
        "model", "of", "floor", "exponent", "95 % interval", "R²",
        "rungs",
    )  # fmt: skip
    for analysis in analyses:
        for name, law in (
            ("training FLOP", analysis.of_flop),
            ("dense parameters", analysis.of_parameters),
        ):
            lines.append(_row(analysis.model, name, *_law(law, analysis)))
    lines += [
        "",
        f"{loss} = {floor}scale x^-exponent, fitted to the rungs' means; "
        f"intervals are those of a bootstrap over {over}.",
        "",
        *_head(
            "model", "LogLoss for 4x FLOP, %", "95 % interval",
            "± of the last step, %", "exponent of the last step", "saturation",
        ),
    ]  # fmt: skip
    for each in analyses:
        change, step = each.per_fourfold, each.last_step
        lines.append(
            _row(
                each.model,
                "" if change is None else f"{change[0]:.3g}",
                _interval(change and change[1]),
                "" if each.resolvable is None else f"{each.resolvable:.2g}",
                "" if step is None else _step(step, each.known_floor),
                each.verdict,
            )
        )
    return [*lines, "", f"The paper has {PAPER} % of LogLoss for 4x compute."]


def _law(law: Law | None, analysis) -> list[Any]:
    if law is None:
        why = "too few rungs" if analysis.too_few else "none fits"
        return ["", why, "", "", ""]
    floor = "attainable" if analysis.known_floor else f"{law.floor:.5f}"
    return [
        floor,
        _exponent(law.exponent, analysis.known_floor),
        _interval(law.intervals.get("exponent"), analysis.known_floor),
        f"{law.r_squared:.3f}",
        law.rungs,
    ]


def _frontier(analysis, loss) -> list[str]:
    lines = _head("budget, FLOP", "rung", "MFLOP", "rows", loss, "")
    for choice in analysis.frontier:
        lines.append(
            _row(
                f"{choice.budget:.2g}",
                choice.rung,
                f"{choice.training_flop / 1e6:.3g}",
                f"{choice.rows:,.0f}",
                f"{choice.loss:.5f}",
                "" if choice.inside else "end of what was measured",
            )
        )
    return lines


def _by_rows(records, loss) -> list[str]:
    """Returns the loss of each rung after a part of the rows.

    Rows are those of the evaluations nearest to the parts, of all rungs.
    """
    drawn = curves(records)
    shared = sorted(set.intersection(*(set(rows) for _, rows, _ in drawn)))
    if not shared:
        return ["The rungs have no evaluations at the same rows."]
    chosen = {
        min(shared, key=lambda rows: abs(np.log(rows / (part * shared[-1]))))
        for part in _PARTS
    }
    lines = _head("rows", *(record.rung for record, _, _ in drawn))
    for count in sorted(chosen):
        cells = [
            _mean([r.curve_loss(count) for r in records if r.rung == rung.rung])
            for rung, _, _ in drawn
        ]
        losses = [values[rows == count][0] for _, rows, values in drawn]
        cells[int(np.argmin(losses))] += " (best)"
        lines.append(_row(f"{count:,.0f}", *cells))
    note = f"The {loss} on valid rows; after ±, the deviation over seeds."
    if any(r.curve_loss(n) <= 0 for r in records for n, _ in r.curve):
        note += " Evaluations that are not above the attainable are left out."
    return [*lines, "", note]


def _differences(analysis) -> list[str]:
    """Returns how each rung differs from the base, the best first."""
    lines = _head("rung", "FLOP of the base", "LogLoss, %")
    for each in sorted(analysis.differences, key=lambda d: d.percent):
        half = "" if each.half is None else f" ± {each.half:.2f}"
        lines.append(
            _row(
                each.rung,
                f"{each.training_flop:.2f}",
                f"{each.percent:+.2f}{half}",
            )
        )
    return [
        *lines,
        "",
        f"Percent of the LogLoss of {BASE}, below 0 is better; after ±, half "
        "of the 95 % interval of the difference, by Student's t over seeds.",
    ]


def _step(step, known) -> str:
    exponent, bounds = step
    text = _exponent(exponent, known)
    return text if bounds is None else f"{text} ({_interval(bounds, known)})"


def _interval(bounds, known=True) -> str:
    if bounds is None:
        return "too few rungs"
    return " to ".join(_exponent(bound, known) for bound in bounds)


def _exponent(value, known) -> str:
    """Returns an exponent; with a fitted floor, its grid's ends are marked."""
    if known or value not in (-MOST, EXPONENTS[0], MOST):
        return f"{value:.3g}"
    return f"{value:.3g} or {'more' if value == MOST else 'less'}"


def _mean(values, digits=5) -> str:
    """Returns the mean and deviation of a column's values, "" if unknown."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    text = f"{np.mean(known):.{digits}f}"
    if len(known) > 1:
        text += f" ± {np.std(known, ddof=1):.{digits}f}"
    return text


def _head(*names) -> list[str]:
    return [_row(*names), "|" + "---|" * len(names)]


def _row(*cells) -> str:
    return f"| {' | '.join(map(str, cells))} |"
