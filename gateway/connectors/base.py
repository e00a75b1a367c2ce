"""What a connector is, and what the forwarder promises it.

Who calls what, and when:

* Making a connector does no I/O. ``open()`` and ``close()`` are each called once.
* ``render()`` is pure: same confirmation, same bytes. Its bytes are committed to the outbox before the first ``send``
  and never change: every repeat sends the very same bytes.
* ``send()`` is called after the posting was committed as *sending*. At most one posting of a lane (order and operation)
  is under way at a time; several lanes may be. It returns an ``Outcome``; an exception counts as UNCERTAIN.
* After UNCERTAIN (also after a crash while sending) ``lookup()`` is asked before any repeat, unless the capabilities
  say ``idempotent``. ABSENT leads to a repeat only once ``server_time_limit_ns`` has passed since the send: absence is
  not proof while the server may still be working.
* A confirmation may need several messages at the target: ``Rendered.more`` are the steps behind the first. Each is sent
  once the one before is posted, is looked up by itself, and its reference is kept before the next one leaves.
* ``baseline()`` is asked before the first send of a step where the capabilities say so; what it says is committed with
  *sending* and comes back with every look-up: a target without a key of ours is held against it.
* ACCEPTED is not POSTED. With the capability ``readback`` the look-up tells later whether it was booked (FOUND) or
  refused there (REFUSED: a person decides); a look-up after UNCERTAIN may also end as ACCEPTED. Without it
  *delivered* is all that will ever be known, and it is said so.
* A connector that hears of bookings by itself (an acknowledgement file, a message of a broker) keeps what it heard and
  calls ``context.acknowledged()``: what is accepted is looked up then, and not only every ``ask_accepted``. The call
  says nothing by itself; it may come at any time between ``open()`` and ``close()``, from the event loop only (a thread
  goes through ``loop.call_soon_threadsafe``), also before the send it is about has ended, as often as it likes.
* A reversal is rendered from its document with ``reverses_references``: the references of what it takes back, in the
  sequence in which they were booked. To cancel is a posting like the others, so that it is durable and in its lane.
* An answer to an order is a posting like the others, in a lane of its own; it is repeated after UNCERTAIN without any
  look-up, so the target drops repeats by its key. Targets without the capability get none. The same holds
  for a notice.
* ``fetch_orders(cursor)`` delivers at least once. The cursor it is given is the one of the last page whose orders are
  committed in the gateway; only then may the connector move or acknowledge anything at the source.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol, runtime_checkable
from uuid import UUID, uuid5

if TYPE_CHECKING:
    from gateway.core.model import ProductionOrder
    from gateway.core.orders.erp_notice import NoticeType
    from gateway.core.target_answer import Answer


#: How a target takes a correction of what it has booked.
Correction = Literal["cancel", "negative", "manual"]


#: Messages of one confirmation at most.
STEPS_MAX: Final = 32


class OutcomeKind(enum.StrEnum):
    """How a send ended: a value to decide on, never a text to parse."""

    POSTED = "posted"  # booked, with the target's reference
    ACCEPTED = "accepted"  # taken over, not yet booked
    NOT_SENT = "not_sent"  # surely nothing arrived: repeat later without look-up
    UNCERTAIN = "uncertain"  # may or may not be booked: look up first
    BUSY = "busy"  # locked there: repeat in the lane
    WAIT_PRECONDITION = "wait_precondition"  # not released yet, predecessor missing: repeat slowly
    BUSINESS_REJECT = "business_reject"  # the data are refused: park, a person decides
    MAPPING = "mapping"  # cannot be expressed: park before sending
    AUTH = "auth"  # credentials refused: the whole target waits
    PROTOCOL = "protocol"  # something else answers there: the whole target waits, the posting is uncertain


class Outcome(NamedTuple):
    """The end of one send. ``retry_after_ns`` is the target's own wish, if it named one.

    ``answer`` is what came from the target where it booked nothing, without secrets: a person reads it. ``goods_error``
    says why a target that is POSTED did not book the material: the confirmation stands, and a person posts that.
    """

    kind: OutcomeKind
    detail: str = ""
    code: str = ""
    reference: str = ""
    retry_after_ns: int | None = None
    answer: Answer | None = None
    goods_error: str = ""


class LookupKind(enum.StrEnum):
    """What a look-up by key found."""

    FOUND = "found"
    ACCEPTED = "accepted"  # the target has it and has not booked it yet
    REFUSED = "refused"  # the target took it over and then refused it: a person decides
    ABSENT = "absent"
    UNCLEAR = "unclear"  # the target answered, and it proves neither: where it stays so, a person decides
    UNKNOWN = "unknown"  # nobody could be asked: again, for as long as it takes
    UNKNOWABLE = "unknowable"  # the target will never say: a person has to look there


class Lookup(NamedTuple):
    """The answer to "is this key booked?". ``code`` and ``answer`` belong to REFUSED, as in an ``Outcome``.

    ``goods_error`` belongs to FOUND, as there to POSTED.
    """

    kind: LookupKind
    reference: str = ""
    detail: str = ""
    code: str = ""
    answer: Answer | None = None
    goods_error: str = ""


class MappingError(Exception):
    """A confirmation cannot be expressed for this target; says which field and what is allowed."""


class ConnectorError(Exception):
    """Orders could not be fetched, or the target could not be probed; says what happened and what to do."""


class Rendered(NamedTuple):
    """The exact message. ``name`` is a file name or path part where the target needs one.

    ``more``: what the confirmation needs behind it, in this sequence, each a message and a step of its own (at most
    ``STEPS_MAX`` with the first; they have no ``more``).
    """

    body: bytes
    content_type: str
    name: str
    more: tuple[Rendered, ...] = ()


def step_id(message_id: str, step: int) -> str:
    """The id of a step's message: the confirmation's own for the first one, UUIDv5 of it and the number for others."""
    return message_id if step == 0 else str(uuid5(UUID(message_id), str(step)))


class Posting(NamedTuple):
    """What the forwarder hands to ``send``, ``baseline`` and ``lookup``: one step of a confirmation.

    ``kind``: partial, final ..., ack for an answer, notice. ``message_id`` is that of the step (``step_id``).
    ``references`` are those of the steps before it. ``baseline`` is what the connector said before its first send.
    ``released``: a person has seen what the target warns of and wants it booked all the same. ``accepted``: the
    reference that came with ACCEPTED, "" before. ``sent_ns``: when it was first sent, UTC.
    """

    key: str
    message_id: str
    order: str
    operation: str
    seq: int
    attempt: int
    rendered: Rendered
    kind: str = ""
    step: int = 0
    steps: int = 1
    references: tuple[str, ...] = ()
    baseline: bytes | None = None
    released: bool = False
    accepted: str = ""
    sent_ns: int | None = None


class RefusedOrder(NamedTuple):
    """What cannot be taken: where it stood, and every reason.

    ``orders``: number and revision of each order that is refused by it, as its document says: the target is answered
    for each, where it takes answers. Empty: no order has a number that could be told back, or none is refused.
    """

    place: str
    reasons: tuple[str, ...]
    orders: tuple[tuple[str, int], ...] = ()


class OrderPage(NamedTuple):
    """Full images of orders, what was refused, and the cursor to commit with them."""

    orders: tuple[ProductionOrder, ...]
    refused: tuple[RefusedOrder, ...]
    cursor: str


class BookedOperation(NamedTuple):
    """What the target has booked of one operation, whoever posted it, in the order's unit.

    ``highest`` are the epochs whose keys it has, and the highest number of each.
    """

    operation: str
    good: Decimal = Decimal(0)
    scrap: Decimal = Decimal(0)
    rework: Decimal = Decimal(0)
    highest: tuple[tuple[str, int], ...] = ()


class BookedOrder(NamedTuple):
    """What the target says of an order. ``known`` False: it has no such order; ``closed``: it takes nothing more.

    ``rework_is_scrap``: it is told rework as scrap, so that both stand in its scrap.
    """

    order: str
    known: bool = True
    closed: bool = False
    operations: tuple[BookedOperation, ...] = ()
    rework_is_scrap: bool = False


class Health(NamedTuple):
    """The answer of ``probe``."""

    ok: bool
    detail: str


class Capabilities(NamedTuple):
    """What the target can do.

    ``lane_by_order``: one posting at a time per order instead of order and operation. ``acknowledgements``: it takes
    answers to its orders; then ``render`` is given such documents too (``type`` is ``order_ack``). ``totals``: it can
    be asked what it has booked; then it is a ``TellsTotals``. ``correction``: how it takes a correction of what it has
    booked: ``cancel`` (a reversal names the key that it takes back), ``negative`` (quantities below 0; a reversal comes
    too, where all of a confirmation is taken back), ``manual`` (a person does it there; it is given none).
    ``baseline``: it has no key of ours, so that its sums before a send are kept; then it is a ``TakesBaseline``.
    ``readback``: what was ACCEPTED can be looked up until it is booked or refused. ``accepted_blocks``: the next one of
    a lane waits until the one before is booked, not only accepted. ``cursor_moves``: a cursor that is given back moves
    or acknowledges something at the source. ``one_at_a_time``: a second connector would take the first one's place.
    ``sweeps``: it leaves traces of its own; then it is a ``Sweeps``. ``notices``: what it is told besides; then
    ``render`` is given such documents too (``type`` is ``notice``), and after an unclear end they are sent again.
    """

    orders: bool = True
    confirmations: bool = True
    idempotent: bool = False
    can_lookup: bool = True
    server_time_limit_ns: int = 0
    lane_by_order: bool = False
    acknowledgements: bool = False
    totals: bool = False
    correction: Correction = "manual"
    baseline: bool = False
    readback: bool = True
    accepted_blocks: bool = True
    cursor_moves: bool = False
    one_at_a_time: bool = False
    sweeps: bool = False
    notices: frozenset[NoticeType] = frozenset()


def nobody_waits() -> None:
    """Nothing is forwarded, so nobody waits for an acknowledgement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectorContext:
    """What a connector gets besides its settings.

    Attributes:
        name: the connector's name in the configuration.
        gateway_id: goes into messages that need a sender.
        now_ns: what UTC is, as far as the gateway knows, integer nanoseconds. It may step: measure no length by it.
        secrets: resolved secrets by settings path (``token``), as text; never log them.
        base_dir: the folder that relative paths of the settings are relative to.
        time_zone: IANA name of the plant's time zone.
        acknowledged: the target has news of what it accepted: look it up now. From the event loop only; never raises.
        orders_came: the target has orders: fetch them now, and not only at the next poll. Likewise.
    """

    name: str
    gateway_id: str
    now_ns: Callable[[], int]
    secrets: Mapping[str, str]
    base_dir: Path
    time_zone: str = "UTC"
    acknowledged: Callable[[], None] = nobody_waits
    orders_came: Callable[[], None] = nobody_waits


