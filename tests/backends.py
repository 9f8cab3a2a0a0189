"""Gradients and arrays, the same way on every Keras backend."""

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
    """Float32 products at full precision, which a GPU's default is not."""
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
    """A tensor or variable as an array; bfloat16 as float64, exactly."""
    array = keras.ops.convert_to_numpy(tensor)
    return array.astype(np.float64) if array.dtype.kind == "V" else array


def gradients(
    layer: keras.layers.Layer,
    x: Any,
    output_gradient: np.ndarray,
    dtype: str,
    **kwargs: Any,
) -> tuple[Any, list[Any]]:
    """Of sum(layer(x) * output_gradient), for x and each trainable weight.

    Args:
        layer: a built layer.
        x: its input, an array.
        output_gradient: of the shape of its output.
        dtype: that the input and the sum are made in.
        **kwargs: passed to the layer's call.

    Returns:
        The gradient for x, and a list of those for the weights; None where
        there is none.
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
    # As one program: each operation of its own would be compiled too.
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
    """Where PyTorch records for gradients, which tests else switch off.

    A tensor that records cannot be read as an array.
    """
    if BACKEND != "torch":
        return contextlib.nullcontext()
    import torch

    return torch.enable_grad()


def compiled(function: Callable) -> Callable:
    """`function` as the backend compiles it; as it is on PyTorch."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.function(function)
    if BACKEND == "jax":
        import jax

        return jax.jit(function)
    return function


def tensors(batch: dict[str, np.ndarray]) -> dict[str, Any]:
    """A batch of arrays as one of tensors."""
    return {k: keras.ops.convert_to_tensor(v) for k, v in batch.items()}


def is_nonzero(gradients: Sequence[Any]) -> list[bool]:
    """Whether each gradient is there and has an entry that is not 0."""
    return [
        gradient is not None and bool(np.any(numpy(gradient) != 0))
        for gradient in gradients
    ]
