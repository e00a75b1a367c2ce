"""Sessions of this fake SAP: a cookie, and the token against forged requests that is bound to it.

Knows no user and no service.
"""

from __future__ import annotations

import dataclasses
import hmac
import secrets
from typing import TYPE_CHECKING, Final

from simulators.erp import sap_odata_forms as forms

if TYPE_CHECKING:
    from simulators.erp.http import Request, Response

COOKIE: Final = "SAP_SESSIONID_S4P_100"
#: Sessions that are kept; the oldest one goes.
SESSIONS_MAX: Final = 1000
HEADER: Final = "x-csrf-token"


class Sessions:
    """Cookie to its token; ``messages``: a token is good for so many, 0: for any number."""

    def __init__(self, messages: int) -> None:
        self.messages = messages
        self._kept: dict[str, tuple[str, int]] = {}

    def expire(self) -> None:
        """End all of them."""
        self._kept.clear()

    def with_token(self, request: Request, response: Response) -> Response:
        """The answer, with a token where it was asked for."""
        if request.headers.get(HEADER, "").lower() != "fetch":
            return response
        session = _session_of(request)
        headers = dict(response.headers)
        if session not in self._kept:
            session = secrets.token_hex(16)
            while len(self._kept) >= SESSIONS_MAX:
                del self._kept[next(iter(self._kept))]
            self._kept[session] = (secrets.token_urlsafe(12), 0)
            headers["Set-Cookie"] = f"{COOKIE}={session}; path=/; HttpOnly"
        elif self.messages:
            self._kept[session] = (secrets.token_urlsafe(12), 0)
        headers[HEADER] = self._kept[session][0]
        return dataclasses.replace(response, headers=headers)

    def refused(self, request: Request) -> Response | None:
        """403 for a message without the token of its session; None: it may go on."""
        session = _session_of(request)
        token, used = self._kept.get(session, ("", 0))
        given = request.headers.get(HEADER, "")
        spent = self.messages and used >= self.messages
        if not token or spent or not hmac.compare_digest(given.encode(), token.encode()):
            return forms.token_wanted()
        self._kept[session] = (token, used + 1)
        return None


def _session_of(request: Request) -> str:
    pairs = (part.strip().partition("=") for part in request.headers.get("cookie", "").split(";"))
    return next((value for name, _, value in pairs if name == COOKIE), "")
