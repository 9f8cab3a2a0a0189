"""The stable rank of embeddings, from a matrix that adds over batches."""

from typing import Any

import numpy as np
from keras import ops


def gram(x: Any) -> Any:
    """Returns X^T X of the rows of `x`, which adds over batches and replicas.

    The rows are not centred: embeddings that are all alike are a collapse,
    and would be noise of rank d - 1 without their mean.

    Args:
        x: embeddings, [..., d], a tensor of any Keras backend.

    Returns:
        [d, d], float64 if `x` is, else float32.
    """
    wide = "float64" if ops.dtype(x) == "float64" else "float32"
    rows = ops.reshape(ops.cast(x, wide), (-1, x.shape[-1]))  # [rows, d]
    return ops.matmul(ops.transpose(rows), rows)  # [d, d]


def stable_rank(matrix: Any) -> float:
    """Returns the stable rank of the rows X whose X^T X is given.

    It is ||X||_F^2 / ||X||_2^2, the sum of squared singular values over the
    largest (Rudelson and Vershynin, 2007): between 1 and d, at most the rank,
    and not moved by small singular values. Near 1, all embeddings lie along
    one direction. The information abundance of Guo et al. (arXiv 2310.04400)
    is the same without the squares.

    Args:
        matrix: sum of `gram` over the rows, [d, d].

    Returns:
        The stable rank; NaN, undefined, if all rows are zeros or an entry is
        not finite.
    """
    matrix = np.asarray(matrix, np.float64)
    if not np.isfinite(matrix).all():
        return float("nan")
    # Or the sums of tiny and of huge entries would leave float64's range.
    scale = np.abs(matrix).max(initial=0.0)
    if scale == 0:
        return float("nan")
    matrix = matrix / scale
    return float(np.trace(matrix) / np.linalg.eigvalsh(matrix)[-1])
