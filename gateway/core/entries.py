"""What a person tells a work unit besides decisions about orders, and what is written down of pieces judged anew.

Plain data. A person's word changes reasons, setups and what a piece is; it never changes what a machine did or made.
Every entry of a person has ``at_ns``, ``who``, ``role`` (None: as a supervisor), ``auth`` (how he was recognised) and
``client`` (from where); "" where nobody knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.core.entries_work import (
    LotEntry,
    LotNamed,
    LotNameEntry,
    MaterialEntry,
    PresenceEntry,
    PresenceShared,
    SerialEntry,
    SerialRead,
)

if TYPE_CHECKING:
    from decimal import Decimal

    from gateway.core.access.roles import ActorRole
    from gateway.core.confirming.booked import Confirmed, Content
    from gateway.core.model import JobRecord, Role
    from gateway.core.orders.standing_holds import HoldScope
    from gateway.core.rules_orders import Distribution

__all__ = [
    "AllocateEntry",
    "CorrectEntry",
    "Decided",
    "ExternalEntry",
    "LotEntry",
    "LotNameEntry",
    "LotNamed",
    "MaterialEntry",
    "MergeEntry",
    "PersonsEntry",
    "PiecesReclassified",
    "PresenceEntry",
    "PresenceShared",
    "ReclassifyEntry",
    "RejectEntry",
    "ReportEntry",
    "SerialEntry",
    "SerialRead",
    "SetupEntry",
    "SplitEntry",
    "StandingHoldEntry",
    "StopCutEntry",
    "StopReasonEntry",
    "UndoEntry",
    "UnmergeEntry",
]


class SetupEntry(NamedTuple):
    """A person begins a setup, or says that it is done."""

    at_ns: int
    begins: bool
    who: str
    role: ActorRole | None = None
    auth: str = ""
    client: str = ""


class StopReasonEntry(NamedTuple):
    """A person says why the machine stood.

    ``from_ns`` None: the stop that goes on now. ``to_ns`` None: the whole standstill in which ``from_ns`` lies, else so
    much of it. Of time whose intervals are final the caller has made sure that it is one standstill.
    """

    at_ns: int
    from_ns: int | None
    to_ns: int | None
    reason: str
    who: str
    role: ActorRole | None = None
    auth: str = ""
    client: str = ""


class StandingHoldEntry(NamedTuple):
    """A person sets a hold of a machine, a product, a lot or an order (``begins``), or releases it.

    ``name`` is that of the product, lot or order, "" for the machine. ``signed_by`` as that of ``CorrectEntry``.
    """

    at_ns: int
    scope: HoldScope
    name: str
    begins: bool
    reason: str
    who: str
    role: ActorRole | None = None
    auth: str = ""
    client: str = ""
    signed_by: str = ""


class ReclassifyEntry(NamedTuple):
    """A person says what pieces of an order are that were booked as something else; ``operation`` may be empty.

    What is confirmed is corrected: ``signed_by``, ``known`` and ``ledger`` as those of ``CorrectEntry``.
    """

    at_ns: int
    order: str
    operation: str
    pieces: int
    from_role: Role
    to_role: Role
    reason: str
    who: str
    role: ActorRole | None = None
    auth: str = ""
    client: str = ""
    signed_by: str = ""
    known: JobRecord | None = None
    ledger: Confirmed | None = None


class CorrectEntry(NamedTuple):
    """A person corrects confirmation ``number`` of an operation.

    ``pieces``: good, scrap and rework as they should have been, each 0 and above; None: it is reversed, and its pieces
    are open again. ``today``: neither; the ERP has closed its period, and it is posted on the present production day.
    ``signed_by``: who signs it, "" where nobody does. ``known`` as that of ``OrderReceived``; ``ledger``: what is
    confirmed of the operation and how far it got, both read when the input is handled.
    """

    at_ns: int
    order: str
    operation: str
    number: int
    reason: str
    who: str
    pieces: tuple[int, int, int] | None = None
    role: ActorRole | None = None
    auth: str = ""
    client: str = ""
    signed_by: str = ""
    known: JobRecord | None = None
    ledger: Confirmed | None = None
    today: bool = False


class RejectEntry(NamedTuple):
    """A person does not approve confirmation ``number``: what is tolerated is confirmed, the rest is no order's."""

    at_ns: int
    order: str
    operation: str
    number: int
    reason: str
    who: str
    role: ActorRole | None = None
    auth: str = ""
    client: str = ""
    known: JobRecord | None = None
    ledger: Confirmed | None = None


