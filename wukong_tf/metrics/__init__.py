"""Metrics of click models: additive sums and pure functions of them."""

from wukong_tf.metrics.bootstrap import bootstrap, metrics_of_rows
from wukong_tf.metrics.functions import (
    auc_by_group,
    auc_of_bins,
    exact_auc,
    grouped_auc,
    of_scalars,
    of_sums,
    sampled_weights,
)
from wukong_tf.metrics.ranks import gram, stable_rank
from wukong_tf.metrics.sums import (
    AUC_BINS,
    SCALARS,
    binary_sums,
    scalar_sums,
    zero_sums,
)

__all__ = [
    "AUC_BINS",
    "SCALARS",
    "auc_by_group",
    "auc_of_bins",
    "binary_sums",
    "bootstrap",
    "exact_auc",
    "gram",
    "grouped_auc",
    "metrics_of_rows",
    "of_scalars",
    "of_sums",
    "sampled_weights",
    "scalar_sums",
    "stable_rank",
    "zero_sums",
]
