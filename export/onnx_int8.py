"""Matrix products of int8 in an ONNX graph, row by row."""

import numpy as np

from export.onnx_graph import Graph

# Products of 8 by 8 bits overflow on processors without VNNI: weights have 7.
WEIGHT_STEPS = 63
ROW_STEPS = 127
AXES_OPSET = 18  # the first whose ReduceMax takes its axes as an input
_LEAST = np.float32(1e-30)  # scale of a row of zeros


def quantize(proto, opset: int):
    """Makes products x W with constant weights products of integers.

    W has a scale for each column, and x one for each of its rows, which is
    made as the row comes: x_i W = s_i (q_i V) t, with V = round(W / t) and
    q_i = round(x_i / s_i). So a row's product is a function of that row,
    whatever else is in the batch.

    Args:
        proto: an onnx.GraphProto; it is changed in place.
        opset: that it is written in.
    """
    graph = Graph(proto)
    rows: dict[str, tuple[str, str]] = {}
    for kind in ("MatMul", "Gemm"):
        for node in graph.nodes(kind):
            weights = _weights(graph, node)
            if weights is None:
                continue
            x = node.input[0]
            if x not in rows:
                rows[x] = _quantized_rows(graph, x, opset)
            _replace(graph, node, weights, *rows[x])
    graph.tidy()


def _weights(graph, node) -> np.ndarray | None:
    """The constant [K, N] that a product multiplies by, or None."""
    weights = graph.constant(node.input[1])
    if weights is None or weights.ndim != 2:
        return None
    if weights.dtype != np.float32 or graph.constant(node.input[0]) is not None:
        return None
    found = {each.name: each for each in node.attribute}
    if any(found[n].f != 1 for n in ("alpha", "beta") if n in found):
        return None
    if "transA" in found and found["transA"].i:
        return None
    turned = "transB" in found and found["transB"].i
    return weights.T if turned else weights


def _quantized_rows(graph, x, opset) -> tuple[str, str]:
    """Names of q, int8 as x, and of its scales [..., 1]."""
    from onnx import TensorProto

    size = graph.add("Abs", [x], f"{x}/int8/abs")
    if opset >= AXES_OPSET:
        axes = graph.add_constant(f"{x}/int8/axes", np.array([-1], np.int64))
        largest = graph.add(
            "ReduceMax", [size, axes], f"{x}/int8/max", keepdims=1
        )
    else:
        largest = graph.add(
            "ReduceMax", [size], f"{x}/int8/max", axes=[-1], keepdims=1
        )
    step = graph.add_constant(
        f"{x}/int8/step", np.array(1 / ROW_STEPS, np.float32)
    )
    least = graph.add_constant(f"{x}/int8/least", np.array(_LEAST))
    scale = graph.add("Mul", [largest, step], f"{x}/int8/raw_scale")
    scale = graph.add("Max", [scale, least], f"{x}/int8/scale")
    ratio = graph.add("Div", [x, scale], f"{x}/int8/ratio")
    whole = graph.add("Round", [ratio], f"{x}/int8/whole")
    integers = graph.add("Cast", [whole], f"{x}/int8/q", to=TensorProto.INT8)
    return integers, scale


def _replace(graph, node, weights, integers, scale):
    """Puts a product of integers where one of floats was."""
    from onnx import TensorProto

    name = node.output[0]
    bias = list(node.input[2:])
    steps = np.abs(weights).max(axis=0) / WEIGHT_STEPS  # [N]
    steps = np.where(steps > 0, steps, 1).astype(np.float32)
    kept = np.rint(weights / steps).astype(np.int8)
    graph.remove(node)
    kept = graph.add_constant(f"{name}/int8/weights", kept)
    steps = graph.add_constant(f"{name}/int8/steps", steps)
    whole = graph.add("MatMulInteger", [integers, kept], f"{name}/int8/product")
    value = graph.add(
        "Cast", [whole], f"{name}/int8/float", to=TensorProto.FLOAT
    )
    value = graph.add("Mul", [value, scale], f"{name}/int8/of_row")
    if not bias:
        graph.add("Mul", [value, steps], name)
        return
    value = graph.add("Mul", [value, steps], f"{name}/int8/of_column")
    graph.add("Add", [value, *bias], name)
