"""The gateway's numbers of an operation against the ERP's: what differs, and what is proposed.

The gateway is right about what the machine did, the ERP about what the order is. The table says what each difference
means. It proposes; nothing is repaired here, and nothing without a report.
"""

from __future__ import annotations

import enum
import hashlib
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.core.confirming.quantities import NOTHING, Pieces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

FINDINGS_MAX: Final = 1000  # in one report; further ones are counted
KEYS_SHOWN_MAX: Final = 5  # in one text; a finding carries all of them
_ZERO: Final = Decimal(0)


class FindingCode(enum.StrEnum):
    """What was found."""

    IN_BUFFER = "IN_BUFFER"
    LOOK_UP = "LOOK_UP"
    MISSING_IN_ERP = "MISSING_IN_ERP"
    MISMATCH = "MISMATCH"
    EXTERNAL_CONFIRMATION = "EXTERNAL_CONFIRMATION"
    ERP_CLOSED = "ERP_CLOSED"
    EDGE_DATA_LOST = "EDGE_DATA_LOST"
    DEAD_LETTER = "DEAD_LETTER"
    ACK_LOST = "ACK_LOST"
    PERIOD_CLOSED = "PERIOD_CLOSED"
    UNKNOWN_IN_ERP = "UNKNOWN_IN_ERP"


class Action(enum.StrEnum):
    """What is proposed."""

    NONE = "nothing: it will flow"
    LOOK_UP_BY_KEY = "ask the ERP for these keys"
    RESEND_SAME_KEY = "send again under the same key"
    TASK = "a person settles the difference"
    IMPORT_EXTERNAL = "take it over as a confirmation of the ERP; less remains, nothing is sent"
    HOLD = "put the operation on hold (ERP_CLOSED), count on as unallocated, alert"
    NEW_EPOCH = "number from 1 on in a new epoch; report the ERP's highest number"
    SETTLE_DEAD_LETTER = "a person settles the refused confirmation; the ones behind it wait"
    POST_IN_PRESENT_PERIOD = "a person posts it today; the dates of the events stay"
    ASK_ERP = "ask the ERP where the order is"


#: Proposals that only a person may take up.
BY_PERSON: Final = frozenset(
    {Action.TASK, Action.SETTLE_DEAD_LETTER, Action.POST_IN_PRESENT_PERIOD, Action.ASK_ERP, Action.IMPORT_EXTERNAL}
)


#: What a person may settle: everything else goes by itself, or has a verb of its own.
SETTLED_BY_PERSON: Final = frozenset(
    {
        FindingCode.LOOK_UP,
        FindingCode.MISSING_IN_ERP,
        FindingCode.MISMATCH,
        FindingCode.EXTERNAL_CONFIRMATION,
        FindingCode.EDGE_DATA_LOST,
        FindingCode.UNKNOWN_IN_ERP,
    }
)


class ErpQuantities(NamedTuple):
    """What the ERP has confirmed, in pieces (the caller converts). It knows neither pieces on hold nor samples."""

    good: Decimal = _ZERO
    scrap: Decimal = _ZERO
    rework: Decimal = _ZERO


class LookedUp(enum.StrEnum):
    """What the ERP says of one key."""

    FOUND = "found"
    MISSING = "missing"
    REVERSED = "reversed"  # booked, and cancelled in the ERP


class EdgeFacts(NamedTuple):
    """What the gateway knows of an operation. Sums are over confirmations with their reversals, void ones left out.

    ``acked`` is acknowledged under ``acked_keys``; ``in_doubt`` was sent and not answered; ``accepted`` was
    taken over by the ERP, which has not booked it yet, as far as it says; ``waiting`` was not sent.
    ``external`` was taken over from the ERP before. ``epochs`` are all under which keys of this operation were given,
    the present one last; ``seq`` is the last number in that. ``known`` False: there is no record of the operation.
    ``closed_period_keys`` are refused because the ERP's period is closed; ``rejected_keys`` for another reason.
    ``source``: whose order it is, where two ERPs have one of that number; else "".
    """

    order: str
    operation: str
    known: bool = True
    running: bool = False
    epochs: tuple[str, ...] = ()
    seq: int = 0
    acked: Pieces = NOTHING
    in_doubt: Pieces = NOTHING
    accepted: Pieces = NOTHING
    waiting: Pieces = NOTHING
    external: ErpQuantities = ErpQuantities()
    acked_keys: tuple[str, ...] = ()
    in_doubt_keys: tuple[str, ...] = ()
    rejected_keys: tuple[str, ...] = ()
    closed_period_keys: tuple[str, ...] = ()
    waiting_behind: int = 0
    source: str = ""


class ErpFacts(NamedTuple):
    """What the ERP says of the operation. ``highest`` are epochs and the highest number that it has of each.

    ``looked_up`` are keys and what it said of them; () where it was not asked.
    """

    known: bool = True
    closed: bool = False
    confirmed: ErpQuantities = ErpQuantities()
    highest: tuple[tuple[str, int], ...] = ()
    looked_up: tuple[tuple[str, LookedUp], ...] = ()


