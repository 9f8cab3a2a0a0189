"""One rule for every value, whichever way it goes to a published version.

Expected scores are those of `predict_rows`, whose rules are the trainer's.
"""

import base64
import math
import os

import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import wukong_tf
from export import tf_examples
from export.client.encode import Encoder
from export.client.grpc_client import GrpcClient
from export.client.retry import ServerError
from export.scoring import Scorer
from tests.export import stand_in
from tests.export.conftest import run_main
from tests.export.run_directories import make_run
from tests.export.server.running import serving
from wukong_tf import runs
from wukong_tf.config import (
    CategoricalFeature,
    FeatureSpec,
    NumericFeature,
    VectorFeature,
    WukongConfig,
)
from wukong_tf.errors import DataError

pytestmark = pytest.mark.slow

NAN, INF = math.nan, math.inf
SPEC = FeatureSpec(
    (
        CategoricalFeature("item", 20),
        CategoricalFeature("shop", 9, oov_id=2),
        CategoricalFeature(
            "city", 12, raw="string", vocabulary=("a", "é"), oov_buckets=5
        ),
        CategoricalFeature("user", 50, raw="int64"),
        CategoricalFeature("age", 6, raw="float", boundaries=(18.0, 30.0)),
        CategoricalFeature("seen", 15, pooling="mean", max_ids=3),
        CategoricalFeature(
            "tags", 40, raw="string", pooling="sum", max_ids=3
        ),
        CategoricalFeature(
            "clicks", 15, pooling="mean", max_ids=3, weights="w"
        ),
        CategoricalFeature(
            "words",
            40,
            raw="int64",
            pooling="sqrtn",
            max_ids=2,
            weights="w2",
        ),
    ),
    (NumericFeature("price", "log1p"), NumericFeature("fee", missing=2.0)),
    (VectorFeature("image", 2),),
)  # fmt: skip
CONFIG = WukongConfig(
    SPEC, embedding_dim=4, num_layers=1, num_fmb=2, num_lcb=2, rank=2,
    mlp_units=(4,), bottom_mlp_units=(4,), head_units=(4,),
)  # fmt: skip
ROW = {
    "item": 3, "shop": 4, "city": "a", "user": 5, "age": 20.0,
    "seen": [1, 2], "tags": ["x"], "clicks": [5, 6], "w": [0.5, 2.0],
    "words": [7], "w2": [1.5], "price": 1.5, "fee": 0.25,
    "image": [1.0, -2.0],
}  # fmt: skip
GONE = object()
HALF = "\ud83d"  # of an emoji
BYTES = b"\xff"
# What is sent, and the plain values that it is read as.
READ = [
    ({}, {}),
    ({"price": GONE, "fee": GONE}, {"price": None, "fee": None}),
    ({"price": None, "fee": NAN}, {"price": None, "fee": 2.0}),
    ({"price": 7}, {"price": 7.0}),
    ({"price": 2**70}, {"price": float(2**70)}),
    ({"age": GONE}, {"age": None}),
    ({"age": NAN}, {"age": None}),
    ({"age": None}, {"age": None}),
    ({"age": INF}, {"age": 31.0}),
    ({"age": -INF}, {"age": 0.0}),
    ({"age": 1e39}, {"age": 31.0}),
    ({"age": -(10**400)}, {"age": 0.0}),
    ({"age": 18}, {"age": 18.0}),
    ({"city": GONE}, {"city": None}),
    ({"city": None}, {"city": None}),
    ({"city": ""}, {"city": None}),
    ({"city": NAN}, {"city": None}),
    ({"city": 259}, {"city": "259"}),
    ({"city": 259.0}, {"city": "259"}),
    ({"city": 2**70}, {"city": str(2**70)}),
    ({"city": True}, {"city": "true"}),
    ({"city": "\U0001f600"}, {"city": "\U0001f600"}),
    ({"city": BYTES}, {"city": BYTES}),
    ({"city": "é".encode()}, {"city": "é"}),
    ({"user": GONE}, {"user": None}),
    ({"user": None}, {"user": None}),
    ({"user": NAN}, {"user": None}),
    ({"user": ""}, {"user": None}),
    ({"user": -1}, {"user": None}),
    ({"user": "259"}, {"user": 259}),
    ({"user": b"259"}, {"user": 259}),
    ({"user": 259.0}, {"user": 259}),
    ({"user": -(2**63)}, {"user": -(2**63)}),
    ({"shop": 9}, {"shop": 2}),
    ({"shop": -1}, {"shop": 2}),
    ({"shop": 2**63 - 1}, {"shop": 2}),
    ({"seen": GONE}, {"seen": []}),
    ({"seen": None}, {"seen": []}),
    ({"seen": []}, {"seen": []}),
    ({"seen": [3, 2, 1, 4, 5]}, {"seen": [3, 2, 1]}),
    ({"seen": [3, 2, 1, 99]}, {"seen": [3, 2, 1]}),
    ({"seen": [4, 0, 0]}, {"seen": [4]}),
    ({"seen": [0, 4, 3, 2]}, {"seen": [4, 3, 2]}),
    ({"tags": GONE}, {"tags": []}),
    ({"tags": [None]}, {"tags": []}),
    ({"tags": ["", "x", None, "y", "z", "x"]}, {"tags": ["x", "y", "z"]}),
    ({"tags": ["x", 7]}, {"tags": ["x", "7"]}),
    ({"tags": [BYTES]}, {"tags": [BYTES]}),
    ({"clicks": None, "w": None}, {"clicks": [], "w": []}),
    ({"clicks": GONE, "w": GONE}, {"clicks": [], "w": []}),
    ({"clicks": [5], "w": [0]}, {"clicks": [5], "w": [0.0]}),
    ({"clicks": [5, 0], "w": [2.0, 0.0]}, {"clicks": [5], "w": [2.0]}),
    (
        {"clicks": [4, 3, 2, 1], "w": [4, 3, 2, 1]},
        {"clicks": [4, 3, 2], "w": [4.0, 3.0, 2.0]},
    ),
    ({"words": ["7", 8], "w2": [1, 2]}, {"words": [7, 8], "w2": [1.0, 2.0]}),
    ({"image": [1, 2]}, {"image": [1.0, 2.0]}),
]  # fmt: skip
NUMBERS = [True, INF, -INF, 1e39, 10**400, "1", [1.0], {"b64": "MQ=="}]
REFUSED = [
    *({"price": value} for value in NUMBERS),
    *({"fee": value} for value in NUMBERS),
    *({"age": value} for value in (True, "30", [20.0])),
    *({"city": value} for value in (HALF, 2.5, 2.0**53, INF, ["a"], {"x": 1})),
    *({"city": {"b64": text}} for text in ("?", "/w", 3)),
    *({"user": v} for v in (2**63, "x5", "07", "+5", " 5", True, 2.5, HALF)),
    *({"user": v} for v in (str(2**63), BYTES, 2.0**53, [5], INF)),
    *({"item": v} for v in (GONE, None, -1, 20, 2**63, 3.0, True, "3", NAN)),
    *({"item": v} for v in ([3], INF, -(2**63) - 1)),
    *({"shop": v} for v in (None, 2**63, 4.0, True, "4")),
    *({"seen": v} for v in (4, "ab", [None], [1.5], [99], [-1], [True], [[1]])),
    *({"tags": v} for v in ("ab", [HALF], [["x"]], [2.5], {"a": 1})),
    *({"w": value} for value in ([0.5], [0.5, 1.0, 1.0], None, GONE, [], 1.0)),
    *(
        {"w": [v, 1.0]}
        for v in (-1.0, NAN, INF, -INF, 1e39, 10**400, None, True, "1", HALF)
    ),
    {"w": [2.0], "clicks": GONE},
    {"w": [2.0], "clicks": []},
    {"w": [1.0, 2.0, 3.0], "clicks": [1, 2, 3, 4]},
    {"w": [1.0, 2.0, 3.0, 4.0], "clicks": [1, 2, 3]},
    {"w2": [1.0, 2.0], "words": [7, None]},
    {"w2": [1.0, 2.0, 3.0], "words": [7, None, 8]},
    *({"image": v} for v in (GONE, None, [1.0], [1.0, 2.0, 3.0], 1.0, "ab")),
    *(
        {"image": [value, 0.0]}
        for value in (None, NAN, INF, -INF, 1e39, 10**400, True, "1", [1.0])
    ),
]  # fmt: skip


