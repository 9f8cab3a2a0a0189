"""Whole models in float64 NumPy, table by table and feature by feature.

Weights are a dict of a checkpoint's canonical names to arrays, such as
"tables/item" and "dense/stack/layer_0/lcb/kernel".
"""

import math

import numpy as np

from tests.oracles import blocks
from wukong_tf.config import (
    CategoricalFeature,
    FeatureSpec,
    NumericFeature,
    WukongConfig,
)

Inputs = dict[str, np.ndarray]


def lookup(
    feature: CategoricalFeature, inputs: Inputs, weights: blocks.Weights
) -> np.ndarray:
    """Looks up ids, and pools bags one id at a time; returns [B, width]."""
    table = weights["tables/" + (feature.table or feature.name)]
    ids = inputs[feature.name]
    if feature.pooling is None:
        return np.stack([table[i] for i in ids.ravel()])
    pooled = np.zeros((len(ids), table.shape[1]))
    for row, bag in enumerate(ids):
        given = np.ones(len(bag))
        if feature.weights:
            given = inputs[feature.weights][row]
        pairs = [(table[i], w) for i, w in zip(bag, given, strict=True) if i]
        total = sum(w * e for e, w in pairs)
        divisor = {
            "sum": 1.0,
            "mean": sum(w for _, w in pairs),
            "sqrtn": np.sqrt(sum(w * w for _, w in pairs)),
        }[feature.pooling]
        if divisor > 0:
            pooled[row] = total / divisor
    return pooled


def standardized(feature: NumericFeature, value: float) -> float:
    """Returns one raw number, transformed by the rules of docs/data.md."""
    if math.isnan(value):
        if feature.missing is None:
            return 0.0
        value = feature.missing
    if feature.clip_min is not None and value < feature.clip_min:
        value = feature.clip_min
    if feature.clip_max is not None and value > feature.clip_max:
        value = feature.clip_max
    if feature.transform == "log1p":
        value = math.copysign(math.log(1 + abs(value)), value)
    return (value - feature.mean) / feature.stddev


def numbers(spec: FeatureSpec, inputs: Inputs) -> np.ndarray:
    """Returns the standardized numbers [B, F], computed one by one."""
    columns = [
        [standardized(f, value) for value in inputs[f.name].ravel().tolist()]
        for f in spec.numeric
    ]
    return np.array(columns).T


def embed(
    spec: FeatureSpec, inputs: Inputs, weights: blocks.Weights, width: int = 0
) -> np.ndarray:
    """Returns X_0: rows of ids and bags, of groups, of numbers, of vectors.

    Args:
        spec: the features.
        inputs: arrays by feature name.
        weights: weights by canonical name.
        width: d; needed if no feature has a single row of that width.
            Defaults to 0.
    """
    dense = blocks.inside(weights, "dense/feature_embedding")
    parts = []
    read = {f.name: lookup(f, inputs, weights) for f in spec.categorical}
    for categorical in spec.categorical:
        row = read[categorical.name]
        if categorical.embedding_group:
            continue
        projection = dense.get(f"projection_{categorical.name}/kernel")
        row = row if projection is None else row @ projection
        width = row.shape[1] // categorical.kept_units
        rows = np.zeros((len(row), categorical.units, width))
        rows[:, : categorical.kept_units] = row.reshape(len(row), -1, width)
        parts.append(rows)
    flats = []
    for group in spec.embedding_groups:
        members = [
            read[f.name]
            for f in spec.categorical
            if f.embedding_group == group.name
        ]
        flats.append((np.concatenate(members, 1), f"group_{group.name}"))
    if spec.numeric:
        flats.append((numbers(spec, inputs), "numeric"))
    for vector in spec.vector:
        flats.append((inputs[vector.name], f"vector_{vector.name}"))
    for flat, name in flats:
        flat = blocks.mlp(flat, blocks.inside(dense, name))
        parts.append(flat.reshape(len(flat), -1, width or flat.shape[1]))
    return np.concatenate(parts, 1)


HIDDEN = {("relu", False): blocks.relu_of, ("silu", True): blocks.swiglu}


def wukong(
    config: WukongConfig, inputs: Inputs, weights: blocks.Weights
) -> np.ndarray:
    """Returns the logits [B, 1] of the first task."""
    x = embed(config.features, inputs, weights, config.embedding_dim)
    dense = blocks.inside(weights, "dense")
    x = blocks.interaction_stack(
        x,
        blocks.inside(dense, "stack"),
        config.norm_epsilon,
        relu=config.fmb_activation == "relu",
        hidden=HIDDEN[config.mlp_activation, config.mlp_glu],
    )
    task = config.features.tasks[0]
    flat = x.reshape(len(x), -1)
    return blocks.mlp(flat, blocks.inside(dense, f"head_{task.name}"))


def logistic_regression(
    spec: FeatureSpec, inputs: Inputs, weights: blocks.Weights
) -> np.ndarray:
    """Returns logits [B, 1]: bias, ids' weights, and slopes times numbers."""
    logit = weights["dense/bias"][0]
    for categorical in spec.categorical:
        table = weights["tables/" + (categorical.table or categorical.name)]
        logit = logit + table[inputs[categorical.name], 0]
    where = "dense/feature_embedding/"
    if spec.numeric:
        slopes = weights[where + "numeric/dense_0/kernel"][:, 0]
        logit = logit + numbers(spec, inputs) @ slopes
        logit = logit + weights[where + "numeric/dense_0/bias"][0]
    for vector in spec.vector:
        path = f"{where}vector_{vector.name}/dense_0/"
        logit = logit + inputs[vector.name] @ weights[path + "kernel"][:, 0]
        logit = logit + weights[path + "bias"][0]
    return logit[:, None]
