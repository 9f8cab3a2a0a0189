"""Rules that the parts of a FeatureSpec must keep together."""

from typing import TYPE_CHECKING

from wukong_tf.config import schema
from wukong_tf.errors import ConfigError

if TYPE_CHECKING:
    from wukong_tf.config.categorical_feature import CategoricalFeature
    from wukong_tf.config.feature_spec import FeatureSpec
    from wukong_tf.config.features import Task

# Fields in which the features of one table must agree.
_TABLE_FIELDS = (
    "num_ids",
    "embedding_dim",
    "units",
    "keep_units",
    "raw",
    "oov_buckets",
    "boundaries",
)


def check(spec: "FeatureSpec") -> None:
    """Raises ConfigError if parts of the spec contradict each other."""
    _check_names(spec)
    _check_bag_weights(spec)
    _check_labels(spec)
    _check_row_columns(spec)
    _check_tables(spec)
    _check_vocabularies(spec)
    _check_groups(spec)


def _check_names(spec):
    if not spec.all_features:
        raise ConfigError("features: at least one feature is required.")
    if not spec.tasks:
        raise ConfigError("features: at least one task is required.")
    if spec.feature_names == ("b64",):
        raise ConfigError(
            "feature 'b64': the only feature must have another name, as a "
            "request with this name would be read as base64."
        )
    for what, parts in (
        ("feature", spec.all_features),
        ("task", spec.tasks),
        ("embedding group", spec.embedding_groups),
        ("table in `tables`", spec.tables),
    ):
        for name in schema.repeated([part.name for part in parts]):
            raise ConfigError(f"{what} {name!r} is declared twice.")


def _check_bag_weights(spec):
    names = [feature.name for feature in spec.all_features]
    first_bag: dict[str, CategoricalFeature] = {}
    for feature in spec.categorical:
        if feature.weights is None:
            continue
        first = first_bag.setdefault(feature.weights, feature)
        if first.max_ids != feature.max_ids:
            raise ConfigError(
                f"categorical features {first.name!r} and {feature.name!r} "
                f"share the `weights` column {feature.weights!r} but differ in "
                f"`max_ids`: {first.max_ids} and {feature.max_ids}."
            )
        if feature.weights in names:
            raise ConfigError(
                f"categorical feature {feature.name!r}: its `weights` column "
                f"{feature.weights!r} is also a feature."
            )


def _check_labels(spec):
    labels: dict[str, Task] = {}
    for task in spec.tasks:
        if task.label in spec.feature_names:
            raise ConfigError(
                f"feature {task.label!r} is also the label of task "
                f"{task.name!r}; a label cannot be a feature."
            )
        other = labels.setdefault(task.label, task)
        if other is not task:
            raise ConfigError(
                f"tasks {other.name!r} and {task.name!r} have the same label "
                f"{task.label!r}."
            )


def _check_row_columns(spec):
    """Checks the columns of sample weights and groups."""
    labels = [task.label for task in spec.tasks]
    for field in ("weight", "group"):
        column = getattr(spec, field)
        if column is None:
            continue
        schema.check_name(f"features (its `{field}`)", column)
        if column in labels:
            raise ConfigError(
                f"features: `{field}` column {column!r} is also a label."
            )
    if spec.weight in spec.feature_names:
        raise ConfigError(
            f"features: `weight` column {spec.weight!r} is also a feature."
        )
    floats = [feature.name for feature in (*spec.numeric, *spec.vector)]
    floats += [f.weights for f in spec.categorical if f.weights]
    if spec.group in floats:
        raise ConfigError(
            f"features: `group` column {spec.group!r} must hold integers, but "
            "is a feature that holds floats."
        )
    if spec.group in [f.name for f in spec.categorical if f.pooling]:
        raise ConfigError(
            f"features: `group` column {spec.group!r} must hold one integer "
            "per row, but is a feature that holds bags."
        )


def _check_tables(spec):
    first: dict[str, CategoricalFeature] = {}
    for feature in spec.categorical:
        other = first.setdefault(feature.table_name, feature)
        for field in _TABLE_FIELDS:
            mine, theirs = getattr(feature, field), getattr(other, field)
            if mine != theirs:
                raise ConfigError(
                    f"categorical features {other.name!r} and "
                    f"{feature.name!r} share table {feature.table_name!r} but "
                    f"differ in `{field}`: {theirs} and {mine}."
                )
    for table in spec.tables:
        if table.name not in first:
            raise ConfigError(
                "features: `tables` must name tables of categorical features, "
                f"{list(first)}; received {table.name!r}."
            )


def _check_vocabularies(spec):
    first: dict[str, CategoricalFeature] = {}
    for feature in spec.categorical:
        if feature.vocabulary is None:
            continue
        other = first.setdefault(feature.table_name, feature)
        if other.vocabulary != feature.vocabulary:
            raise ConfigError(
                f"categorical features {other.name!r} and {feature.name!r} "
                f"share table {feature.table_name!r} but state different "
                "vocabularies."
            )


def _check_groups(spec):
    declared = [group.name for group in spec.embedding_groups]
    used = [feature.embedding_group for feature in spec.categorical]
    for feature in spec.categorical:
        name = feature.embedding_group
        if name is not None and name not in declared:
            raise ConfigError(
                f"categorical feature {feature.name!r}: `embedding_group` must "
                f"be one of {declared}; received {name!r}."
            )
    for name in declared:
        if name not in used:
            raise ConfigError(
                f"embedding group {name!r} has no features; at least one must "
                "name it as its `embedding_group`."
            )
