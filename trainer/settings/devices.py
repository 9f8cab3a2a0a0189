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
        "--cpu_replicas. multi_worker: one process of several, which "
        "TF_CONFIG or the variables of a SLURM step name. auto: the last "
        "if they do, else mirrored if there are several GPUs.",
    )
    cpu_replicas: int = setting(
        0,
        "Replicas of --strategy=mirrored on a machine without GPUs, each on a "
        "logical CPU; 0 for none.",
        minimum=0,
    )
    collectives: Literal["auto", "nccl", "ring"] = setting(
        "auto",
        "How replicas of several workers sum: NCCL, or a ring over gRPC. "
        "auto: NCCL on GPUs, else the ring.",
    )
    table_exchange: Literal["auto", "gather", "reduce"] = setting(
        "auto",
        "How replicas sum the gradients of tables. gather: each gets the "
        "different rows of the others. reduce: as a dense table. auto: for "
        "each width what sends less.",
    )
    worker_timeout_s: int = setting(
        30,
        "Seconds without a heartbeat of a worker after which the others "
        "end, naming it.",
        minimum=1,
    )
    cluster_timeout_s: int = setting(
        300, "Seconds to wait for all workers at the start.", minimum=1
    )
