"""The passes over an ONNX graph, on graphs made by hand."""

import collections

import numpy as np
import pytest

from export.formats.onnx import passes

pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


def count_nodes(graph):
    """The number of nodes by operator."""
    return collections.Counter(node.op_type for node in graph.node)


def graph_of(nodes, inputs, outputs, constants=()):
    from onnx import TensorProto, helper, numpy_helper

    return helper.make_graph(
        nodes,
        "graph",
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in inputs.items()
        ],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
            for name in outputs
        ],
        [numpy_helper.from_array(value, name) for name, value in constants],
    )


def run(graph, opset=18, **columns):
    from onnx import helper

    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)]
    )
    model.ir_version = 8
    loaded = onnxruntime.InferenceSession(model.SerializeToString())
    return loaded.run(None, columns)


def test_linear_paths_are_folded_and_give_the_same():
    from onnx import helper

    random = np.random.default_rng(6)
    linear, residual = (
        random.normal(size=size).astype(np.float32) for size in ((2, 3), (5, 3))
    )
    nodes = [
        helper.make_node("MatMul", ["l", "x"], ["lx"]),
        helper.make_node("MatMul", ["r", "x"], ["rx"]),
        helper.make_node("Concat", ["f", "lx"], ["both"], axis=1),
        helper.make_node("Add", ["rx", "both"], ["y"]),
    ]
    inputs = {"x": ["b", 3, 4], "f": ["b", 3, 4]}
    graph = graph_of(nodes, inputs, "y", [("l", linear), ("r", residual)])
    x, f = (random.normal(size=(2, 3, 4)).astype(np.float32) for _ in "xf")
    (before,) = run(graph, x=x, f=f)
    passes.improve(graph, 18)
    assert count_nodes(graph) == {"MatMul": 2, "Add": 1, "Concat": 1}
    sizes = [tuple(each.dims) for each in graph.initializer]
    assert sorted(sizes) == [(2, 3), (3, 3)]
    (after,) = run(graph, x=x, f=f)
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-6)


def test_a_linear_path_that_is_read_twice_is_left():
    from onnx import helper

    ones = np.ones((2, 3), np.float32), np.ones((5, 3), np.float32)
    nodes = [
        helper.make_node("MatMul", ["l", "x"], ["lx"]),
        helper.make_node("MatMul", ["r", "x"], ["rx"]),
        helper.make_node("Concat", ["f", "lx"], ["both"], axis=1),
        helper.make_node("Add", ["rx", "both"], ["y"]),
        helper.make_node("Neg", ["lx"], ["z"]),
    ]
    inputs = {"x": ["b", 3, 4], "f": ["b", 3, 4]}
    graph = graph_of(nodes, inputs, "yz", list(zip("lr", ones, strict=True)))
    random = np.random.default_rng(6)
    x, f = (random.normal(size=(2, 3, 4)).astype(np.float32) for _ in "xf")
    before = run(graph, x=x, f=f)
    passes.improve(graph, 18)
    assert len(graph.node) == 5
    for one, other in zip(run(graph, x=x, f=f), before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_another_mean_is_no_layer_norm():
    from onnx import helper

    def norm(axes):
        return [
            helper.make_node("ReduceMean", ["x", axes], ["m"]),
            helper.make_node("Sub", ["x", "m"], ["d"]),
            helper.make_node("Mul", ["d", "d"], ["dd"]),
            helper.make_node("ReduceMean", ["dd", "last"], ["v"]),
            helper.make_node("Add", ["v", "e"], ["ve"]),
            helper.make_node("Sqrt", ["ve"], ["s"]),
            helper.make_node("Reciprocal", ["s"], ["i"]),
            helper.make_node("Mul", ["i", "g"], ["k"]),
            helper.make_node("Mul", ["x", "k"], ["xk"]),
            helper.make_node("Neg", ["m"], ["n"]),
            helper.make_node("Mul", ["n", "k"], ["nk"]),
            helper.make_node("Add", ["nk", "b"], ["nkb"]),
            helper.make_node("Add", ["xk", "nkb"], ["y"]),
        ]

    constants = [
        ("last", np.array([-1])),
        ("first", np.array([0])),
        ("e", np.array(1e-5, np.float32)),
        ("g", np.array([[2.0, 3.0, 4.0]], np.float32)),
        ("b", np.array([[1.0, 0.0, -1.0]], np.float32)),
    ]
    x = np.random.default_rng(7).normal(size=(4, 3)).astype(np.float32)
    for axes, nodes in (("last", 1), ("first", 13)):
        graph = graph_of(norm(axes), {"x": ["b", 3]}, "y", constants)
        (before,) = run(graph, x=x)
        passes.improve(graph, 18)
        assert len(graph.node) == nodes
        (after,) = run(graph, x=x)
        np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-6)
    graph = graph_of(norm("last"), {"x": ["b", 3]}, "y", constants)
    passes.improve(graph, 16)
    assert len(graph.node) == 13


