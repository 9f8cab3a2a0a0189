"""A training step with tables sharded by rows over GPUs, on paper.

`python -m wukong_tf.scaling.sharding` prints the table of docs/distributed.md:
an estimate, not a measurement.
"""

import dataclasses
import itertools

from wukong_tf.scaling.cost import FLOAT_BYTES, Cost, cost
from wukong_tf.scaling.presets import (
    INTERNAL_ROWS,
    INTERNAL_TABLES,
    internal_features,
    preset,
)
from wukong_tf.scaling.replication import (
    GPUS_OF_A_HOST,
    H100_BYTES,
    H100_FLOPS,
    NETWORK_BYTES,
    NVLINK_BYTES,
)

ID_BYTES = 4
# Bytes of a float of a row or a gradient by the dtype in which it is sent.
EXCHANGE_BYTES = {"float32": FLOAT_BYTES, "bfloat16": 2}
PAPER_BATCH = 262_144  # rows of the global batch, arXiv 2403.02545


@dataclasses.dataclass(frozen=True)
class ShardedStep:
    """A step of one of N GPUs, whose tables are sharded by rows.

    Args:
        gpus: N.
        batch: rows per GPU.
        memory_bytes: its part of the tables and their state, and the dense
            part's weights and optimizer state; without activations.
        dense_state_bytes: the dense part's optimizer state within these.
        table_bytes: bytes that it sends in the exchange of tables.
        compute_s: seconds of the forward and backward pass.
        tables_s: seconds of the exchange of tables.
        dense_s: seconds of the all-reduce of dense gradients and, if their
            state is sharded, of sending the updated weights.
    """

    gpus: int
    batch: int
    memory_bytes: float
    dense_state_bytes: float
    table_bytes: float
    compute_s: float
    tables_s: float
    dense_s: float

    @property
    def step_s(self) -> float:
        """Seconds of a step, in which sending does not overlap computing."""
        return self.compute_s + self.tables_s + self.dense_s


def sharded_step(
    model_cost: Cost,
    gpus: int,
    batch: int,
    *,
    ids: int,
    width: int,
    table_rows: int,
    flops: float,
    exchange_dtype: str = "float32",
    shard_state: bool = False,
) -> ShardedStep:
    """Returns a step in which each GPU owns every N-th row.

    A GPU sends each of its batch's distinct ids, its rows for the others, and
    the gradients of its batch: all but a share of 1 / N. NVLink carries what
    stays in a host, and a GPU's port of the network the rest. At worst, which
    is assumed, all ids are distinct.

    Args:
        model_cost: cost of the model without its tables.
        gpus: N.
        batch: rows per GPU.
        ids: ids looked up per row.
        width: floats of a table's row.
        table_rows: rows of all tables.
        flops: operations per second that a GPU reaches.
        exchange_dtype: "float32" or "bfloat16", in which rows and gradients of
            tables are sent. Defaults to "float32".
        shard_state: whether each GPU has 1 / N of the dense part's optimizer
            slots, and sends the weights that it updates to the others.
            Defaults to False.
    """
    here = min(gpus, GPUS_OF_A_HOST)
    distinct = min(batch * ids, table_rows)
    sent = distinct * (ID_BYTES + 2 * EXCHANGE_BYTES[exchange_dtype] * width)
    inside, outside = sent * (here - 1) / gpus, sent * (gpus - here) / gpus
    port = NETWORK_BYTES / GPUS_OF_A_HOST
    ring = 2 * (gpus - 1) / gpus * model_cost.dense_bytes
    part = -(-table_rows // gpus) * FLOAT_BYTES * (width + 1)
    state = model_cost.dense_state_bytes
    if shard_state:
        state = -(-state // gpus)
        ring += (gpus - 1) / gpus * model_cost.dense_bytes
    dense = model_cost.dense_bytes + state
    return ShardedStep(
        gpus=gpus,
        batch=batch,
        memory_bytes=part + dense,
        dense_state_bytes=state,
        table_bytes=inside + outside,
        compute_s=batch * model_cost.training_flop / flops,
        tables_s=max(inside / NVLINK_BYTES, outside / port),
        dense_s=ring / (NETWORK_BYTES if gpus > here else NVLINK_BYTES),
    )


def table(share: float = 0.4) -> str:
    """Returns the estimate of the paper's tables on H100s, as Markdown.

    Args:
        share: assumed fraction of the peak that a GPU reaches.
    """
    features = internal_features()
    lines = [
        "| preset | H100s | dense state | memory a GPU | of it, dense "
        "optimizer state | compute | table bytes sent | exchange of tables | "
        "dense exchange | step | rows/s | step, exchange in bfloat16 |",
        "|---|---:|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, gpus, state in itertools.product(
        ("internal_0.53gf", "internal_5.6gf", "internal_108gf"),
        (128, 256),
        ("replicated", "sharded"),
    ):
        config = preset(name).config(features)
        width = config.embedding_dim
        step, narrow = (
            sharded_step(
                cost(config),
                gpus,
                PAPER_BATCH // gpus,
                ids=INTERNAL_ROWS,
                width=width,
                table_rows=INTERNAL_TABLES // width,
                flops=share * H100_FLOPS,
                exchange_dtype=dtype,
                shard_state=state == "sharded",
            )
            for dtype in EXCHANGE_BYTES
        )
        fits = "" if step.memory_bytes <= H100_BYTES else ", does not fit"
        lines.append(
            f"| {name} | {gpus} | {state} | {_gb(step.memory_bytes)}{fits} | "
            f"{step.dense_state_bytes / 1e9:,.3f} GB | {_ms(step.compute_s)} | "
            f"{_gb(step.table_bytes)} | {_ms(step.tables_s)} | "
            f"{_ms(step.dense_s)} | {_ms(step.step_s)} | "
            f"{PAPER_BATCH / step.step_s:,.0f} | {_ms(narrow.step_s)} |"
        )
    return "\n".join(lines)


def _ms(seconds):
    return f"{1000 * seconds:,.0f} ms"


def _gb(count):
    return f"{count / 1e9:,.1f} GB"


if __name__ == "__main__":
    print(table())
