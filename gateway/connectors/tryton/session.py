"""Calls of a Tryton server over JSON-RPC: signs in, renews the session once, and says how each call ended.

One attempt a call. Knows no model and decides nothing about confirmations: a call gives its result, or raises
``CallError`` with the outcome that it means for whoever wanted something booked.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.connectors.base import Outcome, OutcomeKind
from gateway.connectors.error_classes import BY_STATUS, table_of
from gateway.connectors.http import HttpClient, TransportError
from gateway.connectors.http_answer import CODE_MAX_CHARS, DETAIL_MAX_CHARS, kept, phrase, retry_after_ns
from gateway.connectors.tryton.codec import decoded, encoded
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.connectors.http import HttpAnswer
    from gateway.connectors.tryton.settings import TrytonSettings

ANSWER_MAX_BYTES: Final = 16 * 1024 * 1024
#: Tryton names what it raises; a text alone is an error inside the server, which took the transaction back - or not.
BY_CODE: Final[dict[str, OutcomeKind]] = {
    **BY_STATUS,
    "UserError": OutcomeKind.BUSINESS_REJECT,
    "UserWarning": OutcomeKind.BUSINESS_REJECT,
    "ConcurrencyException": OutcomeKind.BUSY,
    "LoginException": OutcomeKind.AUTH,
    "ServerError": OutcomeKind.UNCERTAIN,
}
SERVER_ERROR: Final = "ServerError"
WARNING: Final = "UserWarning"
_CONTEXT_KEYS: Final = ("company", "companies", "company_filter", "employee", "language", "groups", "warehouse")


class CallError(Exception):
    """A call without a result. ``warning`` is the whole name of what Tryton warns of, "" where it does not."""

    def __init__(self, outcome: Outcome, warning: str = "") -> None:
        super().__init__(outcome.detail)
        self.outcome = outcome
        self.warning = warning


class _SignedIn(NamedTuple):
    authorization: str
    user_id: int
    context: Mapping[str, Any]


class Session:
    """One user at one database. Several calls may be under way."""

    def __init__(self, client: HttpClient, settings: TrytonSettings, password: str, now_ns: Callable[[], int]) -> None:
        self._client = client
        self._settings = settings
        self._password = password
        self._now_ns = now_ns
        self._table = table_of(settings.error_classes, BY_CODE)
        self._signed_in: _SignedIn | None = None
        self._signing_in = asyncio.Lock()
        self._numbers = itertools.count(1)

    async def user_id(self) -> int:
        """The id of the user. Raises CallError."""
        return (await self._sign_in(None)).user_id

    async def read(self, method: str, *params: Any) -> Any:
        """A call that changes nothing: where its end is unclear, surely nothing was booked. Raises CallError."""
        try:
            return await self.write(method, *params)
        except CallError as error:
            if error.outcome.kind is OutcomeKind.UNCERTAIN:
                raise CallError(error.outcome._replace(kind=OutcomeKind.NOT_SENT)) from error
            raise

    async def write(self, method: str, *params: Any, stamps: Mapping[str, str] | None = None) -> Any:
        """A call of ``model.`` that may change something. Raises CallError.

        ``stamps``: record to its ``_timestamp`` as it was read; Tryton refuses where somebody changed it since.
        """
        signed_in = await self._sign_in(None)
        for last in (False, True):
            context = {**signed_in.context, **({"_timestamp": dict(stamps)} if stamps else {})}
            answer = await self._request(f"model.{method}", [*params, context], signed_in.authorization)
            if answer.status != HTTPStatus.UNAUTHORIZED or last:
                break
            # The session is over: it was asked before anything was done.
            signed_in = await self._sign_in(signed_in)
        return self._result(answer)

    async def _sign_in(self, expired: _SignedIn | None) -> _SignedIn:
        async with self._signing_in:
            if self._signed_in is None or self._signed_in is expired:
                self._signed_in = None
                self._signed_in = await self._login()
            return self._signed_in

    async def _login(self) -> _SignedIn:
        user, language = self._settings.user, self._settings.language
        try:
            answer = await self._request("common.db.login", [user, {"password": self._password}, language], None)
            result = self._result(answer)
            if not isinstance(result, list) or len(result) < 2:  # noqa: PLR2004 - user id and token
                raise self._strange(answer, "the answer to the login is no [user id, token]")
            user_id, token = result[0], result[1]
            session = base64.b64encode(f"{user}:{user_id}:{token}".encode()).decode()
            authorization = f"Session {session}"
            asked = await self._request("model.res.user.get_preferences", [True, {}], authorization)
            told = self._result(asked)
        except CallError as error:
            if error.outcome.kind is OutcomeKind.UNCERTAIN:  # nothing is booked by it
                raise CallError(error.outcome._replace(kind=OutcomeKind.NOT_SENT)) from error
            raise
        if not isinstance(told, dict) or not isinstance(user_id, int):
            raise self._strange(asked, "the user's preferences are no object")
        context = {name: told[name] for name in _CONTEXT_KEYS if name in told}
        return _SignedIn(authorization, user_id, context)

    async def _request(self, method: str, params: list[Any], authorization: str | None) -> HttpAnswer:
        number = next(self._numbers)
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if authorization is not None:
            headers["Authorization"] = authorization
        body = encoded({"id": number, "method": method, "params": params})
        path = f"/{self._settings.database}/rpc/"
        try:
            # Tryton says that a long answer is compressed even where it is not, unless it may compress it.
            return await self._client.request(
                "POST", path, headers=headers, body=body, body_max_bytes=ANSWER_MAX_BYTES, gzip=True
            )
        except TransportError as error:
            kind = OutcomeKind.UNCERTAIN if error.sent else OutcomeKind.NOT_SENT
            raise CallError(Outcome(kind, clean(str(error), DETAIL_MAX_CHARS))) from error

    def _result(self, answer: HttpAnswer) -> Any:
        if answer.status != HTTPStatus.OK:
            raise self._by_status(answer)
        try:
            document = decoded(answer.body) if "html" not in answer.media_type else None
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict) or not {"result", "error"} & document.keys():
            raise self._strange(answer, f"found {answer.media_type or 'no content type'}, allowed: an answer of Tryton")
        if document.get("error") is None:
            return document.get("result")
        raise self._told(answer, document["error"])

    def _by_status(self, answer: HttpAnswer) -> CallError:
        kind = self._table.of((), answer.status)
        text = f"HTTP {answer.status} {phrase(answer.status)}"
        if answer.status == HTTPStatus.UNAUTHORIZED:
            text = f"{text}: user or password refused; check them, and that the user is active"
        elif answer.status == HTTPStatus.NOT_FOUND:
            text = f"{text}: no database {self._settings.database} there; check url and database"
        wish_ns = retry_after_ns(answer, self._now_ns())
        if answer.status == HTTPStatus.SERVICE_UNAVAILABLE and wish_ns is not None:
            kind = OutcomeKind.NOT_SENT
        return self._error(Outcome(kind, text, str(answer.status), "", wish_ns), answer)

    def _told(self, answer: HttpAnswer, error: Any) -> CallError:
        parts = error if isinstance(error, list) and error else [error]
        name, told = parts[0], parts[1] if len(parts) > 1 else ""
        texts = [clean(str(one), DETAIL_MAX_CHARS) for one in (told if isinstance(told, list) else [told]) if one]
        if not isinstance(name, str) or name not in self._named():
            text = f"the server failed: {clean(str(name), DETAIL_MAX_CHARS)}"
            return self._error(Outcome(self._table.of((SERVER_ERROR,)), text, SERVER_ERROR), answer)
        if name != WARNING:
            return self._error(Outcome(self._table.of((name,)), ": ".join((name, *texts)), name), answer)
        # A warning's name is a digest of its records, a point, and what it warns of.
        whole = str(told[0]) if isinstance(told, list) and told else ""
        code = clean(whole.rpartition(".")[2], CODE_MAX_CHARS)
        text = f"Tryton warns of {code}: {' '.join(texts[1:])}; release it to book it all the same"
        kind = self._table.found((code,)) or self._table.of((name,))
        return self._error(Outcome(kind, text, code), answer, whole)

    def _named(self) -> set[str]:
        return {name for name in BY_CODE if not name.isdigit()} - {SERVER_ERROR}

    def _strange(self, answer: HttpAnswer, what: str) -> CallError:
        kind = OutcomeKind.UNCERTAIN if answer.media_type == "application/json" else OutcomeKind.PROTOCOL
        return self._error(Outcome(kind, f"HTTP {answer.status}: {what}; does Tryton answer at this url?"), answer)

    def _error(self, outcome: Outcome, answer: HttpAnswer, warning: str = "") -> CallError:
        secrets = [self._password]
        if self._signed_in is not None:
            secrets.append(self._signed_in.authorization)
        outcome = outcome._replace(detail=clean(outcome.detail, DETAIL_MAX_CHARS))
        return CallError(kept(outcome, answer, secrets), warning)
