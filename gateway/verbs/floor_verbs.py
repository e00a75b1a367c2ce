"""What people at the line tell machines: setups and what pieces are; stops are those of ``stop_verbs.py``.

Each is handed to the work unit, which decides and writes down who said it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.asking.offered import check_reason
from gateway.asking.speaker import runner_of, speaker, told
from gateway.control import NUMBER_MAX, RequestError, text_of
from gateway.core.entries import PiecesReclassified, ReclassifyEntry, SetupEntry
from gateway.core.model import Role
from gateway.verbs.lot_use_verbs import LotUseVerbs
from gateway.verbs.stop_verbs import StopVerbs
from gateway.verbs.work_verbs import WorkVerbs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from buffer.store import Store
    from gateway.control import Verb
    from gateway.parts import Parts
    from gateway.timing.clock import SteadyClock


class FloorVerbs:
    """These verbs of one running gateway."""

    def __init__(self, parts: Parts, store: Store, clock: SteadyClock) -> None:
        self._parts = parts
        self._store = store
        self._clock = clock
        self._stops = StopVerbs(parts, store, clock)
        self._work = WorkVerbs(parts, store, clock)
        self._lot_use = LotUseVerbs(parts, store)

    def table(self) -> dict[str, Verb]:
        """Every verb by name."""
        return {
            "setup.begin": self._setup,
            "setup.end": self._setup,
            **self._stops.table(),
            "order.reclassify": self._reclassify,
            **self._work.table(),
            **self._lot_use.table(),
        }

    async def _setup(self, request: Mapping[str, Any]) -> Any:
        machine, runner = runner_of(self._parts, request)
        begins = text_of(request, "verb") == "setup.begin"
        what = "begin" if begins else "end"
        entry = SetupEntry(self._clock.now_ns(), begins, **speaker(request))
        told(await runner.submit(entry), f"{machine}: cannot {what} a setup")
        return f"{machine}: setup {'begun' if begins else 'ended'}"

    async def _reclassify(self, request: Mapping[str, Any]) -> Any:
        machine, runner = runner_of(self._parts, request)
        pieces, order = request["pieces"], text_of(request, "order")
        if not isinstance(pieces, int) or isinstance(pieces, bool) or not 1 <= pieces <= NUMBER_MAX:
            shown = f"{str(pieces)[:40]!a}"
            text = f"pieces: found {shown}, allowed: a whole number, 1 and more"
            raise RequestError(text, guard="FIELD", found=shown, allowed="1 and more", what_to_do="say how many")
        before, after = (_role(request, name) for name in ("from", "to"))
        operation = text_of(request, "operation") if request.get("operation") else ""
        reason = text_of(request, "reason") if request.get("reason") else ""
        if after in {Role.SCRAP, Role.REWORK}:
            check_reason(machine, runner, after.value, reason)
        by = speaker(request)
        signed = str(request.get("signed_by", ""))
        now_ns = self._clock.now_ns()
        entry = ReclassifyEntry(now_ns, order, operation, pieces, before, after, reason, signed_by=signed, **by)
        outputs = told(await runner.submit(entry), f"{machine}: cannot reclassify pieces of {order}")
        done = next(output for output in outputs if isinstance(output, PiecesReclassified))
        many = ("pieces", "are", "were") if done.pieces > 1 else ("piece", "is", "was")
        what = f"{done.pieces} {many[0]} of {done.order}/{done.operation}"
        return f"{machine}: {what} {many[1]} {after} now, and {many[2]} {before}"


def _role(request: Mapping[str, Any], name: str) -> Role:
    text = text_of(request, name)
    if text not in list(Role):
        allowed = ", ".join(Role)
        raise RequestError(f"{name}: found {text!r}, allowed: {allowed}", guard="FIELD", found=text, allowed=allowed)
    return Role(text)
