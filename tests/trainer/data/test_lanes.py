"""Rows cut into lanes: the same global batches for any number of workers."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trainer.data.parquet import ParquetSource
from trainer.data.pipeline import GLOBAL_ROWS, Pipeline
from trainer.data.source import lane_rows, rows_of_step, spread
from wukong_tf.config import CategoricalFeature, FeatureSpec
from wukong_tf.errors import DataError
from wukong_tf.rows.bad_values import Count

ROWS = 517
SPEC = FeatureSpec((CategoricalFeature("row", ROWS),))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Row numbers over three files with row groups of uneven sizes."""
    folder = tmp_path_factory.mktemp("lanes")
    ends = [0, 200, 201, ROWS]
    for number, (start, stop) in enumerate(
        zip(ends[:-1], ends[1:], strict=True)
    ):
        rows = np.arange(start, stop, dtype=np.int32)
        pq.write_table(
            pa.table({"row": rows, "label": rows % 2}),
            folder / f"part-{number}.parquet",
            row_group_size=37,
        )
    return str(folder)


def source(folder, **options):
    return ParquetSource([f"{folder}/*.parquet"], SPEC, **options)


def rows_of(folder, size, epoch=0, first_step=0, part=(0, 1), **options):
    found = source(folder, **options)
    batches = found.batches(size, epoch=epoch, first_step=first_step, part=part)
    return [batch["row"] for batch in batches]


