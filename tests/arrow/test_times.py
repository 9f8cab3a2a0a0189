"""Hours, weekdays and ages, against Python's datetime and zoneinfo."""

import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wukong_tf.arrow import times
from wukong_tf.arrow.errors import InvalidValue, UnsupportedType

UTC = datetime.UTC
ZONES = ["UTC", "Europe/Berlin", "America/Los_Angeles", "Asia/Kolkata"]
MOMENTS = [
    datetime.datetime(2024, 2, 29, 23, 59, 59),
    datetime.datetime(1999, 12, 31, 0, 0, 0),
    datetime.datetime(2024, 7, 7, 12, 30, 15),
    datetime.datetime(2026, 11, 28, 6, 5, 4),
]


def parts(moments):
    """Hour, weekday from Sunday, and whether it is a weekend."""
    return [
        (m.hour, m.isoweekday() % 7, int(m.isoweekday() > 5)) for m in moments
    ]


def read(array, form, zone):
    columns = [
        part(array, form, zone).to_pylist() for part in times.PARTS.values()
    ]
    return list(zip(*columns, strict=True))


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize(
    "form",
    ["iso", "%d/%m/%Y %H:%M:%S", "%Y%m%d%H%M%S", "%b %d, %Y %I:%M:%S %p"],
)
def test_texts_without_an_offset_are_local_times(form, zone):
    written = [
        m.isoformat() if form == "iso" else m.strftime(form) for m in MOMENTS
    ]
    array = pa.array([*written, None, ""])
    assert read(array, form, zone)[:4] == parts(MOMENTS)
    assert read(array, form, zone)[4:] == [(None, None, None)] * 2
    ages = times.ages(array, "2025-01-01", form, zone)
    end = datetime.datetime(2025, 1, 1, tzinfo=ZoneInfo(zone))
    wanted = [
        (end - m.replace(tzinfo=ZoneInfo(zone))).total_seconds() / 86_400
        for m in MOMENTS
    ]
    # Aware datetimes of one zone are subtracted as clocks show them.
    wanted = [
        (end.astimezone(UTC) - m.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC))
        / datetime.timedelta(days=1)
        for m in MOMENTS
    ]
    np.testing.assert_allclose(ages[:4], wanted)
    assert np.isnan(ages[4:]).all()


@pytest.mark.parametrize("zone", ZONES)
def test_moments_are_the_same_however_they_are_written(zone):
    there = [m.replace(tzinfo=UTC) for m in MOMENTS]
    local = [m.astimezone(ZoneInfo(zone)) for m in there]
    end = datetime.datetime(2025, 1, 1, tzinfo=ZoneInfo(zone))
    wanted = [
        (end.astimezone(UTC) - m) / datetime.timedelta(days=1) for m in there
    ]
    seconds = [int(m.timestamp()) for m in there]
    for array, form in (
        (pa.array([m.isoformat() for m in local]), "iso"),
        (pa.array([f"{m:%Y-%m-%dT%H:%M:%S}Z" for m in there]), "iso"),
        (pa.array([f"{m:%Y-%m-%d %H:%M:%S} UTC" for m in there]), "iso"),
        (pa.array([f"{m:%Y-%m-%dT%H:%M:%S}.123456789Z" for m in there]), None),
        (pa.array(there, pa.timestamp("ns", "UTC")), None),
        (pa.array(there, pa.timestamp("s", "Asia/Tokyo")), None),
        (pa.array(seconds), "unix"),
        (pa.array([float(s) for s in seconds]), "unix"),
        (pa.array([str(s) for s in seconds]), "unix"),
        (pa.array([s * 1000 for s in seconds]), "unix_ms"),
        (pa.array([s * 10**6 for s in seconds]), "unix_us"),
        (pa.array([str(s) for s in seconds]).dictionary_encode(), "unix"),
    ):
        assert read(array, form, zone) == parts(local)
        ages = times.ages(array, "2025-01-01", form, zone)
        np.testing.assert_allclose(ages, wanted, atol=2e-5)


