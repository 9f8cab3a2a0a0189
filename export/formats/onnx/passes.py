"""Passes that make an ONNX graph smaller and faster, with the same scores."""

import numpy as np

from export.formats.onnx.graph import Graph

LAYER_NORM_OPSET = 17  # the first that has the operator


def improve(proto, opset: int):
    """Applies all passes to a graph, in place.

    Args:
        proto: an onnx.GraphProto from tf2onnx.
        opset: its opset.
    """
    graph = Graph(proto)
    if opset >= LAYER_NORM_OPSET:
        fuse_layer_norms(graph)
    fold_linear_paths(graph)
    unroll_tensordots(graph)
    rejoin_columns(graph)
    stack_inputs(graph)
    graph.tidy()


def fuse_layer_norms(graph: Graph):
    """Fuses the dozen nodes of each LayerNormalization into one."""
    for last in graph.nodes("Add"):
        norm = _layer_norm(graph, last)
        if norm is None:
            continue
        x, scales, epsilon = norm
        graph.remove(last)
        graph.add(
            "LayerNormalization",
            [x, *scales],
            last.output[0],
            axis=-1,
            epsilon=epsilon,
        )


def _layer_norm(graph, last):
    """Returns (x, [gamma, beta], epsilon) if `last` ends a norm, else None.

    Keras computes x m + (beta - mean m) with m = gamma / sqrt(variance +
    epsilon). A beta of zeros is not in the graph.
    """
    for scaled, shifted in (last.input, reversed(last.input)):
        first = graph.maker(scaled, "Mul")
        second = graph.maker(shifted, "Add")
        beta, lowered = None, shifted
        if second is not None:
            beta, lowered = _constant_and_other(graph, second)
        minus = graph.maker(lowered or "", "Mul")
        if first is None or minus is None:
            continue
        for m in set(first.input) & set(minus.input):
            x = _other(first, m)
            negative = graph.maker(_other(minus, m), "Neg")
            parts = _scale(graph, m)
            if negative is None or parts is None:
                continue
            variance, gamma, epsilon = parts
            mean = negative.input[0]
            # Keras shapes gamma as x, with 1 for all but the last axis.
            rank = graph.constant(gamma).ndim
            if not _are_moments(graph, x, mean, variance, rank):
                continue
            names = [gamma] if beta is None else [gamma, beta]
            sizes = {graph.constant(name).size for name in names}
            if len(sizes) > 1:
                continue
            return x, [_flat(graph, name) for name in names], epsilon
    return None


def _scale(graph, m):
    """Returns (variance, gamma, epsilon) of m as in `_layer_norm`, or None."""
    product = graph.maker(m, "Mul")
    if product is None:
        return None
    gamma, inverse = _constant_and_other(graph, product)
    reciprocal = graph.maker(inverse or "", "Reciprocal")
    root = reciprocal and graph.maker(reciprocal.input[0], "Sqrt")
    total = root and graph.maker(root.input[0], "Add")
    if gamma is None or total is None:
        return None
    epsilon, variance = _constant_and_other(graph, total)
    if epsilon is None or graph.constant(epsilon).size != 1:
        return None
    return variance, gamma, float(graph.constant(epsilon).reshape(()))


def _are_moments(graph, x, mean, variance, rank):
    """Returns whether these are the moments of x over its last axis."""
    if not _is_mean_of(graph, mean, x, rank):
        return False
    square = graph.maker(variance, "ReduceMean")
    product = square and graph.maker(square.input[0], "Mul")
    if product is None or product.input[0] != product.input[1]:
        return False
    distance = graph.maker(product.input[0], "Sub")
    return (
        distance is not None
        and list(distance.input) == [x, mean]
        and _is_mean_of(graph, variance, product.output[0], rank)
    )


def _is_mean_of(graph, mean, x, rank):
    node = graph.maker(mean, "ReduceMean")
    if node is None or node.input[0] != x:
        return False
    attributes = {item.name: item for item in node.attribute}
    if len(node.input) > 1:
        axes = graph.constant(node.input[1])
        axes = [] if axes is None else axes.tolist()
    else:
        axes = list(attributes["axes"].ints) if "axes" in attributes else []
    keeps = attributes["keepdims"].i if "keepdims" in attributes else 1
    return axes in ([-1], [rank - 1]) and keeps == 1


def fold_linear_paths(graph: Graph):
    """Adds the residual's weights to those of the linear compression.

    concat(F, L X) + R X is concat(F + R_1 X, (L + R_2) X), with R_1 and R_2
    the rows of R that are added to F and L X. This saves n_L rows of
    products and n_L rows of additions.
    """
    for total in graph.nodes("Add"):
        for joined, added in (total.input, reversed(total.input)):
            _fold(graph, total, joined, added)


