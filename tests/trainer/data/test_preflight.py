"""What a run looks at before its first step."""

import os
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.trainer.cli import arguments, run
from tests.worlds import clicks, logs, raw_clicks
from trainer.data import preflight
from trainer.data.parquet import ParquetSource
from trainer.data.synthetic import SyntheticLog
from trainer.data.synthetic_source import SyntheticSource
from wukong_tf.config import CategoricalFeature, FeatureSpec
from wukong_tf.errors import ConfigError, DataError
from wukong_tf.rows.bad_values import Count


@pytest.fixture
def folder(tmp_path):
    return clicks.write_log(str(tmp_path / "log"))


def splits(folder, spec=clicks.SPEC, **options):
    return {
        split: ParquetSource(
            [os.path.join(folder, f"{split}.parquet")], spec, **options
        )
        for split in ("train", "valid")
    }


def test_it_says_what_it_saw(folder):
    lines = preflight.check_splits(splits(folder))
    labels = pq.read_table(os.path.join(folder, "train.parquet"))["label"]
    rate = labels.to_numpy().mean()
    assert lines[0] == (
        f"train: 1 files; label rate of the first 1,500 rows: label {rate:.4f}"
    )
    assert lines[1] == (
        "train: ids user 0-39 of 40, item 0-29 of 30, last_item 0-29 of 30"
    )
    assert [line.split(":")[0] for line in lines[2:]] == ["valid", "valid"]


def test_raw_columns_have_no_ids_to_look_at(tmp_path):
    folder = raw_clicks.write_log(str(tmp_path))
    lines = preflight.check_splits(splits(folder, raw_clicks.SPEC))
    assert lines[1] == "train: ids site 1-5 of 6, hour 0-23 of 24"


def test_a_synthetic_log_has_no_files(tmp_path):
    source = SyntheticSource(SyntheticLog(seed=0), "train", 10)
    assert preflight.check_splits({"train": source}) == []


@pytest.mark.parametrize("how", ["link", "copy", "same"])
def test_files_in_two_splits_are_refused(folder, how):
    train = os.path.join(folder, "train.parquet")
    valid = os.path.join(folder, "valid.parquet")
    os.remove(valid)
    if how == "link":
        os.symlink(train, valid)
    elif how == "copy":
        shutil.copy(train, valid)
    found = splits(folder) if how != "same" else None
    if how == "same":
        source = ParquetSource([train], clicks.SPEC)
        found = {"train": source, "valid": source}
    with pytest.raises(ConfigError) as error:
        preflight.check_splits(found)
    text = str(error.value)
    assert "valid split" in text and "--allow_file_overlap" in text
    assert train in text or how == "link"
    assert preflight.check_splits(found, allow_overlap=True)


def test_labels_that_are_all_the_same_are_refused(folder):
    path = os.path.join(folder, "train.parquet")
    data = clicks.columns(300, 0)
    logs.write(path, {**data, "label": 0 * data["label"]})
    with pytest.raises(DataError, match="all labels of column 'label' are 0"):
        preflight.check_splits(splits(folder))


def test_ids_outside_their_tables_are_refused_before_they_are_read(folder):
    path = os.path.join(folder, "train.parquet")
    data = clicks.columns(300, 0)
    data["item"][299] = 30
    logs.write(path, data)
    with pytest.raises(DataError) as error:
        preflight.check_splits(splits(folder))
    text = str(error.value)
    assert "column 'item' has ids from 0 to 30" in text and "30 rows" in text
    lines = preflight.check_splits(splits(folder, bad=Count(1.0)))
    assert "item 0-30 of 30" in lines[1]


def test_the_ids_of_a_column_are_none_of_another_s(tmp_path):
    """Whose names have dots, as its own path has in the file."""
    path = str(tmp_path / "x.parquet")
    columns = {
        "label": [0, 1],
        "user": [1, 2],
        "user.age": [-5, 99],
        "user.tags": [[7], [6, 5]],
        "item": [0, 3],
    }
    pq.write_table(pa.table(columns), path)
    spec = FeatureSpec(
        (
            CategoricalFeature("user", 4),
            CategoricalFeature("user.tags", 9, pooling="sum", max_ids=2),
            CategoricalFeature("item", 4),
        )
    )
    lines = preflight.check_splits({"train": ParquetSource([path], spec)})
    assert (
        lines[1]
        == "train: ids user 1-2 of 4, user.tags 5-7 of 9, item 0-3 of 4"
    )


@pytest.mark.parametrize("name", ["train.csv", "train.tsv", "train.parquet.gz"])
def test_what_must_be_prepared_is_refused_with_the_command(
    folder, name, tmp_path, capsys
):
    path = os.path.join(folder, name)
    shutil.copy(os.path.join(folder, "train.parquet"), path)
    options = {
        "data_dir": folder,
        "train_files": path,
        "run_dir": str(tmp_path / "run"),
    }
    assert run(*arguments(**options)) == 2
    said = capsys.readouterr().err
    assert path in said
    assert "python -m trainer.prepare --dataset=csv" in said
    assert f"--input={folder}" in said


def test_a_split_of_two_formats_is_refused(folder, tmp_path, capsys):
    path = os.path.join(folder, "more.tfrecord")
    open(path, "w").close()
    options = {
        "data_dir": folder,
        "train_files": [os.path.join(folder, "train.parquet"), path],
        "run_dir": str(tmp_path / "run"),
    }
    assert run(*arguments(**options)) == 2
    assert "all Parquet or all TFRecord" in capsys.readouterr().err


def test_a_text_file_without_a_telling_name_gets_the_command_too(folder):
    path = os.path.join(folder, "day_0")
    with open(path, "w") as file:
        file.write("1\t2\t3\n")
    with pytest.raises(DataError, match=r"trainer\.prepare --dataset=csv"):
        ParquetSource([path], clicks.SPEC)


def test_a_file_that_changes_while_it_is_read_is_an_error(folder):
    path = os.path.join(folder, "train.parquet")
    source = ParquetSource([path], clicks.SPEC)
    logs.write(path, clicks.columns(700, 5))
    with pytest.raises(DataError, match="was changed while it was being read"):
        next(source.batches(10))
