"""Who works at machines, which lots are mounted, what was used; and where a lot came from or went: verbs for people.

Each word is handed to the work unit, which decides and writes it down. Decides nothing itself.
"""

from __future__ import annotations

import asyncio
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final

from buffer import genealogy
from gateway.asking.speaker import runner_of, speaker, told
from gateway.control import RequestError, text_of
from gateway.core.document import utc
from gateway.core.duration import NS_PER_S, Duration
from gateway.core.entries import LotEntry, LotNameEntry, MaterialEntry, PresenceEntry, SerialEntry
from gateway.core.model import Notice
from gateway.core.work.genealogy import LINKS_MAX, NODES_MAX, PAGE_NODES_MAX, page_of, where_from, where_used
from gateway.core.work.rounding import decimal_text
from gateway.core.work.serials import DUPLICATE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from buffer.store import Store
    from gateway.control import Verb
    from gateway.core.work.genealogy import GenealogyLink, Trace
    from gateway.parts import Parts
    from gateway.timing.clock import SteadyClock

QUANTITY_CHARS_MAX: Final = 20
#: A trace is kept so long after one of its pages was told; it takes up to some 50 MB.
TRACE_KEPT: Final = Duration("30 s")
_WITHOUT: Final = {"skip": 0, "limit": PAGE_NODES_MAX}


