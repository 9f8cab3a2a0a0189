"""Chooses bugs to put into modules, from the seed and the source only."""

import ast
import collections
import dataclasses
import difflib
import fnmatch
import hashlib
from collections.abc import Iterator

from cosmic_ray import plugins
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code

# `==` and `is` agree on the small integers and interned strings of CPython.
LEFT_OUT = ("*Comparison*_Is", "*Comparison*_IsNot")
KEPT = ("*_Is_IsNot", "*_IsNot_Is")
# The nodes that the most numerous operators change, which saves asking them
# about all others.
NODES = {
    "binary_operator_replacement": "operator",
    "comparison_operator_replacement": "comparison",
}


@dataclasses.dataclass(frozen=True)
class Mutant:
    """A module with one bug.

    Args:
        path: of the module, from the root.
        line: first line that differs.
        was: the lines that differ, as they are.
        becomes: as the bug makes them.
        key: its name, which stays when lines around it move.
        code: the module's text with the bug.
        diff: from the module to `code`.
    """

    path: str
    line: int
    was: str
    becomes: str
    key: str
    code: str
    diff: str


@dataclasses.dataclass(frozen=True)
class Site:
    """A place in a module that operators can change.

    Args:
        rank: from its text and the seed; the lowest are the sample.
        path: of the module.
        operators: names and occurrences, in the order to be tried.
    """

    rank: str
    path: str
    operators: tuple[tuple[str, int], ...]


def sites(path: str, text: str, seed: int) -> list[Site]:
    """Returns the places of a module, each with its operators.

    A place counts once, however many operators change it; annotations and
    calls of `main` count for nothing.
    """
    ignored = list(_ignored(ast.parse(text)))
    lines = text.splitlines()
    nodes = list(ast_nodes(get_ast(text)))
    places = collections.defaultdict(list)
    for name, operator in _operators().items():
        count = 0
        kind = NODES.get(type(operator).__module__.rpartition(".")[2])
        for node in nodes:
            if kind and node.type != kind:
                continue
            for start, _ in operator.mutation_positions(node):
                if not _is_marker(node) and not any(
                    low <= start < high for low, high in ignored
                ):
                    places[start].append((name, count))
                count += 1
    seen: collections.Counter = collections.Counter()
    found = []
    for (line, column), operators in sorted(places.items()):
        source = lines[line - 1]
        column -= len(source) - len(source.lstrip())
        name = f"{seed} {path} {column} {source.strip()}"
        seen[name] += 1
        name += f" {seen[name]}"
        operators.sort(key=lambda each: _digest(f"{name} {each[0]}"))
        found.append(Site(_digest(name), path, tuple(operators)))
    return found


def mutant(site: Site, text: str) -> Mutant | None:
    """Returns the module with the site's bug; None if none compiles."""
    for name, occurrence in site.operators:
        operator = plugins.get_operator(name)()
        code = mutate_code(text, operator, occurrence)
        try:
            if code and ast.dump(ast.parse(code)) != ast.dump(ast.parse(text)):
                return _described(site.path, text, code, site.rank)
        except SyntaxError:
            continue
    return None


def _is_marker(node):
    """Returns whether a node is the `*` or `/` of a list of parameters."""
    return node.type == "operator" and node.parent.type == "parameters"


def _operators():
    names = plugins.operator_names()
    for pattern in LEFT_OUT:
        dropped = fnmatch.filter(names, pattern)
        names = [
            name
            for name in names
            if name not in dropped
            or any(fnmatch.fnmatch(name, kept) for kept in KEPT)
        ]
    kinds = {name: plugins.get_operator(name) for name in names}
    return {n: kind() for n, kind in kinds.items() if not kind.arguments()}


def _ignored(tree) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Where no bug is put: from and to, as (line, column)."""
    for node in ast.walk(tree):
        parts = [
            getattr(node, name, None) for name in ("annotation", "returns")
        ]
        if isinstance(node, ast.If) and "__name__" in ast.dump(node.test):
            parts.append(node)
        for part in parts:
            if isinstance(part, (ast.expr, ast.stmt)):
                yield (
                    (part.lineno, part.col_offset),
                    (part.end_lineno or 0, part.end_col_offset or 0),
                )


def _described(path, text, code, rank):
    before, after = text.splitlines(), code.splitlines()
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    changes = [c for c in matcher.get_opcodes() if c[0] != "equal"]
    first, last = changes[0], changes[-1]
    was = " ".join(line.strip() for line in before[first[1] : last[2]])
    becomes = " ".join(line.strip() for line in after[first[3] : last[4]])
    diff = "\n".join(
        difflib.unified_diff(before, after, path, path, lineterm="", n=2)
    )
    key = f"{path} {rank[:12]} {becomes}"
    return Mutant(path, first[1] + 1, was, becomes, key, code, diff)


def _digest(text):
    return hashlib.sha256(text.encode()).hexdigest()
