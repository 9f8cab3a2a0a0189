"""What the workers of a run tell each other between steps."""

import json
from typing import Any

import numpy as np
import tensorflow as tf


class Workers:
    """The processes of a run; every method is called by all of them at once.

    Values travel as JSON through the strategy's own collectives, so that
    there is no other connection, and nothing that is unpickled.

    Args:
        strategy: of the run.
        index: number of this worker.
        addresses: HOST:PORT of each worker; empty where there is one.
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
            )

    @property
    def is_chief(self) -> bool:
        """Whether this worker is the one that writes."""
        return self.index == 0

    @property
    def part(self) -> tuple[int, int]:
        """This worker's part of every batch."""
        return self.index, self.count

    def gather(self, value: Any) -> list[Any]:
        """What every worker gave, in their order.

        Args:
            value: this worker's, of JSON.
        """
        if self.count == 1:
            return [value]
        data = json.dumps(value).encode()
        # As floats, which every collective takes. Text has no byte 0.
        sent = np.frombuffer(data + b"\0", np.uint8).astype(np.float32)
        got = self._gather(tf.constant(sent)).numpy()
        texts = got.astype(np.uint8).tobytes().split(b"\0")[:-1]
        return [json.loads(text) for text in texts]

    def from_chief(self, value: Any) -> Any:
        """What the chief gave."""
        return self.gather(value if self.is_chief else None)[0]

    def any(self, value: bool) -> bool:
        """Whether any worker says so."""
        return any(self.gather(bool(value)))

    def _gather_bytes(self, sent):
        # One part from each worker, whatever its replicas.
        def mine():
            context = tf.distribute.get_replica_context()
            replicas = context.num_replicas_in_sync // self.count
            number = tf.cast(context.replica_id_in_sync_group, tf.int32)
            first = tf.cast(tf.equal(number % replicas, 0), tf.int32)
            return sent[: tf.size(sent) * first]

        return self._strategy.gather(self._strategy.run(mine), axis=0)
