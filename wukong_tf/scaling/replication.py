"""Communication of replicas in a training step, and its time.

`python -m wukong_tf.scaling.replication` prints the table of
docs/distributed.md: an estimate, not a measurement.
"""

import dataclasses
import math

from wukong_tf.scaling.cost import FLOAT_BYTES, Cost, cost
from wukong_tf.scaling.presets import INTERNAL_ROWS, internal_features, preset

# NVIDIA's data sheet of the H100 SXM5: dense bfloat16 operations a second
# and memory; NVLink is 900 GB/s in both directions together, so half in one.
H100_FLOPS = 989e12
H100_BYTES = 80e9
NVLINK_BYTES = 450e9
GPUS_OF_A_HOST = 8
# Eight 400 Gbit/s ports of InfiniBand a host, as in NVIDIA's DGX H100. NCCL
# lays a ring through each, so a host's ports carry the traffic together.
NETWORK_BYTES = 8 * 50e9


@dataclasses.dataclass(frozen=True)
class Step:
    """A training step of one of N replicas.

    Args:
        replicas: N.
        batch: rows per replica.
        compute_s: seconds of the forward and backward pass.
        dense_bytes: bytes that a replica sends for the dense gradients.
        table_bytes: bytes that a replica sends for the gradients of tables.
        way: how table gradients are summed: "gather" or "reduce".
        exchange_s: seconds to send both.
    """

    replicas: int
    batch: int
    compute_s: float
    dense_bytes: float
    table_bytes: float
    way: str
    exchange_s: float

    @property
    def step_s(self) -> float:
        """Seconds of a step, in which sending does not overlap computing."""
        return self.compute_s + self.exchange_s

    @property
    def efficiency(self) -> float:
        """Fraction of N times the throughput of a single replica."""
        return self.compute_s / self.step_s

    @property
    def rows_per_s(self) -> float:
        """Rows per second of all replicas."""
        return self.replicas * self.batch / self.step_s


def estimated_step(
    model_cost: Cost,
    replicas: int,
    batch: int,
    *,
    ids: int,
    width: int,
    table_rows: int,
    flops: float,
) -> Step:
    """Returns a step under data parallelism, as in `trainer.main`.

    In rings, an all-reduce of B bytes on each replica sends 2 (N - 1) / N B
    from each, and an all-gather (N - 1) B. NVLink carries it within a host, and
    the network among hosts, which then bounds the rings.

    Args:
        model_cost: cost of the model.
        replicas: N.
        batch: rows per replica.
        ids: ids looked up per row; all distinct, at worst.
        width: floats of a table's row.
        table_rows: rows of the table of that width.
        flops: operations per second that a replica reaches.
    """
    link = NVLINK_BYTES if replicas <= GPUS_OF_A_HOST else NETWORK_BYTES
    ring = 2 * (replicas - 1) / replicas
    dense = ring * FLOAT_BYTES * model_cost.dense_parameters
    row = FLOAT_BYTES * (width + 1)
    gathered = (replicas - 1) * row * min(batch * ids, table_rows)
    reduced = ring * row * table_rows
    tables = min(gathered, reduced)
    return Step(
        replicas=replicas,
        batch=batch,
        compute_s=batch * model_cost.training_flop / flops,
        dense_bytes=dense,
        table_bytes=tables,
        way="gather" if gathered <= reduced else "reduce",
        exchange_s=(dense + tables) / link,
    )


def resident_bytes(model_cost: Cost, table_rows: int, width: int) -> float:
    """Returns bytes of a replica's weights and slots, without activations."""
    dense = model_cost.dense_bytes + model_cost.dense_state_bytes
    return dense + FLOAT_BYTES * table_rows * (width + 1)


def table(
    share: float = 0.4, batch: int = 2048, table_rows: int = 20_000_000
) -> str:
    """Returns the estimate for two presets on 8 and 256 H100s, as Markdown.

    Args:
        share: assumed fraction of the peak that a replica reaches.
        batch: rows per replica.
        table_rows: rows of all tables.
    """
    features = internal_features()
    lines = [
        "| preset | H100s | weights and state a GPU | compute | dense bytes "
        "sent | table bytes sent | exchange | step | efficiency | rows/s |",
        "|---|---:|---|---:|---:|---|---:|---:|---:|---:|",
    ]
    for name in ("internal_5.6gf", "internal_108gf"):
        config = preset(name).config(features)
        model_cost = cost(config)
        width = config.embedding_dim
        resident = resident_bytes(model_cost, table_rows, width)
        for replicas in (8, 256):
            step = estimated_step(
                model_cost,
                replicas,
                batch,
                ids=INTERNAL_ROWS,
                width=width,
                table_rows=table_rows,
                flops=share * H100_FLOPS,
            )
            fits = "" if resident <= H100_BYTES else ", does not fit"
            lines.append(
                f"| {name} | {replicas} | {resident / 1e9:.0f} GB{fits} | "
                f"{_ms(step.compute_s)} | {_gb(step.dense_bytes)} | "
                f"{_gb(step.table_bytes)}, {step.way} | "
                f"{_ms(step.exchange_s)} | {_ms(step.step_s)} | "
                f"{step.efficiency:.2f} | {step.rows_per_s:,.0f} |"
            )
    return "\n".join(lines)


def batch_for(efficiency: float, step: Step) -> float:
    """Returns rows per replica for an efficiency, with only dense gradients.

    Args:
        efficiency: in (0, 1).
        step: a step with any number of rows.
    """
    link = NVLINK_BYTES if step.replicas <= GPUS_OF_A_HOST else NETWORK_BYTES
    needed = step.dense_bytes / link * efficiency / (1 - efficiency)
    return math.ceil(needed / (step.compute_s / step.batch))


def _ms(seconds):
    return f"{1000 * seconds:,.0f} ms"


def _gb(count):
    return f"{count / 1e9:,.1f} GB"


if __name__ == "__main__":
    print(table())
