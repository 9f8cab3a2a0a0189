"""Optimizers for tables and for the dense part, and their assignment."""

from wukong_tf.optimizers.clipped_adam import ClippedAdam
from wukong_tf.optimizers.groups import OptimizerGroups
from wukong_tf.optimizers.rowwise_adagrad import RowwiseAdagrad
from wukong_tf.optimizers.schedules import LinearWarmup
from wukong_tf.optimizers.table_optimizer import table_optimizer
from wukong_tf.optimizers.weight_average import WeightAverage

__all__ = [
    "ClippedAdam",
    "LinearWarmup",
    "OptimizerGroups",
    "RowwiseAdagrad",
    "WeightAverage",
    "table_optimizer",
]
