"""Exchanges values between the workers of a run."""

import json
from typing import Any

import numpy as np
import tensorflow as tf


class Workers:
    """The processes of a run; all of them must call each method together.

    Values are sent as JSON through the strategy's collectives, so no other
    connection is needed and nothing is unpickled.

    Args:
        strategy: the strategy of the run.
        index: index of this worker. Defaults to 0.
        addresses: HOST:PORT of each worker. Defaults to (), one process.
    """

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        index: int = 0,
        addresses: tuple[str, ...] = (),
    ):
        self.index = index
        self.addresses = addresses
        self.count = max(1, len(addresses))
        self._strategy = strategy
        if self.count > 1:
            self._gather = tf.function(
                self._gather_bytes,
                input_signature=[tf.TensorSpec([None], tf.float32)],
                autograph=False,
            )

    @property
    def is_chief(self) -> bool:
        """Whether this worker is the chief, which writes the run."""
        return self.index == 0

    @property
    def part(self) -> tuple[int, int]:
        """This worker's part of every batch, (index, count)."""
        return self.index, self.count

    def gather(self, value: Any) -> list[Any]:
        """Returns the values of all workers, in their order.

        Args:
            value: this worker's value, of JSON's types.
        """
        if self.count == 1:
            return [value]
        data = json.dumps(value).encode()
        # As floats, which all collectives accept; byte 0 separates texts.
        mine = np.frombuffer(data + b"\0", np.uint8).astype(np.float32)
        gathered = self._gather(tf.constant(mine)).numpy()
        texts = gathered.astype(np.uint8).tobytes().split(b"\0")[:-1]
        return [json.loads(text) for text in texts]

    def from_chief(self, value: Any) -> Any:
        """Returns the chief's value."""
        return self.gather(value if self.is_chief else None)[0]

    def any(self, value: bool) -> bool:
        """Returns whether the value of any worker is true."""
        return any(self.gather(bool(value)))

    def _gather_bytes(self, sent):
        # Only the first replica of each worker sends its value.
        def mine():
            context = tf.distribute.get_replica_context()
            replicas = context.num_replicas_in_sync // self.count
            number = tf.cast(context.replica_id_in_sync_group, tf.int32)
            first = tf.cast(tf.equal(number % replicas, 0), tf.int32)
            return sent[: tf.size(sent) * first]

        return self._strategy.gather(self._strategy.run(mine), axis=0)
