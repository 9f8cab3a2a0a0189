"""Settings of `python -m trainer.compare`."""

import dataclasses

from trainer.settings.fields import Settings, setting


@dataclasses.dataclass(frozen=True)
class Compare(Settings):
    """Comparison."""

    output: str = setting(
        "comparison",
        "Directory of index.html and comparison.json; created if missing.",
        needed=True,
    )
    resamples: int = setting(
        1000,
        "Resamples of the rows, or of their groups, from which the intervals "
        "of differences are taken; 0 for no intervals.",
        minimum=0,
    )
    seed: int = setting(0, "Seed of the resamples.", minimum=0)
    eval_batch_size: int = setting(8192, "Rows scored at a time.", minimum=1)
    eval_negative_rate: float | None = setting(
        None,
        "Sampling rate of the negatives in the held-out rows, if it differs "
        "from the runs' --negative_rate; 1 if they were not sampled.",
        minimum=0.0,
        maximum=1.0,
    )
