"""The baselines in float64 NumPy, pair by pair and layer by layer."""

import math

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


def rank_mixer(config, x, dense):
    """Mixes tokens part by part, and applies each token's own MLP."""
    count, width = config.num_tokens, config.token_dim
    flat = x.reshape(len(x), -1)
    flat = np.pad(flat, ((0, 0), (0, count * config.chunk - flat.shape[1])))
    cut = np.split(flat, count, axis=1)
    tokens = [_dense(dense, "tokens", t, part) for t, part in enumerate(cut)]
    for index in range(config.num_layers):
        block = blocks.inside(dense, f"block_{index}")
        parts = [np.split(token, count, axis=1) for token in tokens]
        mixed = [
            np.concatenate([part[t] for part in parts], axis=1)
            for t in range(count)
        ]
        norms = [blocks.inside(block, n) for n in ("mixed_norm", "norm")]
        tokens = [
            blocks.layer_norm(one + other, norms[0], config.norm_epsilon)
            for one, other in zip(mixed, tokens, strict=True)
        ]
        for t, token in enumerate(tokens):
            hidden = _dense(block, "hidden", t, token)
            hidden = hidden * 0.5 * (1 + _erf(hidden / np.sqrt(2)))
            mapped = _dense(block, "out", t, hidden)
            tokens[t] = blocks.layer_norm(
                mapped + token, norms[1], config.norm_epsilon
            )
    mean = sum(tokens) / count
    assert mean.shape[1] == width
    tasks = config.features.tasks
    return {task.name: _head(dense, task, mean) for task in tasks}


def _dense(weights, name, token, x):
    kernel, bias = weights[f"{name}/kernel"], weights[f"{name}/bias"]
    return x @ kernel[token] + bias[token]


_erf = np.vectorize(math.erf)
_MODELS = {
    "fm": fm,
    "mlp": mlp,
    "dlrm": dlrm,
    "dcn_v2": dcn_v2,
    "rank_mixer": rank_mixer,
}
