"""HTTP to a target that wants a sign-in: its headers in each request, and a token that is renewed in time.

A token is kept until shortly before it expires, and renewed by one request at a time. A target that refuses a token
which may have expired is asked once more with a new one: what is refused with 401 was not worked on. Who is refused by
the token server is told so without a question for a moment, so that several lanes do not lock an account.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlencode, urlsplit

from gateway.connectors.base import ConnectorError, Outcome, OutcomeKind
from gateway.connectors.http import BODY_MAX_BYTES, ClientCertificate, HttpClient, TransportError, basic, bearer
from gateway.core.duration import Duration
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from gateway.connectors.base import ConnectorContext
    from gateway.connectors.http import HttpAnswer
    from gateway.connectors.sign_in import SignIn

#: A token is not used any more so long before its end; of a short-lived one, half its life.
MARGIN_S: Final = 60.0
#: Where the token server names no lifetime, and at most.
LIFETIME_S: Final = 300.0
LIFETIME_MAX_S: Final = 86_400.0
REFUSED_KEPT_S: Final = 1.0
TOKEN_TIMEOUT_MAX_NS: Final = Duration("30 s")
TOKEN_ANSWER_MAX_BYTES: Final = 64 * 1024
CODE_MAX_CHARS: Final = 100

_OK: Final = 200
_UNAUTHORIZED: Final = 401
_CLIENT_ERRORS: Final = range(400, 500)
#: Of the 4xx, these say nothing of the credentials.
_LATER: Final = frozenset({404, 405, 408, 425, 429})
#: A token server that is only busy.
_LATER_CODES: Final = frozenset({"temporarily_unavailable", "server_error", "slow_down"})


class SignInRefusedError(TransportError):
    """The token server refused the credentials: nothing was sent to the target, and a person must look."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail, sent=False)


def outcome_of_failure(error: TransportError) -> Outcome:
    """What a request without an answer means for a posting."""
    if isinstance(error, SignInRefusedError):
        return Outcome(OutcomeKind.AUTH, str(error))
    return Outcome(OutcomeKind.UNCERTAIN if error.sent else OutcomeKind.NOT_SENT, str(error))


class _Token(NamedTuple):
    header: str
    until_s: float


