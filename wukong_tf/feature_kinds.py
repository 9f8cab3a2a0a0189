"""The kinds of columns, of embedding groups and of tasks."""

import dataclasses

from wukong_tf import plain
from wukong_tf.errors import ConfigError

RESERVED_IDS = 3  # 0 padding, 1 missing, 2 the first out-of-vocabulary bucket
TRANSFORMS = ("none", "log1p")
POOLINGS = ("sum", "mean", "sqrtn")


@dataclasses.dataclass(frozen=True)
class CategoricalFeature:
    """A column of integer ids, looked up in an embedding table.

    A row holds one id or, where `pooling` is set, a bag of up to `max_ids`
    ids, whose embeddings e_i are pooled with the weights w_i (all 1 without
    a column of weights): the sum of w_i e_i for "sum", that divided by the
    sum of w_i for "mean", or by the square root of the sum of w_i^2 for
    "sqrtn". An empty bag gives zeros. Id 0 pads bags and is not looked up.

    Args:
        name: column name.
        num_ids: number of ids; a row's id is in [0, num_ids).
        embedding_dim: width of the table. Defaults to None, the model's d.
        table: name of the table. Features that name the same table share
            its rows. Defaults to None, a table of the feature's own.
        oov_id: id that a served request's out-of-range id is read as.
            Defaults to None: such a request is an error.
        vocabulary: the raw values behind the last ids, in id order; before
            them come 0 padding, 1 missing and the out-of-vocabulary ids
            from 2. Defaults to None: the column already holds ids.
        units: number of d-wide embeddings that each id owns, each a row of
            X_0 of its own; they lie side by side in a table of width
            units * d. More than one needs `embedding_dim` None and no
            `embedding_group`. Defaults to 1.
        unit_dropout: in training, rate of the steps in which only the first
            m units are kept, m drawn evenly from 1 to units - 1; the others
            are rows of zeros. Needs more than one unit. Defaults to 0.
        keep_units: units left of a feature that was cut after training: the
            table is keep_units * d wide, and the rows of the other units
            are zeros. Defaults to None, all of them.
        pooling: "sum", "mean" or "sqrtn" for a column of bags of ids.
            Defaults to None, a column of single ids.
        max_ids: most ids in a bag; needed with `pooling`. Defaults to None.
        weights: column of a bag's weights, one finite number of at least 0
            for each of its ids. Defaults to None, all 1.
        embedding_group: name of the `EmbeddingGroup` that the feature is
            part of, instead of giving rows of X_0 itself. Defaults to None.
    """

    name: str
    num_ids: int
    embedding_dim: int | None = None
    table: str | None = None
    oov_id: int | None = None
    vocabulary: tuple[str, ...] | None = None
    units: int = 1
    unit_dropout: float = 0.0
    keep_units: int | None = None
    pooling: str | None = None
    max_ids: int | None = None
    weights: str | None = None
    embedding_group: str | None = None

    def __post_init__(self):
        where = f"categorical feature {self.name!r}"
        plain.check_name(where, self.name)
        plain.check_int(where, "num_ids", self.num_ids, 1)
        if self.embedding_dim is not None:
            plain.check_int(where, "embedding_dim", self.embedding_dim, 1)
        for field in ("table", "weights", "embedding_group"):
            value = getattr(self, field)
            if value is not None:
                plain.check_name(f"{where} (its `{field}`)", value)
        if self.oov_id is not None:
            plain.check_int(where, "oov_id", self.oov_id, 0)
            if self.oov_id >= self.num_ids:
                raise ConfigError(
                    f"{where}: `oov_id` must be below num_ids="
                    f"{self.num_ids}; received {self.oov_id}."
                )
        if self.vocabulary is not None:
            self._check_vocabulary(where)
        self._check_units(where)
        self._check_bag(where)

    def _check_units(self, where):
        plain.check_int(where, "units", self.units, 1)
        plain.check_rate(where, "unit_dropout", self.unit_dropout)
        if self.units > 1:
            for field in ("embedding_dim", "embedding_group"):
                if getattr(self, field) is not None:
                    raise ConfigError(
                        f"{where}: several `units` are d wide and rows of "
                        f"X_0 themselves; received units={self.units} and "
                        f"{field}={getattr(self, field)!r}."
                    )
        elif self.unit_dropout:
            raise ConfigError(
                f"{where}: `unit_dropout` needs more than one unit; received "
                f"unit_dropout={self.unit_dropout} and units={self.units}."
            )
        if self.keep_units is not None:
            plain.check_int(where, "keep_units", self.keep_units, 1)
            if self.keep_units > self.units:
                raise ConfigError(
                    f"{where}: `keep_units` must be at most units="
                    f"{self.units}; received {self.keep_units}."
                )

    def _check_bag(self, where):
        if self.pooling is None:
            for field in ("max_ids", "weights"):
                if getattr(self, field) is not None:
                    raise ConfigError(
                        f"{where}: `{field}` belongs to a bag of ids, which "
                        f"needs `pooling`; received {field}="
                        f"{getattr(self, field)!r} and pooling=None."
                    )
            return
        plain.check_choice(where, "pooling", self.pooling, POOLINGS)
        if self.max_ids is None:
            raise ConfigError(
                f"{where}: `pooling` needs `max_ids`, the most ids in a bag; "
                f"received pooling={self.pooling!r} and max_ids=None."
            )
        plain.check_int(where, "max_ids", self.max_ids, 1)
        if self.oov_id == 0:
            raise ConfigError(
                f"{where}: `oov_id` of a bag must not be 0, which pads bags; "
                "received oov_id=0."
            )

    def _check_vocabulary(self, where):
        object.__setattr__(self, "vocabulary", plain.frozen(self.vocabulary))
        # A string is a sequence of strings too, but never a vocabulary.
        if not isinstance(self.vocabulary, tuple):
            raise ConfigError(
                f"{where}: `vocabulary` must be a sequence of strings; "
                f"received {self.vocabulary!r}."
            )
        for value in self.vocabulary:
            if not isinstance(value, str):
                raise ConfigError(
                    f"{where}: `vocabulary` must hold strings; received "
                    f"{value!r}."
                )
        if len(self.vocabulary) + RESERVED_IDS > self.num_ids:
            raise ConfigError(
                f"{where}: `num_ids` must be at least the vocabulary's "
                f"{len(self.vocabulary)} values plus {RESERVED_IDS} reserved "
                f"ids; received num_ids={self.num_ids}."
            )
        if len(set(self.vocabulary)) != len(self.vocabulary):
            raise ConfigError(f"{where}: `vocabulary` repeats a value.")

    @property
    def table_name(self) -> str:
        """Name of the table that the feature reads."""
        return self.table or self.name

    @property
    def ids_per_row(self) -> int:
        """Ids in the rectangle that holds a row: 1, or the most in a bag."""
        return 1 if self.max_ids is None else self.max_ids

    @property
    def kept_units(self) -> int:
        """Units that the table holds: all, or those left by a cut."""
        return self.units if self.keep_units is None else self.keep_units


