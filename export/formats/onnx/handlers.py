"""Handlers that convert TensorFlow operators to ONNX better than tf2onnx's.

tf2onnx calls a handler with its graph, the node and two arguments not needed
here; the handler replaces the node.
"""

from typing import Any

import numpy as np


def handlers(optimize: bool) -> dict[str, tuple[Any, list]]:
    """Returns the handlers by TensorFlow operator name.

    Args:
        optimize: whether to include those that only make the graph faster
            and compare large integers exactly.
    """
    by_operator: dict[str, tuple[Any, list]] = {"Log1p": (_log1p, [])}
    if optimize:
        by_operator |= {
            "SelectV2": (_select, []),
            "Less": (_compare("Less"), []),
            "GreaterEqual": (_compare("GreaterOrEqual"), []),
        }
    return by_operator


def _select(graph, node, name, args):
    """Converts to one Where node; tf2onnx would multiply and add."""
    del graph, name, args
    node.type = "Where"


def _compare(kind):
    """Returns a handler that compares in the inputs' dtype, unrounded."""

    def handler(graph, node, name, args):
        del graph, name, args
        node.type = kind

    return handler


def _log1p(graph, node, name, args):
    """Computes log1p, which ONNX lacks, without loss of precision near 0.

    With u the float closest to 1 + x, log(u) x / (u - 1) corrects for the
    rounding of u; if u is 1, log1p(x) is x.
    """
    del name, args
    (x,) = node.input
    (result,) = node.output
    dtype = graph.get_dtype(result)
    shape = graph.get_shape(result)
    one = graph.make_const(f"{node.name}_one", np.array(1, np.float32)).output[
        0
    ]

    def op(kind, *inputs):
        return graph.make_node(kind, list(inputs)).output[0]

    graph.remove_node(node.name)
    u = op("Add", x, one)
    ratio = op("Div", x, op("Sub", u, one))
    far = op("Mul", op("Log", u), ratio)
    graph.make_node(
        "Where",
        [op("Equal", u, one), x, far],
        outputs=[result],
        shapes=[shape],
        dtypes=[dtype],
    )
