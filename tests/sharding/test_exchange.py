"""Workers with sharded tables or state train as one device with whole ones."""

import json
import re

import numpy as np
import pytest

from tests.distributed.processes import finish, start
from tests.sharding import worker
from trainer.launch import free_ports

pytestmark = pytest.mark.full

# Of the dense part, of which each worker has some rows.
SLOTS = re.compile("optimizer/dense/.*_(momentum|velocity)$")
# Four workers train one optimizer's state, for time.
LEFT = {
    (4, case)
    for case, (*_, options) in worker.CASES.items()
    if options.get("state") and case != "adam"
}


def trained(folder, count):
    """What each of `count` workers ended with."""
    ports = free_ports(count) if count > 1 else [0]
    cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
    processes = []
    for index in range(count):
        task = {"type": "worker", "index": index}
        config = json.dumps({"cluster": cluster, "task": task})
        processes.append(
            start(
                "tests.sharding.worker",
                str(folder / f"of-{count}"),
                *(case for case in worker.CASES if (count, case) not in LEFT),
                environment={"TF_CONFIG": config} if count > 1 else {},
            )
        )
    for process in processes:
        finish(process)
    found = []
    for index in range(count):
        with np.load(folder / f"of-{count}-{index}.npz") as arrays:
            found.append(dict(arrays))
    return found


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("one"), 1)[0]


@pytest.fixture(scope="module", params=[2, 4])
def several(request, tmp_path_factory):
    return trained(tmp_path_factory.mktemp("several"), request.param)


@pytest.mark.parametrize("case", worker.CASES)
def test_losses_tables_and_logits_are_those_of_whole_tables(one, several, case):
    if (len(several), case) in LEFT:
        pytest.skip("for time")
    _, sharded, options = worker.CASES[case]
    tolerance = 1e-5 if "float32" in case else 1e-12
    tolerance = 5e-3 if case == "bfloat16" else tolerance
    largest = 0.0
    names = [name for name in one if name.startswith(f"{case}:")]
    tables = {f"{case}:tables/{table}" for table in sharded}
    assert {f"{case}:losses", *tables} <= {*names}
    for name in names:
        parts = [arrays[name] for arrays in several]
        if ":logits/" in name:
            found = np.concatenate(parts)
        elif (options.get("state") and SLOTS.search(name)) or (
            "tables/" in name and name.rpartition("/")[2] in sharded
        ):
            for row in range(len(parts[0])):  # only its owner has it
                assert sum(part[row].any() for part in parts) <= 1
            found = sum(parts)
        else:
            found = parts[0]
            for part in parts[1:]:
                np.testing.assert_array_equal(part, found, err_msg=name)
        assert found.dtype == one[name].dtype
        differs = np.abs(found - one[name]).max(initial=0.0)
        # Adagrad divides gradients that nearly cancel by their size.
        scale = 20 if case == "bfloat16" and "tables/" in name else 1
        assert differs <= scale * tolerance, name
        largest = max(largest, differs)
    assert case != "bfloat16" or largest > 1e-5  # rounded
