"""What people tell of who is at work, of lots and of material, and what follows from that. Plain data."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from decimal import Decimal

    from gateway.core.access.roles import ActorRole
    from gateway.core.work.produced_lots import SerialRecord


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
