"""The bucket of one machine: pieces of no order, kept with time, lot and tool until a person or a rule says whose.

They are never confirmed from here. An allocation leaves their time as it is, whenever it is made; its confirmation has
the origin "allocation". What came in is what was allocated, scrapped or is left, role by role. Decides neither what is
counted nor which order runs, and books nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.core.confirming.quantities import NOTHING, Pieces
from gateway.core.model import Role
from gateway.core.wording import pieces_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.core.model import CountEvent
    from gateway.core.orders.attribution import Share
    from gateway.core.rules_confirming import UnallocatedRule

STARTUP: Final = "STARTUP"  # the reason of scrap that was made before its order began
_ROOM_ROLES: Final = frozenset({Role.GOOD, Role.SCRAP})  # roles that fill an order


class Found(NamedTuple):
    """Pieces that were made while no order ran for them. ``product``, ``lot`` and ``tool`` "" where not known.

    ``product`` is the part of a family tool, else what the machine was last set up for. ``estimated`` is how many of
    the pieces were shared by time. ``held``: an order was on hold when they were made; no policy gives them away.
    """

    signal: str
    role: Role
    pieces: int
    t_from_ns: int
    t_to_ns: int
    product: str = ""
    lot: str = ""
    tool: str = ""
    estimated: int = 0
    held: bool = False


class BucketEntry(NamedTuple):
    """Pieces of one kind from one stretch of time. ``merged``: so many entries were put into it for want of room.

    What those differed in is "".
    """

    number: int
    what: Found
    merged: int = 0


class Bucket(NamedTuple):
    """All entries in the order of their numbers, and what ever came in and went out, by the role it came in as.

    ``written_off`` is how many of the scrapped pieces no order has.
    """

    entries: tuple[BucketEntry, ...] = ()
    last_number: int = 0
    received: Pieces = NOTHING
    allocated: Pieces = NOTHING
    scrapped: Pieces = NOTHING
    written_off: int = 0

    @property
    def left(self) -> Pieces:
        """What waits."""
        return self.received.minus(self.allocated).minus(self.scrapped)

    @property
    def since_ns(self) -> int | None:
        """When the oldest piece was made; None: none waits."""
        return min((one.what.t_from_ns for one in self.entries), default=None)

    def age_ns(self, now_ns: int) -> int | None:
        """How long the oldest piece waits; None: none does."""
        return None if self.since_ns is None else max(now_ns - self.since_ns, 0)


class AllocationRequest(NamedTuple):
    """A person gives pieces to an order. ``numbers``: of these entries only; () for all, the oldest first.

    ``role_to`` None: as what they were counted. An empty ``order`` writes them off as scrap. ``product`` is what the
    order makes.
    """

    at_ns: int
    who: str
    order: str
    operation: str
    product: str
    pieces: int
    role: Role = Role.GOOD
    role_to: Role | None = None
    numbers: tuple[int, ...] = ()
    reason: str = ""


class CountAllocation(NamedTuple):
    """Pieces of one entry that are an order's from now on; ``what`` is them, at the time at which they were made.

    ``role_to`` is what they are booked as. ``by`` is a person or the policy. An empty ``order``: written off.
    """

    at_ns: int
    order: str
    operation: str
    number: int
    what: Found
    role_to: Role
    by: str
    reason: str


class AllocationRefused(NamedTuple):
    """Nothing changes."""

    code: str
    text: str
    what_to_do: str

    def __str__(self) -> str:
        return f"{self.code}: {self.text}; {self.what_to_do}"


class NextOrder(NamedTuple):
    """An order that begins. ``room``: so many more pieces fill it, None without limit."""

    order: str
    operation: str
    product: str
    began_ns: int
    room: int | None = None


class PreviousOrder(NamedTuple):
    """The order that ran before. ``room``: so many more it may deliver within its tolerance."""

    order: str
    operation: str
    product: str
    ended_ns: int
    room: int


Allocated = tuple[Bucket, tuple[CountAllocation, ...]]


def add(rule: UnallocatedRule, bucket: Bucket, found: Found) -> Bucket:
    """Pieces more. Raises ValueError for fewer than one, or for an end before the beginning."""
    if found.pieces < 1 or not 0 <= found.estimated <= found.pieces or found.t_to_ns < found.t_from_ns:
        raise ValueError(f"unallocated: found {found}, allowed 1 piece and above, not more estimated, an end behind")
    entries = list(bucket.entries)
    place = _joins(rule, entries, found)
    number = bucket.last_number
    if place is None:
        number += 1
        entries.append(BucketEntry(number, found))
    else:
        entries[place] = entries[place]._replace(what=_both(entries[place].what, found))
    if len(entries) > rule.entries_max:
        entries = _merged(entries)
    received = bucket.received.plus(Pieces.of(found.role, found.pieces))
    return bucket._replace(entries=tuple(entries), last_number=number, received=received)


def allocate(bucket: Bucket, request: AllocationRequest) -> Allocated | AllocationRefused:
    """Give pieces to an order, or write them off; all of the request or nothing."""
    chosen = [
        one
        for one in bucket.entries
        if one.what.role is request.role and (not request.numbers or one.number in request.numbers)
    ]
    refused = _objection(bucket, request, chosen)
    if refused is not None:
        return refused
    role_to = request.role_to or (request.role if request.order else Role.SCRAP)
    return _taken(bucket, chosen, request.pieces, lambda _what: role_to, _Target.of(request))


def by_policy(
    rule: UnallocatedRule, bucket: Bucket, at_ns: int, follows: NextOrder | None, before: PreviousOrder | None
) -> Allocated:
    """What the rule allocates by itself, now that an order begins, or that pieces came after one ended.

    What it leaves waits for a person.
    """
    if rule.policy == "to_previous_if_within_tolerance" and before is not None:
        latest_ns = before.ended_ns + rule.within
        chosen = [
            one
            for one in bucket.entries
            if not one.what.held
            and before.ended_ns <= one.what.t_from_ns
            and one.what.t_to_ns <= latest_ns
            and one.what.product in ("", before.product)
        ]
        target = _Target(at_ns, before.order, before.operation, rule.policy, "")
        return _within_room(bucket, chosen, before.room, lambda what: what.role, target)
    if rule.policy in ("to_next_order_if_same_product_within", "scrap_as_setup") and follows is not None:
        as_scrap = rule.policy == "scrap_as_setup"
        products = ("", follows.product) if as_scrap else (follows.product,)
        chosen = [
            one
            for one in bucket.entries
            if not one.what.held
            and follows.began_ns - rule.within <= one.what.t_from_ns
            and one.what.t_to_ns <= follows.began_ns
            and one.what.product in products
        ]
        target = _Target(at_ns, follows.order, follows.operation, rule.policy, STARTUP if as_scrap else "")
        if as_scrap:  # setup scrap fills no order
            chosen = [one for one in chosen if one.what.role is not Role.TEST]
            return _within_room(bucket, chosen, None, lambda _what: Role.SCRAP, target)
        return _within_room(bucket, chosen, follows.room, lambda what: what.role, target)
    return bucket, ()


def restored(data: Mapping[str, Any]) -> Bucket:
    """What ``_asdict`` and JSON made of a bucket. Raises KeyError, TypeError or ValueError for anything else."""
    entries = tuple(
        BucketEntry(number, Found(signal, Role(role), *rest), merged)
        for number, (signal, role, *rest), merged in data["entries"]
    )
    sums = {name: Pieces(*data[name]) for name in ("received", "allocated", "scrapped")}
    return Bucket(entries, data["last_number"], **sums, written_off=data["written_off"])


class ReviewTask(NamedTuple):
    """A person should look at how a count was shared. ``parts`` are order, operation and pieces ("" for nobody)."""

    signal: str
    t_from_ns: int
    t_to_ns: int
    parts: tuple[tuple[str, str, int], ...]

    def __str__(self) -> str:
        told = ", ".join(f"{pieces} to {order or 'nobody'}" for order, _, pieces in self.parts)
        return f"{self.signal}: pieces were shared by time at a change of order: {told}; correct it if you know better"


def review_of(event: CountEvent, found: Sequence[Share], running: tuple[str, str] | None) -> ReviewTask | None:
    """The task for a count that was shared by time; None where it is sure whose it is. ``running``: who runs now."""
    if not any(one.estimated for one in found):
        return None
    parts = tuple((*(one.key or running or ("", "")), one.pieces) for one in found)
    return ReviewTask(event.signal, event.t_from_ns, event.t_to_ns, parts)


class _Target(NamedTuple):
    at_ns: int
    order: str
    operation: str
    by: str
    reason: str

    @classmethod
    def of(cls, request: AllocationRequest) -> _Target:
        return cls(request.at_ns, request.order, request.operation, request.who, request.reason)


def _objection(bucket: Bucket, request: AllocationRequest, chosen: Sequence[BucketEntry]) -> AllocationRefused | None:
    missing = sorted(set(request.numbers) - {one.number for one in bucket.entries})
    have = sum(one.what.pieces for one in chosen)
    others = sorted({one.what.product for one in chosen} - {"", request.product}) if request.order else []
    changes = not request.order or request.role_to not in (None, request.role)
    if request.pieces < 1:
        return AllocationRefused("NOTHING_TO_ALLOCATE", f"found {pieces_of(request.pieces)}", "give 1 and above")
    if not request.who.strip():
        return AllocationRefused("WHO_MISSING", "found nobody", "log in with your own name")
    if missing:
        text = f"entries {', '.join(map(str, missing))} are not in the bucket"
        return AllocationRefused("UNKNOWN_ENTRY", text, "look at the bucket again: they were allocated or merged")
    if request.pieces > have:
        text = f"found {request.pieces} {request.role}, the bucket has {have} of these"
        todo = f"give at most {have}" if have else "look at what waits: linegate unallocated list"
        return AllocationRefused("ALLOCATION_EXCEEDS_BUCKET", text, todo)
    if not request.order and request.role_to not in (None, Role.SCRAP):
        text = f"found no order for pieces as {request.role_to}"
        return AllocationRefused("ORDER_MISSING", text, "name an order; without one pieces are only written off")
    if changes and not request.reason.strip():
        becomes = f"become {request.role_to}" if request.order else "are written off as scrap"
        return AllocationRefused("REASON_MISSING", f"{request.role} pieces {becomes}", "say why (--reason)")
    if others and not request.reason.strip():
        text = f"the pieces are {', '.join(others)}, the order makes {request.product}"
        return AllocationRefused("PRODUCT_DIFFERS", text, "name an order of that product, or say why in the reason")
    return None


def _within_room(
    bucket: Bucket,
    chosen: Sequence[BucketEntry],
    room: int | None,
    role_of: Callable[[Found], Role],
    target: _Target,
) -> Allocated:
    """As much of the chosen entries as fits, the oldest first; roles that fill no order need no room."""
    done: list[CountAllocation] = []
    for one in _oldest_first(chosen):
        fills = room is not None and one.what.role in _ROOM_ROLES
        pieces = min(one.what.pieces, max(room or 0, 0)) if fills else one.what.pieces
        if room is not None and fills:
            room -= pieces
        if pieces:
            bucket, new = _taken(bucket, [one], pieces, role_of, target)
            done.extend(new)
    return bucket, tuple(done)


def _taken(
    bucket: Bucket, chosen: Sequence[BucketEntry], pieces: int, role_of: Callable[[Found], Role], target: _Target
) -> Allocated:
    left = {one.number: one for one in bucket.entries}
    done: list[CountAllocation] = []
    allocated, scrapped = bucket.allocated, bucket.scrapped
    for one in _oldest_first(chosen):
        what = one.what
        taken = min(pieces, what.pieces)
        if not taken:
            break
        pieces -= taken
        # Which of the pieces were estimated nobody knows: the first that go.
        estimated = min(taken, what.estimated)
        role_to = role_of(what)
        part = what._replace(pieces=taken, estimated=estimated)
        done.append(
            CountAllocation(
                target.at_ns, target.order, target.operation, one.number, part, role_to, target.by, target.reason
            )
        )
        if not target.order or (role_to is Role.SCRAP and what.role is not Role.SCRAP):
            scrapped = scrapped.plus(Pieces.of(what.role, taken))
        else:
            allocated = allocated.plus(Pieces.of(what.role, taken))
        rest = what._replace(pieces=what.pieces - taken, estimated=what.estimated - estimated)
        left[one.number] = one._replace(what=rest)
    entries = tuple(one for one in left.values() if one.what.pieces)
    written_off = bucket.written_off + (0 if target.order else sum(one.what.pieces for one in done))
    after = bucket._replace(entries=entries, allocated=allocated, scrapped=scrapped, written_off=written_off)
    return after, tuple(done)


def _oldest_first(entries: Sequence[BucketEntry]) -> list[BucketEntry]:
    return sorted(entries, key=lambda one: (one.what.t_from_ns, one.number))


def _kind(what: Found) -> tuple[str, Role, str, str, str, bool]:
    return (what.signal, what.role, what.product, what.lot, what.tool, what.held)


def _joins(rule: UnallocatedRule, entries: Sequence[BucketEntry], found: Found) -> int | None:
    """The place of the latest entry of this kind, where no pause lies between."""
    for place in range(len(entries) - 1, -1, -1):
        what = entries[place].what
        if _kind(what) == _kind(found):
            pause_ns = max(found.t_from_ns - what.t_to_ns, what.t_from_ns - found.t_to_ns)
            return place if pause_ns <= rule.join_within else None
    return None


def _both(one: Found, other: Found) -> Found:
    """Two of one role as one; what they differ in is not known any more."""
    same = {
        name: getattr(one, name) if getattr(one, name) == getattr(other, name) else ""
        for name in ("signal", "product", "lot", "tool")
    }
    return Found(
        role=one.role,
        pieces=one.pieces + other.pieces,
        t_from_ns=min(one.t_from_ns, other.t_from_ns),
        t_to_ns=max(one.t_to_ns, other.t_to_ns),
        estimated=one.estimated + other.estimated,
        held=one.held or other.held,
        **same,
    )


def _merged(entries: list[BucketEntry]) -> list[BucketEntry]:
    """Two entries as one: the oldest two of one kind, else of one product, else of one role."""
    alike: tuple[Callable[[Found], object], ...] = (
        _kind,
        lambda what: (what.role, what.product),
        lambda what: what.role,
    )
    for like in alike:
        seen: dict[object, BucketEntry] = {}
        for one in _oldest_first(entries):
            first = seen.setdefault(like(one.what), one)
            if first is not one:
                joined = BucketEntry(first.number, _both(first.what, one.what), first.merged + one.merged + 1)
                kept = [joined if other is first else other for other in entries if other is not one]
                return sorted(kept)
    raise AssertionError("there are more entries than roles")
