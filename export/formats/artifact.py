"""A file of a version, loaded for comparison with the checkpoint."""

import dataclasses
from collections.abc import Callable

import numpy as np

Columns = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Artifact:
    """A written file, loaded back.

    Args:
        name: name of its format, and of the signature or file in it.
        score: maps input columns to outputs, some or all of the model's.
        refusal: exception that it raises to reject a request.
        takes: encoding of its input rows, one of requests.WAYS. Defaults to
            "raw".
        tolerance: largest allowed difference of a logit or probability.
            Defaults to None, parity's own.
    """

    name: str
    score: Callable[[Columns], Columns]
    refusal: type[Exception]
    takes: str = "raw"
    tolerance: float | None = None