class Finding(NamedTuple):
    """One difference. ``difference`` is the ERP's number less the gateway's acknowledged one."""

    code: FindingCode
    order: str
    operation: str
    text: str
    action: Action
    difference: ErpQuantities = ErpQuantities()
    keys: tuple[str, ...] = ()
    source: str = ""

    def __str__(self) -> str:
        return f"{self.code}: order {self.order} operation {self.operation}: {self.text}; proposed: {self.action}"

    @property
    def identity(self) -> str:
        """Which difference it is: what a person settles is this one, and none that comes after it."""
        what = "/".join(f"{number:f}" for number in self.difference)
        text = "\n".join((*self.keys, self.source) if self.source else self.keys) if self.keys else self.text
        return f"{self.code} {what} {hashlib.sha256(text.encode()).hexdigest()[:16]}"


class Report(NamedTuple):
    """``compared`` operations; ``left_out`` findings are more than a report holds.

    ``said``: code and identity of each finding by operation, () where both sides agree, whatever the report has room
    for.
    """

    at_ns: int
    compared: int
    findings: tuple[Finding, ...]
    left_out: int
    counts: tuple[tuple[str, int], ...]
    said: tuple[tuple[str, str, tuple[tuple[FindingCode, str], ...]], ...] = ()


class _Compared(NamedTuple):
    """Both sides, and their differences: from what is acknowledged, and from what may be there at most."""

    edge: EdgeFacts
    erp: ErpFacts
    from_acked: ErpQuantities
    from_most: ErpQuantities

    @property
    def behind(self) -> bool:
        """The ERP has less than it acknowledged, of something."""
        return self.erp.known and min(self.from_acked) < 0

    @property
    def ahead(self) -> bool:
        """The ERP has more than it can have from here, of something."""
        return self.erp.known and max(self.from_most) > 0

    def told(self, answer: LookedUp) -> tuple[str, ...]:
        """The acknowledged keys of which the ERP said this."""
        return tuple(key for key, said in self.erp.looked_up if said is answer and key in self.edge.acked_keys)


class Row(NamedTuple):
    """One row of the table. ``found`` says what is found, or None; ``keys`` are the confirmations that it is about."""

    code: FindingCode
    action: Action
    found: Callable[[_Compared], str | None]
    keys: Callable[[_Compared], tuple[str, ...]] = lambda _both: ()


def _in_buffer(both: _Compared) -> str | None:
    if not both.erp.known or both.behind or both.ahead:
        return None
    told = [f"{_show(both.edge.waiting)} wait to be sent"] if any(both.edge.waiting) else []
    told += [f"{_show(both.edge.accepted)} wait in the ERP to be booked"] if any(both.edge.accepted) else []
    return "; ".join(told) or None


def _look_up(both: _Compared) -> str | None:
    asked = {key for key, _ in both.erp.looked_up}
    if not both.behind or both.ahead or not set(both.edge.acked_keys) - asked:
        return None
    return f"the ERP has {_gap(both.from_acked)} than it acknowledged; its keys were not all looked up"


def _missing(both: _Compared) -> str | None:
    missing = both.told(LookedUp.MISSING)
    if not both.behind or both.ahead or not missing:
        return None
    return f"the ERP has {_gap(both.from_acked)} than it acknowledged, and does not know {_keys(missing)}"


def _mismatch(both: _Compared) -> str | None:
    if both.behind and both.ahead:
        return f"the ERP has {_gap(both.from_acked)} than it acknowledged: more of one and less of another"
    if not both.behind or set(both.edge.acked_keys) - {key for key, _ in both.erp.looked_up}:
        return None
    if both.told(LookedUp.MISSING):
        return None
    cancelled = both.told(LookedUp.REVERSED)
    why = f"{_keys(cancelled)} reversed there" if cancelled else "every key is there"
    return f"the ERP has {_gap(both.from_acked)} than it acknowledged; {why}"


def _external(both: _Compared) -> str | None:
    if not both.ahead or both.behind:
        return None
    return f"the ERP has {_gap(both.from_most)} than was sent: somebody confirmed there"


def _closed(both: _Compared) -> str | None:
    if not both.erp.closed or not both.edge.running:
        return None
    return "the order is closed in the ERP and runs here"


def _lost(both: _Compared) -> str | None:
    """Numbers that the ERP has and that were never given here, as far as is known."""
    present = both.edge.epochs[-1] if both.edge.epochs else ""
    for epoch, seq in both.erp.highest:
        if epoch == present and seq > both.edge.seq:
            return f"the ERP has number {seq} of epoch {epoch}, the last one here is {both.edge.seq}: an older database"
        if epoch not in both.edge.epochs:
            here = "the operation is not known here" if not both.edge.known else "that epoch is not known here"
            return f"the ERP has confirmations up to number {seq} of epoch {epoch}, and {here}"
    return None


def _dead(both: _Compared) -> str | None:
    if not both.edge.rejected_keys:
        return None
    behind = f"{both.edge.waiting_behind} confirmations of this operation wait behind it"
    return f"the ERP refused {_keys(both.edge.rejected_keys)}; {behind}; other orders go on"


