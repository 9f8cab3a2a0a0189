"""Writes README.md, the model card of a version."""

import os
from typing import Any

from export.flags import Export
from export.served.signatures import ServedModel
from export.version.card import facts, features, head, loading, results
from export.version.card.markup import name, names, number, table, text, yaml
from export.version.published import CARD
from wukong_tf import files, runs, source
from wukong_tf.config import FeatureSpec


def write(
    manifest: dict[str, Any],
    settings: Export,
    checkpoint: runs.Checkpoint,
    served: ServedModel,
    folder: str,
):
    """Writes the card into a version's directory.

    Args:
        manifest: content of the version's manifest.
        settings: the export's settings.
        checkpoint: the exported checkpoint.
        served: the exported model.
        folder: the version's directory.
    """
    run = facts.read(
        settings.run_dir,
        checkpoint,
        [task.name for task in served.spec.tasks],
        cut=bool(settings.keep_units),
    )
    lines = yaml(head.describe(manifest, run, settings.license))
    spec, origin = served.spec, served.origin
    parts = [
        "\n".join(["---", *lines, "---"]),
        f"# {text(origin['model'])}, version {origin['version']}",
        *_introduction(manifest, origin, spec),
        "## Model",
        _model(manifest, run, served.model),
        *features.describe(spec, manifest),
        "## Training data",
        _data(run),
        *results.describe(manifest, run),
        *loading.describe(manifest, origin),
        "## Software",
        _software(manifest),
        "## Use and limits",
        "\n".join(f"- {line}" for line in _limits(manifest, run, spec)),
    ]
    files.write_text(os.path.join(folder, CARD), "\n\n".join(parts) + "\n")


def _introduction(manifest, origin, spec: FeatureSpec):
    tasks = names(task.name for task in spec.tasks)
    return [
        f"Predicts the probability of {tasks} for rows of "
        f"{len(spec.all_features)} features. Step {origin['step']} of the run "
        f"{name(origin['run'])}, exported as {names(manifest['formats'])} by "
        f"{text(origin['made_by'])}. All figures here are from the run's and "
        "the export's own files; `manifest.json` has the digests.",
    ]


def _model(manifest, run: facts.Facts, model):
    sizes = dict(manifest["model"])
    kind = sizes.pop("model")
    tables = sum(int(layer.table.shape[0]) for layer in model.tables)
    rows = [
        ("model", name(kind)),
        ("parameters", number(model.count_params())),
        ("rows of embedding tables", number(tables)),
        *((name(key), text(_plain(value))) for key, value in sizes.items()),
    ]
    if precision := run.training.get("precision"):
        rows.append(("precision of training", name(str(precision))))
    rows += [
        (
            "precision of published tables",
            name(manifest["precision"]["tables"]),
        ),
        (
            "precision of matrix products in ONNX",
            name(manifest["precision"]["onnx_dense"]),
        ),
    ]
    return table(("", "value"), rows)


def _plain(value):
    if isinstance(value, list | tuple):
        return f"({', '.join(map(str, map(_plain, value)))})"
    return value


def _data(run: facts.Facts):
    data, rows = run.data, []
    if data.name:
        rows.append(("data", text(data.name)))
    for key, value in (data.synthetic or {}).items():
        if key != "rows":
            rows.append((f"synthetic {text(key)}", text(_plain(value))))
    rows += [(f"{s} rows", number(n)) for s, n in data.rows.items()]
    rows.append(("rows trained on", _recorded(run.state.get("rows"))))
    if init := _init(run):
        rows.append(("initial weights", init))
    for key in ("batch_size", "epochs", "seed"):
        if key in run.training:
            rows.append((name(key), text(run.training[key])))
    if data.inputs:
        rows.append(("raw files", _files(data.inputs)))
    if data.split_rule:
        rows.append(("division into splits", text(data.split_rule)))
    rows += [(f"{text(s)} files", _files(f)) for s, f in data.files.items()]
    return table(("", "value"), rows)


def _init(run: facts.Facts) -> str:
    """Returns what gave the initial weights, "" if that is not recorded."""
    init = run.state.get("init")
    if init == {}:
        return "random"
    if not isinstance(init, dict):
        return ""
    return (
        f"step {_recorded(init.get('step'))} of the run "
        f"{name(str(init.get('name')))}, rows trained on before: "
        f"{_recorded(init.get('rows'))}"
    )


def _recorded(value):
    return number(value) if isinstance(value, int) else "not recorded"


def _files(listed):
    shown = names(listed[:8])
    more = len(listed) - 8
    return shown if more <= 0 else f"{shown} and {more:,} more"


def _software(manifest):
    rows = [(name(k), text(v)) for k, v in manifest["versions"].items()]
    if commit := source.commit():
        rows.append(("commit of `wukong_tf`", name(commit)))
    return table(("package", "version"), rows)


def _limits(manifest, run: facts.Facts, spec: FeatureSpec):
    """Yields what the model is for and what was not evaluated, as facts."""
    yield (
        "Use: scoring rows that have the features above, encoded as above, "
        "for the tasks above."
    )
    measured = run.results
    if measured is None:
        yield "No metrics of this checkpoint are recorded."
    elif measured.split == "valid":
        yield (
            "The test split was not evaluated. The checkpoint is chosen on "
            "the valid split, so metrics on it may be slightly too good."
        )
    if run.data.synthetic is not None:
        yield "The data are generated: the metrics say nothing of real logs."
    if measured is None or not measured.sliced:
        yield "Metrics by value of a feature were not evaluated."
    else:
        yield (
            f"Metrics by value of {names(measured.sliced)} are in the run's "
            "report; by value of other features they were not evaluated."
        )
    if spec.group is None:
        yield "AUC by group was not evaluated."
    yield (
        "The time range of the rows is not recorded, and rows of other logs "
        "or later times were not evaluated."
    )
    if "saved_model" in manifest["formats"]:
        yield "TensorFlow Serving itself was not run by the export."
    if not _init(run):
        yield (
            "It is not recorded whether the training began with the weights "
            "of another run."
        )
    yield "Effects of showing items by these scores were not evaluated."
