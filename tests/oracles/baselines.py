"""The baselines in float64 NumPy, pair by pair and layer by layer."""

import numpy as np

from tests.oracles import blocks
from tests.oracles.models import Inputs, embed


def _head(dense, task, x):
    return blocks.mlp(x, blocks.inside(dense, f"head_{task.name}"))


def logits(config, inputs: Inputs, weights: blocks.Weights) -> dict:
    """Returns {task: logits [B, 1]} of a baseline with embeddings."""
    width = config.embedding_dim + (config.model == "fm")
    x = embed(config.features, inputs, weights, width)
    dense = blocks.inside(weights, "dense")
    return _MODELS[config.model](config, x, dense)


def fm(config, x, dense):
    """Adds w_0, first-order weights, and products of all pairs of rows."""
    found = {}
    batch, rows, width = x.shape
    for index, task in enumerate(config.features.tasks):
        scale = dense["scale"][index] if "scale" in dense else np.ones(width)
        logit = np.full(batch, dense["bias"][index])
        for i in range(rows):
            logit = logit + scale[-1] * x[:, i, -1]
            for j in range(i):
                products = x[:, i, :-1] * x[:, j, :-1]
                logit = logit + products @ scale[:-1]
        found[task.name] = logit[:, None]
    return found


def mlp(config, x, dense):
    """Applies an MLP to the concatenated embeddings."""
    flat = x.reshape(len(x), -1)
    tasks = config.features.tasks
    return {task.name: _head(dense, task, flat) for task in tasks}


def dlrm(config, x, dense):
    """Returns the rows of the numbers and the dot product of each pair."""
    spec, parts = config.features, []
    if spec.numeric:
        end = x.shape[1] - sum(v.num_embeddings for v in spec.vector)
        numbers = x[:, end - config.numeric_embeddings : end]
        parts.append(numbers.reshape(len(x), -1))
    for i in range(x.shape[1]):
        for j in range(i):
            parts.append((x[:, i] * x[:, j]).sum(1, keepdims=True))
    flat = np.concatenate(parts, 1)
    return {task.name: _head(dense, task, flat) for task in spec.tasks}


def dcn_v2(config, x, dense):
    """Repeats x_0 * (W x + b) + x, and applies the deep network."""
    first = x.reshape(len(x), -1)
    crossed = first
    for index in range(config.num_cross_layers):
        layer = blocks.inside(dense, f"cross_{index}")
        inner = crossed
        if config.projection_dim is not None:
            inner = inner @ layer["projection/kernel"]
        inner = inner @ layer["dense/kernel"] + layer["dense/bias"]
        crossed = first * inner + crossed
    if config.structure == "parallel":
        deep = blocks.mlp(first, blocks.inside(dense, "deep"))
        crossed = np.concatenate([crossed, np.maximum(deep, 0.0)], 1)
    tasks = config.features.tasks
    return {task.name: _head(dense, task, crossed) for task in tasks}


_MODELS = {"fm": fm, "mlp": mlp, "dlrm": dlrm, "dcn_v2": dcn_v2}
