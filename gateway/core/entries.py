"""What a person tells a work unit besides decisions about orders, and what is written down of pieces judged anew.

Plain data. A person's word changes reasons, setups and what a piece is; it never changes what a machine did or made.
Every entry of a person has ``at_ns``, ``who``, ``role`` (None: as a supervisor), ``auth`` (how he was recognised) and
``client`` (from where); "" where nobody knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from decimal import Decimal

    from gateway.core.access.roles import ActorRole
    from gateway.core.model import JobRecord, Role
    from gateway.core.rules_orders import Distribution
    from gateway.core.work.produced_lots import SerialRecord


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


class ReclassifyEntry(NamedTuple):
    """A person says what pieces of an order are that were booked as something else; ``operation`` may be empty."""

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
    """A person takes over what somebody confirmed in the ERP: less remains to be made, and nothing is sent."""

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
    """A person takes back what he decided last at this machine."""

    at_ns: int
    who: str
    role: ActorRole | None = None
    auth: str = ""
    client: str = ""


class PresenceEntry(NamedTuple):
    """A person begins to work at the machine, or ceases to; ``person`` is whom it is about."""

    at_ns: int
    begins: bool
    person: str
    who: str
    role: ActorRole | None = None
    auth: str = ""
    client: str = ""


class PresenceShared(NamedTuple):
    """At how many machines that work a person is, 1 and more; said by the gateway, which sees them all.

    ``since_ns``: since when, as far as it is not told already; None: from here on.
    """

    at_ns: int
    person: str
    machines: int
    since_ns: int | None = None


class LotEntry(NamedTuple):
    """A person mounts a lot at a feeder, or takes it off.

    ``item`` "": what belongs there. ``quantity`` is what is left of it in the item's unit, None where nobody knows.
    ``replace``: what was mounted is taken off.
    """

    at_ns: int
    mounts: bool
    feeder: str
    lot: str
    who: str
    item: str = ""
    quantity: Decimal | None = None
    replace: bool = False
    role: ActorRole | None = None
    auth: str = ""
    client: str = ""


class MaterialEntry(NamedTuple):
    """A person says what was used without pieces: purged, or with ``startup`` to get going; ``operation`` may be empty.

    ``quantity`` in the item's unit, above 0.
    """

    at_ns: int
    order: str
    operation: str
    item: str
    quantity: Decimal
    startup: bool
    who: str
    reason: str = ""
    role: ActorRole | None = None
    auth: str = ""
    client: str = ""


class LotNameEntry(NamedTuple):
    """A person says which lot an order took at a feeder while nobody knew; ``operation`` may be empty.

    ``told``: run and item of links with an unknown lot that are confirmed already.
    """

    at_ns: int
    order: str
    operation: str
    feeder: str
    lot: str
    reason: str
    who: str
    role: ActorRole | None = None
    auth: str = ""
    client: str = ""
    told: tuple[tuple[str, str], ...] = ()


class SerialEntry(NamedTuple):
    """The serial number of a piece was read: by the machine's reader (``who`` ""), or as a person or program says.

    ``order`` "": that of the running order. ``earlier``: where the number was seen before, of whatever item.
    """

    at_ns: int
    serial: str
    who: str = ""
    order: str = ""
    operation: str = ""
    role: ActorRole | None = None
    auth: str = ""
    client: str = ""
    earlier: tuple[SerialRecord, ...] = ()


class LotNamed(NamedTuple):
    """Links of a run with an unknown lot of this item have that lot from here on."""

    at_ns: int
    run: str
    item: str
    lot: str


class SerialRead(NamedTuple):
    """A piece with a serial number passed an operation. ``first_pass``: it was never there before."""

    at_ns: int
    record: SerialRecord
    first_pass: bool


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
)
