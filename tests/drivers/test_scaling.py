"""Scale and offset there and back, exact for what a person writes."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.scaling import Scaling

DECIMALS = st.decimals(min_value="-1000", max_value="1000", places=4)


@pytest.mark.parametrize(
    ("scale", "offset", "raw", "value"),
    [
        ("0.1", None, 3, 0.3),
        ("0.1", None, 2**60, (2**60) / 10),
        ("10", "-5", 7, 65),
        ("0.5", "0.5", 2**63 - 1, 2**62),
        (None, "273.15", 0, 273.15),
        ("-1", None, 5, -5),
    ],
)
def test_there(scale, offset, raw, value):
    found = Scaling.parse(scale, offset).apply(raw)
    assert (found, type(found)) == (value, type(value))


def test_nothing_to_do_is_none():
    assert Scaling.parse(None, "0") is None
    assert Scaling.parse("1.0", None) is None


@pytest.mark.parametrize(("value", "raw"), [(0.3, 3), (0.1, 1), (1, 10), (2**60, 2**60 * 10), (0.15, Fraction(3, 2))])
def test_back_a_float_stands_for_the_decimal_that_was_written(value, raw):
    assert Scaling.parse("0.1", None).invert(value) == raw


@given(st.integers(-(2**64), 2**64), DECIMALS.filter(bool), DECIMALS)
def test_there_and_back(raw, scale, offset):
    scaling = Scaling.parse(str(scale), str(offset))
    if scaling is None:
        return
    exact = Fraction(Decimal(raw)) * Fraction(scale) + Fraction(offset)
    found = scaling.apply(raw)
    if isinstance(found, int):
        assert exact == found
        assert scaling.invert(found) == raw
    else:
        assert found == float(exact)
