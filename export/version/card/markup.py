"""Writes any text and number so that YAML and Markdown read them back."""

import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
# A point makes a link of "www.", a colon of "https:".
_PUNCTUATION = re.compile(r"([\\`*_{}\[\]<>#|~&:@$]|(?<=www)\.)", re.I)


def yaml(value: dict | list, indent: str = "") -> Iterator[str]:
    """Yields the lines of nested dicts and lists as YAML.

    All scalars are JSON too, so that "no", "1e5" and "a: b" stay texts.

    Args:
        value: not empty; keys are plain words, and floats finite.
        indent: text before each line. Defaults to "".
    """
    if isinstance(value, dict):
        for key, item in value.items():
            if isinstance(item, dict | list):
                yield f"{indent}{key}:"
                yield from yaml(item, f"{indent}  ")
            else:
                yield f"{indent}{key}: {scalar(item)}"
        return
    for item in value:
        if isinstance(item, dict | list):
            first, *others = yaml(item)
            yield f"{indent}- {first}"
            yield from (f"{indent}  {line}" for line in others)
        else:
            yield f"{indent}- {scalar(item)}"


def scalar(value: str | int | float | bool | None) -> str:
    """Returns a scalar as text that is JSON and YAML 1.1 alike.

    Raises:
        ValueError: a float is not finite.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if isinstance(value, float):
        # Without a point, YAML 1.1 reads 1e-05 as text.
        return text if "." in text else text.replace("e", ".0e")
    return "".join(map(_printable, text))


def _printable(letter):
    if letter.isprintable():
        return letter
    code = ord(letter)
    return f"\\u{code:04x}" if code < 2**16 else f"\\U{code:08x}"


def text(value: Any) -> str:
    """Returns Markdown that shows `value` as it is, on one line.

    A text with characters that cannot be seen is shown in quotes, with
    escapes.
    """
    shown = str(value)
    if not shown.isprintable() or shown != shown.strip():
        shown = scalar(shown)
    return _PUNCTUATION.sub(r"\\\1", shown)


def name(value: str) -> str:
    """Returns Markdown of a name: as code, or if it is odd as `text`."""
    return f"`{value}`" if _PLAIN.fullmatch(value) else text(value)


def names(values: Iterable[str]) -> str:
    """Returns Markdown of names, separated by commas, or "none"."""
    return ", ".join(map(name, values)) or "none"


def number(value: Any) -> str:
    """Returns a figure with six digits after the point; None is undefined."""
    if not isinstance(value, int | float) or not math.isfinite(value):
        return "undefined"
    return f"{value:,}" if isinstance(value, int) else f"{value:.6f}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a Markdown table of cells that are Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def block(language: str, code: str) -> str:
    """Returns a fenced block of code, whatever backticks it contains."""
    runs = re.findall("`+", code)
    fence = "`" * max(3, *(len(run) + 1 for run in runs), 3)
    return f"{fence}{language}\n{code.rstrip()}\n{fence}"
