"""Argument checks that the layers' constructors and builds share.

The rules are those of the configurations, whose ConfigError is a ValueError.
"""

import keras

from wukong_tf.config import schema

frozen = schema.frozen
check_rank = schema.check_rank


def positive_int(owner: str, name: str, value) -> int:
    """Returns `value` if it is a positive integer, else raises ValueError."""
    schema.check_int(owner, name, value, 1)
    return value


def units(owner: str, name: str, value) -> tuple[int, ...]:
    """Returns a sequence of layer sizes as a tuple, or raises ValueError."""
    value = frozen(value)
    schema.check_units(owner, name, value)
    return value


def interaction(owner: str, fm, rank) -> tuple[str, int | None]:
    """Returns the kind of interaction and its rank, optional for "full"."""
    schema.check_choice(owner, "fm", fm, schema.FM_KINDS)
    if fm == "full" and rank is None:
        return fm, None
    return fm, positive_int(owner, "rank", rank)


def removed(owner: str, value) -> tuple[str, ...]:
    """Returns the names of the parts that a layer omits."""
    value = frozen(value)
    schema.check_remove(owner, value)
    return value


def embeddings_shape(owner: str, shape) -> tuple[int, int]:
    """Returns (n, d) of an input shape [B, n, d], or raises ValueError."""
    sizes = tuple(shape)  # A backend's shape may not be a tuple.
    known = all(isinstance(size, int | None) for size in sizes)
    if not known or len(sizes) != 3:
        raise ValueError(
            f"{owner}: the input must have shape (batch_size, num_embeddings, "
            f"dim); received shape {shape}."
        )
    _, n, width = sizes
    if n is None or width is None:
        raise ValueError(
            f"{owner}: `num_embeddings` and `dim` of the input must be known; "
            f"received shape {shape}."
        )
    return n, width


def dropout_rate(owner: str, name: str, value) -> float:
    """Returns `value` if it is a rate in [0, 1), else raises ValueError."""
    schema.check_rate(owner, name, value)
    return float(value)


def positive_float(owner: str, name: str, value) -> float:
    """Returns `value` if it is finite and above 0, else raises ValueError."""
    schema.check_float(owner, name, value, above=0)
    return float(value)


def norm_dtype(variable_dtype: str) -> str:
    """Returns the dtype of a norm: the variables', but at least float32."""
    return keras.backend.result_type(variable_dtype, "float32")


def copies(initializer):
    """Returns a new initializer with the same configuration."""
    clone = getattr(initializer, "clone", None)
    return clone() if clone else initializer
