"""One session with SAP: the token against forged requests and the cookies that it is bound to, shared by all lanes.

A token is fetched once; where SAP wants another one it is fetched once more, and the message goes once more: what is
answered so was not worked on. Questions have cookies of their own, so that they never change the session of a token.
Knows no message, and decides nothing about answers beyond the token's.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlencode

from gateway.connectors.cookies import Cookies
from gateway.connectors.http import BODY_MAX_BYTES, TransportError
from gateway.connectors.signed_client import SignInRefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.connectors.http import HttpAnswer
    from gateway.connectors.sap_odata.services import Service
    from gateway.connectors.signed_client import SignedClient

TOKEN: Final = "x-csrf-token"  # noqa: S105 - the name of a header
TOKEN_MAX_CHARS: Final = 500
_FORBIDDEN: Final = 403
_OK: Final = 200
_SAFE: Final = "$'(),:"


class NoTokenError(Exception):
    """No token could be had: the message was not sent. ``answer`` is what came instead."""

    def __init__(self, answer: HttpAnswer) -> None:
        super().__init__(f"no {TOKEN} with HTTP {answer.status}")
        self.answer = answer


class Session:
    """What all requests to one system have in common."""

    def __init__(self, client: SignedClient, sap_client: str | None) -> None:
        self._client = client
        self._common = {"sap-client": sap_client} if sap_client else {}
        self._common["sap-language"] = "EN"
        self._reading = Cookies()
        self._writing = Cookies()
        self._tokens: dict[str, str] = {}
        self._fetching = asyncio.Lock()

    async def ask(self, path: str, query: Mapping[str, str], body_max_bytes: int = BODY_MAX_BYTES) -> HttpAnswer:
        """GET. Raises TransportError."""
        headers = {"Accept": "application/json", **self._reading.header()}
        target = self._target(path, {**query, "$format": "json"})
        answer = await self._client.request("GET", target, headers=headers, body_max_bytes=body_max_bytes)
        self._reading.keep(answer)
        return answer

    async def post(self, service: Service, path: str, query: Mapping[str, str], body: bytes) -> HttpAnswer:
        """POST with a token, once more with a new one where SAP asks for it. Raises TransportError, NoTokenError."""
        token = await self._token(service, used="")
        answer = await self._posted(path, query, body, token)
        if is_token_wanted(answer):
            token = await self._token(service, used=token)
            answer = await self._posted(path, query, body, token)
        return answer

    async def _posted(self, path: str, query: Mapping[str, str], body: bytes, token: str) -> HttpAnswer:
        headers = {
            "Accept": "application/json",
            "Content-Type": "application/json",
            TOKEN: token,
            **self._writing.header(),
        }
        answer = await self._client.request("POST", self._target(path, query), headers=headers, body=body)
        if not is_token_wanted(answer):
            self._writing.keep(answer)
        return answer

    async def _token(self, service: Service, *, used: str) -> str:
        """The token in force; a new one where that is the one that was used in vain."""
        async with self._fetching:
            root = service.confirmation_root
            token = self._tokens.get(root, "")
            if token and token != used:
                return token
            if used:  # the session is gone, and with it every token of it
                self._tokens.clear()
                self._writing.clear()
            headers = {"Accept": "application/json", TOKEN: "fetch", **self._writing.header()}
            try:
                answer = await self._client.request("GET", self._target(root, {}), headers=headers)
            except SignInRefusedError:
                raise
            except TransportError as error:
                # The question for a token may have left: the message has not.
                raise TransportError(f"{TOKEN}: {error}", sent=False) from error
            found = answer.headers.get(TOKEN, "").strip()
            usable = found.isascii() and found.isprintable() and 0 < len(found) <= TOKEN_MAX_CHARS
            if answer.status != _OK or "html" in answer.media_type or not usable or found.lower() == "required":
                raise NoTokenError(answer)
            self._writing.keep(answer)
            self._tokens[root] = found
            return found

    def _target(self, path: str, query: Mapping[str, str]) -> str:
        return f"{path}?{urlencode({**query, **self._common}, safe=_SAFE, quote_via=quote)}"


def is_token_wanted(answer: HttpAnswer) -> bool:
    """Whether SAP refuses only the token: no matter of rights, although the status says so."""
    return answer.status == _FORBIDDEN and answer.headers.get(TOKEN, "").strip().lower() == "required"
