"""Tomorrow's raw file: by predict, by score, and in a notebook, one score."""

import glob
import html
import json
import os
import re

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import wukong_tf
from export import score
from tests.export.conftest import exported
from tests.trainer.cli import SIZES, arguments, run
from tests.trainer.preparation.command import prepared
from wukong_tf.config import encodings
from wukong_tf.errors import DataError

pytestmark = pytest.mark.slow

RECIPE = {
    "label": "clicked",
    "columns": [
        {"name": "user", "source": "user id"},
        {"name": "city", "buckets": 30},
        {"name": "tags", "separator": "|", "longest": 2},
        {"name": "size", "source": "user id", "rule": "log2"},
        {"name": "price", "kind": "numeric"},
        {"name": "image", "kind": "vector", "size": 2, "separator": " "},
    ],
}
SMALL = {
    **SIZES, "batch_size": 100, "epochs": 1, "table_learning_rate": 0.5
}  # fmt: skip
ROWS = 120


def log(rows, seed, users=40):
    """A raw log, all texts."""
    draw = np.random.default_rng(seed)
    user = draw.integers(0, users, rows)
    city = draw.choice(["berlin", "são paulo", "東京", ""], rows)
    return pd.DataFrame(
        {
            "clicked": ((user % 3 == 0) ^ (city == "berlin")).astype(int),
            "user id": np.where(user == 7, "", user.astype(str)),
            "city": city,
            "tags": ["|".join(draw.choice([*"abcd"], n)) for n in user % 5],
            "price": [
                "" if p < 1 else f"{p:.3f}" for p in draw.random(rows) * 9
            ],
            "image": [f"{a:.2f} {b:.2f}" for a, b in draw.random((rows, 2))],
        }
    )


def write(path, frame, **options):
    frame.to_csv(path, index=False, **options)
    return str(path)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A log, its preparation, a run and a version."""
    folder = tmp_path_factory.mktemp("raw_files")
    (folder / "log").mkdir()
    for seed, (split, rows) in enumerate((("train", 900), ("valid", 200))):
        write(folder / "log" / f"{split}.csv", log(rows, seed))
    (folder / "recipe.json").write_text(json.dumps(RECIPE))
    data, run_dir = folder / "data", str(folder / "run")
    recipe = f"--recipe={folder / 'recipe.json'}"
    prepared("csv", folder / "log", data, recipe)
    assert run(*arguments(data_dir=data, run_dir=run_dir, **SMALL)) == 0
    exported(run_dir, folder / "models")
    (version,) = glob.glob(str(folder / "models" / "[0-9]*"))
    tomorrow = log(ROWS, 9, users=50).drop(columns="clicked")
    path = write(folder / "tomorrow.csv", tomorrow)
    return folder, run_dir, version, path, tomorrow


def predict(run_dir, output, *files):
    options = {"mode": "predict", "run_dir": run_dir, "output": output}
    code = run(*arguments(predict_files=files, **options))
    return pq.read_table(output).to_pandas() if code == 0 else code


@pytest.fixture(scope="module")
def wanted(made, tmp_path_factory):
    """By the other route: prepared with the run's vocabularies."""
    _, run_dir, _, path, _ = made
    folder = tmp_path_factory.mktemp("by_ids")
    prepared("csv", path, folder / "ids", f"--vocabularies={run_dir}")
    (ids,) = glob.glob(str(folder / "ids" / "*.parquet"))
    found = predict(run_dir, folder / "scores.parquet", ids)
    assert list(found) == ["probability", "logit"] and len(found) == ROWS
    assert found["logit"].std() > 0.05
    return found


def same(found, wanted):
    np.testing.assert_allclose(found["logit"], wanted["logit"], atol=2e-5)
    np.testing.assert_allclose(
        found["probability"], wanted["probability"], atol=1e-5
    )


