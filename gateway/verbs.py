"""What the control socket can be asked: status, orders, outbox. Each verb calls the part that owns the answer."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from buffer.entry import OPEN_STATES
from buffer.errors import OutboxError
from gateway import __version__
from gateway.control import RequestError
from gateway.core.model import Notice, OperatorEntry, OperatorVerb
from gateway.status import GatewayView, to_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from buffer.entry import OutboxEntry
    from buffer.store import Store
    from config.settings import Settings
    from gateway.clock import SteadyClock
    from gateway.control import Verb
    from gateway.parts import Parts


class Verbs:
    """The table of verbs of one running gateway."""

    def __init__(
        self,
        parts: Parts,
        store: Store,
        clock: SteadyClock,
        *,
        started_ns: int,
        settings: Settings,
        warnings: list[str],
    ) -> None:
        self.parts = parts
        self._store = store
        self._clock = clock
        self._started_ns = started_ns
        self._settings = settings
        self._warnings = warnings

    def table(self) -> dict[str, Verb]:
        """Every verb by name."""
        return {
            "status": self._status,
            "order.start": self._order,
            "order.interrupt": self._order,
            "order.finish": self._order,
            "outbox.open": self._open_postings,
            "outbox.retry": self._retry,
        }

    async def _status(self, _request: Mapping[str, Any]) -> Any:
        parts = self.parts
        return to_json(
            GatewayView(
                id=self._settings.gateway.id,
                version=__version__,
                pid=os.getpid(),
                started_ns=self._started_ns,
                now_ns=self._clock.now_ns(),
                epoch=self._store.epoch,
                state_dir=str(self._settings.gateway.state_dir),
                config_digest=self._settings.digest,
                mqtt=parts.monitor.view() if parts.monitor is not None else None,
                sources=tuple(parts.source_view(name) for name in parts.sources),
                targets=tuple(parts.target_view(name) for name in parts.forwarders),
                work_units=tuple(parts.work_unit_view(name) for name in parts.runners),
                warnings=(*self._warnings, *parts.troubles()),
            )
        )

    async def _order(self, request: Mapping[str, Any]) -> Any:
        machine = str(request["machine"])
        runner = self.parts.runners.get(machine)
        if runner is None:
            raise RequestError(f"unknown machine {machine!r}; allowed: {', '.join(self.parts.runners)}")
        verb = OperatorVerb(str(request["verb"]).removeprefix("order."))
        order, operation, who = str(request["order"]), str(request.get("operation", "")), str(request["who"])
        outputs = await runner.submit(OperatorEntry(self._clock.now_ns(), verb, order, operation, who))
        for output in outputs:
            if isinstance(output, Notice) and output.code == "REFUSED":
                raise RequestError(f"{machine}: cannot {verb} {order}: {dict(output.detail)['reason']}")
        return f"{machine}: {verb} {order} done"

    async def _open_postings(self, _request: Mapping[str, Any]) -> Any:
        found: list[dict[str, Any]] = []
        for state in OPEN_STATES:
            found += [_posting(entry) for entry in await self.parts.outbox.page(state=state, limit=1000)]
        return sorted(found, key=lambda posting: posting["id"])

    async def _retry(self, request: Mapping[str, Any]) -> Any:
        which = request["which"]
        try:
            now_ns = self._clock.now_ns()
            retried = await self.parts.outbox.retry(which if isinstance(which, int) else str(which), now_ns)
        except OutboxError as error:
            raise RequestError(str(error)) from error
        for name in {entry.target for entry in retried} & set(self.parts.forwarders):
            self.parts.forwarders[name].wake()
        return [_posting(entry) for entry in retried]


def _posting(entry: OutboxEntry) -> dict[str, Any]:
    document = json.loads(entry.payload)
    quantities = document["qty"]
    return {
        "id": entry.id,
        "target": entry.target,
        "key": entry.key,
        "state": entry.state.value,
        "machine": document["machine"],
        "order": entry.order,
        "operation": entry.operation,
        "seq": entry.seq,
        "kind": entry.kind,
        "good": int(quantities["good"]),
        "scrap": sum(int(scrap["qty"]) for scrap in quantities["scrap"]),
        "attempts": entry.attempts,
        "error": entry.error_text,
    }
