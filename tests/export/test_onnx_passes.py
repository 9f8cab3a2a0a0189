"""The passes over an ONNX graph, on graphs made by hand."""

import numpy as np
import pytest

from export import onnx_graph, onnx_passes

pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


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


def run(graph, **columns):
    from onnx import helper

    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 18)]
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
    onnx_passes.improve(graph, 18)
    assert onnx_graph.count(graph) == {"MatMul": 2, "Add": 1, "Concat": 1}
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
    onnx_passes.improve(graph, 18)
    assert len(graph.node) == 5


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
        onnx_passes.improve(graph, 18)
        assert len(graph.node) == nodes
        (after,) = run(graph, x=x)
        np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-6)
    graph = graph_of(norm("last"), {"x": ["b", 3]}, "y", constants)
    onnx_passes.improve(graph, 16)
    assert len(graph.node) == 13
