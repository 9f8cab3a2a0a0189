"""Checks that the layers' constructors and builds share."""

from collections.abc import Sequence


def positive_int(owner: str, name: str, value) -> int:
    """`value` if it is an integer above 0, else a ValueError naming it."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(
            f"{owner}: `{name}` must be an integer of at least 1; received "
            f"{name}={value!r}."
        )
    return value


def units(owner: str, name: str, value) -> tuple[int, ...]:
    """A sequence of layer sizes as a tuple, or an error that names it."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise ValueError(
            f"{owner}: `{name}` must be a sequence of integers; received "
            f"{name}={value!r}."
        )
    return tuple(positive_int(owner, name, item) for item in value)


def embeddings_shape(owner: str, shape) -> tuple[int, int]:
    """(n, d) of an input shape [B, n, d], or an error that gives it."""
    if not isinstance(shape, list | tuple) or len(shape) != 3:
        raise ValueError(
            f"{owner}: the input must have shape [batch, embeddings, width]; "
            f"received {shape}."
        )
    if shape[1] is None or shape[2] is None:
        raise ValueError(
            f"{owner}: the number of embeddings and their width must be "
            f"known; received shape {shape}."
        )
    return shape[1], shape[2]


def dropout_rate(owner: str, name: str, value) -> float:
    """`value` if it is a rate in [0, 1), else a ValueError naming it."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 <= value < 1:
        raise ValueError(
            f"{owner}: `{name}` must be in [0, 1); received {name}={value!r}."
        )
    return float(value)


def copies(initializer):
    """A fresh initializer of the same configuration, for another weight."""
    clone = getattr(initializer, "clone", None)
    return clone() if clone else initializer
