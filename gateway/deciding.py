"""What stands between a request and the verb that decides: who it is, whether he says why, and whether he signs.

One guard for the control socket and for the API. Whatever becomes of a decision is in the audit trail: mostly with the
step of the work unit that it changes, else behind it. It decides nothing about orders, and asks for the role only at
the control socket: the API has asked already. Wrong passphrases are counted for the life of the process.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from gateway.access import passphrase as passphrases
from gateway.access.tokens import TokenRefused
from gateway.access.users import AccessError
from gateway.caller import CALLER, Caller
from gateway.control import SPEAKER, RequestError
from gateway.core.access import lockout
from gateway.core.access.permissions import NEEDS_REASON, Action, refusal
from gateway.core.access.roles import ActorRole
from gateway.core.audit.entry import SystemAction
from gateway.core.audit.signature import Authentication, Component, Profile, signature_required
from gateway.core.audit.told import REFUSED, Actor, Told, plain
from gateway.core.duration import NS_PER_S
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.access.access_file import AccessFile
    from gateway.auditing import Auditing
    from gateway.clock import SteadyClock
    from gateway.control import Verb

#: What only this module and the API may say of the one who asks.
TRUSTED: Final = frozenset({*SPEAKER, "signed_by"})
#: Never in an entry, a log line or an answer.
SECRET: Final = frozenset({"passphrase", "token"})
#: Verbs that change nothing an auditor asks about.
READS: Final = frozenset(
    {
        "status",
        "buffer",
        "retention",
        "reconcile",
        "reconcile.reports",
        "outbox.open",
        "erp.render",
        "erp.probe",
        "erp.orders",
        "erp.lookup",
        "alerts.test",
        "record.open",
        "record.take",
        "record.close",
        "audit.note",
    }
)
#: Verbs of the control socket that the table of the API does not have.
OTHERS: Final[Mapping[str, str]] = {
    "order.cancel": "cancel",
    "write": Action.WRITE_SIGNAL.value,
    "outbox.retry": Action.RESOLVE_POSTING.value,
    "outbox.discard": Action.RESOLVE_POSTING.value,
    "outbox.release": Action.RELEASE_POSTING.value,
    "outbox.edit": Action.CORRECT.value,
    "outbox.resend": Action.RESOLVE_POSTING.value,
    "outbox.resend_from": Action.RESOLVE_POSTING.value,
    "reconcile.accept": Action.RESOLVE_POSTING.value,
    "reload": "reload",
}
#: Whoever has a shell of the gateway's user may ask for these; it is written down under his login.
FOR_ADMINISTRATORS: Final = frozenset({"reload"})
PASSPHRASE_CHARS_MAX: Final = passphrases.CHARS_MAX
_TODO_TOKEN: Final = "ask for a token (linegate user token) and put it into the variable LINEGATE_TOKEN"  # noqa: S105 - advice


class Via(enum.StrEnum):
    """Where a request came in."""

    SOCKET = "control socket"
    API = "api"


class Deciding:
    """The guard of one run. ``actions``: verb to what it is to the table of permissions; None: it reads only."""

    def __init__(
        self,
        verbs: Mapping[str, Verb],
        actions: Mapping[str, Callable[[Mapping[str, Any]], str] | None],
        *,
        auditing: Auditing,
        users: AccessFile,
        clock: SteadyClock,
        profile: Profile,
    ) -> None:
        self.verbs = verbs
        self._actions = actions
        self._auditing = auditing
        self._users = users
        self._clock = clock
        self._profile = profile
        self._wrong: dict[str, lockout.Lockout] = {}
        self._one_at_a_time = asyncio.Lock()

    def door(self, via: Via) -> Mapping[str, Verb]:
        """The verbs as they are asked for there; looked up with each request."""
        return _Door(self, via)

    def is_decision(self, name: str) -> bool:
        """Whether this verb changes something. What no table knows does."""
        return name not in READS and self._actions.get(name, str) is not None

    async def take(self, name: str, via: Via, request: Mapping[str, Any]) -> Any:
        """Ask the verb, for somebody. Raises RequestError, StoreError."""
        asked = {key: value for key, value in request.items() if key not in SECRET}
        asked.pop("signed_by", None)
        action = self._action(name, asked)
        caller = Caller(Actor(clean(str(asked.get("who", "")), 64), "unknown", "", via.value))
        before = CALLER.set(caller)
        try:
            caller.actor = self._recognised(name, action, via, asked, request.get("token"))
            self._check_reason(action, asked)
            by = await self._signing(action, caller.actor, asked, request.get("passphrase"))
            caller.actor = caller.actor._replace(authentication=by)
            result = await self.verbs[name](asked)
        except RequestError as error:
            if not caller.told:
                await self._tell(action, asked, caller.actor, REFUSED, str(error))
            raise
        finally:
            CALLER.reset(before)
        if not caller.told:
            await self._tell(action, asked, caller.actor, "done", str(result) if isinstance(result, str) else "")
        return result

    def _action(self, name: str, asked: Mapping[str, Any]) -> str:
        of_row = self._actions.get(name)
        return str(of_row(asked)) if of_row is not None else OTHERS.get(name, name.replace(".", "_").replace("-", "_"))

    def _recognised(self, name: str, action: str, via: Via, asked: dict[str, Any], token: object) -> Actor:
        """Who it is; of the control socket also whether he may. Raises RequestError."""
        reason = str(asked.get("reason") or "")
        if via is Via.API:
            return Actor(asked["who"], asked["role"], asked["auth"], asked["client"], action, reason)
        if token is None:
            if self._profile is Profile.REGULATED and name not in FOR_ADMINISTRATORS:
                text = "found a login of this computer, allowed in the profile regulated: a user of the gateway"
                raise _refusal("USER", text, _TODO_TOKEN)
            role = "administrator" if name in FOR_ADMINISTRATORS else ActorRole.SUPERVISOR.value
            who = clean(str(asked.get("who") or "login"), 64)
            return Actor(who, role, str(asked.get("auth", "")), via.value, action, reason)
        try:
            _directory, index = self._users.current()
        except AccessError as error:
            raise _refusal("USER", str(error)) from error
        found = index.identify(str(token)[:200], self._clock.utc_now_ns())
        if isinstance(found, TokenRefused):
            raise _refusal("USER", found.text, _TODO_TOKEN)
        auth = f"token {found.token_id}"
        asked |= {"who": found.user, "role": found.role.value, "full_name": found.full_name, "auth": auth}
        actor = Actor(found.user, found.role.value, auth, via.value, action, reason)
        if action in tuple(Action) and (refused := refusal(found.role, Action(action))) is not None:
            raise _refusal(refused.code, refused.text)
        return actor

    def _check_reason(self, action: str, asked: Mapping[str, Any]) -> None:
        needs = self._profile is Profile.REGULATED and action in NEEDS_REASON
        if needs and not str(asked.get("reason") or "").strip():
            raise _refusal("REASON", f"found none, allowed for {action} in the profile regulated: a text", "say why")

    async def _signing(
        self, action: str, actor: Actor, asked: dict[str, Any], passphrase: object
    ) -> Authentication | None:
        """Who signs, if somebody does. Raises RequestError."""
        known = Action(action) if action in tuple(Action) else None
        if passphrase is None:
            if known is not None and (meaning := signature_required(known, self._profile)) is not None:
                text = f"found no passphrase, allowed for {action}: a signature that says {meaning.value!r}"
                raise _refusal("SIGNATURE", text, "give it with --sign, or in the field passphrase")
            return None
        if not isinstance(passphrase, str) or len(passphrase) > PASSPHRASE_CHARS_MAX:
            raise _refusal("SIGNATURE", f"passphrase: allowed: a text of up to {PASSPHRASE_CHARS_MAX} characters")
        if not actor.auth.startswith("token"):
            raise _refusal("SIGNATURE", "found a login, allowed: a user of the gateway", _TODO_TOKEN)
        async with self._one_at_a_time:
            by = await self._checked(actor, passphrase)
        asked["signed_by"] = actor.user
        return by

    async def _checked(self, actor: Actor, passphrase: str) -> Authentication:
        """He is who he says. Raises RequestError, and counts."""
        before = self._wrong.get(actor.user, lockout.Lockout())
        if wait_ns := lockout.wait_ns(before, self._clock.now_ns()):
            wait_s = wait_ns // NS_PER_S + 1
            text = f"found {before.failures} wrong passphrases in a row, allowed: {lockout.FREE_FAILURES - 1}"
            raise _refusal("SIGNATURE", text, f"come again in {wait_s} s")
        try:
            user = self._users.current()[0].user(actor.user)
        except AccessError as error:
            raise _refusal("SIGNATURE", str(error)) from error
        kept = user.passphrase if user is not None else ""
        if not await asyncio.to_thread(passphrases.matches, passphrase, kept):
            found = lockout.failed(before, self._clock.now_ns())
            self._wrong[actor.user] = found
            told = Told(
                SystemAction.ACCESS_REFUSED.value,
                "user",
                actor.user,
                field="passphrase",
                outcome=REFUSED,
                detail=f"wrong, {found.failures} in a row",
            )
            await self._auditing.tell(told, actor)
            what = "try again" if kept else "try again; if you have none yet, ask for one: linegate user passphrase"
            raise _refusal("SIGNATURE", f"found a wrong passphrase ({found.failures} in a row), allowed: yours", what)
        self._wrong.pop(actor.user, None)
        assert user is not None, "nothing matches where there is no user"
        components = (Component.TOKEN.value, Component.PASSPHRASE.value)
        return Authentication(user.name, user.full_name, actor.role, components, self._clock.now_ns())

    async def _tell(self, action: str, asked: Mapping[str, Any], actor: Actor, outcome: str, detail: str) -> None:
        order = str(asked.get("order") or "")
        operation, machine = (str(asked.get(name) or "") for name in ("operation", "machine"))
        entity, entity_id = ("operation", f"{order}/{operation}".rstrip("/")) if order else ("machine", machine)
        if not entity_id:
            entity, entity_id = "gateway", str(asked.get("which", ""))
        hidden = {"verb", "who", "machine", "reason", *TRUSTED, *SECRET}
        new = plain({name: value for name, value in asked.items() if name not in hidden})
        told = Told(_name(action), entity, entity_id, new=new, outcome=outcome, detail=detail, order=order)
        await self._auditing.tell(told, actor, str(asked.get("reason") or ""))


class _Door(Mapping[str, Any]):
    """The verbs behind the guard."""

    def __init__(self, deciding: Deciding, via: Via) -> None:
        self._deciding = deciding
        self._via = via

    def __getitem__(self, name: str) -> Verb:
        verb: Verb = self._deciding.verbs[name]
        return partial(self._deciding.take, name, self._via) if self._deciding.is_decision(name) else verb

    def __iter__(self) -> Iterator[str]:
        return iter(self._deciding.verbs)

    def __len__(self) -> int:
        return len(self._deciding.verbs)


def _name(action: str) -> str:
    return "".join(sign if sign.isascii() and (sign.islower() or sign.isdigit()) else "_" for sign in action)[:64]


def _refusal(guard: str, text: str, what_to_do: str = "") -> RequestError:
    whole = f"{guard}: {text}; {what_to_do}" if what_to_do else f"{guard}: {text}"
    return RequestError(whole, guard=guard, what_to_do=what_to_do)
