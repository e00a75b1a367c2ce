"""Unquoted words: plain YAML 1.2, and refusals where 1.1 reads something else."""

from __future__ import annotations

import pytest

from config.scalars import AmbiguousWord, plain_scalar


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("Null", None),
        ("true", True),
        ("FALSE", False),
        ("tRue", "tRue"),
        ("0", 0),
        ("-17", -17),
        ("+5", 5),
        ("0x1F", 31),
        ("1e3", 1000.0),
        ("1.", 1.0),
        (".5", 0.5),
        ("-1.5E-3", -0.0015),
        ("12:30:00", "12:30:00"),
        ("2026-01-31", "2026-01-31"),
        ("250 ms", "250 ms"),
        ("3.1.1", "3.1.1"),
        ("a_1", "a_1"),
        ("0x", "0x"),
        ("127.0.0.1", "127.0.0.1"),
        ("inf", "inf"),
        ("=", "="),
    ],
)
def test_values(text, value):
    found = plain_scalar(text)
    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("010", "leading zero"),
        ("-08", "leading zero"),
        ("0o17", "octal"),
        ("0b11", "binary"),
        ("1_000", "underscores"),
        ("0x_ff", "underscores"),
        ("1_0.5", "underscores"),
        (".inf", "finite"),
        ("-.INF", "finite"),
        (".nan", "finite"),
        ("1e400", "finite"),
        ("1" * 41, "40 digits"),
    ],
)
def test_refusals(text, reason):
    with pytest.raises(ValueError, match=reason) as caught:
        plain_scalar(text)
    assert text not in str(caught.value)


@pytest.mark.parametrize("word", ["y", "N", "yes", "No", "ON", "off", "OFF"])
def test_words_that_readers_disagree_on_are_marked(word):
    assert isinstance(plain_scalar(word), AmbiguousWord)
