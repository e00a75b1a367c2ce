"""What a person at a machine needs to know before he decides, in one answer: orders, reasons, people, lots, what waits.

Reads the last committed state and the rules of the machine; asks no database and changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.asking.speaker import runner_of
from gateway.core.access.permissions import permitted
from gateway.core.document import utc
from gateway.core.model import Role
from gateway.core.offered_reasons import offered
from gateway.core.orders.lifecycle import RUNNING, ActorRole
from gateway.core.orders.proposal import next_order_told
from gateway.core.state.interval import STOPS
from gateway.core.state.stop_reasons import UNSPECIFIED
from gateway.shown.status import to_json
from gateway.shown.views import named_job

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.control import Verb
    from gateway.core.unit_state import State
    from gateway.parts import Parts
    from gateway.timing.clock import SteadyClock


class TerminalVerbs:
    """This verb of one running gateway."""

    def __init__(self, parts: Parts, clock: SteadyClock) -> None:
        self._parts = parts
        self._clock = clock

    def table(self) -> dict[str, Verb]:
        """The verb by its name."""
        return {"dispatch": self._dispatch}

    async def _dispatch(self, request: Mapping[str, Any]) -> Any:
        """All that a decision at the machine needs, so that nothing is asked for that the machine knows."""
        name, runner = runner_of(self._parts, request)
        state = runner.state
        view = to_json(self._parts.work_unit_view(name), self._clock.utc_ns)
        works = {run.job.key for run in state.open_runs() if run.state in RUNNING}
        if state.running is not None:
            works.add(state.running.job.key)
        jobs = [named_job(name, job) for job in view["queue"]]
        proposed = next_order_told(state)
        return {
            "machine": name,
            "state": view["state"],
            "state_since": utc(view["state_since_ns"]),
            "reason": view["reason"],
            "reason_missing": state.track.state in STOPS and view["reason"] in {"", UNSPECIFIED},
            "setup": state.track.setup.since_ns is not None,
            "running": [job for job in jobs if (job["order"], job["operation"]) in works],
            "queue": [job for job in jobs if (job["order"], job["operation"]) not in works],
            "next": None if proposed is None else proposed._asdict(),
            "operators": view["operators"],
            "feeders": [{"feeder": one.name, "item": one.item} for one in state.work.feeders],
            "lots": view["lots"],
            "holds": view["holds"],
            "unallocated": {role.value: view[f"unallocated_{role}"] for role in Role},
            "reasons": offered(runner.unit.rules)._asdict(),
            "undo": self._undo(state, int(runner.unit.rules.confirm.undo_window)),
            # Who may speak at the control socket may do what a supervisor may.
            "may": [action.value for action in permitted(ActorRole(request.get("role", ActorRole.SUPERVISOR)))],
        }

    def _undo(self, state: State, window_ns: int) -> dict[str, Any] | None:
        """What can still be taken back, and by whom."""
        last = state.last_word
        if last is None or last.at_ns + window_ns < self._clock.now_ns():
            return None
        until = utc(self._clock.utc_ns(last.at_ns + window_ns))
        return {"verb": last.verb, "who": last.who, "until": until}
