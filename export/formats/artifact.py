"""A file of a version, loaded back."""

import dataclasses
from collections.abc import Callable

import numpy as np

Columns = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Artifact:
    """A written file, loaded back.

    Args:
        name: of its format, and of its signature or file there.
        score: from the columns that it takes to its outputs, some or all of
            those that the model has.
        refusal: the exception by which it refuses a request.
        takes: what rows become on their way to it, one of requests.WAYS.
            Defaults to "raw".
        tolerance: largest difference of a logit or probability that it may
            have. Defaults to None, parity's own.
    """

    name: str
    score: Callable[[Columns], Columns]
    refusal: type[Exception]
    takes: str = "raw"
    tolerance: float | None = None