class Connector(Protocol):
    """One target; see the module's text for who calls what and when."""

    @property
    def capabilities(self) -> Capabilities:
        """Constant for the life of the object."""

    async def open(self) -> None:
        """Make clients; a target that is down is no error here."""

    async def close(self) -> None:
        """Release everything; never raises."""

    async def fetch_orders(self, cursor: str) -> OrderPage:
        """Orders released since the cursor ("" at first). Raises ConnectorError."""

    def render(self, confirmation: Mapping[str, Any]) -> Rendered:
        """The exact bytes for the canonical confirmation document. Pure. Raises MappingError."""

    async def send(self, posting: Posting) -> Outcome:
        """Deliver once."""

    async def lookup(self, posting: Posting) -> Lookup:
        """Ask whether the key is booked."""

    async def probe(self) -> Health:
        """One cheap question that changes nothing."""


@runtime_checkable
class LeavesMaterial(Protocol):
    """A connector whose messages do not tell of all material that is to be posted."""

    def not_sent(self, confirmation: Mapping[str, Any]) -> tuple[str, ...]:
        """What of it a person has to post in the ERP, each in words; nothing that the ERP reckons itself. Pure."""


@runtime_checkable
class TakesBaseline(Protocol):
    """A connector with the capability ``baseline``."""

    async def baseline(self, posting: Posting) -> bytes:
        """What the target says of the operation before this step is first sent. Raises ConnectorError: not sent."""


