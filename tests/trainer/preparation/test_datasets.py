"""Small files of each data set's own format, oddities and all."""

import gzip
import json
import math
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
import tensorflow as tf

from tests.trainer.preparation import frappe_files
from tests.trainer.preparation.command import prepared, rows, run, words
from trainer.data.parquet import ParquetSource
from trainer.preparation import datasets
from trainer.preparation.splitting import stratified_folds

DRAW = np.random.default_rng(0)


def assert_trainable(output, spec):
    """The trainer's reader takes every row of every split."""
    for split in ("train", "valid", "test"):
        found = sorted(str(p) for p in output.glob(f"{split}-*.parquet"))
        if found:
            source = ParquetSource(found, spec)
            total = sum(len(b["label"]) for b in source.batches(64))
            assert total == source.num_rows


def criteo_lines(count, seed=0):
    """Lines of Criteo's log: a label, 13 integers, 26 tokens, with gaps."""
    draw = np.random.default_rng(seed)
    lines = []
    for _ in range(count):
        integers = [
            "" if draw.random() < 0.2 else str(int(draw.integers(-2, 40)))
            for _ in range(13)
        ]
        tokens = [
            "" if draw.random() < 0.2 else f"{int(draw.integers(0, 5)):08x}"
            for _ in range(26)
        ]
        lines.append([str(int(draw.integers(0, 2))), *integers, *tokens])
    return lines


def write_tsv(path, lines, end="\n"):
    text = "".join("\t".join(line) + end for line in lines)
    opened = gzip.open if str(path).endswith(".gz") else open
    with opened(path, "wb") as file:
        file.write(text.encode())


def folds_by_hand(labels):
    """scikit-learn 0.19's StratifiedKFold(10, shuffle, 2018), in words."""
    random = np.random.RandomState(2018)
    fold = np.empty(len(labels), int)
    for label in (0, 1):
        mine = np.flatnonzero(labels == label)
        order = np.arange(len(mine))
        random.shuffle(order)
        for number, part in enumerate(np.array_split(order, 10)):
            fold[mine[part]] = number
    return fold


@pytest.mark.parametrize("name", ["train.txt", "train.txt.gz"])
def test_criteo_kaggle(name, tmp_path):
    lines = criteo_lines(700)
    (tmp_path / "in").mkdir()
    write_tsv(tmp_path / "in" / name, lines, "\r\n" if "gz" in name else "\n")
    output = tmp_path / "out"
    spec, manifest = prepared(
        "criteo_kaggle", tmp_path / "in", output, "--shard_mb=1"
    )
    labels = np.array([int(line[0]) for line in lines])
    fold = folds_by_hand(labels)
    want = {
        "test": np.flatnonzero(fold == 0),
        "valid": np.flatnonzero(fold == 1),
        "train": np.flatnonzero(fold > 1),
    }
    assert manifest["split_rule"] == "folds" and manifest["min_count"] == 10

    def changed(text, column):
        if column <= 13 and text and int(text) > 2:
            return str(math.floor(math.log2(int(text))))
        return text

    for split, places in want.items():
        found = rows(output, split)
        assert found["label"] == labels[places].tolist()
        for column, feature in enumerate(spec.categorical, 1):
            raw = [changed(lines[place][column], column) for place in places]
            seen = [changed(lines[p][column], column) for p in want["train"]]
            known = words(spec, feature.name)
            expected = [
                1
                if not text
                else known.index(text)
                if seen.count(text) >= 10
                else 2
                for text in raw
            ]
            assert found[feature.name] == expected, feature.name
    assert_trainable(output, spec)
    # What a rule changed is no raw value; a token is.
    assert [f.raw for f in spec.categorical] == [None] * 13 + ["string"] * 26


