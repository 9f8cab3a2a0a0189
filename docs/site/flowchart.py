"""Draws the flowcharts of the pages as SVG, without a script in the page.

The text is a part of Mermaid's language, which GitHub draws by itself: nodes
`name["line<br/>line"]`, arrows `-->` with or without a label `|"text"|`, from
the top down, each from one rank to the next.
"""

import dataclasses
import html
import re

WIDTH = 480
_GAP, _PADDING, _LINE = 16, 10, 19
_CHARACTER = 7.0  # mean width of a character
_NODE = r'(\w+)(?:\["(.+?)"\])?'
_EDGE = re.compile(rf'{_NODE}\s*-->\s*(?:\|"(.+?)"\|)?\s*{_NODE}')


@dataclasses.dataclass
class Chart:
    """Nodes and arrows of a flowchart.

    Args:
        nodes: lines of text by name.
        edges: (source, target, lines of the label).
    """

    nodes: dict[str, list[str]]
    edges: list[tuple[str, str, list[str]]]

    def ranks(self) -> list[list[str]]:
        """Returns the names by rank, from the top down."""
        rank = dict.fromkeys(self.nodes, 0)
        for source, target, _ in self.edges:  # sources are named first
            rank[target] = max(rank[target], rank[source] + 1)
        for source, target, _ in self.edges:
            if rank[target] != rank[source] + 1:
                raise ValueError(f"{source} --> {target} skips a rank.")
        found = [
            [name for name in rank if rank[name] == level]
            for level in range(max(rank.values()) + 1)
        ]
        for names in found:
            for name in names:
                _check_fits(self.nodes[name], _width(len(names)))
        return found


def parse(text: str) -> Chart:
    """Returns the flowchart in `text`.

    Raises:
        ValueError: a line is not of the part of the language that is drawn.
    """
    head, *lines = [line.strip() for line in text.splitlines() if line.strip()]
    if head != "flowchart TD":
        raise ValueError(f"expected `flowchart TD`; received {head!r}.")
    chart = Chart({}, [])
    for line in lines:
        found = _EDGE.fullmatch(line)
        if found is None:
            raise ValueError(f"expected `a --> b`; received {line!r}.")
        source, source_text, label, target, target_text = found.groups()
        for name, words in ((source, source_text), (target, target_text)):
            if words:
                chart.nodes[name] = _lines(words)
            elif name not in chart.nodes:
                raise ValueError(f"{name!r} has no text.")
        chart.edges.append((source, target, _lines(label or "")))
    return chart


def draw(text: str) -> str:
    """Returns the flowchart in `text` as an SVG element."""
    chart = parse(text)
    boxes, height = _place(chart)
    parts = [_arrow(boxes, edge) for edge in chart.edges]
    parts += [_box(boxes[name], lines) for name, lines in chart.nodes.items()]
    label = html.escape("; ".join(" ".join(x) for x in chart.nodes.values()))
    return (
        f'<svg class="flow" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{label}">{"".join(parts)}</svg>'
    )


def fence(source: str, *args, **kwargs) -> str:
    """Draws a fenced block, as pymdownx.superfences calls it."""
    return draw(source)


def _lines(text):
    return [line.strip() for line in text.split("<br/>") if line.strip()]


def _width(count):
    return (WIDTH - 2 - (count - 1) * _GAP) / count


def _check_fits(lines, width):
    for line in lines:
        if len(line) * _CHARACTER > width - 2 * _PADDING:
            raise ValueError(f"too long for its box of {width:.0f}: {line!r}.")


def _place(chart):
    """Returns (x, y, width, height) of each node, and the whole height."""
    boxes, top = {}, 1.0
    for names in chart.ranks():
        tallest = max(len(chart.nodes[name]) for name in names)
        height = tallest * _LINE + 2 * _PADDING
        width = _width(len(names))
        for place, name in enumerate(names):
            boxes[name] = (1 + place * (width + _GAP), top, width, height)
        labels = [len(words) for a, _, words in chart.edges if a in names]
        bottom = top + height
        top = bottom + 32 + _LINE * max(labels, default=0)
    return boxes, round(bottom) + 1


def _box(box, lines):
    x, y, width, height = box
    first = y + (height - _LINE * len(lines)) / 2 + 14
    texts = "".join(
        f'<text class="{"detail" if number else "name"}" '
        f'x="{x + width / 2:.1f}" y="{first + number * _LINE:.1f}">'
        f"{html.escape(line, quote=False)}</text>"
        for number, line in enumerate(lines)
    )
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" '
        f'height="{height:.1f}" rx="8"/>{texts}'
    )


def _arrow(boxes, edge):
    """Returns an arrow that goes down, across and down, and its label."""
    source, target, label = edge
    x, y, width, height = boxes[source]
    start, top = x + width / 2, y + height
    x, y, width, _ = boxes[target]
    end, bottom = x + width / 2, y
    forks = boxes[target][2] < boxes[source][2]
    bend = top + 9 if forks else bottom - 18
    line = (
        f'<path d="M{start:.1f} {top:.1f}V{bend:.1f}H{end:.1f}'
        f'V{bottom - 6:.1f}"/><path class="head" '
        f'd="M{end - 5:.1f} {bottom - 9:.1f}h10l-5 9z"/>'
    )
    x = (end if forks else start) + 8
    y = bottom - 14 if forks else (top + bend) / 2 + 5
    y -= _LINE * (len(label) - 1) / (1 if forks else 2)
    _check_fits(label, WIDTH - x + _PADDING * 2)
    return line + "".join(
        f'<text class="label" x="{x:.1f}" y="{y + number * _LINE:.1f}">'
        f"{html.escape(words, quote=False)}</text>"
        for number, words in enumerate(label)
    )