def row_of(changes):
    row = {**ROW, **changes}
    return {name: value for name, value in row.items() if value is not GONE}


class Published:
    """A version with all kinds of inputs, and the run that it is of."""

    def __init__(self, folder):
        self.run_dir = make_run(str(folder / "run"), CONFIG)
        # Rows as requests hold them, in place of ids.
        rows = [row_of(read) for _, read in READ if "city" not in read]
        pq.write_table(table(rows), os.path.join(self.run_dir, runs.SAMPLES))
        self.output = folder / "model"
        code, _, error = run_main(
            f"--run_dir={self.run_dir}",
            f"--output={self.output}",
            "--context_features=shop,user",
            "--batch_sizes=1,4",
            "--version=7",
        )
        assert code == 0, error
        self.path = str(self.output / "7")
        self.model = wukong_tf.load_run(self.run_dir)

        self.wanted = self._wanted()

    def _wanted(self):
        """The probability of each case of READ."""
        rows = [row_of(read) for _, read in READ]
        # Bytes and strings are no column together.
        binary = [b"\xff" in (r["city"], *r["tags"]) for r in rows]
        found = np.empty(len(rows))
        texts = np.flatnonzero(np.invert(binary)).tolist()
        for places in (texts, *([n] for n in np.flatnonzero(binary))):
            some = [rows[place] for place in places]
            found[places] = self.model.predict_rows(some)["click"]
        return found.tolist()


