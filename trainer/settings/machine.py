"""Settings of how a run uses its machine; they do not change its results."""

import dataclasses
from typing import Literal

from trainer.settings.fields import Settings, setting
from wukong_tf.errors import ConfigError
from wukong_tf.scaling.clusters import ACCELERATORS, Cluster

_MEMORY = "Memory for the plan of tables, in GiB. Default: that of {}."


@dataclasses.dataclass(frozen=True)
class Machine(Settings):
    """Machine."""

    async_checkpoints: bool = setting(
        True,
        "Write checkpoints during training, from a copy of the weights. If a "
        "copy does not fit in the host's memory, training waits.",
    )
    checkpoint_retry_s: float = setting(
        30.0,
        "Seconds after which writing a checkpoint is retried if it failed, "
        "such as on a full disk.",
        minimum=0.0,
    )
    hang_timeout_s: float = setting(
        600.0,
        "Seconds without a training step after which each worker prints the "
        "stacks of its threads; 0 disables it. The first step includes its "
        "compilation.",
        minimum=0.0,
    )
    profile_steps: str = setting(
        "",
        "FIRST:LAST, steps from 0 that each worker profiles for TensorBoard.",
    )
    intra_op_threads: int = setting(
        0,
        "Threads within one operation; 0 lets TensorFlow choose.",
        minimum=0,
    )
    inter_op_threads: int = setting(
        0, "Operations run at once; 0 lets TensorFlow choose.", minimum=0
    )
    table_device: Literal["auto", "accelerator", "cpu"] = setting(
        "auto",
        "Device of tables and their optimizer state. auto: the accelerator "
        "for as many as fit with the dense part, the smallest first, and the "
        "host's memory for the others.",
    )
    accelerator_memory_gib: float | None = setting(
        None,
        _MEMORY.format("the smallest accelerator, less a tenth"),
        minimum=0.0,
    )
    host_memory_gib: float | None = setting(
        None, _MEMORY.format("the host, or of its control group"), minimum=0.0
    )
    on: str = setting(
        "",
        "KIND:HOSTSxGPUS, such as h100:4x8: --mode=plan places the run on "
        "these GPUs, a worker each, and estimates a training step there. "
        f"Kinds: {', '.join(sorted(ACCELERATORS))}.",
    )

    def __post_init__(self):
        super().__post_init__()
        # These raise early if they are invalid.
        self.profiled_steps  # noqa: B018
        self.cluster  # noqa: B018

    @property
    def cluster(self) -> Cluster | None:
        """--on; None if it is not given.

        Raises:
            ConfigError: the flag is not of that form.
        """
        try:
            return Cluster.parse(self.on) if self.on else None
        except ConfigError as error:
            raise ConfigError(f"--on: {error}") from error

    @property
    def profiled_steps(self) -> tuple[int, int] | None:
        """--profile_steps as (first, last + 1); None for no profile.

        Raises:
            ConfigError: the flag is not of that form.
        """
        if not self.profile_steps:
            return None
        first, _, last = self.profile_steps.partition(":")
        if not (first.isdigit() and last.isdigit() and int(first) <= int(last)):
            raise ConfigError(
                "--profile_steps must be FIRST:LAST, numbers of steps from 0; "
                f"received {self.profile_steps!r}."
            )
        return int(first), int(last) + 1
