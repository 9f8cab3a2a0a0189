"""Numeric and vector features, embedding groups, tables and tasks."""

import dataclasses

from wukong_tf.config import schema
from wukong_tf.errors import ConfigError

TRANSFORMS = ("none", "log1p")
# The largest number of a column or a vector, and weight of a bag, as float32:
# every int64 is a number, and squares fit float32.
LARGEST_NUMBER, LARGEST_WEIGHT = 2.0**63, 2.0**53
NUMBER_RANGE, WEIGHT_RANGE = "in [-2**63, 2**63]", "in [0, 2**53]"
# Keys next to the tasks in metrics.jsonl and a report's metrics.json.
RECORD_KEYS = (
    "epoch",
    "kind",
    "last_window_logloss_percent",
    "step",
    "window_rows",
    "windows",
)


@dataclasses.dataclass(frozen=True)
class NumericFeature:
    """A column of floats: clipped, transformed, then standardized.

    Raw numbers are in `[-2**63, 2**63]`, whatever the clip makes of them.

    Args:
        name: column name.
        transform: "none", or "log1p" for sign(x) log(1 + |x|). Defaults to
            "none".
        mean: subtracted after the transform. Defaults to 0.
        stddev: divisor after that, above 0. Defaults to 1.
        clip_min: smaller values are clipped to this, before the transform.
            Defaults to None.
        clip_max: larger values are clipped to this, before the transform.
            Defaults to None.
        missing: raw value that replaces a missing one (a null or NaN), before
            clipping. Defaults to None: a missing value is an error in training,
            and is replaced by the mean, which is 0 once standardized, in a
            served request.
        derived: description of what the numbers were derived from in data
            preparation; a request holds the derived numbers. Defaults to None:
            the numbers are as logged.
    """

    name: str
    transform: str = "none"
    mean: float = 0.0
    stddev: float = 1.0
    clip_min: float | None = None
    clip_max: float | None = None
    missing: float | None = None
    derived: str | None = None

    def __post_init__(self):
        where = f"numeric feature {self.name!r}"
        schema.check_name(where, self.name)
        schema.check_choice(where, "transform", self.transform, TRANSFORMS)
        schema.check_float(where, "mean", self.mean)
        schema.check_float(where, "stddev", self.stddev, above=0)
        for field in ("clip_min", "clip_max", "missing"):
            if getattr(self, field) is not None:
                schema.check_float(where, field, getattr(self, field))
        if self.derived is not None:
            schema.check_text(where, "derived", self.derived)
        least, most = self.clip_min, self.clip_max
        if least is not None and most is not None and least >= most:
            raise ConfigError(
                f"{where}: `clip_min` must be below `clip_max`; received "
                f"clip_min={self.clip_min} and clip_max={self.clip_max}."
            )


@dataclasses.dataclass(frozen=True)
class VectorFeature:
    """A column of fixed-width float vectors, such as a content embedding.

    Its entries are in `[-2**63, 2**63]`.

    Args:
        name: column name.
        size: number of floats in each row's vector.
        num_embeddings: rows of X_0 that its MLP produces. Defaults to 1.
    """

    name: str
    size: int
    num_embeddings: int = 1

    def __post_init__(self):
        where = f"vector feature {self.name!r}"
        schema.check_name(where, self.name)
        schema.check_int(where, "size", self.size, 1)
        schema.check_int(where, "num_embeddings", self.num_embeddings, 1)


@dataclasses.dataclass(frozen=True)
class EmbeddingGroup:
    """Features whose embeddings are concatenated and mapped to rows of X_0.

    Meant for many features of little importance with narrow tables
    (arXiv 2403.02545, section 3.2). The features name the group as their
    `embedding_group`.

    Args:
        name: name of the group.
        num_embeddings: rows of X_0 that the group produces. Defaults to 1.
        mlp_units: hidden units of the MLP that maps the concatenation to
            num_embeddings * d numbers. Defaults to (64,).
    """

    name: str
    num_embeddings: int = 1
    mlp_units: tuple[int, ...] = (64,)

    def __post_init__(self):
        where = f"embedding group {self.name!r}"
        schema.check_name(where, self.name)
        schema.check_int(where, "num_embeddings", self.num_embeddings, 1)
        object.__setattr__(self, "mlp_units", schema.frozen(self.mlp_units))
        schema.check_units(where, "mlp_units", self.mlp_units)


@dataclasses.dataclass(frozen=True)
class TableSettings:
    """Initialization, learning rate and weight decay of one embedding table.

    Args:
        name: name of the table: the `table` of its features, or the name of a
            feature with a separate table.
        initial_scale: the rows are initialized uniformly in [-scale, scale], at
            least 0. Defaults to None, the model's `table_initial_scale`.
        learning_rate: learning rate of the rows, above 0; it warms up like that
            of the other tables. Defaults to None, the trainer's
            `table_learning_rate`.
        l2: weight decay, at least 0: l2 times a row is added to its
            gradient. Defaults to None, the trainer's `embedding_l2`.
    """

    name: str
    initial_scale: float | None = None
    learning_rate: float | None = None
    l2: float | None = None

    def __post_init__(self):
        where = f"settings of table {self.name!r}"
        schema.check_name(where, self.name)
        for field in ("initial_scale", "l2"):
            if (value := getattr(self, field)) is not None:
                schema.check_float(where, field, value, minimum=0)
        if (rate := self.learning_rate) is not None:
            schema.check_float(where, "learning_rate", rate, above=0)


@dataclasses.dataclass(frozen=True)
class Task:
    """A binary prediction task, with its label column of zeros and ones.

    Args:
        name: name of the logit, the metrics and the head. Defaults to "click".
        label: label column. Defaults to "label".
        loss_weight: factor of the task's loss in the sum over tasks, above
            0. Defaults to 1.
        missing_labels: whether rows may have no label for this task (a null or
            a NaN); they are excluded from its loss and its metrics. Defaults to
            False: such a row is an error.
        negative_rate: sampling rate of the task's negative rows in the log, in
            (0, 1]. Below 1, log(negative_rate) is added to the trained logits
            for serving, and a negative row counts 1 / negative_rate times in
            the metrics. Defaults to 1.
    """

    name: str = "click"
    label: str = "label"
    loss_weight: float = 1.0
    missing_labels: bool = False
    negative_rate: float = 1.0

    def __post_init__(self):
        where = f"task {self.name!r}"
        schema.check_name(where, self.name)
        schema.check_name(f"{where} (its `label`)", self.label)
        if self.name in RECORD_KEYS:
            raise ConfigError(
                f"{where}: the name of a task must not be one of "
                f"{list(RECORD_KEYS)}, which are other keys of metrics.jsonl "
                "and metrics.json."
            )
        schema.check_float(where, "loss_weight", self.loss_weight, above=0)
        schema.check_bool(where, "missing_labels", self.missing_labels)
        schema.check_float(where, "negative_rate", self.negative_rate)
        if not 0 < self.negative_rate <= 1:
            raise ConfigError(
                f"{where}: `negative_rate` must be in (0, 1]; received "
                f"{self.negative_rate}."
            )
