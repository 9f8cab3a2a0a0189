"""Whole models in float64 NumPy, table by table and feature by feature.

Weights are a dict of a checkpoint's canonical names to arrays, such as
"tables/item" and "dense/stack/layer_0/lcb/kernel".
"""

import numpy as np

from tests.oracles import blocks
from wukong_tf.config import FeatureSpec, WukongConfig

Inputs = dict[str, np.ndarray]


def embed(
    spec: FeatureSpec, inputs: Inputs, weights: blocks.Weights
) -> np.ndarray:
    """X_0: a row for each id, one for the numbers, one for each vector."""
    dense = blocks.inside(weights, "dense/feature_embedding")
    rows = []
    for categorical in spec.categorical:
        table = weights["tables/" + (categorical.table or categorical.name)]
        row = np.stack([table[i] for i in inputs[categorical.name].ravel()])
        projection = dense.get(f"projection_{categorical.name}/kernel")
        rows.append(row if projection is None else row @ projection)
    if spec.numeric:
        numbers = np.stack(
            [inputs[feature.name].ravel() for feature in spec.numeric], 1
        )
        rows.append(blocks.mlp(numbers, blocks.inside(dense, "numeric")))
    for vector in spec.vector:
        within = blocks.inside(dense, f"vector_{vector.name}")
        rows.append(blocks.mlp(inputs[vector.name], within))
    return np.stack(rows, 1)


def wukong(
    config: WukongConfig, inputs: Inputs, weights: blocks.Weights
) -> np.ndarray:
    """The logits [B, 1] of the only task."""
    x = embed(config.features, inputs, weights)
    dense = blocks.inside(weights, "dense")
    x = blocks.interaction_stack(x, blocks.inside(dense, "stack"))
    (task,) = config.features.tasks
    flat = x.reshape(len(x), -1)
    return blocks.mlp(flat, blocks.inside(dense, f"head_{task.name}"))


def logistic_regression(
    spec: FeatureSpec, inputs: Inputs, weights: blocks.Weights
) -> np.ndarray:
    """A bias, the weight of every id, and slopes times numbers: [B, 1]."""
    logit = weights["dense/bias"][0]
    for categorical in spec.categorical:
        table = weights["tables/" + (categorical.table or categorical.name)]
        logit = logit + table[inputs[categorical.name], 0]
    where = "dense/feature_embedding/"
    for index, numeric in enumerate(spec.numeric):
        slope = weights[where + "numeric/dense_0/kernel"][index, 0]
        logit = logit + slope * inputs[numeric.name]
    if spec.numeric:
        logit = logit + weights[where + "numeric/dense_0/bias"][0]
    for vector in spec.vector:
        path = f"{where}vector_{vector.name}/dense_0/"
        logit = logit + inputs[vector.name] @ weights[path + "kernel"][:, 0]
        logit = logit + weights[path + "bias"][0]
    return logit[:, None]
