"""Shares the pieces of a merged order among its originals: whole pieces, exact, confirmation by confirmation.

Arithmetic only: which orders may be merged is ``split_merge.py``'s.
"""

from __future__ import annotations

from bisect import bisect_left
from fractions import Fraction
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.core.rules_orders import Distribution

ORIGINALS_MAX: Final = 50


class Original(NamedTuple):
    """One order under a leader. ``open_pieces`` is what it wanted when it was merged, 0 or more.

    ``due_ns`` None: no date, behind all that have one. ``ratio`` is its share with ``fixed_ratio``, 1 or more.
    """

    order: str
    open_pieces: int
    due_ns: int | None = None
    ratio: int = 1


class Shares(NamedTuple):
    """What each original was given so far, in the sequence of the originals."""

    given: tuple[int, ...]

    @property
    def total(self) -> int:
        """All that was distributed."""
        return sum(self.given)


def nothing_given(originals: Sequence[Original]) -> Shares:
    """The beginning."""
    return Shares((0,) * len(originals))


def distribute(pieces: int, originals: Sequence[Original], shares: Shares, how: Distribution) -> Shares:
    """The shares after ``pieces`` more (0 or more); the difference is what each original gets of these.

    The sum is exact. Nobody gets more than is open while another is not full; what is beyond all of them goes on by
    the same weights (to the last by due date, where dates decide). Of one distribution from the beginning the fractions
    go to the largest remainders, the first original where they are equal. What was given is never taken back: parts may
    therefore differ from one distribution of their sum by one piece per original, which evens out once all are full.
    Raises ValueError for negative pieces, shares that are not theirs, or ratios below 1.
    """
    _validate(pieces, originals, shares)
    total = shares.total + pieces
    due = _due(total, originals, how)
    at_once = _largest_remainders(due, total)
    given = _raised(at_once, shares.given, total)
    for _ in range(total - sum(given)):
        given[_neediest(due, given)] += 1
    return Shares(tuple(given))


def _raised(at_once: Sequence[int], given: Sequence[int], total: int) -> list[int]:
    """What was given, raised to one below what a distribution from the beginning would give.

    Where some have more than their share, that may be too much for the others; then to the least below that fits.
    """

    def raised(below: int) -> list[int]:
        return [max(have, share - below) for have, share in zip(given, at_once, strict=True)]

    depths = range(1, max(at_once) + 2)
    return raised(depths[bisect_left(depths, True, key=lambda below: sum(raised(below)) <= total)])


def _neediest(due: Sequence[Fraction], given: Sequence[int]) -> int:
    """Who lacks most of what is due to him; the first of equals."""
    return max(range(len(given)), key=lambda one: (due[one] - given[one], -one))


def _largest_remainders(due: Sequence[Fraction], total: int) -> list[int]:
    whole = [int(share) for share in due]
    by_remainder = sorted(range(len(due)), key=lambda one: (whole[one] - due[one], one))
    for one in by_remainder[: total - sum(whole)]:
        whole[one] += 1
    return whole


def _due(total: int, originals: Sequence[Original], how: Distribution) -> list[Fraction]:
    """What each is due of ``total``, as an exact fraction; the sum is ``total``."""
    caps = [one.open_pieces for one in originals]
    wanted = sum(caps)
    if how == "sequential_by_due_date":
        return _in_sequence(total, originals)
    weights = [one.ratio for one in originals] if how == "fixed_ratio" else caps
    if not any(weights):
        weights = [1] * len(caps)
    surplus = Fraction(max(total - wanted, 0))
    filled = _filled(total, caps, weights) if total < wanted else [Fraction(cap) for cap in caps]
    return [have + surplus * weight / sum(weights) for have, weight in zip(filled, weights, strict=True)]


def _in_sequence(total: int, originals: Sequence[Original]) -> list[Fraction]:
    last = len(originals)
    by_date = sorted(range(last), key=lambda one: (originals[one].due_ns is None, originals[one].due_ns or 0, one))
    due, left = [Fraction(0)] * last, total
    for one in by_date:
        due[one] = Fraction(min(left, originals[one].open_pieces))
        left -= min(left, originals[one].open_pieces)
    due[by_date[-1]] += left
    return due


def _filled(total: int, caps: Sequence[int], weights: Sequence[int]) -> list[Fraction]:
    """``total`` by weight, nobody above his cap: what one cannot take goes to the others, by weight again."""
    due: list[Fraction | None] = [None] * len(caps)
    left = Fraction(total)
    while True:
        open_ones = [one for one, share in enumerate(due) if share is None]
        weight = sum(weights[one] for one in open_ones)
        full = [one for one in open_ones if left * weights[one] >= caps[one] * weight]
        if not full:
            return [left * weights[one] / weight if share is None else share for one, share in enumerate(due)]
        for one in full:
            due[one] = Fraction(caps[one])
        left -= sum(caps[one] for one in full)
        if len(full) == len(open_ones):
            return [Fraction(0) if share is None else share for share in due]


def _validate(pieces: int, originals: Sequence[Original], shares: Shares) -> None:
    if pieces < 0:
        raise ValueError(f"pieces: found {pieces}, allowed 0 and above")
    if not 1 <= len(originals) <= ORIGINALS_MAX:
        raise ValueError(f"originals: found {len(originals)}, allowed 1 to {ORIGINALS_MAX}")
    if len(shares.given) != len(originals) or min(shares.given) < 0:
        raise ValueError(f"shares: found {shares.given}, allowed one from 0 on for each of {len(originals)} originals")
    if any(one.open_pieces < 0 or one.ratio < 1 for one in originals):
        raise ValueError("originals: found open pieces below 0 or a ratio below 1, allowed 0 and 1 and above")
