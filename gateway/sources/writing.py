"""Writes a whitelisted signal on a person's word: limits first, then the audit, then the source, then the audit again.

What is not written down beforehand is not done. Talks to no device itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from buffer.audit import AuditOutcome, NewAuditRow, add
from buffer.errors import StoreError
from config.errors import did_you_mean, listed
from drivers.base import DriverError, WriteRefusedError, WriteUnverifiedError
from drivers.limits import value_within
from gateway.access.caller import CALLER
from gateway.core.access.roles import ActorRole
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from buffer.store import Store
    from config.settings import Settings
    from drivers.signal import Writable
    from drivers.supervisor import SourceSupervisor
    from gateway.core.audit.entry import EntryContent
    from gateway.core.model import Scalar

ACTION: Final = "write"
DETAIL_CHARS_MAX: Final = 1000

log = structlog.get_logger(__name__)


class WritingError(Exception):
    """Nothing was written, or it does not read back, or nobody knows; says which, where, and what to do."""


class _Order(NamedTuple):
    """What a person wants."""

    signal: str
    text: str
    who: str
    reason: str


class SignalWriter:
    """The only way in which this gateway writes to a machine."""

    def __init__(
        self,
        settings: Settings,
        sources: Mapping[str, SourceSupervisor],
        store: Store,
        now_ns: Callable[[], int],
        common: Callable[[int], EntryContent] | None = None,
    ) -> None:
        self._settings = settings
        self._sources = sources
        self._store = store
        self._now_ns = now_ns
        self._common = common

    async def write(self, signal: str, text: str, *, who: str, reason: str) -> str:
        """What was done, in words. Raises WritingError, and StoreError where it cannot be written down beforehand."""
        order = _Order(signal, text, who, reason)
        source, _, name = signal.partition(".")
        try:
            value = self._allowed(order, source, name)
        except WritingError as refusal:
            await self._audit(order, None, AuditOutcome.REFUSED, str(refusal))
            raise
        supervisor = self._sources[source]
        old = _shown(supervisor.last_value(signal))
        attempt = await self._audit(order, old, AuditOutcome.ATTEMPTED)
        outcome, detail = AuditOutcome.DONE, ""
        try:
            await supervisor.write(name, value)
        except WriteRefusedError as error:
            outcome, detail = AuditOutcome.FAILED, f"{signal}: not written: {error}"
        except WriteUnverifiedError as error:
            outcome, detail = AuditOutcome.UNVERIFIED, f"{signal}: written, but not verified: {error}"
        except DriverError as error:
            outcome, detail = AuditOutcome.UNKNOWN, f"{signal}: it is not known whether it was written: {error}"
        log.warning("signal write", signal=signal, value=_shown(value), who=who, outcome=outcome.value, detail=detail)
        said = detail or f"{signal}: wrote {_shown(value)}{'' if old is None else f' (it was {old})'}"
        try:
            await self._audit(order, old, outcome, detail, attempt)
        except StoreError as error:
            raise WritingError(f"{said}; this end could not be written down: {error}") from error
        if outcome is not AuditOutcome.DONE:
            raise WritingError(detail)
        return said

    def _allowed(self, order: _Order, source: str, name: str) -> Scalar:
        writable = self._writable()
        limits = writable.get(order.signal)
        if limits is None:
            raise WritingError(self._no_such(order.signal, source, name, writable))
        try:
            return value_within(limits, order.text)
        except ValueError as refusal:
            raise WritingError(f"{self._place(source, name)}: {refusal}") from refusal

    def _writable(self) -> dict[str, Writable]:
        return {
            f"{source}.{name}": signal.writable
            for source, settings in self._settings.sources.items()
            for name, signal in settings.driver_settings.signals.items()
            if getattr(signal, "writable", None) is not None
        }

    def _no_such(self, signal: str, source: str, name: str, writable: Mapping[str, Writable]) -> str:
        allowed = f"allowed: {listed(writable) or 'none, because no signal is whitelisted'}"
        found = clean(repr(signal))
        settings = self._settings.sources.get(source)
        if settings is None:
            return f"found {found}, there is no such source; {allowed}{did_you_mean(signal, writable)}"
        if name not in settings.driver_settings.signals:
            return f"found {found}, source {source!r} has no such signal; {allowed}{did_you_mean(signal, writable)}"
        limits = "limits (min and max, values, or max_length) within which it may be written"
        return f"{self._place(source, name)}: found nothing, allowed: {limits}; add them and restart the gateway"

    def _place(self, source: str, name: str) -> str:
        path = f"sources.{source}.signals.{name}.writable"
        return f"{self._settings.place(path)}: {path}"

    async def _audit(
        self, order: _Order, old: str | None, outcome: AuditOutcome, detail: str = "", about: int | None = None
    ) -> int:
        row = NewAuditRow(
            at_ns=self._now_ns(),
            actor=order.who,
            action=ACTION,
            entity=clean(order.signal),
            old=old,
            new=clean(order.text),
            reason=order.reason,
            outcome=outcome,
            detail=clean(detail, DETAIL_CHARS_MAX),
            about=about,
        )
        seq = await add(self._store, row, self._entry(row.at_ns))
        if (caller := CALLER.get()) is not None and self._common is not None:
            caller.told = True
        return seq

    def _entry(self, at_ns: int) -> EntryContent | None:
        """Who asks, and the rest of an entry that is the same whatever he asks for."""
        if self._common is None:
            return None
        caller, common = CALLER.get(), self._common(at_ns)
        if caller is None:
            return common._replace(role=ActorRole.SUPERVISOR.value)
        actor = caller.actor
        return common._replace(role=actor.role, auth=actor.auth, client=actor.client)


def _shown(value: Scalar) -> str | None:
    if isinstance(value, bool):
        return str(value).lower()
    return None if value is None else clean(str(value))
