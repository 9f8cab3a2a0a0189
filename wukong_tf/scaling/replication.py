"""Training steps with replicated tables on H100s, on paper.

`python -m wukong_tf.scaling.replication` prints the table of
docs/distributed.md: an estimate, not a measurement.
"""

import itertools
import math

from wukong_tf.scaling.clusters import Cluster, Step, estimated_step
from wukong_tf.scaling.cost import cost
from wukong_tf.scaling.presets import INTERNAL_ROWS, internal_features, preset
from wukong_tf.scaling.traffic import Traffic


def table(batch: int = 2048, table_rows: int = 20_000_000) -> str:
    """Returns the estimate for two presets on 8 and 256 H100s, as Markdown.

    Args:
        batch: rows per GPU, with 720 distinct ids each.
        table_rows: rows of all tables.
    """
    features = internal_features()
    lines = [
        "| preset | H100s | weights and state a GPU | compute | dense bytes "
        "sent | table bytes sent | exchange | step | efficiency | rows/s |",
        "|---|---:|---|---:|---:|---|---:|---:|---:|---:|",
    ]
    names = ("internal_5.6gf", "internal_108gf")
    for name, hosts in itertools.product(names, (1, 32)):
        config, cluster = (
            preset(name).config(features),
            Cluster("h100", hosts, 8),
        )
        tables = Traffic(
            "all",
            table_rows,
            config.embedding_dim,
            min(table_rows, batch * INTERNAL_ROWS),
            cluster.count,
        )
        step = estimated_step(cost(config), cluster, batch, [tables])
        fits = step.memory_bytes <= cluster.accelerator.bytes
        lines.append(
            f"| {name} | {step.gpus} | {step.memory_bytes / 1e9:.0f} GB"
            f"{'' if fits else ', does not fit'} | {ms(step.compute_s)} | "
            f"{gb(step.dense_bytes)} | {gb(step.replicated_bytes)}, "
            f"{tables.exchange} | {ms(step.dense_s + step.tables_s)} | "
            f"{ms(step.step_s)} | {step.efficiency:.2f} | "
            f"{step.rows_per_s:,.0f} |"
        )
    return "\n".join(lines)


def batch_for(efficiency: float, step: Step) -> int:
    """Returns rows per GPU for an efficiency, with only dense gradients.

    Args:
        efficiency: in (0, 1).
        step: a step with any number of rows.
    """
    needed = step.dense_s * efficiency / (1 - efficiency)
    return math.ceil(needed / (step.compute_s / step.batch))


def ms(seconds: float) -> str:
    """Returns seconds as whole milliseconds."""
    return f"{1000 * seconds:,.0f} ms"


def gb(count: float) -> str:
    """Returns bytes in units of 10^9."""
    return f"{count / 1e9:,.1f} GB"


if __name__ == "__main__":
    print(table())
