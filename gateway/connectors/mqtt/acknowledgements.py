"""What the MES said of confirmations: held at the broker, unacknowledged, until the posting is settled for good.

A refusal or a booking that is not settled comes again after a crash. What no posting claims is let go after a while and
kept in memory: late, double and foreign ones hold up nothing. Asks nobody, and does no I/O by itself.
"""

from __future__ import annotations

import asyncio
import enum
import json
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.connectors.mqtt.link import Message

ACKNOWLEDGEMENT_MAX_BYTES: Final = 64 * 1024
#: What is remembered in memory, the oldest forgotten first.
KEPT_MAX: Final = 10_000
#: After a start every accepted posting is looked up long before; what is not claimed by then is not ours.
UNCLAIMED_S: Final = 30.0
NAME_MAX_CHARS: Final = 300
TEXT_MAX_CHARS: Final = 500


class Said(enum.StrEnum):
    """What an acknowledgement says of a confirmation."""

    BOOKED = "booked"
    REFUSED = "refused"
    ACCEPTED = "accepted"  # it is there, and not booked yet
    UNKNOWN = "unknown"  # asked: it is not there


FINAL: Final = frozenset({Said.BOOKED, Said.REFUSED})


class Acknowledgement(NamedTuple):
    """One of them, checked. ``names``: message id and key, as far as it has them."""

    names: tuple[str, ...]
    said: Said
    reference: str
    code: str
    text: str
    body: str


class UnreadableError(Exception):
    """An acknowledgement says nothing that can be used."""


def read(payload: bytes, correlation: bytes) -> Acknowledgement:
    """The acknowledgement in a message. Raises UnreadableError."""
    if len(payload) > ACKNOWLEDGEMENT_MAX_BYTES:
        raise UnreadableError(f"found {len(payload)} bytes, allowed at most {ACKNOWLEDGEMENT_MAX_BYTES}")
    try:
        document = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"found no JSON: {clean(str(error))}") from error
    if not isinstance(document, dict):
        raise UnreadableError(f"found {type(document).__name__}, allowed: an object")
    named = (document.get("message_id") or correlation.decode("utf-8", "replace"), document.get("key"))
    names = tuple(one for one in named if isinstance(one, str) and 0 < len(one) <= NAME_MAX_CHARS)
    if not names:
        raise UnreadableError("message_id, key: found neither, allowed: one of them, or the correlation data")
    try:
        said = Said(str(document.get("status")))
    except ValueError as error:
        raise UnreadableError(f"status: found {document.get('status')!r}, allowed: {', '.join(Said)}") from error
    reference, code, text = (
        clean(str(document.get(name) or ""), TEXT_MAX_CHARS) for name in ("reference", "code", "message")
    )
    return Acknowledgement(
        names, said, reference, code, text, clean(payload.decode("utf-8", "replace"), TEXT_MAX_CHARS)
    )


class _Kept:
    """A final acknowledgement, and the message that the broker still holds of it."""

    def __init__(self, told: Acknowledgement, message: Message | None, since_s: float) -> None:
        self.told = told
        self.message = message
        self.since_s = since_s
        self.over = False


class Acknowledgements:
    """By message id and key. ``acknowledge`` lets the broker forget a message; ``now_s`` is a steady clock."""

    def __init__(self, acknowledge: Callable[[Message], None], now_s: Callable[[], float]) -> None:
        self._acknowledge = acknowledge
        self._now_s = now_s
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._claimed: OrderedDict[str, None] = OrderedDict()
        self._waiting: dict[str, list[asyncio.Future[Acknowledgement]]] = {}
        #: Why the last one that could not be read could not.
        self.trouble = ""

    def take(self, message: Message) -> bool:
        """A message came; True where a posting may now be settled by it."""
        try:
            told = read(message.payload, message.correlation)
        except UnreadableError as error:
            self.trouble = f"{clean(message.topic)}: {error}"
            self._acknowledge(message)
            return False
        for name in told.names:
            for future in self._waiting.pop(name, []):
                if not future.done():
                    future.set_result(told)
        if told.said not in FINAL:
            self._acknowledge(message)
            return False
        known = self._known(told.names)
        if known is not None and (known.over or known.message is not None) and known.told.said is told.said:
            self._acknowledge(message)  # double
            return False
        if known is not None and known.message is not None:
            self._acknowledge(known.message)  # the later word counts
        kept = _Kept(told, message, self._now_s())
        for name in told.names:
            self._kept[name] = kept
            self._kept.move_to_end(name)
        while len(self._kept) > KEPT_MAX:
            _, oldest = self._kept.popitem(last=False)
            self._let_go(oldest)
        return True

    def claim(self, *names: str) -> None:
        """Postings of these names are under way here."""
        for name in names:
            self._claimed[name] = None
            self._claimed.move_to_end(name)
        while len(self._claimed) > KEPT_MAX:
            self._claimed.popitem(last=False)

    def found(self, *names: str) -> Acknowledgement | None:
        """What was said last, as far as it is final."""
        kept = self._known(names)
        return None if kept is None else kept.told

    def forget_refusal(self, *names: str) -> None:
        """It is sent again: an earlier refusal says nothing any more."""
        kept = self._known(names)
        if kept is not None and kept.told.said is Said.REFUSED:
            self._let_go(kept)
            for name in kept.told.names:
                self._kept.pop(name, None)

    async def coming(self, *names: str, limit_s: float) -> Acknowledgement | None:
        """The next one for these names; None: none came in time."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Acknowledgement] = loop.create_future()
        for name in names:
            self._waiting.setdefault(name, []).append(future)
        try:
            async with asyncio.timeout(limit_s):
                return await future
        except TimeoutError:
            return None
        finally:
            for name in names:
                left = [one for one in self._waiting.pop(name, []) if one is not future]
                if left:
                    self._waiting[name] = left

    def settled(self, *names: str) -> None:
        """What follows from it is committed: the broker may forget it."""
        for name in names:
            self._claimed.pop(name, None)
        kept = self._known(names)
        if kept is not None:
            self._let_go(kept)
            kept.over = True

    def lost(self) -> None:
        """The link is down: what is held comes again."""
        for kept in self._kept.values():
            kept.message = None

    def sweep(self) -> bool:
        """Let go what nobody claims; True while something waits to be settled."""
        waits = False
        for kept in self._kept.values():
            if kept.message is None:
                continue
            if not self._claimed.keys() & set(kept.told.names) and self._now_s() - kept.since_s >= UNCLAIMED_S:
                self._let_go(kept)
            else:
                waits = True
        return waits

    def _known(self, names: tuple[str, ...]) -> _Kept | None:
        return next((self._kept[name] for name in names if name in self._kept), None)

    def _let_go(self, kept: _Kept) -> None:
        if kept.message is not None:
            self._acknowledge(kept.message)
            kept.message = None
