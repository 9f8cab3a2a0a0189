"""The split of each row, against one pass over all rows of all files."""

import itertools

import numpy as np
import pytest

from trainer.preparation.splitting import (
    FOLDS,
    SPLITS,
    Part,
    Splitter,
    stratified_folds,
)

# Rows of each file, and its split by the rule.
FILES = [(45, "train"), (7, "valid"), (61, "train"), (24, "test")]
ALL = [(53, "all"), (38, "all"), (42, "all")]


def labels_of(files):
    random = np.random.default_rng(4)
    return [(random.random(rows) < 0.3).astype(int) for rows, _ in files]


def cut(rows, size):
    """(first row, row after the last) of shards of at most `size` rows."""
    return [(at, min(at + size, rows)) for at in range(0, rows, size)]


def split(rule, files, size, chunk):
    """The split of each row of each file, by shard and by chunk of rows."""
    labels = labels_of(files)
    shards = [
        (number, labels[number][start:stop])
        for number, (rows, _) in enumerate(files)
        for start, stop in cut(rows, size)
    ]
    parts = [
        Part(
            number,
            files[number][1],
            (int((mine == 0).sum()), int((mine == 1).sum())),
        )
        for number, mine in shards
    ]
    splitter = Splitter(rule, parts)
    found = [[] for _ in files]
    for place, (number, mine) in enumerate(shards):
        for start, stop in cut(len(mine), chunk):
            before = mine[:start]
            each = splitter.assign(
                place,
                mine[start:stop],
                (int((before == 0).sum()), int((before == 1).sum())),
            )
            assert each.dtype == np.int8
            found[number] += [SPLITS[one] for one in each]
    return found


def by_files(files):
    return [[split] * rows for rows, split in files]


def by_every(files):
    """Each 20th train row, counted over all files, is a valid row."""
    counter = itertools.count()
    return [
        [
            "valid"
            if split == "train" and next(counter) % Splitter.EVERY == 0
            else split
            for _ in range(rows)
        ]
        for rows, split in files
    ]


def by_last(files):
    found = [["train"] * rows for rows, _ in files]
    half = files[-1][0] // 2
    found[-1] = ["valid"] * half + ["test"] * (files[-1][0] - half)
    return found


def by_folds(files):
    """The k-th row of a class, over all files, is in the k-th fold's split."""
    labels = labels_of(files)
    counts = [sum(int((each == c).sum()) for each in labels) for c in (0, 1)]
    folds = [iter(each.tolist()) for each in stratified_folds(counts)]
    names = {0: "test", 1: "valid"}
    return [
        [names.get(next(folds[label]), "train") for label in each]
        for each in labels
    ]


@pytest.mark.parametrize("size, chunk", [(100, 100), (9, 100), (20, 7), (1, 1)])
@pytest.mark.parametrize(
    "rule, files, expected",
    [
        ("files", FILES, by_files),
        ("every", FILES, by_every),
        ("last", ALL, by_last),
        ("folds", ALL, by_folds),
    ],
)
def test_rows_are_split_alike_however_they_are_cut(
    rule, files, expected, size, chunk
):
    assert split(rule, files, size, chunk) == expected(files)


@pytest.mark.parametrize("counts", [(137, 42), (20, 9), (10, 0), (0, 3)])
def test_folds_are_stratified(counts):
    for count, folds in zip(counts, stratified_folds(counts), strict=True):
        sizes = np.bincount(folds, minlength=FOLDS)
        assert len(folds) == sizes.sum() == count
        # The first folds have the rows that are left over.
        assert sizes.tolist() == [
            count // FOLDS + (fold < count % FOLDS) for fold in range(FOLDS)
        ]
    again = stratified_folds(counts)
    for one, other in zip(stratified_folds(counts), again, strict=True):
        np.testing.assert_array_equal(one, other)


def test_folds_are_shuffled_by_class():
    zeros, ones = stratified_folds((200, 200))
    assert (np.diff(zeros.astype(int)) < 0).any()
    assert (zeros != ones).any()
