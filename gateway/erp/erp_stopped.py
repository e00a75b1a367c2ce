"""The same questions about the ERP while no gateway runs: connectors from the configuration, the database read only.

What is open of an order is what was last committed; nothing is counted meanwhile, and nothing is written.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from buffer.readonly import ReadOnlyStore
from gateway import plugins
from gateway.connectors.base import ConnectorError
from gateway.core import snapshot
from gateway.core.orders.handover import with_images
from gateway.core.preview import previewed
from gateway.erp import erp_questions as ask
from gateway.erp.connecting import connector_of
from gateway.erp.erp_questions import QuestionError
from gateway.lock import DATABASE_NAME
from gateway.starting.work_unit_of import work_unit_of
from gateway.timing.clock import SteadyClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Sequence

    from buffer.entry import OutboxEntry
    from buffer.steps import StepRow
    from config.settings import Settings
    from gateway.connectors.base import Connector

POSTINGS_MAX: Final = 100

_T = TypeVar("_T")


class ErpStopped:
    """The questions of one configuration. Each raises QuestionError, PreviewError, StoreError, SnapshotError."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._clock = SteadyClock(0)

    def render_document(self, document: dict[str, Any], target: str) -> list[dict[str, Any]]:
        """The messages of a given document."""
        name = target or self._only()
        return [ask.rendered(self._made(name), name, document)]

    def render_posting(self, which: int | str, target: str) -> list[dict[str, Any]]:
        """The messages of stored postings: those that were fixed, else those that would be."""
        found = self._entries(which, target)
        if not found:
            raise QuestionError(f"outbox: no posting {str(which)[:200]!a}; see linegate outbox list")
        answers: list[dict[str, Any]] = []
        for entry in found:
            known = entry.target in self._settings.connectors
            connector = self._made(entry.target) if known else None
            answers.append(ask.rendered_of(connector, entry, self._steps(entry), self._unknown(entry.target)))
        return answers

    def render_next(self, order: str, operation: str, target: str) -> list[dict[str, Any]]:
        """The messages of an order's next confirmation, as it was last committed."""
        with self._store() as store, store.moment():
            stored, epoch, records = store.snapshots(), store.epoch, store.job_records()
        images = {one.job.image_digest: one.job.image for one in records if one.job.image is not None}
        found: list[dict[str, Any]] = []
        for name in self._settings.work_units:
            if name not in stored:
                continue
            unit = work_unit_of(self._settings, name, epoch)
            state = with_images(snapshot.load(unit, stored[name]), images)
            at_ns = max(self._clock.now_ns() - state.utc_offset_ns, state.at_ns)
            for source, document in previewed(unit, state, order, operation, at_ns):
                into = target or (source if source in self._settings.connectors else self._only())
                found.append(ask.rendered(self._made(into), into, document))
        if not found:
            raise QuestionError(f"order {order}: is open at no machine here; see linegate states, or give --file")
        return found

    def probe(self, target: str) -> list[dict[str, Any]]:
        """Whether each target answers."""
        names = [target] if target else sorted(self._settings.connectors)
        return [self._asked(name, lambda one, name=name: ask.probed(one, name)) for name in names]  # type: ignore[misc]  # a default of a lambda

    def orders(self, target: str, since: str) -> dict[str, Any]:
        """What a target offers."""
        name = target or self._only()
        machines = {rules.work_center: unit for unit, rules in self._settings.work_units.items()}
        return self._asked(name, lambda one: ask.offered(one, name, since, machines))

    def lookup(self, which: int | str, target: str) -> list[dict[str, Any]]:
        """Whether a key is booked."""
        entries = self._entries(which, target) if (self._state_dir() / DATABASE_NAME).is_file() else []
        if not entries and isinstance(which, int):
            raise QuestionError(f"outbox: no posting {which}; see linegate outbox list, or give its key")
        if not entries:
            name, posting = target or self._only(), ask.posting_of_key(str(which))
            return [self._asked(name, lambda one: ask.found_at(one, name, posting))]
        answers: list[dict[str, Any]] = []
        for entry in entries:
            rows = self._steps(entry)
            answers += self._asked(
                entry.target,
                lambda one, entry=entry, rows=rows: _looked_up(one, entry, rows),  # type: ignore[misc]  # a default of a lambda
            )
        return answers

    def _asked(self, name: str, question: Callable[[Connector], Coroutine[Any, Any, _T]]) -> _T:
        async def asked() -> _T:
            async with _opened(self._made(name), name) as connector:
                return await question(connector)

        return asyncio.run(asked())

    def _made(self, name: str) -> Connector:
        if name not in self._settings.connectors:
            raise QuestionError(self._unknown(name))
        return connector_of(self._settings, name, plugins.connectors(), self._clock.utc_now_ns)

    def _unknown(self, name: str) -> str:
        allowed = ", ".join(sorted(self._settings.connectors)) or "none is configured"
        return f"target: found {name[:100]!a}, allowed: {allowed}"

    def _only(self) -> str:
        names = sorted(self._settings.connectors)
        if len(names) != 1:
            raise QuestionError(f"target: found none, allowed: one of {', '.join(names) or 'none that is configured'}")
        return names[0]

    def _entries(self, which: int | str, target: str) -> list[OutboxEntry]:
        with self._store() as store:
            if isinstance(which, int):
                found = [one for one in store.outbox(before_id=which + 1, limit=1) if one.id == which]
            else:
                found = store.outbox(key=which, limit=POSTINGS_MAX)
        return [one for one in found if target in ("", one.target)]

    def _steps(self, entry: OutboxEntry) -> tuple[StepRow, ...]:
        with self._store() as store:
            return tuple(store.steps(entry.id))

    def _store(self) -> ReadOnlyStore:
        return ReadOnlyStore(self._state_dir() / DATABASE_NAME)

    def _state_dir(self) -> Path:
        return Path(self._settings.gateway.state_dir)


async def _looked_up(connector: Connector, entry: OutboxEntry, rows: Sequence[StepRow]) -> list[dict[str, Any]]:
    asked = ask.postings_to_ask(connector, entry, rows)
    return [await ask.found_at(connector, entry.target, posting) for posting in asked]


@contextlib.asynccontextmanager
async def _opened(connector: Connector, name: str) -> AsyncIterator[Connector]:
    try:
        await connector.open()
    except ConnectorError as error:
        raise QuestionError(f"{name}: {error}") from error
    try:
        yield connector
    finally:
        await connector.close()
