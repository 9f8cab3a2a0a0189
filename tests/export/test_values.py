"""One rule for every value, whichever way it goes to a published version.

Expected scores are those of `predict_rows`, whose rules are the trainer's.
"""

import base64
import json
import math
import os

import grpc
import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tensorflow_serving.apis import (
    prediction_service_pb2_grpc,
    regression_pb2,
)

import wukong_tf
from export.client.encode import Encoder
from export.client.grpc_client import GrpcClient
from export.client.retry import ServerError
from export.served import requests, tf_examples
from export.version import engines
from export.version.published import read as read_version
from export.version.scorer import Scorer
from tests.export import stand_in
from tests.export.conftest import exported
from tests.export.server.running import serving
from tests.worlds import small_models
from tests.worlds.served import make_run
from wukong_tf import runs
from wukong_tf.config import (
    CategoricalFeature,
    FeatureSpec,
    NumericFeature,
    VectorFeature,
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
CONFIG = small_models.wukong(
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
    ({"price": 2**63}, {"price": 2.0**63}),
    ({"fee": -(2**63)}, {"fee": -(2.0**63)}),
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
    ({"user": b"", "city": b""}, {"user": None, "city": None}),
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
    ({"tags": [True, 259.0]}, {"tags": ["true", "259"]}),
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
    ({"words": [None, 7], "w2": [None, 2]}, {"words": [7], "w2": [2.0]}),
    ({"w": [2**53, 1]}, {"w": [2.0**53, 1.0]}),
    ({"image": [1, 2]}, {"image": [1.0, 2.0]}),
    ({"image": [2**63, 0]}, {"image": [2.0**63, 0.0]}),
]  # fmt: skip
NO_NUMBERS = [True, "1", "", HALF, BYTES, [1.0], {"b64": "MQ=="}]
NUMBERS = [*NO_NUMBERS, INF, -INF, 1e39, 10**400, 2**70, 9.3e18]
NO_IDS = [*NO_NUMBERS, INF, 3.0, 2**63, -(2**63) - 1]
REFUSED = [
    *({"price": value} for value in NUMBERS),
    *({"fee": value} for value in NUMBERS),
    *({"age": value} for value in NO_NUMBERS),
    *({"city": value} for value in (HALF, 2.5, 2.0**53, INF, ["a"], {"x": 1})),
    *({"city": {"b64": text}} for text in ("?", "/w", 3)),
    *({"user": v} for v in (2**63, "x5", "07", "+5", " 5", True, 2.5, HALF)),
    *({"user": v} for v in (str(2**63), BYTES, 2.0**53, [5], INF)),
    *({"item": value} for value in (*NO_IDS, GONE, None, NAN, -1, 20)),
    *({"shop": value} for value in (*NO_IDS, None, NAN)),
    *({"seen": value} for value in (4, "ab")),
    *({"seen": [value]} for value in (*NO_IDS, None, NAN, 99, -1)),
    {"seen": [1, 2, 99, 3]},
    *({"tags": v} for v in ("ab", [HALF], [["x"]], [2.5], [INF], {"a": 1})),
    {"tags": [{"b64": "?"}]},
    *({"words": [v]} for v in (2**63, True, 2.5, HALF, BYTES, "x", INF, [7])),
    *({"w": value} for value in ([0.5], [0.5, 1.0, 1.0], None, GONE, [], 1.0)),
    *({"w": [value, 1.0]} for value in (*NUMBERS, None, NAN, -1.0, 1e16)),
    {"w": [2.0], "clicks": GONE},
    {"w": [2.0], "clicks": []},
    {"w": [1.0, 2.0, 3.0], "clicks": [1, 2, 3, 4]},
    {"w": [1.0, 2.0, 3.0, 4.0], "clicks": [1, 2, 3]},
    {"w2": [1.0, 2.0], "words": [7, None]},
    {"w2": [1.0, 2.0, 3.0], "words": [7, None, 8]},
    *({"image": v} for v in (GONE, None, [1.0], [1.0, 2.0, 3.0], 1.0, "ab")),
    *({"image": [value, 0.0]} for value in (*NUMBERS, None, NAN)),
]  # fmt: skip
ENGINES = ["onnx", pytest.param("saved_model", marks=pytest.mark.full)]


def row_of(changes):
    row = {**ROW, **changes}
    return {name: value for name, value in row.items() if value is not GONE}


class Published:
    """A version with all kinds of inputs, and the run that it is of."""

    def __init__(self, folder, formats):
        self.run_dir = make_run(str(folder / "run"), CONFIG)
        # Rows as requests hold them, in place of ids.
        rows = [row_of(read) for _, read in READ[:4]]
        pq.write_table(table(rows), os.path.join(self.run_dir, runs.SAMPLES))
        self.output = folder / "model"
        exported(
            self.run_dir,
            self.output,
            "--context_features=shop,user",
            f"--format={formats}",
            "--batch_sizes=1",
            "--version=7",
        )
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
def of_onnx(tmp_path_factory):
    return Published(tmp_path_factory.mktemp("values"), "onnx")


@pytest.fixture(scope="module")
def of_graphs(tmp_path_factory):
    return Published(tmp_path_factory.mktemp("values"), "saved_model")


@pytest.fixture(scope="module", params=ENGINES)
def published(request):
    of = "of_onnx" if request.param == "onnx" else "of_graphs"
    return request.param, request.getfixturevalue(of)


@pytest.fixture(scope="module")
def server(published):
    engine, version = published
    with serving(version.output, engine=engine, with_grpc=True) as found:
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
    for (sent, _), want in zip(READ, published[1].wanted, strict=True):
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


def culprit(changes):
    """The input to blame where a null among weighted ids is refused."""
    if None in (changes.get("words") or ()):
        return "words"
    return next(iter(changes), None)


def test_rows_of_a_program_are_refused_alike(of_onnx):
    """The trainer's rules, and the client's encoder."""
    encoder = Encoder.from_file(os.path.join(of_onnx.path, runs.FEATURES))
    huge = 10**5000  # more digits than Python writes
    names = ("price", "city", "user", "item", "shop")
    for changes in [*REFUSED, *({name: huge} for name in names)]:
        rows = [dict(ROW), row_of(changes)]
        with pytest.raises(ValueError, match=repr(next(iter(changes)))) as read:
            encoder.encode(rows)
        assert "row 1 (from 0)" in str(read.value), changes
        with pytest.raises(DataError, match=repr(culprit(changes))) as caught:
            of_onnx.model.predict_rows(rows)
        assert "row 1 (from 0)" in str(caught.value), changes


def test_what_the_encoder_reads(of_onnx):
    encoder = Encoder.from_file(os.path.join(of_onnx.path, runs.FEATURES))
    session = onnxruntime.InferenceSession(
        os.path.join(of_onnx.path, "onnx", "model.onnx")
    )
    rows = [row_of(sent) for sent, _ in READ]
    (got,) = session.run(["probability"], encoder.encode(rows))
    np.testing.assert_allclose(got, of_onnx.wanted, rtol=0, atol=1e-5)


def test_numbers_of_a_program_are_read_alike(of_onnx):
    """Of any type, also in a column of other numbers."""
    names = {"price", "fee", "age", "image", "w"}
    cases = [
        (sent, want)
        for (sent, _), want in zip(READ, of_onnx.wanted, strict=True)
        if sent.keys() <= names
    ]
    assert len(cases) > 10
    rows = [row_of(sent) for sent, _ in cases]
    got = of_onnx.model.predict_rows(rows)["click"]
    want = [each for _, each in cases]
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)


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


