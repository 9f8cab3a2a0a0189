"""Collectives of tensors whose sizes differ from step to step.

A collective's shape is fixed by its instance key, so tensors are padded to one
of a few sizes, and each size has keys of its own.
"""

import dataclasses
import math
from collections.abc import Hashable
from typing import Any

import tensorflow as tf
from tensorflow.python.ops import collective_ops

from wukong_tf.errors import ConfigError

# Collective keys: TensorFlow counts its own up from 100, one or more for each
# call of a function.
_FIRST_KEY = 2**30
KEYS = 2**11  # of each kind of tensor
SIZES = 2**9 + 2**4  # more than the largest index of `rounded_up`
# Index of each kind of tensor; every worker's program names them in the same
# order.
_kinds: dict[Hashable, int] = {}


@dataclasses.dataclass(frozen=True)
class Group:
    """The replicas of several workers, as seen by one of them.

    Args:
        launcher: what launches the strategy's own collectives.
    """

    launcher: Any  # not public; covered by the tests with several processes

    @property
    def size(self) -> int:
        """Number of replicas."""
        return self.launcher._group_size

    @property
    def key(self) -> int:
        """Number of the group."""
        return self.launcher._group_key

    @property
    def device(self) -> str:
        """Device of this replica."""
        return self.launcher._device

    def all_gather(self, tensor, key):
        """Concatenates the tensors of all replicas, of one shape [n, ...]."""
        return self._launch(collective_ops.all_gather_v2, tensor, key)

    def all_to_all(self, tensor, key):
        """Exchanges the parts of tensors [size, ...] of one shape.

        Part i is sent to replica i; part i of the result came from it.
        """
        return self._launch(collective_ops.all_to_all_v2, tensor, key)

    def _launch(self, collective, tensor, key):
        with tf.device(self.device):
            return collective(
                tensor,
                self.size,
                self.key,
                key,
                communication_hint=self.launcher._options.implementation.value,
                ordering_token=self.launcher._get_ordering_token(),
            )


def launchers_of(strategy: tf.distribute.Strategy) -> list | None:
    """Returns what launches a strategy's collectives, for each local replica.

    Returns None if its replicas are all in one process.
    """
    operations = getattr(strategy.extended, "_cross_device_ops", None)
    return getattr(operations, "_launchers", None)


def members(what: str) -> tuple[int, int]:
    """Returns the number of workers and this one's index.

    Args:
        what: what is sharded over the workers, for the error.

    Raises:
        ConfigError: the strategy's replicas are not of one worker each.
    """
    strategy = tf.distribute.get_strategy()
    replicas = strategy.num_replicas_in_sync
    if replicas == 1:
        return 1, 0
    launchers = launchers_of(strategy)
    if launchers is None or len(launchers) > 1:
        raise ConfigError(
            f"{what} are sharded over workers of one replica each; the "
            f"strategy has {len(launchers or ()) or replicas} in this process."
        )
    return replicas, strategy.cluster_resolver.task_id


def current_group() -> Group | None:
    """Returns the group of the current replica; None in other contexts."""
    context = tf.distribute.get_replica_context()
    if context is None:
        return None
    launchers = launchers_of(context.strategy)
    return Group(launchers[context._replica_id]) if launchers else None


def first_key(kind: Hashable) -> int:
    """Returns the first of `KEYS` instance keys of a kind of tensor."""
    return _FIRST_KEY + _kinds.setdefault(kind, len(_kinds)) * KEYS


def rounded_up(count):
    """Returns the smallest of a few sizes that holds `count`, and its index.

    There are eight for each power of two.
    """
    count = tf.maximum(count, 8)
    power = tf.math.log(tf.cast(count, tf.float64) + 0.5)
    power = tf.cast(power / math.log(2), tf.int32)  # floor(log2(count))
    unit = tf.bitwise.left_shift(1, power - 3)
    units = -(-count // unit)  # 8 to 16
    return units * unit, 16 * power + units
