"""HTTP for connectors: one client for each target, one answer or one clear failure for each request.

The only module that imports httpx. It never follows a redirect, never repeats a request, never reads proxies from the
environment, keeps no cookies (``cookies.py`` does, for a connector that wants it), and bounds the time and the size of
an answer. What an answer means is the connector's business.
"""

from __future__ import annotations

import asyncio
import base64
import http.cookiejar
import importlib.util
import ssl
import sys
import zlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import httpx

from gateway.connectors.base import ConnectorError
from gateway.core.duration import NS_PER_S
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

BODY_MAX_BYTES: Final = 1024 * 1024
CONNECTIONS_MAX: Final = 40
#: Servers close idle connections after 5 s and more; a request on a closed one has an unclear end.
KEEPALIVE_S: Final = 2.0
_GZIP_WBITS: Final = 31
#: httpcore asks for it several times a request. Where it is not installed, Python would search every folder each time.
ASKED_FOR: Final = "sniffio"

if importlib.util.find_spec(ASKED_FOR) is None:
    sys.modules[ASKED_FOR] = None  # type: ignore[assignment]  # the documented mark of a module that is not there


class HttpAnswer(NamedTuple):
    """A complete answer. Header names are lower-case. ``cookies``: each Set-Cookie line as it came."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    cookies: tuple[str, ...] = ()

    @property
    def media_type(self) -> str:
        """Content type without its parameters, lower-case."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


class TransportError(Exception):
    """No complete answer. ``sent``: the request, or a part of it, may have left."""

    def __init__(self, detail: str, *, sent: bool) -> None:
        super().__init__(detail)
        self.sent = sent


class ClientCertificate(NamedTuple):
    """Who we are, for targets that ask by TLS: PEM files, and the password of the key (None: it has none)."""

    certificate_file: Path
    key_file: Path | None = None
    key_password: str | None = None

    def __repr__(self) -> str:
        return f"ClientCertificate({self.certificate_file})"  # never the password


class TooLongError(TransportError):
    """The answer is above the limit: it was not read to its end, and asking again brings the same."""


def bearer(token: str) -> str:
    """The Authorization header of a token. Raises ConnectorError if it cannot stand in a header."""
    return f"Bearer {_printable('token', token)}"


def basic(username: str, password: str) -> str:
    """The Authorization header of a user name and password. Raises ConnectorError for a colon in the name."""
    if ":" in username:
        raise ConnectorError("username: holds a colon, which HTTP basic authentication cannot carry")
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


