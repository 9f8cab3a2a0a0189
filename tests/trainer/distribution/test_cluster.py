"""Who the workers are, and what is said of their addresses."""

import dataclasses
import json
import socket
import threading

import pytest
import tensorflow as tf

from trainer.distribution import cluster
from trainer.distribution.cluster import find_cluster, warnings_of
from wukong_tf.errors import ConfigError


def tf_config(workers, index=0, **more):
    task = {"type": "worker", "index": index}
    content = {"cluster": {"worker": workers, **more}, "task": task}
    return {"TF_CONFIG": json.dumps(content)}


def test_tf_config_names_the_workers():
    found = find_cluster(tf_config(["a:1", "b:2"], 1))
    assert found.addresses == ("a:1", "b:2") and found.index == 1
    assert json.loads(found.tf_config()) == json.loads(
        tf_config(["a:1", "b:2"], 1)["TF_CONFIG"]
    )
    assert find_cluster({}) is None
    assert find_cluster({"TF_CONFIG": ""}) is None
    assert find_cluster({"TF_CONFIG": "{}"}) is None


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        "[]",
        json.dumps({"cluster": {"worker": ["a:1"]}}),
        tf_config(["a:1"], 1)["TF_CONFIG"],
        tf_config(["a:1"], -1)["TF_CONFIG"],
        tf_config(["a"])["TF_CONFIG"],
        tf_config([1])["TF_CONFIG"],
        tf_config(["a:1"], ps=["b:1"])["TF_CONFIG"],
    ],
)
def test_another_tf_config_is_refused(text):
    with pytest.raises(ConfigError) as error:
        find_cluster({"TF_CONFIG": text})
    assert "TF_CONFIG must" in str(error.value) and text in str(error.value)


SLURM = {
    "SLURM_STEP_NUM_TASKS": "5",
    "SLURM_STEP_NODELIST": "gpu[01-02],login1",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2),1",
    "SLURM_PROCID": "3",
}


def test_slurm_s_variables_become_a_cluster():
    found = find_cluster(SLURM)
    assert found.addresses == (
        "gpu01:12345",
        "gpu01:12346",
        "gpu02:12345",
        "gpu02:12346",
        "login1:12345",
    )
    assert found.index == 3 and found.on_this_host == 2
    assert find_cluster({**SLURM, "WUKONG_PORT": "9"}).addresses[0] == "gpu01:9"
    config = {"TF_CONFIG": json.dumps(json.loads(found.tf_config()))}
    assert find_cluster({**SLURM, **config}).source == "TF_CONFIG"


def test_a_slurm_allocation_alone_is_no_cluster():
    """A plain command in the script of a job of several tasks."""
    assert find_cluster({"SLURM_NTASKS": "8", "SLURM_PROCID": "0"}) is None
    assert find_cluster({**SLURM, "SLURM_STEP_NUM_TASKS": "1"}) is None


@pytest.mark.parametrize(
    "changed",
    [
        {"SLURM_PROCID": "5"},
        {"SLURM_PROCID": "x"},
        {"SLURM_STEP_TASKS_PER_NODE": "2"},
        {"WUKONG_PORT": "high"},
    ],
)
def test_other_slurm_variables_are_refused(changed):
    with pytest.raises(ConfigError, match="SLURM"):
        find_cluster({**SLURM, **changed})


def test_who_listens_for_others_is_warned(monkeypatch):
    def of(*addresses):
        return warnings_of(find_cluster(tf_config(list(addresses))))

    assert warnings_of(None) == []
    assert of("127.0.0.1:1", "localhost:2") == []
    (private,) = of("10.0.0.1:8", "192.168.1.2:9")
    assert "port 8 of every interface" in private
    both = of("127.0.0.1:8", "8.8.8.8:9")
    assert "port 8 of every interface" in both[0]
    assert both[1].startswith("warning: 8.8.8.8:9 are public addresses")
    assert len(of("no-such-host.invalid:1", "127.0.0.1:2")) == 1
    known = [(0, 0, 0, "", ("2001:4860:4860::8888%eth0", 0))]
    monkeypatch.setattr(cluster.socket, "getaddrinfo", lambda *a: known)
    assert len(of("named:1", "other:2")) == 2


def test_a_worker_that_runs_already_is_named():
    server = tf.distribute.Server.create_local_server()
    address = server.target.removeprefix("grpc://")
    port = address.rpartition(":")[2]
    taken = cluster.Cluster(("127.0.0.1:1", f"127.0.0.1:{port}"), 1, "SLURM")
    with pytest.raises(ConfigError, match=f"worker 1 at 127.0.0.1:{port}, but"):
        cluster.refuse_a_second(taken)
    # The chief, which answers too, is not this one's address.
    cluster.refuse_a_second(dataclasses.replace(taken, index=0))


def test_who_accepts_a_connection_is_not_yet_a_worker():
    """A proxy does for a service that is about to start."""
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        port = proxy.getsockname()[1]
        closing = threading.Thread(target=lambda: proxy.accept()[0].close())
        closing.start()
        address = f"127.0.0.1:{port}"
        cluster.refuse_a_second(cluster.Cluster((address, address), 0, "SLURM"))
        closing.join()