@pytest.mark.full
def test_tf_examples_and_tensors(of_graphs):
    """Straight to the graph, which has to know the rules by itself."""
    with stand_in.running(of_graphs.path, "model", 7) as (_, address, _):
        with GrpcClient(address, "model", retries=0) as client:

            def examples(row):
                text = tf_examples.serialize(SPEC, row)
                return client.predict({"inputs": [text]}, "tf_example")

            def tensors(row):
                return client.predict(rectangles(row))

            _straight(of_graphs, examples, tensors)


def test_tensors_and_examples_of_a_server(published, server):
    """Through the server's doors for tensors, by JSON, raw bytes and gRPC."""
    address = f"127.0.0.1:{server.grpc_port}"
    with GrpcClient(address, "model", retries=0) as client:

        def inferred(row):
            return _infer(server, row, raw=False)

        def inferred_raw(row):
            return _infer(server, row, raw=True)

        def tensors(row):
            return client.predict(rectangles(row))

        def examples(row):
            return _regress(address, row)

        _straight(published[1], inferred, inferred_raw, tensors, examples)


def _infer(server, row, raw):
    """The answer to one row over the Open Inference Protocol."""
    types = {"O": "BYTES", "i": "INT64", "f": "FP32"}
    inputs, tail = [], b""
    for name, array in rectangles(row).items():
        tensor = {"name": name, "shape": list(array.shape)}
        tensor["datatype"] = types[array.dtype.kind]
        if raw:
            octets = array.tobytes()
            if array.dtype == object:
                octets = b"".join(
                    len(each).to_bytes(4, "little") + each
                    for each in array.ravel()
                )
            tensor["parameters"] = {"binary_data_size": len(octets)}
            tail += octets
        else:
            tensor["data"] = wire(array.tolist())
        inputs.append(tensor)
    head = json.dumps({"inputs": inputs}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))} if raw else {}
    path = "/v2/models/model/infer"
    status, answer = server.ask("POST", path, head + tail, headers)
    if status != 200:
        assert status == 400, answer
        raise ServerError(f"INVALID_ARGUMENT: {answer['error']}")
    return {each["name"]: each["data"][0] for each in answer["outputs"]}


