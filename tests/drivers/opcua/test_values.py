from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace
from uuid import UUID

import pytest

from drivers.opcua.values import UnusableValueError, scalar, severity, time_ns
from gateway.core.model import Status


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (0, Status.GOOD),
        (0x0000_0480, Status.GOOD),
        (0x4090_0000, Status.UNCERTAIN),
        (0x808C_0000, Status.BAD),
        (0xC000_0000, Status.BAD),
    ],
)
def test_severity_is_in_the_highest_bits(code, status):
    assert severity(code) is status


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (True, True),
        (2**64 - 1, 2**64 - 1),
        (1.5, 1.5),
        ("AB", "AB"),
        (datetime(2026, 11, 22, 4, 5, 6, 7, tzinfo=UTC), "2026-11-22T04:05:06.000007Z"),
        (datetime(2026, 11, 22, 4, 5, 6), "2026-11-22T04:05:06Z"),  # noqa: DTZ001 - servers' stamps are UTC
        (SimpleNamespace(Locale="de", Text="Betrieb"), "Betrieb"),
        (SimpleNamespace(NamespaceIndex=2, Name="Speed"), "Speed"),
        (b"\x01\xff", "01ff"),
        (UUID("12345678-1234-5678-1234-567812345678"), "12345678-1234-5678-1234-567812345678"),
    ],
)
def test_contents_become_scalars(value, found):
    assert scalar(value) == found
    assert type(scalar(value)) is type(found)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([1, 2, 3], "array of 3"),
        (None, "empty"),
        (float("nan"), "nan, not a number"),
        (float("-inf"), "-inf, not a number"),
        (object(), "a object"),
    ],
)
def test_what_is_no_scalar_says_why(value, words):
    with pytest.raises(UnusableValueError, match=words):
        scalar(value)


@pytest.mark.parametrize(
    ("stamp", "found"),
    [
        (None, None),
        (datetime(1601, 1, 1, tzinfo=UTC), None),
        (datetime(1970, 1, 1, 0, 0, 1, 1, tzinfo=UTC), 1_000_001_000),
        (datetime(1970, 1, 1, 1, 0, 1, tzinfo=timezone(timedelta(hours=1))), 1_000_000_000),
        (datetime(2100, 1, 1, tzinfo=UTC), 4_102_444_800_000_000_000),
    ],
)
def test_time_stamps_are_exact_nanoseconds(stamp, found):
    assert time_ns(stamp) == found
