"""How a simulator is steered: commands on standard input, one JSON answer each, and the log of what really happened.

Knows no machine and no protocol. A command is declared by its usage text, which is also how its words are checked.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TextIO

from simulators import clock

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from simulators.scenario import Scenario

#: A command line longer than this is refused (bytes).
MAX_LINE: Final = 4096
#: How long an exit waits at most until its answer is heard, in seconds.
EXIT_S: Final = 0.3

#: Words of a usage text that stand for numbers: kind and allowed range.
NUMBERS: Final[Mapping[str, tuple[type[int | float], int, int]]] = {
    "SECONDS": (float, 0, 86_400),
    "MS": (float, 0, 86_400_000),
    "COUNT": (int, 0, 1_000_000),
    "CODE": (int, 1, 255),
    "STATUS": (int, 400, 599),
    "VALUE": (int, 0, 2**32 - 1),
    "UNIT": (int, 0, 255),
    "FIRST": (int, 0, 65_535),
    "LAST": (int, 0, 65_535),
    "ALARM": (int, 0, 65_535),
    "PERCENT": (float, 0, 100),
    "INPUT": (int, 0, 5),
}
#: Words of a usage text that stand for one of a few words.
CHOICES: Final[Mapping[str, str]] = {
    "PATH": "confirmations|orders|lookups|all",
    "REASON": "command|micro|fault|setup|starved|blocked|off",
}


class SimulatorError(Exception):
    """The simulator cannot start or go on; the message is for a person."""


class CommandError(ValueError):
    """A command was refused; says what was found and what is allowed."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command as its usage text declares it.

    In ``usage`` the first word is the name, capital words are parameters (see ``NUMBERS``; ``TEXT`` takes the rest of
    the line), ``a|b`` is a choice, a small word stands for itself, square brackets mean optional.
    """

    usage: str
    run: Callable[..., Any]

    @property
    def name(self) -> str:
        """The word that calls it."""
        return self.usage.split()[0]

    @property
    def parameters(self) -> list[str]:
        """The usage words after the name."""
        return self.usage.split()[1:]

    def parse(self, words: Sequence[object]) -> list[object]:
        """Check the words against the usage. Raises CommandError."""
        wanted = self.parameters
        given = list(words)
        if wanted and wanted[-1].strip("[]") == "TEXT" and len(given) > len(wanted):
            given[len(wanted) - 1 :] = [" ".join(map(str, given[len(wanted) - 1 :]))]
        needed = sum(not word.startswith("[") for word in wanted)
        if not needed <= len(given) <= len(wanted):
            raise CommandError(f"{self.name!r} got {len(given)} values; usage: {self.usage}")
        return [self._check(word.strip("[]"), value) for word, value in zip(wanted, given, strict=False)]

    def parse_named(self, values: Mapping[str, object]) -> list[object]:
        """Like ``parse``, with the parameters named in lower case, a choice named ``choice``."""
        names = [("choice" if "|" in word else word.strip("[]").lower()) for word in self.parameters]
        unknown = sorted(set(values) - set(names))
        if unknown:
            raise CommandError(f"{self.name!r} has no {unknown[0]!r}; allowed: {', '.join(names) or 'nothing'}")
        given = [values[name] for name in names if name in values]
        if names[: len(given)] != [name for name in names if name in values]:
            raise CommandError(f"{self.name!r} lacks a value; usage: {self.usage}")
        return self.parse(given)

    def _check(self, word: str, value: object) -> object:
        word = CHOICES.get(word, word)
        if "|" in word or word.islower():
            if value not in word.split("|"):
                raise CommandError(f"{self.name!r} got {value!r}; allowed: {', '.join(word.split('|'))}")
            return value
        if word not in NUMBERS:
            return str(value)
        kind, low, high = NUMBERS[word]
        try:
            number = kind(str(value))
        except ValueError:
            number = None
        if number is None or not low <= number <= high:
            noun = "a whole number" if kind is int else "a number"
            raise CommandError(f"{self.name!r} got {value!r} for {word}; allowed: {noun} {low} to {high}")
        return number


class Control:
    """The steering of one simulator process.

    Commands arrive on standard input (``read_stdin``) or through ``execute``; all run on the event loop, one after the
    other. ``exit``, the end of standard input, SIGTERM and SIGINT end the simulator.
    """

    def __init__(self, name: str, *, read_stdin: bool, scenario: Scenario | None = None, speed: float = 1.0) -> None:
        self.name = name
        self._read_stdin = read_stdin
        self._scenario = scenario
        self._speed = speed
        self._ready_s = 0.0
        self._commands: dict[str, Command] = {}
        self._exit = asyncio.Event()
        self._leaving = False
        self.add("exit", self._leave)

    def add(self, usage: str, run: Callable[..., Any]) -> None:
        """Declare a command; ``run`` gets its parsed words and may return a mapping for the answer."""
        command = Command(usage, run)
        self._commands[command.name] = command

    def command(self, name: str) -> Command:
        """The declared command. Raises CommandError naming those allowed."""
        if name not in self._commands:
            raise CommandError(f"unknown command {name!r}; allowed: {', '.join(sorted(self._commands))}")
        return self._commands[name]

    async def execute(self, line: str) -> dict[str, Any]:
        """Run one command line and return its answer; a refusal is an answer, too."""
        words = line.split()
        if not words:
            return {"ok": False, "error": f"empty line; allowed: {', '.join(sorted(self._commands))}"}
        try:
            command = self.command(words[0])
            return await answer_of(command, command.parse(words[1:]))
        except CommandError as refusal:
            return {"ok": False, "error": str(refusal)}

    def ready(self, **facts: object) -> None:
        """Say on standard output that clients may connect, and begin to listen to commands.

        All commands must have been declared. Raises SimulatorError if the scenario has one that is not.
        """
        if self._scenario is not None:
            self._scenario.check(self)
        loop = asyncio.get_running_loop()
        self._ready_s = loop.time()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._exit.set)
        self._say({"ready": True, "name": self.name, **facts, "pid": os.getpid()})
        if self._read_stdin:
            threading.Thread(target=self._read, args=(loop,), daemon=True, name="commands").start()

    async def until_exit(self, *work: asyncio.Task[Any]) -> None:
        """Wait for the end, and play the scenario. Raises what a piece of work raised, then ends the rest."""
        tasks = {asyncio.create_task(self._exit.wait()), *work}
        playing = asyncio.create_task(self._play())
        try:
            done, _ = await asyncio.wait({playing, *tasks}, return_when=asyncio.FIRST_COMPLETED)
            if done == {playing}:  # the scenario is over, the machine goes on
                playing.result()
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (playing, *tasks):
                task.cancel()
            await asyncio.gather(playing, *tasks, return_exceptions=True)

    async def _play(self) -> None:
        if self._scenario is not None:
            await self._scenario.run(self, self._machine_s, speed=self._speed)

    def _machine_s(self) -> float:
        return (asyncio.get_running_loop().time() - self._ready_s) * self._speed

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        # Raw reads in a thread: works for pipes, terminals and /dev/null alike, and takes no lock with it at exit.
        rest = b""
        try:
            while chunk := os.read(0, MAX_LINE):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self._run_from_thread(loop, line.decode(errors="replace"))
                if len(rest) > MAX_LINE:
                    rest = b""
                    self._say(
                        {
                            "ok": False,
                            "error": f"line longer than {MAX_LINE} bytes; send one command per line",
                        }
                    )
            loop.call_soon_threadsafe(self._exit.set)
        except (RuntimeError, OSError, asyncio.CancelledError):
            # The loop is gone or nobody hears the answers: the process is ending.
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._exit.set)

    def _run_from_thread(self, loop: asyncio.AbstractEventLoop, line: str) -> None:
        answer = asyncio.run_coroutine_threadsafe(self.execute(line), loop).result()
        self._say(answer)
        if self._leaving:
            loop.call_soon_threadsafe(self._exit.set)

    def _leave(self) -> None:
        # The answer goes out first; the timer is for those who do not ask on standard input.
        self._leaving = True
        asyncio.get_running_loop().call_later(EXIT_S, self._exit.set)

    @staticmethod
    def _say(document: Mapping[str, object]) -> None:
        print(json.dumps(document), flush=True)


async def answer_of(command: Command, values: Sequence[object]) -> dict[str, Any]:
    """Run a parsed command. Raises CommandError."""
    result = command.run(*values)
    if inspect.isawaitable(result):
        result = await result
    return {"ok": True, **(result if isinstance(result, dict) else {})}


class Truth:
    """What really happened at one machine, as JSON lines: each line is flushed before anything else happens.

    ``good_total`` and ``scrap_total`` are the pieces made since the simulator started: no fault resets or wraps them.
    ``heard`` hears each line, too, if it is set.
    """

    def __init__(self, machine: str, path: Path | None) -> None:
        self.machine = machine
        self.good_total = 0
        self.scrap_total = 0
        self.heard: Callable[[Mapping[str, Any]], None] | None = None
        self._file: TextIO | None = None
        if path is not None:
            try:
                self._file = path.open("a", encoding="utf-8")
            except OSError as error:
                raise SimulatorError(f"--truth {path}: {error.strerror}; name a file that can be written") from error

    def pieces(self, good: int, scrap: int, *, t_ns: int | None = None, **facts: object) -> None:
        """Pieces were made, ``t_ns`` wall clock (now by default)."""
        self.good_total += good
        self.scrap_total += scrap
        self._write("pieces", {"good": good, "scrap": scrap, **facts}, t_ns)

    def event(self, event: str, **facts: object) -> None:
        """Anything else worth knowing afterwards: stop, start, reset, set."""
        self._write(event, facts, None)

    def totals(self) -> dict[str, int]:
        """The pieces made so far."""
        return {"good_total": self.good_total, "scrap_total": self.scrap_total}

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _write(self, event: str, facts: Mapping[str, object], t_ns: int | None) -> None:
        if self._file is None and self.heard is None:
            return
        stamp = clock.wall_ns() if t_ns is None else t_ns
        line = {"t_ns": stamp, "machine": self.machine, "event": event, **facts, **self.totals()}
        if self.heard is not None:
            self.heard(line)
        if self._file is None:
            return
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
