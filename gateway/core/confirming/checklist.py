"""What is still open before a final confirmation, and what happens at, beyond and short of the target quantity.

Facts in, points and decisions out. A fact is never held back: beyond the tolerance the confirmation is made all the
same, and waits for an approval. Settles nothing and asks nobody.
"""

from __future__ import annotations

import enum
import math
from fractions import Fraction
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.core.duration import NS_PER_S, Duration
from gateway.core.wording import pieces_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from decimal import Decimal

    from gateway.core.rules_confirming import ChecklistRule, DeliveryRule

NAMES_SHOWN_MAX: Final = 5  # of a list, in one point
_WHOLE: Final = 100  # percent


class Check(enum.StrEnum):
    """A point of the checklist; its value is the key of its setting."""

    HOLDS = "holds"
    COUNTERS = "counters"
    UNKNOWN = "unknown"
    LOTS = "lots"
    INSPECTION = "inspection"
    DURATION = "duration"
    UNDER_DELIVERY = "under_delivery"


class UnknownTime(NamedTuple):
    """An interval in which nobody knows what the machine did."""

    from_ns: int
    to_ns: int
    acknowledged: bool = False


class FinalFacts(NamedTuple):
    """What is known of an operation that is about to be confirmed finally. Each default is "nothing against it".

    ``counters_in_doubt`` are signals whose last value waits for a second one; ``review_pieces`` are counts set aside;
    ``counters_accepted``: a person takes both as they are. ``inspection_verdict`` "" : none yet. ``target`` None: there
    is none. ``made`` is what counts against it. ``under_tolerance`` in percent, None where the ERP names none.
    """

    hold_pieces: int = 0
    counters_in_doubt: tuple[str, ...] = ()
    review_pieces: int = 0
    counters_accepted: bool = False
    unknown: tuple[UnknownTime, ...] = ()
    lots_missing: tuple[str, ...] = ()
    inspection_required: bool = False
    inspection_verdict: str = ""
    duration_ns: int = 1
    target: Decimal | None = None
    made: int = 0
    under_tolerance: Decimal | None = None
    under_reason: str = ""


class OpenPoint(NamedTuple):
    """One point that is open. ``blocks`` False: the final confirmation may go, with a flag."""

    check: Check
    blocks: bool
    found: str
    wanted: str
    what_to_do: str

    def __str__(self) -> str:
        return f"{self.check}: found {self.found}, wanted {self.wanted}; {self.what_to_do}"


def open_points(facts: FinalFacts, rule: ChecklistRule, delivery: DeliveryRule) -> tuple[OpenPoint, ...]:
    """Every point that is open, in the order of ``Check``; empty: the final confirmation may be made."""
    points: list[OpenPoint] = []
    for check in Check:
        mode: str = getattr(rule, check.value)
        found = None if mode == "off" else _ASK[check](facts, rule, delivery)
        if found is not None:
            points.append(OpenPoint(check, mode == "block", *found))
    return tuple(points)


def may_be_final(points: Iterable[OpenPoint]) -> bool:
    """Whether none of them keeps the final confirmation from being made."""
    return not any(point.blocks for point in points)


class OverDelivery(NamedTuple):
    """What becomes of pieces that come at or beyond the target.

    ``over_target`` is a flag of the confirmation; ``needs_approval``: it is beyond the tolerance. ``ask_stop``: ask the
    machine to stop (once: when the target is reached).
    """

    to_order: int
    to_unallocated: int = 0
    ask_stop: bool = False
    over_target: bool = False
    needs_approval: bool = False


def over_delivery(
    rule: DeliveryRule, target: Decimal, tolerance: Decimal | None, made: int, pieces: int
) -> OverDelivery:
    """So many more ``pieces``, of what counts against the ``target``, where ``made`` are booked already.

    ``tolerance`` in percent, None where the ERP names none.
    """
    to_order = pieces
    if rule.at_target == "stop_booking":
        to_order = min(pieces, max(math.ceil(target) - made, 0))
    after = made + to_order
    return OverDelivery(
        to_order,
        pieces - to_order,
        ask_stop=rule.at_target == "request_plc_stop" and made < target <= after,
        over_target=after > target,
        needs_approval=beyond_tolerance(rule, target, tolerance, after),
    )


def beyond_tolerance(rule: DeliveryRule, target: Decimal, tolerance: Decimal | None, made: int) -> bool:
    """Whether so many are more than tolerated: a confirmation that says so needs an approval.

    Without a tolerance of the ERP or of the rule it never is: then the ERP judges.
    """
    most = _most(rule, target, tolerance)
    return most is not None and made > most


