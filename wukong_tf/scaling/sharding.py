"""Training steps with the paper's tables sharded over H100s, on paper.

`python -m wukong_tf.scaling.sharding` prints the table of docs/distributed.md:
an estimate, not a measurement.
"""

import itertools

from wukong_tf.scaling.clusters import Cluster, estimated_step
from wukong_tf.scaling.cost import cost
from wukong_tf.scaling.presets import (
    INTERNAL_ROWS,
    INTERNAL_TABLES,
    internal_features,
    preset,
)
from wukong_tf.scaling.replication import gb, ms
from wukong_tf.scaling.traffic import EXCHANGE_BYTES, Traffic

PAPER_BATCH = 262_144  # rows of the global batch, arXiv 2403.02545


def table() -> str:
    """Returns the estimate of the paper's tables on H100s, as Markdown.

    At worst, which is assumed, all ids of a batch are distinct.
    """
    features = internal_features()
    lines = [
        "| preset | H100s | dense state | memory a GPU | of it, dense "
        "optimizer state | compute | table bytes sent | exchange of tables | "
        "dense exchange | step | rows/s | step, exchange in bfloat16 |",
        "|---|---:|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, hosts, state in itertools.product(
        ("internal_0.53gf", "internal_5.6gf", "internal_108gf"),
        (16, 32),
        ("replicated", "sharded"),
    ):
        config, cluster = (
            preset(name).config(features),
            Cluster("h100", hosts, 8),
        )
        batch = PAPER_BATCH // cluster.count
        rows = INTERNAL_TABLES // config.embedding_dim
        workers = cluster.count if state == "sharded" else 1
        model_cost = cost(config, state_workers=workers)
        step, narrow = (
            estimated_step(
                model_cost,
                cluster,
                batch,
                [
                    Traffic(
                        "all",
                        rows,
                        config.embedding_dim,
                        min(rows, batch * INTERNAL_ROWS),
                        cluster.count,
                        dtype,
                    )
                ],
                ["all"],
            )
            for dtype in EXCHANGE_BYTES
        )
        fits = step.memory_bytes <= cluster.accelerator.bytes
        lines.append(
            f"| {name} | {step.gpus} | {state} | {gb(step.memory_bytes)}"
            f"{'' if fits else ', does not fit'} | "
            f"{model_cost.dense_state_bytes / 1e9:,.3f} GB | "
            f"{ms(step.compute_s)} | {gb(step.sharded_bytes)} | "
            f"{ms(step.tables_s)} | {ms(step.dense_s)} | {ms(step.step_s)} | "
            f"{step.rows_per_s:,.0f} | {ms(narrow.step_s)} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
