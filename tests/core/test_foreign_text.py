"""Foreign text becomes one line that every store, log and terminal can carry."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.foreign_text import clean, is_clean

TABLE = {
    "plain text stays": ("Menge 24 größer als 20 — 数量", "Menge 24 größer als 20 — 数量"),
    "empty": ("", ""),
    "high surrogate": ("Menge \ud83d", "Menge \ufffd"),
    "low surrogate": ("\ude00x", "\ufffdx"),
    "a whole emoji stays": ("\U0001f600", "\U0001f600"),
    "newlines and tabs": ("a\r\nb\tc", "a  b c"),
    "clear screen": ("\x1b[2J\x1b]0;title\x07", " [2J ]0;title "),
    "C1 introducer": ("\x9b31m", " 31m"),
    "delete and zero": ("a\x7f\x00b", "a  b"),
    "line separator": ("a\u2028b\u2029c", "a b c"),
    "right to left override": ("a\u202egnp.exe", "a gnp.exe"),
}


@pytest.mark.parametrize(("text", "wanted"), TABLE.values(), ids=TABLE.keys())
def test_table(text: str, wanted: str) -> None:
    assert clean(text) == wanted
    assert is_clean(text) == (text == wanted)


@pytest.mark.parametrize(
    ("limit", "wanted"), [(0, ""), (1, "…"), (3, "ab…"), (4, "abcd"), (5, "abcd")], ids=["0", "1", "3", "4", "5"]
)
def test_a_long_text_is_cut_and_says_so(limit: int, wanted: str) -> None:
    assert clean("abcd", limit) == wanted


def test_a_limit_stands_without_being_asked_for() -> None:
    assert len(clean("x" * 1_000_000)) == 500


@given(st.text(st.characters(codec=None), max_size=60), st.integers(0, 40))
def test_whatever_comes_can_be_stored_and_shown(text: str, limit: int) -> None:
    found = clean(text, limit)
    found.encode()
    assert len(found) <= limit
    assert not any(unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} for character in found)
    assert clean(found, limit) == found
    assert is_clean(found)
