"""How TensorFlow's operators become ONNX's where the converter's way is worse.

tf2onnx calls a handler with its graph, the node and two things not needed
here; the handler replaces the node.
"""

from typing import Any

import numpy as np


def handlers(optimize: bool) -> dict[str, tuple[Any, list]]:
    """Handlers by TensorFlow's name of the operator.

    Args:
        optimize: whether those are among them that only make the graph
            faster and compare large integers exactly.
    """
    found: dict[str, tuple[Any, list]] = {"Log1p": (_log1p, [])}
    if optimize:
        found |= {
            "SelectV2": (_select, []),
            "Less": (_compare("Less"), []),
            "GreaterEqual": (_compare("GreaterOrEqual"), []),
        }
    return found


def _select(graph, node, name, args):
    """A choice as one node, where the converter multiplies and adds."""
    del graph, name, args
    node.type = "Where"


def _compare(kind):
    """A comparison in the inputs' own type; the converter rounds int64."""

    def handler(graph, node, name, args):
        del graph, name, args
        node.type = kind

    return handler


def _log1p(graph, node, name, args):
    """log(1 + x), which ONNX lacks, without its loss for small x.

    With u the float next to 1 + x, log(u) x / (u - 1) makes up for the
    rounding of u; where u is 1, log1p(x) is x.
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
