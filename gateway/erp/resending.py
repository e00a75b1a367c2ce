"""Booked confirmations of an operation that its ERP has lost, from a number on: sent again by a person's word.

Each keeps its key and its bytes, and they go in their order, for they share a lane. Where the ERP drops repeats by
itself all of them go; elsewhere each is looked up first, and only what it does not have goes. What nobody can look up
is not repeated. A number that went by its age cannot go again: then nothing does. One key alone is the business of
``reconciliation_round.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from buffer import reconciliation
from buffer.entry import THERE
from buffer.errors import OutboxError
from gateway.asking.refusing import of_resend, of_target
from gateway.control import RequestError, text_of
from gateway.core.orders.reconciliation import LookedUp
from gateway.erp import reconciler
from gateway.erp.resent import is_told, resent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from buffer.entry import OutboxEntry
    from buffer.outbox import Outbox
    from buffer.store import Store
    from gateway.audit.auditing import Auditing
    from gateway.connectors.base import Connector
    from gateway.control import Verb
    from gateway.parts import Parts
    from gateway.timing.clock import SteadyClock

#: Numbers of one request; each that must be looked up is a question to the ERP, for which somebody waits.
NUMBERS_MAX: Final = 1000
LOOKED_UP_MAX: Final = 50


class Resending:
    """The verb of one running gateway."""

    def __init__(self, parts: Parts, store: Store, clock: SteadyClock, auditing: Auditing) -> None:
        self._auditing = auditing
        self._parts = parts
        self._store = store
        self._clock = clock

    def table(self) -> dict[str, Verb]:
        """Verbs by name."""
        return {"outbox.resend_from": self._resend}

    async def _resend(self, request: Mapping[str, Any]) -> Any:
        lane = (text_of(request, "target"), text_of(request, "order"), text_of(request, "operation"))
        who, reason = text_of(request, "who"), text_of(request, "reason")
        first, last = _number(request, "from"), _number(request, "to") if request.get("to") is not None else None
        connector = self._connector(lane[0])
        found = await reconciliation.numbers_of(self._store, *lane, first, last, NUMBERS_MAX + 1)
        _check_whole(lane, found, first, last)
        booked = [one for one in found if one.state in THERE]
        lost = booked if connector.capabilities.idempotent else await _lost(self._parts.outbox, connector, booked)
        try:
            audit = resent(self._auditing, lost, reason)
            ids = [one.id for one in lost]
            await reconciliation.resend_all(self._store, ids, self._clock.now_ns(), who=who, reason=reason, audit=audit)
        except OutboxError as error:
            raise of_resend(error) from error
        if lost:
            is_told()
        self._parts.forwarders[lane[0]].wake()
        again = {one.seq for one in lost}
        why = {one.seq: "the ERP has it" if one in booked else str(one.state) for one in found if one.seq not in again}
        return {
            "done": [{"id": one.id, "seq": one.seq, "key": one.key} for one in lost],
            "left": [{"seq": seq, "why": text} for seq, text in why.items()],
        }

    def _connector(self, target: str) -> Connector:
        connector = self._parts.connectors.get(target)
        if connector is None or target not in self._parts.forwarders:
            raise of_target("outbox", target, self._parts.forwarders)
        return connector


def _number(request: Mapping[str, Any], name: str) -> int:
    value = request.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value < 2**63:
        raise RequestError(
            f"{name}: found {str(value)[:40]!a}, allowed: a number of a confirmation, 1 and above",
            guard="FIELD",
            what_to_do=f"send another {name}",
        )
    return value


def _check_whole(lane: tuple[str, str, str], found: Sequence[OutboxEntry], first: int, last: int | None) -> None:
    """Raises RequestError where a number of the range is not there (any more), or there are too many."""
    place = f"outbox, {lane[0]}, order {lane[1]} operation {lane[2]}"
    if len(found) > NUMBERS_MAX:
        raise RequestError(
            f"{place}: found more than {NUMBERS_MAX} numbers from {first} on, allowed: {NUMBERS_MAX}; use --to",
            guard="RANGE",
            what_to_do="take them in parts: to, or --to",
        )
    end = last if last is not None else found[-1].seq if found else first
    there = {one.seq for one in found}
    missing = [number for number in range(first, min(end, first + NUMBERS_MAX) + 1) if number not in there]
    if missing:
        raise RequestError(
            f"{place}: number {missing[0]}{f' and {len(missing) - 1} more' if missing[1:] else ''} is not kept "
            "any more, or never was; nothing is sent again",
            guard="KEPT",
            found=", ".join(map(str, missing[:20])),
            allowed="numbers that are still kept (retention.confirmations)",
            what_to_do="name a range that is there (linegate outbox list --order), book the others in the ERP by hand",
        )


async def _lost(outbox: Outbox, connector: Connector, booked: Sequence[OutboxEntry]) -> list[OutboxEntry]:
    """Those that the ERP does not have. Raises RequestError where it cannot say of one, and would book repeats."""
    if len(booked) > LOOKED_UP_MAX:
        text = f"found {len(booked)} that must be looked up, allowed: {LOOKED_UP_MAX} at a time"
        raise RequestError(f"outbox: {text}", guard="RANGE", what_to_do="use --to")
    lost = []
    for one in booked:
        said = await reconciler.looked_up(outbox, connector, one)
        if said is None:
            raise RequestError(
                f"outbox, key {one.key}: {one.target} cannot say whether it has it, and books repeats; nothing is sent",
                guard="LOOKED_UP",
                what_to_do="try again when it answers, or look in the ERP and send single ones by their key",
            )
        if said is LookedUp.MISSING:
            lost.append(one)
    return lost
