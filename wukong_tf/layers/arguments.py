"""Argument checks that the layers' constructors and builds share."""

import math
from collections.abc import Sequence

import keras

FM_KINDS = ("full", "projected", "attentive")
REMOVABLE = ("fmb", "lcb", "residual", "linear_path")


def positive_int(owner: str, name: str, value) -> int:
    """Returns `value` if it is an integer above 0, else raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(
            f"{owner}: `{name}` must be an integer of at least 1; received "
            f"{name}={value!r}."
        )
    return value


def units(owner: str, name: str, value) -> tuple[int, ...]:
    """Returns a sequence of layer sizes as a tuple, or raises ValueError."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise ValueError(
            f"{owner}: `{name}` must be a sequence of integers; received "
            f"{name}={value!r}."
        )
    return tuple(positive_int(owner, name, item) for item in value)


def frozen(value):
    """Converts lists to tuples, recursively."""
    if isinstance(value, list | tuple):
        return tuple(frozen(item) for item in value)
    return value


def interaction(owner: str, fm, rank) -> tuple[str, int | None]:
    """Returns the kind of interaction and its rank, optional for "full"."""
    if fm not in FM_KINDS:
        raise ValueError(
            f"{owner}: `fm` must be one of {list(FM_KINDS)}; received "
            f"fm={fm!r}."
        )
    if fm == "full" and rank is None:
        return fm, None
    return fm, positive_int(owner, "rank", rank)


def check_rank(owner: str, rank: int, n: int) -> None:
    """Raises ValueError if `rank` is above n, the number of embeddings in."""
    if rank > n:
        raise ValueError(
            f"{owner}: `rank` must be between 1 and the number of embeddings "
            f"in ({n}); received rank={rank}."
        )


def removed(owner: str, value) -> tuple[str, ...]:
    """Returns the names of the parts that a layer leaves out."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise ValueError(
            f"{owner}: `remove` must be a sequence of names; received "
            f"remove={value!r}."
        )
    for part in value:
        if part not in REMOVABLE:
            raise ValueError(
                f"{owner}: `remove` must hold some of {list(REMOVABLE)}; "
                f"received remove={list(value)}."
            )
    if {"lcb", "residual"} <= set(value):
        raise ValueError(
            f"{owner}: `remove` must not name both 'lcb' and 'residual', "
            "which would leave no linear path; name 'linear_path' if that is "
            f"meant. Received remove={list(value)}."
        )
    if {"fmb", "linear_path"} <= set(value):
        raise ValueError(
            f"{owner}: `remove` must leave something of the layer; received "
            f"remove={list(value)}."
        )
    return tuple(value)


def embeddings_shape(owner: str, shape) -> tuple[int, int]:
    """Returns (n, d) of an input shape [B, n, d], or raises ValueError."""
    sizes = tuple(shape)  # A backend's shape may not be a tuple.
    known = all(isinstance(size, int | None) for size in sizes)
    if not known or len(sizes) != 3:
        raise ValueError(
            f"{owner}: the input must have shape [batch, embeddings, width]; "
            f"received {shape}."
        )
    _, n, width = sizes
    if n is None or width is None:
        raise ValueError(
            f"{owner}: the number of embeddings and their width must be "
            f"known; received shape {shape}."
        )
    return n, width


def dropout_rate(owner: str, name: str, value) -> float:
    """Returns `value` if it is a rate in [0, 1), else raises ValueError."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 <= value < 1:
        raise ValueError(
            f"{owner}: `{name}` must be in [0, 1); received {name}={value!r}."
        )
    return float(value)


def positive_float(owner: str, name: str, value) -> float:
    """Returns `value` if it is finite and above 0, else raises ValueError."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value < math.inf:
        raise ValueError(
            f"{owner}: `{name}` must be a finite number above 0; received "
            f"{name}={value!r}."
        )
    return float(value)


def norm_dtype(variable_dtype: str) -> str:
    """Returns the dtype of a norm: the variables', but at least float32."""
    return keras.backend.result_type(variable_dtype, "float32")


def copies(initializer):
    """Returns a new initializer with the same configuration."""
    clone = getattr(initializer, "clone", None)
    return clone() if clone else initializer