NORM = {  # output to operator and inputs
    "m": ("ReduceMean", ["x", "last"]),
    "d": ("Sub", ["x", "m"]),
    "dd": ("Mul", ["d", "d"]),
    "v": ("ReduceMean", ["dd", "last"]),
    "ve": ("Add", ["v", "e"]),
    "s": ("Sqrt", ["ve"]),
    "i": ("Reciprocal", ["s"]),
    "k": ("Mul", ["i", "g"]),
    "xk": ("Mul", ["x", "k"]),
    "n": ("Neg", ["m"]),
    "nk": ("Mul", ["n", "k"]),
    "nkb": ("Add", ["nk", "b"]),
    "y": ("Add", ["xk", "nkb"]),
}
NORM_CONSTANTS = {
    "last": np.array([-1]),
    "e": np.array(1e-2, np.float32),
    "g": np.array([[2.0, 3.0, 4.0]], np.float32),
    "b": np.array([[1.0, 0.0, -1.0]], np.float32),
    "ee": np.array([[0.1, 0.2, 0.4]], np.float32),
}


def made(nodes, inputs, outputs, constants):
    from onnx import helper

    return graph_of(
        [helper.make_node(op, ins, [out]) for out, (op, ins) in nodes.items()],
        inputs,
        outputs,
        constants.items(),
    )


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"d2": ("Sub", ["z", "m"]), "dd": ("Mul", ["d", "d2"])},
        {"d2": ("Sub", ["z", "m"]), "dd": ("Mul", ["d2", "d"])},
        {"d": ("Sub", ["z", "m"])},
        {"d": ("Sub", ["x", "z"])},
        {"dd": ("Abs", ["d"])},
        {"v": ("ReduceMean", ["d", "last"]), "ve": ("Max", ["v", "e"])},
        {"ve": ("Add", ["v", "ee"])},
        {"ve": ("Max", ["v", "e"])},
        {"c": ("Abs", ["z"]), "ve": ("Add", ["v", "c"])},
        {"n": ("Neg", ["z"])},
        {"k": ("Mul", ["i", "i"])},
        {"k": ("Add", ["i", "g"])},
    ],
)
def test_what_is_nearly_a_layer_norm_gives_the_same(changes):
    """Only what is one becomes one; the rest stays as it was."""
    nodes = {n: v for n, v in changes.items() if n not in NORM}
    order = {}
    for name, node in NORM.items():
        if name in changes:  # after what it reads
            order |= nodes
        order[name] = changes.get(name, node)
    inputs = {"x": ["b", 3], "z": ["b", 3]}
    graph = made(order, inputs, "y", NORM_CONSTANTS)
    random = np.random.default_rng(9)
    x, z = (random.normal(size=(4, 3)).astype(np.float32) for _ in "xz")
    (before,) = run(graph, x=x, z=z)
    passes.improve(graph, 18)
    one = count_nodes(graph).get("LayerNormalization", 0)
    assert one == (not changes)
    (after,) = run(graph, x=x, z=z)
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("axis, keeps", [(-1, 1), (1, 1), (0, 1), (-1, 0)])
def test_axes_may_be_an_attribute(axis, keeps):
    from onnx import helper

    graph = made(NORM, {"x": [3, 3]}, "y", NORM_CONSTANTS)
    for node in graph.node:
        if node.op_type == "ReduceMean":
            del node.input[1]
            node.attribute.append(helper.make_attribute("axes", [axis]))
            node.attribute.append(helper.make_attribute("keepdims", keeps))
    x = np.random.default_rng(3).normal(size=(3, 3)).astype(np.float32)
    (before,) = run(graph, 17, x=x)
    passes.improve(graph, 17)
    one = count_nodes(graph).get("LayerNormalization", 0)
    assert one == (axis != 0 and keeps)
    (after,) = run(graph, 17, x=x)
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-5)


