"""Dropout of the last units of features, which can be cut off later."""

from collections.abc import Sequence

import keras
from keras import ops

from wukong_tf.config.categorical_feature import CategoricalFeature


class UnitDropout(keras.layers.Layer):
    """Keeps a random number of each feature's first units in training.

    In a fraction `unit_dropout` of the steps a feature keeps its first m units,
    m drawn uniformly from 1 to units - 1, and the others are zeros; each
    feature draws independently, once a step. The model thus learns to use the
    first units first, and the last can be cut off. Kept units are not scaled
    up: a cut model gets the same inputs as in training.

    Args:
        features: features with `unit_dropout`.
    """

    def __init__(self, features: Sequence[CategoricalFeature]):
        super().__init__(name="unit_dropout", dtype="float32")
        self._index = {f.name: index for index, f in enumerate(features)}
        self._rates = [f.unit_dropout for f in features]
        self._units = [f.units for f in features]
        self.seed_generator = keras.random.SeedGenerator()
        self.built = True

    def draw(self):
        """Draws how many first units each feature keeps in this step, [F]."""
        shape = (2, len(self._units))
        uniform = keras.random.uniform(shape, seed=self.seed_generator)
        units = ops.convert_to_tensor(self._units, "float32")
        fewer = 1.0 + ops.floor(uniform[1] * (units - 1.0))
        # A float just below 1 times many units may round up to all of them.
        fewer = ops.minimum(fewer, units - 1.0)
        dropped = uniform[0] < ops.convert_to_tensor(self._rates, "float32")
        return ops.where(dropped, fewer, units)

    def call(self, x, *, feature: str, kept):
        """Zeroes the units of [B, units, d] that `kept`, from `draw`, drops."""
        if feature not in self._index:
            return x
        numbers = ops.arange(x.shape[1], dtype="float32")
        mask = ops.cast(numbers < kept[self._index[feature]], "float32")
        return x * mask[:, None]  # [B, units, d]