def table(rows):
    """Rows as a file of requests holds them; raises if a type cannot."""
    kinds = {"string": pa.binary(), "float": pa.float64()}
    types = {}
    for feature in SPEC.categorical:
        kind = kinds.get(feature.raw or "", pa.int64())
        types[feature.name] = pa.list_(kind) if feature.pooling else kind
        if feature.weights:
            types[feature.weights] = pa.list_(pa.float64())
    types |= {feature.name: pa.float64() for feature in SPEC.numeric}
    types["image"] = pa.list_(pa.float64())
    return pa.table(
        {
            name: pa.array([row.get(name) for row in rows], kind)
            for name, kind in types.items()
        }
    )


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return Published(tmp_path_factory.mktemp("values"))


@pytest.fixture(scope="module", params=["onnx", "saved_model"])
def server(published, request):
    with serving(published.output, engine=request.param) as found:
        yield found


def wire(value):
    """A value as JSON has it."""
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()}
    if isinstance(value, list):
        return [wire(each) for each in value]
    return value


def ways_of(server):
    """Name to a function from rows to the (status, answer) of each way."""

    def rows(rows):
        return server.post("predict", {"instances": rows})

    def columns(rows):
        names = dict.fromkeys(name for row in rows for name in row)
        lists = {name: [row.get(name) for row in rows] for name in names}
        status, answer = server.post("predict", {"inputs": lists})
        if status == 200:
            answer = {
                "predictions": [
                    {"probability": each}
                    for each in answer["outputs"]["probability"]
                ]
            }
        return status, answer

    def candidates(rows):
        inputs = {
            name: [row.get(name) for row in rows]
            for name in ROW
            if name not in ("shop", "user")
        }
        # The context is that of the last row, which is the one looked at.
        inputs |= {
            name: [rows[-1][name]]
            for name in ("shop", "user")
            if name in rows[-1]
        }
        body = {"signature_name": "candidates", "inputs": inputs}
        status, answer = server.post("predict", body)
        if status == 200:
            answer = {
                "predictions": [
                    {"probability": each}
                    for each in answer["outputs"]["probability"]
                ]
            }
        return status, answer

    def regress(rows):
        status, answer = server.post("regress", {"examples": rows})
        if status == 200:
            found = [{"probability": each} for each in answer["results"]]
            answer = {"predictions": found}
        return status, answer

    def classify(rows):
        status, answer = server.post("classify", {"examples": rows})
        if status == 200:
            found = [{"probability": row[1][1]} for row in answer["results"]]
            answer = {"predictions": found}
        return status, answer

    return (rows, columns, regress, classify, candidates)


