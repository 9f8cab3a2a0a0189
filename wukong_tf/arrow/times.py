"""Dates and times as hours, weekdays and ages."""

import datetime
import re
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wukong_tf.arrow.errors import InvalidValue, UnsupportedType
from wukong_tf.arrow.numbers import numbers
from wukong_tf.arrow.plain import is_number, is_text, is_time, plain_array
from wukong_tf.arrow.texts import texts

ISO = "iso"
UNIX = {"unix": 1, "unix_ms": 10**3, "unix_us": 10**6}
DIRECTIVES = "YymdHMSIpbB"
_STAMP = pa.timestamp("us")
# Time-zone files list transitions until then.
_UNKNOWN_FROM = pa.scalar(datetime.datetime(2038, 1, 1), _STAMP)
_OFFSET = r"(Z|[+-][0-9]{2}:?[0-9]{2})$"
_MOST = 253_402_300_800  # seconds from 1970 to the year 10000


def check_format(format: str) -> None:
    """Raises ValueError unless `format` says how times are written.

    Args:
        format: "iso", "unix", "unix_ms", "unix_us", or directives of strftime
            (`DIRECTIVES`) and the text between them, such as "%d/%m/%Y %H:%M".
    """
    if format == ISO or format in UNIX:
        return
    used = re.findall("%(.?)", format)
    if not used or any(d not in DIRECTIVES or not d for d in used):
        raise ValueError(
            f"{ISO}, {', '.join(UNIX)}, or a pattern of "
            f"{' '.join(f'%{letter}' for letter in DIRECTIVES)}"
        )


def check_zone(zone: str) -> None:
    """Raises ValueError unless `zone` is a time zone such as Europe/Berlin."""
    try:
        pc.assume_timezone(pa.array([0], _STAMP), zone)
    except pa.ArrowInvalid:
        raise ValueError(
            "a time zone of the IANA database, such as UTC or Europe/Berlin"
        ) from None


def hours(array, format: str | None = None, zone: str = "UTC") -> pa.Array:
    """Returns the hour of the day, 0 to 23, int64 [N]; null if missing.

    Args:
        array: dates, times, timestamps, texts or numbers; a null, a NaN and an
            empty text are missing.
        format: as in `check_format`, for texts and numbers. Defaults to None,
            "iso" for texts.
        zone: time zone of the hours. Times without an offset or zone are
            already in this zone. Defaults to "UTC".

    Raises:
        InvalidValue: a value is not a valid time.
        UnsupportedType: the column holds no times, or numbers without a
            format.
    """
    return pc.hour(_local(array, format, zone))


def weekdays(array, format: str | None = None, zone: str = "UTC") -> pa.Array:
    """Returns the day of the week, 0 for Sunday to 6, int64 [N].

    Args and errors are those of `hours`.
    """
    _check_dated(array)
    local = _local(array, format, zone)
    return pc.day_of_week(local, count_from_zero=True, week_start=7)


def weekends(array, format: str | None = None, zone: str = "UTC") -> pa.Array:
    """Returns 1 on Saturdays and Sundays, and 0 on others, int64 [N].

    Args and errors are those of `hours`.
    """
    days = weekdays(array, format, zone)
    free = pc.is_in(days, pa.array([0, 6])).cast(pa.int64())
    return pc.if_else(pc.is_valid(days), free, None)


def ages(
    array, reference: str, format: str | None = None, zone: str = "UTC"
) -> np.ndarray:
    """Returns days from each time to a reference, float64 [N]; NaN if missing.

    Args:
        array: as in `hours`.
        reference: a date or time in ISO 8601, in `zone` if it has no offset;
            ages of later times are negative.
        format: as in `hours`.
        zone: as in `hours`.

    Raises:
        InvalidValue, UnsupportedType: as in `hours`.
    """
    _check_dated(array)
    end = _instants(pa.array([reference]), ISO, zone)[0]
    times = _instants(array, format, zone)
    return (end - times) / 86_400e6


def _check_dated(array):
    if pa.types.is_time(plain_array(array).type):
        raise UnsupportedType("times of the day, which have no date")


def _instants(array, format, zone):
    """Returns microseconds since 1970, float64 [N]; NaN if missing."""
    times, known = _times(array, format)
    _check_zoned(times, zone)
    assumed = pc.assume_timezone(
        times, zone, ambiguous="earliest", nonexistent="earliest"
    ).cast(pa.int64())
    ticks = pc.if_else(pa.array(known), times.cast(pa.int64()), assumed)
    ticks = pc.cast(ticks, pa.float64(), safe=False)
    return pc.fill_null(ticks, np.nan).to_numpy(zero_copy_only=False)


def _local(array, format, zone):
    """Returns timestamps in the local time of `zone`."""
    times, known = _times(array, format)
    if not known.any():
        return times
    _check_zoned(times, zone)
    there = pc.local_timestamp(
        pc.assume_timezone(times, "UTC").cast(pa.timestamp("us", zone))
    )
    return pc.if_else(pa.array(known), there, times)


