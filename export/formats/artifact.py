"""A file of a version, loaded for comparison with the checkpoint."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from wukong_tf.errors import ExportError

Columns = dict[str, np.ndarray]


class Loaded:
    """What is loaded at its first use, and can be freed and loaded again.

    Args:
        load: loads it.
    """

    def __init__(self, load: Callable[[], Any]):
        self._load = load
        self._value: Any = None

    def get(self) -> Any:
        """Returns what `load` returns, loaded once until it is freed."""
        if self._value is None:
            self._value = self._load()
        return self._value

    def free(self):
        """Closes it, if it can be closed, and drops it."""
        value, self._value = self._value, None
        if hasattr(value, "close"):
            value.close()


@dataclasses.dataclass(frozen=True)
class Artifact:
    """A written file, loaded back at its first use.

    Args:
        name: name of its format, and of the signature or file in it.
        score: maps input columns to outputs, some or all of the model's.
        refusal: exception that it raises to reject a request.
        takes: encoding of its input rows, one of requests.ENCODINGS.
            Defaults to "raw".
        tolerance: largest allowed difference of a logit or probability.
            Defaults to None, parity's own.
        loaded: what `score` loads; artifacts may share it. Defaults to None,
            nothing that could be freed.
    """

    name: str
    score: Callable[[Columns], Columns]
    refusal: type[Exception]
    takes: str = "raw"
    tolerance: float | None = None
    loaded: Loaded | None = None


def check_written(
    where: str, kind: str, expected: dict[str, Any], written: dict[str, Any]
):
    """Raises ExportError if an artifact's inputs or outputs are unexpected.

    Args:
        where: name of the artifact, for the error.
        kind: "inputs" or "outputs".
        expected: name to (dtype, shape).
        written: the same, as read from the artifact.
    """
    if written != expected:
        raise ExportError(
            f"{where}: {kind} must be {expected}; the written file has "
            f"{written}."
        )


def plain_specs(specs) -> dict[str, Any]:
    """Returns TensorSpecs as name to (dtype, shape), None for the batch."""
    return {
        name: (spec.dtype.name, tuple(spec.shape.as_list()))
        for name, spec in specs.items()
    }
