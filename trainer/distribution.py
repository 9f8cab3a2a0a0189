"""Where a run computes: its strategy and its threads."""

import os

import keras
import tensorflow as tf

from wukong_tf.errors import ConfigError


def set_up(
    *, seed: int, deterministic: bool, intra_op: int, inter_op: int
) -> tf.distribute.Strategy:
    """Fixes seeds and threads, and gives the strategy of one device.

    Args:
        seed: of weights and dropout.
        deterministic: whether TensorFlow must avoid operations whose result
            can differ from run to run.
        intra_op: threads within an operation; 0 lets TensorFlow choose.
        inter_op: operations run at once; 0 lets TensorFlow choose.

    Raises:
        ConfigError: Keras runs on another backend than TensorFlow.
    """
    if keras.backend.backend() != "tensorflow":
        raise ConfigError(
            "the trainer needs Keras on TensorFlow; KERAS_BACKEND chose "
            f"{keras.backend.backend()!r}."
        )
    for kind, threads in (("intra", intra_op), ("inter", inter_op)):
        # Where TensorFlow is at work already, it refuses even the same value.
        if _threads(kind) != threads:
            getattr(tf.config.threading, f"set_{kind}_op_parallelism_threads")(
                threads
            )
    keras.utils.set_random_seed(seed)
    if deterministic:
        tf.config.experimental.enable_op_determinism()
    return tf.distribute.get_strategy()


def describe(strategy: tf.distribute.Strategy) -> str:
    """One line on devices and threads, for the log."""
    devices = tf.config.list_logical_devices("GPU") or (
        tf.config.list_logical_devices("CPU")
    )
    return (
        f"{strategy.num_replicas_in_sync} replica on {devices[0].name}, "
        f"threads: intra-op {_threads('intra')}, "
        f"inter-op {_threads('inter')} "
        f"(0 is one for each of the {os.cpu_count()} CPUs)"
    )


def _threads(kind):
    return getattr(tf.config.threading, f"get_{kind}_op_parallelism_threads")()