def test_dates_times_and_mixtures():
    days = [datetime.date(2024, 5, 31), None]
    for array in (pa.array(days), pa.array(days, pa.date64())):
        assert read(array, None, "Asia/Tokyo") == [(0, 5, 0), (None,) * 3]
    clock = pa.array([datetime.time(7, 5), None])
    assert times.hours(clock).to_pylist() == [7, None]
    for wrong in (times.weekdays, lambda a: times.ages(a, "2024-01-01")):
        with pytest.raises(UnsupportedType, match="no date"):
            wrong(clock)
    mixed = pa.array(["2024-05-31T23:00:00Z", "2024-05-31T23:00:00", None])
    assert times.hours(mixed, "iso", "Europe/Berlin").to_pylist() == [
        1,
        23,
        None,
    ]
    assert times.hours(pa.nulls(2)).to_pylist() == [None, None]


@pytest.mark.parametrize(
    "text, form",
    [
        ("31/02/2024", "%d/%m/%Y"),
        ("1/2/24", "%d/%m/%Y"),
        ("01/02/2024 ", "%d/%m/%Y"),
        ("14102124", "%y%m%d%H"),
        ("1410210", "%y%m%d%H"),
        ("2024-13-01", "iso"),
        ("2024-02-30", "iso"),
        ("yesterday", "iso"),
        ("1_700_000_000", "unix"),
        ("1700000000000", "unix"),
    ],
)
def test_what_is_no_such_time_is_refused_by_row(text, form):
    good = {"iso": "2024-01-01", "unix": "1", "%d/%m/%Y": "01/02/2024"}
    array = pa.array([good.get(form, "14102123"), None, text])
    with pytest.raises(InvalidValue) as error:
        times.hours(array, form)
    assert error.value.row == 2 and error.value.value == text


def test_a_zone_is_known_until_2038():
    array = pa.array(["2037-07-01T00:00:00Z", "2038-07-01T00:00:00Z"])
    assert times.hours(array, zone="UTC").to_pylist() == [0, 0]
    for read_part in (times.hours, times.weekdays):
        with pytest.raises(InvalidValue, match="before 2038") as error:
            read_part(array, zone="Europe/Berlin")
        assert error.value.row == 1
    with pytest.raises(InvalidValue, match="before 2038"):
        times.ages(array, "2024-01-01", zone="Europe/Berlin")


def test_numbers_need_a_format():
    with pytest.raises(UnsupportedType, match="format"):
        times.hours(pa.array([1]))
    with pytest.raises(UnsupportedType, match="format"):
        times.hours(pa.array([True]), "%H")


@pytest.mark.parametrize("form", ["%Q", "", "hour", "%d/%m/%Y %", "%z"])
def test_a_format_that_is_none_is_refused(form):
    with pytest.raises(ValueError, match="iso, unix"):
        times.check_format(form)


def test_zones_and_references():
    times.check_zone("Europe/Berlin")
    with pytest.raises(ValueError, match="IANA"):
        times.check_zone("Berlin")
    times.check_reference("2024-05-31T12:00:00+02:00")
    for bad in ("31.5.2024", "", None):
        with pytest.raises(ValueError, match="ISO 8601"):
            times.check_reference(bad)


@settings(max_examples=100, deadline=None)
@given(
    st.datetimes(
        datetime.datetime(1970, 1, 2),
        datetime.datetime(2037, 12, 30),
        timezones=st.sampled_from([ZoneInfo(zone) for zone in ZONES]),
    ),
    st.sampled_from(ZONES),
)
def test_any_moment_has_its_local_hour_and_weekday(moment, zone):
    moment = moment.replace(microsecond=0, fold=0)
    moment = moment.astimezone(UTC)
    local = moment.astimezone(ZoneInfo(zone))
    array = pa.array([moment.isoformat()])
    assert read(array, "iso", zone) == parts([local])
