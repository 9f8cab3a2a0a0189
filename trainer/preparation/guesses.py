"""Reports the guessed recipe of a log, and how to correct wrong guesses."""

import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trainer.preparation import guessed_times
from trainer.preparation.columns import Recipe
from trainer.preparation.guessed_times import EXAMPLES, LOOKED_AT, among, few
from wukong_tf.arrow import lists
from wukong_tf.arrow.errors import InvalidValue, UnsupportedType
from wukong_tf.arrow.numbers import NUMBER, numbers
from wukong_tf.arrow.plain import is_list, is_text, plain_array
from wukong_tf.arrow.texts import texts

_MOST = 0.95  # share of values whose form decides what a column holds
_BY_ROW = 0.9  # distinct values per row from which rows have their own
_FEW_ROWS = 100  # least rows for rules that depend on their number
_CONSTANT = 0.999
_ROWS_SPLIT = 20_000  # rows on which separators are tried
_SEVERAL = 0.3  # least share of rows with several values if texts are lists
_SEPARATORS = ("|", ";", "^", ",", " ")


def report(rows: pa.Table, recipe: Recipe, where: str) -> list[str]:
    """Returns lines that describe each column's guess, and warnings.

    Args:
        rows: the first rows, from which the recipe was guessed.
        recipe: the guess.
        where: names the file.
    """
    by_source = {column.column: column for column in recipe.columns}
    lines = [
        f"guessed from the first {rows.num_rows:,} rows of {where}; to "
        "correct the guess, edit the output's recipe.json and give it as "
        "--recipe:"
    ]
    warnings = []
    for name in rows.column_names:
        shown = name if name.isprintable() else repr(name)
        if name == recipe.label:
            lines.append(f"  {shown}: the label")
            continue
        column = by_source.get(name)
        values = plain_array(rows[name])
        if column is None:
            lines.append(f"  {shown}: left out, {_why_left_out(values)}")
            continue
        lines.append(f"  {shown}: {_described(values, column)}")
        if suspicion := _suspicion(values, column):
            reason, columns = suspicion
            text = ", ".join(
                json.dumps(entry, ensure_ascii=False) for entry in columns
            )
            mend = f" In the recipe: {text}" if columns else ""
            warnings.append(f"warning: column {name!r}: {reason}.{mend}")
    return lines + warnings


def _why_left_out(values):
    if (
        values.null_count == len(values)
        or not pc.any(_is_present(values)).as_py()
    ):
        return "as it has no values in these rows"
    return "as it numbers the rows"


def _described(values, column):
    """Returns a text on kind, distinct values, missing share and examples."""
    present = values.filter(_is_present(values))
    missing = 1 - len(present) / max(1, len(values))
    if is_list(present.type):
        present = plain_array(present.flatten()).drop_null()
    elif column.separator is not None:
        present = pc.split_pattern(texts(present), column.separator).flatten()
    if pa.types.is_float16(present.type):
        present = present.cast(pa.float32())
    distinct = pc.unique(present)
    examples = ", ".join(
        str(value) if not isinstance(value, str | bytes) else repr(value)[:40]
        for value in distinct.slice(0, EXAMPLES).to_pylist()
    )
    kind = column.kind
    if column.is_bag:
        kind = f"bag of at most {column.longest}"
    elif kind == "vector":
        kind = f"vector of {column.size}"
    line = f"{kind}, {len(distinct):,} values, {missing:.1%} missing, such as "
    return f"{line}{examples or 'none'}{_other(values, column)}"


def _other(values, column):
    """Returns the recipe's entry if numbers are of the other kind, or ""."""
    name = json.dumps(column.name, ensure_ascii=False)
    if column.kind == "numeric":
        return f' (if these are codes: {{"name": {name}}})'
    if column.kind == "categorical" and not column.is_bag:
        numeric = pa.types.is_integer(values.type)
        try:
            numeric = numeric or bool(
                np.isfinite(numbers(values.slice(0, LOOKED_AT))).any()
            )
        except (InvalidValue, UnsupportedType):
            return ""
        if numeric and not pa.types.is_boolean(values.type):
            return f' (if a quantity: {{"name": {name}, "kind": "numeric"}})'
    return ""


def _is_present(values):
    """Returns a mask of the values that are not missing."""
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        filled = pc.fill_null(values, "")
        return pc.not_equal(pc.ascii_trim_whitespace(filled), "")
    if pa.types.is_float32(values.type) or pa.types.is_float64(values.type):
        return pc.invert(pc.is_null(values, nan_is_null=True))
    return pc.is_valid(values)


