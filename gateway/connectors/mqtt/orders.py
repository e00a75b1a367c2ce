"""Orders that came and wait: held at the broker, unacknowledged, until the cursor of their page comes back.

The cursor names what its page held by digests of topic and content: a new process that gets the same messages again
makes the same page of them, and what was committed before a crash is told from what was not. Does no I/O by itself.
"""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.connectors.base import OrderPage, RefusedOrder
from gateway.connectors.refused_orders import refused_image
from gateway.connectors.rest.orders import order_of, place_of
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.connectors.mqtt.link import Message
    from gateway.core.model import ProductionOrder

ORDER_MAX_BYTES: Final = 1024 * 1024
#: On one page at most; the others follow at once.
PAGE_MAX: Final = 100
#: Bounds what comes with QoS 0, which no broker holds back.
HELD_MAX: Final = 1000
#: Pages given out whose cursor may still come back.
GIVEN_MAX: Final = 8
REASONS_MAX: Final = 50
DIGEST_CHARS: Final = 16
PLACE_MAX_CHARS: Final = 200
_ORDERS: Final = "orders"


class _Held(NamedTuple):
    digest: str
    topic: str
    payload: bytes
    qos: int
    message: Message | None  # None: of a connection that is lost


class HeldOrders:
    """What came and is not known to be committed. ``acknowledge`` lets the broker forget a message."""

    def __init__(self, acknowledge: Callable[[Message], None]) -> None:
        self._acknowledge = acknowledge
        self._held: dict[int, _Held] = {}
        self._next = 0
        self._given: dict[str, tuple[int, ...]] = {}
        self._committed: frozenset[str] = frozenset()
        self._refused: list[RefusedOrder] = []

    def __bool__(self) -> bool:
        """Whether there is anything to tell."""
        return bool(self._held or self._refused)

    def take(self, message: Message) -> None:
        """A message came; one that only clears a retained order says nothing."""
        digest = hashlib.sha256(message.topic.encode() + b"\0" + message.payload).hexdigest()[:DIGEST_CHARS]
        if not message.payload or (message.again and digest in self._committed):
            self._acknowledge(message)
            return
        if message.qos == 0 and len(self._held) >= HELD_MAX:
            text = f"found more than {HELD_MAX} orders at QoS 0 that wait, allowed: QoS 1"
            self.tell(message.topic, text)
            return
        self._held[self._next] = _Held(digest, message.topic, message.payload, message.qos, message)
        self._next += 1

    def tell(self, place: str, reason: str) -> None:
        """Something that a person should see, with the next page."""
        if len(self._refused) < REASONS_MAX:
            self._refused.append(RefusedOrder(clean(place, PLACE_MAX_CHARS), (reason,)))

    def lost(self) -> None:
        """The link is down: nothing of it can be acknowledged any more."""
        self._held = {number: one._replace(message=None) for number, one in self._held.items()}

    def resumed(self, *, session_present: bool) -> None:
        """The link is up. With its session the broker sends everything again; without it only what is here is left."""
        if session_present:
            self._held = {number: one for number, one in self._held.items() if not one.qos}

    def committed(self, cursor: str) -> None:
        """What the page of this cursor held is committed in the gateway."""
        digests = frozenset(cursor.rstrip(".").split(",")) if cursor else frozenset()
        numbers = self._given.pop(cursor, ())
        again = [
            number
            for number, one in self._held.items()
            if one.digest in digests and (one.message is None or one.message.again)
        ]
        for number in {*numbers, *again}:
            one = self._held.pop(number, None)
            if one is not None and one.message is not None:
                self._acknowledge(one.message)
        self._committed = digests

    def given(self, cursor: str) -> tuple[list[tuple[str, bytes]], list[RefusedOrder], str]:
        """Topic and content of what waits, what else is to be told, and the cursor behind it."""
        chosen = list(self._held.items())[:PAGE_MAX]
        refused, self._refused = self._refused, []
        if not chosen:
            return [], refused, cursor
        following = ",".join(one.digest for _, one in chosen)
        while following == cursor:  # the same content once more: its page is another one
            following += "."
        self._given[following] = tuple(number for number, _ in chosen)
        while len(self._given) > GIVEN_MAX:
            del self._given[next(iter(self._given))]
        return [(one.topic, one.payload) for _, one in chosen], refused, following


def page_of(found: Iterable[tuple[str, bytes]], refused: Iterable[RefusedOrder], cursor: str) -> OrderPage:
    """The page of checked orders. Pure."""
    orders: list[ProductionOrder] = []
    against = list(refused)
    for topic, payload in found:
        images, reason = _images(payload)
        if reason:
            against.append(RefusedOrder(clean(topic, PLACE_MAX_CHARS), (reason,)))
        for number, image in enumerate(images):
            reasons: list[str] = []
            order = order_of(image, reasons)
            if order is None or reasons:
                place = clean(f"{topic} {place_of(number, image)}", PLACE_MAX_CHARS)
                against.append(refused_image(place, image, reasons[:REASONS_MAX]))
            else:
                orders.append(order)
    return OrderPage(tuple(orders), tuple(against), cursor)


def _images(payload: bytes) -> tuple[list[Any], str]:
    """The images in a message, or why there are none."""
    if len(payload) > ORDER_MAX_BYTES:
        return [], f"found {len(payload)} bytes, allowed at most {ORDER_MAX_BYTES}"
    try:
        document = json.loads(payload, parse_float=Decimal, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        return [], f"found no JSON ({clean(str(error))}), allowed: an order, or an object with a list of orders"
    if isinstance(document, dict) and _ORDERS in document:
        listed = document[_ORDERS]
        if not isinstance(listed, list):
            return [], f"orders: found {type(listed).__name__}, allowed: a list"
        return listed, ""
    return [document], ""


def _no_constant(name: str) -> None:
    raise ValueError(f"found {name}, which is not JSON")