def test_criteo_kaggle_as_bars_has_it(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    names = ["Label", *(f"I{i}" for i in range(1, 14))]
    names += [f"C{i}" for i in range(1, 27)]
    for split, count in (("train", 60), ("valid", 20), ("test", 20)):
        lines = criteo_lines(count, len(split))
        # A header that stands there again, as where files were joined.
        body = [names, *lines[:9], names, *lines[9:]]
        text = "".join(",".join(line) + "\n" for line in body)
        (source / f"{split}.csv").write_text(text)
    spec, manifest = prepared(
        "criteo_kaggle", source, tmp_path / "out", "--integer_rule=squared_log"
    )
    assert manifest["rows"] == {"train": 60, "valid": 20, "test": 20}
    assert [each["published"] for each in manifest["inputs"]] == [False] * 3
    values = {int(word) for word in words(spec, "I1") if word}
    assert values <= {-2, -1, 0, 1, 2} | {
        int(math.log(x) ** 2) for x in range(3, 40)
    }


def test_criteo_x1(tmp_path):
    """BARS' csv files: scaled numbers, and tokens that are indices."""
    source = tmp_path / "in"
    source.mkdir()
    names = [f"I{i}" for i in range(1, 14)] + [f"C{i}" for i in range(1, 27)]
    draw = np.random.default_rng(7)
    splits = {}
    for split, count in (("train", 50), ("valid", 20), ("test", 20)):
        numbers = draw.random((count, 13)).round(6)
        tokens = draw.integers(0, 9, (count, 26))
        labels = draw.integers(0, 2, count)
        splits[split] = (labels, numbers, tokens)
        rows_of = zip(labels, numbers, tokens, strict=True)
        lines = [",".join(map(str, (a, *b, *c))) for a, b, c in rows_of]
        text = "\n".join([",".join(["label", *names]), *lines]) + "\n"
        (source / f"{split}.csv").write_text(text)
    output = tmp_path / "out"
    spec, manifest = prepared("criteo_x1", source, output)
    assert manifest["rows"] == {"train": 50, "valid": 20, "test": 20}
    assert manifest["min_count"] == 1
    assert [f.name for f in (*spec.numeric, *spec.categorical)] == names
    _, numbers, tokens = splits["train"]
    for column, feature in enumerate(spec.numeric):
        assert feature.transform == "none"
        assert feature.mean == pytest.approx(numbers[:, column].mean())
        assert feature.stddev == pytest.approx(numbers[:, column].std())
    labels, numbers, tokens = splits["test"]
    found = rows(output, "test")
    assert found["label"] == labels.tolist()
    for column, feature in enumerate(spec.numeric):
        np.testing.assert_allclose(found[feature.name], numbers[:, column])
    for column, feature in enumerate(spec.categorical):
        known = words(spec, feature.name)
        trained = set(map(str, splits["train"][2][:, column]))
        for token, got in zip(
            tokens[:, column], found[feature.name], strict=True
        ):
            want = str(token) if str(token) in trained else None
            assert known[got] == want and (want or got == 2)
    assert_trainable(output, spec)


@pytest.mark.slow
def test_the_folds_of_many_rows_have_the_published_sizes():
    """45,840,617 rows give 36,672,493, 4,584,062 and 4,584,062."""
    ones = 11_745_671  # 25.62 % of them; any count gives these sizes
    folds = stratified_folds((45_840_617 - ones, ones))
    sizes = sum(np.bincount(each, minlength=10) for each in folds)
    assert sizes.sum() == 45_840_617
    assert abs(sizes[0] - 4_584_062) <= 1 and abs(sizes[1] - 4_584_062) <= 1


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_criteo_1tb(ending, tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    days = [criteo_lines(count, count) for count in (50, 40, 31)]
    for number, lines in enumerate(days):
        write_tsv(source / f"day_{number}{ending}", lines)
    output = tmp_path / "out"
    spec, manifest = prepared("criteo_1tb", source, output)
    # The last day is held out, its first half for validation.
    assert manifest["rows"] == {"train": 90, "valid": 15, "test": 16}
    assert sum(f.num_ids - 2 for f in spec.categorical) == 204_184_588
    found = rows(output, "train")
    lines = days[0] + days[1]
    for index, feature in enumerate(spec.categorical, 14):
        assert feature.vocabulary is None and feature.raw == "string"
        buckets = feature.num_ids - 2
        for line, got in zip(lines, found[feature.name], strict=True):
            want = 1
            if line[index]:
                hashed = tf.strings.to_hash_bucket_fast([line[index]], buckets)
                want = 2 + int(hashed[0])
            assert got == want
    numbers = [float(line[1]) for line in lines if line[1]]
    logs = np.sign(numbers) * np.log1p(np.abs(numbers))
    assert spec.numeric[0].mean == pytest.approx(logs.mean())
    assert spec.numeric[0].stddev == pytest.approx(logs.std())
    assert spec.numeric[0].missing == 0.0
    assert [v for v in found["I1"] if v is not None] == numbers
    statistics = manifest["statistics"]["columns"]["I1"]
    assert statistics["missing"] == sum(not line[1] for line in lines)
    assert_trainable(output, spec)


AVAZU = (
    "id,click,hour,C1,banner_pos,site_id,site_domain,site_category,app_id,"
    "app_domain,app_category,device_id,device_ip,device_model,device_type,"
    "device_conn_type,C14,C15,C16,C17,C18,C19,C20,C21"
).split(",")


@pytest.mark.parametrize("name", ["train", "train.gz"])
def test_avazu(name, tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    draw = np.random.default_rng(3)
    lines = [AVAZU]
    for number in range(400):
        hour = f"1410{int(draw.integers(21, 31))}{int(draw.integers(0, 24)):02}"
        rest = [f"v{int(draw.integers(0, 9))}" for _ in AVAZU[3:]]
        lines.append([str(number), str(number % 5 // 4), hour, *rest])
    text = "".join(",".join(line) + "\n" for line in lines)
    opened = gzip.open if name.endswith("gz") else open
    with opened(source / name, "wb") as file:
        file.write(text.encode())
    output = tmp_path / "out"
    spec, manifest = prepared("avazu", source, output)
    assert manifest["rows"] == {"train": 320, "valid": 40, "test": 40}
    names = [f.name for f in spec.categorical]
    assert names == ["hour", "weekday", "weekend", *AVAZU[3:]]
    labels = np.array([int(line[1]) for line in lines[1:]])
    mine = np.flatnonzero(folds_by_hand(labels) == 0)
    found = rows(output, "test")
    for place, row in enumerate(mine):
        time = lines[1 + row][2]
        day = int(time[4:6])
        # 2014-10-21 was a Tuesday.
        weekday = (2 + day - 21) % 7
        assert words(spec, "hour")[found["hour"][place]] == time[6:]
        assert words(spec, "weekday")[found["weekday"][place]] == str(weekday)
        weekend = str(int(weekday in (0, 6)))
        assert words(spec, "weekend")[found["weekend"][place]] == weekend
    assert_trainable(output, spec)


def test_a_time_that_is_none_is_named(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    good = ["1", "0", "14103112", *["x"] * 21]
    bad = ["1", "0", "14103199", *["x"] * 21]
    text = "".join(",".join(each) + "\n" for each in [AVAZU, bad] + [good] * 20)
    (source / "train").write_text(text)
    code, _, err = run("avazu", source, tmp_path / "out")
    assert code == 2
    assert "line 2, column 'hour': must be a time written as %y%m%d%H" in err


@pytest.mark.parametrize("form", ["csv", "libfm"])
def test_frappe(form, tmp_path):
    write = {"csv": frappe_files.write_csv, "libfm": frappe_files.write_libfm}
    source = write[form](tmp_path / "in")
    output = tmp_path / "out"
    spec, _ = prepared("frappe", source, output)
    assert spec.group == "user_group"
    for split, lines in frappe_files.SPLITS.items():
        found = rows(output, split)
        assert found["label"] == [line[0] for line in lines]
        for index, name in enumerate(frappe_files.HEADER[1:], 1):
            known = words(spec, name)
            assert found[name] == [
                known.index(line[index]) if line[index] in known else 2
                for line in lines
            ]
    assert_trainable(output, spec)


@pytest.mark.parametrize("form", ["csv", "libsvm"])
def test_movielens_tags(form, tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    lines = [
        ("1", "5", "17", "3"),
        ("-1", "6", "17", "4"),
        ("1", "5", "8", "3"),
    ]
    for split in ("train", "valid", "test"):
        if form == "csv":
            text = "label,user_id,item_id,tag_id\n"
            text += "".join(",".join(line) + "\n" for line in lines)
        else:
            text = "".join(
                " ".join([line[0], *(f"{v}:1" for v in line[1:])]) + "\n"
                for line in lines
            )
        (source / f"{split}.{form}").write_text(text)
    output = tmp_path / "out"
    spec, _ = prepared("movielens_tags", source, output)
    assert [f.name for f in spec.categorical] == [
        "user_id",
        "item_id",
        "tag_id",
    ]
    found = rows(output, "test")
    assert found["label"] == [1, 0, 1]
    known = words(spec, "tag_id")
    assert [known[i] for i in found["tag_id"]] == ["3", "4", "3"]
    assert_trainable(output, spec)


def test_the_data_set_that_contributors_are_shown(tmp_path, monkeypatch):
    page = Path(__file__).parents[3] / "CONTRIBUTING.md"
    (code,) = re.findall(
        r"```python\n(def _books.*?)```", page.read_text("utf-8"), re.S
    )
    names = dict(vars(datasets))
    exec(compile(code, "CONTRIBUTING.md", "exec"), names)
    monkeypatch.setitem(datasets.KNOWN, "frappe", names["_books"])
    source = tmp_path / "in"
    source.mkdir()
    lines = [
        f"{n % 3},{'n/a' if n % 2 else 'Oslo'},b{n % 4},crime^history,9.5,"
        f"{1 + n % 5}"
        for n in range(40)
    ]
    for split in ("train", "test"):
        text = "\n".join(["reader,city,book,genres,price,rating", *lines])
        (source / f"{split}.csv").write_text(text + "\n")
    output = tmp_path / "out"
    spec, manifest = prepared("frappe", source, output)
    assert manifest["rows"] == {"train": 38, "valid": 2, "test": 40}
    found = rows(output, "test")
    assert found["label"] == [int(n % 5 > 2) for n in range(40)]
    known = words(spec, "city")
    cities = [known[i] for i in found["city"]]
    assert cities == ["Oslo", None] * 20
    known = words(spec, "genres")
    assert [known[i] for i in found["genres"][0][:2]] == ["crime", "history"]
    assert spec.group == "reader_group"
    assert_trainable(output, spec)


def write_vectors(path, keys, kind):
    vectors = DRAW.normal(size=(len(keys), 64)).astype(np.float32)
    with h5py.File(path, "w") as file:
        file["key"] = np.array(keys, kind)
        file["value"] = vectors
    return vectors


@pytest.mark.parametrize("kind", [np.int64, "S8"])
def test_kuaivideo(kind, tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    header = (
        "timestamp,user_id,item_id,is_click,is_like,is_follow,pos_items,"
        "neg_items\n"
    )
    items = list(range(30))
    lines = []
    for number in range(200):
        bag = "^".join(str(each) for each in items[: number % 4])
        bag = f'"{bag}"' if number % 3 else bag  # quoted lists
        long = "^".join(str(number % 30) for _ in range(105))
        lines.append(
            f"9,{number % 3},{number % 30},{number % 2},0,0,{bag},{long}"
        )
    for split in ("train", "test"):
        (source / f"{split}.csv").write_text(header + "\n".join(lines) + "\n")
    vectors = write_vectors(
        source / "item_visual_emb_dim64.h5", items[:25], kind
    )
    output = tmp_path / "out"
    spec, manifest = prepared("kuaivideo", source, output, "--min_count=1")
    assert manifest["rows"] == {"train": 190, "valid": 10, "test": 200}
    pos = next(f for f in spec.categorical if f.name == "pos_items")
    assert (pos.table, pos.max_ids, pos.pooling) == ("item_id", 100, "mean")
    found = rows(output, "test")
    known = words(spec, "item_id")
    for number in range(200):
        bag = [known[i] for i in found["pos_items"][number]]
        assert bag == [str(each) for each in items[: number % 4]]
        assert len(found["neg_items"][number]) == 100  # of 105
        item = number % 30
        want = vectors[item] if item < 25 else np.zeros(64)
        np.testing.assert_array_equal(found["item_visual"][number], want)
    assert rows(output, "valid")["label"] == [
        number % 2 for number in range(0, 200, 20)
    ]
    assert_trainable(output, spec)


def test_without_the_file_of_vectors_there_is_no_such_feature(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    text = "user_id,item_id,cate_id,is_click,timestamp,clicked_items,"
    text += "clicked_categories\n"
    for number in range(60):
        text += f"1,{number % 9},{number % 3},{number % 2},8,1^2^3,0^1^2\n"
    for split in ("train", "test"):
        (source / f"{split}.csv").write_text(text)
    output = tmp_path / "out"
    code, said, err = run("microvideo1.7m", source, output)
    assert code == 0, err
    assert "feature 'item_image' is left out" in said
    features = json.loads((output / "features.json").read_text())
    assert "vector" not in features and features["group"] == "user_id_group"
    tables = {f["name"]: f.get("table") for f in features["categorical"]}
    assert tables["clicked_items"] == "item_id"
    assert tables["clicked_categories"] == "cate_id"


def test_microvideo_with_vectors(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    text = "user_id,item_id,cate_id,is_click,timestamp,clicked_items,"
    text += "clicked_categories\n1,5,0,1,8,,\n1,6,0,0,8,5,0\n"
    for split in ("train", "test"):
        (source / f"{split}.csv").write_text(text)
    vectors = write_vectors(
        source / "item_image_emb_dim64.h5", [6, 5], np.int64
    )
    output = tmp_path / "out"
    spec, _ = prepared("microvideo1.7m", source, output)
    found = rows(output, "test")
    np.testing.assert_array_equal(found["item_image"], vectors[[1, 0]])
    assert found["clicked_items"][0] == []
    assert_trainable(output, spec)


@pytest.mark.parametrize(
    "vectors, words",
    [
        (np.zeros((2, 8)), "(2, 64); it has (2, 8)"),
        (np.eye(2, 64) * 1e20, "vector 0 (from 0) must be of numbers in [-2**"),
    ],
)
def test_vectors_that_break_their_rule_are_refused(vectors, words, tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    text = "user_id,item_id,cate_id,is_click,timestamp,clicked_items,"
    text += "clicked_categories\n1,5,0,1,8,,\n1,6,0,0,8,5,0\n"
    for split in ("train", "test"):
        (source / f"{split}.csv").write_text(text)
    with h5py.File(source / "item_image_emb_dim64.h5", "w") as file:
        file["key"] = np.arange(2)
        file["value"] = vectors
    code, _, err = run("microvideo1.7m", source, tmp_path / "out")
    assert code == 2 and words in err


def test_taobaoad(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    names = ["clk", "btag_his", "cate_his", "brand_his", *datasets._TAOBAO]
    names.insert(-2, "price")
    draw = np.random.default_rng(5)
    lines = [",".join(names)]
    prices = []
    for number in range(100):
        prices.append(float(draw.exponential(50)))
        row = {name: str(int(draw.integers(0, 3))) for name in names}
        row |= {
            "clk": str(number % 2),
            "price": repr(prices[-1]),
            "btag_his": "^".join(["1"] * (number % 60)),
            "cate_his": "2^1",
            "brand_his": "",
        }
        lines.append(",".join(row[name] for name in names))
    for split in ("train", "test"):
        (source / f"{split}.csv").write_text("\n".join(lines) + "\n")
    output = tmp_path / "out"
    spec, _ = prepared("taobaoad", source, output)
    assert spec.group == "userid_group" and [f.name for f in spec.numeric] == [
        "price"
    ]
    found = rows(output, "test")
    np.testing.assert_allclose(found["price"], prices, rtol=1e-6)
    assert [len(bag) for bag in found["btag_his"]] == [
        min(number % 60, 50) for number in range(100)
    ]
    known = words(spec, "cate_id")
    assert [known[i] for i in found["cate_his"][0]] == ["2", "1"]
    assert found["brand_his"][0] == []
    assert_trainable(output, spec)


@pytest.mark.parametrize("name", sorted(datasets.KNOWN))
def test_files_that_are_not_there_are_named(name, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "readme.md").write_text("x")
    code, _, err = run(name, tmp_path / "in", tmp_path / "out")
    assert code == 2
    assert f"files of {name} are missing" in err
    assert "The directory has readme.md" in err
    assert not (tmp_path / "out").exists()


def test_published_files_are_known_by_their_md5(tmp_path, monkeypatch):
    import hashlib

    source = frappe_files.write_csv(tmp_path / "in")
    digest = hashlib.md5((source / "test.csv").read_bytes()).hexdigest()
    known = datasets.dataset("frappe")
    known.forms[0].md5["test.csv"] = digest
    monkeypatch.setitem(datasets.KNOWN, "frappe", lambda: known)
    code, said, err = run("frappe", source, tmp_path / "out")
    assert code == 0, err
    assert "test.csv is the published file" in said
    assert "train.csv is not the published file" in said
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert [each["published"] for each in manifest["inputs"]] == [
        False,
        False,
        True,
    ]