class HttpClient:
    """One target. Made without I/O; ``timeout_ns`` bounds each request as a whole, in nanoseconds."""

    def __init__(
        self,
        base_url: str,
        *,
        timeout_ns: int,
        authorization: str | None = None,
        ca_file: Path | None = None,
        certificate: ClientCertificate | None = None,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._timeout_s = timeout_ns / NS_PER_S
        self._headers = {"User-Agent": "linegate", "Accept-Encoding": "identity"}
        if authorization is not None:
            self._headers["Authorization"] = authorization
        self._ca_file = ca_file
        self._certificate = certificate
        self._client: httpx.AsyncClient | None = None

    async def open(self) -> None:
        """Make the client; the target is not asked. Raises ConnectorError for an unreadable certificate file."""
        try:
            verify = await asyncio.to_thread(_trusted, self._base_url, self._ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ConnectorError(f"ca_file {self._ca_file}: cannot be used: {error}; give a PEM file") from error
        if self._certificate is not None:
            await asyncio.to_thread(_present, verify, self._certificate)
        # An empty list of domains: what a target sets is kept by the connector, or not at all.
        no_cookies = http.cookiejar.CookieJar(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))
        self._client = httpx.AsyncClient(
            verify=verify,
            trust_env=False,
            follow_redirects=False,
            headers=self._headers,
            cookies=no_cookies,
            timeout=httpx.Timeout(self._timeout_s),
            limits=httpx.Limits(max_connections=CONNECTIONS_MAX, keepalive_expiry=KEEPALIVE_S),
        )

    async def close(self) -> None:
        """Release the connections."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        body_max_bytes: int = BODY_MAX_BYTES,
        gzip: bool = False,
    ) -> HttpAnswer:
        """One request, one complete answer of at most ``body_max_bytes``.

        ``gzip``: for a server that says it compresses although it was asked not to; the limit holds for the plain body.
        Raises TransportError, which says whether it may have left, and TooLongError.
        """
        if self._client is None:
            raise TransportError("the connector is not open", sent=False)
        phase = _Phase()
        try:
            request = self._client.build_request(
                method,
                self._base_url + path,
                params=query or None,
                headers={**(headers or {}), **({"Accept-Encoding": "gzip"} if gzip else {})},
                content=body,
                extensions={"trace": phase.trace},
            )
            async with asyncio.timeout(self._timeout_s):
                return await self._exchange(request, phase, body_max_bytes, gzip=gzip)
        except TimeoutError as error:
            text = f"{self._base_url}: no complete answer within {self._timeout_s:g} s"
            raise TransportError(text, sent=phase.sent) from error
        except (httpx.InvalidURL, UnicodeError) as error:  # a host name that is none; these are no HTTPError
            raise TransportError(clean(f"{self._base_url}: is no address: {error}"), sent=phase.sent) from error
        except httpx.HTTPError as error:
            text = clean(f"{self._base_url}: {str(error) or type(error).__name__}")
            raise TransportError(text, sent=phase.sent) from error

    async def _exchange(self, request: httpx.Request, phase: _Phase, body_max_bytes: int, *, gzip: bool) -> HttpAnswer:
        assert self._client is not None
        response = await self._client.send(request, stream=True)
        try:
            if phase.answered_before:
                # Not read to its end: this connection is closed, and whatever else waits in it is gone.
                text = f"{self._base_url}: sent more than one answer to the request before; this one is not trusted"
                raise TransportError(text, sent=True)
            encoding = response.headers.get("content-encoding", "identity")
            if encoding != "identity" and not (gzip and encoding == "gzip"):
                raise TransportError(f"{self._base_url}: answers compressed although asked not to", sent=True)
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > body_max_bytes:
                    raise TooLongError(f"{self._base_url}: the answer is above {body_max_bytes} bytes", sent=True)
            if encoding == "gzip":
                body = self._plain(body, body_max_bytes)
        finally:
            await response.aclose()
        cookies = tuple(response.headers.get_list("set-cookie"))
        return HttpAnswer(response.status_code, dict(response.headers.items()), bytes(body), cookies)

    def _plain(self, body: bytearray, body_max_bytes: int) -> bytearray:
        """What was compressed; never more than the limit is unpacked."""
        unpacking = zlib.decompressobj(_GZIP_WBITS)
        try:
            plain = unpacking.decompress(body, body_max_bytes + 1)
        except zlib.error as error:
            raise TransportError(
                f"{self._base_url}: the answer is not compressed as it says ({error})", sent=True
            ) from error
        if len(plain) > body_max_bytes:
            raise TooLongError(f"{self._base_url}: the answer is above {body_max_bytes} bytes", sent=True)
        if not unpacking.eof:
            raise TransportError(f"{self._base_url}: the answer ends in the middle", sent=True)
        return bytearray(plain)


class _Phase:
    """Listens to httpx. From the first header on, nobody knows what has arrived.

    An answer that needs no turn of the event loop was there before its request: a server that answers twice would
    have every later answer taken for that of the next request.
    """

    def __init__(self) -> None:
        self.sent = False
        self.answered_before = False
        self._turned = asyncio.Event()

    async def trace(self, event: str, _info: Mapping[str, Any]) -> None:
        if event.endswith(".send_request_headers.started"):
            self.sent = True
        elif event.endswith(".receive_response_headers.started"):
            asyncio.get_running_loop().call_soon(self._turned.set)
        elif event.endswith(".receive_response_headers.complete"):
            self.answered_before = not self._turned.is_set()


def _trusted(base_url: str, ca_file: Path | None) -> ssl.SSLContext:
    if ca_file is None and not base_url.lower().startswith("https:"):
        # The certificates of the system are long to read, and plain HTTP shows none. This one refuses every server.
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return ssl.create_default_context(cafile=ca_file)


def _present(context: ssl.SSLContext, own: ClientCertificate) -> None:
    # Without a callback OpenSSL would ask the terminal for the password.
    password = own.key_password or ""
    try:
        context.load_cert_chain(own.certificate_file, own.key_file, lambda: password)
    except (OSError, ssl.SSLError, ValueError) as error:
        raise ConnectorError(
            f"certificate_file {own.certificate_file}: cannot be used: {clean(str(error))}; give a PEM certificate and "
            "its key (in the same file, or as key_file), and the key's password as key_password"
        ) from error


def _printable(name: str, secret: str) -> str:
    if not secret or not secret.isascii() or not secret.isprintable() or " " in secret:
        raise ConnectorError(f"{name}: is empty or holds a character that cannot stand in an HTTP header")
    return secret
