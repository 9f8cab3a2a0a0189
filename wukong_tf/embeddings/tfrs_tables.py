"""Table lookup with TensorFlow Recommenders; Keras owns the table.

TensorFlow Recommenders needs `tf.keras` to be Keras 2, which the environment
variable TF_USE_LEGACY_KERAS=1 chooses before `tf.keras` is first touched;
`import keras` stays Keras 3. Nothing else in this package imports it.
"""

import os

import tensorflow as tf
from tensorflow.python.ops import resource_variable_ops

from wukong_tf.embeddings import table_rows


def _import_tfrs():
    try:
        import tensorflow_recommenders as tfrs
    except ImportError as error:
        chosen = os.environ.get("TF_USE_LEGACY_KERAS")
        raise ImportError(
            'lookup="tfrs" needs TensorFlow Recommenders, which could not be '
            f"imported: {error} The environment variable TF_USE_LEGACY_KERAS "
            f"is {chosen!r}; it must be set to 1 before TensorFlow is first "
            "imported. `trainer.main` sets it; other programs must set it or "
            'use lookup="take".'
        ) from error
    return tfrs


class TFRSLookup:
    """An engine with `tfrs.layers.embedding.TPUEmbedding`.

    TPUEmbedding would own its tables. Here a variable creator makes each one a
    weight of the Keras layer, so that optimizers, `.keras` files and
    checkpoints see the table.
    """

    def __init__(self):
        self._tfrs = _import_tfrs()

    def build(self, layer, rows, width, features):
        """Creates the table [rows, width] of zeros as a weight of `layer`."""
        if layer.variable_dtype != "float32":
            raise ValueError(
                'lookup="tfrs" supports only float32 tables; received '
                f'{layer.variable_dtype}. lookup="take" supports any dtype.'
            )
        tpu = tf.tpu.experimental.embedding
        config = tpu.TableConfig(
            rows,
            width,
            name="table",
            # Never called: the creator below passes Keras's zeros.
            initializer=tf.zeros_initializer(),
        )
        self._engine = self._tfrs.layers.embedding.TPUEmbedding(
            {"ids": tpu.FeatureConfig(config, name="ids")}, optimizer=None
        )
        made: list = []
        with tf.variable_creator_scope(_keras_creator(layer, made)):
            self._engine.build({"ids": (None, features)})
        if len(made) != 1 or tuple(made[0].shape) != (rows, width):
            raise RuntimeError(
                "TensorFlow Recommenders was expected to create one table of "
                f"shape {(rows, width)}; it created "
                f"{[tuple(weight.shape) for weight in made]}."
            )
        return made[0]

    def __call__(self, table, ids):
        """Reads rows [B, F, width] of `table` by row numbers `ids` [B, F]."""
        # The engine holds the same variable. With a mirrored one it would read
        # all of it, so for this call it gets the replica's copy.
        held = self._engine._tpu_embedding._variables["table"]
        whole = held["parameters"]
        held["parameters"] = table_rows.local(table.value)
        try:
            return self._engine({"ids": tf.cast(ids, tf.int32)})["ids"]
        finally:
            held["parameters"] = whole


def _keras_creator(layer, made):
    """Returns a variable creator that makes tables weights of `layer`."""
    entered = False

    def creator(next_creator, **kwargs):
        nonlocal entered
        if entered:  # add_weight itself creates a tf.Variable
            return next_creator(**kwargs)
        if kwargs.get("dtype") == tf.string:
            # A layout note of the engine: collectives cannot broadcast
            # strings, so it must not become a distributed variable.
            value = kwargs["initial_value"]
            return resource_variable_ops.ResourceVariable(
                value() if callable(value) else value,
                trainable=False,
                name=kwargs.get("name"),
            )
        entered = True
        try:
            weight = layer.add_weight(
                name="table", shape=kwargs["shape"], initializer="zeros"
            )
        finally:
            entered = False
        made.append(weight)
        return weight.value

    return creator
