"""Settings of `python -m trainer.launch`."""

import dataclasses

from trainer.settings.fields import Settings, setting


@dataclasses.dataclass(frozen=True)
class Launch(Settings):
    """Launcher."""

    workers: int = setting(
        0,
        "Number of processes to start; 0 starts one per GPU, or one if there "
        "are no GPUs.",
        minimum=0,
    )
    max_restarts: int = setting(
        0,
        "Number of times that all workers are restarted after one was lost or "
        "stopped.",
        minimum=0,
    )
    grace_s: int = setting(
        60,
        "Seconds that workers have to exit by themselves once one has exited, "
        "before they are killed.",
        minimum=1,
    )