def _regress(address, row):
    """The answer to one row as a tf.Example over gRPC."""
    asked = regression_pb2.RegressionRequest()
    asked.model_spec.name = "model"
    text = tf_examples.serialize(SPEC, row)
    asked.input.example_list.examples.add().ParseFromString(text)
    with grpc.insecure_channel(address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        try:
            reply = stub.Regress(asked)
        except grpc.RpcError as error:
            said = f"{error.code().name}: {error.details()}"
            raise ServerError(said) from error
    return {"probability": reply.result.regressions[0].value}


def _straight(version, *ways):
    counts = {way.__name__: [0, 0] for way in ways}
    for way in ways:
        for (sent, _), want in zip(READ, version.wanted, strict=True):
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
            if name == "w":  # whose ids may be more; 0 would be a weight
                filling = NAN
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


LIMIT = float(np.finfo(np.float32).max)
SIZES = [0.0, -0.0, 1e-45, 1e-39, 1e-30, 1e3, 1e8, 1e12, 2.0**53]
LARGE = [1e16, 1e18, 2.0**63]  # too large for a weight


@pytest.mark.full
def test_numbers_of_any_size_have_one_score(of_onnx, of_graphs):
    """Of both engines, as far as the rule goes."""
    sizes = [sign * s for s in SIZES + LARGE for sign in (1, -1)]
    changes = [
        *({"age": s} for s in (*sizes, 1e20, 3e38, LIMIT, -LIMIT)),
        *({name: s} for name in ("price", "fee") for s in sizes),
        *({"image": [s, t]} for s in sizes for t in (-1.0, abs(s))),
        *({"w": [s, t]} for s in SIZES for t in (s, 1.0)),
        # Squares of smaller ones are lost or not, as an engine has it.
        *({"w2": [s]} for s in SIZES if s < 1e-30 or s > 1e-18),
    ]
    encoder = Encoder.from_file(os.path.join(of_onnx.path, runs.FEATURES))
    columns = encoder.request([row_of(change) for change in changes])
    one, other = (
        engines.load(read_version(version.path), name, None).run(
            "serving_default", columns
        )["logit"]
        for name, version in (("onnx", of_onnx), ("saved_model", of_graphs))
    )
    np.testing.assert_allclose(one, other, 0, 1e-4, err_msg=str(changes))


@pytest.mark.filterwarnings("error")
def test_a_huge_number_of_a_file_is_infinite():
    rows = table([row_of({"age": 1e39}), row_of({"age": -1e39})])
    found = requests.raw_columns(SPEC, rows)
    assert found["age"].tolist() == [INF, -INF]


def test_files(published, tmp_path):
    engine, version = published
    scorer = Scorer(read_version(version.path), engine, 16, None)

    def score(rows):
        source, target = str(tmp_path / "in.parquet"), str(tmp_path / "out")
        pq.write_table(table(rows), source)
        scorer.write(source, target, [], {})
        return pq.read_table(target)["probability"].to_pylist()

    def held(changes):
        """Rows that a file can hold, where a 0 in a bag is not padding."""
        rows = [dict(ROW), row_of(changes)]
        bags = [rows[1].get(name) or () for name in ("seen", "clicks")]
        whole = typed(rows[1], file=True) and "shop" not in changes
        return rows if whole and not any(0 in bag for bag in bags) else None

    pairs = [
        (rows[1], want)
        for (sent, _), want in zip(READ, version.wanted, strict=True)
        if (rows := held(sent)) and culprit(sent) != "words"
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
                assert repr(culprit(changes)) in str(error), changes
                continue
            pytest.fail(f"a file of {changes} is read")
