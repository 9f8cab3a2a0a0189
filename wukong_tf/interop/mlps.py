"""MLPs: PyTorch's sequences of modules, and our dense layers."""

from collections.abc import Sequence

import numpy as np

from wukong_tf.errors import InteropError
from wukong_tf.interop.layouts import Chain
from wukong_tf.interop.state import State

# Kernel [inputs, outputs] and bias [outputs] of a dense layer.
Dense = tuple[np.ndarray, np.ndarray]

EPSILON = 1e-5  # of PyTorch's BatchNorm1d


def read(
    state: State, chain: Chain, prefix: str, inputs: int, inference_only: bool
) -> list[Dense]:
    """Takes the dense layers of an MLP out of a state dict.

    Args:
        state: the state dict.
        chain: keys of the MLP.
        prefix: beginning of the keys.
        inputs: numbers that enter the MLP.
        inference_only: whether batch normalizations are folded into the layers
            before them, by their running statistics, and missing biases
            become zeros.

    Raises:
        InteropError: a module is missing, has another shape, or has no exact
            counterpart.
    """
    found: list[tuple[str, np.ndarray, np.ndarray | None]] = []
    for key in _modules(state, chain, prefix):
        parts = state.names(key)
        if "running_mean" in parts and found:
            if not inference_only:
                raise InteropError(_only(state.where, key, "a BatchNorm1d"))
            found.append(_folded(state, key, *found.pop()))
        elif parts <= {"weight", "bias"} and (
            "weight" not in parts or state.axes(f"{key}.weight") == 2
        ):
            outputs, _ = state.shape(f"{key}.weight", 2)
            weight = state.take(f"{key}.weight", (outputs, inputs))
            bias = None
            if "bias" in parts:
                bias = state.take(f"{key}.bias", (outputs,))
            found.append((key, weight.T, bias))
            inputs = outputs
        else:
            raise InteropError(
                f"{state.where}: {key!r} has no counterpart; expected a Linear "
                f"layer, received a module with {sorted(parts)}."
            )
    return [_with_bias(state, inference_only, *each) for each in found]


def write(
    chain: Chain, prefix: str, layers: Sequence[Dense]
) -> dict[str, np.ndarray]:
    """Returns the tensors of an MLP's modules by key.

    A batch normalization of the chain is written as one that changes nothing
    in inference.
    """
    result: dict[str, np.ndarray] = {}
    hidden = len(layers) - 1
    for index, (kernel, bias) in enumerate(layers):
        key = prefix + chain.linear(index, hidden)
        result |= {f"{key}.weight": kernel.T, f"{key}.bias": bias}
        if chain.batch_norm and index < hidden:
            key = prefix + chain.modules.format(chain.step * index + 1)
            result |= {f"{key}.{n}": a for n, a in _identity(bias).items()}
    return result


def _modules(state, chain, prefix) -> list[str]:
    """Returns the keys of the modules with tensors, in their order."""
    pattern = chain.pattern(prefix)
    matches = filter(None, map(pattern.fullmatch, state))
    indices = {m[1]: tuple(map(int, m.groups()[1:])) for m in matches}
    keys = sorted(indices, key=indices.__getitem__)
    if chain.last is not None:
        keys.append(prefix + chain.last)
    if not keys:
        keys.append(prefix + chain.linear(0, 0))
    return keys


def _folded(state, normalization, key, kernel, bias):
    """Returns a linear layer that includes the normalization after it."""
    gamma, beta, mean, variance = (
        state.take(f"{normalization}.{name}", (kernel.shape[1],))
        for name in ("weight", "bias", "running_mean", "running_var")
    )
    state.drop(normalization)  # the number of batches
    scale = gamma / np.sqrt(variance + EPSILON)
    shift = beta - mean * scale
    if bias is not None:
        shift = shift + bias * scale
    dtype = kernel.dtype
    return key, (kernel * scale).astype(dtype), shift.astype(dtype)


def _identity(bias):
    """Returns the tensors of a BatchNorm1d that changes nothing."""
    ones, zeros = np.ones_like(bias), np.zeros_like(bias)
    return {
        "weight": ones,
        "bias": zeros,
        "running_mean": zeros,
        "running_var": ones * bias.dtype.type(1 - EPSILON),
        "num_batches_tracked": np.zeros((), np.int64),
    }


def _with_bias(state, inference_only, key, kernel, bias) -> Dense:
    if bias is None:
        if not inference_only:
            what = "a Linear layer without a bias"
            raise InteropError(_only(state.where, key, what))
        bias = np.zeros(kernel.shape[1], kernel.dtype)
    return kernel, bias


def _only(where, key, what):
    return (
        f"{where}: {key!r} is {what}, which has no counterpart in training; "
        "pass inference_only=True for a model that gives the same logits."
    )
