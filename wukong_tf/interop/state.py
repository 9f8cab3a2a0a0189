"""A state dict whose arrays are taken out one by one, with clear errors."""

from collections.abc import Iterator, Mapping

import numpy as np

from wukong_tf.errors import InteropError


class State:
    """The arrays of a state dict that are not read yet.

    Args:
        arrays: arrays by key.
        where: names the state dict in errors.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], where: str):
        self._left = dict(arrays)
        self.where = where

    def __contains__(self, key: str) -> bool:
        return key in self._left

    def __iter__(self) -> Iterator[str]:
        return iter(self._left)

    def shape(self, key: str, axes: int) -> tuple[int, ...]:
        """Returns the shape of an array with `axes` axes, which stays.

        Raises:
            InteropError: there is no such array, or it has other axes.
        """
        array = self._array(key)
        if array.ndim != axes:
            raise InteropError(
                f"{self.where}: {key!r} must have {axes} axes; received shape "
                f"{array.shape}."
            )
        return array.shape

    def take(self, key: str, shape: tuple[int, ...]) -> np.ndarray:
        """Returns and removes an array.

        Raises:
            InteropError: there is no such array, its shape is another, or it
                has other than real floating-point numbers.
        """
        array = self._array(key)
        if array.dtype.kind != "f":
            raise InteropError(
                f"{self.where}: {key!r} must have floating-point numbers; "
                f"received {array.dtype}."
            )
        if array.shape != shape:
            raise InteropError(
                f"{self.where}: {key!r} must have shape {shape}; received "
                f"shape {array.shape}."
            )
        return self._left.pop(key)

    def axes(self, key: str) -> int:
        """Returns the number of axes of an array."""
        return self._left[key].ndim

    def names(self, module: str) -> set[str]:
        """Returns the names of the arrays of a module that are not read."""
        parts = (key.rpartition(".") for key in self._left)
        return {name for key, _, name in parts if key == module}

    def drop(self, module: str) -> None:
        """Removes the arrays of a module."""
        for name in self.names(module):
            del self._left[f"{module}.{name}"]

    def refuse(self, reasons: Mapping[str, str]) -> None:
        """Raises InteropError if there is an array that cannot be converted.

        Args:
            reasons: beginnings of the keys of such arrays, and why.
        """
        for key in self._left:
            for start, reason in reasons.items():
                if key.startswith(start):
                    raise InteropError(
                        f"{self.where}: {key!r} cannot be converted: {reason}."
                    )

    def finish(self) -> None:
        """Raises InteropError if an array is left."""
        if self._left:
            raise InteropError(
                f"{self.where}: keys without a counterpart: "
                f"{_some(self._left)}."
            )

    def _array(self, key):
        if key in self._left:
            return self._left[key]
        for other in self._left:
            if other.endswith(f".{key}"):
                prefix = other.removesuffix(key)
                raise InteropError(
                    f"{self.where}: key {key!r} is missing; received "
                    f"{other!r}: pass prefix={prefix!r}."
                )
        raise InteropError(
            f"{self.where}: key {key!r} is missing; received "
            f"{_some(self._left)}."
        )


def _some(keys):
    """Returns the first few keys as text."""
    names = list(keys)
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return f"{names[:8]}{more}"
