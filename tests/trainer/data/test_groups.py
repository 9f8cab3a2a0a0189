"""Groups of AUC are raw values, whatever vocabulary their feature has."""

import collections
import csv
import json
import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from tests.trainer import cli
from tests.trainer.preparation import command
from tests.worlds import logs
from trainer.data.parquet import ParquetSource
from trainer.data.tfrecord import TFRecordSource
from wukong_tf.arrow.groups import MISSING_GROUP, groups
from wukong_tf.config import CategoricalFeature, FeatureSpec

KNOWN = ("u1", "u2")
SIZES = ["--model=logistic_regression", "--max_steps=3", "--batch_size=64"]


def plain_group_auc(users, labels, scores):
    """Mean AUC of the users with both labels, by their rows."""
    rows = collections.defaultdict(list)
    for user, label, score in zip(users, labels, scores, strict=True):
        rows[user].append((label, score))
    total = weight = 0.0
    for each in rows.values():
        good = [score for label, score in each if label]
        bad = [score for label, score in each if not label]
        if good and bad:
            wins = sum((g > b) + 0.5 * (g == b) for g in good for b in bad)
            total += len(each) * wins / (len(good) * len(bad))
            weight += len(each)
    return total / weight


def log_of(rows, seed):
    """Users, most of them in no vocabulary, and items of some quality."""
    random = np.random.default_rng(seed)
    users = np.where(
        random.random(rows) < 0.2,
        random.choice(KNOWN, rows),
        [f"new {number}" for number in random.integers(0, 40, rows)],
    ).astype(object)
    users[random.random(rows) < 0.05] = None
    items = random.integers(0, 6, rows)
    chance = 1 / (1 + np.exp(-(items - 2.5)))
    labels = (random.random(rows) < chance).astype(int)
    return pd.DataFrame({"user": users, "item": items, "label": labels})


def trained(folder, data_dir, test):
    """The group AUC of the report, and the scores of the test rows."""
    run = [f"--data_dir={data_dir}", f"--run_dir={folder}/run", *SIZES]
    assert cli.run(*run) == 0
    report = json.loads((folder / "run/report/metrics.json").read_text())
    scores = folder / "scores.parquet"
    predict = ["--mode=predict", f"--predict_files={test}"]
    assert cli.run(*run[:2], *predict, f"--output={scores}") == 0
    table = pq.read_table(scores)
    (logit,) = [name for name in table.column_names if "logit" in name]
    return report["test"]["click"]["group_auc"], table[logit].to_pylist()


@pytest.mark.slow
def test_the_raw_reader_groups_by_raw_values(tmp_path):
    spec = FeatureSpec(
        (
            CategoricalFeature("user", 5, raw="string", vocabulary=KNOWN),
            CategoricalFeature(
                "item", 9, raw="int64", vocabulary=tuple("012345")
            ),
        ),
        group="user",
    )
    logs.write_log(
        tmp_path,
        spec,
        lambda rows, seed: pa.Table.from_pandas(log_of(rows, seed)),
        dict.fromkeys(logs.ROWS, 300),
    )
    test = log_of(300, 2)
    found, logits = trained(tmp_path, tmp_path, tmp_path / "test.parquet")
    users = test["user"].where(test["user"].notna(), "")
    expected = plain_group_auc(users, test["label"], logits)
    assert found == pytest.approx(expected, abs=1e-9)
    # By ids, all new users would be one.
    ids = [user if user in (*KNOWN, "") else "new" for user in users]
    wrong = plain_group_auc(ids, test["label"], logits)
    assert abs(wrong - expected) > 1e-4