class AllocateEntry(NamedTuple):
    """A person gives pieces without an order to an order, or writes them off (``order`` "") as scrap.

    ``to_role`` None: as what they were counted. ``numbers``: of these entries of the bucket only. ``known`` as that of
    ``OrderReceived``: an order that is complete takes pieces, too.
    """

    at_ns: int
    order: str
    operation: str
    pieces: int
    from_role: Role
    reason: str
    who: str
    to_role: Role | None = None
    numbers: tuple[int, ...] = ()
    role: ActorRole | None = None
    auth: str = ""
    client: str = ""
    known: JobRecord | None = None


class SplitEntry(NamedTuple):
    """A person splits an order, a child for each quantity. ``taken``: names of orders that exist and begin like it."""

    at_ns: int
    order: str
    operation: str
    quantities: tuple[Decimal, ...]
    reason: str
    who: str
    role: ActorRole | None = None
    auth: str = ""
    client: str = ""
    taken: tuple[str, ...] = ()


class MergeEntry(NamedTuple):
    """A person merges orders under a new one. ``how`` None: as the configuration says.

    ``ratios`` one for each order, for ``fixed_ratio``. ``taken``: names of orders that exist and begin like the leader.
    """

    at_ns: int
    leader: str
    orders: tuple[str, ...]
    operation: str
    reason: str
    who: str
    how: Distribution | None = None
    ratios: tuple[int, ...] = ()
    role: ActorRole | None = None
    auth: str = ""
    client: str = ""
    taken: tuple[str, ...] = ()

    @property
    def order(self) -> str:
        """The order that comes to be."""
        return self.leader


class UnmergeEntry(NamedTuple):
    """A person takes a merge back, as long as nothing was made."""

    at_ns: int
    order: str
    operation: str
    reason: str
    who: str
    role: ActorRole | None = None
    auth: str = ""
    client: str = ""


class ReportEntry(NamedTuple):
    """A person tells how many pieces were made since the last time, by what they are."""

    at_ns: int
    order: str
    operation: str
    good: int
    scrap: int
    rework: int
    reason: str
    who: str
    role: ActorRole | None = None
    auth: str = ""
    client: str = ""


class ExternalEntry(NamedTuple):
    """A person takes over what somebody confirmed in the ERP: less remains to be made, and nothing is sent.

    ``before``: what was taken over of it already, for the audit trail; None: nobody knows.
    """

    at_ns: int
    order: str
    operation: str
    good: int
    scrap: int
    rework: int
    reason: str
    who: str
    role: ActorRole | None = None
    auth: str = ""
    client: str = ""
    before: tuple[int, int, int] | None = None


class StopCutEntry(NamedTuple):
    """A person says that a standstill was two, before and after ``split_ns``; ``merge``: that it was one after all.

    The caller has made sure that it is final, and inside of one standstill.
    """

    at_ns: int
    split_ns: int
    merge: bool
    who: str
    role: ActorRole | None = None
    auth: str = ""
    client: str = ""
    reason: str = ""


class UndoEntry(NamedTuple):
    """A person takes back what he decided last at this machine.

    ``contents``: the confirmations that the decision made, as they are now; read when the input is handled.
    """

    at_ns: int
    who: str
    role: ActorRole | None = None
    auth: str = ""
    client: str = ""
    contents: tuple[Content, ...] = ()


class PiecesReclassified(NamedTuple):
    """Pieces of a job order are something else from here on: none was made, and none is gone."""

    at_ns: int
    order: str
    operation: str
    pieces: int
    from_role: Role
    to_role: Role
    reason: str
    who: str


class Decided(NamedTuple):
    """What a person said, and whether it was done: it goes before all that follows from it.

    ``verb`` as the command line and the API name it. ``detail``: the other fields of the entry, by name. ``refused`` ""
    where it was done, else why not; ``guard`` is what was in the way.
    """

    at_ns: int
    verb: str
    who: str
    role: str
    auth: str
    client: str
    order: str = ""
    operation: str = ""
    reason: str = ""
    detail: tuple[tuple[str, str], ...] = ()
    refused: str = ""
    guard: str = ""


PersonsEntry = (
    SetupEntry
    | StopReasonEntry
    | ReclassifyEntry
    | CorrectEntry
    | RejectEntry
    | AllocateEntry
    | SplitEntry
    | MergeEntry
    | UnmergeEntry
    | ReportEntry
    | ExternalEntry
    | StopCutEntry
    | UndoEntry
    | PresenceEntry
    | LotEntry
    | MaterialEntry
    | LotNameEntry
    | SerialEntry
    | StandingHoldEntry
)
