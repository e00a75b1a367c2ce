"""What people tell of orders besides decisions: splits, merges, pieces without an order, numbers that they counted.

Each is handed to the work unit, which decides and writes down who said it. Lists are texts with commas.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final

from gateway.asking.offered import check_reason
from gateway.asking.speaker import runner_of, speaker, told
from gateway.control import NUMBER_MAX, RequestError, text_of
from gateway.core.document import utc
from gateway.core.entries import AllocateEntry, MergeEntry, ReclassifyEntry, ReportEntry, SplitEntry, UnmergeEntry
from gateway.core.model import JobChanged, JobOrderState, Role
from gateway.core.orders.unallocated import CountAllocation
from gateway.core.wording import pieces_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.control import Verb
    from gateway.core.orders.unallocated import BucketEntry
    from gateway.parts import Parts
    from gateway.timing.clock import SteadyClock

#: Of one list in a request.
LISTED_MAX: Final = 99
DISTRIBUTIONS: Final = ("by_open_qty", "sequential_by_due_date", "fixed_ratio")
NS_PER_MS: Final = 1_000_000


class OrderVerbs:
    """These verbs of one running gateway."""

    def __init__(self, parts: Parts, clock: SteadyClock, time_zone: str) -> None:
        self._parts = parts
        self._clock = clock
        self._time_zone = time_zone  # the plant's, in which a person reads times

    def table(self) -> dict[str, Verb]:
        """Every verb by name."""
        return {
            "unallocated": self._unallocated,
            "order.allocate": self._allocate,
            "order.split": self._split,
            "order.merge": self._merge,
            "order.unmerge": self._unmerge,
            "order.report": self._report,
            "order.scrap": self._set_apart,
            "order.rework": self._set_apart,
        }

    async def _unallocated(self, request: Mapping[str, Any]) -> Any:
        machine, runner = runner_of(self._parts, request)
        bucket, now_ns = runner.state.bucket, self._clock.now_ns()
        return {
            "machine": machine,
            "time_zone": self._time_zone,
            "entries": [self._shown(one, now_ns) for one in bucket.entries],
            "written_off": bucket.written_off,
        }

    def _shown(self, entry: BucketEntry, now_ns: int) -> dict[str, Any]:
        what = entry.what
        return {
            "number": entry.number,
            "role": what.role.value,
            "pieces": what.pieces,
            "estimated": what.estimated,
            "from": utc(self._clock.utc_ns(what.t_from_ns)),
            "to": utc(self._clock.utc_ns(what.t_to_ns)),
            "age_ms": max(now_ns - what.t_from_ns, 0) // NS_PER_MS,
            "signal": what.signal,
            "product": what.product,
            "tool": what.tool,
            "lot": what.lot,
            "merged": entry.merged,
        }

    async def _allocate(self, request: Mapping[str, Any]) -> Any:
        machine, runner = runner_of(self._parts, request)
        order = _text(request, "order")
        role = Role(_word(request, "from", tuple(Role))) if request.get("from") else Role.GOOD
        to = Role(_word(request, "to", tuple(Role))) if request.get("to") else None
        numbers = tuple(_whole("entries", one) for one in _listed(request, "entries"))
        if order and (to or role) in {Role.SCRAP, Role.REWORK}:  # the ERP is told the reason as that of the scrap
            check_reason(machine, runner, (to or role).value, _text(request, "reason"))
        entry = AllocateEntry(
            self._clock.now_ns(),
            order,
            _text(request, "operation"),
            _whole("pieces", request["pieces"], least=1),
            role,
            _text(request, "reason"),
            to_role=to,
            numbers=numbers,
            **speaker(request),
        )
        outputs = told(await runner.submit(entry), f"{machine}: cannot allocate pieces")
        pieces = sum(one.what.pieces for one in outputs if isinstance(one, CountAllocation))
        is_ = "is " if pieces == 1 else "are "
        return f"{machine}: {pieces_of(pieces)} {is_}" + (f"{order}'s now" if order else "written off")

    async def _split(self, request: Mapping[str, Any]) -> Any:
        machine, runner = runner_of(self._parts, request)
        order, quantities = text_of(request, "order"), tuple(map(_quantity, _listed(request, "quantities")))
        operation, reason = _text(request, "operation"), _text(request, "reason")
        entry = SplitEntry(self._clock.now_ns(), order, operation, quantities, reason, **speaker(request))
        outputs = told(await runner.submit(entry), f"{machine}: cannot split {order}")
        children = [f"{job.order} ({job.quantity})" for job in (one.record.job for one in _new(outputs))]
        return f"{machine}: {order} is split into {', '.join(children)}"

    async def _merge(self, request: Mapping[str, Any]) -> Any:
        machine, runner = runner_of(self._parts, request)
        leader, orders = text_of(request, "leader"), _listed(request, "orders")
        entry = MergeEntry(
            self._clock.now_ns(),
            leader,
            orders,
            _text(request, "operation"),
            _text(request, "reason"),
            how=_word(request, "distribution", DISTRIBUTIONS) if request.get("distribution") else None,  # type: ignore[arg-type]  # one of them
            ratios=tuple(_whole("ratios", one, least=1) for one in _listed(request, "ratios")),
            **speaker(request),
        )
        told(await runner.submit(entry), f"{machine}: cannot merge into {leader}")
        return f"{machine}: {', '.join(orders)} run under {leader}"

    async def _unmerge(self, request: Mapping[str, Any]) -> Any:
        machine, runner = runner_of(self._parts, request)
        order = text_of(request, "order")
        operation, reason = _text(request, "operation"), _text(request, "reason")
        entry = UnmergeEntry(self._clock.now_ns(), order, operation, reason, **speaker(request))
        told(await runner.submit(entry), f"{machine}: cannot undo the merge {order}")
        return f"{machine}: the merge {order} is undone"

    async def _report(self, request: Mapping[str, Any]) -> Any:
        machine, runner = runner_of(self._parts, request)
        order = text_of(request, "order")
        good, scrap, rework = (_whole(name, request.get(name) or 0) for name in ("good", "scrap", "rework"))
        operation, reason = _text(request, "operation"), _text(request, "reason")
        for role, pieces in ((Role.SCRAP, scrap), (Role.REWORK, rework)):
            if pieces:
                check_reason(machine, runner, role.value, reason)
        entry = ReportEntry(self._clock.now_ns(), order, operation, good, scrap, rework, reason, **speaker(request))
        told(await runner.submit(entry), f"{machine}: cannot report pieces of {order}")
        return f"{machine}: {good} good, {scrap} scrap, {rework} rework of {order} reported"

    async def _set_apart(self, request: Mapping[str, Any]) -> Any:
        """Pieces that were counted as good are scrap, or for rework; none is added."""
        machine, runner = runner_of(self._parts, request)
        order, pieces = text_of(request, "order"), _whole("pieces", request["pieces"], least=1)
        operation, reason = _text(request, "operation"), _text(request, "reason")
        now_ns, scrap = self._clock.now_ns(), text_of(request, "verb") == "order.scrap"
        what = "scrap" if scrap else "for rework"
        by = speaker(request) | {"signed_by": str(request.get("signed_by", ""))}
        to = Role.SCRAP if scrap else Role.REWORK
        check_reason(machine, runner, to.value, reason)
        entry = ReclassifyEntry(now_ns, order, operation, pieces, Role.GOOD, to, reason, **by)
        told(await runner.submit(entry), f"{machine}: cannot set pieces of {order} apart as {what}")
        return f"{machine}: {pieces} piece{'s are' if pieces > 1 else ' is'} {what} in {order}"


def _new(outputs: Any) -> list[JobChanged]:
    states = (JobOrderState.DISPATCHED, JobOrderState.ON_HOLD)
    return [
        one for one in outputs if isinstance(one, JobChanged) and one.previous is None and one.record.state in states
    ]


def _text(request: Mapping[str, Any], name: str) -> str:
    return text_of(request, name) if request.get(name) else ""


def _listed(request: Mapping[str, Any], name: str) -> tuple[str, ...]:
    parts = tuple(one.strip() for one in _text(request, name).split(",") if one.strip())
    if len(parts) > LISTED_MAX:
        raise _wrong(name, f"{len(parts)} of them", f"up to {LISTED_MAX}")
    return parts


def _word(request: Mapping[str, Any], name: str, words: tuple[str, ...]) -> str:
    text = text_of(request, name)
    if text not in words:
        raise _wrong(name, repr(text), ", ".join(words))
    return text


def _whole(name: str, found: Any, *, least: int = 0) -> int:
    if isinstance(found, str) and found.isascii() and found.isdecimal() and len(found) < len(str(NUMBER_MAX)):
        found = int(found)
    if not isinstance(found, int) or isinstance(found, bool) or not least <= found <= NUMBER_MAX:
        raise _wrong(name, f"{str(found)[:40]!a}", f"a whole number, {least} and more")
    return found


def _quantity(text: str) -> Decimal:
    try:
        found = Decimal(text)
    except InvalidOperation as error:
        raise _wrong("quantities", f"{text[:40]!a}", "numbers with commas between them, such as 40,30") from error
    if not found.is_finite():
        raise _wrong("quantities", f"{text[:40]!a}", "finite numbers")
    return found


def _wrong(name: str, found: str, allowed: str) -> RequestError:
    return RequestError(f"{name}: found {found}, allowed: {allowed}", guard="FIELD", found=found, allowed=allowed)