@pytest.mark.parametrize("shuffle_rows", [0, 100])
@pytest.mark.parametrize(
    "lanes, workers",
    [(2, 2), (4, 2), (4, 4), (6, 3), (1, 4), (2, 4), (4, 3), (3, 5)],
)
def test_workers_together_read_what_one_reads(
    folder, lanes, workers, shuffle_rows
):
    options = {"shuffle_rows": shuffle_rows, "seed": 3, "lanes": lanes}
    alone = rows_of(folder, 48, epoch=1, **options)
    assert len(alone) == -(-ROWS // 48)
    assert sorted(np.concatenate(alone)) == list(range(ROWS))
    parts = [
        rows_of(folder, 48, epoch=1, part=(w, workers), **options)
        for w in range(workers)
    ]
    for step, whole in enumerate(alone):
        together = [part[step] for part in parts]
        np.testing.assert_array_equal(np.concatenate(together), whole)


@pytest.mark.parametrize("lanes, workers", [(1, 1), (4, 1), (4, 2)])
def test_any_step_is_read_without_those_before_it(
    folder, lanes, workers, monkeypatch
):
    """The very next batch, byte for byte, and no block that lies before."""
    for worker in range(workers):
        options = {
            "shuffle_rows": 60,
            "seed": 5,
            "lanes": lanes,
            "part": (worker, workers),
        }
        whole = rows_of(folder, 32, epoch=2, **options)
        for step in (0, 1, 7, len(whole) - 1):
            later = rows_of(folder, 32, epoch=2, first_step=step, **options)
            assert [r.tobytes() for r in later] == [
                r.tobytes() for r in whole[step:]
            ]
    found = source(folder, shuffle_rows=60, seed=5, lanes=lanes)
    read = []
    table = ParquetSource.table
    monkeypatch.setattr(
        ParquetSource,
        "table",
        lambda self, block: read.append(block) or table(self, block),
    )
    last = -(-ROWS // 32) - 1
    list(found.batches(32, first_step=last))
    assert len(read) <= 3 * lanes


def test_every_lane_window_epoch_and_seed_shuffles_of_its_own(tmp_path):
    """Two runs of as many rows in one order have been shuffled alike."""
    rows, size, lanes = 240, 30, 4
    path = str(tmp_path / "a.parquet")
    numbers = np.arange(rows, dtype=np.int32)
    table = pa.table({"row": numbers, "label": numbers % 2})
    pq.write_table(table, path, row_group_size=size)
    seen = {}
    for seed in (3, 4):
        found = ParquetSource(
            [path],
            SPEC,
            shuffle_rows=size * lanes,
            seed=seed,
            lanes=lanes,
            in_order=True,
        )
        for epoch in (0, 1):
            batches = list(found.batches(size * lanes, epoch=epoch))
            assert len(batches) == 2
            for number, batch in enumerate(batches):
                shares = np.split(batch["row"], lanes)
                for lane, share in enumerate(shares):
                    start = (lane * 2 + number) * size
                    assert sorted(share) == list(range(start, start + size))
                    order = tuple(share - start)
                    where = (seed, epoch, number, lane)
                    assert order not in seen, (where, seen[order])
                    assert order != tuple(range(size))
                    seen[order] = where


def test_one_lane_reads_as_ever(folder):
    """Lanes change the order of rows, but one lane is the plain order."""
    plain = rows_of(folder, 50)
    np.testing.assert_array_equal(np.concatenate(plain), np.arange(ROWS))


def test_rows_of_a_step_are_those_of_all_workers(folder):
    for lanes in (1, 4):
        found = source(folder, lanes=lanes)
        sizes = [len(b["row"]) for b in found.batches(48)]
        assert sizes == [rows_of_step(found, 48, s) for s in range(len(sizes))]
        pipeline = Pipeline(found, 48, part=(0, lanes))
        batches = pipeline.dataset().as_numpy_iterator()
        assert [int(b[GLOBAL_ROWS]) for b in batches] == sizes


def test_lanes_cover_all_rows_once():
    for rows in (1, 7, 100):
        for lanes in (1, 3, 8):
            ends = [lane_rows(rows, lanes, lane) for lane in range(lanes)]
            assert ends[0][0] == 0 and ends[-1][1] == rows
            for one, other in zip(ends[:-1], ends[1:], strict=True):
                assert one[1] == other[0]


def test_a_worker_without_rows_in_the_last_batch_gives_an_empty_one(tmp_path):
    rows = np.arange(9, dtype=np.int32)
    path = str(tmp_path / "a.parquet")
    pq.write_table(pa.table({"row": rows, "label": rows % 2}), path)
    found = [
        [
            batch["row"].tolist()
            for batch in ParquetSource([path], SPEC, lanes=2).batches(
                8, part=(worker, 2)
            )
        ]
        for worker in range(2)
    ]
    assert found == [[[0, 1, 2, 3], []], [[4, 5, 6, 7], [8]]]


def test_what_cannot_be_shared_is_refused(folder):
    with pytest.raises(DataError, match="50 rows cannot be divided into 4"):
        next(source(folder, lanes=4).batches(50))
    with pytest.raises(ValueError, match="`lanes` must be at least 1"):
        source(folder, lanes=0)


def test_bad_values_are_counted_by_one_worker_each(tmp_path):
    rows = np.arange(40)
    path = str(tmp_path / "a.parquet")
    ids = np.where(rows % 4 == 0, ROWS, rows)
    table = pa.table({"row": ids, "label": rows % 2})
    pq.write_table(table, path, row_group_size=7)
    for lanes, workers in ((1, 1), (1, 3), (2, 2), (2, 4), (4, 3)):
        total = 0
        for worker in range(workers):
            bad = Count()
            found = ParquetSource([path], SPEC, lanes=lanes, bad=bad)
            list(found.batches(8, part=(worker, workers)))
            total += bad.counts["row"]
        assert total == 10, (lanes, workers)


def test_replicas_of_a_worker_get_its_rows_in_turn(folder):
    found = source(folder)
    whole = [batch["row"] for batch in found.batches(50)]
    pipeline = Pipeline(found, 50, part=(1, 2), replicas=3)
    shares = [b["row"] for b in pipeline.dataset().as_numpy_iterator()]
    assert len(shares) == 3 * len(whole)
    for step, rows in enumerate(whole):
        mine = np.concatenate(shares[3 * step : 3 * step + 3])
        np.testing.assert_array_equal(mine, rows[25:])


@pytest.mark.parametrize("rows", [1, 8, 50, 400, ROWS, 9999])
def test_spread_rows_come_from_all_over_a_source(folder, rows):
    files = source(folder, bad=Count())
    found = spread(files, rows)["row"]
    assert list(found) == sorted(set(found))
    size = -(-min(rows, ROWS) // 8)
    assert min(rows, ROWS) - size < len(found) <= rows
    if rows >= 8:
        assert found[0] == 0 and found[-1] >= ROWS - 2 * size
    if rows >= ROWS:
        assert list(found) == list(range(ROWS))
    assert files.bad.rows == 0  # they are counted where all are read