def _fold(graph, total, joined, added):
    concat = graph.maker(joined, "Concat")
    residual = graph.maker(added, "MatMul")
    if concat is None or residual is None or not graph.read_once(joined):
        return
    if [attribute.i for attribute in concat.attribute] != [1]:
        return
    if len(concat.input) != 2 or not graph.read_once(added):
        return
    linear = graph.maker(concat.input[1], "MatMul")
    if linear is None or not graph.read_once(concat.input[1]):
        return
    left = graph.constant(linear.input[0])
    right = graph.constant(residual.input[0])
    same = linear.input[1] == residual.input[1]
    if left is None or right is None or not same:
        return
    if left.ndim != 2 or right.ndim != 2 or len(right) <= len(left):
        return
    rows = len(right) - len(left)
    x, name = linear.input[1], total.output[0]
    upper = graph.add_constant(f"{name}/upper", right[:rows])
    lower = graph.add_constant(f"{name}/lower", left + right[rows:])
    for node in (total, concat, linear, residual):
        graph.remove(node)
    graph.add("MatMul", [upper, x], f"{name}/residual")
    graph.add("MatMul", [lower, x], f"{name}/linear")
    graph.add(
        "Add", [concat.input[0], f"{name}/residual"], f"{name}/interactions"
    )
    graph.add(
        "Concat", [f"{name}/interactions", f"{name}/linear"], name, axis=1
    )


def unroll_tensordots(graph: Graph):
    """Multiplies [..., w] by [w, d] in one MatMul.

    tf2onnx reshapes to [N, w], multiplies and reshapes back, with nodes that
    compute the shape.
    """
    for last in graph.nodes("Reshape"):
        product = graph.maker(last.input[0], "MatMul")
        first = product and graph.maker(product.input[0], "Reshape")
        if first is None or not graph.read_once(product.output[0]):
            continue
        weights = graph.constant(product.input[1])
        shape = graph.constant(first.input[1])
        if weights is None or shape is None or weights.ndim != 2:
            continue
        x = first.input[0]
        if shape.tolist() != [-1, len(weights)]:
            continue
        if not _is_shape_of(graph, last.input[1], x):
            continue
        graph.remove(last)
        graph.add("MatMul", [x, product.input[1]], last.output[0])


def _is_shape_of(graph, name, x):
    """Returns whether a value depends only on x's shape and constants."""
    node = graph.maker(name)
    if node is None or node.op_type not in ("Cast", "Concat", "Gather"):
        return node is not None and (
            node.op_type == "Shape" and node.input[0] == x
        )
    parts = [name for name in node.input if graph.constant(name) is None]
    return bool(parts) and all(_is_shape_of(graph, p, x) for p in parts)


def rejoin_columns(graph: Graph):
    """Removes splits into columns that are concatenated again unchanged."""
    for concat in graph.nodes("Concat"):
        split = graph.maker(concat.input[0], "Split")
        if split is None or list(split.output) != list(concat.input):
            continue
        axes = [
            attribute.i
            for node in (concat, split)
            for attribute in node.attribute
            if attribute.name == "axis"
        ]
        if axes == [1, 1]:
            graph.replace(concat.output[0], split.input[0])


def stack_inputs(graph: Graph):
    """Stacks input columns in three nodes, however many there are.

    Columns [B], each reshaped to [B, 1] and joined to [B, C], are joined to
    [C B] instead, which is reshaped to [C, B] and transposed.
    """
    vectors = {
        value.name
        for value in graph.proto.input
        if len(value.type.tensor_type.shape.dim) == 1
    }
    for concat in graph.nodes("Concat"):
        columns = [graph.maker(name, "Reshape") for name in concat.input]
        axis = [attribute.i for attribute in concat.attribute]
        if axis != [1] or len(columns) < 4 or not all(columns):
            continue
        shapes = [graph.constant(column.input[1]) for column in columns]
        if any(s is None or s.tolist() != [-1, 1] for s in shapes):
            continue
        if not all(column.input[0] in vectors for column in columns):
            continue
        name = concat.output[0]
        graph.remove(concat)
        graph.add(
            "Concat",
            [column.input[0] for column in columns],
            f"{name}/joined",
            axis=0,
        )
        shape = graph.add_constant(
            f"{name}/shape", np.array([len(columns), -1], np.int64)
        )
        graph.add("Reshape", [f"{name}/joined", shape], f"{name}/rows")
        graph.add("Transpose", [f"{name}/rows"], name, perm=[1, 0])


def _constant_and_other(graph, node):
    """Returns the names of a constant input and of the other, or two Nones."""
    for one, other in (node.input, reversed(node.input)):
        if graph.constant(one) is not None:
            return one, other
    return None, None


def _other(node, name):
    one, two = node.input
    return two if one == name else one


def _flat(graph, name):
    value = graph.constant(name)
    if value.ndim == 1:
        return name
    return graph.add_constant(f"{name}/flat", np.reshape(value, -1))
