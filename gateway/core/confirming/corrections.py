"""How confirmations are put right: never edited, but reversed and made anew, or followed by one that corrects them.

What is made depends on how far a confirmation got and on what the ERP can do. Before it is sent it becomes void. After,
an ERP that cancels documents gets a reversal and a new confirmation; one that takes negative quantities gets the pair
(good -n, scrap +n); one that can do neither gets a task for a person. Whatever is made: the sum of all confirmations of
an operation with their reversals, and what is still open, is what the book says; so is the sum without the void ones.

Gives no numbers and no keys (the closing transaction does), and books nothing.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.core.confirming.hold_back import IN_DOUBT, VOIDABLE, Delivery
from gateway.core.confirming.quantities import NOTHING, Pieces, total_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.core.model import Role

REASON_MAX_CHARS: Final = 400


class Capability(enum.StrEnum):
    """How the ERP takes a correction of what it has booked."""

    CANCEL = "cancel"  # it cancels a document
    NEGATIVE = "negative"  # it takes quantities below 0
    MANUAL = "manual"  # a person does it there


class EntryKind(enum.StrEnum):
    """What a confirmation of the ledger is."""

    PARTIAL = "partial"
    FINAL = "final"
    REVERSAL = "reversal"


class Origin(enum.StrEnum):
    """Where a confirmation comes from."""

    AUTO = "auto"
    OPERATOR = "operator"
    ALLOCATION = "allocation"
    CORRECTION = "correction"


class Entry(NamedTuple):
    """One confirmation of an operation, as far as corrections need it. ``pieces`` of a reversal are below 0."""

    key: str
    kind: EntryKind
    pieces: Pieces
    delivery: Delivery
    reverses: str = ""
    origin: Origin = Origin.AUTO


class Ledger(NamedTuple):
    """All confirmations of one operation in the order of their numbers, and what is not confirmed yet."""

    entries: tuple[Entry, ...] = ()
    open: Pieces = NOTHING

    @property
    def book(self) -> Pieces:
        """What the operation has made: confirmed and open."""
        return self.confirmed.plus(self.open)

    @property
    def confirmed(self) -> Pieces:
        """The sum over all confirmations, reversals and void ones included."""
        return total_of(one.pieces for one in self.entries)

    @property
    def sent(self) -> Pieces:
        """The sum over those that are or will be at the ERP."""
        return total_of(one.pieces for one in self.entries if one.delivery is not Delivery.VOIDED_BEFORE_SEND)

    def live(self) -> tuple[Entry, ...]:
        """Confirmations that hold: neither void, nor reversed, nor reversals."""
        gone = {one.reverses for one in self.entries if one.kind is EntryKind.REVERSAL}
        return tuple(
            one
            for one in self.entries
            if one.kind is not EntryKind.REVERSAL
            and one.key not in gone
            and one.delivery is not Delivery.VOIDED_BEFORE_SEND
        )


def restored(data: Mapping[str, Any]) -> Ledger:
    """What ``_asdict`` and JSON made of a ledger. Raises KeyError, TypeError or ValueError for anything else."""
    entries = tuple(
        Entry(key, EntryKind(kind), Pieces(*pieces), Delivery(delivery), reverses, Origin(origin))
        for key, kind, pieces, delivery, reverses, origin in data["entries"]
    )
    return Ledger(entries, Pieces(*data["open"]))


class Who(NamedTuple):
    """Who corrects, when and why. ``signed_by``: the electronic signature, "" where none was given."""

    at_ns: int
    who: str
    reason: str
    signed_by: str = ""


class Draft(NamedTuple):
    """A confirmation to be closed. All but its pieces is taken from ``content_of``, with ``sign`` (-1: taken back).

    ``posting``: the date that it is posted on instead, "" where that stays, too.
    """

    kind: EntryKind
    pieces: Pieces
    delivery: Delivery
    content_of: str
    sign: int
    reverses: str
    by: Who
    origin: Origin = Origin.CORRECTION
    posting: str = ""


class Plan(NamedTuple):
    """What is to be done in one transaction: make void, close the drafts in their order, change open and book."""

    voided: tuple[str, ...] = ()
    drafts: tuple[Draft, ...] = ()
    open_change: Pieces = NOTHING
    book_change: Pieces = NOTHING


class CorrectionRefused(NamedTuple):
    """Nothing is done."""

    code: str
    text: str
    what_to_do: str

    def __str__(self) -> str:
        return f"{self.code}: {self.text}; {self.what_to_do}"


def reverse(ledger: Ledger, of: str, by: Who, capability: Capability) -> Plan | CorrectionRefused:
    """Take a confirmation back: its pieces are open again.

    One that judged pieces otherwise (a pair) made none: to take it back judges them as before.
    """
    found = _found(ledger, of, by)
    if isinstance(found, CorrectionRefused):
        return found
    plan = _taken_back(found, by, capability)
    if _is_pair(found):
        return _checked(ledger, plan._replace(book_change=NOTHING.minus(found.pieces)))
    return _checked(ledger, plan._replace(open_change=found.pieces))


def replace(ledger: Ledger, of: str, pieces: Pieces, by: Who, capability: Capability) -> Plan | CorrectionRefused:
    """Take a confirmation back and confirm these pieces instead, for the same period.

    The book changes by the difference: the count itself was wrong.
    """
    found = _found(ledger, of, by)
    if isinstance(found, CorrectionRefused):
        return found
    if _is_pair(found):
        text = f"{of} judged pieces otherwise and made none"
        return CorrectionRefused("IS_PAIR", text, "take it back, then judge them anew")
    if min(pieces) < 0:
        return CorrectionRefused("NEGATIVE_QUANTITY", f"found {tuple(pieces)}", "give quantities from 0 on")
    back = _taken_back(found, by, capability)
    new = _again(found, pieces, by, back.drafts[0].delivery)
    plan = back._replace(drafts=(*back.drafts, new), book_change=pieces.minus(found.pieces))
    return _checked(ledger, plan)


def reclassify(
    ledger: Ledger, pieces: int, role_from: Role, role_to: Role, by: Who, capability: Capability
) -> Plan | CorrectionRefused:
    """Judge pieces otherwise: they were made, and are something else than was said.

    What is not confirmed yet goes first, then what is not sent yet, then what the ERP has; the latest first. Where one
    that is not sent becomes void, so do the ones behind it: all are made anew in their order, so that totals only grow.
    """
    if pieces < 1 or role_from is role_to:
        text = f"found {pieces} from {role_from} to {role_to}"
        return CorrectionRefused("NOTHING_TO_CHANGE", text, "give 1 and above, and two different kinds")
    refused = _who(by)
    if refused is not None:
        return refused
    from_open = min(pieces, max(ledger.open.role(role_from), 0))
    plan, rest = _in_unsent(ledger, pieces - from_open, role_from, role_to, by)
    if rest:
        late = _in_booked(ledger, rest, role_from, role_to, by, capability)
        if isinstance(late, CorrectionRefused):
            return late
        plan = plan._replace(drafts=_void_last(plan.drafts, late))
    return _checked(
        ledger,
        plan._replace(
            open_change=NOTHING.moved(from_open, role_from, role_to),
            book_change=NOTHING.moved(pieces, role_from, role_to),
        ),
    )


def refused_part(ledger: Ledger, of: str, tolerated: Pieces, by: Who) -> Plan | CorrectionRefused:
    """A confirmation that waits for an approval does not get it: only ``tolerated`` of it is confirmed.

    The book changes by the rest: those pieces are no order's any more.
    """
    found = _found(ledger, of, by)
    if isinstance(found, CorrectionRefused):
        return found
    if found.delivery is not Delivery.NEEDS_APPROVAL:
        text = f"{of} is {found.delivery} and waits for no approval"
        return CorrectionRefused("NOT_WAITING", text, "correct it, if it is wrong")
    back = _taken_back(found, by, Capability.CANCEL)
    drafts = back.drafts
    if tolerated.total or found.kind is EntryKind.FINAL:
        new = _again(found, tolerated, by, Delivery.VOIDED_BEFORE_SEND)
        drafts = (*drafts, new._replace(delivery=Delivery.READY))
    return back._replace(drafts=drafts, book_change=tolerated.minus(found.pieces))


def reopened(ledger: Ledger, by: Who, capability: Capability) -> Plan | CorrectionRefused | None:
    """The operation goes on: its final confirmation is taken back, and its pieces are a partial one. None: it has none.

    It changes no number, so that nothing is signed.
    """
    final = next((one for one in reversed(ledger.live()) if one.kind is EntryKind.FINAL), None)
    if final is None:
        return None
    found = _found(ledger, final.key, by)
    if isinstance(found, CorrectionRefused):
        return found
    back = _taken_back(found, by, capability)
    new = _again(found._replace(kind=EntryKind.PARTIAL), found.pieces, by, back.drafts[0].delivery)
    return back._replace(drafts=(*back.drafts, new))


def carried_out(ledger: Ledger, plan: Plan, key_of: Callable[[int], str]) -> Ledger:
    """The ledger once the plan is done. ``key_of`` gives the key of the number behind the last one, and so on."""
    entries = [
        one._replace(delivery=Delivery.VOIDED_BEFORE_SEND) if one.key in plan.voided else one for one in ledger.entries
    ]
    for draft in plan.drafts:
        key = key_of(len(entries) + 1)
        entries.append(Entry(key, draft.kind, draft.pieces, draft.delivery, draft.reverses, draft.origin))
    return Ledger(tuple(entries), ledger.open.plus(plan.open_change))


def _found(ledger: Ledger, of: str, by: Who) -> Entry | CorrectionRefused:
    refused = _who(by)
    if refused is not None:
        return refused
    one = next((entry for entry in ledger.entries if entry.key == of), None)
    if one is None:
        return CorrectionRefused("UNKNOWN_CONFIRMATION", f"found {of}", "give the key of one of this operation")
    if one.kind is EntryKind.REVERSAL:
        return CorrectionRefused("IS_REVERSAL", f"{of} is a reversal", "confirm anew what it took back")
    if one not in ledger.live():
        return CorrectionRefused("ALREADY_REVERSED", f"{of} was taken back before", "look at what replaced it")
    if one.delivery in IN_DOUBT:
        return _outstanding(of, one.delivery)
    return one


def _is_pair(one: Entry) -> bool:
    return min(one.pieces) < 0  # of a reversal too, which is not asked


def _outstanding(key: str, delivery: Delivery) -> CorrectionRefused:
    if delivery is Delivery.ELSEWHERE:
        text = f"{key} was given up here, or is confirmed by the ERP itself"
        return CorrectionRefused("NOT_OURS", text, "correct it in the ERP")
    if delivery is Delivery.BY_HAND:
        text = f"{key} waits for a person: the ERP may have it or not"
        todo = "look there, then say so (linegate outbox booked), or retry or discard it; then repeat"
        return CorrectionRefused("ANSWER_OUTSTANDING", text, todo)
    text = f"{key} is {delivery}: nobody knows yet whether the ERP has booked it"
    return CorrectionRefused("ANSWER_OUTSTANDING", text, "wait for the answer, or settle it at the outbox, then repeat")


def _who(by: Who) -> CorrectionRefused | None:
    if not by.who.strip():
        return CorrectionRefused("WHO_MISSING", "found nobody", "log in with your own name")
    if not by.reason.strip() or len(by.reason) > REASON_MAX_CHARS:
        text = f"found a reason of {len(by.reason)} characters"
        return CorrectionRefused("REASON_MISSING", text, f"say why, in 1 to {REASON_MAX_CHARS} characters")
    return None


def _taken_back(one: Entry, by: Who, capability: Capability) -> Plan:
    """The reversal of one confirmation, whatever its kind of delivery."""
    if one.delivery in VOIDABLE:
        return Plan((one.key,), (_reversal(one, by, Delivery.VOIDED_BEFORE_SEND),))
    delivery = Delivery.BY_HAND if capability is Capability.MANUAL else Delivery.READY
    return Plan((), (_reversal(one, by, delivery),))


def _reversal(one: Entry, by: Who, delivery: Delivery) -> Draft:
    return Draft(EntryKind.REVERSAL, NOTHING.minus(one.pieces), delivery, one.key, -1, one.key, by)


def _again(one: Entry, pieces: Pieces, by: Who, delivery: Delivery) -> Draft:
    """The same confirmation with other pieces. ``delivery`` is its reversal's: a void one voids only the former."""
    if delivery is not Delivery.VOIDED_BEFORE_SEND:
        return Draft(one.kind, pieces, delivery, one.key, 1, "", by, Origin.CORRECTION)
    # What waited for a signature waits for it anew. To the ERP it is the first of its kind, so its origin stays.
    again = Delivery.NEEDS_APPROVAL if one.delivery is Delivery.NEEDS_APPROVAL else Delivery.READY
    return Draft(one.kind, pieces, again, one.key, 1, "", by, one.origin)


