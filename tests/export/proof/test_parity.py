"""Parity's figures, and what it refuses."""

import dataclasses
import math
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from export.formats import saved_model
from export.formats.artifact import Artifact, Loaded
from export.proof import cases, parity
from export.served import requests, signatures
from tests.worlds.served import (
    ROWS,
    SPEC,
    columns,
    random_model,
    request,
    samples,
    write_samples,
)
from wukong_tf.errors import ExportError

IDS = ("item", "other")  # without an id for what is out of range


class Refused(Exception):
    """What the fake artifacts raise."""


@pytest.fixture(scope="module")
def served():
    return signatures.ServedModel(random_model())


def artifact(served, shift=0.0, refuse=True, batches=None):
    """An artifact that is `shift` off, through the served function."""

    def score(raw):
        for feature in SPEC.categorical:
            ids = raw[feature.name]
            inside = (ids >= 0) & (ids < feature.num_ids)
            if feature.oov_id is None and not inside.all():
                if refuse:
                    raise Refused(feature.name)
                raw = {**raw, feature.name: np.where(inside, ids, 0)}
        outputs = {k: v.numpy() for k, v in served.serve(raw).items()}
        if batches is not None:
            batches.append(len(outputs["logit"]))
        return {**outputs, "logit": outputs["logit"] + np.float32(shift)}

    return Artifact("fake", score, Refused)


@pytest.mark.parametrize("shift", [0.25, -0.25])
def test_the_figures_are_the_largest_differences(served, shift):
    batches = []
    fake = artifact(served, shift, batches=batches)
    report = parity.compare(served, samples(), [fake])
    assert report.logit["fake"] == pytest.approx(0.25, abs=1e-5)
    assert report.probability["fake"] < 1e-6
    assert (report.rows, report.single_rows) == (ROWS, cases.SINGLE_ROWS)
    # All rows, other batches, single rows, all rows with ids out of range.
    singles = [1] * cases.SINGLE_ROWS
    # Then rows among others, next to an extreme one, and by themselves.
    few = cases.SINGLE_ROWS
    beside = [few, few + 1, *singles]
    assert batches == [ROWS, *cases.BATCHES, *singles, ROWS, *beside]
    assert report.replaced == ("user", "site")
    assert report.refused == ("item", "other")
    with pytest.raises(ExportError, match=r"fake +logit 2\.5e-01"):
        report.check()


def test_a_wrong_single_row_counts(served):
    right = artifact(served)

    def score(raw):
        outputs = right.score(raw)
        if len(outputs["logit"]) == 1:
            outputs["logit"] = outputs["logit"] + np.float32(0.5)
        return outputs

    fake = Artifact("fake", score, Refused)
    report = parity.compare(served, samples(), [fake])
    assert report.logit["fake"] == pytest.approx(0.5, abs=1e-5)


def test_a_score_that_others_move_fails(served):
    right = artifact(served)

    def score(raw):
        outputs = dict(right.score(raw))
        outputs["logit"] += np.float32(0.02) * (raw["price"] > 9e3).any()
        return outputs

    fake = Artifact("fake", score, Refused, tolerance=0.5)
    report = parity.compare(served, samples(), [fake])
    assert report.batches["fake"] == pytest.approx(0.02, rel=0.01)
    with pytest.raises(ExportError, match="between batches 2.0e-02"):
        report.check()


def test_one_file_is_in_memory_at_a_time(served):
    """Two artifacts share the first file; later ones can load it again."""
    right, held, loads = artifact(served), [], []

    class File:
        def __init__(self, name):
            assert not held
            held.append(name)
            loads.append(name)

        def close(self):
            held.remove(loads[-1])

    def of(name, loaded):
        def score(raw):
            assert loaded.get() is loaded.get()
            return right.score(raw)

        return Artifact(name, score, Refused, loaded=loaded)

    first, second = Loaded(lambda: File("1")), Loaded(lambda: File("2"))
    artifacts = [of("a", first), of("b", first), of("c", second)]
    parity.compare(served, samples(), artifacts).check()
    assert loads == ["1", "2"] and not held
    first.get()
    assert held == ["1"]