PATHS = {
    "lx": ("MatMul", ["l", "x"]),
    "rx": ("MatMul", ["r", "x"]),
    "both": ("Concat", ["f", "lx"]),
    "y": ("Add", ["both", "rx"]),
}


@pytest.mark.parametrize(
    "changes, axis, folds",
    [
        ({}, 1, True),
        ({"y": ("Add", ["rx", "both"])}, 1, True),
        ({"rx": ("MatMul", ["r", "z"])}, 1, False),
        ({"rx": ("MatMul", ["r", "a"])}, 1, False),
        ({"rx": ("MatMul", ["r4", "x"]), "both": ("Concat", ["lx"])}, 1, False),
        ({"both": ("Concat", ["lx", "f"])}, 1, False),
        ({"lx": ("MatMul", ["r", "x"]), "both": ("Concat", ["lx"])}, 1, False),
        (
            {"both": ("Concat", ["lx", "lx"]), "y": ("Add", ["both", "ry"])},
            2,
            0,
        ),
        ({"lx": ("Abs", ["x"]), "rx": ("MatMul", ["r6", "x"])}, 1, False),
    ],
)
def test_what_is_nearly_a_linear_path_gives_the_same(changes, axis, folds):
    random = np.random.default_rng(6)
    sizes = {"l": (2, 3), "r": (5, 3), "r4": (2, 3), "r6": (6, 3)}
    constants = {
        name: random.normal(size=size).astype(np.float32)
        for name, size in sizes.items()
    }
    constants["ry"] = np.ones((2, 8), np.float32)
    shapes = {"x": ["b", 3, 4], "f": ["b", 3, 4], "z": ["b", 3, 4]}
    shapes["a"] = shapes["z"]
    graph = made({**PATHS, **changes}, shapes, "y", constants)
    from onnx import helper

    for node in graph.node:
        if node.op_type == "Concat":
            node.attribute.append(helper.make_attribute("axis", axis))
    values = {
        name: random.normal(size=(2, 3, 4)).astype(np.float32)
        for name in shapes
    }
    (before,) = run(graph, **values)
    passes.improve(graph, 18)
    names = {name for node in graph.node for name in node.output}
    assert any(name.endswith("/interactions") for name in names) == folds
    (after,) = run(graph, **values)
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("count", [2, 3, 4, 5])
@pytest.mark.parametrize("shape", [[-1, 1], [1, -1]])
def test_columns_are_stacked_from_four_on(count, shape):
    from onnx import helper

    names = "abcde"[:count]
    nodes = {f"{name}1": ("Reshape", [name, "to"]) for name in names}
    nodes["y"] = ("Concat", list(nodes))
    graph = made(
        nodes, {name: ["b"] for name in names}, "y", {"to": np.array(shape)}
    )
    graph.node[-1].attribute.append(helper.make_attribute("axis", 1))
    values = {
        name: np.arange(3, dtype=np.float32) + 10 * place
        for place, name in enumerate(names)
    }
    (before,) = run(graph, **values)
    passes.improve(graph, 18)
    stacked = count >= 4 and shape == [-1, 1]
    assert count_nodes(graph).get("Transpose", 0) == stacked
    (after,) = run(graph, **values)
    np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("order", [["p", "q"], ["q", "p"]])
def test_only_the_same_columns_are_rejoined(axis, order):
    from onnx import helper

    graph = made(
        {"p": ("Split", ["x"]), "j": ("Concat", order), "y": ("Neg", ["j"])},
        {"x": [4, 2]},
        "y",
        {},
    )
    split, join, _ = graph.node
    split.output.append("q")
    split.attribute.append(helper.make_attribute("axis", 1))
    split.attribute.append(helper.make_attribute("num_outputs", 2))
    join.attribute.append(helper.make_attribute("axis", axis))
    x = np.random.default_rng(2).normal(size=(4, 2)).astype(np.float32)
    (before,) = run(graph, x=x)
    passes.improve(graph, 18)
    same = axis == 1 and order == ["p", "q"]
    assert (len(graph.node) == 1) == same
    (after,) = run(graph, x=x)
    np.testing.assert_array_equal(after, before)
