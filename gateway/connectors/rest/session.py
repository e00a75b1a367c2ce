"""Requests of one target that wants to be signed in at by a message of its own: session kept, renewed, asked again.

What is refused because the session has ended was not worked on: it is signed in and asked once more. Decides nothing
about what else an answer means. A target without such a login is asked as it is.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from gateway.connectors.base import MappingError
from gateway.connectors.cookies import Cookies
from gateway.connectors.http import BODY_MAX_BYTES, TransportError
from gateway.connectors.rest.filters import Scope
from gateway.connectors.rest.judged import expired, told, with_defaults
from gateway.connectors.rest.messages import request_of
from gateway.connectors.rest.placeholders import filled
from gateway.connectors.rest.tree import first, word
from gateway.connectors.signed_client import SignInRefusedError
from gateway.core.duration import NS_PER_S

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping

    from gateway.connectors.http import HttpAnswer
    from gateway.connectors.rest.plan import Plan
    from gateway.connectors.rest.profile import Answer
    from gateway.connectors.signed_client import SignedClient

#: Refused credentials are not tried again for so long: several lanes must not lock an account.
REFUSED_KEPT_S: Final = 1.0


class Session:
    """One target, signed in where its profile has a login. ``secrets``: by their names in the settings."""

    def __init__(self, client: SignedClient, plan: Plan, secrets: Mapping[str, str], there: dt.tzinfo) -> None:
        self._client = client
        self._plan = plan
        self._secrets = secrets
        self._there = there
        self._cookies = Cookies()
        self._headers: dict[str, str] = {}
        self._until_s: float | None = None
        self._made = 0  # sign-ins so far
        self._refused: tuple[float, str] | None = None
        self._signing_in = asyncio.Lock()

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not stand in any text."""
        return (*self._client.secrets, *self._headers.values())

    async def ask(
        self,
        method: str,
        target: str,
        meaning: Answer,
        *,
        headers: Mapping[str, str],
        body: bytes | None,
        body_max_bytes: int = BODY_MAX_BYTES,
    ) -> HttpAnswer:
        """One request, one answer. Raises TransportError, and of it SignInRefusedError."""
        await self._signed_in()
        used = self._made
        answer = await self._asked(method, target, headers, body, body_max_bytes)
        if self._plan.login is None or not expired(answer, meaning):
            return answer
        if self._made == used:
            self._until_s = None  # else another lane has signed in meanwhile
        await self._signed_in()
        return await self._asked(method, target, headers, body, body_max_bytes)

    async def _asked(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes | None, body_max_bytes: int
    ) -> HttpAnswer:
        whole = {"Accept": "application/json", **headers, **self._headers, **self._cookies.header()}
        answer = await self._client.request(method, target, headers=whole, body=body, body_max_bytes=body_max_bytes)
        self._cookies.keep(answer)
        return answer

    async def _signed_in(self) -> None:
        login = self._plan.login
        if login is None or self._valid():
            return
        async with self._signing_in:
            if self._valid():
                return
            now_s = asyncio.get_running_loop().time()
            if self._refused is not None and now_s < self._refused[0]:
                raise SignInRefusedError(self._refused[1])
            try:
                await self._sign_in(now_s)
            except SignInRefusedError as error:
                self._refused = (now_s + REFUSED_KEPT_S, str(error))
                raise
            self._refused = None

    def _valid(self) -> bool:
        return self._until_s is not None and asyncio.get_running_loop().time() < self._until_s

    async def _sign_in(self, now_s: float) -> None:
        request, settings = self._plan.login, self._plan.profile.login
        assert request is not None
        assert settings is not None
        self._cookies.clear()
        self._headers, self._until_s = {}, None
        values = {"value": self._plan.values, "secret": dict(self._secrets)}
        scope = Scope(values, self._there, self._plan.profile.tables)
        try:
            target, body, content_type = request_of(request, scope, "login.request")
            headers = {name: word(one) for name, one in filled(request.headers, scope, "login.headers").items()}
        except MappingError as error:
            raise SignInRefusedError(f"login: {error}") from None
        meaning = with_defaults(settings.answer, self._plan.profile.answer)
        try:
            answer = await self._asked(
                request.method, target, {"Content-Type": content_type, **headers}, body, BODY_MAX_BYTES
            )
        except TransportError as error:
            raise TransportError(f"login: {error}", sent=False) from None  # nothing of the posting has left
        said = told(answer, meaning)
        if said.problem:
            text = f"login: {said.problem}"
            if said.refused or answer.status in (400, 401, 403):
                raise SignInRefusedError(f"{text}; check values and secrets, and that the account is not locked")
            raise TransportError(f"{text}; check the path of the login, and that the target is up", sent=False)
        if settings.token is not None:
            token = word(first(said.tree, settings.token))
            if not token or not token.isascii() or not token.isprintable():
                raise TransportError(f"login: HTTP {answer.status} with no token at {settings.token}", sent=False)
            self._headers = {settings.header: f"{settings.prefix}{token}"}
        self._until_s = now_s + settings.lifetime / NS_PER_S
        self._made += 1