@runtime_checkable
class TellsHeaders(Protocol):
    """A connector that can say what it sends beside a message, for a person who looks at it."""

    def headers(self, posting: Posting) -> Mapping[str, str]:
        """Those of this very step, in their sequence, but for what signing in adds. Pure. Raises MappingError."""


@runtime_checkable
class Sweeps(Protocol):
    """A connector with the capability ``sweeps``."""

    async def sweep(self, asked: frozenset[str]) -> bool:
        """Clear away own traces that are old, but none of what is still asked for; whether there is more.

        ``asked``: message ids and names (``Rendered.name``) of every posting that is not over. Raises ConnectorError.
        """


@runtime_checkable
class TellsTotals(Protocol):
    """A connector with the capability ``totals``."""

    async def booked(self, order: str) -> BookedOrder:
        """What the target has booked of an order. Raises ConnectorError."""


@runtime_checkable
class HearsSettled(Protocol):
    """A connector whose target keeps what it said until the gateway has it for good."""

    def settled(self, posting_id: str, key: str) -> None:
        """The end of this posting (id of its message, key) is committed: booked, delivered, or parked. Never raises."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectorType:
    """A connector as an entry point of the group ``linegate.connectors`` names it.

    Attributes:
        name: the word in the configuration's ``connector:``.
        settings: a frozen dataclass; its ``connector`` field is ``Literal[name]``. Secret fields have the type
            ``gateway.core.secret.SecretRef | None``: the loader resolves them into ``ConnectorContext.secrets``.
        build: makes the connector object; no I/O.
        describe: lines for ``linegate check``.
        check: what is wrong in the files that the settings name, relative to a folder; for ``linegate check``.
    """

    name: str
    settings: type[Any]
    build: Callable[[Any, ConnectorContext], Connector]
    describe: Callable[[Any], list[str]]
    check: Callable[[Any, Path], list[str]] | None = None