def _suspicion(values, column):
    """Returns a reason to doubt a guess and corrected columns, or None."""
    if column.kind != "categorical" or column.is_bag:
        return None
    name = column.name
    try:
        words = texts(values)
    except (InvalidValue, UnsupportedType):
        return None
    words = words.filter(pc.not_equal(words, ""))
    if not len(words):
        return None
    counts = pc.value_counts(words)
    distinct, numbers_of = counts.field("values"), counts.field("counts")
    share = pc.max(numbers_of).as_py() / len(values)
    if len(distinct) == 1 or (share >= _CONSTANT and len(values) >= _FEW_ROWS):
        value = distinct[pc.index(numbers_of, pc.max(numbers_of)).as_py()]
        return f"{share:.2%} of the rows hold {value.as_py()!r}", []
    own = len(distinct) >= _BY_ROW * len(words) and len(words) >= _FEW_ROWS
    return (
        guessed_times.suggestion(name, values, distinct, own)
        or _gapped_numbers(name, distinct)
        or _listed(name, words, distinct)
        or _float_ids(distinct)
        or _spaced(distinct)
        or _flags(values, distinct)
        or (_own(name, distinct, words) if own else None)
    )


def _own(name, distinct, words):
    return (
        f"{len(distinct):,} values in {len(words):,} rows, so most embeddings "
        "would be trained on one row; leave the column out, or hash it",
        [{"name": name, "buckets": 10_000}],
    )


def _gapped_numbers(name, distinct):
    """Detects numbers with a few texts among them."""
    trimmed = pc.ascii_trim_whitespace(distinct)
    good = pc.match_substring_regex(trimmed, NUMBER)
    others = trimmed.filter(pc.invert(good)).unique().to_pylist()
    if not others:
        return None
    commas = r"^[+-]?[0-9][0-9. ]*,[0-9]+$"
    if _share(distinct, commas) >= _MOST / 2 and (
        _share(distinct, rf"{commas}|{NUMBER}") >= _MOST
    ):
        return "numbers with decimal commas; write them with points", []
    if few(others, distinct.filter(good)):
        column = {"name": name, "kind": "numeric", "missing_values": others}
        return f"numbers{among(others)}", [column]
    return None


def _listed(name, words, distinct):
    """Detects texts that hold several values each."""
    if _share(distinct, r"(?s)^\s*[\[(].*[\])]\s*$") >= _MOST:
        items = [lists.items_of(item) for item in distinct.to_pylist()]
        sizes = {len(item) for item in items if item is not None}
        if len(sizes) <= 1 and (found := _vector(name, distinct)):
            return found
        if None not in items and max(sizes):
            column = {"name": name, "format": lists.LIST}
            return "lists in text", [column | {"longest": max(sizes)}]
    some = words.slice(0, _ROWS_SPLIT)
    for separator in _SEPARATORS:
        parts = pc.split_pattern(some, separator)
        several = pc.greater(pc.list_value_length(parts), 1)
        share = pc.mean(several.cast(pa.int8())).as_py()
        if share < _SEVERAL:
            continue
        # Values of lists recur in other lists.
        flat = pc.utf8_trim_whitespace(parts.flatten())
        if 2 * len(pc.unique(flat)) < len(pc.unique(some)):
            separator = _with_spaces(some, separator)
            lengths = pc.list_value_length(pc.split_pattern(words, separator))
            longest = pc.max(lengths).as_py()
            column = {"name": name, "separator": separator, "longest": longest}
            return f"lists of values with {separator!r} between them", [column]
    return None


def _with_spaces(words, separator):
    """Returns the separator with the spaces that always surround it."""
    for spaced in (f" {separator} ", f"{separator} "):
        rest = pc.replace_substring(words, spaced, "")
        if not pc.any(pc.match_substring(rest, separator)).as_py():
            return spaced
    return separator


def _spaced(distinct):
    """Detects values that differ only in spaces, or nearly all have them."""
    bare = pc.utf8_trim_whitespace(distinct)
    odd = distinct.filter(pc.not_equal(bare, distinct))
    if len(odd) and (
        len(odd) >= _MOST * len(distinct)
        or len(pc.unique(bare)) < len(distinct)
    ):
        return (
            f"spaces around values, such as {odd[0].as_py()!r}, are part of "
            "them; write values without spaces",
            [],
        )
    return None


def _flags(values, distinct):
    """Detects Python's texts of booleans, which requests send as texts."""
    if is_text(values.type) and set(distinct.slice(0, 3).to_pylist()) <= {
        "True",
        "False",
    }:
        return (
            "the texts 'True' and 'False'; requests hold these texts, not "
            "JSON's true and false",
            [],
        )
    return None


def _vector(name, distinct):
    size = len(re.findall(r"[^\s,()\[\]]+", distinct[0].as_py()))
    if not size:
        return None
    try:
        vectors = lists.vectors(distinct, size, format=lists.LIST)
    except InvalidValue:
        return None
    if (vectors == np.floor(vectors)).all():  # these are ids
        return None
    column = {"name": name, "kind": "vector", "size": size}
    return "vectors in text", [column | {"format": lists.LIST}]


def _float_ids(distinct):
    if _share(distinct, r"^[0-9]+\.0+$") == 1:
        return (
            "whole numbers written as floats, such as "
            f"{distinct[0].as_py()!r}, which differ from the same numbers "
            "written as integers; write integers",
            [],
        )
    return None


def _share(distinct, pattern):
    good = pc.match_substring_regex(distinct, pattern)
    return pc.mean(good.cast(pa.int8())).as_py()
