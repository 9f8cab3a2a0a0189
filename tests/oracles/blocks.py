"""Wukong's blocks in float64 NumPy, written from the paper's equations.

Every block is a pure function of its input and of a dict from the end of a
weight's Keras path, such as "fmb/mlp/dense_0/kernel", to its value. If the
dict has no weights for a block, the layer lacks it: without a projection the
interaction is full, the residual is the identity, and FMB or LCB are zeros.
"""

from collections.abc import Callable

import numpy as np

Weights = dict[str, np.ndarray]
Block = Callable[[np.ndarray, Weights], np.ndarray]

EPSILON = 1e-5


def inside(weights: Weights, prefix: str) -> Weights:
    """Returns the weights below `prefix`, with paths relative to it."""
    start = prefix + "/"
    return {
        path[len(start) :]: value
        for path, value in weights.items()
        if path.startswith(start)
    }


def layer_norm(
    x: np.ndarray, weights: Weights, epsilon: float = EPSILON
) -> np.ndarray:
    """Normalizes the last axis to mean 0 and variance 1; scales, shifts."""
    centered = x - x.mean(axis=-1, keepdims=True)
    variance = (centered * centered).mean(axis=-1, keepdims=True)
    unit = centered / np.sqrt(variance + epsilon)
    return unit * weights["gamma"] + weights["beta"]


def relu_of(x: np.ndarray) -> np.ndarray:
    """Returns max(0, x)."""
    return np.maximum(x, 0.0)


def swiglu(x: np.ndarray) -> np.ndarray:
    """Returns a sigmoid(a) b of x = [a, b]."""
    a, b = np.split(x, 2, axis=-1)
    return a / (1.0 + np.exp(-a)) * b


def mlp(x: np.ndarray, weights: Weights, hidden=relu_of) -> np.ndarray:
    """Repeats hidden(h W + b), without `hidden` at the end."""
    depth = len({path.split("/")[0] for path in weights})
    for index in range(depth):
        dense = inside(weights, f"dense_{index}")
        x = np.einsum("...i,ij->...j", x, dense["kernel"])
        if "bias" in dense:
            x = x + dense["bias"]
        if index < depth - 1:
            x = hidden(x)
    return x


def linear_compress(x: np.ndarray, weights: Weights) -> np.ndarray:
    """Returns W X, plus b_i in row i if there is a bias b.

    The kernel is the transpose of W.
    """
    rows = np.einsum("nm,bnd->bmd", weights["kernel"], x)
    for index, shift in enumerate(weights.get("bias", ())):
        rows[:, index] += shift
    return rows


def attentive_projection(
    x: np.ndarray, weights: Weights, epsilon: float = EPSILON
) -> np.ndarray:
    """Returns reshape(MLP(LN(flatten(W X)))), a Y for each example."""
    batch, n, _ = x.shape
    rows = linear_compress(x, inside(weights, "compress"))
    flat = layer_norm(rows.reshape(batch, -1), inside(weights, "norm"), epsilon)
    return mlp(flat, inside(weights, "mlp")).reshape(batch, n, -1)


def factorization_machine(
    x: np.ndarray,
    weights: Weights,
    epsilon: float = EPSILON,
    *,
    relu: bool = False,
    hidden=relu_of,
) -> np.ndarray:
    """Returns reshape(MLP(LN(flatten(X X^T Y)))), with X X^T computed first.

    With `relu`, it is max(0, that). `hidden` ends the MLP's hidden layers.
    """
    batch, _, width = x.shape
    dots = np.einsum("bid,bjd->bij", x, x)
    if "projection" in weights:
        dots = np.einsum("bij,jk->bik", dots, weights["projection"])
    attention = inside(weights, "attention")
    if attention:
        y = attentive_projection(x, attention, epsilon)
        dots = np.einsum("bij,bjk->bik", dots, y)
    flat = dots.reshape(batch, dots.shape[1] * dots.shape[2])
    flat = layer_norm(flat, inside(weights, "norm"), epsilon)
    rows = mlp(flat, inside(weights, "mlp"), hidden).reshape(batch, -1, width)
    return np.maximum(rows, 0.0) if relu else rows


def wukong_layer(
    x: np.ndarray,
    weights: Weights,
    epsilon: float = EPSILON,
    *,
    num_fmb: int = 0,
    num_lcb: int = 0,
    adds_input: bool = True,
    relu: bool = False,
    hidden=relu_of,
) -> np.ndarray:
    """Returns LN over d of concat(FMB, LCB) plus the residual.

    Args:
        x: input [B, n, d].
        weights: weights by the end of their path.
        epsilon: epsilon of the norms.
        num_fmb: number of rows of zeros if there is no FMB. Defaults to 0.
        num_lcb: number of rows of zeros if there is no LCB. Defaults to 0.
        adds_input: whether there is a residual. Defaults to True.
        relu: whether the FMB ends in a ReLU. Defaults to False.
        hidden: ends the hidden layers of the FMB's MLP. Defaults to ReLU.
    """
    batch, _, width = x.shape
    fmb, lcb = inside(weights, "fmb"), inside(weights, "lcb")
    interactions = np.zeros((batch, num_fmb, width))
    linear = np.zeros((batch, num_lcb, width))
    if fmb:
        interactions = factorization_machine(
            x, fmb, epsilon, relu=relu, hidden=hidden
        )
    if lcb:
        linear = linear_compress(x, lcb)
    rows = np.concatenate([interactions, linear], axis=1)
    if adds_input:
        residual = inside(weights, "residual")
        rows = rows + (linear_compress(x, residual) if residual else x)
    return layer_norm(rows, inside(weights, "norm"), epsilon)


def interaction_stack(
    x: np.ndarray, weights: Weights, epsilon: float = EPSILON, **kwargs
) -> np.ndarray:
    """Applies all layers in turn, each with the arguments `kwargs`."""
    depth = len({path.split("/")[0] for path in weights})
    for index in range(depth):
        layer = inside(weights, f"layer_{index}")
        x = wukong_layer(x, layer, epsilon, **kwargs)
    return x


def gradients(
    block: Block,
    x: np.ndarray,
    weights: Weights,
    output_gradient: np.ndarray,
    step: float = 1e-5,
) -> tuple[np.ndarray, Weights]:
    """Returns gradients of sum(block(x) * output_gradient).

    They are central differences: every element is moved by `step` both ways,
    so the error is of order step squared plus rounding over step, about 1e-10
    for values near 1.

    Returns:
        The gradient for `x`, and a dict of those for the weights.
    """
    x = np.array(x, np.float64)
    weights = {path: np.array(w, np.float64) for path, w in weights.items()}

    def of(variable: np.ndarray) -> np.ndarray:
        result = np.empty_like(variable)
        for index in np.ndindex(variable.shape):
            value = variable[index]
            variable[index] = value + step
            above = block(x, weights)
            variable[index] = value - step
            below = block(x, weights)
            variable[index] = value
            change = (above - below) * output_gradient
            result[index] = change.sum() / (2.0 * step)
        return result

    return of(x), {path: of(value) for path, value in weights.items()}
