"""What went wrong, as every refusal says it: problem details (RFC 9457) with found, allowed and what to do.

Decides nothing. A secret never stands in one: what was found is cut, and made safe to show.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from gateway.core.foreign_text import clean

MEDIA_TYPE: Final = "application/problem+json"
FOUND_CHARS_MAX: Final = 100
DETAIL_CHARS_MAX: Final = 2000
#: What to do where a refusal says it in ``detail`` only.
TODO: Final = "see what is allowed in detail; nothing was changed"

#: Code to status and title. The codes are part of the API and never change their meaning.
CODES: Final[dict[str, tuple[int, str]]] = {
    "BAD_JSON": (400, "The body is no JSON document that is allowed here"),
    "BAD_HEADER": (400, "A header is missing or wrong"),
    "NOT_AUTHENTICATED": (401, "No token that is accepted"),
    "NOT_PERMITTED": (403, "The role of the token may not do that"),
    "FOREIGN_ORIGIN": (403, "A page of another site may not ask"),
    "NOT_FOUND": (404, "There is no such thing"),
    "METHOD_NOT_ALLOWED": (405, "The path does not take this method"),
    "BODY_TIMEOUT": (408, "The body did not come in time"),
    "REFUSED": (409, "The gateway refuses it as things are"),
    "IDEMPOTENCY_KEY_REUSED": (409, "The Idempotency-Key stands for another request"),
    "BODY_TOO_LARGE": (413, "The body is too long"),
    "BAD_CONTENT_TYPE": (415, "The body is of another kind than is allowed"),
    "WRONG_HOST": (421, "The request calls the gateway by a name that is not its own"),
    "BAD_FIELD": (422, "A field is missing, unknown or wrong"),
    "TOO_MANY_REQUESTS": (429, "Too many requests"),
    "HEADER_TOO_LARGE": (431, "Request line and headers are too long"),
    "FAILED": (500, "The gateway failed at it"),
    "BUSY": (503, "The gateway is busy"),
    "STORE": (503, "The gateway's database cannot be used now"),
    "NOT_READY": (503, "The gateway is not ready"),
    "ANSWER_TIMEOUT": (504, "The answer did not come in time"),
}


class Problem(NamedTuple):
    """One refusal. ``fields``: each with field, found and allowed. ``retry_after_s`` where waiting helps.

    ``parts``: guard, found, allowed; the guard is the code where nothing finer is known.
    """

    code: str
    detail: str
    fields: tuple[dict[str, str], ...] = ()
    todo: str = ""
    retry_after_s: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    parts: tuple[str, str, str] = ("", "", "")

    @property
    def status(self) -> int:
        """The status of HTTP."""
        return CODES[self.code][0]

    def document(self) -> dict[str, Any]:
        """As JSON shows it."""
        status, title = CODES[self.code]
        whole: dict[str, Any] = {
            "type": f"urn:linegate:problem:{self.code.lower().replace('_', '-')}",
            "title": title,
            "status": status,
            "detail": clean(self.detail, DETAIL_CHARS_MAX),
            "code": self.code,
            "guard": self.parts[0] or self.code,
            "what_to_do": clean(self.todo, DETAIL_CHARS_MAX) or TODO,
        }
        for name, text in (("found", self.parts[1]), ("allowed", self.parts[2])):
            if text:
                whole[name] = clean(text, DETAIL_CHARS_MAX)
        if self.fields:
            whole["errors"] = [dict(one) for one in self.fields]
        return whole


class ProblemError(Exception):
    """The request ends here, with this problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


def refuse(code: str, detail: str, **more: Any) -> ProblemError:
    """The error that ends a request with that code."""
    return ProblemError(Problem(code, detail, **more))


def shown(value: object) -> str:
    """What was found, for a message: short, and without anything that steers a terminal."""
    return clean(ascii(value), FOUND_CHARS_MAX)
