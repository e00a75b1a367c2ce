"""Records what reaches a work unit, or comes from a source, for those who ask at the control socket.

The one who asks fetches piece by piece and writes the file; the gateway writes none. Listens only.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any, Final

from gateway.control import RequestError
from gateway.core import snapshot
from gateway.sources.taps import FULL
from gateway.trial.nobody import skills_without_names, without_names
from gateway.trial.recording import Header, header_line, row

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from config.settings import Settings
    from gateway.control import Verb
    from gateway.parts import Parts
    from gateway.sources.taps import Tap

TAKEN_MAX: Final = 5000  # inputs of one answer
HOLD_TIMEOUT_S: Final = 10.0


class Recorder:
    """The verbs ``record.open``, ``record.take`` and ``record.close`` of one running gateway."""

    def __init__(self, parts: Parts, settings: Callable[[], Settings], now_ns: Callable[[], int]) -> None:
        self._parts = parts
        self._settings = settings
        self._now_ns = now_ns
        self._numbers = itertools.count(1)
        self._open: dict[int, Tap] = {}

    def table(self) -> dict[str, Verb]:
        """Every verb by name."""
        return {"record.open": self._begin, "record.take": self._take, "record.close": self._end}

    async def _begin(self, request: Mapping[str, Any]) -> Any:
        name = str(request["name"])
        parts = self._parts
        if name not in parts.runners and name not in parts.sources:
            raise RequestError(
                f"found {name[:80]!a}, allowed a work unit ({', '.join(parts.runners)}) or a source "
                f"({', '.join(parts.sources)})",
                guard="NAME",
                what_to_do="name one of them",
            )
        kind = "machine" if name in parts.runners else "source"
        tap, state, first = await self._tapped(kind, name)
        number = next(self._numbers)
        self._open = {known: other for known, other in self._open.items() if parts.taps.is_open(other)}
        self._open[number] = tap
        settings, now_ns = self._settings(), self._now_ns()
        header = Header(
            "machine" if kind == "machine" else "source",
            name,
            settings.gateway.id,
            settings.digest,
            now_ns,
            state,
            parts.utc_ns(now_ns) - now_ns,
            self._skills(name, tap) if kind == "machine" else None,
        )
        return {"recording": number, "kind": kind, "header": header_line(header), "rows": first}

    async def _tapped(self, kind: str, name: str) -> tuple[Tap, dict[str, Any] | None, list[Any]]:
        """A tap between two inputs, the state there, and what each signal said last."""
        parts = self._parts
        if kind == "source":
            return self._tap(kind, name), None, []
        runner = parts.runners[name]
        hold = None
        try:
            async with asyncio.timeout(HOLD_TIMEOUT_S):
                hold = await runner.hold()
                await hold.reached.wait()
            # They say how the signals stand when the recording begins.
            at_ns = runner.state.at_ns
            last = [row(value._replace(source_time_ns=None, received_time_ns=at_ns)) for value in runner.last_values()]
            tap = self._tap(kind, name)
            return tap, snapshot.encode_whole(runner.unit, without_names(runner.state, tap.persons)), last
        except TimeoutError as error:
            raise RequestError(
                f"{name} did not stand still within {HOLD_TIMEOUT_S:g} s; try again",
                guard="BUSY",
                what_to_do="try again",
            ) from error
        finally:
            if hold is not None:
                hold.release()

    def _skills(self, name: str, tap: Tap) -> dict[str, list[str]]:
        return skills_without_names(self._parts.runners[name].unit.rules.work.labour.skills, tap.persons)

    def _tap(self, kind: str, name: str) -> Tap:
        tap = self._parts.taps.open(kind, name)
        if tap is None:
            raise RequestError(
                "too many recordings are under way; wait for one to end", guard="BUSY", what_to_do="wait for one to end"
            )
        return tap

    async def _take(self, request: Mapping[str, Any]) -> Any:
        tap = self._open.get(int(request["recording"]))
        if tap is None or not self._parts.taps.touch(tap):
            raise RequestError(
                "this recording was given up, because nobody fetched from it; start another one",
                guard="RECORDING",
                what_to_do="start another one",
            )
        rows = tap.take(TAKEN_MAX)
        known = self._parts.runners if tap.kind == "machine" else self._parts.sources
        ended = FULL if tap.full and len(rows) < TAKEN_MAX else ""
        if tap.name not in known and not rows:
            ended = f"{tap.name} is no longer configured"
        return {"rows": rows, "now_ns": self._now_ns(), "ended": ended}

    async def _end(self, request: Mapping[str, Any]) -> Any:
        tap = self._open.pop(int(request["recording"]), None)
        if tap is not None:
            self._parts.taps.close(tap)
        return "closed"
