"""Which tables are sharded over workers, and what that takes."""

import pytest

from tests.errors import assert_refused
from tests.worlds import small_models
from trainer.placement import sharding
from trainer.placement.tables import Device, place
from trainer.settings import Devices
from wukong_tf.scaling import cost
from wukong_tf.scaling.traffic import Traffic, traffic

COSTS = cost(small_models.CONFIG, batch_size=64)


SHARDED = Devices(table_placement="sharded")


def tables(batch_size=8, workers=2):
    return traffic(COSTS, small_models.SPEC, batch_size, workers)


def chosen(placement, free=None, **options):
    workers = options.pop("workers", 2)
    devices = Devices(table_placement=placement, **options)
    return sharding.choose(devices, tables(workers=workers), free)


def test_each_table_counts_its_features_ids_and_rows():
    found = {table.name: table for table in tables(batch_size=9)}
    # Two features read "item", which has 11 rows of width 4.
    item = found["item"]
    assert (item.rows, item.width, item.distinct) == (11, 4, 10)
    assert found["city"].distinct == 5
    assert item.bytes == 4 * 11 * 5 and item.sharded_bytes == 4 * 6 * 5
    # Half of 10 ids goes to the other, and so do as many rows and gradients.
    assert item.sent_sharded == 5 * (4 + 2 * 4 * 4)
    # 10 rows and their numbers, or twice half of the table with its counts.
    assert item.sent_replicated == min(10 * (4 + 16), 11 * 4 * 5)


def test_rows_and_gradients_as_bfloat16_take_half_the_bytes():
    found = traffic(COSTS, small_models.SPEC, 8, 2, exchange_dtype="bfloat16")
    for table, narrow in zip(tables(), found, strict=True):
        ids = 4 * narrow.distinct
        assert narrow.sent_sharded - ids // 2 == pytest.approx(
            (table.sent_sharded - ids // 2) / 2, abs=1
        )
        assert narrow.sent_replicated == table.sent_replicated
        assert narrow.sharded_bytes == table.sharded_bytes
    (line,) = sharding.describe(SHARDED, found, [table.name for table in found])
    assert line.endswith(" bytes a step, rows and gradients as bfloat16")
    sends_less = tables(), found
    less = [
        {t.name for t in each if t.sent_sharded < t.sent_replicated}
        for each in sends_less
    ]
    assert less[0] <= less[1]


def test_an_evaluation_has_no_state_and_sends_no_gradients():
    found = traffic(COSTS, small_models.SPEC, 8, 2, trains=False)
    for table, read in zip(tables(), found, strict=True):
        assert table.bytes - read.bytes == 4 * table.rows
        rows_sent = 4 * read.distinct * read.width // 2
        assert table.sent_sharded - read.sent_sharded == rows_sent
        assert read.sent_replicated == 0
    (line,) = sharding.describe(SHARDED, found, [table.name for table in found])
    assert "optimizer state" not in line
    # So only what does not fit is worth it.
    devices = Devices(table_placement="auto")
    assert sharding.choose(devices, found, None) == ()
    names = tuple(table.name for table in found)
    assert sharding.choose(devices, found, 0) == names


def test_by_name_by_size_and_not_at_all():
    every = tuple(table.name for table in COSTS.tables)
    assert chosen("replicated") == ()
    assert chosen("replicated", sharded_tables=("item",)) == ()
    assert chosen("sharded") == every
    assert chosen("sharded", sharded_tables=("item", "city")) == tuple(
        name for name in every if name in ("item", "city")
    )
    large = {t.name for t in tables() if t.bytes >= 250}
    assert 0 < len(large) < len(every)
    assert {*chosen("sharded", sharded_table_mib=250 / 2**20)} == large
    assert chosen("sharded", workers=1) == ()
    # City has five rows.
    assert "city" not in chosen("sharded", workers=6)
    assert_refused(
        lambda: chosen("sharded", sharded_tables=("itme",)),
        "--sharded_tables",
        "['itme']",
        str([*every]),
    )


def test_auto_shards_what_sends_less_and_what_does_not_fit():
    less = {t.name for t in tables() if t.sent_sharded < t.sent_replicated}
    assert {*chosen("auto")} == less
    assert {*chosen("auto", free=10**9)} == less
    assert {*chosen("auto", free=0)} == {t.name for t in COSTS.tables}
    rest = [t for t in tables() if t.name not in less]
    if rest:
        largest = max(rest, key=lambda table: table.bytes)
        all_but = sum(
            t.sharded_bytes if t.name in less else t.bytes for t in tables()
        )
        assert {*chosen("auto", free=all_but - 1)} == {*less, largest.name}


def test_a_worker_needs_memory_for_its_part_alone():
    names = [table.name for table in COSTS.tables]
    host = Device("cpu", 10**9)
    whole = place(COSTS, [host])
    placed = place(COSTS, [host], sharded=names, workers=4)
    assert placed.sharded_tables == tuple(names)
    assert whole.sharded_tables == ()
    saved = whole.used(host) - placed.used(host)
    assert saved == sum(
        4 * (t.width + 1) * (t.rows - -(-t.rows // 4)) for t in COSTS.tables
    )
    # Not on the host next to an accelerator, however small.
    devices = [Device("accelerator", placed.used(host)), host]
    found = place(COSTS, devices, sharded=names, workers=4)
    assert found.host_tables == ()
    found.check()


def test_the_log_has_memory_and_traffic():
    found = tables()
    assert sharding.describe(Devices(), found, ()) == []
    (why,) = sharding.describe(SHARDED, found, ())
    assert "shards no table: all are below --sharded_table_mib" in why
    (why,) = sharding.describe(SHARDED, tables(workers=1), ())
    assert "shards no table: there is one worker" in why
    first, second = sharding.describe(SHARDED, found, ("item", "user"))
    assert first.startswith("tables sharded by rows over 2 workers: ")
    assert "user, item;" in first or "item, user;" in first
    names = ("item", "user")
    held = sum(t.sharded_bytes for t in found if t.name in names)
    sent = sum(t.sent_sharded for t in found if t.name in names)
    assert f"holds {held:,} of" in first and f"most {sent:,} bytes" in first
    assert second.startswith("tables that every worker holds: ")
    every = [table.name for table in found]
    assert len(sharding.describe(SHARDED, found, every)) == 1


@pytest.mark.parametrize("count, shown", [(8, "t7;"), (10, "t7 and 2 more;")])
def test_few_of_many_names_are_shown(count, shown):
    found = [Traffic(f"t{n}", 10, 4, 5, 2) for n in range(count)]
    lines = sharding.describe(SHARDED, found, [t.name for t in found])
    assert shown in lines[0]
