"""What goes into the audit trail without a request: start, stop, changed settings and users, refused callers, anchors.

A look every few seconds takes what has come; each of it is taken once, whenever the process ends. It judges nobody.
"""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import structlog

from buffer import audit_chain, audit_taken
from buffer.audit_taken import KeptSettings
from buffer.errors import StoreError
from gateway.access.caller import CALLER
from gateway.access.users import AccessError, entry_of
from gateway.audit.auditing import ITSELF
from gateway.audit.settings_told import differences, values_of
from gateway.audit.trusted import trusted
from gateway.control import RequestError, text_of
from gateway.core.audit.chain import anchor_text
from gateway.core.audit.entry import Change, SystemAction
from gateway.core.audit.told import NOT_GIVEN, Actor, Told
from gateway.core.duration import NS_PER_S
from gateway.lock import DATABASE_NAME

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from buffer.store import Store
    from config.settings import Settings
    from gateway.access.access_file import AccessFile
    from gateway.audit.auditing import Auditing
    from gateway.control import Verb
    from gateway.core.audit.entry import EntryContent
    from gateway.parts import Parts
    from gateway.starting.database import Incident
    from gateway.timing.clock import SteadyClock

LOOK_EVERY_S: Final = 2.0
#: Refused callers that are named within a minute; of more only the number.
REFUSED_PER_MINUTE_MAX: Final = 60
NS_PER_MIN: Final = 60 * NS_PER_S
#: What others tell that has no verb of the gateway.
NOTED: Final = (SystemAction.EXPORTED.value, SystemAction.VERIFIED.value, SystemAction.SERVER_TRUSTED.value)
USERS: Final = "users"
WRITES: Final = "writes"
TROUBLE: Final = "audit trail"

log = structlog.get_logger(__name__)


class _Refused(NamedTuple):
    told: Told
    actor: Actor
    at_ns: int


