"""Turns a source's batches into the dataset that step functions read."""

import itertools
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from trainer.data.source import (
    ALL,
    Part,
    Source,
    part_of,
    rows_of_step,
    sliced,
    steps_per_epoch,
)
from wukong_tf.config import FeatureSpec
from wukong_tf.config.columns import columns

# Number of rows in the global batch, which a replica cannot tell from its
# share. Column names cannot contain NUL.
GLOBAL_ROWS = "\0global_rows"
PREFETCH_BATCHES = 4


class Pipeline:
    """The batches of a source from one (epoch, step) on, as a tf.data.Dataset.

    Args:
        source: the rows.
        batch_size: rows per global batch.
        epoch: epoch of the first batch. Defaults to 0.
        step: step of the first batch within that epoch. Defaults to 0.
        epochs: number of epochs, counted from epoch 0; None is endless.
            Defaults to 1.
        steps: maximum number of batches. Defaults to None, no limit.
        labels: whether the source yields labels, weights and groups.
        part: this worker's part of every batch. Defaults to all of it.
        replicas: number of replicas of this worker: each batch is split
            into this many consecutive elements. Defaults to 1.

    Attributes:
        error: the exception raised while reading, or None. TensorFlow
            replaces it by one of its own.
    """

    def __init__(
        self,
        source: Source,
        batch_size: int,
        *,
        epoch: int = 0,
        step: int = 0,
        epochs: int | None = 1,
        steps: int | None = None,
        labels: bool = True,
        part: Part = ALL,
        replicas: int = 1,
    ):
        self._part = part
        self._replicas = replicas
        self._source = source
        self._batch_size = batch_size
        self._start = (epoch, step)
        self._epochs = epochs
        self._steps = steps
        self._labels = labels
        self.error: Exception | None = None

    def dataset(self) -> tf.data.Dataset:
        """Returns a dataset of {column: tensor}, typed by `batch_signature`."""
        spec = self._source.spec
        data = tf.data.Dataset.from_generator(
            self._batches, output_signature=batch_signature(spec, self._labels)
        )
        return data.prefetch(PREFETCH_BATCHES)

    def _batches(self) -> Iterator[dict[str, np.ndarray]]:
        try:
            # Stops before reading batches that are not used.
            for batch in itertools.islice(self._all_batches(), self._steps):
                yield from self._shares(batch)
        except Exception as error:
            self.error = error
            raise

    def _all_batches(self) -> Iterator[dict[str, np.ndarray]]:
        epoch, step = self._start
        while self._epochs is None or epoch < self._epochs:
            for batch in self._source.batches(
                self._batch_size, epoch=epoch, first_step=step, part=self._part
            ):
                rows = rows_of_step(self._source, self._batch_size, step)
                yield {**batch, GLOBAL_ROWS: np.array(rows, "float32")}
                step += 1
            epoch, step = epoch + 1, 0

    def _shares(self, batch) -> Iterator[dict[str, np.ndarray]]:
        """Yields the rows of each of this worker's replicas."""
        if self._replicas == 1:
            yield batch
            return
        rows = {name: v for name, v in batch.items() if name != GLOBAL_ROWS}
        count = len(next(iter(rows.values())))
        for replica in range(self._replicas):
            first, past = part_of(count, (replica, self._replicas))
            yield {
                **sliced(rows, first, past),
                GLOBAL_ROWS: batch[GLOBAL_ROWS],
            }

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches in an epoch."""
        return steps_per_epoch(self._source, self._batch_size)


def batch_signature(
    spec: FeatureSpec, labels: bool = True
) -> dict[str, tf.TensorSpec]:
    """Returns the TensorSpecs of the columns of a batch."""
    specs = {
        column.name: tf.TensorSpec(
            [None, *column.shape], tf.float32 if column.floats else tf.int32
        )
        for column in columns(spec)
    }
    if labels:
        for task in spec.tasks:
            specs[task.label] = tf.TensorSpec([None], tf.float32)
        if spec.weight:
            specs[spec.weight] = tf.TensorSpec([None], tf.float32)
        if spec.group_key and spec.group_key not in specs:
            specs[spec.group_key] = tf.TensorSpec([None], tf.int64)
    specs[GLOBAL_ROWS] = tf.TensorSpec([], tf.float32)
    return specs