def _check_zoned(times, zone):
    """Raises InvalidValue for times whose summer time is unknown."""
    if zone == "UTC":
        return
    late = pc.fill_null(pc.greater_equal(times, _UNKNOWN_FROM), False)
    if pc.any(late).as_py():
        row = pc.index(late, True).as_py()
        rule = f"a time before 2038, as later UTC offsets of {zone} are unknown"
        raise InvalidValue(row, rule, times[row].as_py())


def _times(array, format):
    """Returns timestamps [N], and bool [N], True for those in UTC."""
    values = plain_array(array)
    kind = values.type
    count = len(values)
    if pa.types.is_null(kind):
        return values.cast(_STAMP), np.zeros(count, bool)
    if pa.types.is_time(kind):
        ticks = values.cast(pa.time64("us"), safe=False).cast(pa.int64())
        return ticks.cast(_STAMP), np.zeros(count, bool)
    if is_time(kind):
        zoned = pa.types.is_timestamp(kind) and kind.tz is not None
        stamps = values.cast(
            pa.timestamp("us", kind.tz if zoned else None), False
        )
        return stamps.cast(_STAMP), np.full(count, zoned)
    if format in UNIX:
        return _unix(values, UNIX[format]), np.ones(count, bool)
    if not is_text(kind) and not (
        is_number(kind) and format not in (None, ISO)
    ):
        raise UnsupportedType(f"{kind}, which needs the `format` of its times")
    words = texts(values)
    words = pc.if_else(pc.equal(words, ""), None, words)
    if format in (None, ISO):
        return _iso(words)
    return _patterned(words, format), np.zeros(count, bool)


def _unix(values, per_second):
    seconds = numbers(values) / per_second
    far = np.abs(seconds) > _MOST
    if far.any():
        row = int(np.argmax(far))
        rule = f"a time before the year 10000, in {per_second} ticks a second"
        raise InvalidValue(row, rule, values[row].as_py())
    missing = np.isnan(seconds)
    ticks = np.round(np.where(missing, 0.0, seconds) * 1e6).astype(np.int64)
    return pa.array(ticks, pa.int64(), mask=missing).cast(_STAMP)


def _iso(words):
    words = pc.replace_substring_regex(words, r" (UTC|GMT)$", "Z")
    words = pc.replace_substring_regex(words, r"(\.[0-9]{6})[0-9]+", r"\1")
    known = pc.match_substring_regex(words, rf":[0-9.]+{_OFFSET}")
    known = pc.fill_null(known, False)
    zoned = pc.if_else(known, words, None)
    naive = pc.if_else(known, None, words)
    rule = "a time in ISO 8601 such as 2024-05-31 or 2024-05-31T18:00:00Z"
    times = pc.coalesce(
        _cast(naive, _STAMP, rule),
        _cast(zoned, pa.timestamp("us", "UTC"), rule).cast(_STAMP),
    )
    return times, known.to_numpy(zero_copy_only=False)


def _cast(words, kind, rule):
    try:
        return words.cast(kind)
    except pa.ArrowInvalid:
        for row, word in enumerate(words):
            try:
                word.cast(kind)
            except pa.ArrowInvalid as error:
                raise InvalidValue(row, rule, word.as_py()) from error
        raise


def _patterned(words, format):
    """Parses texts to timestamps, which must format to the same texts.

    Numbers may lack leading zeros if a separator follows them.
    """
    times = pc.strptime(words, format, "s", error_is_null=True)
    again = pc.strftime(times, format)
    good = pc.fill_null(pc.equal(again, words), False)
    if re.search(r"%.[^%]", format):
        same = pc.equal(_short(again), _short(words))
        good = pc.or_(good, pc.fill_null(same, False))
    good = pc.or_(good, pc.is_null(words))
    if not pc.all(good).as_py() and len(good):
        row = pc.index(good, False).as_py()
        rule = f"a time written as {format}, or empty"
        raise InvalidValue(row, rule, words[row].as_py())
    return times.cast(_STAMP)


def _short(words):
    short = pc.replace_substring_regex(words, r"\b0([0-9])\b", r"\1")
    return pc.utf8_lower(short)


# By rule: functions from an array, a format and a time zone to integers.
PARTS: dict[str, Callable[..., pa.Array]] = {
    "hour": hours,
    "weekday": weekdays,
    "weekend": weekends,
}


def check_reference(reference: str) -> None:
    """Raises ValueError unless `reference` is a date or time in ISO 8601."""
    try:
        datetime.datetime.fromisoformat(reference)
        _iso(pa.array([reference]))
    except (ValueError, TypeError):
        raise ValueError(
            "a date or time in ISO 8601, such as 2024-05-31"
        ) from None
