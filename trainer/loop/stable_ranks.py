"""Stable ranks of a model's embeddings and interaction layers."""

import tensorflow as tf

from trainer.distribution.strategies import Distribution
from wukong_tf.metrics import gram, stable_rank
from wukong_tf.models import ClickModel

ROWS = 1024  # enough for widths in the hundreds, as a row has many embeddings


class StableRanks:
    """Measures stable ranks on the first rows of a batch.

    Each replica takes its first rows, `ROWS` together or all if there are
    fewer, so every run of a cluster measures the same rows.

    Args:
        distribution: the devices to compute on.
        model: the model.
    """

    def __init__(self, distribution: Distribution, model: ClickModel):
        names = model.config.features.feature_names
        rows = -(-ROWS // distribution.replicas)
        strategy = distribution.strategy
        self._latest: dict[str, float] = {}

        def of_replica(batch):
            inputs = {name: batch[name][:rows] for name in names}
            x = model.embed(inputs, training=False)  # [rows, n, d]
            layers = model.layer_outputs(x, training=False)
            return tf.stack([gram(tf.cast(y, "float64")) for y in (x, *layers)])

        @tf.function(reduce_retracing=True, autograph=False)
        def of_all(batch):
            parts = strategy.run(of_replica, args=(batch,))
            return strategy.reduce("SUM", parts, axis=None)  # [l + 1, d, d]

        self._of_all = of_all

    def __call__(self, batch: dict[str, tf.Tensor]):
        """Measures a batch; all workers must call it."""
        self._latest = {
            f"layer_{index}" if index else "embeddings": stable_rank(matrix)
            for index, matrix in enumerate(self._of_all(batch).numpy())
            if len(matrix) > 1  # logistic regression has nothing to lose
        }

    def take(self) -> dict[str, float]:
        """Returns the ranks measured last, once; {} if there are none.

        They are "embeddings", those that enter the model, then "layer_1" and
        so on. One is NaN if it is undefined.
        """
        latest, self._latest = self._latest, {}
        return latest
