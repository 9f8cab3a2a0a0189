"""Settings of the devices and processes of a run, and their all-reduce."""

import dataclasses
from typing import Literal

from trainer.settings.fields import Settings, setting


@dataclasses.dataclass(frozen=True)
class Devices(Settings):
    """Devices and workers."""

    strategy: Literal["auto", "one", "mirrored", "multi_worker"] = setting(
        "auto",
        "one: one device. mirrored: all GPUs of this process, or "
        "--cpu_replicas. multi_worker: the processes that TF_CONFIG or a "
        "SLURM step names. auto: multi_worker if they are set, else mirrored "
        "if there are several GPUs or --cpu_replicas, else one.",
    )
    cpu_replicas: int = setting(
        0,
        "Replicas of --strategy=mirrored on a machine without GPUs, each on a "
        "logical CPU; 0 disables it.",
        minimum=0,
    )
    collectives: Literal["auto", "nccl", "ring"] = setting(
        "auto",
        "All-reduce between the replicas of several workers: NCCL, or a ring "
        "over gRPC. auto: NCCL on GPUs, else the ring.",
    )
    table_exchange: Literal["auto", "gather", "reduce"] = setting(
        "auto",
        "How replicas sum the gradients of tables. gather: all-gather the "
        "distinct rows. reduce: all-reduce dense gradients. auto: for each "
        "width of tables the one that sends less.",
    )
    table_placement: Literal["replicated", "sharded", "auto"] = setting(
        "replicated",
        "Tables of several workers. replicated: each worker holds all rows. "
        "sharded: each holds a part of the rows of --sharded_tables. auto: "
        "those tables are sharded whose exchange sends less, and others, the "
        "largest first, until all fit.",
    )
    sharded_tables: tuple[str, ...] = setting(
        (), "Names of the tables that are sharded. Default: all."
    )
    sharded_table_mib: float = setting(
        0.0,
        "Smallest table that is sharded, in MiB of rows and optimizer state.",
        minimum=0.0,
    )
    sharded_exchange_dtype: Literal["float32", "bfloat16"] = setting(
        "float32",
        "Dtype in which training steps send rows and gradients of sharded "
        "tables, which stay float32. bfloat16: half the bytes, and 8 "
        "significant bits of each value.",
    )
    dense_state: Literal["replicated", "sharded"] = setting(
        "replicated",
        "Optimizer state of the dense part, of several workers. replicated: "
        "each worker holds all of it. sharded: each holds that of an equal "
        "share of the weights, which it updates and sends to the others.",
    )
    worker_timeout_s: int = setting(
        30,
        "Seconds without a heartbeat of a worker after which the others "
        "exit with an error that names it.",
        minimum=1,
    )
    cluster_timeout_s: int = setting(
        300, "Seconds to wait for all workers at the start.", minimum=1
    )
