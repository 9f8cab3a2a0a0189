"""The base class of Wukong and its baselines."""

import math
import os
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from wukong_tf.config import ModelConfig, model_config_from_dict
from wukong_tf.config.columns import columns
from wukong_tf.embeddings.feature_embedding import FeatureEmbedding
from wukong_tf.embeddings.fused_tables import FusedEmbedding
from wukong_tf.models import inputs as rules


class ClickModel(keras.Model):
    """Base model from a dict of features to a dict of logits, one per task.

    Subclasses create `self.feature_embedding` in `__init__`, then call
    `self.build()`, so that a new model has its weights; they implement `score`.
    `call` is `score(embed(inputs))`.

    Args:
        config: the model's configuration.
        name: model name. Defaults to the configuration's model name, the same
            for every instance, so that weights' paths are too.
        dtype: Keras dtype policy of the dense part; tables, norms and
            logits are float32 under every policy but float64.
    """

    config: Any  # of the subclass's type
    feature_embedding: FeatureEmbedding
    built: bool

    def __init__(
        self, config: ModelConfig, *, name: str | None = None, dtype: Any = None
    ):
        # autocast would round raw numbers before they are embedded.
        super().__init__(name=name or config.model, dtype=dtype, autocast=False)
        self.config = config
        self._columns = columns(config.features)

    @property
    def input_signature(self) -> dict[str, keras.KerasTensor]:
        """Shape and dtype of each input, by name."""
        return rules.signature(self._columns)

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Validates the inputs and calls the model."""
        inputs = rules.checked(self._columns, inputs)
        return super().__call__(inputs, *args, **kwargs)

    def fit(self, x: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Trains like `keras.Model.fit`; the inputs are validated first."""
        x = rules.checked_data(self._columns, x)
        valid = kwargs.get("validation_data")
        if isinstance(valid, tuple | list):
            first = rules.checked_data(self._columns, valid[0])
            kwargs["validation_data"] = (first, *valid[1:])
        return super().fit(x, *args, **kwargs)

    def evaluate(self, x: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Evaluates like `keras.Model.evaluate`; see `fit`."""
        x = rules.checked_data(self._columns, x)
        return super().evaluate(x, *args, **kwargs)

    def predict(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """Scores like `keras.Model.predict`; see `fit`."""
        x = rules.checked_data(self._columns, x)
        return super().predict(x, *args, **kwargs)

    def stateless_call(
        self, trainable: Any, others: Any, inputs: Any, **kwargs: Any
    ) -> Any:
        """Validates the inputs and calls the model with the given weights."""
        inputs = rules.checked(self._columns, inputs)
        return super().stateless_call(trainable, others, inputs, **kwargs)

    @property
    def tables(self) -> list[FusedEmbedding]:
        """The layers that own the tables, one for each width."""
        return self.feature_embedding.tables

    def embed(self, inputs: Any, training: bool | None = None):
        """Maps features to embeddings.

        Args:
            inputs: dict of feature name to ids [B], bags of ids and their
                weights [B, max_ids], raw numbers [B], NaN if missing, or
                vectors [B, size]; [B, 1] is accepted for [B].
            training: whether to apply dropout.

        Returns:
            X_0, float32 [B, n, d].
        """
        return self.feature_embedding(inputs, training=training)

    def score(self, x: Any, training: bool | None = None):
        """Maps embeddings to logits.

        Args:
            x: embeddings [B, n, d], as returned by `embed`.
            training: whether to apply dropout.

        Returns:
            dict of task name to logits, float32 [B, 1].
        """
        raise NotImplementedError

    def layer_outputs(self, x: Any, training: bool | None = None) -> list[Any]:
        """Returns the outputs of Wukong's interaction layers on embeddings.

        Args:
            x: embeddings [B, n, d], as returned by `embed`.
            training: whether to apply dropout.

        Returns:
            A tensor [B, n_F + n_L, d] per layer; none for other models.
        """
        del x, training
        return []

    def served_logits(self, logits: Mapping[str, Any]):
        """Returns logits for the whole log, which are served and evaluated.

        If a task's log kept only a fraction r of its negative rows, the odds of
        the whole log are r times those that the model learned from the kept
        rows.

        Args:
            logits: dict of task name to logits, as returned by `call`.

        Returns:
            The logits, with log(r) added for tasks with `negative_rate` r.
        """
        return {
            task.name: logits[task.name] + math.log(task.negative_rate)
            if task.negative_rate < 1
            else logits[task.name]
            for task in self.config.features.tasks
        }

    def predict_rows(
        self, rows: Any, batch_size: int = 4096
    ) -> dict[str, np.ndarray]:
        """Scores raw rows, as they were logged and as requests hold them.

        Raw values (strings, 64-bit integers, numbers for buckets) are mapped to
        ids by the features' vocabularies and hashes, even if the training files
        already hold ids. The scores are those of `trainer.main --mode=predict`
        and of the exported model: for a task with sampled negatives, those of
        the whole log.

        Args:
            rows: a dict of column name to arrays or lists, a list of dicts, an
                Arrow table or record batch, a pandas or polars frame, or any
                object with `__arrow_c_stream__`. Columns that are not features
                are ignored; bags, their weights and vectors are lists; None and
                NaN are missing values. Only the first `max_ids` values of a bag
                are used.
            batch_size: rows per computation. Defaults to 4,096.

        Returns:
            dict of task name to probabilities, float32 [N], in the order of
            the rows.

        Raises:
            DataError: a column is missing, of a wrong type or has a value that
                breaks its rule; names row (from 0), column, rule and value.

        Example:
            >>> model = wukong_tf.load_run("runs/mine")  # doctest: +SKIP
            >>> model.predict_rows({"user": ["u17", None], "price": [3.5, 0]})
            ... # doctest: +SKIP
        """
        from wukong_tf.rows import scoring

        return scoring.predict_rows(self, rows, batch_size)

    def call(self, inputs: Any, training: bool | None = None):
        """Maps features to {task: logits [B, 1]}, for the log as sampled."""
        x = self.embed(inputs, training=training)  # [B, n, d]
        return self.score(x, training=training)  # {task: [B, 1]}

    def export(
        self,
        filepath: str | os.PathLike,
        format: str = "tf_saved_model",
        verbose: bool | None = None,
        input_signature: Any = None,
        **kwargs: Any,
    ):
        """Writes the model for serving, like `keras.Model.export`.

        Args:
            filepath: path to write to.
            format: Keras's name of the format. Defaults to "tf_saved_model".
            verbose: whether Keras prints what it wrote. Defaults to None, the
                format's default.
            input_signature: Defaults to None, the model's own signature.
            **kwargs: passed to Keras.
        """
        if input_signature is None:
            input_signature = [self.input_signature]
        super().export(
            filepath,
            format=format,
            verbose=verbose,
            input_signature=input_signature,
            **kwargs,
        )

    def get_config(self):
        """Returns the constructor arguments that define the model.

        Others, such as the lookup, are chosen again on loading.
        """
        return {
            "config": self.config.to_dict(),
            "name": self.name,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]):
        """Returns the model of a `get_config` dict, with the take lookup."""
        return cls(
            model_config_from_dict(config["config"]),
            name=config["name"],
            dtype=keras.dtype_policies.deserialize(config["dtype"]),
        )
