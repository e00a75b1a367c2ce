"""Who asks, and whether he may: the token of a request, the user it belongs to, his role, the permission.

The token itself leaves this module for nowhere: it is in no message and no log line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from gateway.access.tokens import TokenRefused
from gateway.access.users import AccessError
from gateway.api.problem import ProblemError, refuse
from gateway.core.access.permissions import refusal as not_permitted
from gateway.core.audit.entry import SystemAction
from gateway.core.audit.told import REFUSED, Actor, Told

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from gateway.access.access_file import AccessFile
    from gateway.access.tokens import Bearer, TokenIndex
    from gateway.api.rate import RateLimit
    from gateway.api.route import Route
    from gateway.core.access.permissions import NotPermitted

    OnRefused = Callable[[Told, Actor], None]

NS_PER_S: Final = 1_000_000_000
_CHALLENGE: Final = (("WWW-Authenticate", 'Bearer realm="linegate"'),)

log = structlog.get_logger(__name__)


class Identity:
    """Knows the users of one state directory; a change of theirs holds from the next request on."""

    def __init__(
        self,
        users: AccessFile,
        utc_now_ns: Callable[[], int],
        requests: RateLimit,
        failures: RateLimit,
        on_refused: OnRefused | None = None,
    ) -> None:
        self._users = users
        self._utc_now_ns = utc_now_ns
        self._requests = requests
        self._failures = failures
        self._on_refused = on_refused

    def bearer(self, headers: Sequence[tuple[bytes, bytes]], client: str) -> Bearer:
        """Who asks. Raises ProblemError: nobody whom the gateway knows, or too often."""
        given = [value for name, value in headers if name == b"authorization"]
        scheme, _, token = (given[0] if len(given) == 1 else b"").partition(b" ")
        if scheme.lower() != b"bearer":
            raise self._refused("MISSING", "no bearer token was given, or more than one", "", client)
        found = self._index().identify(token.strip().decode("latin-1"), self._utc_now_ns())
        if isinstance(found, TokenRefused):
            raise self._refused(found.code, found.text, found.token_id, client)
        self.spend(found.token_id)
        return found

    def still(self, bearer: Bearer, client: str) -> None:
        """Whether the token of a request that is under way is still accepted. Raises ProblemError."""
        ended = self._index().ended(bearer.token_id, self._utc_now_ns())
        if ended is not None:
            raise self._refused(ended.code, ended.text, ended.token_id, client)

    def _index(self) -> TokenIndex:
        try:
            return self._users.current()[1]
        except AccessError as error:
            log.error("api users unreadable", reason=str(error))  # noqa: TRY400 - the reason is the message
            text = "the users cannot be read; see the gateway's log"
            raise refuse("STORE", text, todo="ask whoever looks after the gateway") from error

    def spend(self, key: str) -> None:
        """Count one request. Raises ProblemError."""
        if wait_ns := self._requests.wait_ns(key):
            wait_s = wait_ns // NS_PER_S + 1
            text = "more requests a minute than api.requests_per_minute allows"
            raise refuse("TOO_MANY_REQUESTS", text, todo=f"come again in {wait_s} s", retry_after_s=wait_s)

    def permit(self, route: Route, bearer: Bearer, body: Mapping[str, Any] | None, client: str) -> None:
        """``permit``, and the audit trail hears of a refusal. Raises ProblemError."""
        try:
            permit(route, bearer, body)
        except ProblemError:
            actor = Actor(bearer.user, bearer.role.value, f"token {bearer.token_id}", client)
            self._tell(actor, "NOT_PERMITTED", route.verb)
            raise

    def _tell(self, actor: Actor, code: str, what: str) -> None:
        if self._on_refused is not None:
            action = SystemAction.ACCESS_REFUSED.value
            self._on_refused(Told(action, "api", what, field="access", outcome=REFUSED, detail=code), actor)

    def _refused(self, code: str, text: str, token_id: str, client: str) -> Exception:
        if wait_ns := self._failures.wait_ns(client):
            wait_s = wait_ns // NS_PER_S + 1
            many = "more requests a minute without a token that is accepted than api.refusals_per_minute allows"
            return refuse("TOO_MANY_REQUESTS", many, todo=f"come again in {wait_s} s", retry_after_s=wait_s)
        # ``credential``: the id of the token, which opens nothing.
        log.warning("api request refused", code=f"NOT_AUTHENTICATED {code}", credential=token_id, client=client)
        self._tell(Actor("unknown", "unknown", f"token {token_id}".strip(), client), f"NOT_AUTHENTICATED {code}", "")
        todo = "send the header Authorization: Bearer with a token that linegate user token has shown"
        return refuse("NOT_AUTHENTICATED", text, todo=todo, headers=_CHALLENGE)


def permit(route: Route, bearer: Bearer, body: Mapping[str, Any] | None) -> None:
    """Raises ProblemError where the role may not do that; without a body, where it could do nothing of the route."""
    if body is None:
        found = [not_permitted(bearer.role, action) for action in route.actions]
        refused = None if None in found else found[0]
    else:
        refused = not_permitted(bearer.role, route.action(body))
    if refused is not None:
        raise _not_permitted(route, bearer, refused)


def _not_permitted(route: Route, bearer: Bearer, refused: NotPermitted) -> Exception:
    log.warning(
        "api request refused",
        code="NOT_PERMITTED",
        part=f"{bearer.user} {route.verb}",
        role=bearer.role.value,
        credential=bearer.token_id,
    )
    allowed = ", ".join(role.value for role in refused.allowed)
    fields = ({"field": "role", "found": bearer.role.value, "allowed": allowed},)
    return refuse("NOT_PERMITTED", refused.text, fields=fields, todo=f"ask one who is {allowed.replace(', ', ' or ')}")