def _in_unsent(ledger: Ledger, rest: int, role_from: Role, role_to: Role, by: Who) -> tuple[Plan, int]:
    """As much as can be changed in what is not sent, and how much is left."""
    waiting = [one for one in ledger.live() if one.delivery in VOIDABLE]
    changed: list[Entry] = []
    kept: list[Entry] = []  # behind what changes
    for one in reversed(waiting):
        taken = min(rest, max(one.pieces.role(role_from), 0))
        if not rest:
            break
        kept.append(one._replace(pieces=one.pieces.moved(taken, role_from, role_to)))
        rest -= taken
        if taken:
            changed, kept = [*changed, *kept], []
    remade = changed[::-1]
    old = {one.key: one for one in waiting}
    drafts = [_reversal(old[one.key], by, Delivery.VOIDED_BEFORE_SEND) for one in remade]
    drafts += [_again(one, one.pieces, by, Delivery.VOIDED_BEFORE_SEND) for one in remade]
    return Plan(tuple(one.key for one in remade), tuple(drafts)), rest


def _void_last(unsent: tuple[Draft, ...], late: Sequence[Draft]) -> tuple[Draft, ...]:
    """Void reversals, then what corrects the ERP's numbers, then what had not been sent, made anew."""
    void = [one for one in unsent if one.delivery is Delivery.VOIDED_BEFORE_SEND]
    again = [one for one in unsent if one.delivery is not Delivery.VOIDED_BEFORE_SEND]
    return (*void, *late, *again)


