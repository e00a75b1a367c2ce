"""What changed since a screen looked last: it asks once and is answered as soon as something did, at most 30 s later.

So a screen at the line shows a change within a second and asks for nothing meanwhile. Numbers every change of this run,
by machine, and keeps the last ``EVENTS_MAX`` events in memory. Says that something changed, never what it is now: that
is read anew. Stores nothing; after a restart everything counts as changed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.api.problem import refuse, shown
from gateway.core.document import utc
from gateway.core.duration import NS_PER_S
from gateway.core.model import Confirmation, JobChanged, Notice, UnknownInterval
from gateway.core.refusal import REFUSED
from gateway.core.state.setup import SetupOverrun
from gateway.core.state.timeline_state import ReasonRequired

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from gateway.control import Verb
    from gateway.core.model import Output

WAIT_MAX_S: Final = 30
#: A question that waits is answered no sooner: changes that belong together are one answer, and a machine with ten
#: pieces a second makes no screen ask ten times a second.
SPACING_S: Final = 0.4
#: The last ones of all machines; a screen that was away for longer is told that it missed some.
EVENTS_MAX: Final = 500
MACHINES_SHOWN_MAX: Final = 20
CURSOR_PATTERN: Final = r"^[0-9a-f]{1,16}-[0-9]{1,18}$"


class Event(NamedTuple):
    """Something that a person may want to know of."""

    number: int
    at_ns: int
    machine: str
    what: str
    code: str
    order: str
    operation: str
    detail: Mapping[str, str]


class Changes:
    """The changes of one run.

    ``run_ns``: an instant that no other run has, by which its numbers are told apart. ``known``: the machines there are
    now; a reload changes it, and who asks for another one is refused. Without it every name is taken.
    """

    def __init__(self, run_ns: int, utc_ns: Callable[[int], int], known: Collection[str] | None = None) -> None:
        self._run = f"{run_ns:x}"
        self._utc_ns = utc_ns
        self._known = known
        self._number = 0
        self._all = 0  # since then a machine may be another one, or be gone
        self._lost = 0  # the number of the last event that is not kept any more
        self._machines: dict[str, int] = {}  # the number of its last change
        self._postings = 0
        self._events: deque[Event] = deque(maxlen=EVENTS_MAX)
        self._waiting: dict[asyncio.Future[None], str | None] = {}
        self._closed = False

    def table(self) -> dict[str, Verb]:
        """The verb by its name."""
        return {"changes": self._asked}

    def committed(self, machine: str, outputs: Iterable[Output]) -> None:
        """A work unit committed these; waits for nobody."""
        self._number += 1
        self._machines[machine] = self._number
        for one in outputs:
            event = _event(self._number, machine, one, self._utc_ns)
            if event is not None:
                self._keep(event)
        self._wake(machine)

    def posting_moved(self) -> None:
        """A posting got another state; waits for nobody."""
        self._number += 1
        self._postings = self._number
        self._wake(None)

    def configured(self) -> None:
        """Machines were added, removed or got other rules: whoever looks at one reads all of it anew."""
        self._number += 1
        self._all = self._number
        if self._known is not None:
            self._machines = {name: number for name, number in self._machines.items() if name in self._known}
        self._wake(None)

    def close(self) -> None:
        """Nobody waits any more."""
        self._closed = True
        self._wake(None)

    def _keep(self, event: Event) -> None:
        if len(self._events) == EVENTS_MAX:
            self._lost = self._events[0].number
        self._events.append(event)

    def _wake(self, machine: str | None) -> None:
        for future, wanted in self._waiting.items():
            if not future.done() and (machine is None or wanted in {None, machine}):
                future.set_result(None)

    async def _asked(self, request: Mapping[str, Any]) -> Any:
        loop = asyncio.get_running_loop()
        after, machine = self._after(request.get("after")), request.get("machine")
        if machine is not None and self._known is not None and machine not in self._known:
            allowed = ", ".join(list(self._known)[:MACHINES_SHOWN_MAX])
            raise refuse("NOT_FOUND", f"machine: found {shown(machine)}, allowed: {allowed}")
        wait_s = request.get("wait", 0) if after is not None else 0
        began_s = loop.time()
        if wait_s and not self._news(after or 0, machine):
            await self._something(machine, wait_s)
        if wait_s and not self._closed:
            await asyncio.sleep(min(max(began_s + SPACING_S - loop.time(), 0), wait_s))
        return self._answer(after, machine)

    async def _something(self, machine: str | None, wait_s: float) -> None:
        """Until something changes, at most so long."""
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[woken] = machine
        try:
            if not self._closed:
                await asyncio.wait({woken}, timeout=wait_s)
        finally:
            del self._waiting[woken]

    def _after(self, cursor: str | None) -> int | None:
        """The number of the last change that is known; None: nothing is, or it is not of this run."""
        run, _, number = (cursor or "").partition("-")
        return int(number) if run == self._run and int(number) <= self._number else None

    def _news(self, after: int, machine: str | None) -> bool:
        changed = self._machines if machine is None else {machine: self._machines.get(machine, 0)}
        return max(self._postings, self._all) > after or any(number > after for number in changed.values())

    def _answer(self, after: int | None, machine: str | None) -> dict[str, Any]:
        since = after or 0
        events = [one for one in self._events if one.number > since and machine in {None, one.machine}]
        return {
            "cursor": f"{self._run}-{self._number}",
            "everything": after is None or self._all > after,
            "machines": [name for name, number in self._machines.items() if number > since and machine in {None, name}],
            "postings": self._postings > since or after is None,
            "events": [] if after is None else [self._shown(one) for one in events],
            "events_missed": after is None or self._lost > after,
        }

    @staticmethod
    def _shown(one: Event) -> dict[str, Any]:
        shown = one._asdict()
        return {"number": one.number, "at": utc(shown.pop("at_ns")), **shown, "detail": dict(one.detail)}


def _event(number: int, machine: str, output: Output, utc_ns: Callable[[int], int]) -> Event | None:
    """What a person may want to know of an output; None of one that is no news."""

    def event(at_ns: int, what: str, code: str = "", job: tuple[str, str] = ("", ""), **detail: Any) -> Event:
        told = {name: str(text) for name, text in detail.items()}
        return Event(number, utc_ns(at_ns), machine, what, code, *job, told)

    match output:
        case Notice(at_ns=at_ns, code=code, detail=detail) if code != REFUSED:
            known = dict(detail)
            job = (known.pop("order", ""), known.pop("operation", ""))
            return event(at_ns, "notice", code, job)._replace(detail=known)
        case ReasonRequired(at_ns, stop_from_ns, state):
            return event(at_ns, "reason_required", state=state.value, since=utc(utc_ns(stop_from_ns)))
        case SetupOverrun(at_ns, planned_ns, since_ns):
            return event(at_ns, "setup_overrun", since=utc(utc_ns(since_ns)), planned_s=planned_ns // NS_PER_S)
        case UnknownInterval(t_to_ns=at_ns, flag=flag):
            return event(at_ns, "unknown_pieces", flag, signal=output.signal, max_pieces=output.max_pieces)
        case JobChanged(at_ns=at_ns, record=record, previous=previous) if record.state is not previous:
            return event(at_ns, "order", record.state.value, record.job.key)
        case Confirmation(job=job):
            numbers = {"good": output.good, "scrap": output.scrap, "rework": output.rework}
            return event(output.created_ns, "confirmation", output.kind.value, job.key, seq=output.seq, **numbers)
        case _:
            return None
