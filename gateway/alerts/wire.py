"""A message as the request of one kind of channel, and what its answer means. Pure: the time is handed in.

DingTalk and WeCom answer 200 whatever happened: only ``errcode`` says it. No text that comes out holds the address, a
token or a secret.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote, quote_plus

from gateway.alerts.message import text_of
from gateway.connectors import http_answer
from gateway.core.duration import NS_PER_UNIT, Duration
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    from collections.abc import Collection

    from gateway.alerts.message import Message
    from gateway.connectors.http import HttpAnswer

#: WeCom's limits; DingTalk's are wider.
TEXT_MAX_BYTES: Final = 2048
MARKDOWN_MAX_BYTES: Final = 4096
#: "Too many messages": DingTalk is then silent for 10 minutes, WeCom for one.
LIMIT_CODES: Final = {"dingtalk": {130101: Duration("10 min")}, "wecom": {45009: Duration("1 min")}}
LIMIT_PAUSE_NS: Final = Duration("1 min")
TOO_MANY: Final = 429
SAID_MAX_CHARS: Final = 200
EVERYBODY: Final = "all"


class Request(NamedTuple):
    """What is posted. ``query`` is written out and goes behind the query that the address has."""

    query: str
    headers: dict[str, str]
    body: bytes


class Reply(NamedTuple):
    """What came back. ``pause_ns``: how long the channel wants to be left alone, None where it does not say."""

    ok: bool
    detail: str
    pause_ns: int | None = None


class Form(NamedTuple):
    """How one channel is spoken to. ``secret`` and ``token``: "" where it has none."""

    kind: str
    secret: str = ""
    token: str = ""
    markdown: bool = False
    mention: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Form({self.kind})"  # never the secrets


def request_of(form: Form, message: Message, utc_ns: int) -> Request:
    """The request of a message at this moment; the robots' signatures hold for an hour."""
    utc_ms = utc_ns // NS_PER_UNIT["ms"]
    headers = {"Content-Type": "application/json"}
    if form.kind == "dingtalk":
        query = f"timestamp={utc_ms}&sign={_dingtalk_sign(form.secret, utc_ms)}" if form.secret else ""
        return Request(query, headers, _json(_dingtalk(form, message)))
    if form.kind == "wecom":
        return Request("", headers, _json(_wecom(form, message)))
    body = _json({**message.document, "text": text_of(message, MARKDOWN_MAX_BYTES)})
    if form.secret:
        signed = hmac.new(form.secret.encode(), f"{utc_ms}.".encode() + body, hashlib.sha256).hexdigest()
        headers |= {"X-Linegate-Timestamp": str(utc_ms), "X-Linegate-Signature": f"sha256={signed}"}
    return Request("", headers, body)


def reply_of(form: Form, answer: HttpAnswer, now_ns: int, secrets: Collection[str]) -> Reply:
    """What an answer means. ``secrets``: texts that the answer may repeat and nobody may see."""
    status = f"HTTP {answer.status} {http_answer.phrase(answer.status)}"
    asked_ns = http_answer.retry_after_ns(answer, now_ns)
    if not 200 <= answer.status < 300:  # noqa: PLR2004 - what HTTP calls success
        limit_ns = LIMIT_PAUSE_NS if answer.status == TOO_MANY else None
        return Reply(ok=False, detail=status, pause_ns=asked_ns if asked_ns is not None else limit_ns)
    if form.kind == "webhook":
        return Reply(ok=True, detail=status)
    said = http_answer.document_of(answer)
    code = said.get("errcode") if isinstance(said, dict) else None
    if not isinstance(code, int) or isinstance(code, bool):
        return Reply(ok=False, detail=f"{status}, but no errcode: is this the address of a {form.kind} robot?")
    words = clean(http_answer.hidden(str(said.get("errmsg", "")), secrets), SAID_MAX_CHARS)
    detail = f"{status}, errcode {code}: {words}"
    return Reply(ok=code == 0, detail=detail, pause_ns=LIMIT_CODES[form.kind].get(code))


def _dingtalk(form: Form, message: Message) -> dict[str, Any]:
    everybody = EVERYBODY in form.mention
    at = {"atMobiles": [one for one in form.mention if one != EVERYBODY], "isAtAll": everybody}
    mentioned = "".join(f" @{one}" for one in at["atMobiles"])  # type: ignore[attr-defined]  # a list, as above
    if form.markdown:
        text = text_of(message, MARKDOWN_MAX_BYTES - len(mentioned), markdown=True) + mentioned
        return {"msgtype": "markdown", "markdown": {"title": message.title, "text": text}, "at": at}
    text = text_of(message, TEXT_MAX_BYTES - len(mentioned)) + mentioned
    return {"msgtype": "text", "text": {"content": text}, "at": at}


def _wecom(form: Form, message: Message) -> dict[str, Any]:
    if form.markdown:
        return {"msgtype": "markdown", "markdown": {"content": text_of(message, MARKDOWN_MAX_BYTES, markdown=True)}}
    text: dict[str, Any] = {"content": text_of(message, TEXT_MAX_BYTES)}
    if form.mention:
        text["mentioned_list"] = ["@all" if one == EVERYBODY else one for one in form.mention]
    return {"msgtype": "text", "text": text}


def _dingtalk_sign(secret: str, utc_ms: int) -> str:
    signed = hmac.new(secret.encode(), f"{utc_ms}\n{secret}".encode(), hashlib.sha256).digest()
    return quote_plus(base64.b64encode(signed))


def forms_of(secret: str) -> tuple[str, ...]:
    """A secret as it is, and as an address writes it."""
    return tuple(dict.fromkeys((secret, quote(secret, safe=""), quote_plus(secret))))


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