def test_what_a_server_reads(published, server):
    for (sent, _), want in zip(READ, published.wanted, strict=True):
        sent = {name: wire(value) for name, value in row_of(sent).items()}
        for way in ways_of(server):
            status, answer = way([dict(ROW), sent])
            assert status == 200, (way.__name__, sent, answer)
            got = answer["predictions"][1]["probability"]
            assert got == pytest.approx(want, abs=1e-5), (way.__name__, sent)


def test_what_a_server_refuses(server):
    for changes in REFUSED:
        sent = {name: wire(value) for name, value in row_of(changes).items()}
        name = next(iter(changes))
        for way in ways_of(server):
            status, answer = way([dict(ROW), sent])
            where = (way.__name__, changes, answer)
            assert status == 400, where
            assert repr(name) in answer["error"], where
            if way.__name__ != "candidates" and not (
                way.__name__ == "columns" and changes[name] is GONE
            ):
                assert "row 1" in answer["error"], where


def test_rows_of_a_program_are_refused_alike(published):
    """The trainer's rules, and the client's encoder."""
    encoder = Encoder.from_file(os.path.join(published.path, runs.FEATURES))
    for changes in REFUSED:
        rows = [dict(ROW), row_of(changes)]
        name = next(iter(changes))
        with pytest.raises(ValueError, match=repr(name)) as caught:
            encoder.encode(rows)
        assert "row 1 (from 0)" in str(caught.value)
        if any("b64" in str(value) for value in changes.values()):
            continue
        try:
            published.model.predict_rows(rows)
        except DataError:
            continue
        pytest.fail(f"predict_rows reads {changes}")


def test_what_the_encoder_reads(published):
    encoder = Encoder.from_file(os.path.join(published.path, runs.FEATURES))
    session = onnxruntime.InferenceSession(
        os.path.join(published.path, "onnx", "model.onnx")
    )
    rows = [row_of(sent) for sent, _ in READ]
    (got,) = session.run(["probability"], encoder.encode(rows))
    np.testing.assert_allclose(got, published.wanted, rtol=0, atol=1e-5)


def typed(row, *, file=False):
    """Whether each value has the type of its column in a tf.Example.

    Args:
        row: by column.
        file: whether in a file, which has nulls and float64.
    """
    features = {f.name: f for f in SPEC.categorical}
    kinds = {"string": (str, bytes), "float": (float,)}
    for name, value in row.items():
        feature = features.get(name)
        is_list = name in ("image", "w", "w2") or (feature and feature.pooling)
        if isinstance(value, list) != bool(is_list):
            if not file or value is not None:
                return False
        kind = kinds.get(feature.raw or "", (int,)) if feature else (float,)
        for each in value if isinstance(value, list) else [value]:
            if each is None and file:
                continue
            if type(each) not in kind or each == HALF:
                return False
            if isinstance(each, int) and not -(2**63) <= each < 2**63:
                return False
            if each == 1e39 and not file:
                return False
    return True


def test_tf_examples_and_tensors(published):
    """Straight to the graph, which has to know the rules by itself."""
    with stand_in.running(published.path, "model", 7) as (_, address, _):
        with GrpcClient(address, "model", retries=0) as client:

            def examples(row):
                text = tf_examples.serialize(SPEC, row)
                return client.predict({"inputs": [text]}, "tf_example")

            def tensors(row):
                return client.predict(rectangles(row))

            _straight(published, examples, tensors)


