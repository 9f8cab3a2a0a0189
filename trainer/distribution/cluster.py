"""Finds the workers of a run from TF_CONFIG or SLURM's variables."""

import dataclasses
import ipaddress
import json
import os
import socket
from collections.abc import Mapping

from wukong_tf.errors import ConfigError

WORKER = "worker"
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_ANSWER_S = 2.0
_HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_SETTINGS = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])  # an empty SETTINGS frame
PORT = 12345  # port of the first worker of a SLURM node


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The workers of a run, including this process.

    Args:
        addresses: HOST:PORT of each, the chief first.
        index: index of this worker.
        source: source of this information, for the log.
    """

    addresses: tuple[str, ...]
    index: int
    source: str

    def tf_config(self) -> str:
        """Returns the text of TF_CONFIG."""
        return json.dumps(
            {
                "cluster": {WORKER: list(self.addresses)},
                "task": {"type": WORKER, "index": self.index},
            }
        )

    @property
    def on_this_host(self) -> int:
        """Number of workers on this worker's host, including this one."""
        mine = _host(self.addresses[self.index])
        return sum(_host(address) == mine for address in self.addresses)

    def exposed(self) -> list[str]:
        """Returns the addresses that may be reachable from other networks."""
        return [a for a in self.addresses if not _is_private(_host(a))]


def refuse_a_second(cluster: Cluster) -> None:
    """Raises ConfigError if another process already is this worker.

    It would take that one's place at the chief, and end the run of all.

    Raises:
        ConfigError: a worker already answers at this worker's address.
    """
    address = cluster.addresses[cluster.index]
    if _answers(_host(address), int(address.rpartition(":")[2])):
        raise ConfigError(
            f"{cluster.source} makes this process worker {cluster.index} at "
            f"{address}, but another worker already runs there. Give this "
            "one another index and address, or end the other one."
        )


def _answers(host, port) -> bool:
    """Returns whether a gRPC server answers: HTTP/2, unlike proxies."""
    try:
        with socket.create_connection((host, port), _ANSWER_S) as connection:
            connection.sendall(_HTTP2 + _SETTINGS)
            return connection.recv(9)[3:4] == _SETTINGS[3:4]
    except OSError:
        return False


def warnings_of(cluster: Cluster | None) -> list[str]:
    """Returns log lines that warn of ports open to other hosts."""
    if cluster is None or len(cluster.addresses) == 1:
        return []
    port = cluster.addresses[cluster.index].rpartition(":")[2]
    lines = []
    if set(map(_host, cluster.addresses)) - _LOOPBACK:
        lines.append(
            f"warning: port {port} of every interface accepts unencrypted "
            "commands of TensorFlow from anyone who reaches it; configure a "
            "firewall to admit only the workers"
        )
    if exposed := cluster.exposed():
        lines.append(
            f"warning: {', '.join(exposed)} are public addresses: whoever "
            "reaches them can read the model and run code in the workers"
        )
    return lines


def find_cluster(environment: Mapping[str, str] = os.environ) -> Cluster | None:
    """Returns the cluster that the environment describes, or None.

    TF_CONFIG takes precedence over the variables of a SLURM step of several
    tasks.

    Raises:
        ConfigError: the variables are invalid.
    """
    if environment.get("TF_CONFIG"):
        return _from_tf_config(environment["TF_CONFIG"])
    if int(environment.get("SLURM_STEP_NUM_TASKS") or 1) > 1:
        return _from_slurm(environment)
    return None


def _from_tf_config(text) -> Cluster | None:
    try:
        content = json.loads(text)
        cluster = content.get("cluster") or {}
        if not cluster:
            return None
        jobs = {job: list(tasks) for job, tasks in cluster.items() if tasks}
        task = content["task"]
        job, index = task["type"], int(task["index"])
        addresses = jobs[job]
        valid = 0 <= index < len(addresses) and all(
            isinstance(text, str) and ":" in text for text in addresses
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            "TF_CONFIG must be a JSON object such as "
            '{"cluster": {"worker": ["HOST:PORT", ...]}, "task": {"type": '
            f'"worker", "index": 0}}}}; received {text!r} ({error!r}).'
        ) from error
    if set(jobs) != {WORKER} or not valid:
        raise ConfigError(
            'TF_CONFIG must name one job, "worker", by HOST:PORT of each, and '
            f"a task in it; received {text!r}. The first worker is the chief."
        )
    return Cluster(tuple(addresses), index, "TF_CONFIG")


def _from_slurm(environment) -> Cluster:
    from tensorflow.python.distribute.cluster_resolver import (
        slurm_cluster_resolver as slurm,
    )

    try:
        hosts = slurm.expand_hostlist(environment["SLURM_STEP_NODELIST"])
        tasks = slurm.expand_tasks_per_node(
            environment["SLURM_STEP_TASKS_PER_NODE"]
        )
        index = int(environment["SLURM_PROCID"])
        port = int(environment.get("WUKONG_PORT") or PORT)
        pairs = list(zip(hosts, tasks, strict=True))
    except (KeyError, ValueError) as error:
        names = ("NODELIST", "TASKS_PER_NODE", "NUM_TASKS")
        given = {
            name: environment.get(name)
            for name in ("SLURM_PROCID", *(f"SLURM_STEP_{n}" for n in names))
        }
        raise ConfigError(
            "SLURM's variables must name nodes and tasks of the step; "
            f"received {given} ({error!r})."
        ) from error
    addresses = [
        f"{host}:{port + task}"
        for host, count in pairs
        for task in range(count)
    ]
    if not 0 <= index < len(addresses):
        raise ConfigError(
            f"SLURM_PROCID must be below the {len(addresses)} tasks of the "
            f"step; received {index}."
        )
    return Cluster(tuple(addresses), index, "SLURM")


def _host(address):
    return address.rpartition(":")[0].strip("[]")


def _is_private(host) -> bool:
    """Returns whether all of a host's addresses are loopback or private."""
    try:
        addresses = {entry[4][0] for entry in socket.getaddrinfo(host, None)}
    except OSError:
        return True  # cannot be resolved here: do not warn
    return all(
        ipaddress.ip_address(str(address).partition("%")[0]).is_private
        for address in addresses
    )
