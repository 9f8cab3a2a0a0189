"""The page of a comparison: self-contained, no scripts, all text escaped."""

import html
from typing import Any

from trainer.report import markup, plots, style
from trainer.report.files import DRAWS
from trainer.report.markup import METRICS, section, text_of
from trainer.report.plots import Plot
from wukong_tf.extras import lack

DRAWN = ("auc", "logloss")


def build(content: dict[str, Any]) -> str:
    """Returns the page as text, with plots if matplotlib is installed.

    Args:
        content: content of comparison.json.
    """
    groups = [group["name"] for group in content["groups"]]
    parts = []
    for task, figures in content["tasks"].items():
        rows = f"{figures['rows']:,} {content['split']} rows"
        parts.append(section(f"{task}, {rows}", _means(content, figures)))
        if len(groups) > 1:
            body = _differences(content, figures)
            if lack(DRAWS) is None and content["resamples"]:
                body += _pictures(content, task, figures)
            parts.append(section(f"Differences to {groups[0]}", body))
    parts.append(section("Runs", _runs(content)))
    if any(group["settings"] for group in content["groups"]):
        parts.append(section("Settings that differ", _settings(content)))
    count = len(content["runs"])
    subtitle = f"{count} runs on the same {content['split']} rows"
    return markup.page("Comparison of runs", subtitle, parts)


def _means(content, figures):
    names = list(figures["groups"][0]["metrics"])
    means = {
        group["name"]: {k: v["mean"] for k, v in each["metrics"].items()}
        for group, each in zip(
            content["groups"], figures["groups"], strict=True
        )
    }
    best = {name: markup.best(name, means) for name in names}
    rows = []
    for group, each in zip(content["groups"], figures["groups"], strict=True):
        cells = [group["name"], str(len(group["runs"]))]
        for name in names:
            found = each["metrics"][name]
            text = text_of(name, found["mean"])
            if found["deviation"] is not None:
                text += f" ± {found['deviation']:.5f}"
            marked = "best" if group["name"] in best[name] else ""
            cells.append((text, marked))
        rows.append(cells)
    headings = ["Runs", "Seeds", *(METRICS[name][0] for name in names)]
    note = (
        "The mean and ± the standard deviation over runs that differ only by "
        "seed; the best in bold."
    )
    return f"<p>{note}</p>{markup.table(headings, rows)}"


def _differences(content, figures):
    names = list(figures["groups"][0]["metrics"])
    rows = []
    for group, each in zip(content["groups"], figures["groups"], strict=True):
        if each["differences"] is None:
            continue
        cells = [group["name"]]
        for name in names:
            cells.append(_interval(each["differences"][name]))
        rows.append(cells)
    note = "Differences of the means"
    if content["resamples"]:
        note += (
            f" with {content['interval']:.0%} intervals, from "
            f"{content['resamples']:,} resamples of the "
            f"{content['resampled']} on which all runs are scored alike; in "
            "bold if the interval excludes 0. They do not contain the spread "
            "over seeds"
        )
    table = markup.table(["Runs", *(METRICS[name][0] for name in names)], rows)
    return f"<p>{html.escape(note)}.</p>{table}"


def _interval(found):
    if found["difference"] is None:
        return "n/a"
    text = f"{found['difference']:+.5f}"
    low, high = found.get("low"), found.get("high")
    if low is None or high is None:
        return text
    sure = low > 0 or high < 0
    # Breaks before the parenthesis only.
    text += f" ({low:+.5f}\u00a0to\u00a0{high:+.5f})"
    return text, "interval best" if sure else "interval"


def _pictures(content, task, figures):
    pictures = []
    for metric in DRAWN:
        plot = differences_plot(content, task, figures, metric)
        light, dark = (
            plots.render(plot, theme) for theme in (style.LIGHT, style.DARK)
        )
        picture = markup.Picture(task, plot.title, plot.caption, light, dark)
        pictures.append(markup.figure(picture))
    return f'<div class="plots">{"".join(pictures)}</div>'


def differences_plot(content, task: str, figures, metric: str) -> Plot:
    """Returns a plot of a metric's differences to the first group.

    Args:
        content: content of comparison.json.
        task: the task.
        figures: its part of the content.
        metric: such as "auc".
    """
    groups = [
        (group["name"], each["differences"][metric])
        for group, each in zip(
            content["groups"], figures["groups"], strict=True
        )
        if each["differences"] is not None
    ][::-1]
    heading, higher_is_better, _ = METRICS[metric]
    first = style.short(content["groups"][0]["name"])

    def draw(figure, theme):
        axes = figure.subplots()
        style.style_axes(axes, theme, f"difference of {heading}", "")
        axes.grid(False, axis="y")
        axes.axvline(0, color=theme.muted, ls="--")
        for place, (_, found) in enumerate(groups):
            ends = [found[name] for name in ("low", "difference", "high")]
            if None not in ends:
                axes.hlines(place, ends[0], ends[2], color=theme.first, lw=2)
                axes.plot(ends[1], place, "o", color=theme.first)
        axes.locator_params(axis="x", nbins=5)
        axes.set_ylim(-0.6, len(groups) - 0.4)
        axes.set_yticks(
            range(len(groups)), [style.short(name) for name, _ in groups],
            parse_math=False, color=theme.ink,
        )  # fmt: skip

    return Plot(
        f"differences_{metric}",
        f"{heading} of {task}: difference to {first}",
        f"Differences of {heading} with their intervals; to the "
        f"{'right' if higher_is_better else 'left'} of the dashed line is "
        f"better than {first}.",
        draw,
        height=min(1.6 + 0.4 * len(groups), 4.5),
    )


def _runs(content):
    tasks = content["tasks"]
    keys = list(next(iter(tasks.values()))["metrics"][0])
    headings = ["Run", "Model", "Seed", "Train rows"]
    headings += [
        METRICS[key][0] if len(tasks) == 1 else f"{METRICS[key][0]}, {task}"
        for task in tasks
        for key in keys
    ]
    rows = []
    for index, run in enumerate(content["runs"]):
        cells = [run["name"], text_of("model", run["model"])]
        cells.append(text_of("seed", run["seed"]))
        cells.append(text_of("rows", run["train_rows"]))
        for figures in tasks.values():
            values = figures["metrics"][index]
            cells += [text_of(key, values[key]) for key in keys]
        rows.append(cells)
    return markup.table(headings, rows)


def _settings(content):
    groups = content["groups"]
    rows = [
        [name.replace("_", " ")]
        + [text_of(name, group["settings"][name]) for group in groups]
        for name in groups[0]["settings"]
    ]
    return markup.table(["Setting", *(g["name"] for g in groups)], rows)