def _straight(published, *ways):
    counts = {way.__name__: [0, 0] for way in ways}
    for way in ways:
        for (sent, _), want in zip(READ, published.wanted, strict=True):
            row = row_of(sent)
            if typed(row) and (way.__name__ == "examples" or fits(row)):
                counts[way.__name__][0] += 1
                got = way(row)["probability"]
                assert got == pytest.approx(want, abs=1e-5), (way, sent)
        for changes in REFUSED:
            row = row_of(changes)
            if typed(row) and (way.__name__ == "examples" or fits(row)):
                counts[way.__name__][1] += 1
                with pytest.raises(ServerError) as caught:
                    way(row)
                said = str(caught.value)
                assert "INVALID_ARGUMENT" in said, (way, changes)
                assert next(iter(changes)) in said, (way, changes)
    for read, refused in counts.values():
        assert read > 15 and refused > 15, counts


def fits(row):
    """Whether a row's lists fit into tensors."""
    sizes = {f.name: f.max_ids for f in SPEC.categorical}
    sizes |= {f.weights: f.max_ids for f in SPEC.categorical if f.weights}
    lists = {n: v for n, v in row.items() if isinstance(v, list)}
    return "image" in row and len(row["image"]) == 2 and all(
        len(value) <= sizes.get(name, 2) for name, value in lists.items()
    )  # fmt: skip


def rectangles(row):
    """A row as arrays, its lists filled up; what it lacks has no rows."""
    found = {}
    columns = {f.name: (f.raw or "int64", f.max_ids) for f in SPEC.categorical}
    columns |= {
        f.weights: ("float", f.max_ids) for f in SPEC.categorical if f.weights
    }
    columns |= {f.name: ("float", None) for f in SPEC.numeric}
    columns["image"] = "float", 2
    kinds = {"string": object, "int64": np.int64, "float": np.float32}
    for name, value in row.items():
        kind, size = columns[name]
        dtype = kinds[kind]
        if size is not None:
            filling = {"string": "", "int64": 0, "float": 0.0}[kind]
            if name == "words":
                filling = -1
            value = value + [filling] * (size - len(value))
        if dtype is object:
            value = (
                [each if isinstance(each, bytes) else each.encode()
                 for each in value]
                if isinstance(value, list)
                else value if isinstance(value, bytes) else value.encode()
            )  # fmt: skip
        found[name] = np.array([value], dtype)
    return found


@pytest.mark.parametrize("engine", ["onnx", "saved_model"])
def test_files(published, engine, tmp_path):
    scorer = Scorer(published.path, engine, 16, None)

    def score(rows):
        source, target = str(tmp_path / "in.parquet"), str(tmp_path / "out")
        pq.write_table(table(rows), source)
        scorer.write(source, target, [], {})
        return pq.read_table(target)["probability"].to_pylist()

    def held(changes):
        """Rows that a file can hold; in one, 0 is no padding."""
        rows = [dict(ROW), row_of(changes)]
        bags = [rows[1].get(name) or () for name in ("seen", "clicks")]
        whole = typed(rows[1], file=True) and "shop" not in changes
        return rows if whole and not any(0 in bag for bag in bags) else None

    pairs = [
        (rows[1], want)
        for (sent, _), want in zip(READ, published.wanted, strict=True)
        if (rows := held(sent))
    ]
    assert len(pairs) > 25
    got = score([row for row, _ in pairs])
    want = [each for _, each in pairs]
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5, err_msg=str(pairs))
    refused = [(changes, held(changes)) for changes in REFUSED]
    assert sum(rows is not None for _, rows in refused) > 15
    for changes, rows in refused:
        if rows is not None:
            try:
                score(rows)
            except DataError as error:
                assert "row 1 " in str(error), changes
                assert next(iter(changes)) in str(error), changes
                continue
            pytest.fail(f"a file of {changes} is read")
