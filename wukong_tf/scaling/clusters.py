"""A training step on a cluster of GPUs, on paper."""

import dataclasses
import re
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

from wukong_tf.errors import ConfigError
from wukong_tf.scaling.cost import Cost
from wukong_tf.scaling.traffic import Traffic

PEAK_SHARE = 0.4  # assumed share of the peak that a model's products reach


@dataclasses.dataclass(frozen=True)
class Accelerator:
    """What NVIDIA's data sheets say of a GPU and of its DGX host.

    Args:
        bytes: its memory.
        flops: operations per second of its tensor cores by the dtype of the
            products, without sparsity; float32 stands for TF32, TensorFlow's
            default on them.
        nvlink_bytes: bytes per second to the GPUs of its host, in one
            direction.
        port_bytes: bytes per second of its port of the network.
    """

    bytes: float
    flops: Mapping[str, float]
    nvlink_bytes: float
    port_bytes: float


def _flops(bfloat16, float32, float64):
    dtypes = {"bfloat16": bfloat16, "float32": float32, "float64": float64}
    return MappingProxyType(dtypes)


_HOPPER = _flops(989e12, 494e12, 67e12)
ACCELERATORS = MappingProxyType(
    {  # SXM modules, and 200 (A100) or 400 Gbit/s of InfiniBand for each
        "a100": Accelerator(80e9, _flops(312e12, 156e12, 19.5e12), 300e9, 25e9),
        "h100": Accelerator(80e9, _HOPPER, 450e9, 50e9),
        "h200": Accelerator(141e9, _HOPPER, 450e9, 50e9),
    }
)


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Hosts with as many GPUs of one kind each.

    Args:
        kind: a name of `ACCELERATORS`.
        hosts: number of hosts.
        gpus: GPUs of each host.
    """

    kind: str
    hosts: int
    gpus: int

    @classmethod
    def parse(cls, text: str) -> "Cluster":
        """Returns the cluster that is written as "KIND:HOSTSxGPUS".

        Raises:
            ConfigError: the text is not of that form.
        """
        found = re.fullmatch(r"(\w+):([1-9][0-9]*)x([1-9][0-9]*)", text)
        if found is None or found[1] not in ACCELERATORS:
            raise ConfigError(
                f"a cluster must be KIND:HOSTSxGPUS, with GPUS those of a host "
                f"and KIND one of {sorted(ACCELERATORS)}, such as h100:4x8; "
                f"received {text!r}."
            )
        return cls(found[1], int(found[2]), int(found[3]))

    @property
    def accelerator(self) -> Accelerator:
        """The GPU."""
        return ACCELERATORS[self.kind]

    @property
    def count(self) -> int:
        """GPUs of all hosts."""
        return self.hosts * self.gpus

    def ring_s(self, sent: float) -> float:
        """Returns seconds in which each GPU sends bytes to the next in rings.

        NVLink carries them within a host. Among hosts the network bounds the
        rings; NCCL lays one through each port, so that a host's ports carry
        the traffic together.
        """
        if self.hosts == 1:
            return sent / self.accelerator.nvlink_bytes
        return sent / (self.gpus * self.accelerator.port_bytes)

    def exchange_s(self, sent: float) -> float:
        """Returns seconds in which each GPU sends bytes to all others alike.

        NVLink carries what stays in a host, and the GPU's port the rest, at
        the same time.
        """
        others = max(1, self.count - 1)
        inside = sent * (self.gpus - 1) / others
        outside = sent * (self.count - self.gpus) / others
        return max(
            inside / self.accelerator.nvlink_bytes,
            outside / self.accelerator.port_bytes,
        )


@dataclasses.dataclass(frozen=True)
class Step:
    """A training step of one of N GPUs, an estimate.

    Args:
        gpus: N.
        batch: rows per GPU.
        memory_bytes: weights and optimizer state on a GPU, without
            activations.
        dense_bytes: bytes that a GPU sends for the dense part.
        replicated_bytes: those for gradients of replicated tables.
        sharded_bytes: those in the exchange of sharded tables.
        compute_s: seconds of the forward and backward pass.
        dense_s: seconds to send `dense_bytes`.
        tables_s: seconds to send those of the tables.
    """

    gpus: int
    batch: int
    memory_bytes: float
    dense_bytes: float
    replicated_bytes: float
    sharded_bytes: float
    compute_s: float
    dense_s: float
    tables_s: float

    @property
    def step_s(self) -> float:
        """Seconds of a step, in which sending does not overlap computing."""
        return self.compute_s + self.dense_s + self.tables_s

    @property
    def efficiency(self) -> float:
        """Fraction of N times the throughput of a single GPU."""
        return self.compute_s / self.step_s

    @property
    def rows_per_s(self) -> float:
        """Rows per second of all GPUs."""
        return self.gpus * self.batch / self.step_s


def estimated_step(
    model_cost: Cost,
    cluster: Cluster,
    batch: int,
    tables: Sequence[Traffic] = (),
    sharded: Collection[str] = (),
    *,
    dtype: str = "bfloat16",
    peak_share: float = PEAK_SHARE,
) -> Step:
    """Returns a step under data parallelism, as in `trainer.main`.

    In rings, an all-reduce of B bytes on each of N GPUs sends 2 (N - 1) / N B
    from each, and an all-gather (N - 1) / N B of the whole. Lookups,
    elementwise operations, updates and input are not counted.

    Args:
        model_cost: cost of the model; with `state_workers`, each GPU updates a
            part of the dense weights and sends it to the others.
        cluster: the GPUs, a worker each.
        batch: rows per GPU.
        tables: what its tables take and send on as many workers.
        sharded: names of the tables that are sharded by rows. Defaults to
            none.
        dtype: dtype of the matrix products. Defaults to "bfloat16".
        peak_share: share of the peak that they reach. Defaults to 0.4, an
            assumption.
    """
    gpus = cluster.count
    others = (gpus - 1) / gpus
    dense = 2 * others * model_cost.dense_bytes
    if model_cost.state_workers > 1:
        dense += others * model_cost.dense_bytes
    parts = [table for table in tables if table.name in sharded]
    whole = [table for table in tables if table.name not in sharded]
    replicated_bytes = sum(table.sent_replicated for table in whole)
    sharded_bytes = sum(table.sent_sharded for table in parts)
    flops = peak_share * cluster.accelerator.flops[dtype]
    return Step(
        gpus=gpus,
        batch=batch,
        memory_bytes=model_cost.dense_bytes
        + model_cost.dense_state_bytes
        + sum(table.sharded_bytes for table in parts)
        + sum(table.bytes for table in whole),
        dense_bytes=dense,
        replicated_bytes=replicated_bytes,
        sharded_bytes=sharded_bytes,
        compute_s=batch * model_cost.training_flop / flops,
        dense_s=cluster.ring_s(dense),
        tables_s=cluster.ring_s(replicated_bytes)
        + cluster.exchange_s(sharded_bytes),
    )
