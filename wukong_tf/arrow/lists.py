"""Lists in rows, as list columns or as texts."""

import ast
import json
import re
from collections.abc import Collection

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wukong_tf.arrow.errors import InvalidValue, UnsupportedType
from wukong_tf.arrow.numbers import numbers
from wukong_tf.arrow.plain import is_list, plain_array
from wukong_tf.arrow.texts import is_utf8, texts

LIST = "list"  # the format of texts such as "['a', 'b']"
LIST_RULE = "a list such as [\"a\", 'b', 3], or empty"
_ITEM = re.compile(
    r"""\s*(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^\s,'"\[\](){}]"""
    r"""[^,'"\[\](){}]*)""",
    re.DOTALL,
)
_BETWEEN = re.compile(r"\s*,\s*|\s*$|\s+(?=['\"])")
_GONE = ("", "None", "null", "nan", "NaN")


def list_texts(
    array: pa.Array | pa.ChunkedArray,
    separator: str | None = None,
    format: str | None = None,
    missing: Collection[str] = (),
) -> tuple[np.ndarray, pa.Array]:
    """Returns the ids in lists as texts; missing ones are left out.

    Args:
        array: lists of ids, or texts.
        separator: between the ids of a text. Defaults to None.
        format: "list" for texts as JSON or Python write lists. Defaults to
            None.
        missing: texts of missing ids. Defaults to none but "".

    Returns:
        The row of each id, int64 [M] in ascending order, and the ids,
        strings [M].

    Raises:
        InvalidValue: a text is not a list, or an id breaks the rule of `texts`.
        UnsupportedType: neither lists nor texts with a separator or format.
    """
    rows, flat = _items(plain_array(array), separator, format)
    ids = _by_row(rows, lambda: texts(flat, missing))
    there = pc.not_equal(ids, "")
    return rows[there.to_numpy(zero_copy_only=False)], ids.filter(there)


def vectors(
    array: pa.Array | pa.ChunkedArray,
    size: int,
    separator: str | None = None,
    format: str | None = None,
) -> np.ndarray:
    """Returns vectors, float32 [N, size].

    Args:
        array: lists of numbers, or texts.
        size: numbers of a vector.
        separator: between the numbers of a text. Defaults to None.
        format: "list" for texts as JSON, Python or NumPy write lists.
            Defaults to None.

    Raises:
        InvalidValue: a vector has another length or an invalid number.
        UnsupportedType: neither lists nor texts with a separator or format.
    """
    values = plain_array(array)
    rule = f"{size} finite numbers"
    if format == LIST:
        words = pc.replace_substring_regex(texts(values), r"^\s*[\[(]\s*", "")
        words = pc.replace_substring_regex(words, r"[\s,]*[\])]\s*$", "")
        values = pc.split_pattern_regex(words, r"\s*,\s*|\s+")
        separator = None
    rows, flat = _items(values, separator, None)
    lengths = np.bincount(rows, minlength=len(values))
    wrong = lengths != size
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InvalidValue(row, rule, array[row].as_py())
    try:
        floats = numbers(flat)
    except InvalidValue as error:
        row = int(rows[error.row])
        raise InvalidValue(row, rule, array[row].as_py()) from error
    missing = np.isnan(floats)
    if missing.any():
        row = int(rows[np.argmax(missing)])
        raise InvalidValue(row, rule, array[row].as_py())
    return floats.reshape(-1, size).astype(np.float32)


def _items(values, separator, format):
    """Returns the row of each item, [M], and the items."""
    if pa.types.is_null(values.type):
        return np.empty(0, np.int64), pa.array([], pa.string())
    if not is_list(values.type):
        if format == LIST:
            values = _parsed(texts(values))
        elif separator is not None:
            values = pc.split_pattern(texts(values), separator)
        else:
            raise UnsupportedType(
                f"{values.type}, which is not a list; texts need a `separator` "
                f'or `"format": "{LIST}"`'
            )
    lengths = pc.fill_null(pc.list_value_length(values), 0)
    lengths = lengths.to_numpy(zero_copy_only=False)
    return np.repeat(np.arange(len(values)), lengths), values.flatten()


def _by_row(rows, read):
    """Returns the result of `read`; its errors name rows of the column."""
    try:
        return read()
    except InvalidValue as error:
        row = int(rows[error.row])
        raise InvalidValue(
            row, f"a list, each value {error.rule}", error.value
        ) from error


def _parsed(values):
    """Parses texts to lists of items, each distinct text once."""
    encoded = values.dictionary_encode()
    lists = []
    for text in encoded.dictionary.to_pylist():
        items = items_of(text)
        if items is None:
            row = pc.index(values, text).as_py()
            raise InvalidValue(row, LIST_RULE, text)
        lists.append(items)
    return pa.array(lists, pa.list_(pa.string())).take(encoded.indices)


def items_of(text: str) -> list[str | None] | None:
    """Returns the items of a list as JSON or Python writes it.

    Items are quoted or bare, between [] or (). None, null and nan without
    quotes are missing.

    Returns:
        Texts, None for a missing item; or None if the text is not a list.
    """
    text = text.strip()
    if not text:
        return []
    if text[:1] + text[-1:] not in ("[]", "()") or len(text) < 2:
        return None
    text, place, items = text[1:-1], 0, []
    while text[place:].strip():
        match = _ITEM.match(text, place)
        between = match and _BETWEEN.match(text, match.end())
        if not match or not between:
            return None
        word = match[0].strip()
        if word[0] not in "'\"":
            items.append(None if word in _GONE else word)
        elif (item := _unquoted(word)) is not None:
            items.append(item)
        else:
            return None
        place = between.end()
    return items


def _unquoted(word):
    """Returns the text in quotes, by JSON's escapes or else Python's."""
    try:
        item = json.loads(word, strict=False)
    except ValueError:
        try:
            item = ast.literal_eval(word)
        except (ValueError, SyntaxError):
            return None
    # A lone surrogate is not text.
    return item if item.isprintable() or is_utf8(item) else None
