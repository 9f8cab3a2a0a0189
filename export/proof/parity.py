"""Compares the scores of written artifacts with those of the checkpoint."""

import contextlib
import dataclasses
import itertools
import math
import os
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from export.formats.artifact import Artifact, Columns
from export.proof import cases
from export.served import requests
from export.served.naming import output_names
from wukong_tf import runs
from wukong_tf.config import FeatureSpec
from wukong_tf.errors import DataError, ExportError
from wukong_tf.features import encode
from wukong_tf.rows import columns
from wukong_tf.rows.bad_values import Count
from wukong_tf.rows.checks import checks_from_spec
from wukong_tf.rows.schemas import check_type

TOLERANCE = 1e-4  # largest difference of a logit or probability in float32
# The same between batches for int8, where a value may round to the next step.
STEP = 0.01


@dataclasses.dataclass(frozen=True)
class Report:
    """Differences of the artifacts from the checkpoint.

    Args:
        rows: number of held-out rows compared, all in one batch.
        single_rows: number of them that were also compared one by one.
        raw: features whose raw values were tried in every encoding.
        replaced: features whose out-of-range ids were compared with their
            `oov_id`.
        refused: features whose out-of-range ids must be an error.
        logit: largest absolute difference of a logit, by artifact; None if
            it has no logit output.
        probability: the same for probabilities.
        tolerances: largest allowed difference, by artifact.
        faults: messages of all other faults.
        batches: largest absolute difference of a row's scores between the
            row by itself, in a batch, and next to an extreme row, by artifact.
    """

    rows: int
    single_rows: int
    raw: tuple[str, ...]
    replaced: tuple[str, ...]
    refused: tuple[str, ...]
    logit: dict[str, float | None]
    probability: dict[str, float | None]
    tolerances: dict[str, float]
    faults: tuple[str, ...]
    batches: dict[str, float] = dataclasses.field(default_factory=dict)

    def describe(self) -> str:
        """Returns the figures as human-readable text."""
        lines = [
            f"parity on {self.rows} held-out rows, largest difference from "
            "the checkpoint in float32:"
        ]
        lines += [
            f"  {name:<28} logit {_figure(self.logit[name])}, probability "
            f"{_figure(self.probability[name])} (at most "
            f"{self.tolerances[name]:.0e}); between batches "
            f"{_figure(self.batches.get(name))}"
            for name in self.logit
        ]
        return "\n".join(lines)

    def check(self):
        """Raises ExportError if a tolerance is exceeded or there are faults."""
        # Written so that NaN fails.
        close = all(
            figure <= self.tolerances[name]
            for figures in (self.logit, self.probability)
            for name, figure in figures.items()
            if figure is not None
        )
        close &= all(
            gap <= (TOLERANCE if self.tolerances[name] <= TOLERANCE else STEP)
            for name, gap in self.batches.items()
        )
        if not close or self.faults:
            faults = "".join(f"\n  {fault}" for fault in self.faults)
            raise ExportError(
                "nothing is published, as the written files do not reproduce "
                f"the checkpoint's scores.\n{self.describe()}{faults}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Returns the figures for the manifest."""
        return {
            "tolerance": self.tolerances,
            "rows": self.rows,
            "single_rows": self.single_rows,
            "raw_values": list(self.raw),
            "out_of_range_ids": {
                "read_as_oov_id": list(self.replaced),
                "refused": list(self.refused),
            },
            "max_abs_logit_difference": self.logit,
            "max_abs_probability_difference": self.probability,
            "max_abs_difference_between_batches": self.batches,
        }


def read_samples(run_dir: str, spec: FeatureSpec) -> pa.Table:
    """Reads the run's held-out rows, in the form of requests.

    Raises:
        ExportError: if the rows are missing or cannot be used.
    """
    path = os.path.join(run_dir, runs.SAMPLES)
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise ExportError(
            f"{path}: cannot read the held-out rows for the parity check: "
            f"{error}."
        ) from error
    if not table.num_rows:
        raise ExportError(f"{path}: the parity check needs at least one row.")
    spec = spec.as_requests()
    checks = checks_from_spec(spec, labels=False)
    bad_values = Count()
    try:
        for check in checks:
            check_type(path, table.schema, check)
        columns.read_table(path, 0, table, spec, checks, bad_values)
    except DataError as error:
        raise ExportError(str(error)) from error
    numbers = [feature.name for feature in spec.numeric]  # may be missing
    for name, text in bad_values.first.items():
        if name not in numbers:
            raise ExportError(f"column {name!r} of {text}.")
    return table.select(list(spec.feature_names))


def compare(
    served,
    samples: pa.Table,
    artifacts: list[Artifact],
    *,
    free_tables: bool = False,
) -> Report:
    """Compares `artifacts` with the Keras model, which runs eagerly.

    Of the artifacts one is in memory at a time, with those that share what it
    loads.

    Args:
        served: the ServedModel that the artifacts were written from.
        samples: rows in the form of requests, with ids in range.
        artifacts: the artifacts; those that share a file follow one another.
        free_tables: whether to free the tables of `served` before the
            artifacts are loaded. Defaults to False.
    """
    spec = served.spec
    encodings = requests.RequestEncodings(served)
    pairs = _references(served, samples, encodings)
    if free_tables:
        served.free_tables()
    faults: list[str] = []
    logits = {logit for _, logit in output_names(spec).values()}
    logit, probability, batches = {}, {}, {}
    for artifact in _one_at_a_time(artifacts):
        encode_rows = encodings.by_name(artifact.takes)
        shared = artifact.takes == "candidates"
        worst, refusal = _worst(artifact, encode_rows, pairs[shared], logits)
        if refusal is None:
            batches[artifact.name] = _between_batches(
                served, samples, artifact, encode_rows
            )
        else:
            faults.append(f"{artifact.name} rejects a valid request: {refusal}")
        if worst["probability"] is None:
            faults.append(f"{artifact.name} returns no probability.")
        logit[artifact.name] = worst["logit"]
        probability[artifact.name] = worst["probability"]
        if artifact.takes != "rows":  # the service that looks up checks ids
            faults += _unrefused(spec, samples, artifact, encode_rows)
    return Report(
        samples.num_rows,
        min(samples.num_rows, cases.SINGLE_ROWS),
        tuple(f.name for f in spec.categorical if f.raw),
        tuple(f.name for f in spec.categorical if f.oov_id is not None),
        tuple(f.name for f in _refusing(spec)),
        logit,
        probability,
        {
            artifact.name: TOLERANCE
            if artifact.tolerance is None
            else artifact.tolerance
            for artifact in artifacts
        },
        tuple(faults),
        batches,
    )


def _references(served, samples, encodings):
    """Returns cases with the checkpoint's scores, each as a pair.

    Under False; under True those of rows with one context, if there is one.
    """
    pairs: dict[bool, list[tuple[cases.Case, Columns]]] = {False: [], True: []}
    for case in cases.cases(served.spec, samples):
        scores = _reference(served, encodings.trainer(case.read))
        pairs[False].append((case, scores))
        if served.context:
            sent = cases.with_one_context(case.sent, served.context)
            read = cases.with_one_context(case.read, served.context)
            scores = _reference(served, encodings.trainer(read))
            pairs[True].append((cases.Case(sent, read), scores))
    return pairs


def _one_at_a_time(artifacts):
    """Yields artifacts; frees what some share before the next is loaded."""
    for loaded, group in itertools.groupby(artifacts, lambda a: a.loaded):
        yield from group
        if loaded is not None:
            loaded.free()


def _worst(artifact, encode_rows, pairs, logits):
    """Returns the largest differences by kind of output, and any refusal."""
    worst: dict[str, float | None] = {"logit": None, "probability": None}
    for case, want in pairs:
        try:
            got = artifact.score(encode_rows(case.sent))
        except artifact.refusal as error:
            return dict.fromkeys(worst, math.inf), error
        for name in want.keys() & got.keys():
            kind = "logit" if name in logits else "probability"
            gap = _difference(got[name], want[name])
            worst[kind] = float(np.maximum(worst[kind] or 0.0, gap))
    return worst, None


def _between_batches(served, samples, artifact, encode_rows) -> float:
    """Returns the largest effect of a batch's other rows on a row's scores.

    A row's score must depend on that row only: each is scored by itself,
    with the others, and next to an extreme row.
    """
    # All candidates have the first row's context.
    context = served.context if artifact.takes == "candidates" else ()
    rows = samples.slice(0, cases.SINGLE_ROWS)
    rows = cases.with_one_context(rows, context)

    def score(table):
        table = cases.with_one_context(table, context)
        return artifact.score(encode_rows(table))

    batches = [score(rows)]
    extreme = cases.extreme(served.spec, samples)
    with contextlib.suppress(artifact.refusal):  # its own score may be rejected
        batches.append(score(pa.concat_tables([rows, extreme])))
    worst = 0.0
    for row in range(rows.num_rows):
        for name, value in score(rows.slice(row, 1)).items():
            for batch in batches:
                gap = np.max(np.abs(value[0].astype(float) - batch[name][row]))
                worst = float(np.maximum(worst, gap))
    return worst


def _figure(value):
    return "      -" if value is None else f"{value:.1e}"


def _difference(got, want):
    if got.shape != want.shape:
        return math.inf
    return np.max(np.abs(got.astype(np.float64) - want))


def _reference(served, columns):
    """Returns the checkpoint's scores of rows as the trainer reads them."""
    inputs = encode(served.spec, columns)
    with served.stored_tables():
        logits = served.model(inputs, training=False)  # {task: [B, 1]}
    logits = served.model.served_logits(logits)
    scores = {}
    for task, (probability, logit) in output_names(served.spec).items():
        value = np.asarray(logits[task], np.float64)[:, 0]
        scores[logit] = value
        scores[probability] = 0.5 * (1 + np.tanh(value / 2))
    return scores


def _refusing(spec):
    """Returns the features whose out-of-range ids must be an error."""
    return [f for f in spec.categorical if not f.raw and f.oov_id is None]


def _unrefused(spec, samples, artifact, encode_rows):
    """Returns a message per feature if `artifact` accepts out-of-range ids."""
    # Candidates get the first row's context only.
    rows = samples.slice(0, 1 if artifact.takes == "candidates" else 2)
    for feature in _refusing(spec):
        for value in cases.out_of_range(feature):
            sent = cases.with_last_id(rows, feature, int(value))
            try:
                artifact.score(encode_rows(sent))
            except artifact.refusal:
                continue
            yield (
                f"{artifact.name} accepts a request whose {feature.name!r} is "
                f"{value}; ids must be in [0, {feature.num_ids})."
            )
