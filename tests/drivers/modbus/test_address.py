import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.modbus.address import Place, place_of


@pytest.mark.parametrize(
    ("address", "table", "addressing", "place"),
    [
        (0, None, "pdu", Place("holding", 0)),
        (65_535, "coil", "pdu", Place("coil", 65_535)),
        (40_001, None, "pdu", Place("holding", 40_001)),
        (1, None, "one_based", Place("holding", 0)),
        (65_536, "input", "one_based", Place("input", 65_535)),
        (40_001, None, "manual", Place("holding", 0)),
        (400_001, None, "manual", Place("holding", 0)),
        (30_017, None, "manual", Place("input", 16)),
        (10_001, "discrete", "manual", Place("discrete", 0)),
        (465_536, None, "manual", Place("holding", 65_535)),
        ("40001", None, "pdu", Place("holding", 0)),
        ("49999", None, "one_based", Place("holding", 9_998)),
        ("400001", "holding", "pdu", Place("holding", 0)),
        (" 30017 ", None, "manual", Place("input", 16)),
        ("00033", None, "pdu", Place("coil", 32)),
        ("000033", "coil", "pdu", Place("coil", 32)),
        ("0x1024", None, "pdu", Place("holding", 0x1024)),
        ("0x1024", "input", "manual", Place("input", 0x1024)),
        ("40001+2", None, "pdu", Place("holding", 2)),
        ("12+3", "input", "manual", Place("input", 15)),
        ("0x10 + 1", "discrete", "pdu", Place("discrete", 17)),
    ],
)
def test_every_notation_means_one_place(address, table, addressing, place):
    assert place_of(address, table, addressing) == place


@pytest.mark.parametrize(
    ("address", "table", "addressing", "words"),
    [
        (-1, None, "pdu", "found -1, allowed 0 to 65535"),
        (65_536, None, "pdu", "found 65536"),
        (0, None, "one_based", r"found 0, allowed 1 to 65536 \(one_based: the first register is 1\)"),
        (27, None, "manual", "in quotes"),
        (9_999, "coil", "manual", "in quotes"),
        (50_001, None, "manual", "a manual's number with its table"),
        (40_000, None, "manual", "a manual's number with its table"),
        ("40000", None, "pdu", "a manual's number with its table"),
        ("465537", None, "pdu", "a manual's number with its table"),
        ("12", None, "pdu", "a manual's number with its table"),
        ("D100", None, "pdu", 'found "D100"'),
        ("0x12345", None, "pdu", 'found "0x12345"'),
        ("", None, "pdu", 'found ""'),
        ("30001", "holding", "pdu", '"30001" is in the table input, but table says holding'),
        (30_001, "holding", "manual", '"30001" is in the table input, but table says holding'),
        ("00033+2", "discrete", "pdu", '"00033" is in the table coil, but table says discrete'),
        ("465536+1", None, "pdu", "found 65536 with a length of 1"),
        ("12+", None, "pdu", r'found "12\+"'),
    ],
)
def test_what_is_no_address_says_what_one_is(address, table, addressing, words):
    with pytest.raises(ValueError, match=words):
        place_of(address, table, addressing)


@given(st.sampled_from(["coil", "discrete", "input", "holding"]), st.integers(0, 65_535))
def test_the_number_that_is_echoed_means_the_same_place(table, address):
    place = Place(table, address)
    number = str(place).partition("; ")[2].partition(" ")[0]
    assert place_of(number, None, "pdu") == place
    assert place_of(address + 1, table, "one_based") == place
