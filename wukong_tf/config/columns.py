"""The inputs of a model: names, shapes and dtypes."""

import dataclasses

from wukong_tf.config.feature_spec import FeatureSpec

IDS = "ids"
"""Role of a column of ids."""
WEIGHTS = "weights"
"""Role of a column of the weights of a bag's ids."""
NUMBERS = "numbers"
"""Role of a column of floats."""
VECTORS = "vectors"
"""Role of a column of vectors."""


@dataclasses.dataclass(frozen=True)
class Column:
    """One input of a model.

    Args:
        name: column name.
        role: "ids", "weights" of a bag's ids, "numbers" or "vectors".
        shape: shape of a row: () for one value, else (most ids in a bag,) or
            (size of the vector,).
        num_ids: ids are in [0, num_ids). Defaults to None, no ids.
        raw: dtype of the raw values behind the ids: "string", "int64" or
            "float". Defaults to None: ids are logged.
    """

    name: str
    role: str
    shape: tuple[int, ...] = ()
    num_ids: int | None = None
    raw: str | None = None

    @property
    def floats(self) -> bool:
        """Whether the column holds floats rather than ids."""
        return self.role != IDS


def columns(spec: FeatureSpec) -> tuple[Column, ...]:
    """Returns the inputs of a model of `spec`, ordered like `feature_names`."""
    inputs: dict[str, Column] = {}
    for feature in spec.categorical:
        shape = () if feature.max_ids is None else (feature.max_ids,)
        inputs[feature.name] = Column(
            feature.name, IDS, shape, feature.num_ids, feature.raw
        )
        if feature.weights:
            column = Column(feature.weights, WEIGHTS, shape)
            inputs.setdefault(feature.weights, column)
    for numeric in spec.numeric:
        inputs[numeric.name] = Column(numeric.name, NUMBERS)
    for vector in spec.vector:
        inputs[vector.name] = Column(vector.name, VECTORS, (vector.size,))
    return tuple(inputs.values())
