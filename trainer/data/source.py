"""What every reader gives the trainer: rows addressed by epoch and step."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from wukong_tf.config import FeatureSpec

# Column name to rows: ids int32 [B], bags int32 [B, max_ids] padded with 0 and
# their weights float32 [B, max_ids], numbers float32 [B], vectors float32
# [B, size], labels float32 [B] (NaN where a row has none) and weights float32
# [B], groups int64 [B].
Batch = dict[str, np.ndarray]


class Source(Protocol):
    """The rows of one split.

    `batches` is a pure function of its arguments: the same epoch, step and
    batch size give the same rows in every process, so a run resumes by
    number instead of by replay.
    """

    spec: FeatureSpec
    num_rows: int

    def batches(
        self, batch_size: int, *, epoch: int = 0, first_step: int = 0
    ) -> Iterator[Batch]:
        """The batches of one epoch, from `first_step` to its last.

        Every batch has `batch_size` rows but the last, which has the rest.
        """
        ...


def steps_per_epoch(source: Source, batch_size: int) -> int:
    """Number of batches in one epoch of `source`, a short last one too."""
    return -(-source.num_rows // batch_size)