@dataclasses.dataclass(frozen=True)
class NumericFeature:
    """A column of finite floats: transformed, then standardized.

    Args:
        name: column name.
        transform: "none", or "log1p" for sign(x) log(1 + |x|). Defaults to
            "none".
        mean: subtracted after the transform. Defaults to 0.
        stddev: divided by afterwards, above 0. Defaults to 1.
    """

    name: str
    transform: str = "none"
    mean: float = 0.0
    stddev: float = 1.0

    def __post_init__(self):
        where = f"numeric feature {self.name!r}"
        plain.check_name(where, self.name)
        plain.check_choice(where, "transform", self.transform, TRANSFORMS)
        plain.check_float(where, "mean", self.mean)
        plain.check_float(where, "stddev", self.stddev)
        if self.stddev <= 0:
            raise ConfigError(
                f"{where}: `stddev` must be above 0; received {self.stddev}."
            )


@dataclasses.dataclass(frozen=True)
class VectorFeature:
    """A column of fixed-width float vectors, such as a content embedding.

    Args:
        name: column name.
        size: number of floats in each row's vector.
        num_embeddings: rows of X_0 that its MLP gives. Defaults to 1.
    """

    name: str
    size: int
    num_embeddings: int = 1

    def __post_init__(self):
        where = f"vector feature {self.name!r}"
        plain.check_name(where, self.name)
        plain.check_int(where, "size", self.size, 1)
        plain.check_int(where, "num_embeddings", self.num_embeddings, 1)