def _ack_lost(both: _Compared) -> str | None:
    if not both.edge.in_doubt_keys:
        return None
    return f"no answer to {_keys(both.edge.in_doubt_keys)}; the ERP must answer a key that it has as a duplicate"


def _period(both: _Compared) -> str | None:
    if not both.edge.closed_period_keys:
        return None
    return f"the ERP's period is closed for {_keys(both.edge.closed_period_keys)}"


def _unknown(both: _Compared) -> str | None:
    if both.erp.known or not both.edge.known:
        return None
    return "the ERP does not know the operation"


TABLE: Final[tuple[Row, ...]] = (
    Row(FindingCode.IN_BUFFER, Action.NONE, _in_buffer),
    Row(
        FindingCode.LOOK_UP,
        Action.LOOK_UP_BY_KEY,
        _look_up,
        lambda both: tuple(key for key in both.edge.acked_keys if key not in dict(both.erp.looked_up)),
    ),
    Row(FindingCode.MISSING_IN_ERP, Action.RESEND_SAME_KEY, _missing, lambda both: both.told(LookedUp.MISSING)),
    Row(FindingCode.MISMATCH, Action.TASK, _mismatch, lambda both: both.told(LookedUp.REVERSED)),
    Row(FindingCode.EXTERNAL_CONFIRMATION, Action.IMPORT_EXTERNAL, _external),
    Row(FindingCode.ERP_CLOSED, Action.HOLD, _closed),
    Row(FindingCode.EDGE_DATA_LOST, Action.NEW_EPOCH, _lost),
    Row(FindingCode.DEAD_LETTER, Action.SETTLE_DEAD_LETTER, _dead, lambda both: both.edge.rejected_keys),
    Row(FindingCode.ACK_LOST, Action.RESEND_SAME_KEY, _ack_lost, lambda both: both.edge.in_doubt_keys),
    Row(
        FindingCode.PERIOD_CLOSED,
        Action.POST_IN_PRESENT_PERIOD,
        _period,
        lambda both: both.edge.closed_period_keys,
    ),
    Row(FindingCode.UNKNOWN_IN_ERP, Action.ASK_ERP, _unknown),
)


def compare(edge: EdgeFacts, erp: ErpFacts) -> tuple[Finding, ...]:
    """What differs between both sides of one operation, in the order of the table; empty: they agree."""
    external = edge.external
    sent = (edge.acked.good, edge.acked.scrap, edge.acked.rework)
    open_there = edge.in_doubt.plus(edge.accepted)
    doubtful = (open_there.good, open_there.scrap, open_there.rework)
    acked = [one + have for one, have in zip(sent, external, strict=True)]
    # A reversal in doubt may lower what is there: the most is without it.
    most = [one + max(maybe, 0) for one, maybe in zip(acked, doubtful, strict=True)]
    least = [one + min(maybe, 0) for one, maybe in zip(acked, doubtful, strict=True)]
    both = _Compared(
        edge,
        erp,
        ErpQuantities(*(have - one for have, one in zip(erp.confirmed, least, strict=True))),
        ErpQuantities(*(have - one for have, one in zip(erp.confirmed, most, strict=True))),
    )
    findings: list[Finding] = []
    for row in TABLE:
        text = row.found(both)
        if text is not None:
            difference = both.from_most if row.code is FindingCode.EXTERNAL_CONFIRMATION else both.from_acked
            text = f"{edge.source}: {text}" if edge.source else text
            keys = row.keys(both)
            found = Finding(row.code, edge.order, edge.operation, text, row.action, difference, keys, edge.source)
            findings.append(found)
    return tuple(findings)


def report(at_ns: int, pairs: Iterable[tuple[EdgeFacts, ErpFacts]]) -> Report:
    """All operations. What does nothing but flow is counted and listed like the rest."""
    findings: list[Finding] = []
    counts: Counter[str] = Counter()
    said: dict[tuple[str, str], list[tuple[FindingCode, str]]] = {}
    compared = 0
    for edge, erp in pairs:
        new = compare(edge, erp)
        compared += 1
        said.setdefault((edge.order, edge.operation), []).extend((one.code, one.identity) for one in new)
        counts.update(one.code.value for one in new)
        findings.extend(new[: max(FINDINGS_MAX - len(findings), 0)])
    left_out = counts.total() - len(findings)
    told = tuple((*key, tuple(codes)) for key, codes in said.items())
    return Report(at_ns, compared, tuple(findings), left_out, tuple(sorted(counts.items())), told)


def _show(pieces: Pieces) -> str:
    return ", ".join(f"{number} {name}" for name, number in pieces._asdict().items() if number)


def _gap(difference: ErpQuantities) -> str:
    parts = [
        f"{abs(number):f} {name} {'more' if number > 0 else 'fewer'}"
        for name, number in difference._asdict().items()
        if number
    ]
    return ", ".join(parts)


def _keys(keys: tuple[str, ...]) -> str:
    more = f" and {len(keys) - KEYS_SHOWN_MAX} more" if len(keys) > KEYS_SHOWN_MAX else ""
    return ", ".join(keys[:KEYS_SHOWN_MAX]) + more
