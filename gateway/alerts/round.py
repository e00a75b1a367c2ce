"""Looks every few seconds at what needs a person, and tells each channel what is news to it, in its own time.

A channel that is away, slow or refuses holds up nothing: not the others, not the gateway. What it has not heard waits,
and is told as it is then.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from gateway.alerts import asked, told_file
from gateway.alerts.compose import channels_of, sender_of
from gateway.alerts.digest import Known, Watched
from gateway.alerts.message import message_of
from gateway.alerts.told_file import ToldFileError
from gateway.alerts.watching import Watching
from gateway.core.document import utc
from gateway.core.duration import Duration

if TYPE_CHECKING:
    from pathlib import Path

    from buffer.store import Store
    from config.alert_settings import AlertSettings
    from config.settings import Settings
    from gateway.alerts.channel import Channel
    from gateway.alerts.digest import Digest
    from gateway.alerts.wire import Reply
    from gateway.control import Verb
    from gateway.parts import Parts
    from gateway.timing.clock import SteadyClock

LOOK_EVERY_S: Final = 2.0
#: How soon a message leaves once it is due.
TELL_EVERY_S: Final = 0.5
BACKOFF_MIN_NS: Final = Duration("5 s")
TROUBLE: Final = "alerts"

log = structlog.get_logger(__name__)


class _Teller:
    """One channel with what it knows, what it is to be told, and when it may be tried again."""

    def __init__(self, channel: Channel, watched: Watched) -> None:
        self.channel = channel
        self.watched = watched
        self.digest: Digest | None = None
        self.next_ns = 0
        self.failures = 0
        self.trouble = ""


class AlertRound:
    """One gateway; ``run`` it in a task. Raises ConfigError where a channel cannot be made."""

    def __init__(
        self, settings: Settings, rules: AlertSettings, store: Store, clock: SteadyClock, parts: Parts
    ) -> None:
        self._rules = rules
        self._clock = clock
        self._parts = parts
        self._state_dir: Path = settings.gateway.state_dir
        self._sender = sender_of(settings)
        self._watching = Watching(parts, store, clock, rules.link_down_after)
        self._channels = channels_of(settings, now_ns=clock.now_ns, utc_now_ns=clock.utc_now_ns)
        self._tellers: tuple[_Teller, ...] = ()
        self._saved: dict[str, Known] = {}
        self._file_trouble = ""
        self._saving = asyncio.Lock()

    def table(self) -> dict[str, Verb]:
        """Verbs by name."""
        return asked.table(self._channels, self._sender, self._clock.now_ns, self._clock.utc_ns)

    async def run(self) -> None:
        """For ever."""
        await self._remember()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._look_for_ever())
                for teller in self._tellers:
                    tasks.create_task(self._tell_for_ever(teller))
        finally:
            for channel in self._channels.values():
                await channel.close()

    async def _remember(self) -> None:
        try:
            self._saved = await asyncio.to_thread(told_file.load, self._state_dir)
        except ToldFileError as error:
            log.warning("what was told is not known any more, it is told again", reason=str(error))
        self._tellers = tuple(
            _Teller(
                channel,
                Watched(
                    self._saved.get(name, Known({})),
                    kinds=self._rules.channels[name].tell,
                    every_ns=self._rules.every,
                    resolved_after_ns=self._rules.resolved_after,
                ),
            )
            for name, channel in self._channels.items()
        )

    async def _look_for_ever(self) -> None:
        while True:
            seen = await self._watching.look()
            now_ns = self._clock.now_ns()
            for teller in self._tellers:
                teller.digest = teller.watched.look(seen, now_ns)
            await self._save()
            await asyncio.sleep(LOOK_EVERY_S)

    async def _tell_for_ever(self, teller: _Teller) -> None:
        while True:
            now_ns = self._clock.now_ns()
            if teller.digest is not None and now_ns >= teller.next_ns and teller.watched.is_due(now_ns):
                await self._tell(teller, teller.digest, now_ns)
            await asyncio.sleep(TELL_EVERY_S)

    async def _tell(self, teller: _Teller, digest: Digest, now_ns: int) -> None:
        message = message_of(digest, self._sender, now_ns, self._clock.utc_ns)
        reply = await teller.channel.send(message)
        if reply.ok:
            teller.watched.was_told(digest, self._clock.now_ns())
            teller.digest = None  # the next look says what is news then
            teller.failures, teller.next_ns, teller.trouble = 0, 0, ""
            log.info("alert told", channel=teller.channel.name, title=message.title)
            await self._save()
        else:
            self._put_off(teller, reply)
        self._show()

    def _put_off(self, teller: _Teller, reply: Reply) -> None:
        now_ns = self._clock.now_ns()
        pause_ns = min(BACKOFF_MIN_NS << min(teller.failures, 20), self._rules.backoff_max)
        pause_ns = max(pause_ns, reply.pause_ns or 0)
        teller.failures += 1
        teller.next_ns = now_ns + pause_ns
        again = utc(self._clock.utc_ns(teller.next_ns))
        teller.trouble = (
            f"channel {teller.channel.name} cannot be told: {reply.detail}; next attempt {again}; nothing else waits; "
            f"see linegate alerts test {teller.channel.name}"
        )
        log.warning("alert not told, trying again", channel=teller.channel.name, reason=reply.detail)

    async def _save(self) -> None:
        """Keep what each channel knows, where it has changed; one at a time, for they would write into one file."""
        async with self._saving:
            await self._save_alone()

    async def _save_alone(self) -> None:
        known = {teller.channel.name: teller.watched.known for teller in self._tellers}
        if known == self._saved:
            return
        try:
            await asyncio.to_thread(told_file.save, self._state_dir, known)
        except ToldFileError as error:
            # What is told twice after a restart is no harm; that people are told now matters more.
            trouble = str(error)
        else:
            self._saved, trouble = known, ""
        if trouble != self._file_trouble:
            self._file_trouble = trouble
            self._show()

    def _show(self) -> None:
        texts = [teller.trouble for teller in self._tellers if teller.trouble]
        self._parts.trouble(TROUBLE, "; ".join([*texts, *([self._file_trouble] if self._file_trouble else [])]))
