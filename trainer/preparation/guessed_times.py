"""Guesses whether a column holds dates and times, by its type or format."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wukong_tf.arrow import times
from wukong_tf.arrow.errors import InvalidValue, UnsupportedType
from wukong_tf.arrow.numbers import numbers
from wukong_tf.arrow.plain import is_time

EXAMPLES = 3
LOOKED_AT = 2000  # number of distinct values on which formats are tried
LEAST_ALIKE = 10  # first texts of one format, of which a later one differs
FEW_TEXTS = 10  # most other texts that count as missing values
_DATES = ("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%Y/%m/%d", "%Y%m%d")
_CLOCKS = ("", " %H:%M", " %H:%M:%S", "%H%M%S")
_FORMATS = (times.ISO, *(date + clock for date in _DATES for clock in _CLOCKS))
# What begins like a date, in whatever format.
_DAY, _MONTH, _YEAR = (
    "(0?[1-9]|[12][0-9]|3[01])",
    "(0?[1-9]|1[0-2])",
    "(19|20)[0-9]{2}",
)
_NAME = (
    "(jan(uary)?|feb(ruary)?|mar(ch)?|apr(il)?|may|june?|july?|aug(ust)?|"
    "sept?(ember)?|oct(ober)?|nov(ember)?|dec(ember)?)"
)
_SHORT = "((19|20)?[0-9]{2})"  # only where nothing else is written so
_DATED = (
    rf"(?i)^\s*\[?({_YEAR}[-/.]{_MONTH}[-/.]{_DAY}|"
    rf"({_DAY}[-/.]{_MONTH}|{_MONTH}[-/.]{_DAY})[-/.]{_YEAR}|"
    rf"({_DAY}/{_MONTH}|{_MONTH}/{_DAY})/{_SHORT}|"
    rf"([a-z]+,? )?{_DAY}[ /-]{_NAME}\.?[ /-]{_SHORT}|"
    rf"([a-z]+,? )?{_NAME}\.? {_DAY}(,? {_YEAR})?)"
    r"(\s*$|[ T,:]+[0-9]{1,2}[:.][0-9]{2})"
)
# Unix times accepted, in seconds: 2001 to 2033.
_SINCE, _UNTIL = 10**9, 2 * 10**9


def suggestion(name, values, distinct, own):
    """Returns a reason and columns of a recipe for dates and times, or None.

    Args:
        name: name of the column.
        values: values of the column.
        distinct: their distinct texts.
        own: whether nearly every row has a distinct value.
    """
    form, others = None, []
    if not is_time(values.type):
        # A text such as n/a or 0000-00-00 means a missing value.
        dated = pc.match_substring_regex(distinct, "[1-9]")
        others = distinct.filter(pc.invert(dated)).to_pylist()
        distinct = values = distinct.filter(dated)
        if others and not few(others, distinct):
            return None
        form = _format(distinct.slice(0, LOOKED_AT), own)
        if form is None or not _is_written(distinct, form):
            return _unknown(distinct, others)
    given = {"source": name, "format": form or times.ISO}
    if others:
        given["missing_values"] = others
    derived = []
    if len(pc.unique(times.hours(values, form))) > 1:
        derived = [{"name": f"{name}_hour", **given, "rule": "hour"}]
    if not pa.types.is_time(values.type):
        end = times.ages(values, "1970-01-01", form)
        days = int(np.floor(-np.nanmin(end)))
        last = str(np.datetime64(0, "D") + days)
        age = {"kind": "numeric", "rule": "age_in_days", "reference": last}
        derived.append({"name": f"{name}_weekday", **given, "rule": "weekday"})
        derived.append({"name": f"{name}_age", **given, **age})
    reason = f"dates or times{among(others)}, each a category by itself"
    return reason, derived


def _unknown(distinct, others):
    """Returns a reason if texts are dates that no known format reads."""
    if not len(distinct) or not _all_match(distinct, _DATED):
        return None
    # But for their digits and letters, texts of one format are alike.
    forms = pc.replace_substring_regex(distinct, "[0-9]+", "0")
    forms = pc.replace_substring_regex(forms, "[A-Za-z]{2,}", "a")
    shown = pc.unique(forms).slice(0, EXAMPLES)
    first = [forms.index(form).as_py() for form in shown]
    misfits = [_misfit(distinct, form) for form in _FORMATS]
    if (last := max(misfits)) >= LEAST_ALIKE:  # most have one format
        first = [0, last]
    examples = ", ".join(repr(distinct[row].as_py()) for row in first)
    return (
        f"texts that look like dates or times, such as {examples}"
        f"{among(others)}, but follow no one format that is known, so each is "
        "a category by itself; write all alike, as in ISO 8601, or name their "
        "`format` in the recipe",
        [],
    )


def _misfit(distinct, form) -> int:
    """Returns the row of the first text that does not have a format."""
    try:
        times.hours(distinct, form)
    except InvalidValue as error:
        return error.row
    except UnsupportedType:
        pass
    return 0


def few(others, distinct):
    """Returns whether texts of another form are few among `distinct`."""
    return len(others) <= FEW_TEXTS and len(distinct) > max(
        len(others), FEW_TEXTS
    )


def among(others):
    """Returns a phrase that names these other texts, "" for none."""
    shown = ", ".join(map(repr, others[:EXAMPLES]))
    return f", with the texts {shown} among them" if others else ""


def _format(distinct, own):
    """Returns the time format that all values share, or None."""
    if _all_match(distinct, "^[0-9]+$"):
        # Plain numbers are times only if nearly every row has its own.
        if not own or not _all_match(distinct, "^[0-9]{1,20}$"):
            return None
        values = numbers(distinct)
        least, most = int(values.min()), int(values.max())
        for form, ticks in times.UNIX.items():
            if _SINCE * ticks <= least and most < _UNTIL * ticks:
                return form
        if (
            len(str(least)) not in (8, 14)
            or not 1970 <= int(str(least)[:4]) < 2100
        ):
            return None
    # Most formats fail on the first few values.
    return next(
        (
            form
            for form in _FORMATS
            if _is_written(distinct.slice(0, 5), form)
            and _is_written(distinct, form)
        ),
        None,
    )


def _is_written(distinct, form):
    try:
        times.hours(distinct, form)
    except (InvalidValue, UnsupportedType):
        return False
    return True


def _all_match(distinct, pattern):
    return pc.all(pc.match_substring_regex(distinct, pattern)).as_py()
