"""Holds what was written to the scores of the checkpoint."""

import dataclasses
import math
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from export.signatures import output_names
from wukong_tf import runs
from wukong_tf.config import FeatureSpec
from wukong_tf.errors import ExportError
from wukong_tf.features import encode, signature

TOLERANCE = 1e-4  # largest difference of a logit or probability in float32
SINGLE_ROWS = 8
_INT64 = np.iinfo(np.int64)

Columns = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Artifact:
    """A written file, loaded back.

    Args:
        name: of its format.
        score: from raw columns to its outputs.
        refusal: the exception by which it refuses a request.
    """

    name: str
    score: Callable[[Columns], Columns]
    refusal: type[Exception]


@dataclasses.dataclass(frozen=True)
class Report:
    """How far the artifacts are from the checkpoint.

    Args:
        rows: held-out rows that were compared, all in one batch.
        single_rows: of them, rows that were also compared alone.
        replaced: features whose out-of-range ids were compared with their
            `oov_id`.
        refused: features whose out-of-range ids must be an error.
        logit: largest absolute difference of a logit, by format.
        probability: the same of a probability.
        faults: what else is wrong, in words.
    """

    rows: int
    single_rows: int
    replaced: tuple[str, ...]
    refused: tuple[str, ...]
    logit: dict[str, float]
    probability: dict[str, float]
    faults: tuple[str, ...]

    def describe(self) -> str:
        """The figures as text for people."""
        lines = [
            f"parity on {self.rows} held-out rows, largest difference from "
            f"the checkpoint in float32 (at most {TOLERANCE:.0e}):"
        ]
        lines += [
            f"  {name:<12} logit {self.logit[name]:.1e}, probability "
            f"{self.probability[name]:.1e}"
            for name in self.logit
        ]
        return "\n".join(lines)

    def check(self):
        """Refuses what is too far from the checkpoint.

        Raises:
            ExportError: with the figures.
        """
        figures = [*self.logit.values(), *self.probability.values()]
        # Written so that NaN fails.
        close = all(figure <= TOLERANCE for figure in figures)
        if not close or self.faults:
            faults = "".join(f"\n  {fault}" for fault in self.faults)
            raise ExportError(
                "nothing is published, as what was written does not give "
                f"the checkpoint's scores.\n{self.describe()}{faults}"
            )

    def to_dict(self) -> dict[str, Any]:
        """The figures for the manifest."""
        return {
            "tolerance": TOLERANCE,
            "rows": self.rows,
            "single_rows": self.single_rows,
            "out_of_range_ids": {
                "read_as_oov_id": list(self.replaced),
                "refused": list(self.refused),
            },
            "max_abs_logit_difference": self.logit,
            "max_abs_probability_difference": self.probability,
        }


def read_samples(run_dir: str, spec: FeatureSpec) -> Columns:
    """The features of the run's held-out rows, raw, as a request holds them.

    Raises:
        ExportError: the rows are missing or cannot be used.
    """
    path = os.path.join(run_dir, runs.SAMPLES)
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise ExportError(
            f"{path}: the held-out rows that parity needs cannot be read: "
            f"{error}."
        ) from error
    if not table.num_rows:
        raise ExportError(f"{path}: parity needs at least one row.")
    return {
        name: _column(path, table, name, form)
        for name, form in signature(spec).items()
    }


def _column(path, table, name, form):
    if name not in table.column_names:
        raise ExportError(f"{path}: column {name!r} is missing.")
    try:
        values = table.column(name).to_numpy()
        if len(form.shape) > 1:
            values = np.stack(values)
        result = values.astype(form.dtype.as_numpy_dtype, casting="same_kind")
    except (TypeError, ValueError) as error:
        raise ExportError(
            f"{path}: column {name!r} is no {form.dtype.name} column: {error}."
        ) from error
    if not form.shape.is_compatible_with(result.shape):
        raise ExportError(
            f"{path}: column {name!r} must have shape {form.shape}; it has "
            f"{result.shape}."
        )
    return result