class AuditRound:
    """One run's."""

    def __init__(
        self, settings: Settings, store: Store, clock: SteadyClock, auditing: Auditing, users: AccessFile
    ) -> None:
        self._settings = settings
        self._store = store
        self._clock = clock
        self._auditing = auditing
        self._users = users
        self._refused: deque[_Refused] = deque()
        self._minute = -1
        self._named = 0
        self._not_named = 0
        self._users_told = ""
        self._trusted: dict[str, str] = {}

    async def start(self, incidents: Iterable[Incident] = ()) -> None:
        """The start, how the run before ended, what happened to the database, what is different since.

        Raises StoreError.
        """
        before = await audit_taken.last_run(self._store)
        ended = {
            "": "the first run of this chain",
            SystemAction.GATEWAY_STOPPED.value: "the run before ended in order",
        }.get(before, "the run before did not end in order: power cut, kill or crash")
        quality = self._clock.quality.name.lower()
        told = Told(
            SystemAction.GATEWAY_STARTED.value,
            "gateway",
            self._settings.gateway.id,
            old=before or None,
            new=f"profile {self._settings.gateway.profile}, clock {quality}",
            detail=ended,
        )
        kept = self._kept(self._settings)
        old = await audit_taken.settings(self._store)
        if old is None:
            changed = [self._configured(kept)]
        else:
            changed = self._changes(old.values, kept.values, ITSELF, "start", "")
        happened = [
            self._auditing.content(Told(one.action.value, "database", DATABASE_NAME, detail=one.text))
            for one in incidents
        ]
        await audit_taken.take(self._store, [self._auditing.content(told), *happened, *changed], kept=kept)
        while rows := await audit_taken.writes_after(self._store, await audit_taken.mark(self._store, WRITES)):
            older = [audit_chain.of_write_attempt(row, self._auditing.common(row.at_ns)) for row in rows]
            await audit_taken.take(self._store, older, marks={WRITES: rows[-1].seq})
        await self._take_users()

    def table(self) -> dict[str, Verb]:
        """Verbs by name."""
        return {"audit.note": self._note}

    async def stop(self, how: str) -> None:
        """The gateway stops by its own will. Raises StoreError."""
        await self._take_refused()
        gateway = self._settings.gateway.id
        await self._auditing.tell(Told(SystemAction.GATEWAY_STOPPED.value, "gateway", gateway, detail=how))

    async def configured(self, new: Settings) -> None:
        """A changed configuration is in force. Raises StoreError."""
        caller = CALLER.get()
        actor, reason = (ITSELF, "") if caller is None else (caller.actor, caller.actor.reason)
        old = await audit_taken.settings(self._store)
        kept = self._kept(new)
        changed = self._changes(old.values if old else {}, kept.values, actor, "reload", reason)
        self._settings = new
        if changed:
            await audit_taken.take(self._store, changed, kept=kept)
            if caller is not None:
                caller.told = True

    def refused(self, told: Told, actor: Actor) -> None:
        """Somebody was refused at a door; written down with the next look, up to so many a minute."""
        now_ns = self._clock.now_ns()
        if now_ns // NS_PER_MIN != self._minute:
            self._minute, self._named = now_ns // NS_PER_MIN, 0
        if self._named >= REFUSED_PER_MINUTE_MAX:
            self._not_named += 1
            return
        self._named += 1
        self._refused.append(_Refused(told, actor, now_ns))

    async def run(self, parts: Parts) -> None:
        """For ever. Raises StoreError only where a repeat cannot help."""
        published = ""
        while True:
            try:
                await self._take_users()
                await self._take_trusted()
                await self._take_refused()
                anchor = await self._anchored()
            except StoreError as error:
                if not error.temporary:
                    raise
                parts.trouble(TROUBLE, f"what happened cannot be kept: {error}")
            else:
                parts.trouble(TROUBLE, self._users_told)
                if anchor != published and anchor and parts.monitor is not None:
                    parts.monitor.audit_anchor(anchor)
                published = anchor
            await asyncio.sleep(LOOK_EVERY_S)

    async def _note(self, request: Mapping[str, Any]) -> Any:
        """Somebody has read the whole trail on the command line, or trusted a server. Raises RequestError."""
        what = text_of(request, "what")
        if what not in NOTED:
            raise RequestError(f"what: found {what!r}, allowed: {', '.join(NOTED)}", guard="FIELD")
        auth = str(request.get("auth", ""))
        role, auth = (str(request["role"]), auth) if auth.startswith("token") else ("administrator", "login")
        actor = Actor(text_of(request, "who"), role, auth, "command line")
        entity = "source" if what == SystemAction.SERVER_TRUSTED else "audit_trail"
        about = text_of(request, "about") if request.get("about") else ""
        await self._auditing.tell(Told(what, entity, about, new=text_of(request, "detail")), actor)
        return "noted"

    # --- parts -----------------------------------------------------------------------------------------------------

    def _kept(self, settings: Settings) -> KeptSettings:
        """What is told where it is different: the settings, and which servers are trusted."""
        self._trusted = trusted(self._settings.gateway.state_dir)
        return KeptSettings(settings.digest, values_of(settings) | self._trusted)

    async def _take_trusted(self) -> None:
        """A certificate that was trusted, or taken away, since the last look."""
        if await asyncio.to_thread(trusted, self._settings.gateway.state_dir) == self._trusted:
            return
        old = await audit_taken.settings(self._store)
        before = self._trusted
        kept = self._kept(self._settings)
        try:
            changed = self._changes(old.values if old else {}, kept.values, ITSELF, "trusted", "")
            await audit_taken.take(self._store, changed, kept=kept)
        except StoreError:
            self._trusted = before
            raise

    def _configured(self, kept: KeptSettings) -> EntryContent:
        new = f"{len(kept.values)} settings, SHA-256 {kept.digest}"
        told = Told(SystemAction.CONFIG_CHANGED.value, "configuration", "", Change.CREATE.value, new=new)
        return self._auditing.content(told)

    def _changes(
        self, old: Mapping[str, str], new: Mapping[str, str], actor: Actor, code: str, reason: str
    ) -> list[EntryContent]:
        found = differences(old, new)
        contents = [self._auditing.content(one, actor, reason) for one in found]
        return [one._replace(reason_code=code) if one.reason_code == NOT_GIVEN else one for one in contents]

    async def _take_users(self) -> None:
        """Changes of users that the trail does not have yet."""
        try:
            directory = self._users.current()[0]
        except AccessError as error:
            self._users_told = f"changes of users cannot be read: {error}"
            return
        self._users_told = ""
        taken = await audit_taken.mark(self._store, USERS)
        last = directory.changes[-1].number if directory.changes else 0
        if last == taken:
            return
        contents = []
        if last < taken:  # the file was removed or put back from a backup
            contents.append(self._gap(f"found changes up to {last}, taken up to {taken}: the file was replaced"))
            taken = 0
        changes = directory.changes_after(taken)
        if changes and changes[0].number > taken + 1:
            contents.append(self._gap(f"changes {taken + 1} to {changes[0].number - 1} are no longer in the file"))
        for change in changes:
            common = self._auditing.common(self._clock.now_ns())
            contents.append(entry_of(change, common))
        await audit_taken.take(self._store, contents, marks={USERS: last})

    def _gap(self, detail: str) -> EntryContent:
        told = Told(SystemAction.USERS_REPLACED.value, "user", "users.json", detail=detail)
        return self._auditing.content(told)

    async def _take_refused(self) -> None:
        if not self._refused and not self._not_named:
            return
        waiting, not_named = list(self._refused), self._not_named
        contents = [
            self._auditing.content(one.told, one.actor)._replace(at_ns=one.at_ns, utc_ns=self._clock.utc_ns(one.at_ns))
            for one in waiting
        ]
        if not_named:
            told = Told(SystemAction.ACCESS_REFUSED.value, "gateway", "", outcome="refused", new=f"{not_named} more")
            contents.append(self._auditing.content(told))
        await audit_taken.take(self._store, contents)
        for _ in waiting:
            self._refused.popleft()
        self._not_named -= not_named

    async def _anchored(self) -> str:
        """The newest anchor as its line, "" while there is none; with each day of the plant a new one is kept."""
        today = self._auditing.day()
        kept = await audit_taken.last_anchor(self._store)
        if kept is None or kept.day != today:
            keep = partial(audit_chain.keep_anchor, today, self._clock.now_ns())
            made = await self._store.write(keep)
            if made is not None:
                log.info("audit anchor", anchor=anchor_text(made))
                return anchor_text(made)
        return "" if kept is None else anchor_text(kept.anchor)
