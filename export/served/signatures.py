"""Served functions, from raw columns to scores."""

import functools
import types
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.trackable.trackable_utils import escape_local_name

from export.served import missing, naming, tables, tf_examples
from export.served.naming import output_names
from wukong_tf.config import FeatureSpec
from wukong_tf.errors import ExportError
from wukong_tf.features import (
    Lookups,
    encode_served,
    finite,
    signature,
)
from wukong_tf.names import arguments


class ServedModel(tf.Module):
    """A trained model as TensorFlow functions, one per signature.

    It tracks the model's variables but not its Keras layers, so that the
    SavedModel loads without Keras.

    Args:
        model: a trained ClickModel with the take lookup, in float32.
        folder: directory to write vocabularies into, which a SavedModel
            copies as assets; it must exist until that is saved. Defaults to
            None: they are kept in memory, for other uses.
        precision: precision of the written tables: "float32", "float16" or
            "int8". Defaults to "float32".
        context: names of the features that all candidates of a request
            share; with any, there is a signature for candidates. Defaults
            to ().
        origin: metadata on the model's origin, stored in the written files.
            Defaults to None, nothing.

    Attributes:
        serve: the function of `serving_default`. Maps a dict of columns
            (see `inputs`) to a dict of outputs (see `outputs`), float32 [B]
            each: "probability" and "logit", or "TASK_probability" and
            "TASK_logit" for each of several tasks. The logit of a task whose
            negatives were sampled is that of the whole log.
        arguments: name of an input or output to its name in the graph, which
            does not allow every name.

    Raises:
        ExportError: if `context` names an unknown input, all inputs, or only
            one of a bag and its weights.
    """

    def __init__(
        self,
        model,
        folder: str | None = None,
        *,
        precision: str = "float32",
        context: Sequence[str] = (),
        origin: Mapping[str, str] | None = None,
    ):
        super().__init__(name="served_model")
        # Neither tracked by tf.Module nor saved.
        self._untracked = types.SimpleNamespace(
            model=model, origin=dict(origin or {}), stored={}, functions={}
        )
        self.spec: FeatureSpec = model.config.features
        self.lookups = Lookups(self.spec, folder)
        self.precision = precision
        self.context = _check_context(self.spec, context)
        converted = model.tables if precision != "float32" else []
        self.tables: dict[str, dict[str, tf.Variable]] = {
            layer.plan.name: {
                name: tf.Variable(value, trainable=False)
                for name, value in self.stored(layer).items()
            }
            for layer in converted
        }
        replaced = {layer.table.path for layer in converted}
        self.weights = {
            weight.path.partition("/")[2]: weight.value
            for weight in model.weights
            if weight.path not in replaced
        }
        self.arguments = arguments([*self.inputs, *self.outputs])
        self.serve = _function(self.scores, self.traced(self.inputs))

    @property
    def model(self):
        """The Keras model."""
        return self._untracked.model

    @property
    def table_files(self) -> dict[str, str]:
        """Files of mapped tables, by their names in a SavedModel."""
        return {
            f"weights/{escape_local_name(name)}/.ATTRIBUTES/VARIABLE_VALUE": (
                table.file
            )
            for table in (layer.table for layer in self.model.tables)
            if hasattr(table, "file")
            and (name := table.path.partition("/")[2]) in self.weights
        }

    @property
    def origin(self) -> dict[str, str]:
        """Metadata on the model's origin."""
        return self._untracked.origin

    @property
    def inputs(self) -> dict[str, tf.TensorSpec]:
        """Specs of the inputs, by feature name."""
        return signature(self.spec)

    @property
    def id_inputs(self) -> dict[str, tf.TensorSpec]:
        """Specs of the inputs if raw values are already encoded as ids."""
        return signature(self.spec.as_ids())

    @property
    def row_inputs(self) -> dict[str, tf.TensorSpec]:
        """Specs of the inputs if embeddings are already looked up and pooled.

        float32 [B, width of its table] for each categorical feature.
        """
        widths = {
            name: layer.plan.width
            for layer in self.model.tables
            for name in layer.plan.features
        }
        numbers = [feature.name for feature in self.spec.numeric]
        numbers += [feature.name for feature in self.spec.vector]
        return {
            feature.name: tf.TensorSpec(
                [None, widths[feature.name]], tf.float32, feature.name
            )
            for feature in self.spec.categorical
        } | {name: self.inputs[name] for name in numbers}

    def traced(
        self, specs: dict[str, tf.TensorSpec]
    ) -> dict[str, tf.TensorSpec]:
        """Returns specs of inputs by name, named as in the graph."""
        return {
            name: tf.TensorSpec(spec.shape, spec.dtype, self.arguments[name])
            for name, spec in specs.items()
        }

    def rows_from_ids(self, columns) -> dict[str, np.ndarray]:
        """Returns columns for `row_inputs`, computed from `id_inputs`'."""
        encoded = encode_served(self.spec.as_ids(), columns)
        with self.stored_tables():
            read = self.model.feature_embedding.read(encoded)
        rows = {name: np.asarray(row)[:, 0] for name, row in read.items()}
        return {
            name: rows.get(name, columns.get(name)) for name in self.row_inputs
        }

    @property
    def outputs(self) -> dict[str, tf.TensorSpec]:
        """Specs of the outputs, by name."""
        return {
            name: tf.TensorSpec([None], tf.float32, name)
            for names in output_names(self.spec).values()
            for name in names
        }

    def stored(self, layer) -> dict[str, np.ndarray]:
        """Returns a table in its written form; see `tables.store`."""
        stored = self._untracked.stored
        if layer.plan.name not in stored:
            stored[layer.plan.name] = tables.store(layer, self.precision)
        return stored[layer.plan.name]

    def free_tables(self):
        """Leaves no row in the model's tables, so that it cannot score."""
        for layer in self.model.tables:
            tf.raw_ops.AssignVariableOp(
                resource=layer.table.value.handle,
                value=tf.zeros([0, layer.plan.width], layer.table.dtype),
            )

    def functions(self) -> dict[str, Any]:
        """Returns the tf.function of each signature by name, traced once."""
        functions = self._untracked.functions
        if not functions:
            functions |= self._make_functions()
        return functions

    def _make_functions(self):
        examples = tf.TensorSpec([None], tf.string, naming.EXAMPLES)
        on_examples = {naming.TF_EXAMPLE: self.scores_of_examples}
        makers = {
            naming.REGRESS: self._regress,
            naming.CLASSIFY: self._classify,
        }
        tasks = [task.name for task in self.spec.tasks]
        for name, (task, kind) in naming.task_signatures(tasks).items():
            on_examples[name] = functools.partial(makers[kind], task)
        functions = {naming.PREDICT: self.serve}
        for name, function in on_examples.items():
            functions[name] = _function(function, examples)
        if self.context:
            functions[naming.CANDIDATES] = _function(
                self.scores_of_candidates, self.traced(self.inputs)
            )
        return functions

    def scores(self, raw_columns):
        """Returns a dict of outputs for a dict of columns; see `serve`."""
        return self._encoded_scores(missing.fill(self.spec, raw_columns))

    def scores_of_examples(self, inputs):
        """Returns the same as `scores`, for serialized tf.Examples [B]."""
        return self._encoded_scores(tf_examples.parse(self.spec, inputs))

    def scores_of_candidates(self, raw_columns):
        """Returns the same as `scores`, for context columns of a single row."""
        shared = {name: raw_columns[name] for name in self.context}
        items = {n: v for n, v in raw_columns.items() if n not in shared}
        items = missing.fill(self.spec, items)
        rows = tf.shape(next(iter(items.values())))[0]

        def repeat(columns, names):
            for name in set(names) & shared.keys():
                shape = tf.concat([[rows], tf.shape(columns[name])[1:]], 0)
                columns[name] = tf.broadcast_to(columns[name], shape)
            return columns

        shared = missing.fill(self.spec, shared)
        # Repeat numbers first, to check them in one operation; ids later.
        numbers = [feature.name for feature in self.spec.numeric]
        encoded = encode_served(
            self.spec, repeat(shared, numbers) | items, self.lookups
        )
        encoded = repeat(encoded, self.context)
        return self._outputs(encoded)

    def _regress(self, task, inputs):
        probability, _ = output_names(self.spec)[task]
        return {"outputs": self.scores_of_examples(inputs)[probability]}

    def _classify(self, task, inputs):
        probability, _ = output_names(self.spec)[task]
        positive = self.scores_of_examples(inputs)[probability]
        scores = tf.stack([1 - positive, positive], axis=1)  # [B, 2]
        classes = tf.broadcast_to(tf.constant(["0", "1"]), tf.shape(scores))
        return {"classes": classes, "scores": scores}

    def _encoded_scores(self, raw_columns):
        return self._outputs(
            encode_served(self.spec, raw_columns, self.lookups)
        )

    def _outputs(self, inputs):
        with self.stored_tables():
            logits = self.model(inputs, training=False)  # {task: [B, 1]}
        return finite(self.named_outputs(logits))

    def stored_tables(self):
        """Returns a context in which the model reads the written tables."""
        return tables.read_by(
            {
                layer: tables.Reader(self.tables[layer.plan.name])
                for layer in self.model.tables
                if self.tables
            }
        )

    def named_outputs(self, logits, guard=None):
        """Returns the outputs by name.

        Args:
            logits: {task: [B, 1]}, the model's logits.
            guard: maps the list of logits [B] to zeros [B], which are added
                to each. Defaults to None, no addition.
        """
        logits = self.model.served_logits(logits)
        if guard is not None:
            zeros = guard([logits[task.name][:, 0] for task in self.spec.tasks])
        outputs: dict[str, tf.Tensor] = {}
        for task, (probability, logit) in output_names(self.spec).items():
            flat = tf.squeeze(logits[task], axis=1)  # [B]
            if guard is not None:
                flat += zeros
            outputs |= {probability: tf.sigmoid(flat), logit: flat}
        return outputs


def _check_context(spec, context):
    columns = list(signature(spec))
    for name in context:
        if name not in columns:
            raise ExportError(
                f"--context_features: the input {name!r} does not exist; the "
                f"inputs are {columns}."
            )
    weights = {f.name: f.weights for f in spec.categorical if f.weights}
    for name, weight in weights.items():
        if (name in context) != (weight in context):
            raise ExportError(
                f"--context_features must name both or neither of {name!r} "
                f"and its weights {weight!r}."
            )
    if context and set(context) >= set(columns):
        raise ExportError(
            "--context_features names all inputs; at least one must differ "
            "between candidates."
        )
    return tuple(context)


def _function(call, inputs):
    """Returns a tf.function of one argument, with the signature `inputs`."""
    return tf.function(call, input_signature=[inputs], autograph=False)