def tolerated_part(
    rule: DeliveryRule, target: Decimal, tolerance: Decimal | None, confirmed: int, pieces: int
) -> tuple[int, int]:
    """The ERP refused ``pieces`` on top of what it has ``confirmed``: what it would take, and what is unallocated.

    Without any tolerance it takes up to the target.
    """
    most = _most(rule, target, tolerance)
    room = math.floor(Fraction(target) if most is None else most) - confirmed
    taken = min(pieces, max(room, 0))
    return taken, pieces - taken


def _most(rule: DeliveryRule, target: Decimal, tolerance: Decimal | None) -> Fraction | None:
    percent = rule.over if tolerance is None else tolerance
    return None if percent is None else Fraction(target) * (_WHOLE + Fraction(percent)) / _WHOLE


_Objection = tuple[str, str, str] | None  # found, wanted, what to do


def _holds(facts: FinalFacts, _rule: ChecklistRule, _delivery: DeliveryRule) -> _Objection:
    if not facts.hold_pieces:
        return None
    return (f"{pieces_of(facts.hold_pieces)} on hold", "none", "judge them: linegate order reclassify --from hold")


def _counters(facts: FinalFacts, _rule: ChecklistRule, _delivery: DeliveryRule) -> _Objection:
    if facts.counters_accepted or not (facts.counters_in_doubt or facts.review_pieces):
        return None
    told = [f"{_names(facts.counters_in_doubt)} in doubt"] if facts.counters_in_doubt else []
    told += [f"{pieces_of(facts.review_pieces)} set aside"] if facts.review_pieces else []
    what = "wait for the next value, or take the count as it is: linegate order acknowledge-data"
    return (" and ".join(told), "every counter sure", what)


def _unknown(facts: FinalFacts, rule: ChecklistRule, _delivery: DeliveryRule) -> _Objection:
    longest = rule.unknown_longer_than
    found = [one for one in facts.unknown if not one.acknowledged and one.to_ns - one.from_ns > longest]
    if not found:
        return None
    length_ns = max(one.to_ns - one.from_ns for one in found)
    length = Duration(length_ns - length_ns % NS_PER_S if length_ns > NS_PER_S else length_ns)  # for people
    text = f"{len(found)} unknown {'interval' if len(found) == 1 else 'intervals'}, the longest {length}"
    return (
        text,
        f"each above {longest} acknowledged",
        "look at what the machine did then: linegate order acknowledge-data",
    )


def _lots(facts: FinalFacts, _rule: ChecklistRule, _delivery: DeliveryRule) -> _Objection:
    if not facts.lots_missing:
        return None
    return (
        f"unknown lot of {_names(facts.lots_missing)}",
        "every lot known",
        "name them (linegate lots name), or take it as it is: linegate order acknowledge-data",
    )


def _inspection(facts: FinalFacts, _rule: ChecklistRule, _delivery: DeliveryRule) -> _Objection:
    if not facts.inspection_required or facts.inspection_verdict:
        return None
    return ("no verdict of the inspection", "a verdict", "quality enters its verdict: linegate order inspect")


def _duration(facts: FinalFacts, _rule: ChecklistRule, _delivery: DeliveryRule) -> _Objection:
    if facts.duration_ns > 0:
        return None
    return ("a run of 0 s", "a run that took time", "check when it was started")


def _under(facts: FinalFacts, _rule: ChecklistRule, delivery: DeliveryRule) -> _Objection:
    if facts.target is None or facts.under_reason:
        return None
    percent = delivery.under if facts.under_tolerance is None else facts.under_tolerance
    if percent is None:
        return None  # nobody says what is tolerated: the ERP judges
    least = Fraction(facts.target) * (_WHOLE - Fraction(percent)) / _WHOLE
    if facts.made >= least:
        return None
    text = f"{facts.made} of {facts.target} made"
    return (
        text,
        f"{math.ceil(least)} and above, or a reason",
        "make the rest, or say why the order ends short: linegate order finish --reason",
    )


def _names(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - NAMES_SHOWN_MAX} more" if len(listed) > NAMES_SHOWN_MAX else ""
    return ", ".join(listed[:NAMES_SHOWN_MAX]) + more


_ASK: Final[dict[Check, Callable[[FinalFacts, ChecklistRule, DeliveryRule], _Objection]]] = {
    Check.HOLDS: _holds,
    Check.COUNTERS: _counters,
    Check.UNKNOWN: _unknown,
    Check.LOTS: _lots,
    Check.INSPECTION: _inspection,
    Check.DURATION: _duration,
    Check.UNDER_DELIVERY: _under,
}
