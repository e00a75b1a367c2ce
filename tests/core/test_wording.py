"""Numbers with their word."""

from __future__ import annotations

import pytest

from gateway.core.wording import pieces_of


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 pieces"), (1, "1 piece"), (2, "2 pieces"), (11, "11 pieces"), (-1, "-1 pieces")]
)
def test_only_one_is_a_piece(number, text):
    assert pieces_of(number) == text
