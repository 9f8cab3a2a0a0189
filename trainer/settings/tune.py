"""Settings of `python -m trainer.tune`."""

import dataclasses

from trainer.settings.fields import Settings, check_distinct, setting
from wukong_tf.config import MODEL_CONFIGS


@dataclasses.dataclass(frozen=True)
class Tune(Settings):
    """Tuning."""

    models: tuple[str, ...] = setting(
        (), "Models to tune, each with the same budget. Required.", needed=True
    )
    output: str = setting(
        None,
        "Directory of the study: its store, the trials' runs and the "
        "results. Created if missing; the same command resumes. Required.",
        needed=True,
    )
    trials: int = setting(20, "Trials of each model.", minimum=1)
    minutes: float = setting(
        0.0,
        "Maximum minutes that the trials of a model run, all together; a "
        "trial that exceeds them is stopped. 0 for no limit.",
        minimum=0.0,
    )
    spaces: str | None = setting(
        None,
        "Directory of the search spaces: common.toml, for all models, and "
        "MODEL.toml. Default: the shipped ones, spaces/ in the directory that "
        "trainer.info --show=configs prints.",
    )
    seed: int = setting(
        0,
        "Seed of the search, and of every trial's run.",
        minimum=0,
        maximum=2**31,
    )
    parallel: int = setting(
        1,
        "Trials that run at once, each on its share of the cores, or on one "
        "GPU if there are any.",
        minimum=1,
    )
    prune: bool = setting(
        True,
        "Stop a trial whose best value is worse than the median of the "
        "model's complete trials at the same evaluation, once there are five.",
    )
    prune_warmup: int = setting(
        1,
        "First evaluations of a trial after which it is not stopped: averaged "
        "weights lag there, and a low learning rate is behind.",
        minimum=0,
    )
    storage: str | None = setting(
        None,
        "URL of Optuna's store, such as postgresql://HOST/DB. Default: "
        "SQLite, OUTPUT/study.db.",
    )
    plots: bool = setting(
        True, "Draw the importance of flags, if matplotlib is installed."
    )

    def __post_init__(self):
        super().__post_init__()
        check_distinct("models", self.models, MODEL_CONFIGS)
