"""An ONNX graph with an index of its nodes, for rewriting."""

import collections
import copy
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np


class Graph:
    """An index of a graph's nodes by the values that they read and produce.

    Nodes must be changed through its methods, which keep the index current.

    Args:
        proto: an onnx.GraphProto; it is modified in place.
    """

    def __init__(self, proto):
        self.proto = proto
        self._makers: dict[str, Any] = {}
        self._readers: dict[str, list] = collections.defaultdict(list)
        self._constants = {array.name: array for array in proto.initializer}
        self._outputs = {value.name for value in proto.output}
        for node in proto.node:
            self._note(node)

    def _note(self, node):
        for name in node.output:
            self._makers[name] = node
        for name in node.input:
            self._readers[name].append(node)

    def maker(self, name: str, kind: str | None = None):
        """Returns the node that produces `name`; None unless of `kind`."""
        node = self._makers.get(name)
        return node if kind is None or (node and node.op_type == kind) else None

    def readers(self, name: str) -> list:
        """Returns the nodes that read a value."""
        return list(self._readers.get(name, ()))

    def read_once(self, name: str) -> bool:
        """Returns whether exactly one node, and no output, reads a value."""
        return len(self._readers[name]) == 1 and name not in self._outputs

    def nodes(self, kind: str) -> list:
        """Returns the nodes of an operator type."""
        return [node for node in self.proto.node if node.op_type == kind]

    def constant(self, name: str) -> np.ndarray | None:
        """Returns the value of an initializer or Constant node, or None."""
        from onnx import numpy_helper

        if name in self._constants:
            return numpy_helper.to_array(self._constants[name])
        node = self.maker(name, "Constant")
        if node is not None and node.attribute[0].name == "value":
            return numpy_helper.to_array(node.attribute[0].t)
        return None

    def add_constant(self, name: str, value: np.ndarray) -> str:
        """Adds an initializer; returns its name."""
        from onnx import numpy_helper

        name = self._free(name)
        tensor = numpy_helper.from_array(np.ascontiguousarray(value), name)
        self.proto.initializer.append(tensor)
        self._constants[name] = self.proto.initializer[-1]
        return name

    def add(
        self, kind: str, inputs: Sequence[str], output: str, **attributes
    ) -> str:
        """Adds a node that produces `output`; returns `output`."""
        from onnx import helper

        node = helper.make_node(
            kind, list(inputs), [output], name=output, **attributes
        )
        self.proto.node.append(node)
        self._note(self.proto.node[-1])
        return output

    def replace(self, name: str, other: str):
        """Makes all readers of `name`, which is not an output, read `other`."""
        for node in self.readers(name):
            node.input[:] = [other if i == name else i for i in node.input]
            self._readers[other].append(node)
        self._readers[name] = []

    def remove(self, node):
        """Removes a node; its output must then be produced by another."""
        for name in node.output:
            self._makers.pop(name, None)
        for name in set(node.input):
            self._readers[name] = [
                reader for reader in self._readers[name] if reader is not node
            ]
        self.proto.node.remove(node)

    def _free(self, name):
        used = self._constants.keys() | self._makers.keys()
        number, free = 0, name
        while free in used:
            number += 1
            free = f"{name}_{number}"
        return free

    def tidy(self):
        """Removes unused nodes and initializers; sorts nodes topologically."""
        order: dict[int, Any] = {}
        used: set[str] = set()
        for output in self.proto.output:
            for node in self._needed(output.name, set(order)):
                order.setdefault(id(node), node)
        for node in order.values():
            used.update(node.input)
        ordered = [copy.deepcopy(node) for node in order.values()]
        arrays = [
            copy.deepcopy(array)
            for array in self.proto.initializer
            if array.name in used
        ]
        del self.proto.node[:], self.proto.initializer[:]
        del self.proto.value_info[:]
        self.proto.node.extend(ordered)
        self.proto.initializer.extend(arrays)

    def _needed(self, name, done) -> Iterator[Any]:
        """Yields the nodes that compute a value, in topological order."""
        stack = [(self._makers.get(name), False)]
        while stack:
            node, seen = stack.pop()
            if node is None or (id(node) in done and not seen):
                continue
            if seen:
                yield node
                continue
            done.add(id(node))
            stack.append((node, True))
            stack.extend((self._makers.get(i), False) for i in node.input)


def rename(proto, names: dict[str, str]):
    """Renames inputs and outputs of a graph, in place.

    Args:
        proto: an onnx.GraphProto without subgraphs.
        names: old name to new; an intermediate value whose name equals a new
            one is renamed, too.
    """
    within = {array.name for array in proto.initializer}
    within |= {name for node in proto.node for name in node.output}
    used = within | {*names.values()}
    new = {old: name for old, name in names.items() if old != name}
    for name in sorted((within - names.keys()) & {*names.values()}):
        number = next(n for n in itertools.count() if f"{name}:{n}" not in used)
        new[name] = f"{name}:{number}"
    for node in proto.node:
        node.input[:] = [new.get(name, name) for name in node.input]
        node.output[:] = [new.get(name, name) for name in node.output]
    for value in (
        *proto.initializer, *proto.input, *proto.output, *proto.value_info,
    ):  # fmt: skip
        value.name = new.get(value.name, value.name)
