"""Batch scoring: files in, scores out, stopped and gone on with."""

import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from export import score
from tests.export.formats.test_saved_model import logits_of
from tests.worlds.logs import as_table
from tests.worlds.served import columns, samples
from wukong_tf.errors import DataError, ExportError

pytestmark = pytest.mark.slow


@pytest.fixture
def files(tmp_path):
    """Two files of rows, with keys and several row groups."""
    folder = tmp_path / "in"
    folder.mkdir()
    found = {}
    for number, rows in enumerate((70, 33)):
        raw = columns(rows=rows, seed=number)
        table = as_table(raw).append_column(
            "key", pa.array([f"{number}-{row}" for row in range(rows)])
        )
        path = str(folder / f"part-{number}.parquet")
        pq.write_table(table, path, row_group_size=20)
        found[path] = raw
    return found


def score_files(model, files, output, **options):
    score.score(score.Score(model, tuple(files), output, **options))


def scored(path):
    return pq.read_table(path).to_pydict()


@pytest.mark.parametrize("engine", ["auto", "onnx", "saved_model"])
def test_scores_are_the_run_s(
    published, run_dir, files, tmp_path, engine, capsys
):
    output = str(tmp_path / "out")
    os.mkdir(output)
    pattern = str(tmp_path / "in" / "*.parquet")
    score_files(
        published,
        [pattern],
        output,
        engine=engine,
        keep_columns=("key", "label"),
        batch_size=16,
    )
    said = capsys.readouterr().out
    assert "2 files, 103 rows" in said and "rows/s" in said
    for number, raw in enumerate(files.values()):
        found = scored(os.path.join(output, f"part-{number}.parquet"))
        assert list(found) == ["key", "label", "probability", "logit"]
        rows = len(raw["user"])
        assert found["key"] == [f"{number}-{row}" for row in range(rows)]
        want = logits_of(run_dir, raw)
        np.testing.assert_allclose(found["logit"], want, rtol=0, atol=1e-5)


def test_what_is_scored_is_left_alone(published, files, tmp_path, capsys):
    output = tmp_path / "out"
    output.mkdir()
    first, second = files
    score_files(published, [first], str(output))
    before = os.stat(output / "part-0.parquet").st_mtime_ns
    score_files(published, [first, second], str(output))
    said = capsys.readouterr().out
    assert "1 files were already scored" in said and "1 files, 33 rows" in said
    assert os.stat(output / "part-0.parquet").st_mtime_ns == before
    # Another input of the same name is scored anew.
    pq.write_table(samples(rows=9), first)
    score_files(published, [first, second], str(output))
    assert len(scored(output / "part-0.parquet")["logit"]) == 9


def test_a_run_that_was_stopped_leaves_no_half_file(
    published, files, tmp_path, monkeypatch
):
    from export.version.engines import OnnxEngine

    output = tmp_path / "out"
    output.mkdir()
    run, calls = OnnxEngine.run_ids, []

    def stopped(self, ids):
        calls.append(ids)
        if len(calls) == 8:  # in the middle of the second file
            raise KeyboardInterrupt
        return run(self, ids)

    monkeypatch.setattr(OnnxEngine, "run_ids", stopped)
    with pytest.raises(KeyboardInterrupt):
        score_files(published, list(files), str(output), batch_size=16)
    assert os.listdir(output) == ["part-0.parquet"]
    score_files(published, list(files), str(output), batch_size=16)
    assert sorted(os.listdir(output)) == ["part-0.parquet", "part-1.parquet"]
    assert len(calls) == 8 + 3


def test_faults_are_told_by_name(published, files, tmp_path):
    output = tmp_path / "out"
    output.mkdir()
    first, _ = files
    refusals = [
        (
            ExportError,
            "not a published version",
            (str(tmp_path), [first], output),
        ),
        (
            DataError,
            "nothing.parquet",
            (published, ["nothing.parquet"], output),
        ),
        (
            ExportError,
            "which its scores would replace",
            (published, [first], tmp_path / "in"),
        ),
    ]
    for kind, match, (model, paths, target) in refusals:
        with pytest.raises(kind, match=match):
            score_files(model, paths, str(target))
    with pytest.raises(DataError, match="--keep_columns: the column 'nobody'"):
        score_files(published, [first], str(output), keep_columns=("nobody",))
    other = tmp_path / "other"
    other.mkdir()
    copy = str(other / "part-0.parquet")
    table = pq.read_table(first).drop_columns(["item"])
    pq.write_table(table, copy)
    with pytest.raises(DataError, match="column 'item' is missing"):
        score_files(published, [copy], str(output))
    with pytest.raises(ExportError, match="have the same file name"):
        score_files(published, [first, copy], str(output))
    (output / "part-1.parquet").write_bytes(b"PAR1 of somebody")
    with pytest.raises(ExportError, match="part-1.parquet: exists"):
        score_files(published, [list(files)[1]], str(output))
    assert os.listdir(output) == ["part-1.parquet"]


def test_kept_columns_stand_once_and_keep_their_types(
    published, files, tmp_path
):
    """Of a part without rows too, so that all parts are one data set."""
    first, _ = files
    output = tmp_path / "out"
    for keep in (("key", "key"), ("key", "logit")):
        with pytest.raises(ExportError, match=f"two columns {keep[1]!r}"):
            score_files(published, [first], str(output), keep_columns=keep)
    assert not output.exists()
    empty = str(tmp_path / "empty.parquet")
    table = pq.read_table(first)
    table = table.append_column("number", pa.array(range(len(table))))
    pq.write_table(table, first)
    pq.write_table(table.slice(0, 0), empty)
    score_files(
        published, [empty, first], str(output), keep_columns=("number",)
    )
    found = pq.read_table(output)
    assert found["number"].to_pylist() == table["number"].to_pylist()


def test_a_bad_id_names_the_file_and_the_row(published, files, tmp_path):
    (first, *_) = files
    (tmp_path / "out").mkdir()
    table = pq.read_table(first)
    items = table["item"].to_pylist()
    items[41] = 20
    place = table.column_names.index("item")
    bad = str(tmp_path / "bad.parquet")
    pq.write_table(table.set_column(place, "item", pa.array(items)), bad)
    with pytest.raises(DataError, match="bad.parquet.*row 41.*'item'.*20"):
        score_files(published, [bad], str(tmp_path / "out"))