class WorkVerbs:
    """These verbs of one running gateway."""

    def __init__(self, parts: Parts, store: Store, clock: SteadyClock) -> None:
        self._parts = parts
        self._store = store
        self._clock = clock
        # A trace may hold a hundred thousand links: one at a time, or a screen's double click takes twice the memory.
        self._tracing = asyncio.Lock()
        self._traces: tuple[str, bool, asyncio.Task[tuple[Trace, ...]]] | None = None
        self._told = False
        self._forgets: asyncio.TimerHandle | None = None

    def table(self) -> dict[str, Verb]:
        """Every verb by name."""
        return {
            "labour.in": self._presence,
            "labour.out": self._presence,
            "lot.mount": self._lot,
            "lot.unmount": self._lot,
            "material.issue": self._material,
            "lots.name": self._name,
            "lots.serial": self._serial,
            "lots.trace": self._trace,
        }

    async def _presence(self, request: Mapping[str, Any]) -> Any:
        machine, runner = runner_of(self._parts, request)
        begins, person = text_of(request, "verb") == "labour.in", text_of(request, "person")
        entry = PresenceEntry(self._clock.now_ns(), begins, person, **speaker(request))
        told(await runner.submit(entry), f"{machine}: cannot log {'in' if begins else 'out'} {person}")
        return f"{machine}: {person} is logged {'in' if begins else 'out'}"

    async def _lot(self, request: Mapping[str, Any]) -> Any:
        machine, runner = runner_of(self._parts, request)
        mounts = text_of(request, "verb") == "lot.mount"
        feeder, lot = text_of(request, "feeder"), text_of(request, "lot")
        item = text_of(request, "item") if request.get("item") else ""
        left = _quantity(request) if request.get("quantity") else None
        replace = request.get("replace") in (True, "true")
        by = speaker(request)
        entry = LotEntry(self._clock.now_ns(), mounts, feeder, lot, by.pop("who"), item, left, replace, **by)
        told(await runner.submit(entry), f"{machine}: cannot {'mount' if mounts else 'take off'} lot {lot}")
        return f"{machine}: lot {lot} is {'mounted at' if mounts else 'taken off'} {feeder}"

    async def _material(self, request: Mapping[str, Any]) -> Any:
        machine, runner = runner_of(self._parts, request)
        order, item, kind = (text_of(request, name) for name in ("order", "item", "kind"))
        if kind not in ("purge", "startup"):
            raise RequestError(f"kind: found {kind!a}, allowed: purge, startup", guard="FIELD", found=kind)
        operation = text_of(request, "operation") if request.get("operation") else ""
        reason = text_of(request, "reason") if request.get("reason") else ""
        quantity, by = _quantity(request), speaker(request)
        who = by.pop("who")
        entry = MaterialEntry(
            self._clock.now_ns(), order, operation, item, quantity, kind == "startup", who, reason, **by
        )
        told(await runner.submit(entry), f"{machine}: cannot issue {item} to {order}")
        return f"{machine}: {quantity} of {item} issued to {order} ({kind})"

    async def _name(self, request: Mapping[str, Any]) -> Any:
        machine, runner = runner_of(self._parts, request)
        order, feeder, lot = (text_of(request, name) for name in ("order", "feeder", "lot"))
        operation = text_of(request, "operation") if request.get("operation") else ""
        reason = text_of(request, "reason") if request.get("reason") else ""
        entry = LotNameEntry(self._clock.now_ns(), order, operation, feeder, lot, reason, **speaker(request))
        told(await runner.submit(entry), f"{machine}: cannot name the lot that {order} took at {feeder}")
        return f"{machine}: what {order} took at {feeder} without a lot is of lot {lot}, assumed"

    async def _serial(self, request: Mapping[str, Any]) -> Any:
        machine, runner = runner_of(self._parts, request)
        serial = text_of(request, "serial")
        order, operation = (text_of(request, name) if request.get(name) else "" for name in ("order", "operation"))
        by = speaker(request)
        entry = SerialEntry(self._clock.now_ns(), serial, by.pop("who"), order, operation, **by)
        made = told(await runner.submit(entry), f"{machine}: cannot take serial number {serial}")
        if any(isinstance(one, Notice) and one.code == DUPLICATE for one in made):
            return f"{machine}: serial number {serial} was there before; a piece is on hold for it"
        return f"{machine}: serial number {serial} taken"

    async def _trace(self, request: Mapping[str, Any]) -> Any:
        number, down = text_of(request, "number"), text_of(request, "direction") == "forward"
        skip, limit = (_whole(request, name, most) for name, most in (("skip", NODES_MAX), ("limit", PAGE_NODES_MAX)))
        async with self._tracing:
            traces = await self._search(number, down=down, anew=not skip)
            shown = await asyncio.to_thread(self._page, traces, down, skip, limit)
            self._told = True
            self._keep_for_a_while()
        refused = [self._link(one) for one in await genealogy.refused(self._store, number)]
        direction = "forward" if down else "backward"
        return {"number": number, "direction": direction, "traces": shown, "refused": refused}

    async def _search(self, number: str, *, down: bool, anew: bool) -> tuple[Trace, ...]:
        """All of it. A further page is one of the trace whose first page was told, and looks for nothing again.

        A search goes on when nobody waits for it any more (504): who comes again finds how it ended.
        """
        if self._traces is not None and self._traces[:2] != (number, down):
            # Of another number, and nobody waits for it any more: still one at a time.
            await asyncio.wait({self._traces[2]})
        if self._traces is None or self._traces[:2] != (number, down) or (anew and self._told):
            if self._forgets is not None:
                self._forgets.cancel()  # it was for the trace before
            search = asyncio.create_task(self._found(number, down=down), name="trace")
            self._traces, self._told = (number, down, search), False
            search.add_done_callback(self._searched)
        return await asyncio.shield(self._traces[2])

    async def _found(self, number: str, *, down: bool) -> tuple[Trace, ...]:
        """From everything of that number."""
        found = await genealogy.named(self._store, number)
        if not found:
            text = f"{number}: found in no confirmation, allowed: a lot or serial number that was confirmed"
            raise RequestError(text, guard="UNKNOWN_LOT", found=number, what_to_do="look at the label again")
        traces, left = [], LINKS_MAX
        for start in found:
            links = await genealogy.along(self._store, start, down=down, links_max=left)
            left -= len(links.row)
            # A second of work where there is much: counting goes on meanwhile.
            trace = await asyncio.to_thread(where_used if down else where_from, links.row, start)
            traces.append(trace._replace(complete=trace.complete and links.complete))
        return tuple(traces)

    def _searched(self, search: asyncio.Task[tuple[Trace, ...]]) -> None:
        """Nobody may ever come for what was found; and what went wrong is not kept."""
        if search.cancelled() or search.exception() is None:
            self._keep_for_a_while()
        elif self._traces is not None and self._traces[2] is search:
            self._traces = None

    def _keep_for_a_while(self) -> None:
        if self._forgets is not None:
            self._forgets.cancel()
        self._forgets = asyncio.get_running_loop().call_later(TRACE_KEPT / NS_PER_S, self._forget)

    def _forget(self) -> None:
        self._traces = self._forgets = None

    def _page(self, traces: tuple[Trace, ...], down: bool, skip: int, limit: int) -> list[dict[str, Any]]:  # noqa: FBT001 - in a thread
        shown = []
        for trace in traces:
            page = page_of(trace, skip, limit, down=down)
            behind = skip + len(page.reached)
            shown.append(
                {
                    "start": _named(trace.start),
                    "reached": [
                        {**_named(one.node), "depth": one.depth, "certainty": one.certainty.value}
                        for one in page.reached
                    ],
                    "links": [self._link(one) for one in page.links],
                    "links_left_out": page.links_left_out,
                    "reached_in_all": len(trace.reached),
                    "next": behind if page.reached and behind < len(trace.reached) else None,
                    "complete": trace.complete,
                }
            )
        return shown

    def _link(self, link: GenealogyLink) -> dict[str, Any]:
        return {
            "parent": _named(link.parent),
            "child": _named(link.child),
            "qty": decimal_text(link.quantity),
            "uom": link.uom,
            "run": link.run,
            "from": utc(self._clock.utc_ns(link.from_ns)),
            "to": utc(self._clock.utc_ns(link.to_ns)),
            "certainty": link.certainty.value,
        }


def _named(node: Any) -> dict[str, str]:
    return {"kind": node.kind.value, "item": node.item, "number": node.number}


def _whole(request: Mapping[str, Any], name: str, most: int) -> int:
    number = request.get(name, _WITHOUT[name])
    least = min(_WITHOUT[name], 1)
    if not isinstance(number, int) or not least <= number <= most:
        allowed = f"a whole number, {least} to {most}"
        raise RequestError(f"{name}: found {str(number)[:40]!a}, allowed: {allowed}", guard="FIELD", found=number)
    return number


def _quantity(request: Mapping[str, Any]) -> Decimal:
    text = text_of(request, "quantity")
    try:
        if len(text) <= QUANTITY_CHARS_MAX and (number := Decimal(text)).is_finite():
            return number
    except InvalidOperation:
        pass
    allowed = "a decimal number such as 12.5"
    raise RequestError(f"quantity: found {text[:40]!a}, allowed: {allowed}", guard="FIELD", found=text[:40])
