"""Additive float64 sums over rows, from which every metric is computed.

A sum over replicas, workers or batches is the sum over their rows, so the
metrics do not depend on how rows were split.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf

AUC_BINS = 65_536
"""Default number of bins of the logit."""
# Larger logits fall in the outer bins; a bin is 0.0005 wide, which resolves
# rare clicks as finely as frequent ones.
AUC_LOGIT_LIMIT = 16.0


def zero_sums(bins: int = AUC_BINS) -> dict[str, tf.Tensor]:
    """Returns the sums over no rows."""
    import tensorflow as tf

    return {
        **{name: tf.zeros([], tf.float64) for name in SCALARS},
        "negative_bins": tf.zeros([bins], tf.float64),
        "positive_bins": tf.zeros([bins], tf.float64),
    }


SCALARS = ("rows", "weight", "loss", "label", "prediction")
"""Keys of `scalar_sums`."""


def scalar_sums(
    labels: tf.Tensor, logits: tf.Tensor, weights: tf.Tensor | None = None
) -> dict[str, tf.Tensor]:
    """Returns sums over one batch of a binary task, without those for AUC.

    Args:
        labels: 0 or 1, [B].
        logits: [B].
        weights: 0 or more, [B]. Defaults to None, all 1.

    Returns:
        float64 scalars `rows`, `weight`, `loss` (binary cross-entropy),
        `label` and `prediction` (probability), all but the first weighted.
    """
    import tensorflow as tf

    logits = tf.cast(logits, tf.float64)  # [B]
    labels = tf.cast(labels, tf.float64)  # [B]
    weights = _weights(labels, weights)  # [B]
    loss = tf.nn.sigmoid_cross_entropy_with_logits(labels, logits)  # [B]
    return {
        "rows": tf.cast(tf.size(labels), tf.float64),
        "weight": tf.reduce_sum(weights),
        "loss": tf.reduce_sum(weights * loss),
        "label": tf.reduce_sum(weights * labels),
        "prediction": tf.reduce_sum(weights * tf.sigmoid(logits)),
    }


def _weights(labels, weights):
    import tensorflow as tf

    if weights is None:
        return tf.ones_like(labels, tf.float64)
    return tf.cast(weights, tf.float64)


def binary_sums(
    labels: tf.Tensor,
    logits: tf.Tensor,
    weights: tf.Tensor | None = None,
    bins: int = AUC_BINS,
) -> dict[str, tf.Tensor]:
    """Returns the sums over one batch of a binary task.

    Args:
        labels: 0 or 1, [B].
        logits: [B].
        weights: 0 or more, [B]. Defaults to None, all 1.
        bins: number of bins of the logit. Defaults to 65,536.

    Returns:
        The sums of `scalar_sums`, and the weights [bins] of negative and
        positive rows by their logit.
    """
    import tensorflow as tf

    scalars = scalar_sums(labels, logits, weights)
    labels = tf.cast(labels, tf.float64)  # [B]
    weights = _weights(labels, weights)  # [B]
    place = (tf.cast(logits, tf.float64) / AUC_LOGIT_LIMIT + 1.0) * (bins / 2)
    # A logit that is not finite has no bin; the loss reports it.
    place = tf.where(tf.math.is_finite(place), place, tf.zeros_like(place))
    place = tf.cast(tf.clip_by_value(place, 0.0, bins - 1.0), tf.int32)
    return {
        **scalars,
        "negative_bins": tf.math.unsorted_segment_sum(
            weights * (1.0 - labels), place, bins
        ),
        "positive_bins": tf.math.unsorted_segment_sum(
            weights * labels, place, bins
        ),
    }