class SignedClient:
    """One target with its sign-in: an ``HttpClient`` that adds the headers. Made without I/O.

    ``path`` is where ``sign_in`` stands in the connector's settings: its secrets are found there. ``monotonic_s`` is a
    clock that never steps, in seconds; None: that of the event loop.
    """

    def __init__(
        self,
        base_url: str,
        sign_in: SignIn,
        context: ConnectorContext,
        *,
        timeout_ns: int,
        ca_file: str | None = None,
        path: str = "sign_in",
        monotonic_s: Callable[[], float] | None = None,
    ) -> None:
        self._base_url = base_url
        self._sign_in = sign_in
        self._context = context
        self._timeout_ns = timeout_ns
        self._ca_file = ca_file
        self._path = path
        self._monotonic_s = monotonic_s
        self._client: HttpClient | None = None
        self._token_client: HttpClient | None = None
        self._fixed: dict[str, str] = {}
        self._token: _Token | None = None
        self._refused: tuple[float, str] | None = None
        self._renewing = asyncio.Lock()

    async def open(self) -> None:
        """Make the clients; nobody is asked. Raises ConnectorError for a file or a secret that cannot be used."""
        own = self._sign_in
        self._fixed = dict(own.headers)
        for name in own.secret_headers:
            self._fixed[name] = _header_text(name, self._secret(f"secret_headers.{name}"))
        if own.method == "basic":
            self._fixed["Authorization"] = basic(str(own.username), self._secret("password"))
        elif own.method == "bearer":
            self._fixed["Authorization"] = bearer(self._secret("token"))
        certificate = self._certificate()
        client = HttpClient(
            self._base_url, timeout_ns=self._timeout_ns, ca_file=self._file(self._ca_file), certificate=certificate
        )
        await client.open()
        if own.token_url is not None:
            parts = urlsplit(own.token_url)
            self._token_client = HttpClient(
                f"{parts.scheme}://{parts.netloc}",
                timeout_ns=min(self._timeout_ns, TOKEN_TIMEOUT_MAX_NS),
                ca_file=self._file(own.token_ca_file),
                certificate=certificate,
            )
            await self._token_client.open()
        self._client = client

    async def close(self) -> None:
        """Release the connections and forget the token."""
        for client in (self._client, self._token_client):
            if client is not None:
                await client.close()
        self._client = self._token_client = self._token = None

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not stand in any text: the configured secrets, and the token in use."""
        token = self._token.header.removeprefix("Bearer ") if self._token is not None else ""
        return (*self._context.secrets.values(), *filter(None, (token,)))

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        body_max_bytes: int = BODY_MAX_BYTES,
    ) -> HttpAnswer:
        """One request as ``HttpClient.request`` makes it, signed in.

        Raises TransportError, and of it SignInRefusedError where the token server refuses.
        """
        if self._client is None:
            raise TransportError("the connector is not open", sent=False)
        held = self._token
        token = await self._token_after(None)
        used = {**self._fixed, **(headers or {})}
        signed = used if token is None else {**used, "Authorization": token.header}
        answer = await self._client.request(
            method, path, query=query, headers=signed, body=body, body_max_bytes=body_max_bytes
        )
        if answer.status != _UNAUTHORIZED or token is None or token is not held:
            return answer  # a token that was made for this very request has not expired: it is refused
        token = await self._token_after(token)
        signed = used if token is None else {**used, "Authorization": token.header}
        return await self._client.request(
            method, path, query=query, headers=signed, body=body, body_max_bytes=body_max_bytes
        )

    async def _token_after(self, refused: _Token | None) -> _Token | None:
        """A token that is good for a while and is not ``refused``; None: this method has none."""
        if self._token_client is None:
            return None
        if self._usable(refused):
            return self._token
        async with self._renewing:
            if self._usable(refused):
                return self._token  # another lane was faster
            if self._refused is not None and self._now_s() < self._refused[0]:
                raise SignInRefusedError(self._refused[1])
            try:
                self._token = await self._asked(self._token_client)
            except SignInRefusedError as error:
                self._token, self._refused = None, (self._now_s() + REFUSED_KEPT_S, str(error))
                raise
            self._refused = None
            return self._token

    def _usable(self, refused: _Token | None) -> bool:
        return self._token is not None and self._token is not refused and self._now_s() < self._token.until_s

    async def _asked(self, client: HttpClient) -> _Token:
        own, secret = self._sign_in, self._secret("client_secret")
        form = {"grant_type": "client_credentials", **own.parameters}
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        if own.scope is not None:
            form["scope"] = own.scope
        if own.client_in == "header":
            headers["Authorization"] = basic(str(own.client_id), secret)
        else:
            form |= {"client_id": str(own.client_id), "client_secret": secret}
        parts = urlsplit(str(own.token_url))
        began_s = self._now_s()
        try:
            answer = await client.request(
                "POST",
                parts.path or "/",
                headers=headers,
                body=urlencode(form).encode(),
                body_max_bytes=TOKEN_ANSWER_MAX_BYTES,
            )
        except TransportError as error:
            raise TransportError(f"token server: {error}", sent=False) from None
        return _token_of(answer, began_s)

    def _now_s(self) -> float:
        return self._monotonic_s() if self._monotonic_s is not None else asyncio.get_running_loop().time()

    def _secret(self, name: str) -> str:
        text = self._context.secrets.get(f"{self._path}.{name}")
        if text is None:
            raise ConnectorError(f"{self._context.name}: {self._path}.{name}: the secret was not handed in")
        return text

    def _file(self, name: str | None) -> Path | None:
        return None if name is None else self._context.base_dir / name

    def _certificate(self) -> ClientCertificate | None:
        own = self._sign_in
        certificate = self._file(own.certificate_file)
        if certificate is None:
            return None
        password = self._secret("key_password") if own.key_password is not None else None
        return ClientCertificate(certificate, self._file(own.key_file), password)


def _token_of(answer: HttpAnswer, began_s: float) -> _Token:
    """The token in an answer. Raises TransportError; nothing that the server says goes into its text but a code."""
    try:
        document = json.loads(answer.body)
    except (ValueError, RecursionError):
        document = None
    found = document if isinstance(document, dict) else {}
    if answer.status != _OK:
        code = found.get("error")
        code = clean(code, CODE_MAX_CHARS) if isinstance(code, str) else ""
        text = f"token server: HTTP {answer.status}{f' {code}' if code else ''}"
        if answer.status in _CLIENT_ERRORS and answer.status not in _LATER and code not in _LATER_CODES:
            raise SignInRefusedError(f"{text}; check client_id, client_secret and scope")
        raise TransportError(f"{text}; check token_url, and that the server is up", sent=False)
    kind, token = found.get("token_type", "Bearer"), found.get("access_token")
    if not isinstance(token, str) or not isinstance(kind, str) or kind.lower() != "bearer":
        what = answer.media_type or "no content type"
        raise TransportError(f"token server: HTTP 200 without a bearer token ({what}); check token_url", sent=False)
    try:
        header = bearer(token)
    except ConnectorError as error:
        raise TransportError(f"token server: {error}", sent=False) from None
    lifetime_s = _seconds(found.get("expires_in"))
    return _Token(header, began_s + lifetime_s - min(MARGIN_S, lifetime_s / 2))


def _seconds(told: object) -> float:
    if isinstance(told, str) and told.isascii() and told.isdigit():
        told = int(told[:12])
    if isinstance(told, bool) or not isinstance(told, (int, float)) or told <= 0:
        return LIFETIME_S
    return float(min(told, LIFETIME_MAX_S))  # first the smaller one: an integer may be beyond every float


def _header_text(name: str, secret: str) -> str:
    if not secret.isascii() or not secret.isprintable():
        raise ConnectorError(f"secret_headers.{name}: holds a character that cannot stand in an HTTP header")
    return secret
