"""Where a lot was used, as whoever holds it asks: orders, products, serial numbers, handling units, confirmations.

What is linked is found along the trace (``buffer/genealogy.py``), what is not confirmed yet in the work units. Holds
nothing and changes nothing; bounded, and what is left out is counted.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final

from buffer import genealogy
from buffer.entry import OutboxState
from gateway.control import text_of
from gateway.core.orders.order_answer import ACK
from gateway.core.work.genealogy import Tracked, TrackedKind, where_used

if TYPE_CHECKING:
    from collections.abc import Mapping

    from buffer.entry import OutboxEntry
    from buffer.store import Store
    from gateway.control import Verb
    from gateway.core.orders.job_run import JobRun
    from gateway.core.work.genealogy import Trace
    from gateway.parts import Parts

LINKS_MAX: Final = 20_000  # on the ways from one lot that are looked at
NAMES_MAX: Final = 500  # of each kind in one answer
OPERATIONS_MAX: Final = 200  # whose confirmations are looked at
UNLINKED_MAX: Final = 20  # operations that may have made a lot that is linked with nothing
POSTINGS_MAX: Final = 500  # of each of them
_LISTS: Final = ("orders", "products", "lots", "serials", "handling_units", "confirmations", "open")
_VOID: Final = (OutboxState.VOIDED, OutboxState.SUPERSEDED)
_BY_KIND: Final = {
    TrackedKind.LOT: "lots",
    TrackedKind.SERIAL: "serials",
    TrackedKind.HANDLING_UNIT: "handling_units",
}


class LotUseVerbs:
    """These verbs of one running gateway."""

    def __init__(self, parts: Parts, store: Store) -> None:
        self._parts = parts
        self._store = store
        self._one_at_a_time = asyncio.Lock()

    def table(self) -> dict[str, Verb]:
        """Every verb by name."""
        return {"lots.used": self._used}

    async def _used(self, request: Mapping[str, Any]) -> Any:
        lot = text_of(request, "lot")
        async with self._one_at_a_time:
            # First: what is confirmed from now on is linked then, and would be in neither answer.
            still_open = self._open(lot)
            starts = [one for one in await genealogy.named(self._store, lot) if one.kind is TrackedKind.LOT]
            traces: list[Trace] = []
            complete = True
            for start in starts:
                links = await genealogy.along(self._store, start, down=True, links_max=LINKS_MAX)
                traces.append(await asyncio.to_thread(where_used, links.row, start))
                complete = complete and links.complete and traces[-1].complete
            reached = {one.node for trace in traces for one in trace.reached} | set(starts)
            # The lot itself is made in an order, too.
            runs = {link.run for trace in traces for link in trace.links}
            runs |= {link.run for start in starts for link in (await self._into(start))}
            found = _named(reached - set(starts))
            operations = sorted({(order, operation) for order, operation, _ in (one.rsplit("/", 2) for one in runs)})
            found["products"] = sorted({one.item for one in reached - set(starts) if one.item})
            told: list[dict[str, Any]] = []
            names = {one.number for one in reached} | {lot}
            for order, operation in operations[:OPERATIONS_MAX]:
                postings = await self._parts.outbox.of_operation(order, operation, POSTINGS_MAX)
                told += await asyncio.to_thread(_that_name, postings, names)
            told += await self._unlinked(lot, operations)
            where = {*operations, *((one["order"], one["operation"]) for one in told)}
            found["orders"] = [{"order": order, "operation": operation} for order, operation in sorted(where)]
            found["confirmations"] = told
        found["open"] = still_open
        left_out = {name: len(found[name]) - NAMES_MAX for name in _LISTS if len(found[name]) > NAMES_MAX}
        return {
            "lot": lot,
            **{name: found[name][:NAMES_MAX] for name in _LISTS},
            "left_out": left_out,
            "complete": complete and len(operations) <= OPERATIONS_MAX,
        }

    async def _unlinked(self, lot: str, known: list[tuple[str, str]]) -> list[dict[str, Any]]:
        """Confirmations of a lot that is linked with nothing, of the orders whose number its name has in it."""
        told: list[dict[str, Any]] = []
        for order, operation in await genealogy.orders_in(self._store, lot, UNLINKED_MAX):
            if (order, operation) not in known:
                postings = await self._parts.outbox.of_operation(order, operation, POSTINGS_MAX)
                told += await asyncio.to_thread(_that_name, postings, {lot})
        return told

    async def _into(self, start: Tracked) -> tuple[Any, ...]:
        links = await genealogy.along(self._store, start, down=False, links_max=LINKS_MAX)
        return tuple(one for one in links.row if one.child == start)

    def _open(self, lot: str) -> list[dict[str, Any]]:
        """Orders at the machines of which pieces that are not confirmed took it or are of it; where it is mounted."""
        found = []
        for machine, runner in self._parts.runners.items():
            state = runner.state
            feeders = [one.name for one in state.work.feeders if any(_is_there(each, lot) for each in one.lots)]
            orders = [run.job.key for run in state.open_runs() if _takes(run, lot)]
            found += [
                {"machine": machine, "order": order, "operation": operation, "feeder": ""}
                for order, operation in orders
            ]
            found += [{"machine": machine, "order": "", "operation": "", "feeder": feeder} for feeder in feeders]
        return found


def _is_there(mounted: Any, lot: str) -> bool:
    return bool(mounted.lot == lot and mounted.unmounted_ns is None)


def _takes(run: JobRun, lot: str) -> bool:
    if run.open_pieces and run.work.produced.lot == lot:  # where lots are not followed nothing else says so
        return True
    return any((one.pieces and one.lot == lot) or any(use.lot == lot for use in one.uses) for one in run.work.made)


def _named(reached: set[Tracked]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {name: [] for name in _LISTS}
    for one in sorted(reached):
        found[_BY_KIND[one.kind]].append({"number": one.number, "item": one.item})
    return found


def _that_name(postings: list[OutboxEntry], names: set[str]) -> list[dict[str, Any]]:
    """The confirmations that say one of these numbers, as each target has them; what is void says nothing."""
    found = []
    for entry in reversed(postings):
        # What the ERP confirms by itself was made all the same.
        if entry.kind == ACK or (entry.state in _VOID and entry.error_kind != "kept_back"):
            continue
        told = json.loads(entry.payload)
        lines = [*told.get("components", ()), *told.get("components_held", ())]
        said = {one["lot"] for line in lines for one in line["lots"]} | {one["lot"] for one in told.get("lots", ())}
        if said.isdisjoint(names) and names.isdisjoint(told.get("serials", ())):
            continue
        found.append(
            {
                "key": entry.key,
                "order": entry.order,
                "operation": entry.operation,
                "seq": entry.seq,
                "target": entry.target,
                "state": entry.state.value,
                "sent": entry.attempts > 0,
            }
        )
    return found
