"""``linegate demo`` from the first line on the terminal to the last: the live view and the reconciliation."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import signal
import sys
import time
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gateway.demo import chaos
from gateway.demo.process import ProcessError
from gateway.demo.reconcile import table
from gateway.demo.stage import Stage, StageError
from gateway.shown.status_text import lines

if TYPE_CHECKING:
    import argparse

    from gateway.demo.reconcile import Reconciliation

SPEEDS: Final = (1, 50)
SECONDS_MAX: Final = 86_400
REFRESH_S: Final = 0.5
PLAIN_REFRESH_S: Final = 5.0  # where the output is no terminal
NEWS_MAX: Final = 6
CHAOS_WITHOUT_END_S: Final = 60.0  # the faults of a run without --seconds repeat over this


def run(args: argparse.Namespace) -> int:
    """Run the demo; 0 when it balances."""
    if not SPEEDS[0] <= args.speed <= SPEEDS[1]:
        print(f"linegate: --speed: found {args.speed:g}, allowed {SPEEDS[0]} to {SPEEDS[1]}", file=sys.stderr)
        return 2
    if args.seconds is not None and not 0 < args.seconds <= SECONDS_MAX:
        print(f"linegate: --seconds: found {args.seconds:g}, allowed more than 0, up to {SECONDS_MAX}", file=sys.stderr)
        return 2
    try:
        result = asyncio.run(_Show(args).run())
    except (StageError, ProcessError) as error:
        print(f"linegate: demo: {error}", file=sys.stderr)
        return 1
    if args.json:
        print(json.dumps(result.to_json()))
    else:
        print("\n".join(["", *table(result), "", _verdict(result)]))
    return 0 if result.balanced else 1


def _verdict(result: Reconciliation) -> str:
    if result.balanced:
        return "BALANCED: every piece the machines made is accounted for, none twice."
    return "NOT BALANCED: see the lines marked with !! above."


class _Show:
    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args
        self._stage = Stage(Path(args.dir).resolve(), seed=args.seed, speed=Fraction(str(args.speed)), erp=args.erp)
        self._news: list[str] = []
        self._faults: list[str] = []
        self._begin = time.monotonic()
        self._enough = asyncio.Event()
        self._striking = asyncio.Lock()

    async def run(self) -> Reconciliation:
        """Everything in order; the processes end whatever happens."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._enough.set)
        self._say("starting simulators, ERP" + (", broker" if self._stage.has_broker else "") + " and the gateway ...")
        if not self._stage.has_broker:
            self._say("no MQTT broker: install the extra for one (pip install 'linegate[demo]')")
        try:
            await self._stage.open()
            return await self._play()
        finally:
            await self._stage.close()

    async def _play(self) -> Reconciliation:
        await self._stage.produce()
        self._begin = time.monotonic()
        async with asyncio.TaskGroup() as parts:
            view = parts.create_task(self._live())
            faults = parts.create_task(self._chaos()) if self._args.chaos else None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._args.seconds):
                    await self._enough.wait()
            if faults is not None:
                async with self._striking:  # a fault that is being planted is planted to its end
                    faults.cancel()
            self._tell("machines stop; waiting until everything has arrived")
            if self._stage.daemon is None or self._stage.daemon.pid is None:
                await self._stage.start_daemon()
            await self._stage.halt()
            final = await self._stage.settled()
            view.cancel()
        if not self._args.json:
            self._draw(final)
        return await self._stage.reconcile(final, tuple(self._faults))

    async def _chaos(self) -> None:
        rng = random.Random(self._args.seed)  # noqa: S311 - a seed that repeats the run, not a secret
        seconds = self._args.seconds or CHAOS_WITHOUT_END_S
        offset = 0.0
        while True:
            for fault in chaos.schedule(rng, seconds):
                await asyncio.sleep(max(self._begin + offset + fault.at_s - time.monotonic(), 0))
                async with self._striking:
                    await chaos.strike(self._stage, fault, self._planted)
            if self._args.seconds is not None:
                return
            offset += seconds

    def _planted(self, text: str) -> None:
        self._faults.append(f"{time.monotonic() - self._begin:.1f} s: {text}")
        self._tell(text)

    def _tell(self, text: str) -> None:
        self._news = [*self._news, f"{time.monotonic() - self._begin:6.1f} s  {text}"][-NEWS_MAX:]
        if not sys.stdout.isatty():
            self._say(self._news[-1])

    def _say(self, text: str) -> None:
        if not self._args.json:
            print(text, flush=True)

    async def _live(self) -> None:
        if self._args.json:
            return
        every = REFRESH_S if sys.stdout.isatty() else PLAIN_REFRESH_S
        while True:
            self._draw(await self._stage.status())
            await asyncio.sleep(every)

    def _draw(self, view: dict[str, Any] | None) -> None:
        text = lines(view) if view is not None else ["the gateway is down; the machines go on"]
        if sys.stdout.isatty():
            head = f"linegate demo, {self._args.speed:g} times real time. Ctrl-C ends it."
            print("\x1b[H\x1b[J" + "\n".join([head, "", *text, "", *self._news]), flush=True)
        else:
            print("\n".join(["", *text]), flush=True)
