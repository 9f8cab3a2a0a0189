"""A split of the synthetic log as a source, and its attainable metrics."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from trainer.data.block_log import SPLITS, BlockLog
from trainer.data.samples import request_table
from trainer.data.source import ALL, Part, part_of
from wukong_tf.config import schema
from wukong_tf.errors import DataError
from wukong_tf.rows import Batch


class SyntheticSource:
    """A split of a synthetic log as a source of the trainer.

    Args:
        log: the log.
        split: "train", "valid" or "test". Every epoch of "train" has new
            rows, so none is repeated; the others have the same rows in every
            epoch.
        num_rows: rows per epoch, 1 or more.
    """

    def __init__(self, log: BlockLog, split: str, num_rows: int):
        schema.check_choice("synthetic source", "split", split, SPLITS)
        schema.check_int("synthetic source", "num_rows", num_rows, 1)
        self.log = log
        self.split = split
        self.num_rows = num_rows
        self.spec = log.spec
        self.lanes = 1

    def sample(self, rows: int) -> pa.Table:
        """Returns the first rows in the form of requests."""
        return request_table(self.spec, next(self.batches(rows)))

    def batches(
        self,
        batch_size: int,
        *,
        epoch: int = 0,
        first_step: int = 0,
        part: Part = ALL,
    ) -> Iterator[Batch]:
        """Returns the batches of one epoch; see `Source.batches`."""
        schema.check_int("synthetic source", "batch_size", batch_size, 1)
        schema.check_int("synthetic source", "epoch", epoch, 0)
        schema.check_int("synthetic source", "first_step", first_step, 0)
        base = epoch * self.num_rows if self.split == "train" else 0
        stop = base + self.num_rows
        starts = range(base + first_step * batch_size, stop, batch_size)
        first, past = part_of(batch_size, part)
        ends = (
            (min(start + first, stop), min(start + past, stop))
            for start in starts
        )
        return (
            self.log.rows(self.split, begin, end - begin)[0]
            for begin, end in ends
        )

    def attainable(self) -> dict[str, dict[str, float]]:
        """Returns the metrics of the true probabilities on epoch 0, by task.

        "auc" and "logloss" are expectations over the labels, in closed form
        over the rows. Models score better on new rows only by chance. For
        conversions, rows are weighted by their probability of a click.

        Raises:
            DataError: the source has one row, on which no AUC is defined.
        """
        if self.num_rows < 2:
            raise DataError(
                "synthetic source: attainable scores need at least 2 rows; "
                f"received num_rows={self.num_rows}."
            )
        true = self.log.probabilities(self.split, 0, self.num_rows)
        labeled = {"conversion": true["click"]}
        return {
            task: {
                "auc": expected_auc(p, labeled.get(task)),
                "logloss": expected_logloss(p, labeled.get(task)),
            }
            for task, p in true.items()
        }


def expected_auc(
    probability: np.ndarray, labeled: np.ndarray | None = None
) -> float:
    """Returns the AUC of `probability` [B] for labels drawn from it.

    It is the expected number of pairs in the right order over that of all:

        sum p_i (1 - p_j) ([p_i > p_j] + [p_i = p_j] / 2) / sum p_i (1 - p_j)

    over i != j, which is the mean AUC up to terms of order 1 / B.

    Args:
        probability: probability of a positive label.
        labeled: probability [B] that a row has a label, which weights its
            pairs. Defaults to None, 1 for all.
    """
    labeled = np.ones_like(probability) if labeled is None else labeled
    values, which = np.unique(probability, return_inverse=True)
    clicks = np.bincount(which, labeled * probability, len(values))
    others = np.bincount(which, labeled * (1 - probability), len(values))
    below = np.cumsum(others) - others
    # Excludes pairs of a row with itself.
    own = (labeled * probability) @ (labeled * (1 - probability))
    right = clicks @ (below + others / 2) - own / 2
    return float(right / (clicks.sum() * others.sum() - own))


def expected_logloss(
    probability: np.ndarray, labeled: np.ndarray | None = None
) -> float:
    """Returns the log loss, in nats, of `probability` for labels drawn from it.

    Args:
        probability: probability [B] of a positive label.
        labeled: probability [B] that a row has a label, which weights it.
            Defaults to None, 1 for all.
    """
    odds = probability / (1 - probability)
    losses = np.log1p(-probability) + probability * np.log(odds)
    return -float(np.average(losses, weights=labeled))
