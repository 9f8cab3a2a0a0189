"""Models of one size that JAX trains side by side."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np

from wukong_tf.models import build_model
from wukong_tf.optimizers import (
    RowwiseAdagrad,
    dense_optimizer,
    table_optimizer,
)

SCORED = 8192  # rows scored at once
Arrays = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Split:
    """A split on the device.

    Args:
        columns: features by name, [rows, ...].
        labels: labels, float32 [rows].
        attainable: least expected LogLoss, or None for train rows.
    """

    columns: Arrays
    labels: Any
    attainable: float | None


def read(rows: Any, task: Any) -> Split:
    """Reads all rows of a source of the trainer, in their order."""
    batches = list(rows.batches(1 << 16))
    whole = {
        name: jnp.asarray(np.concatenate([each[name] for each in batches]))
        for name in batches[0]
    }
    labels = whole.pop(task.label)
    attainable = None
    if rows.split != "train":  # it reads all rows again
        attainable = rows.attainable()[task.name]["logloss"]
    return Split(whole, labels, attainable)


class Lanes:
    """Models of one size that are trained side by side.

    Args:
        config: the models' configuration.
        rates: the dense learning rate of each.
        seeds: the seed of each one's first weights.
        table_rate: learning rate of tables.
        batch_size: rows of a training step.
        most_steps: largest number of steps that `train` takes.
    """

    def __init__(
        self,
        config: Any,
        rates: Sequence[float],
        seeds: Sequence[int],
        table_rate: float,
        batch_size: int,
        most_steps: int,
    ):
        drawn = {}
        for seed in sorted(set(seeds)):
            keras.utils.set_random_seed(seed)
            self.model = build_model(config)
            drawn[seed] = [v.value for v in self.model.trainable_variables]
        self._fixed = [v.value for v in self.model.non_trainable_variables]
        lanes = [drawn[seed] for seed in seeds]
        weights = [jnp.stack(each) for each in zip(*lanes, strict=True)]
        dense = dense_optimizer("adam", rates[0])
        self._optimizer = table_optimizer(RowwiseAdagrad(table_rate), dense)
        self._optimizer.build(self.model.trainable_variables)
        slots = self._optimizer.variables
        paths = [variable.path for variable in slots]
        states = [jnp.stack([v.value] * len(rates)) for v in slots]
        place = paths.index(dense.learning_rate.path)
        states[place] = jnp.asarray(rates, states[place].dtype)
        self.state = (weights, states)
        self.batch_size = batch_size
        self._most = most_steps
        self._train = jax.jit(self._steps, donate_argnums=0)
        self._score = jax.jit(self._logits, static_argnums=3)

    def train(self, split: Split, first: int, stop: int) -> np.ndarray:
        """Takes steps [first, stop); returns their losses [steps, lanes]."""
        data = (split.columns, split.labels)
        self.state, losses = self._train(self.state, data, first, stop)
        return np.asarray(losses)[: stop - first]

    def scores(self, split: Split) -> tuple[np.ndarray, np.ndarray]:
        """Returns LogLoss [lanes] and the logits, float64 [lanes, rows]."""
        rows = len(split.labels)
        count = min(rows, SCORED)
        parts = []
        for first in range(0, rows, count):
            start = min(first, rows - count)  # so that all parts are as long
            part = self._score(self.state[0], split.columns, start, count)
            parts.append(np.asarray(part, np.float64)[:, first - start :])
        logits = np.concatenate(parts, axis=1)
        signs = np.where(np.asarray(split.labels) > 0.5, -1.0, 1.0)
        return np.logaddexp(0.0, signs * logits).mean(axis=1), logits

    def _forward(self, weights, columns, training):
        """Returns the logits [rows] of one lane."""
        outputs, _ = self.model.stateless_call(
            weights, self._fixed, columns, training=training
        )
        (logits,) = outputs.values()  # of one task
        return logits.reshape(-1)

    def _logits(self, weights, columns, first, count):
        part = rows_of(columns, first, count)
        return jax.vmap(lambda lane: self._forward(lane, part, False))(weights)

    def _steps(self, state, data, first, stop):
        def loss_of(weights, columns, labels):
            signs = jnp.where(labels > 0.5, -1.0, 1.0)
            logits = self._forward(weights, columns, True)
            return jnp.mean(jnp.logaddexp(0.0, signs * logits))

        def lane(weights, states, columns, labels):
            loss, gradients = jax.value_and_grad(loss_of)(
                weights, columns, labels
            )
            weights, states = self._optimizer.stateless_apply(
                states, gradients, weights
            )
            return loss, weights, states

        def step(number, carry):
            state, losses = carry
            start = number * self.batch_size
            batch = rows_of(data, start, self.batch_size)
            loss, *state = jax.vmap(lane, in_axes=(0, 0, None, None))(
                *state, *batch
            )
            return tuple(state), losses.at[number - first].set(loss)

        losses = jnp.zeros((self._most, len(state[0][0])))
        return jax.lax.fori_loop(first, stop, step, (state, losses))


def rows_of(arrays: Any, first: Any, count: int) -> Any:
    """Returns rows [first, first + count) of all arrays of a tree."""
    return jax.tree.map(
        lambda array: jax.lax.dynamic_slice_in_dim(array, first, count), arrays
    )
