"""The parts of a model card on features and tasks."""

from collections.abc import Iterator
from typing import Any

from export.version.card.markup import name, names, number, table, text
from wukong_tf.config import CategoricalFeature, FeatureSpec


def describe(spec: FeatureSpec, manifest: dict[str, Any]) -> list[str]:
    """Returns the parts as Markdown.

    Args:
        spec: the features.
        manifest: content of the version's manifest.
    """
    counts = [
        f"{len(part)} {kind}"
        for part, kind in (
            (spec.categorical, "categorical"),
            (spec.numeric, "numeric"),
            (spec.vector, "vector"),
        )
    ]
    parts = [
        "## Features",
        f"{', '.join(counts)}. `features.json` has all their settings.",
        table(("feature", "kind", "values", "derived from"), _rows(spec)),
    ]
    if context := manifest["context_features"]:
        parts.append(
            f"Context features, of which `candidates` takes one row for all "
            f"candidates of a request: {names(context)}."
        )
    outputs = manifest["outputs"]
    rows = [
        (
            name(task.name),
            name(task.label),
            name(outputs[task.name]["probability"]),
            name(outputs[task.name]["logit"]),
            text(f"{task.negative_rate:g}"),
            "yes" if task.missing_labels else "no",
        )
        for task in spec.tasks
    ]
    header = (
        *("task", "label", "probability", "logit"),
        *("sampling rate of negatives", "labels may be missing"),
    )
    return [*parts, "## Tasks", table(header, rows)]


def _rows(spec) -> Iterator[tuple[str, str, str, str]]:
    for feature in spec.categorical:
        kind = feature.raw or "id"
        values = f"{number(feature.num_ids)} ids"
        if feature.pooling:
            kind = f"bag of {kind}, {feature.pooling}"
            values += f", up to {number(feature.max_ids)} a row"
        if feature.weights:
            values += f", weights in {name(feature.weights)}"
        if feature.raw:
            values += f", {_encoding(spec, feature)}"
        if feature.table:
            values += f", table {name(feature.table)}"
        if feature.keep_units is not None:
            values += f", {feature.keep_units} of {feature.units} units"
        yield name(feature.name), kind, values, _derived(feature)
    for feature in spec.numeric:
        bounds = [feature.clip_min, feature.clip_max]
        values = f"transform {name(feature.transform)}"
        if bounds != [None, None]:
            low, high = ("none" if b is None else f"{b:g}" for b in bounds)
            values += f", clipped to {text(f'[{low}, {high}]')}"
        yield name(feature.name), "number", values, _derived(feature)
    for feature in spec.vector:
        values = f"{number(feature.size)} numbers"
        yield name(feature.name), "vector", values, ""


def _encoding(spec: FeatureSpec, feature: CategoricalFeature) -> str:
    if feature.boundaries is not None:
        return f"{len(feature.boundaries)} boundaries"
    if (known := spec.vocabulary(feature.table_name)) is not None:
        return f"vocabulary of {number(len(known))}"
    return "hashed"


def _derived(feature) -> str:
    return text(feature.derived) if feature.derived is not None else ""
