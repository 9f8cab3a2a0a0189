"""Tables and numeric features: theirs to ours, and back."""

from collections.abc import Mapping

import numpy as np

from wukong_tf.config import CategoricalFeature, FeatureSpec
from wukong_tf.errors import InteropError
from wukong_tf.interop.layouts import Layout
from wukong_tf.interop.state import State

_NUMERIC = "dense/feature_embedding/numeric/dense_0"


def check(layout: Layout, features: FeatureSpec, width: int) -> None:
    """Raises InteropError if features have no exact counterpart.

    Every categorical feature is one id a row, with an embedding of width d.

    Args:
        layout: the implementation.
        features: the features.
        width: d.
    """
    where = f"interop {layout.name}"
    for feature in features.categorical:
        _check_feature(where, feature, width)
    unmapped = {"vector": [feature.name for feature in features.vector]}
    if not layout.numbers:
        unmapped["numeric"] = [feature.name for feature in features.numeric]
    for kind, names in unmapped.items():
        if names:
            raise InteropError(
                f"{where}: {kind} features have no counterpart; received "
                f"{names}."
            )
    if len(features.tasks) != 1:
        raise InteropError(
            f"{where}: expected one task; received "
            f"{[task.name for task in features.tasks]}."
        )


def read(
    state: State, layout: Layout, features: FeatureSpec, width: int
) -> dict[str, np.ndarray]:
    """Takes tables and the numbers' layer out of a state dict.

    Returns:
        Arrays by canonical name.

    Raises:
        InteropError: an array is missing or has another shape, or features
            that share a table in `features` have different ones in `state`.
    """
    result: dict[str, np.ndarray] = {}
    for key, feature in _tables(layout, features).items():
        name = f"tables/{feature.table_name}"
        table = state.take(key, (feature.num_ids, width))
        if name in result and not np.array_equal(result[name], table):
            raise InteropError(
                f"{state.where}: {key!r} must equal the table of the features "
                f"with which {feature.name!r} shares "
                f"{feature.table_name!r}; it differs."
            )
        result[name] = table
    if layout.numbers:
        count = len(features.numeric)
        outputs = count * width
        kernel = state.take(f"{layout.numbers}.weight", (outputs, count))
        bias = state.take(f"{layout.numbers}.bias", (outputs,))
        if count:
            result |= {f"{_NUMERIC}/kernel": kernel.T, f"{_NUMERIC}/bias": bias}
    return result


def write(
    layout: Layout, features: FeatureSpec, arrays: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Returns tables and the numbers' layer by key; the inverse of `read`."""
    result = {
        key: arrays[f"tables/{feature.table_name}"]
        for key, feature in _tables(layout, features).items()
    }
    if layout.numbers:
        kernel, bias = np.zeros((0, 0), np.float32), np.zeros(0, np.float32)
        if features.numeric:
            kernel = arrays[f"{_NUMERIC}/kernel"]
            bias = arrays[f"{_NUMERIC}/bias"]
        result[f"{layout.numbers}.weight"] = kernel.T
        result[f"{layout.numbers}.bias"] = bias
    return result


def _tables(
    layout: Layout, features: FeatureSpec
) -> dict[str, CategoricalFeature]:
    """Returns a feature of each table by the table's key."""
    result: dict[str, CategoricalFeature] = {}
    for index, feature in enumerate(features.categorical):
        key = layout.tables.format(
            index=index,
            name=feature.name,
            table=feature.table or f"{feature.name}_emb",
        )
        other = result.setdefault(key, feature)
        if other.table_name != feature.table_name:
            raise InteropError(
                f"interop {layout.name}: features {other.name!r} and "
                f"{feature.name!r} must name one `table`, as they share "
                f"{key!r}; received tables {other.table_name!r} and "
                f"{feature.table_name!r}."
            )
    return result


def _check_feature(where, feature, width):
    if feature.pooling or feature.units > 1 or feature.embedding_group:
        raise InteropError(
            f"{where}: feature {feature.name!r} must be one id a row, without "
            "pooling, units or group."
        )
    if feature.embedding_dim not in (None, width):
        raise InteropError(
            f"{where}: feature {feature.name!r} must have the width {width} of "
            f"the layers; received embedding_dim={feature.embedding_dim}."
        )
