"""What a person may ask about the ERP through the running gateway: its own connectors, tokens and counts.

Reads only: nothing is sent, no number is taken, no file is moved.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from buffer.errors import OutboxError
from gateway import plugins
from gateway.asking.refusing import of_question
from gateway.control import RequestError, text_of
from gateway.core.preview import PreviewError, previewed
from gateway.erp import erp_questions as ask
from gateway.erp.connecting import connector_of
from gateway.erp.erp_questions import QuestionError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from buffer.entry import OutboxEntry
    from config.settings import Settings
    from gateway.connectors.base import Connector
    from gateway.control import Verb
    from gateway.parts import Parts
    from gateway.timing.clock import SteadyClock

SINCE_CHARS_MAX: Final = 1000


class ErpVerbs:
    """These verbs of one running gateway."""

    def __init__(self, parts: Parts, clock: SteadyClock, settings: Settings) -> None:
        self._parts = parts
        self._clock = clock
        self._settings = settings

    def table(self) -> dict[str, Verb]:
        """Every verb by name."""
        return {
            "erp.render": self._render,
            "erp.probe": self._probe,
            "erp.orders": self._orders,
            "erp.lookup": self._lookup,
        }

    async def _render(self, request: Mapping[str, Any]) -> Any:
        wanted = text_of(request, "target") if request.get("target") else ""
        try:
            if "document" in request:
                name, given = wanted or self._only(), request["document"]
                return [ask.rendered(self._connector(name), name, given if isinstance(given, dict) else {})]
            if request.get("which") is not None:
                return [await self._of_entry(one) for one in await self._entries(request["which"], wanted)]
            if not request.get("order"):
                text = "found neither order nor which, allowed: one of the two"
                raise RequestError(text, guard="FIELD", what_to_do="name an order, or a posting")
            return self._next(text_of(request, "order"), str(request.get("operation") or ""), wanted)
        except (QuestionError, PreviewError) as error:
            raise of_question(error) from error

    def _next(self, order: str, operation: str, wanted: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for runner in self._parts.runners.values():
            for source, document in previewed(runner.unit, runner.state, order, operation, self._clock.now_ns()):
                name = wanted or (source if source in self._parts.forwarders else self._only())
                found.append(ask.rendered(self._connector(name), name, document))
        if not found:
            raise QuestionError(f"order {order}: is open at no machine here; see linegate status, or give --file")
        return found

    async def _of_entry(self, entry: OutboxEntry) -> dict[str, Any]:
        connector = self._parts.connectors.get(entry.target)
        rows = await self._parts.outbox.steps(entry.id)
        return ask.rendered_of(connector, entry, rows, self._unknown(entry.target))

    async def _probe(self, request: Mapping[str, Any]) -> Any:
        wanted = text_of(request, "target") if request.get("target") else ""
        try:
            names = [wanted] if wanted else sorted(self._parts.connectors)
            return [await ask.probed(self._connector(name), name) for name in names]
        except QuestionError as error:
            raise of_question(error) from error

    async def _orders(self, request: Mapping[str, Any]) -> Any:
        since = str(request.get("since") or "")[:SINCE_CHARS_MAX]
        try:
            name = text_of(request, "target") if request.get("target") else self._only()
            connector = self._connector(name)
            can = connector.capabilities
            # It remembers what it has seen: the feed's own is left alone, where there may be two.
            if can.cursor_moves and not can.one_at_a_time:
                connector = connector_of(self._settings, name, plugins.connectors(), self._clock.utc_now_ns)
                await connector.open()
                try:
                    return await ask.offered(connector, name, since, self._machines())
                finally:
                    await connector.close()
            return await ask.offered(connector, name, since, self._machines())
        except QuestionError as error:
            raise of_question(error) from error

    async def _lookup(self, request: Mapping[str, Any]) -> Any:
        wanted = text_of(request, "target") if request.get("target") else ""
        which = request["key"] if "key" in request else request["which"]
        try:
            entries = await self._entries(which, wanted, missing_is_well=isinstance(which, str))
            if not entries:
                name = wanted or self._only()
                return [await ask.found_at(self._connector(name), name, ask.posting_of_key(str(which)))]
            answers: list[dict[str, Any]] = []
            for entry in entries:
                connector = self._connector(entry.target)
                rows = await self._parts.outbox.steps(entry.id)
                asked = ask.postings_to_ask(connector, entry, rows)
                answers += [await ask.found_at(connector, entry.target, posting) for posting in asked]
        except QuestionError as error:
            raise of_question(error) from error
        return answers

    async def _entries(self, which: Any, wanted: str, *, missing_is_well: bool = False) -> list[OutboxEntry]:
        try:
            if isinstance(which, int):
                one = await self._parts.outbox.entry(which)
                found = [one] if one is not None else []
            else:
                found = await self._parts.outbox.page(key=str(which)[:300])
        except OutboxError as error:
            raise QuestionError(str(error)) from error
        found = [one for one in found if wanted in ("", one.target)]
        if not found and not missing_is_well:
            raise QuestionError(f"outbox: no posting {str(which)[:200]!a}; see linegate outbox list")
        return found

    def _connector(self, name: str) -> Connector:
        connector = self._parts.connectors.get(name)
        if connector is None:
            raise QuestionError(self._unknown(name))
        return connector

    def _unknown(self, name: str) -> str:
        allowed = ", ".join(sorted(self._parts.connectors)) or "none is configured"
        return f"target: found {name[:100]!a}, allowed: {allowed}"

    def _only(self) -> str:
        names = sorted(self._parts.connectors)
        if len(names) != 1:
            raise QuestionError(f"target: found none, allowed: one of {', '.join(names) or 'none that is configured'}")
        return names[0]

    def _machines(self) -> dict[str, str]:
        return {rules.work_center: name for name, rules in self._settings.work_units.items()}
