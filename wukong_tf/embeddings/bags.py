"""Columns of ids and bags, and pooling of the embeddings of a bag to one."""

from keras import ops

from wukong_tf.config.categorical_feature import PADDING_ID, CategoricalFeature


def pool(feature: CategoricalFeature, rows, ids, weights=None):
    """Pools the embeddings of a batch of bags.

    Args:
        feature: a feature with `pooling`.
        rows: its table's rows for `ids`, [B, L, W].
        ids: [B, L]; id 0 is padding and is ignored.
        weights: [B, L], or None if all are 1.

    Returns:
        [B, 1, W]; zeros for an empty bag, and for one whose weights
        are all 0.
    """
    real = ops.cast(ops.not_equal(ids, PADDING_ID), rows.dtype)  # [B, L]
    if weights is not None:
        real = real * ops.cast(weights, rows.dtype)
    if feature.pooling == "mean":
        real = real * _inverse(ops.sum(real, axis=1, keepdims=True))
    elif feature.pooling == "sqrtn":
        squares = ops.sum(ops.square(real), axis=1, keepdims=True)
        real = real * ops.sqrt(_inverse(squares))
    return ops.matmul(real[:, None], rows)  # [B, 1, W]


def _inverse(x):
    """Returns 1 / x, or 0 if x is 0."""
    positive = ops.greater(x, 0.0)
    return ops.where(positive, 1.0 / ops.where(positive, x, 1.0), 0.0)


def stack_columns(inputs, features):
    """Stacks columns [B] or [B, 1] and bags [B, max_ids] to [B, columns]."""
    columns = [
        ops.reshape(inputs[f.name], (-1, getattr(f, "ids_per_row", 1)))
        for f in features
    ]
    return columns[0] if len(columns) == 1 else ops.concatenate(columns, 1)
