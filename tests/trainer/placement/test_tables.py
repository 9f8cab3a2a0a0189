"""Where tables lie: chosen, printed and refused before anything is made."""

import dataclasses
import re

import numpy as np
import pytest

from tests.errors import assert_refused
from tests.trainer.cli import arguments, run
from tests.worlds import small_models
from trainer.placement import host_memory
from trainer.placement.tables import Device, place
from wukong_tf import runs
from wukong_tf.models import build_model
from wukong_tf.scaling import cost

FOUND = cost(small_models.CONFIG, batch_size=64)
TABLES = {t.name: 4 * t.rows * (t.width + 1) for t in FOUND.tables}
DENSE = FOUND.bytes - sum(TABLES.values())
HOST = Device("cpu", 10**9)


def places(memory, choice="auto"):
    placed = place(FOUND, [Device("accelerator", memory), HOST], choice)
    assert not any(
        placed.used(device) > device.bytes for device in placed.devices
    )
    return {table.name: table.device for table in placed.tables}


def test_the_accelerator_takes_the_smallest_tables_that_it_holds():
    order = sorted(FOUND.tables, key=lambda table: table.rows * table.width)
    for count in range(len(order) + 1):
        first = {table.name for table in order[:count]}
        memory = DENSE + sum(TABLES[name] for name in first)
        found = places(memory)
        assert {n for n, d in found.items() if d == "accelerator"} == first
        if count:
            fewer = places(memory - 1)
            assert list(fewer.values()).count("accelerator") == count - 1


def test_a_device_can_be_asked_for():
    assert set(places(10**9, "cpu").values()) == {"cpu"}
    assert set(places(10**9, "accelerator").values()) == {"accelerator"}
    assert_refused(
        lambda: place(FOUND, [HOST], "accelerator"),
        "--table_device=accelerator",
    )


def test_without_an_accelerator_no_table_is_set_apart():
    placed = place(FOUND, [HOST])
    assert placed.host_tables == ()
    assert placed.used(HOST) == FOUND.bytes
    beside = place(FOUND, [Device("accelerator", DENSE), HOST])
    assert set(beside.host_tables) == set(TABLES)


def test_what_does_not_fit_is_refused_with_the_largest_table():
    most = max(FOUND.tables, key=lambda table: table.rows * table.width)
    placed = place(FOUND, [Device("cpu", FOUND.bytes - 1)])
    assert_refused(
        placed.check,
        f"cpu has {FOUND.bytes - 1:,} bytes",
        f"table {most.name!r} ({most.rows:,} rows of width {most.width})",
        f"optimizer state {TABLES[most.name]:,}",
        f"the run needs {FOUND.bytes:,}",
    )
    place(FOUND, [Device("cpu", FOUND.bytes)]).check()
    place(FOUND, [Device("cpu", None)]).check()
    only = place(FOUND, [Device("accelerator", DENSE - 1), HOST])
    assert_refused(only.check, "accelerator has", f"activations {DENSE:,}")


def test_the_host_says_its_memory():
    assert 2**28 < host_memory.total_bytes() < 2**50


def test_plan_prints_devices_and_refuses(capsys):
    options = {"mode": "plan", "synthetic": True, "batch_size": 8}
    assert run(*arguments(**options, accelerator_memory_gib=0.004)) == 0
    text = capsys.readouterr().out
    assert re.search(r"user +60,000 +16 +3,840,000 +240,000 +cpu", text)
    assert re.search(r"site +1,000 +16 +64,000 +4,000 +accelerator", text)
    assert re.search(r"dense part +\d[\d,]+ +\d[\d,]+ +accelerator", text)
    assert re.search(r"accelerator +[\d,]+ +4,294,967\n", text)
    assert run(*arguments(**options, host_memory_gib=0.004)) == 2
    found = capsys.readouterr()
    assert "table 'user' (60,000 rows of width 16)" in found.err
    assert "4,080,000" in found.err and "user" in found.out


def test_training_refuses_before_it_makes_anything(tmp_path, capsys):
    run_dir = tmp_path / "run"
    options = {"synthetic": True, "run_dir": run_dir, "host_memory_gib": 0.004}
    assert run(*arguments(**options)) == 2
    assert "table 'user'" in capsys.readouterr().err
    assert not run_dir.exists()


def test_host_tables_are_the_same_model(tmp_path):
    """Weights, scores and canonical arrays do not depend on the place."""
    import keras

    from wukong_tf.runs.arrays import model_slots, read_arrays

    models = []
    for host in ((), ("user", "item")):
        keras.utils.set_random_seed(0)
        models.append(build_model(small_models.CONFIG, host_tables=host))
    one, other = (read_arrays(model_slots(model)) for model in models)
    assert set(one) == set(other)
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name], err_msg=name)
    batch = small_models.inputs(16)
    scores = [model(batch) for model in models]
    for task, logits in scores[0].items():
        np.testing.assert_array_equal(logits, scores[1][task])
    for layer in models[1].tables:
        assert "CPU:0" in layer.table.value.device


@pytest.mark.full
def test_a_run_with_host_tables_is_the_same_run(tmp_path):
    found = []
    for name, gib in (("one", 1.0), ("other", 0.004)):
        options = {
            "synthetic": True,
            "synthetic_train_rows": 2_000,
            "synthetic_valid_rows": 500,
            "synthetic_test_rows": 500,
            "batch_size": 8,
            "max_steps": 20,
            "run_dir": tmp_path / name,
            "accelerator_memory_gib": gib,
        }
        assert run(*arguments(**options)) == 0
        found.append(dict(runs.find_checkpoint(str(tmp_path / name))))
    assert set(found[0]) == set(found[1])
    for name, array in found[0].items():
        np.testing.assert_allclose(
            array, found[1][name], rtol=1e-5, atol=1e-7, err_msg=name
        )


def test_state_bytes_are_a_float_a_row():
    placed = place(FOUND, [HOST])
    for table in placed.tables:
        assert table.bytes + table.state_bytes == TABLES[table.name]
    assert dataclasses.replace(placed, tables=()).used(HOST) == DENSE


def test_state_bytes_of_adam_are_two_floats_a_number():
    found = cost(small_models.CONFIG, batch_size=64, table_optimizer="adam")
    placed = place(found, [HOST])
    assert placed.used(HOST) == found.bytes
    for table in placed.tables:
        assert table.state_bytes == 2 * table.bytes
    memory = DENSE + 3 * min(table.bytes for table in placed.tables)
    beside = place(found, [Device("accelerator", memory), HOST])
    assert len(beside.host_tables) == len(placed.tables) - 1
