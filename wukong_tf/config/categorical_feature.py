"""Columns of ids, or of raw values that are mapped to ids."""

import dataclasses

from wukong_tf.config import schema
from wukong_tf.errors import ConfigError

PADDING_ID = 0
MISSING_ID = 1
OOV_ID = 2  # the first of the out-of-vocabulary ids
POOLINGS = ("sum", "mean", "sqrtn")
RAW_KINDS = ("string", "int64", "float")


@dataclasses.dataclass(frozen=True)
class CategoricalFeature:
    """A column of ids, or of raw values mapped to ids, with an embedding table.

    If `raw` is None, the column holds integer ids, each with a row of the
    table. Otherwise it holds raw values, which are mapped to ids: 0 pads bags,
    1 stands for a missing value, then come `oov_buckets` ids that
    out-of-vocabulary values are hashed to, and then the vocabulary, in order.
    Without a vocabulary all values are hashed, to the ids from 2 on. The hash
    is FarmHash's Fingerprint64 of the UTF-8 text, or of an integer's decimal
    text, modulo the number of buckets.

    A row holds one id or, if `pooling` is set, is multi-hot: a bag of up to
    `max_ids` ids, whose embeddings e_i are pooled with the weights w_i (all 1
    without a column of weights): the sum of w_i e_i for "sum", divided by the
    sum of w_i for "mean", or by the square root of the sum of w_i^2 for
    "sqrtn". An empty bag gives zeros. Id 0 pads bags and is not looked up.

    Args:
        name: column name.
        num_ids: number of ids; a row's id is in [0, num_ids).
        embedding_dim: width of the table. Defaults to None, the model's d.
        table: name of the table. Features that name the same table share its
            rows. Defaults to None, a separate table.
        oov_id: id that replaces an out-of-range id of a served request.
            Defaults to None: such a request is an error. Not with `raw`.
        vocabulary: the raw values of the last ids, as text, in id order. If
            features share a table, one may state it for all. Defaults to None:
            there is none, or `raw` is None.
        raw: type of raw values: "string" (an empty one is missing), "int64", or
            "float", which needs `boundaries` (a NaN is missing). Defaults to
            None, ids.
        encoded: whether the training files already hold ids, as
            `trainer.prepare` writes them, while requests hold raw values.
            Defaults to False.
        oov_buckets: number of ids for out-of-vocabulary values, at least 1.
            Defaults to 1.
        missing_value: the integer that stands for a missing value if `raw` is
            "int64". Defaults to -1.
        boundaries: ascending bucket boundaries; each bucket has an id, the
            first after the out-of-vocabulary ids. A value that equals a
            boundary is in the bucket above it. Defaults to None.
        units: number of d-wide embeddings of each id, each a separate row of
            X_0; they are concatenated in a table of width units * d. More than
            one needs `embedding_dim` None and no `embedding_group`. Defaults to
            1.
        unit_dropout: in training, fraction of the steps in which only the first
            m units are kept, m drawn uniformly from 1 to units - 1; the others
            are rows of zeros. Needs more than one unit. Defaults to 0.
        keep_units: units kept of a feature that was cut after training: the
            table is keep_units * d wide, and the rows of the other units are
            zeros. Defaults to None, all of them.
        pooling: "sum", "mean" or "sqrtn" for a multi-hot column. Defaults to
            None, a column of single ids.
        max_ids: most ids in a bag; required with `pooling`. Defaults to None.
        weights: column of a bag's weights, one number in `[0, 2**53]`
            for each of its ids. Defaults to None, all 1.
        embedding_group: name of the `EmbeddingGroup` that the feature is
            part of, instead of giving rows of X_0 itself. Defaults to None.
        derived: description of what the values were derived from in data
            preparation, such as "hour of 'time'"; a request holds the derived
            values. Defaults to None: the values are as logged.
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
    raw: str | None = None
    encoded: bool = False
    oov_buckets: int = 1
    missing_value: int = -1
    boundaries: tuple[float, ...] | None = None
    derived: str | None = None

    def __post_init__(self):
        where = f"categorical feature {self.name!r}"
        schema.check_name(where, self.name)
        schema.check_int(where, "num_ids", self.num_ids, 1)
        if self.embedding_dim is not None:
            schema.check_int(where, "embedding_dim", self.embedding_dim, 1)
        for field in ("table", "weights", "embedding_group"):
            value = getattr(self, field)
            if value is not None:
                schema.check_name(f"{where} (its `{field}`)", value)
        if self.oov_id is not None:
            schema.check_int(where, "oov_id", self.oov_id, 0)
            if self.oov_id >= self.num_ids:
                raise ConfigError(
                    f"{where}: `oov_id` must be below num_ids="
                    f"{self.num_ids}; received {self.oov_id}."
                )
        schema.check_int(where, "oov_buckets", self.oov_buckets, 1)
        if self.derived is not None:
            schema.check_text(where, "derived", self.derived)
        if self.vocabulary is not None:
            self._check_vocabulary(where)
        self._check_raw(where)
        self._check_units(where)
        self._check_bag(where)

    def _check_units(self, where):
        schema.check_int(where, "units", self.units, 1)
        schema.check_rate(where, "unit_dropout", self.unit_dropout)
        if self.units > 1:
            for field in ("embedding_dim", "embedding_group"):
                if getattr(self, field) is not None:
                    raise ConfigError(
                        f"{where}: `{field}` must be None with several "
                        f"`units`; received units={self.units} and "
                        f"{field}={getattr(self, field)!r}."
                    )
        elif self.unit_dropout:
            raise ConfigError(
                f"{where}: `unit_dropout` requires more than one unit; "
                f"received unit_dropout={self.unit_dropout} and "
                f"units={self.units}."
            )
        if self.keep_units is not None:
            schema.check_int(where, "keep_units", self.keep_units, 1)
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
                        f"{where}: `{field}` requires `pooling`; received "
                        f"{field}="
                        f"{getattr(self, field)!r} and pooling=None."
                    )
            return
        schema.check_choice(where, "pooling", self.pooling, POOLINGS)
        if self.max_ids is None:
            raise ConfigError(
                f"{where}: `pooling` requires `max_ids`, the most ids in a "
                f"bag; received pooling={self.pooling!r} and max_ids=None."
            )
        schema.check_int(where, "max_ids", self.max_ids, 1)
        if self.oov_id == 0:
            raise ConfigError(
                f"{where}: `oov_id` must not be 0 with `pooling`, as id 0 pads "
                "bags; received 0."
            )

    def _check_vocabulary(self, where):
        object.__setattr__(self, "vocabulary", schema.frozen(self.vocabulary))
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
        if len(self.vocabulary) + self.first_id > self.num_ids:
            raise ConfigError(
                f"{where}: `num_ids` must be at least the vocabulary's "
                f"{len(self.vocabulary)} values plus {self.first_id} reserved "
                f"ids; received num_ids={self.num_ids}."
            )
        if len(set(self.vocabulary)) != len(self.vocabulary):
            repeated = schema.repeated(self.vocabulary)
            raise ConfigError(
                f"{where}: `vocabulary` must not repeat a value; received "
                f"{repeated[0]!r} more than once."
            )

    def _check_raw(self, where):
        schema.check_bool(where, "encoded", self.encoded)
        schema.check_int(where, "missing_value", self.missing_value, -(2**63))
        if self.boundaries is not None:
            self._check_boundaries(where)
        if self.raw is None:
            for field in ("encoded", "boundaries"):
                if getattr(self, field):
                    raise ConfigError(
                        f"{where}: `{field}` requires `raw`; received {field}="
                        f"{getattr(self, field)!r} and raw=None."
                    )
            return
        schema.check_choice(where, "raw", self.raw, RAW_KINDS)
        if (self.raw == "float") != (self.boundaries is not None):
            raise ConfigError(
                f"{where}: `boundaries` are required with raw='float' and must "
                f"be None otherwise; received raw={self.raw!r} and "
                f"boundaries={self.boundaries!r}."
            )
        if self.oov_id is not None:
            raise ConfigError(
                f"{where}: `oov_id` must be None with `raw`, as the ids of raw "
                f"values are in range; received oov_id={self.oov_id} and "
                f"raw={self.raw!r}."
            )
        if self.raw == "float" and (self.vocabulary or self.pooling):
            raise ConfigError(
                f"{where}: raw='float' supports neither `vocabulary` nor "
                f"`pooling`; received vocabulary={self.vocabulary!r} and "
                f"pooling={self.pooling!r}."
            )
        if self.num_ids <= MISSING_ID + 1:
            raise ConfigError(
                f"{where}: `num_ids` must be above {MISSING_ID + 1} with "
                f"`raw`, as ids 0 and 1 are reserved; received {self.num_ids}."
            )

    def _check_boundaries(self, where):
        object.__setattr__(self, "boundaries", schema.frozen(self.boundaries))
        if not isinstance(self.boundaries, tuple):
            raise ConfigError(
                f"{where}: `boundaries` must be a sequence of numbers; "
                f"received {self.boundaries!r}."
            )
        for value in self.boundaries:
            schema.check_float(where, "boundaries", value)
            if 0 < abs(value) < schema.SMALLEST:
                raise ConfigError(
                    f"{where}: `boundaries` must be 0 or at least 2^-126 in "
                    f"size, as smaller floats count as 0; received {value}."
                )
        if list(self.boundaries) != sorted(set(self.boundaries)):
            raise ConfigError(
                f"{where}: `boundaries` must be strictly ascending; received "
                f"{list(self.boundaries)}."
            )
        needed = self.first_id + len(self.boundaries) + 1
        if self.num_ids < needed:
            raise ConfigError(
                f"{where}: `num_ids` must be at least {needed}, the "
                f"{len(self.boundaries) + 1} buckets and {self.first_id} "
                f"reserved ids; received {self.num_ids}."
            )

    @property
    def first_id(self) -> int:
        """Id of the vocabulary's first value, or of the first bucket."""
        return OOV_ID + self.oov_buckets

    @property
    def missing_id(self) -> int:
        """Id of a missing value: 1, or 0 in a bag, in which it is ignored."""
        return PADDING_ID if self.pooling else MISSING_ID

    @property
    def logged_raw(self) -> bool:
        """Whether the training files hold raw values."""
        return self.raw is not None and not self.encoded

    @property
    def table_name(self) -> str:
        """Name of the table that the feature reads."""
        return self.table or self.name

    @property
    def ids_per_row(self) -> int:
        """Number of id columns of a row: 1, or `max_ids` for a bag."""
        return 1 if self.max_ids is None else self.max_ids

    @property
    def kept_units(self) -> int:
        """Number of units in the table: all, or those kept by a cut."""
        return self.units if self.keep_units is None else self.keep_units
