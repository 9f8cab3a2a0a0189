"""Gradients and arrays on every Keras backend."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import pytest

BACKEND = keras.backend.backend()

tensorflow_only = pytest.mark.skipif(
    BACKEND != "tensorflow", reason=f"of TensorFlow, not of {BACKEND}"
)


def exact_products() -> None:
    """Sets float32 products to full precision, which is not a GPU's default."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_tensor_float_32_execution(False)
    elif BACKEND == "torch":
        import torch

        torch.set_float32_matmul_precision("highest")
    else:
        import jax

        jax.config.update("jax_default_matmul_precision", "highest")


def numpy(tensor: Any) -> np.ndarray:
    """Returns a tensor or variable as an array; bfloat16 as exact float64."""
    array = keras.ops.convert_to_numpy(tensor)
    return array.astype(np.float64) if array.dtype.kind == "V" else array


def gradients(
    layer: keras.layers.Layer,
    x: Any,
    output_gradient: np.ndarray,
    dtype: str,
    **kwargs: Any,
) -> tuple[Any, list[Any]]:
    """Returns the gradients of sum(layer(x) * output_gradient).

    Args:
        layer: a built layer.
        x: input array.
        output_gradient: array of the shape of the output.
        dtype: dtype of the input and the sum.
        **kwargs: passed to the layer's call.

    Returns:
        The gradient for x, and a list of those for the trainable weights,
        None for an unconnected one.
    """

    def total(y):
        above = keras.ops.convert_to_tensor(output_gradient, dtype)
        return keras.ops.sum(keras.ops.cast(y, dtype) * above)

    of = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}[BACKEND]
    return of(layer, keras.ops.convert_to_tensor(x, dtype), total, kwargs)


def _tensorflow(layer, x, total, kwargs):
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = total(layer(x, **kwargs))
    weights = [weight.value for weight in layer.trainable_weights]
    for_x, *for_weights = tape.gradient(loss, [x, *weights])
    return for_x, for_weights


def _jax(layer, x, total, kwargs):
    import jax

    fixed = [weight.value for weight in layer.non_trainable_variables]

    def loss(x, weights):
        y, _ = layer.stateless_call(weights, fixed, x, **kwargs)
        return total(y)

    weights = [weight.value for weight in layer.trainable_weights]
    # As one program, as otherwise each operation would be compiled separately.
    return jax.jit(jax.grad(loss, argnums=(0, 1)))(x, weights)


def _torch(layer, x, total, kwargs):
    x = x.detach().clone().requires_grad_()
    weights = [weight.value for weight in layer.trainable_weights]
    for weight in weights:
        weight.grad = None
    with recording():
        total(layer(x, **kwargs)).backward()
    return x.grad, [weight.grad for weight in weights]


def recording() -> contextlib.AbstractContextManager:
    """Returns a context that enables PyTorch's autograd, disabled in tests.

    A tensor that requires gradients cannot be read as an array.
    """
    if BACKEND != "torch":
        return contextlib.nullcontext()
    import torch

    return torch.enable_grad()


def compiled(function: Callable) -> Callable:
    """Returns `function` compiled by the backend; unchanged on PyTorch."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.function(function)
    if BACKEND == "jax":
        import jax

        return jax.jit(function)
    return function


def tensors(batch: dict[str, np.ndarray]) -> dict[str, Any]:
    """Returns a batch of arrays as tensors."""
    return {k: keras.ops.convert_to_tensor(v) for k, v in batch.items()}


def is_nonzero(gradients: Sequence[Any]) -> list[bool]:
    """Returns whether each gradient exists and has a nonzero entry."""
    return [
        gradient is not None and bool(np.any(numpy(gradient) != 0))
        for gradient in gradients
    ]
