"""Optimizers for tables and for the dense part, and their assignment."""

from wukong_tf.optimizers.clipped_adam import ClippedAdam
from wukong_tf.optimizers.dense import dense_optimizer
from wukong_tf.optimizers.groups import OptimizerGroups
from wukong_tf.optimizers.rowwise_adagrad import RowwiseAdagrad
from wukong_tf.optimizers.schedules import LinearWarmup, WarmupDecay
from wukong_tf.optimizers.table_adam import TableAdam
from wukong_tf.optimizers.table_optimizer import table_optimizer
from wukong_tf.optimizers.weight_average import WeightAverage

__all__ = [
    "ClippedAdam",
    "LinearWarmup",
    "OptimizerGroups",
    "RowwiseAdagrad",
    "TableAdam",
    "WarmupDecay",
    "WeightAverage",
    "dense_optimizer",
    "table_optimizer",
]
