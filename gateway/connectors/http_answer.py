"""An HTTP answer as the connectors need it: what a person is shown of it, and when it wants to be asked again. Pure.

What an answer means for a posting is each connector's business, with the tables of ``error_classes.py``. Whatever text
it passes on is bounded, and holds no secret of this gateway.
"""

from __future__ import annotations

import email.utils
import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from gateway.core.duration import NS_PER_S
from gateway.core.target_answer import Answer

if TYPE_CHECKING:
    from collections.abc import Collection

    from gateway.connectors.base import Outcome
    from gateway.connectors.http import HttpAnswer

DETAIL_MAX_CHARS: Final = 300
REFERENCE_MAX_CHARS: Final = 200
CODE_MAX_CHARS: Final = 100
#: More than a year is not a wish but a mistake.
RETRY_AFTER_MAX_S: Final = 366 * 86_400

SHOWN_BODY_MAX_BYTES: Final = 4096
#: What helps to find it in the ERP's log, or says what answered. Never Set-Cookie.
SHOWN_HEADERS: Final = (
    "content-type",
    "date",
    "location",
    "retry-after",
    "server",
    "via",
    "www-authenticate",
    "x-correlation-id",
    "x-request-id",
)
HIDDEN: Final = "***"


def kept(outcome: Outcome, answer: HttpAnswer, secrets: Collection[str]) -> Outcome:
    """The outcome of what is not booked, with the answer for a person, and no secret in any text of it."""
    detail, code = hidden(outcome.detail, secrets), hidden(outcome.code, secrets)
    return outcome._replace(detail=detail, code=code, answer=shown(answer, secrets))


def shown(answer: HttpAnswer, secrets: Collection[str]) -> Answer:
    """The answer for a person: headers that say where it came from and what is asked, the body's beginning."""
    # Cut after it is hidden: of a secret across the end, the beginning would stay.
    body = hidden(answer.body.decode("utf-8", errors="replace"), secrets)[:SHOWN_BODY_MAX_BYTES]
    headers = tuple((name, hidden(answer.headers[name], secrets)) for name in SHOWN_HEADERS if name in answer.headers)
    return Answer(f"HTTP {answer.status} {phrase(answer.status)}", headers, body)


def hidden(text: str, secrets: Collection[str]) -> str:
    """The text without what this gateway keeps secret; a target may repeat it plain, or as JSON writes it."""
    for secret in filter(None, secrets):
        written = json.dumps(secret)[1:-1]
        for found in (secret, written, written.replace("/", "\\/")):
            text = text.replace(found, HIDDEN)
    return text


def document_of(answer: HttpAnswer) -> Any:
    """What the JSON body says; None where it is none, or says that it is a page."""
    if "html" in answer.media_type:
        return None
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError):
        return None


def retry_after_ns(answer: HttpAnswer, now_ns: int) -> int | None:
    """How long the target wants to be left alone, 0 and more; None where it says nothing that can be read."""
    written = answer.headers.get("retry-after", "").strip()
    if written.isascii() and written.isdigit():
        return min(int(written[:12]), RETRY_AFTER_MAX_S) * NS_PER_S
    try:
        until = email.utils.parsedate_to_datetime(written)
    except (ValueError, OverflowError):
        return None
    seconds = int(until.timestamp()) - now_ns // NS_PER_S
    return min(max(seconds, 0), RETRY_AFTER_MAX_S) * NS_PER_S


def phrase(status: int) -> str:
    """The words of a status."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "(unknown status)"
