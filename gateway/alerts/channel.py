"""One channel: sends a message and says what came back, at most so many a minute. It repeats nothing and never raises.

When a message is due, and what is in it, is not its business.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from gateway.alerts.wire import Form, Reply, forms_of, reply_of, request_of
from gateway.connectors import http_answer
from gateway.connectors.base import ConnectorError
from gateway.connectors.http import HttpClient, TransportError, bearer
from gateway.core.duration import Duration
from gateway.core.foreign_text import clean
from gateway.core.host import is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.alerts.message import Message

#: The robots take no more; what is tried counts, too.
PER_MINUTE_MAX: Final = 20
MINUTE_NS: Final = Duration("1 min")
ANSWER_MAX_BYTES: Final = 16 * 1024
DETAIL_MAX_CHARS: Final = 300
#: A shorter part of an address is a number or a word, and hiding it would garble every text.
SECRET_MIN_CHARS: Final = 6


class AddressError(ValueError):
    """An address that cannot be used; never says what it is."""


class Address(NamedTuple):
    """A whole address in two parts: only the first one may be shown."""

    origin: str
    path: str

    def __repr__(self) -> str:
        return f"Address({self.origin})"

    @property
    def secrets(self) -> tuple[str, ...]:
        """What nobody may see of it."""
        query = self.path.partition("?")[2]
        values = [value for _, value in parse_qsl(query) if len(value) >= SECRET_MIN_CHARS]
        path = [self.path] if len(self.path) >= SECRET_MIN_CHARS else []
        return tuple(dict.fromkeys(form for one in (*path, *values) for form in forms_of(one)))

    def with_query(self, query: str) -> str:
        """The path, with one more query behind that which it has."""
        if not query:
            return self.path
        return f"{self.path}{'&' if '?' in self.path else '?'}{query}"


def address_of(url: str, *, insecure: bool) -> Address:
    """The parts of an address. Raises AddressError."""
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname or "", parts.port
    except ValueError:
        raise AddressError("cannot be read as an address") from None
    if not url.isascii() or not url.isprintable() or " " in url:
        raise AddressError("holds a character that cannot stand in an address; is there a line too many in it?")
    if parts.scheme not in {"http", "https"} or not host or "@" in parts.netloc or parts.fragment:
        raise AddressError("allowed: https://HOST/PATH, with its query, without user name or #")
    if parts.scheme == "http" and not insecure and not is_loopback(host):
        raise AddressError(
            "found http:// to another machine, allowed: https://; or set insecure: true if everybody on the network "
            "may read it"
        )
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Address(f"{parts.scheme}://{parts.netloc}", path)


class Channel:
    """One channel. Made without I/O; ``now_ns`` and ``utc_now_ns`` are the steady time and UTC."""

    def __init__(
        self,
        name: str,
        address: Address,
        form: Form,
        *,
        timeout_ns: int,
        ca_file: Path | None,
        now_ns: Callable[[], int],
        utc_now_ns: Callable[[], int],
    ) -> None:
        self.name = name
        self._address = address
        self._form = form
        authorization = bearer(form.token) if form.token else None
        self._client = HttpClient(address.origin, timeout_ns=timeout_ns, authorization=authorization, ca_file=ca_file)
        self._is_open = False
        self._now_ns = now_ns
        self._utc_now_ns = utc_now_ns
        self._tried: deque[int] = deque(maxlen=PER_MINUTE_MAX)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What may stand in no log, no answer and no message."""
        own = [one for one in (self._form.secret, self._form.token) if one]
        return (*self._address.secrets, *own)

    async def send(self, message: Message) -> Reply:
        """One attempt."""
        now_ns = self._now_ns()
        if len(self._tried) == PER_MINUTE_MAX and 0 <= now_ns - self._tried[0] < MINUTE_NS:
            left_ns = MINUTE_NS - (now_ns - self._tried[0])
            return Reply(ok=False, detail=f"not sent: {PER_MINUTE_MAX} in the last minute", pause_ns=left_ns)
        self._tried.append(now_ns)
        request = request_of(self._form, message, self._utc_now_ns())
        try:
            if not self._is_open:
                await self._client.open()
                self._is_open = True
            answer = await self._client.request(
                "POST",
                self._address.with_query(request.query),
                headers=request.headers,
                body=request.body,
                body_max_bytes=ANSWER_MAX_BYTES,
            )
        except (TransportError, ConnectorError) as error:
            return Reply(ok=False, detail=clean(http_answer.hidden(str(error), self.secrets), DETAIL_MAX_CHARS))
        return reply_of(self._form, answer, self._utc_now_ns(), self.secrets)

    async def close(self) -> None:
        """Release its connections."""
        await self._client.close()
        self._is_open = False
