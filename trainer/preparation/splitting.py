"""Divides rows into splits, as a function of position and label."""

import dataclasses
from collections.abc import Sequence

import numpy as np

SPLITS = ("train", "valid", "test")
FOLDS = 10
FOLD_SEED = 2018


@dataclasses.dataclass(frozen=True)
class Part:
    """The counts of a shard, which give the positions of its rows.

    Args:
        file: index of its file in the list of files.
        split: split of the file: "train", "valid", "test" or "all".
        labels: number of rows with label 0, and with label 1.
    """

    file: int
    split: str
    labels: tuple[int, int]


class Splitter:
    """Divides rows into splits.

    Args:
        rule: "files", each file has a split; "folds", files of split "all"
            are divided by label into ten folds, of which the first is the
            test and the second the valid rows, as by scikit-learn's
            StratifiedKFold(10, shuffle=True, random_state=2018) in version
            0.19; "last", the first half of the last file is the valid and
            the second the test rows; "every", as "files", but every 20th
            train row is a valid row.
        parts: counts of all shards, in order.
    """

    EVERY = 20

    def __init__(self, rule: str, parts: Sequence[Part]):
        self.rule = rule
        self.parts = list(parts)
        if rule == "folds":
            self._folds = stratified_folds(
                tuple(
                    sum(part.labels[label] for part in self.parts)
                    for label in (0, 1)
                )
            )

    def assign(
        self, number: int, labels: np.ndarray, before: tuple[int, int]
    ) -> np.ndarray:
        """Returns the split of each row in a chunk of a shard.

        Args:
            number: index of the shard.
            labels: labels of the rows, [N].
            before: number of earlier rows of the shard by label, 0 and 1.

        Returns:
            Indices into SPLITS, int8 [N].
        """
        part = self.parts[number]
        earlier = self.parts[:number]
        if self.rule == "folds":
            folds = np.empty(len(labels), np.int8)
            for label in (0, 1):
                mine = labels == label
                base = sum(p.labels[label] for p in earlier) + before[label]
                folds[mine] = self._folds[label][base : base + mine.sum()]
            # Fold 0 is the test rows, fold 1 the valid rows.
            places = np.array([2, 1] + [0] * (FOLDS - 2), np.int8)
            return places[folds]
        if self.rule == "last" and part.file == self.parts[-1].file:
            same = [p for p in self.parts if p.file == part.file]
            half = sum(sum(p.labels) for p in same) // 2
            row = sum(sum(p.labels) for p in earlier if p.file == part.file)
            rows = row + sum(before) + np.arange(len(labels))
            return np.where(rows < half, 1, 2).astype(np.int8)
        if self.rule == "every" and part.split == "train":
            row = sum(sum(p.labels) for p in earlier if p.split == "train")
            rows = row + sum(before) + np.arange(len(labels))
            return (rows % self.EVERY == 0).astype(np.int8)
        split = "train" if part.split == "all" else part.split
        return np.full(len(labels), SPLITS.index(split), np.int8)


def stratified_folds(counts: Sequence[int]) -> list[np.ndarray]:
    """Returns, per class, the fold of its k-th row, int8 [rows of class]."""
    random = np.random.RandomState(FOLD_SEED)
    folds = []
    for count in counts:
        order = np.arange(count)
        random.shuffle(order)
        sizes = np.full(FOLDS, count // FOLDS)
        sizes[: count % FOLDS] += 1
        fold = np.empty(count, np.int8)
        fold[order] = np.repeat(np.arange(FOLDS), sizes)
        folds.append(fold)
    return folds
