"""One optimizer for `compile`, which updates tables separately."""

from typing import Any

import keras

from wukong_tf.optimizers.rowwise_adagrad import RowwiseAdagrad

# Paths of the tables of wukong_tf's models.
TABLE_PATHS = r"(.*/)?((host|sharded)_)?tables_\d+/table"


def table_optimizer(
    tables: Any = None, rest: Any = None, *, pattern: str = TABLE_PATHS
) -> keras.optimizers.MultiOptimizer:
    """Returns an optimizer that delegates tables and the rest to one each.

    Adam would update every row of a table in every step; rowwise Adagrad takes
    too large steps in the dense part, as each row of a matrix has one state.

    Args:
        tables: optimizer of the tables. Defaults to None,
            RowwiseAdagrad(0.1).
        rest: optimizer of all other variables. Defaults to None, Keras's
            Adam(1e-3).
        pattern: regular expression that the whole path of a table matches.
            Defaults to that of wukong_tf's models; for a model with a
            `keras.layers.Embedding`, use one such as ".*/embeddings".

    Example:
        >>> model.compile(
        ...     wukong_tf.table_optimizer(),
        ...     {"click": keras.losses.BinaryCrossentropy(from_logits=True)},
        ... )
    """
    return keras.optimizers.MultiOptimizer(
        keras.optimizers.OptimizerMap(
            rest or keras.optimizers.Adam(1e-3),
            {pattern: tables or RowwiseAdagrad(0.1)},
        )
    )
