"""Published figures, in the heads of flagfiles, next to those of runs."""

import dataclasses
import os
import re
import shlex
import statistics
from collections.abc import Mapping, Sequence

from wukong_tf.config import schema
from wukong_tf.errors import ConfigError, RunError

METRICS = ("auc", "logloss")
COLUMNS = ("model", *METRICS, "seeds", "split", "source")
_PREPARE = re.compile(r"`python -m trainer\.prepare ([^`]+)`")


@dataclasses.dataclass(frozen=True)
class Head:
    """The comments with which the flagfile of an experiment opens.

    Args:
        prepare: flags of trainer.prepare, but for --input and --output.
        published: rows of the table of published figures on test rows, as
            texts by `COLUMNS`. A figure starts with a number; "split" is
            "same" if its test rows are those of the data set prepared.
    """

    prepare: tuple[str, ...]
    published: tuple[Mapping[str, str], ...]


def read_head(path: str) -> Head:
    """Reads the head of a flagfile.

    Raises:
        ConfigError: the file cannot be read or is not UTF-8, or its head
            names no data set or no published figures.
    """
    where = f"--experiment={path}"
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read().partition("\n--")[0]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{where} must be a flagfile in UTF-8: {error}."
        ) from error
    lines = [line.removeprefix("#").strip() for line in text.splitlines()]
    command = _PREPARE.search(" ".join(lines))
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in lines
        if line.startswith("|")
    ]
    if command is None or len(rows) < 3 or tuple(rows[0]) != COLUMNS:
        raise ConfigError(
            f"{where}: its comments must have `python -m trainer.prepare "
            "--dataset=NAME` and a table of published figures with the "
            f"columns {', '.join(COLUMNS)}."
        )
    published = []
    for row in rows[2:]:
        if len(row) != len(COLUMNS):
            raise ConfigError(
                f"{where}: a row of published figures must have "
                f"{len(COLUMNS)} cells; received {' | '.join(row)!r}."
            )
        published.append(dict(zip(COLUMNS, row, strict=True)))
        for name in METRICS:
            _number(where, published[-1], name)
    return Head(tuple(shlex.split(command[1])), tuple(published))


def _number(where, row, name):
    """Returns the number with which a published figure starts."""
    try:
        return float(row[name].split()[0])
    except (ValueError, IndexError) as error:
        raise ConfigError(
            f"{where}: {name} of {row['model']} must start with a number; "
            f"received {row[name]!r}."
        ) from error


def table(
    published: Sequence[Mapping[str, str]],
    runs: Sequence[Mapping[str, float]],
    model: str,
    split: str = "same",
) -> str:
    """Returns figures of runs and published ones as a Markdown table.

    Args:
        published: rows of `Head.published`.
        runs: metrics on test rows by name, a mapping for each seed. The
            table has their mean and sample standard deviation, and subtracts
            each published figure from the mean.
        model: name of the runs' model.
        split: the runs' cell of the column "split". Defaults to "same".
    """
    means: dict[str, float] = {}
    texts: dict[str, str] = {}
    for name in METRICS:
        values = [run[name] for run in runs]
        means[name] = statistics.mean(values)
        texts[name] = f"{means[name]:.6f}"
        if len(values) > 1:
            texts[name] += f" ± {statistics.stdev(values):.6f}"
    own = {"model": f"{model}, ours", "seeds": str(len(runs)), "split": split}
    rows = [
        _cells(dict(zip(COLUMNS, COLUMNS, strict=True)), ["difference"] * 2),
        ["---"] * (len(COLUMNS) + len(METRICS)),
        _cells(own | texts | {"source": "these runs"}, ["", ""]),
    ]
    for row in published:
        differences = [
            f"{means[name] - _number('published', row, name):+.6f}"
            for name in METRICS
        ]
        rows.append(_cells(row, differences))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cells(row, differences):
    """Returns the cells of a row, a difference after each metric."""
    model, auc, logloss, *others = (row[name] for name in COLUMNS)
    return [model, auc, differences[0], logloss, differences[1], *others]


def read_metrics(run_dir: str) -> dict[str, float]:
    """Returns `METRICS` of a finished run's first task on test rows.

    Raises:
        RunError: the run has no report, or its test rows have no AUC.
    """
    path = os.path.join(run_dir, "report", "metrics.json")
    try:
        test = schema.read_json(path).get("test") or {}
        found: dict[str, float] = dict(next(iter(test.values()), {}))
    except (ConfigError, AttributeError, TypeError, ValueError) as error:
        raise RunError(f"{path}: is not a report: {error}") from error
    lacking = [name for name in METRICS if found.get(name) is None]
    if lacking:
        raise RunError(f"{path}: the test rows have no {lacking[0]}.")
    return {name: found[name] for name in METRICS}
