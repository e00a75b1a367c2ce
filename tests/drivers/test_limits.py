"""What a person may write to a signal, and as what it arrives at the driver."""

from __future__ import annotations

import pytest

from drivers.limits import described, value_within
from drivers.signal import Writable

NUMBER = Writable(min="-1.5", max="20000000000000000001")
CHOICE = Writable(values=("1", "2.5", "-3"))
MODE = Writable(values=("READY", "1"))
FLAG = Writable(values=("true", "false"))
SET_ONLY = Writable(values=("true",))
TEXT = Writable(max_length=5)
BOTH = Writable(min="0", max="10", values=("0", "5", "50"))


@pytest.mark.parametrize(
    ("limits", "text", "value"),
    [
        (NUMBER, "7", 7),
        (NUMBER, "7.0", 7),
        (NUMBER, "+7", 7),
        (NUMBER, "-1.5", -1.5),
        (NUMBER, "0.1", 0.1),
        (NUMBER, "20000000000000000001", 20000000000000000001),
        (CHOICE, "1.0", 1),
        (CHOICE, "2.50", 2.5),
        (MODE, "1", "1"),
        (MODE, "READY", "READY"),
        (FLAG, "true", True),
        (FLAG, "false", False),
        (TEXT, "", ""),
        (TEXT, "A-ü 1", "A-ü 1"),
        (BOTH, "5", 5),
    ],
)
def test_within(limits, text, value):
    found = value_within(limits, text)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        *[
            (NUMBER, text)
            for text in ("-1.51", "20000000000000000002", "1e3", "0x10", "", " 7", "7 ", "nan", "1,5", "٣")
        ],
        (NUMBER, "1" * 41),
        (CHOICE, "2"),
        (CHOICE, "one"),
        (MODE, "ready"),
        (MODE, "2"),
        (FLAG, "True"),
        (FLAG, "1"),
        (SET_ONLY, "false"),
        (TEXT, "123456"),
        (TEXT, "a\nb"),
        (TEXT, "\x1b[2J"),
        (BOTH, "50"),
        (BOTH, "1"),
    ],
)
def test_refused_with_what_is_allowed(limits, text):
    with pytest.raises(ValueError, match=r"^found .*, allowed: ") as caught:
        value_within(limits, text)
    assert described(limits) in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_fraction_that_no_float_tells_exactly_is_refused():
    with pytest.raises(ValueError, match="at most 15 significant digits"):
        value_within(NUMBER, "0.12345678901234567890")


def test_limits_in_words():
    assert described(NUMBER) == "-1.5 to 20000000000000000001"
    assert described(BOTH) == "0 to 10 and one of 0, 5, 50"
    assert described(TEXT) == "printable text of up to 5 characters"