def test_predict_reads_it(made, wanted, tmp_path):
    folder, run_dir, _, path, tomorrow = made
    output = tmp_path / "new" / "folder" / "scores.parquet"
    same(predict(run_dir, output, path), wanted)
    forms = [
        write(tmp_path / "a.csv", tomorrow, sep=";"),
        write(tmp_path / "b.tsv.gz", tomorrow, sep="\t"),
        write(tmp_path / "c.csv", tomorrow[tomorrow.columns[::-1]]),
        write(tmp_path / "d.csv", tomorrow.assign(clicked="?", other=1)),
        str(tmp_path / "e.parquet"),
    ]
    numbers = pd.to_numeric(tomorrow["user id"])  # floats with gaps
    tomorrow.assign(
        **{"user id": numbers, "price": pd.to_numeric(tomorrow["price"])}
    ).to_parquet(forms[-1])
    for form in forms:
        same(predict(run_dir, output, form), wanted)
    # Files without rows have no scores, wherever they stand.
    header = write(tmp_path / "header.csv", tomorrow[:0])
    nothing = str(tmp_path / "nothing.csv")
    open(nothing, "w").close()
    found = predict(run_dir, output, header, path, nothing, forms[0])
    same(found, pd.concat([wanted, wanted]))
    assert len(predict(run_dir, output, nothing)) == 0


def test_the_notebook_scores_it(made, wanted):
    folder, run_dir, _, _, tomorrow = made
    size = [int(user or 0) for user in tomorrow["user id"]]
    names = {str(n) if n < 3 else str(int(np.log2(n))) for n in size}
    spec = wukong_tf.FeatureSpec.from_json(
        (folder / "data" / "features.json").read_text()
    )
    words = spec.vocabulary("size")
    places = {name: 3 + words.index(name) for name in names if name in words}
    texts = [str(n) if n < 3 else str(int(np.log2(n))) for n in size]
    rows = pd.DataFrame(
        {
            "user": tomorrow["user id"],
            "city": tomorrow["city"],
            "tags": [tags.split("|") for tags in tomorrow["tags"]],
            # What a rule changed is an id to clients.
            "size": [
                1 if user == "" else places.get(text, 2)
                for user, text in zip(tomorrow["user id"], texts, strict=True)
            ],
            "price": pd.to_numeric(tomorrow["price"]),
            "image": [
                [float(each) for each in text.split()]
                for text in tomorrow["image"]
            ],
        }
    )
    model = wukong_tf.load_run(run_dir)
    found = model.predict_rows(rows, batch_size=50)["click"]
    np.testing.assert_allclose(found, wanted["probability"], atol=1e-5)


@pytest.mark.parametrize("engine", ["onnx", "saved_model"])
def test_a_version_scores_it(made, wanted, tmp_path, engine, capsys):
    _, _, version, path, tomorrow = made
    empty = write(tmp_path / "empty.csv", tomorrow[:0])
    broken = tomorrow.assign(price=["1"] * 70 + ["cheap"] * 50)
    broken = write(tmp_path / "broken.csv", broken)
    output = tmp_path / "scores"
    with pytest.raises(DataError, match="1 of 3 files could not be scored"):
        score.score(
            score.Score(
                version,
                (broken, path, empty),
                str(output),
                engine=engine,
                keep_columns=("user id",),
                batch_size=50,
            )
        )
    said = capsys.readouterr().err
    assert f"{broken}: line 72, column 'price'" in said and "'cheap'" in said
    assert sorted(os.listdir(output)) == ["empty.parquet", "tomorrow.parquet"]
    found = pq.read_table(output / "tomorrow.parquet").to_pandas()
    assert list(found) == ["user id", "probability", "logit"]
    assert found["user id"].tolist() == tomorrow["user id"].tolist()
    same(found, wanted)
    assert len(pq.read_table(output / "empty.parquet")) == 0