def compare(served, samples: Columns, artifacts: list[Artifact]) -> Report:
    """Compares `artifacts` with the Keras model, which runs eagerly.

    Args:
        served: the ServedModel that they were written from.
        samples: raw columns, with ids in range.
        artifacts: what was written, loaded back.
    """
    spec = served.spec
    rows = len(samples[spec.feature_names[0]])
    requests = list(_requests(spec, samples))
    expected = [_reference(served, clean) for _, clean in requests]
    faults: list[str] = []
    logit, probability = {}, {}
    for artifact in artifacts:
        worst = {"logit": 0.0, "probability": 0.0}
        for (raw, _), want in zip(requests, expected, strict=True):
            try:
                got = artifact.score(raw)
            except artifact.refusal as error:
                faults.append(f"{artifact.name} refuses a request: {error}")
                worst = dict.fromkeys(worst, math.inf)
                break
            for name, value in want.items():
                kind = "logit" if name.endswith("logit") else "probability"
                gap = _difference(got[name], value)
                worst[kind] = float(np.maximum(worst[kind], gap))
        logit[artifact.name] = worst["logit"]
        probability[artifact.name] = worst["probability"]
        faults += _unrefused(spec, samples, artifact)
    return Report(
        rows,
        min(rows, SINGLE_ROWS),
        tuple(f.name for f in spec.categorical if f.oov_id is not None),
        tuple(f.name for f in spec.categorical if f.oov_id is None),
        logit,
        probability,
        tuple(faults),
    )


def _difference(got, want):
    if got.shape != want.shape:
        return math.inf
    return np.max(np.abs(got.astype(np.float64) - want))


def _reference(served, columns):
    """The checkpoint's scores of columns whose ids are in range."""
    inputs = encode(served.spec, columns)
    logits = served.model(inputs, training=False)  # {task: [B, 1]}
    logits = served.model.served_logits(logits)
    scores = {}
    for task, (probability, logit) in output_names(served.spec).items():
        value = np.asarray(logits[task], np.float64)[:, 0]
        scores[logit] = value
        scores[probability] = 0.5 * (1 + np.tanh(value / 2))
    return scores


def _requests(
    spec: FeatureSpec, samples: Columns
) -> Iterator[tuple[Columns, Columns]]:
    """(request, what it must be read as): all rows, single rows, edge rows."""
    yield samples, samples
    rows = len(samples[spec.feature_names[0]])
    bags = [feature for feature in spec.categorical if feature.pooling]
    if bags:
        for ids in (_no_ids, _full_of_ids):
            edge = {f.name: ids(samples[f.name], f.num_ids) for f in bags}
            yield {**samples, **edge}, {**samples, **edge}
    for row in range(min(rows, SINGLE_ROWS)):
        one = {name: value[row : row + 1] for name, value in samples.items()}
        yield one, one
    replaced = [f for f in spec.categorical if f.oov_id is not None]
    if not replaced:
        return
    raw, clean = dict(samples), dict(samples)
    for feature in replaced:
        bad = np.resize(out_of_range(feature), samples[feature.name].shape)
        good = np.full(bad.shape, feature.oov_id, np.int64)
        if feature.pooling and feature.ids_per_row > 1:
            bad[:, -1] = good[:, -1] = 0  # padding stays padding
        raw[feature.name], clean[feature.name] = bad, good
    yield raw, clean


def _no_ids(ids, num_ids):
    """Bags like `ids`, all empty."""
    del num_ids
    return np.zeros_like(ids)


def _full_of_ids(ids, num_ids):
    """Bags like `ids`, all as full as they can be."""
    if num_ids < 2:
        return np.zeros_like(ids)
    return np.resize(np.arange(1, num_ids, dtype=ids.dtype), ids.shape)


def _unrefused(spec, samples, artifact):
    """In words, the ids out of range that `artifact` answers."""
    for feature in spec.categorical:
        if feature.oov_id is not None:
            continue
        for value in out_of_range(feature):
            request = {name: rows[:2] for name, rows in samples.items()}
            ids = request[feature.name].copy()
            ids[-1] = value
            try:
                artifact.score({**request, feature.name: ids})
            except artifact.refusal:
                continue
            yield (
                f"{artifact.name} answers a request whose {feature.name!r} is "
                f"{value}; ids must be in [0, {feature.num_ids})."
            )


def out_of_range(feature) -> np.ndarray:
    """Ids next to a feature's range, and as far from it as can be."""
    return np.array([-1, feature.num_ids, _INT64.min, _INT64.max], np.int64)
