"""Who works at machines, which lots are mounted, what was used; and where a lot came from or went: verbs for people.

Each word is handed to the work unit, which decides and writes it down. Decides nothing itself.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final

from buffer import genealogy
from gateway.control import RequestError, text_of
from gateway.core.document import utc
from gateway.core.entries import LotEntry, LotNameEntry, MaterialEntry, PresenceEntry, SerialEntry
from gateway.core.model import Notice
from gateway.core.work.genealogy import where_from, where_used
from gateway.core.work.rounding import decimal_text
from gateway.core.work.serials import DUPLICATE
from gateway.speaker import runner_of, speaker, told

if TYPE_CHECKING:
    from collections.abc import Mapping

    from buffer.store import Store
    from gateway.clock import SteadyClock
    from gateway.control import Verb
    from gateway.core.work.genealogy import GenealogyLink, Trace
    from gateway.parts import Parts

QUANTITY_CHARS_MAX: Final = 20


class WorkVerbs:
    """These verbs of one running gateway."""

    def __init__(self, parts: Parts, store: Store, clock: SteadyClock) -> None:
        self._parts = parts
        self._store = store
        self._clock = clock

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
        found = await genealogy.named(self._store, number)
        if not found:
            text = f"{number}: found in no confirmation, allowed: a lot or serial number that was confirmed"
            raise RequestError(text, guard="UNKNOWN_LOT", found=number, what_to_do="look at the label again")
        traces = []
        for start in found:
            links = await genealogy.along(self._store, start, down=down)
            trace = where_used(links.row, start) if down else where_from(links.row, start)
            traces.append(self._shown(trace._replace(complete=trace.complete and links.complete)))
        refused = [self._link(one) for one in await genealogy.refused(self._store, number)]
        direction = "forward" if down else "backward"
        return {"number": number, "direction": direction, "traces": traces, "refused": refused}

    def _shown(self, trace: Trace) -> dict[str, Any]:
        reached = [{**_named(one.node), "depth": one.depth, "certainty": one.certainty.value} for one in trace.reached]
        links = [self._link(one) for one in trace.links]
        return {"start": _named(trace.start), "reached": reached, "links": links, "complete": trace.complete}

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


def _quantity(request: Mapping[str, Any]) -> Decimal:
    text = text_of(request, "quantity")
    try:
        if len(text) <= QUANTITY_CHARS_MAX and (number := Decimal(text)).is_finite():
            return number
    except InvalidOperation:
        pass
    allowed = "a decimal number such as 12.5"
    raise RequestError(f"quantity: found {text[:40]!a}, allowed: {allowed}", guard="FIELD", found=text[:40])