def test_a_column_of_strangers_is_said(made, tmp_path, capsys):
    """Not that of a few rows."""
    _, run_dir, version, _, tomorrow = made
    odd = tomorrow.assign(tags=tomorrow["tags"].str.upper())
    path = write(tmp_path / "odd.csv", odd)
    few = write(tmp_path / "few.csv", odd[:4])
    predict(run_dir, tmp_path / "scores.parquet", path, few)
    said = [capsys.readouterr().err]
    score.score(score.Score(version, (path, few), str(tmp_path / "scores")))
    said.append(capsys.readouterr().err)
    for text in said:
        assert text.count("are all out of vocabulary") == 1, text
        assert f"{path}: column 'tags': its first " in text


def test_scores_do_not_replace_what_is_scored(made, tmp_path, capsys):
    _, run_dir, _, _, tomorrow = made
    path = write(tmp_path / "day.csv", tomorrow)
    assert predict(run_dir, path, path) == 2
    assert "is one of --predict_files" in capsys.readouterr().err
    assert len(pd.read_csv(path)) == ROWS


def test_the_report_shows_how(made, tmp_path, capsys):
    _, run_dir, _, _, _ = made
    with open(os.path.join(run_dir, "report", "index.html")) as file:
        page = file.read()
    (program,) = re.findall(r"<pre>(import wukong_tf.*?)</pre>", page, re.S)
    found = {}
    exec(html.unescape(program), found)
    samples = os.path.join(run_dir, "samples.parquet")
    wanted = predict(run_dir, tmp_path / "scores.parquet", samples)
    np.testing.assert_allclose(
        found["probabilities"], wanted["probability"][:2], atol=1e-5
    )


def test_ids_of_another_preparation_are_refused(made, tmp_path, capsys):
    folder, run_dir, version, _, _ = made
    (tmp_path / "log").mkdir()
    for seed, split in enumerate(("train", "valid"), 5):
        write(tmp_path / "log" / f"{split}.csv", log(300, seed, users=20))
    data = tmp_path / "data"
    recipe = f"--recipe={folder / 'recipe.json'}"
    theirs, _ = prepared("csv", tmp_path / "log", data, recipe)
    (train,) = glob.glob(str(data / "train*.parquet"))
    ours = wukong_tf.FeatureSpec.from_json(
        (folder / "data" / "features.json").read_text()
    )
    names = [encodings.name_from_spec(spec) for spec in (theirs, ours)]
    noted = json.loads((folder / "run" / "preparation.json").read_text())
    assert noted == {"preparation": names[1], "data": str(folder / "data")}
    output = tmp_path / "scores"
    features = folder / "data" / "features.json"
    mixed = {
        "features": features,
        "train_files": train,
        "valid_files": train,
        "allow_file_overlap": True,
        **SMALL,
    }
    commands = [
        {"mode": "predict", "predict_files": train, "output": output},
        {"mode": "eval", "data_dir": data},
        {"data_dir": data, **SMALL},
        {**mixed, "run_dir": tmp_path / "new", "init_from": run_dir},
    ]
    for options in commands:
        capsys.readouterr()
        assert run(*arguments(**{"run_dir": run_dir, **options})) == 2
        said = capsys.readouterr().err
        assert all(name in said for name in names), said
    with pytest.raises(DataError, match="must hold ids of") as caught:
        score.score(score.Score(version, (train,), str(output)))
    assert all(name in str(caught.value) for name in names)


def test_what_is_no_log_of_the_recipe_is_refused(made, tmp_path, capsys):
    folder, run_dir, _, _, tomorrow = made
    output = tmp_path / "scores.parquet"
    other = write(tmp_path / "other.csv", tomorrow.drop(columns="city"))
    assert predict(run_dir, output, other) == 2
    assert "other.csv: column 'city' is missing" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["other.csv"]
    os.rename(folder / "run" / "recipe.json", folder / "kept")
    try:
        assert predict(run_dir, output, other) == 2
    finally:
        os.rename(folder / "kept", folder / "run" / "recipe.json")
    assert "raw files need the recipe.json" in capsys.readouterr().err