def test_tables_that_are_freed_are_compared_all_the_same(tmp_path):
    served = signatures.ServedModel(random_model(), str(tmp_path))
    folder = str(tmp_path / "1")
    saved_model.write(served, folder)
    files = saved_model.load(served, folder)
    table = samples()
    parity.compare(served, table, files, free_tables=True).check()
    for layer in served.model.tables:
        assert layer.table.numpy().size == 0


def changed(served, name, change):
    """An artifact whose outputs `change` edits."""
    right = artifact(served)

    def score(raw):
        outputs = dict(right.score(raw))
        change(outputs)
        return outputs

    return Artifact(name, score, Refused)


def one_off(output, size, gap):
    """Moves a value in the middle of a request of `size` rows."""

    def change(outputs):
        if len(outputs[output]) == size:
            outputs[output] = outputs[output].copy()
            outputs[output][size // 2] += np.float32(gap)

    return change


def test_one_wrong_value_anywhere_fails(served):
    """In a request of any size; what comes before and after is right."""
    wrong = {
        f"{output} {size} {gap}": (output, size, gap)
        for output in ("logit", "probability")
        for size in (ROWS, cases.BATCHES[0], 1)
        for gap in (0.5, -0.5, math.nan)
    }
    fakes = [changed(served, n, one_off(*which)) for n, which in wrong.items()]
    report = parity.compare(served, samples(), fakes)
    for name, (output, _, gap) in wrong.items():
        figures = {"logit": report.logit, "probability": report.probability}
        assert figures.pop(output)[name] == pytest.approx(
            abs(gap), abs=1e-5, nan_ok=True
        )
        (other,) = figures.values()
        assert other[name] < 1e-5
        alone = dataclasses.replace(
            report,
            logit={name: report.logit[name]},
            probability={name: report.probability[name]},
        )
        with pytest.raises(ExportError, match="nothing is published"):
            alone.check()


def test_candidates_are_compared_by_one_context():
    """The first row's, which stands once in what the artifact takes."""
    context = ("user", "age")
    served = signatures.ServedModel(random_model(), context=context)
    shared = []

    def right(sent):
        shared.append({name: len(sent[name]) for name in context})
        if any((sent[n] < 0).any() or (sent[n] > 19).any() for n in IDS):
            raise Refused
        outputs = served.scores_of_candidates(
            {name: tf.constant(value) for name, value in sent.items()}
        )
        return {name: value.numpy() for name, value in outputs.items()}

    def wrong(sent):
        outputs = right(sent)
        return {**outputs, "logit": outputs["logit"] - np.float32(0.25)}

    fakes = [
        Artifact(name, score, Refused, "candidates")
        for name, score in (("right", right), ("wrong", wrong))
    ]
    report = parity.compare(served, samples(), fakes)
    assert all(each == dict.fromkeys(context, 1) for each in shared)
    assert report.faults == ()
    assert report.logit["right"] < 1e-5
    assert report.logit["wrong"] == pytest.approx(0.25, abs=1e-5)


def test_what_an_artifact_lacks_and_may_differ_by(served):
    fakes = [
        changed(served, "no logit", lambda outputs: outputs.pop("logit")),
        changed(served, "none", lambda outputs: outputs.pop("probability")),
    ]
    for tolerance in (0.3, 0.2, 0.0):
        fake = artifact(served, 0.25)
        fakes.append(
            dataclasses.replace(fake, name=f"{tolerance}", tolerance=tolerance)
        )
    report = parity.compare(served, samples(), fakes)
    assert report.logit["no logit"] is report.probability["none"] is None
    assert "no logit" in report.describe() and "      -" in report.describe()
    assert report.faults == ("none returns no probability.",)
    assert report.to_dict()["tolerance"] == {
        "no logit": parity.TOLERANCE,
        "none": parity.TOLERANCE,
        "0.3": 0.3,
        "0.2": 0.2,
        "0.0": 0.0,
    }
    for name, passes in {"no logit": 1, "0.3": 1, "0.2": 0, "0.0": 0}.items():
        each = dataclasses.replace(
            report,
            logit={name: report.logit[name]},
            probability={name: report.probability[name]},
            faults=(),
        )
        if passes:
            each.check()
            continue
        with pytest.raises(ExportError, match="nothing is published"):
            each.check()


def test_a_faithful_artifact_passes(served):
    report = parity.compare(served, samples(), [artifact(served)])
    report.check()
    assert report.logit["fake"] < 1e-5
    assert "logit" in report.describe()


def test_an_artifact_that_answers_bad_ids_fails(served):
    fake = artifact(served, refuse=False)
    report = parity.compare(served, samples(), [fake])
    assert report.logit["fake"] < 1e-5
    assert len(report.faults) == 2 * 4  # features without oov_id, bad ids
    with pytest.raises(ExportError, match=r"fake accepts .*'item' is -1;"):
        report.check()


def test_an_artifact_that_refuses_good_requests_fails(served):
    def score(raw):
        raise Refused("no such row")

    fake = Artifact("fake", score, Refused)
    report = parity.compare(served, samples(), [fake])
    assert report.logit["fake"] == math.inf
    with pytest.raises(ExportError, match="fake rejects .* no such row"):
        report.check()


@pytest.mark.parametrize("figure", [math.nan, math.inf, 1.1e-4])
def test_a_figure_over_the_tolerance_fails(figure):
    def report(value):
        return parity.Report(
            5,
            5,
            (),
            (),
            (),
            {"onnx": value},
            {"onnx": 0.0},
            {"onnx": parity.TOLERANCE},
            (),
        )

    report(parity.TOLERANCE).check()
    with pytest.raises(ExportError, match="nothing is published"):
        report(figure).check()


def test_nan_from_an_artifact_is_seen(served):
    fake = artifact(served, shift=math.nan)
    report = parity.compare(served, samples(), [fake])
    assert math.isnan(report.logit["fake"])


def test_outputs_of_another_shape_fail(served):
    right = artifact(served)
    fake = Artifact(
        "fake",
        lambda raw: {k: v[:, None] for k, v in right.score(raw).items()},
        Refused,
    )
    report = parity.compare(served, samples(), [fake])
    assert report.logit["fake"] == math.inf


def test_samples_come_back_as_requests(served, tmp_path):
    raw = columns()
    write_samples(tmp_path, raw)
    table = parity.read_samples(str(tmp_path), SPEC)
    assert table.column_names == list(SPEC.feature_names)
    got = requests.RequestEncodings(served).raw(table)
    want = request(raw)
    assert list(got) == list(want)
    for name, value in want.items():
        assert got[name].dtype == value.dtype
        assert np.array_equal(got[name], value)


def test_missing_samples_are_an_error(tmp_path):
    with pytest.raises(ExportError, match="samples.parquet"):
        parity.read_samples(str(tmp_path), SPEC)


@pytest.mark.parametrize(
    ("column", "value", "match"),
    [
        ("item", None, "column 'item' is missing"),
        ("item", pa.array([0.5] * ROWS), "'item' must be integers"),
        ("item", pa.array([None] + [1] * (ROWS - 1)), "'item'.*no value"),
        ("price", pa.array(["x"] * ROWS), "'price' must be numbers"),
        ("content", pa.array([[1.0, 2.0]] * ROWS), "'content'.*2 numbers"),
        (
            "content",
            pa.array([[1.0]] + [[1.0, 2.0, 3.0]] * (ROWS - 1)),
            "'content'.*1 numbers",
        ),
    ],
)
def test_samples_of_another_form_are_an_error(tmp_path, column, value, match):
    write_samples(tmp_path, columns())
    path = os.path.join(tmp_path, "samples.parquet")
    table = pq.read_table(path).drop_columns([column])
    if value is not None:
        table = table.append_column(column, value)
    pq.write_table(table, path)
    with pytest.raises(ExportError, match=match):
        parity.read_samples(str(tmp_path), SPEC)


def test_no_rows_are_an_error(tmp_path):
    write_samples(tmp_path, {k: v[:0] for k, v in columns().items()})
    with pytest.raises(ExportError, match="at least one row"):
        parity.read_samples(str(tmp_path), SPEC)