@pytest.mark.slow
def test_prepare_keeps_the_raw_groups(tmp_path):
    source, output = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for seed, split in enumerate(("train", "valid", "test")):
        log_of(300, seed).to_csv(
            source / f"{split}.csv", index=False, quoting=csv.QUOTE_MINIMAL
        )
    recipe = {
        "label": "label",
        # Only the two known users come so often.
        "columns": [
            {"name": "user", "min_count": 20},
            {"name": "item", "min_count": 1},
        ],
        "group": "user",
    }
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    recipe_flag = f"--recipe={tmp_path}/recipe.json"
    command.prepared("csv", source, output, recipe_flag)
    spec = json.loads((output / "features.json").read_text())
    assert spec["group"] == "user_group"
    (part,) = output.glob("test*.parquet")
    test = log_of(300, 2)
    users = test["user"].where(test["user"].notna(), "").tolist()
    assert pq.read_table(part)["user_group"].to_pylist() == (
        groups(pa.array(users)).to_pylist()
    )
    found, logits = trained(tmp_path, output, part)
    expected = plain_group_auc(users, test["label"], logits)
    assert found == pytest.approx(expected, abs=1e-9)


def test_equal_values_are_one_group_and_others_are_not():
    words = [f"user {number}" for number in range(5000)]
    words += ["", "0", "-1", "7", "007", "+7", "7.0", str(2**63), str(2**62)]
    found = groups(pa.array(words)).to_pylist()
    assert len(set(found)) == len(words)
    assert groups(pa.array(words[::-1])).to_pylist() == found[::-1]
    assert groups(pa.array(["", None])).to_pylist() == [MISSING_GROUP] * 2
    assert groups(pa.array([b"\xff", b"\xfe"])).to_pylist()[0] >= 2**62


@pytest.mark.parametrize(
    "array",
    [
        pa.array([5, -3, None, 5], pa.int32()),
        pa.array(["5", "-3", None, "5"]),
        pa.array(["5", "-3", "", "5"]).dictionary_encode(),
        pa.array([5.0, -3.0, math.nan, 5.0]),
        pa.chunked_array([pa.array([5, -3]), pa.array([None, 5], pa.int64())]),
    ],
)
def test_an_integer_is_its_own_group_in_any_type(array):
    assert groups(array).to_pylist() == [5, -3, MISSING_GROUP, 5]


def test_large_integers_are_their_own_groups_among_floats():
    numbers = [10**9 + 1, 10**10 + 1, -(10**12), 2**53 - 1]
    assert groups(pa.array(numbers)).to_pylist() == numbers
    floats = pa.array([*map(float, numbers), 0.5, math.inf, math.nan, None])
    found = groups(floats).to_pylist()
    assert found[:4] == numbers and found[6:] == [MISSING_GROUP] * 2
    assert len({*found}) == 7 and min(found[4:6]) >= 2**62


def test_groups_are_read_beside_the_ids_of_their_feature(tmp_path):
    feature = CategoricalFeature("user", 5, raw="string", vocabulary=KNOWN)
    words = ["u1", "x", "y", "x", ""]
    path = str(tmp_path / "rows.parquet")
    table = pa.table({"user": words, "s": words, "label": [0, 1, 0, 1, 0]})
    pq.write_table(table, path)
    record = str(tmp_path / "rows.tfrecord")
    with tf.io.TFRecordWriter(record) as writer:
        for row in table.to_pylist():
            example = tf.train.Example()
            put = example.features.feature
            for name in ("user", "s"):
                put[name].bytes_list.value.append(row[name].encode())
            put["label"].int64_list.value.append(row["label"])
            writer.write(example.SerializeToString())
    expected = groups(pa.array(words)).to_pylist()
    for source in (
        ParquetSource([path], FeatureSpec((feature,), group="user")),
        TFRecordSource([record], FeatureSpec((feature,), group="user")),
    ):
        (batch,) = source.batches(5)
        assert batch["user"].tolist() == [3, 2, 2, 2, 1]
        assert batch["_groups"].tolist() == expected
    # Strings of a column that is no feature are groups too.
    words[-1] = "z"
    pq.write_table(table.set_column(1, "s", pa.array(words)), path)
    (batch,) = ParquetSource(
        [path], FeatureSpec((feature,), group="s")
    ).batches(5)
    assert batch["s"].tolist() == groups(pa.array(words)).to_pylist()
    assert "_groups" not in batch