@dataclasses.dataclass(frozen=True)
class EmbeddingGroup:
    """Features whose embeddings are concatenated and mapped to rows of X_0.

    Meant for many features of little importance with narrow tables
    (arXiv 2403.02545, section 3.2). The features name the group as their
    `embedding_group`.

    Args:
        name: the group's own name.
        num_embeddings: rows of X_0 that the group gives. Defaults to 1.
        mlp_units: hidden units of the MLP that maps the concatenation to
            num_embeddings * d numbers. Defaults to (64,).
    """

    name: str
    num_embeddings: int = 1
    mlp_units: tuple[int, ...] = (64,)

    def __post_init__(self):
        where = f"embedding group {self.name!r}"
        plain.check_name(where, self.name)
        plain.check_int(where, "num_embeddings", self.num_embeddings, 1)
        object.__setattr__(self, "mlp_units", plain.frozen(self.mlp_units))
        plain.check_units(where, "mlp_units", self.mlp_units)


@dataclasses.dataclass(frozen=True)
class TableSettings:
    """How the rows of one embedding table start and learn.

    Args:
        name: of the table: that which features name as their `table`, or
            the name of a feature with a table of its own.
        initial_scale: the rows start uniform in [-scale, scale], at least
            0. Defaults to None, the model's `table_initial_scale`.
        learning_rate: of the rows, above 0; it warms up as that of the
            other tables does. Defaults to None, the trainer's
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
        plain.check_name(where, self.name)
        for field in ("initial_scale", "learning_rate", "l2"):
            value = getattr(self, field)
            if value is None:
                continue
            plain.check_float(where, field, value)
            if value < 0 or (field == "learning_rate" and not value):
                least = "above" if field == "learning_rate" else "at least"
                raise ConfigError(
                    f"{where}: `{field}` must be {least} 0; received {value}."
                )


@dataclasses.dataclass(frozen=True)
class Task:
    """One thing to predict, with its label column of zeros and ones.

    Args:
        name: names the logit, the metrics and the head. Defaults to "click".
        label: label column. Defaults to "label".
        loss_weight: factor of the task's loss in the sum over tasks, above
            0. Defaults to 1.
        missing_labels: whether rows may have no label for this task (a null
            or a NaN); they count in neither its loss nor its metrics.
            Defaults to False: such a row is an error.
        negative_rate: share of the task's negative rows that the log kept,
            in (0, 1]. Below 1 the logits that are served are the trained
            ones plus log(negative_rate), and a negative row counts
            1 / negative_rate times in the metrics. Defaults to 1.
    """

    name: str = "click"
    label: str = "label"
    loss_weight: float = 1.0
    missing_labels: bool = False
    negative_rate: float = 1.0

    def __post_init__(self):
        where = f"task {self.name!r}"
        plain.check_name(where, self.name)
        plain.check_name(f"{where} (its `label`)", self.label)
        plain.check_float(where, "loss_weight", self.loss_weight)
        if self.loss_weight <= 0:
            raise ConfigError(
                f"{where}: `loss_weight` must be above 0; received "
                f"{self.loss_weight}."
            )
        plain.check_bool(where, "missing_labels", self.missing_labels)
        plain.check_float(where, "negative_rate", self.negative_rate)
        if not 0 < self.negative_rate <= 1:
            raise ConfigError(
                f"{where}: `negative_rate` must be in (0, 1]; received "
                f"{self.negative_rate}."
            )