def _in_booked(
    ledger: Ledger, rest: int, role_from: Role, role_to: Role, by: Who, capability: Capability
) -> list[Draft] | CorrectionRefused:
    live = ledger.live()
    posted = [one for one in live if one.delivery is Delivery.POSTED]
    available = total_of(one.pieces for one in posted).role(role_from)
    if available < rest:
        doubtful = next((one for one in live if one.delivery in IN_DOUBT and one.pieces.role(role_from) > 0), None)
        if doubtful is not None:
            return _outstanding(doubtful.key, doubtful.delivery)
        have = ledger.book.role(role_from)
        text = f"the operation has {have} {role_from}, fewer than asked for"
        todo = f"give at most {have}" if have else "look at what is booked: linegate order list"
        return CorrectionRefused("NOT_ENOUGH", text, todo)
    if capability is not Capability.CANCEL:
        final = any(one.kind is EntryKind.FINAL for one in posted)
        delivery = Delivery.BY_HAND if capability is Capability.MANUAL else Delivery.READY
        kind = EntryKind.FINAL if final else EntryKind.PARTIAL
        return [Draft(kind, NOTHING.moved(rest, role_from, role_to), delivery, "", 1, "", by)]
    drafts: list[Draft] = []
    for one in reversed(posted):
        taken = min(rest, max(one.pieces.role(role_from), 0))
        if taken:
            rest -= taken
            new = _again(one, one.pieces.moved(taken, role_from, role_to), by, Delivery.READY)
            drafts += [_reversal(one, by, Delivery.READY), new]
    return drafts


def _checked(ledger: Ledger, plan: Plan) -> Plan | CorrectionRefused:
    """The plan, unless it needs a signature, or the ERP's sum would fall below 0."""
    if _after_final(ledger, plan) and not plan.drafts[0].by.signed_by:
        text = "the final confirmation is at the ERP"
        return CorrectionRefused(
            "SIGNATURE_REQUIRED", text, "sign the correction with your passphrase: --sign, or the field passphrase"
        )
    after = carried_out(ledger, plan, str)
    if min(after.sent) < 0:
        text = f"the ERP would have {tuple(after.sent)}: a later correction counts on this confirmation"
        return CorrectionRefused("LATER_CORRECTION", text, "take back the later correction first")
    return plan


def _after_final(ledger: Ledger, plan: Plan) -> bool:
    at_erp = any(one.kind is EntryKind.FINAL and one.delivery not in VOIDABLE for one in ledger.live())
    return at_erp and bool(plan.drafts)
