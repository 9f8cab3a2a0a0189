"""Reads a run's log, and draws its learning curves."""

import json

import numpy as np

from trainer.report import style
from trainer.report.plots import Plot

MOST_NAMED = 8  # layers, above which a legend names the first and the last


def read_log(path: str) -> dict[str, list[dict]]:
    """Reads the records of metrics.jsonl by kind, one per step, in step order.

    A resumed run may have logged some steps twice; the later record counts.
    A line truncated by a crash is ignored, and so is a missing file.
    """
    by_kind: dict[str, dict[float, dict]] = {}
    try:
        with open(path, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                try:
                    record = json.loads(line)
                    step = float(record["step"])
                    kind = str(record["kind"])
                except (
                    ValueError,
                    KeyError,
                    TypeError,
                    OverflowError,
                    RecursionError,
                ):
                    continue
                by_kind.setdefault(kind, {})[step] = record
    except FileNotFoundError:
        return {}
    return {
        kind: [records[step] for step in sorted(records)]
        for kind, records in by_kind.items()
    }


def series(records: list[dict], *keys: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the steps and the values under the nested `keys`.

    Records without the value, or with null, are skipped.
    """
    steps, values = [], []
    for record in records:
        value = record
        try:
            for key in keys:
                value = value[key]
            number = float(value)  # type: ignore[arg-type]
        except (KeyError, TypeError, ValueError, OverflowError):
            continue
        steps.append(float(record["step"]))
        values.append(number)
    return np.array(steps), np.array(values)


def plot(
    log: dict[str, list[dict]], task: str, best_step: float | None
) -> Plot:
    """Returns a plot of train and valid loss, and valid AUC, by step."""
    train, valid = log.get("train", []), log.get("valid", [])
    train_steps, loss = series(train, "loss")
    valid_steps, logloss = series(valid, task, "logloss")
    auc_steps, auc = series(valid, task, "auc")
    panels = [
        name
        for name, steps in (
            ("loss", [*train_steps, *valid_steps]),
            ("valid AUC", auc_steps),
        )
        if len(steps)
    ]

    tasks = {
        name
        for record in valid
        for name, value in record.items()
        if isinstance(value, dict)
    }
    # The training loss is the sum over tasks.
    train_label = "train loss" + (", all tasks" if len(tasks) > 1 else "")

    def draw(figure, theme):
        if not panels:
            return style.write(
                figure, theme, "No metrics were logged in this run."
            )
        rows = figure.subplots(len(panels), 1, sharex=True, squeeze=False)
        line = {"color": theme.second, "lw": 1.8, "marker": "o", "ms": 3.5}
        for name, axes in zip(panels, rows[:, 0], strict=True):
            style.style_axes(axes, theme, "", name)
            if name == "loss":
                _draw_loss(axes, theme, train_steps, loss, train_label)
                if len(valid_steps):
                    line["label"] = "valid LogLoss"
                    axes.plot(valid_steps, logloss, **line)
            else:
                at = auc_steps == best_step
                line["label"] = "valid AUC"
                axes.plot(auc_steps, auc, **line)
                axes.plot(auc_steps[at], auc[at], "*", ms=13, color=theme.ink)
            # Above the curves, of which one may fill the panel.
            _mark_step(axes, theme, best_step, **style.ABOVE)
        rows[-1, 0].set_xlabel("step")

    return Plot(
        "learning",
        f"Learning curves of {task}",
        "Training loss"
        + " per step (pale) with its running mean" * (_window(loss) > 1)
        + ", and LogLoss and AUC on the validation rows; the dashed line is "
        "the best checkpoint, which is evaluated.",
        draw,
    )


def ranks(log: dict[str, list[dict]], best_step: float | None) -> Plot | None:
    """Returns a plot of the stable ranks by step; None if there are none."""
    records = log.get("stable_rank", [])
    names = dict.fromkeys(
        name
        for record in records
        for name in record
        if name == "embeddings" or name.startswith("layer_")
    )
    lines = {name: series(records, name) for name in names}
    lines = {name: line for name, line in lines.items() if len(line[0])}
    layers = [name for name in lines if name != "embeddings"]
    if not lines:
        return None

    def draw(figure, theme):
        axes = figure.subplots()
        style.style_axes(axes, theme, "step", "stable rank")
        line = {"lw": 1.8, "marker": "o", "ms": 3.5}
        for name, (steps, values) in lines.items():
            color, alpha = theme.second, 1.0
            if name in layers:  # the later, the darker
                color = theme.first
                alpha = 0.4 + 0.6 * (layers.index(name) + 1) / len(layers)
            # A legend of a few of many layers.
            shown = name not in layers or len(layers) <= MOST_NAMED
            shown = shown or name in (layers[0], layers[-1])
            label = name.replace("_", " ") if shown else "_"
            axes.plot(
                steps, values, color=color, alpha=alpha, label=label, **line
            )
        axes.set_ylim(bottom=0)
        _mark_step(axes, theme, best_step)

    return Plot(
        "stable_rank",
        "Stable rank of the embeddings and of each layer's output",
        "Sum of squared singular values over the largest, on the first "
        "validation rows: 1 if all embeddings lie along one direction, at "
        "most their width. Layers that fall towards 1 have collapsed.",
        draw,
    )


def _window(loss):
    """Returns how many neighbours the running mean of a curve takes."""
    return max(1, len(loss) // 40)


def _draw_loss(axes, theme, steps, loss, label):
    if not len(steps):
        return
    mean = smooth(loss, _window(loss))
    axes.plot(steps, loss, color=theme.first, alpha=0.25, lw=0.8)
    axes.plot(steps, mean, color=theme.first, lw=1.8, label=label)


def _mark_step(axes, theme, step, **legend):
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.locator_params(axis="x", nbins=6)
    if step is not None:
        label = f"checkpoint, step {step:,.0f}"
        axes.axvline(step, color=theme.muted, lw=1.2, ls="--", label=label)
    style.add_legend(axes, theme, **(legend or {"loc": "best"}))


def smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Returns the centred mean over `window` neighbours, fewer at the ends.

    Values that are not finite are ignored; the mean of none is NaN.
    """
    values = np.asarray(values, np.float64)
    finite = np.isfinite(values)
    sums = np.append(0.0, np.cumsum(np.where(finite, values, 0.0)))
    counts = np.append(0, np.cumsum(finite))
    place = np.arange(len(values))
    first = (place - window // 2).clip(0)
    last = (place + (window - 1) // 2 + 1).clip(max=len(values))
    count = counts[last] - counts[first]
    mean = (sums[last] - sums[first]) / np.maximum(count, 1)
    return np.where(count > 0, mean, np.nan)
