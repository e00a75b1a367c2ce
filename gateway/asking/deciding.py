"""What stands between a request and the verb that decides: who it is, whether he says why, and whether he signs.

One guard for the control socket and for the API. A question is let through; at the control socket with the name and the
role of the token that came with it, if one did. Whatever becomes of a decision is in the audit trail: mostly with the
step of the work unit that it changes, else behind it. It decides nothing about orders, and asks for the role only at
the control socket: the API has asked already.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from gateway.access import passphrase as passphrases
from gateway.access.caller import CALLER, Caller
from gateway.access.tokens import TokenRefused
from gateway.access.users import AccessError
from gateway.asking.missed import Missed
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
    from gateway.audit.auditing import Auditing
    from gateway.control import Verb
    from gateway.timing.clock import SteadyClock

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
    "outbox.post_today": Action.CORRECT.value,
    "outbox.booked": Action.RESOLVE_POSTING.value,
    "outbox.resend": Action.RESOLVE_POSTING.value,
    "outbox.resend_from": Action.RESOLVE_POSTING.value,
    "reconcile.accept": Action.RESOLVE_POSTING.value,
    "reconcile.settle": Action.RESOLVE_POSTING.value,
    "reload": "reload",
}
#: Whoever has a shell of the gateway's user may ask for these; it is written down under his login.
FOR_ADMINISTRATORS: Final = frozenset({"reload"})
#: What a verb raises where a field is missing or of another kind: the door says so to whoever asks.
UNREADABLE: Final = (ValueError, TypeError, KeyError, OverflowError)
PASSPHRASE_CHARS_MAX: Final = passphrases.CHARS_MAX
_TODO_TOKEN: Final = "ask for a token (linegate user token) and put it into the variable LINEGATE_TOKEN"  # noqa: S105 - advice


class Via(enum.StrEnum):
    """Where a request came in."""

    SOCKET = "control socket"
    API = "api"


class Deciding:
    """The guard of one run. ``actions``: verb to what it is to the table of permissions, if it changes something.

    ``questions``: the same of verbs that only read. ``on_refused`` hears of questions that are refused.
    """

    def __init__(
        self,
        verbs: Mapping[str, Verb],
        actions: Mapping[str, Callable[[Mapping[str, Any]], str]],
        *,
        questions: Mapping[str, Action],
        auditing: Auditing,
        users: AccessFile,
        clock: SteadyClock,
        profile: Profile,
        on_refused: Callable[[Told, Actor], None],
    ) -> None:
        self.verbs = verbs
        self._actions = actions
        self._questions = questions
        self._on_refused = on_refused
        self._auditing = auditing
        self._users = users
        self._clock = clock
        self._profile = profile
        self._missed = Missed(auditing)
        self._one_at_a_time = asyncio.Lock()

    def door(self, via: Via) -> Mapping[str, Verb]:
        """The verbs as they are asked for there; looked up with each request."""
        return _Door(self, via)

    def is_decision(self, name: str) -> bool:
        """Whether this verb changes something. What no table knows does."""
        return name not in READS and name not in self._questions

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
                if not caller.actor.auth:  # refused as who he is: by the token's name, where one was known
                    caller.actor = _named(asked, via)
                await self._tell(action, asked, caller.actor, REFUSED, str(error))
            raise
        except UNREADABLE as error:
            if not caller.told:
                await self._tell(action, asked, caller.actor, REFUSED, f"the request cannot be read: {error!r}")
            raise
        finally:
            CALLER.reset(before)
        if not caller.told:
            await self._tell(action, asked, caller.actor, "done", str(result) if isinstance(result, str) else "")
        return result

    async def look(self, name: str, request: Mapping[str, Any]) -> Any:
        """Ask a verb that only reads, for who speaks at the control socket. Raises RequestError, StoreError.

        Who brings a token asks in its user's name and role, as he would at the API; without one it is a supervisor's.
        """
        asked = {key: value for key, value in request.items() if key not in SECRET}
        token = request.get("token")
        if token is not None:
            of_row = self._actions.get(name)
            action = self._questions.get(name, Action.SEE) if of_row is None else of_row(asked)
            try:
                self._recognised(name, str(action), Via.SOCKET, asked, token)
            except RequestError as error:
                actor = _named(asked, Via.SOCKET)
                what, where = SystemAction.ACCESS_REFUSED.value, Via.SOCKET.value
                told = Told(what, where, clean(name, 64), field="access", outcome=REFUSED, detail=error.guard)
                self._on_refused(told, actor)
                raise
        return await self.verbs[name](asked)

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
            asked["auth"] = f"token {found.token_id}".strip()
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
        try:
            user = self._users.current()[0].user(actor.user)
        except AccessError as error:
            raise _refusal("SIGNATURE", str(error)) from error
        kept = user.passphrase if user is not None else ""
        before = await self._missed.of(actor.user, kept)
        if wait_ns := lockout.wait_ns(before, self._clock.now_ns()):
            wait_s = wait_ns // NS_PER_S + 1
            text = f"found {before.failures} wrong passphrases in a row, allowed: {lockout.FREE_FAILURES - 1}"
            todo = (
                f"come again in {wait_s} s, or have a new one set: linegate user passphrase {actor.user} --reason TEXT"
            )
            raise _refusal("SIGNATURE", text, todo)
        if not await asyncio.to_thread(passphrases.matches, passphrase, kept):
            found = lockout.failed(before, self._clock.now_ns())
            told = Told(
                SystemAction.ACCESS_REFUSED.value,
                "user",
                actor.user,
                field="passphrase",
                outcome=REFUSED,
                detail=f"wrong, {found.failures} in a row",
            )
            await self._missed.keep(actor.user, kept, found, (told, actor))
            what = "try again" if kept else "try again; if you have none yet, ask for one: linegate user passphrase"
            raise _refusal("SIGNATURE", f"found a wrong passphrase ({found.failures} in a row), allowed: yours", what)
        if before.failures:
            await self._missed.keep(actor.user, kept, lockout.Lockout())
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


def _named(asked: Mapping[str, Any], via: Via) -> Actor:
    """Who was refused. A role has who was recognised; else the name is what he says of himself."""
    who, role = (str(asked.get(one) or "unknown") for one in ("who", "role"))
    return Actor(clean(who, 64), role, str(asked.get("auth", "")), via.value)


class _Door(Mapping[str, Any]):
    """The verbs behind the guard."""

    def __init__(self, deciding: Deciding, via: Via) -> None:
        self._deciding = deciding
        self._via = via

    def __getitem__(self, name: str) -> Verb:
        verb: Verb = self._deciding.verbs[name]
        if self._deciding.is_decision(name):
            return partial(self._deciding.take, name, self._via)
        return partial(self._deciding.look, name) if self._via is Via.SOCKET else verb

    def __iter__(self) -> Iterator[str]:
        return iter(self._deciding.verbs)

    def __len__(self) -> int:
        return len(self._deciding.verbs)


def _name(action: str) -> str:
    return "".join(sign if sign.isascii() and (sign.islower() or sign.isdigit()) else "_" for sign in action)[:64]


def _refusal(guard: str, text: str, what_to_do: str = "") -> RequestError:
    whole = f"{guard}: {text}; {what_to_do}" if what_to_do else f"{guard}: {text}"
    return RequestError(whole, guard=guard, what_to_do=what_to_do)
