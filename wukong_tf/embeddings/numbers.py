"""Clips, transforms and standardizes raw numbers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from wukong_tf.config.features import NumericFeature


class NumberTransforms:
    """The transforms of `NumericFeature`, for all features at once.

    Its constants are not weights: they belong to the spec, which every run and
    model configuration holds.

    Args:
        features: the numeric features, in the order of their columns.
    """

    def __init__(self, features: Sequence[NumericFeature]):
        self._features = tuple(features)
        self._at_the_mean = np.array([[f.missing is None for f in features]])
        self._logs = np.array([[f.transform == "log1p" for f in features]])
        self._stand_ins = _row(f.missing for f in features)
        self._lowest = _row(f.clip_min for f in features)
        self._highest = _row(f.clip_max for f in features)
        self._means = _row(f.mean for f in features)
        self._stddevs = _row(f.stddev for f in features)

    def __call__(self, x: Any) -> Any:
        """Returns standardized numbers.

        Args:
            x: raw numbers [B, F] of a float dtype, NaN if missing.

        Returns:
            [B, F] of the same dtype; 0, the mean, for a missing number of a
            feature without `missing`.
        """

        def constant(values, nothing):
            values = np.where(np.isnan(values), nothing, values)
            return ops.convert_to_tensor(values, dtype=x.dtype)  # [1, F]

        absent = ops.isnan(x)
        x = ops.where(absent, constant(self._stand_ins, 0.0), x)
        if not np.isnan([self._lowest, self._highest]).all():
            # ops.maximum would cast float64 to float32 on PyTorch.
            lowest = constant(self._lowest, -np.inf)
            x = ops.clip(x, lowest, constant(self._highest, np.inf))
        if self._logs.any():
            logged = ops.sign(x) * ops.log1p(ops.abs(x))
            logs = ops.convert_to_tensor(self._logs)
            x = logged if self._logs.all() else ops.where(logs, logged, x)
        x = (x - constant(self._means, 0.0)) / constant(self._stddevs, 1.0)
        if self._at_the_mean.any():
            at_the_mean = ops.convert_to_tensor(self._at_the_mean)
            x = ops.where(ops.logical_and(absent, at_the_mean), 0.0, x)
        return x  # [B, F]


def _row(values):
    """Returns float64 [1, F], with NaN for None."""
    return np.array([list(values)], np.float64)
