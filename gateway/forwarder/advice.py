"""What a person can do about a posting that does not go on: one sentence for each class of error, and for known codes.

Pure tables. The codes are those that ``connectors/rest`` documents; another ERP's own codes get the sentence of their
class.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from buffer.entry import GOODS_ERROR, OutboxState
from gateway.connectors.base import OutcomeKind

if TYPE_CHECKING:
    from buffer.entry import OutboxEntry

#: Kinds that postings have besides the outcomes of a send.
ACCEPTED: Final = "accepted"
UNCLEAR: Final = "unclear"
STRANDED: Final = "stranded"
BY_HAND: Final = "by_hand"

_LOOK: Final = "look in the ERP for its key: if it is there say so (linegate outbox booked), else retry"

BY_KIND: Final[dict[str, str]] = {
    OutcomeKind.BUSINESS_REJECT: "the ERP refuses the data: correct them there, then retry; or edit wrong numbers; or "
    "release it if the ERP only warns; or book it there by hand and discard it",
    OutcomeKind.MAPPING: "nothing left this gateway: correct the configuration of the target, then retry: the message "
    "is made anew",
    OutcomeKind.BUSY: "somebody keeps the order open in the ERP: close it there, then retry",
    OutcomeKind.WAIT_PRECONDITION: "the ERP waits for something else first: release the order there, or confirm the "
    "operation before, then retry",
    OutcomeKind.UNCERTAIN: _LOOK,
    OutcomeKind.PROTOCOL: "something else answers at this address: correct the URL or the proxy; it is looked up and "
    "goes on by itself",
    OutcomeKind.NOT_SENT: "nothing to do: it goes out once the target can be reached; retry sends it now",
    OutcomeKind.AUTH: "correct the credentials of the target; it goes on by itself after the next probe",
    ACCEPTED: "the ERP took it and never booked it: look at its queue; if it is booked say so (linegate outbox "
    "booked), else retry",
    UNCLEAR: "the ERP's answers do not tell whether it is booked: look there; if all of it is, or you book the rest, "
    "say so (linegate outbox booked), else retry",
    STRANDED: "configure its target again, or discard it and book it by hand",
    BY_HAND: "book it in the ERP by hand, then say so with its number there (linegate outbox booked)",
    GOODS_ERROR: "the confirmation is booked and stands; post its material in the ERP by hand, then say so "
    "(linegate outbox material-posted)",
}
#: The names of Tryton's warnings about a quantity.
_WARNED: Final = (
    "the ERP warns of the quantity: release it to book it all the same, or edit it, or raise the tolerance there and "
    "retry"
)
BY_CODE: Final[dict[tuple[str, str], str]] = {
    (OutcomeKind.BUSINESS_REJECT, "over_tolerance"): _WARNED,
    (OutcomeKind.BUSINESS_REJECT, "under_tolerance"): _WARNED,
    (
        OutcomeKind.BUSINESS_REJECT,
        "CLOSED",
    ): "the order is closed in the ERP: open it there and retry, or book it by hand and discard it",
    (OutcomeKind.BUSINESS_REJECT, "UNKNOWN_ORDER"): "the ERP does not know the order: create it there and retry, or "
    "discard it",
    (
        OutcomeKind.BUSINESS_REJECT,
        "OVER_DELIVERY",
    ): "it is more than the order tolerates: raise quantity or tolerance in the ERP and retry, or edit it",
    (
        OutcomeKind.BUSINESS_REJECT,
        "PERIOD_CLOSED",
    ): "the posting period is closed: open it in the ERP and retry, or post it today (linegate outbox post-today)",
    (OutcomeKind.BUSY, "LOCKED"): "somebody keeps the order open in the ERP: close it there, then retry",
    (OutcomeKind.WAIT_PRECONDITION, "NOT_RELEASED"): "release the order in the ERP, then retry",
}


def suggested(kind: str, code: str = "") -> str:
    """What to do about this error, "" where nothing is wrong."""
    if not kind:
        return ""
    return BY_CODE.get((kind, code)) or BY_KIND.get(kind, _LOOK)


#: It was taken over first: what is left of it there may still be booked by somebody.
_REFUSED_LATER: Final = (
    "the ERP took it over and refused it afterwards: correct the reason there; then either have it booked from the "
    "ERP's own queue and discard it here, or delete it from that queue and retry; never both"
)
_DELIVERED: Final = (
    "the ERP took it over and never says whether it booked it: compare with the ERP (linegate reconcile); resend it "
    "only if it is missing there"
)


#: A retry is refused while nobody knows whether it is there.
_ASKED: Final = (
    "nothing to do: the ERP is asked for it again and it goes on by itself; if you see there that it is booked, say so "
    "(linegate outbox booked)"
)


def suggested_for(entry: OutboxEntry) -> str:
    """The same for a posting: also what is booked of it in part, and what the target does not say of it."""
    if entry.state is OutboxState.DELIVERED:
        return _DELIVERED
    if entry.state is OutboxState.UNCERTAIN and entry.error_kind == OutcomeKind.UNCERTAIN:
        return _ASKED
    if entry.state is not OutboxState.PARKED or entry.step == 0:
        later = entry.state is OutboxState.PARKED and entry.error_kind == OutcomeKind.BUSINESS_REJECT
        return _REFUSED_LATER if later and entry.reference else suggested(entry.error_kind, entry.error_code)
    return (
        f"{suggested(entry.error_kind, entry.error_code)}. Of its {entry.steps} messages the first {entry.step} are "
        "booked: a retry goes on behind them; discarded, they stay booked in the ERP, and have to be taken back or "
        "completed there by hand"
    )
