"""The recipe of a data set: its columns and the features made of them."""

import dataclasses
import json
from typing import Any

from wukong_tf.arrow import times
from wukong_tf.arrow.lists import LIST
from wukong_tf.config import schema
from wukong_tf.config.categorical_feature import POOLINGS
from wukong_tf.config.features import TRANSFORMS
from wukong_tf.errors import ConfigError

KINDS = ("categorical", "numeric", "vector")
NEGATIVES = ("0", "false", "f", "no", "n")
POSITIVES = ("1", "true", "t", "yes", "y")
LABEL = "label"
RAWS = ("string", "int64")
RAW_RULES = ("text", "digits")  # rules that keep the logged value
# Sent by requests for a missing integer, as any other may be a value.
MISSING_INTEGER = -(2**63)
TIME_RULES = ("hour", "weekday", "weekend", "age_in_days")
# Rules that apply to each kind of feature.
RULES = {
    "categorical": (
        "text", "digits", "log2", "squared_log", "hour", "weekday", "weekend",
    ),
    "numeric": ("text", "age_in_days"),
    "vector": ("text",),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Column:
    """A feature to make of a column.

    Args:
        name: name of the feature.
        kind: "categorical", "numeric" or "vector". Defaults to
            "categorical".
        source: column of the file. Defaults to None, the feature's name.
        rule: transformation of raw values before counting: "text", none;
            "digits", none, but they must be digits; "log2", the floor of
            log2 x for integers x above 2, others are unchanged;
            "squared_log", the floor of ln(x)^2 instead; of a time, "hour"
            (00 to 23), "weekday" (0 is Sunday), "weekend" (0 or 1) or
            "age_in_days", a number. Defaults to "text".
        table: name of the table, to share it. Defaults to None.
        raw: type of a category in requests: "string", or "int64", for which
            texts must be decimal and without leading zeros. Defaults to
            None: "int64" if all files are Parquet and have numbers there,
            else "string".
        min_count: values in fewer train rows are out of vocabulary.
            Defaults to None, that of the command.
        buckets: number of ids to hash to. Defaults to 0, a vocabulary
            instead of hashing.
        separator: separator of a bag's values or a vector's numbers.
            Defaults to None: one value per row, or for a vector a list.
        longest: maximum values in a bag (multi-hot column), which needs it;
            the first ones are kept. Defaults to None, not a bag.
        pooling: pooling of a bag. Defaults to "mean".
        transform: transform of a number. Defaults to "log1p".
        missing: raw value that replaces a missing number. Defaults to 0.
        size: numbers in a vector. Defaults to 0.
        key: for a vector stored in a file of its own, the column whose
            values are its keys there. Defaults to None.
        missing_values: texts that denote a missing value, such as "n/a".
            Defaults to (): an empty text, and "nan" as a number.
        format: "list" for bags and vectors that are texts such as
            "['a', 'b']"; for times, "iso", "unix" (seconds since 1970),
            "unix_ms", "unix_us" or a pattern such as "%d/%m/%Y %H:%M".
            Defaults to None: for times that are texts, YYMMDDHH, and "iso"
            for ages.
        time_zone: time zone of the hour and weekday, and of times without
            an offset. Defaults to "UTC".
        reference: for ages, the date or time from which days are counted
            back, in ISO 8601. Defaults to None.
    """

    name: str
    kind: str = "categorical"
    source: str | None = None
    rule: str = "text"
    table: str | None = None
    raw: str | None = None
    min_count: int | None = None
    buckets: int = 0
    separator: str | None = None
    longest: int | None = None
    pooling: str = "mean"
    transform: str = "log1p"
    missing: float = 0.0
    size: int = 0
    key: str | None = None
    missing_values: tuple[str, ...] = ()
    format: str | None = None
    time_zone: str = "UTC"
    reference: str | None = None

    def __post_init__(self):
        where = f"column {self.name!r}"
        try:
            schema.check_name(where, self.name)
        except ConfigError as error:
            raise ConfigError(
                f"{error} In a recipe, give the feature another name, and its "
                "column as `source`."
            ) from error
        if self.table is not None:
            schema.check_name(f"{where} (its `table`)", self.table)
        for field in ("source", "separator", "key"):
            value = getattr(self, field)
            if value is not None and not (isinstance(value, str) and value):
                raise ConfigError(
                    f"{where}: `{field}` must be a non-empty string; received "
                    f"{value!r}."
                )
        if self.min_count is not None:
            schema.check_int(where, "min_count", self.min_count, 1)
        schema.check_choice(where, "kind", self.kind, KINDS)
        schema.check_choice(where, "rule", self.rule, RULES[self.kind])
        if self.raw is not None:
            schema.check_choice(where, "raw", self.raw, RAWS)
            if self.kind != "categorical" or self.rule not in RAW_RULES:
                raise ConfigError(
                    f"{where}: `raw` applies only to logged categories, not "
                    f"to kind={self.kind!r} with rule={self.rule!r}."
                )
        schema.check_choice(where, "pooling", self.pooling, POOLINGS)
        schema.check_choice(where, "transform", self.transform, TRANSFORMS)
        schema.check_float(where, "missing", self.missing)
        schema.check_int(where, "buckets", self.buckets, 0)
        schema.check_int(where, "size", self.size, 0)
        if self.longest is not None:
            schema.check_int(where, "longest", self.longest, 1)
        if self.kind == "vector" and not self.size:
            raise ConfigError(f"{where}: a vector needs `size` above 0.")
        if self.kind == "categorical" and self.separator and not self.longest:
            raise ConfigError(
                f"{where}: `separator` makes bags, which need `longest`."
            )
        if self.is_bag and self.rule != "text":
            raise ConfigError(
                f"{where}: a bag cannot have a `rule`; received {self.rule!r}."
            )
        for value in self.missing_values:
            if not isinstance(value, str):
                raise ConfigError(
                    f"{where}: `missing_values` must be strings; received "
                    f"{value!r}."
                )
        self._check_times(where)

    def _check_times(self, where):
        """Raises ConfigError if `format` or fields of times are invalid."""
        timed = self.rule in TIME_RULES
        if not timed:
            listed = self.is_bag or self.kind == "vector"
            allowed = (None, LIST) if listed else (None,)
            if self.format not in allowed or self.separator and self.format:
                raise ConfigError(
                    f'{where}: `format` must be "{LIST}", for a bag or a '
                    "vector without `separator`, or the format of times, for "
                    f"their `rule`; received {self.format!r}."
                )
        checks: list[tuple[str, Any, Any]] = [
            ("time_zone", self.time_zone, times.check_zone)
        ]
        if timed and self.format is not None:
            checks.append(("format", self.format, times.check_format))
        if self.rule == "age_in_days":
            checks.append(("reference", self.reference, times.check_reference))
        elif self.reference is not None:
            raise ConfigError(
                f'{where}: `reference` needs the rule "age_in_days".'
            )
        for name, value, check in checks:
            try:
                check(value)
            except (ValueError, TypeError) as error:
                raise ConfigError(
                    f"{where}: `{name}` must be {error}; received {value!r}."
                ) from error

    @property
    def column(self) -> str:
        """The column of the file."""
        return self.source or self.name

    @property
    def table_name(self) -> str:
        """The table that the feature reads."""
        return self.table or self.name

    @property
    def is_bag(self) -> bool:
        """Whether a row holds several values."""
        return self.kind == "categorical" and self.longest is not None


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The features, label and group to make of a data set's rows.

    Args:
        columns: the features.
        label: column of the label. Defaults to "label".
        negatives: raw labels that mean 0. Defaults to 0, false, f, no and
            n.
        positives: raw labels that mean 1. Defaults to 1, true, t, yes and
            y.
        group: feature whose values are the groups of AUC, one categorical
            value per row. Defaults to None.
    """

    columns: tuple[Column, ...]
    label: str = "label"
    negatives: tuple[str, ...] = NEGATIVES
    positives: tuple[str, ...] = POSITIVES
    group: str | None = None

    def __post_init__(self):
        names = [column.name for column in self.columns]
        if not names:
            raise ConfigError("columns: at least one is required.")
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(f"column {name!r} is defined twice.")
        schema.check_text("recipe", "label", self.label)
        if self.label in names:
            raise ConfigError(f"label {self.label!r} is also a feature.")
        for column in self.columns:
            if self.label in (column.column, column.key):
                raise ConfigError(
                    f"column {column.name!r}: is derived from the label "
                    f"{self.label!r}, which is to be predicted."
                )
        self._check_labels()
        single = [
            c.name for c in self.columns_of("categorical") if not c.is_bag
        ]
        if self.group is not None and self.group not in single:
            raise ConfigError(
                f"`group` column {self.group!r} must be one of {single}, the "
                "features with one category per row."
            )
        for fields in ("buckets", "min_count", "raw"):
            tables: dict[str, Any] = {}
            for column in self.columns_of("categorical"):
                value = getattr(column, fields)
                if tables.setdefault(column.table_name, value) != value:
                    raise ConfigError(
                        f"column {column.name!r}: the columns of table "
                        f"{column.table_name!r} must agree in `{fields}`."
                    )

    def _check_labels(self):
        for field in ("negatives", "positives"):
            texts = getattr(self, field)
            if not texts or not all(isinstance(text, str) for text in texts):
                raise ConfigError(
                    f"`{field}` must hold one string or more; received "
                    f"{list(texts)}."
                )
        if both := set(self.negatives) & set(self.positives):
            raise ConfigError(
                f"a label cannot mean both 0 and 1: {sorted(both)} are among "
                f"`negatives`, {list(self.negatives)}, and `positives`, "
                f"{list(self.positives)}; set both."
            )

    @property
    def label_name(self) -> str:
        """Name of the label's column in the output.

        It is "label", unless a feature has that name.
        """
        conflicts = any(column.name == LABEL for column in self.columns)
        return self.label if conflicts else LABEL

    def columns_of(self, kind: str) -> list[Column]:
        """Returns the columns of one kind."""
        return [column for column in self.columns if column.kind == kind]

    @property
    def sources(self) -> tuple[str, ...]:
        """The file columns to read, each once."""
        names = [self.label]
        names += [column.key or column.column for column in self.columns]
        return tuple(dict.fromkeys(names))

    @classmethod
    def from_json(cls, text: str, where: str) -> "Recipe":
        """Reads a recipe from JSON; `where` names its origin in errors."""
        return schema.from_dict(cls, schema.parse_json(text, where), where)

    def to_json(self) -> str:
        """Returns the recipe as JSON text."""
        content = schema.to_dict(self)
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
