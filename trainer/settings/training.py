"""Settings of training, which a run records."""

import dataclasses
from typing import Literal

from trainer.settings.fields import MAX_SEED, setting
from trainer.settings.optimization import Optimization
from wukong_tf.errors import ConfigError

# Keras dtype policies by --precision.
DTYPES = {
    "float32": "float32",
    "bfloat16": "mixed_bfloat16",
    "float64": "float64",
}
HIGHER_IS_BETTER = ("auc", "group_auc")  # of --early_stopping_metric


def memory_dtype(precision: str) -> str:
    """Returns the dtype policy by which plans count bytes of memory."""
    return DTYPES["float32" if precision == "float64" else precision]


@dataclasses.dataclass(frozen=True)
class Training(Optimization):
    """Training."""

    batch_size: int = setting(1024, "Rows per training step.", minimum=1)
    seed: int = setting(
        0,
        "Seed of weights, dropout and the order of rows.",
        minimum=0,
        maximum=MAX_SEED,
    )
    eval_batch_size: int = setting(8192, "Rows per evaluation step.", minimum=1)
    eval_every_steps: int = setting(
        0,
        "Training steps between evaluations on the valid split; 0 evaluates "
        "at the end of each epoch or, with --epochs=1, after each fifth of "
        "its steps.",
        minimum=0,
    )
    eval: Literal["splits", "progressive"] = setting(
        "splits",
        "splits: evaluate on the valid split. progressive: one pass, each "
        "batch scored before it is trained on, files in the order given and "
        "rows shuffled only within the shuffle buffer; a valid split is "
        "evaluated too, if there is one.",
    )
    progressive_window_rows: int = setting(
        1_000_000, "Rows per window of --eval=progressive.", minimum=1
    )
    early_stopping_metric: Literal["auc", "logloss", "ne", "group_auc"] = (
        setting(
            "logloss",
            "Metric on the valid split that chooses the best checkpoint and "
            "stops early.",
        )
    )
    early_stopping_task: str = setting(
        "",
        "Task whose metric chooses the best checkpoint. Default: the first "
        "of the feature spec.",
    )
    shuffle_rows: int = setting(
        262_144,
        "Rows of the shuffle buffer; 0 reads in file order. About two "
        "buffers are in memory at a time.",
        minimum=0,
    )
    data_lanes: int = setting(
        1,
        "Contiguous shards of the train rows, read in parallel, of which "
        "each batch takes an equal share. They determine the rows of a "
        "batch. If a multiple of the number of workers, each worker reads "
        "only its own rows; with 1, each reads all rows and uses its part.",
        minimum=1,
    )
    lookup: Literal["tfrs", "take"] = setting(
        "tfrs",
        "Engine that looks tables up in training: TensorFlow Recommenders, "
        "or keras.ops.take, which also runs if that is not installed.",
    )
    precision: Literal["float32", "bfloat16", "float64"] = setting(
        "float32",
        "Arithmetic of the dense part; tables, norms, logits and loss are "
        "float32 in the first two. float64, for all of them, is for "
        "comparing runs to more digits; plans of memory count it as float32. "
        "float16 is not supported.",
    )
    remat: bool = setting(
        False,
        "Recompute each interaction layer in the backward pass instead of "
        "keeping its activations: less memory, a third more time. Only for "
        "Wukong, and without dropout.",
    )
    jit_compile: bool = setting(
        False,
        "Compile the forward and backward pass of the dense part, from X_0 "
        "to the logits, with XLA; lookup and update of tables are not "
        "compiled.",
    )
    deterministic: bool = setting(
        False,
        "Make TensorFlow refuse or replace operations whose result can "
        "differ from run to run.",
    )
    epochs: int = setting(
        1, "Maximum passes over the train split.", minimum=1, may_change=True
    )
    max_steps: int = setting(
        0,
        "Maximum number of training steps; 0 for no limit.",
        minimum=0,
        may_change=True,
    )
    steps_per_loop: int = setting(
        100,
        "Training steps between returns to the host, which logs, evaluates, "
        "saves and handles signals.",
        minimum=1,
        may_change=True,
    )
    checkpoint_every_steps: int = setting(
        0,
        "Steps between checkpoints, in addition to those at each evaluation "
        "and at a stop; 0 for only those.",
        minimum=0,
        may_change=True,
    )
    keep_checkpoints: int = setting(
        3,
        "Newest checkpoints kept, in addition to the best.",
        minimum=1,
        may_change=True,
    )
    keep_checkpoint_every_steps: int = setting(
        0,
        "Keep checkpoints whose step is a multiple of this too; 0 for none.",
        minimum=0,
        may_change=True,
    )
    patience: int = setting(
        0,
        "Stop after this many consecutive evaluations without improvement; "
        "0 disables early stopping.",
        minimum=0,
        may_change=True,
    )

    def __post_init__(self):
        super().__post_init__()
        if self.precision == "float64" and self.dense_optimizer == "muon":
            raise ConfigError(
                "--dense_optimizer=muon computes in float32: --precision must "
                "not be float64."
            )
        if self.eval == "progressive" and self.epochs > 1:
            raise ConfigError(
                "--eval=progressive scores each row before it is trained on, "
                f"which is one pass: --epochs must be 1; received "
                f"{self.epochs}."
            )
        if self.data_lanes > 1:
            if self.eval == "progressive":
                raise ConfigError(
                    "--eval=progressive takes rows in the order of the files, "
                    "which is one lane: --data_lanes must be 1; received "
                    f"{self.data_lanes}."
                )
            if self.batch_size % self.data_lanes:
                raise ConfigError(
                    "--batch_size must be a multiple of --data_lanes; "
                    f"received {self.batch_size} and {self.data_lanes}."
                )


FREE_ON_RESUME = tuple(
    field.name
    for field in dataclasses.fields(Training)
    if field.metadata.get("may_change")
)
