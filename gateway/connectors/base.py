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
* An answer to an order is a posting like the others, in a lane of its own; it is repeated after UNCERTAIN without any
  look-up, so the target drops repeats by its key. Targets without the capability get none.
* ``fetch_orders(cursor)`` delivers at least once. The cursor it is given is the one of the last page whose orders are
  committed in the gateway; only then may the connector move or acknowledge anything at the source.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    from gateway.core.model import ProductionOrder
    from gateway.core.target_answer import Answer


#: How a target takes a correction of what it has booked.
Correction = Literal["cancel", "negative", "manual"]


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

    ``answer`` is what came from the target where it booked nothing, without secrets: a person reads it.
    """

    kind: OutcomeKind
    detail: str = ""
    code: str = ""
    reference: str = ""
    retry_after_ns: int | None = None
    answer: Answer | None = None


class LookupKind(enum.StrEnum):
    """What a look-up by key found."""

    FOUND = "found"
    ABSENT = "absent"
    UNKNOWN = "unknown"


class Lookup(NamedTuple):
    """The answer to "is this key booked?"."""

    kind: LookupKind
    reference: str = ""
    detail: str = ""


class MappingError(Exception):
    """A confirmation cannot be expressed for this target; says which field and what is allowed."""


class ConnectorError(Exception):
    """Orders could not be fetched, or the target could not be probed; says what happened and what to do."""


class Rendered(NamedTuple):
    """The exact message. ``name`` is a file name or path part where the target needs one."""

    body: bytes
    content_type: str
    name: str


class Posting(NamedTuple):
    """What the forwarder hands to ``send`` and ``lookup``. ``kind``: partial, final ..., or ack for an answer."""

    key: str
    message_id: str
    order: str
    operation: str
    seq: int
    attempt: int
    rendered: Rendered
    kind: str = ""


class RefusedOrder(NamedTuple):
    """An order that cannot be taken: where it stood, and every reason."""

    place: str
    reasons: tuple[str, ...]


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
    """What the target says of an order. ``known`` False: it has no such order; ``closed``: it takes nothing more."""

    order: str
    known: bool = True
    closed: bool = False
    operations: tuple[BookedOperation, ...] = ()


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


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectorContext:
    """What a connector gets besides its settings.

    Attributes:
        name: the connector's name in the configuration.
        gateway_id: goes into messages that need a sender.
        now_ns: what UTC is, as far as the gateway knows, integer nanoseconds. It may step: measure no length by it.
        secrets: resolved secrets by settings path (``token``), as text; never log them.
        base_dir: the folder that relative paths of the settings are relative to.
    """

    name: str
    gateway_id: str
    now_ns: Callable[[], int]
    secrets: Mapping[str, str]
    base_dir: Path


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
class TellsTotals(Protocol):
    """A connector with the capability ``totals``."""

    async def booked(self, order: str) -> BookedOrder:
        """What the target has booked of an order. Raises ConnectorError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectorType:
    """A connector as an entry point of the group ``linegate.connectors`` names it.

    Attributes:
        name: the word in the configuration's ``connector:``.
        settings: a frozen dataclass; its ``connector`` field is ``Literal[name]``. Secret fields have the type
            ``gateway.core.secret.SecretRef | None``: the loader resolves them into ``ConnectorContext.secrets``.
        build: makes the connector object; no I/O.
        describe: lines for ``linegate check``.
    """

    name: str
    settings: type[Any]
    build: Callable[[Any, ConnectorContext], Connector]
    describe: Callable[[Any], list[str]]
