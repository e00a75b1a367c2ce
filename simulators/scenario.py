"""A scenario: a YAML file that says which command is given to a simulator when.

    - { at: 60, do: "cut 6" }
    - { at: 100, every: 300, do: "exception 6 3" }

``at`` and ``every`` are seconds of machine time, counted from the ready line; ``do`` is a command as on standard input.
Knows no command: the steering checks them all before it says that it is ready, and says on standard error what it did.
"""

from __future__ import annotations

import asyncio
import heapq
import json
import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from simulators.control import CommandError, SimulatorError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from yaml.nodes import Node

    from simulators.control import Control

KEYS: Final = ("at", "every", "do")
#: Largest file, in bytes, and most entries.
MAX_SIZE: Final = 1_048_576
MAX_ENTRIES: Final = 10_000
#: Latest time and longest interval, in seconds of machine time: a year and a bit.
MAX_S: Final = 400 * 86_400
#: Shortest interval of a repeated command, in seconds of machine time.
MIN_EVERY_S: Final = 0.1
#: Longest single wait, in seconds: the machine's time is looked at again.
MAX_WAIT_S: Final = 3_600.0
#: How much of a wrong value a message shows.
SHOWN: Final = 60


@dataclass(frozen=True, slots=True)
class Entry:
    """One command and its time in seconds of machine time; ``every`` None: once. ``line`` is that of the file."""

    at_s: float
    do: str
    every_s: float | None
    line: int


class Scenario:
    """Entries of one file, in its order."""

    def __init__(self, path: Path, entries: tuple[Entry, ...]) -> None:
        self.path = path
        self.entries = entries

    @classmethod
    def load(cls, path: Path) -> Scenario:
        """Read a file. Raises SimulatorError naming the line, what was found and what is allowed."""
        import yaml

        try:
            data = path.read_bytes()
        except OSError as error:
            raise SimulatorError(f"--scenario {path}: {error.strerror}; name a file that can be read") from error
        if len(data) > MAX_SIZE:
            raise SimulatorError(f"--scenario {path}: found {len(data)} bytes, allowed {MAX_SIZE}; split it")
        try:
            root = yaml.compose(data, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark is not None else 1
            raise SimulatorError(f"{path}:{line}: no YAML: {error.problem or error.context}") from error
        except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
            raise SimulatorError(f"{path}:1: no YAML: {' '.join(str(error).split())[:SHOWN]}") from error
        return cls(path, _entries(path, root))

    def check(self, control: Control) -> None:
        """Hold every command against those declared. Raises SimulatorError naming the line."""
        for entry in self.entries:
            words = entry.do.split()
            try:
                control.command(words[0]).parse(words[1:])
            except CommandError as refusal:
                raise SimulatorError(f"{self.path}:{entry.line}: do: {refusal}") from refusal

    async def run(self, control: Control, now_machine_s: Callable[[], float], *, speed: float = 1.0) -> None:
        """Give each command when its time has come, and return after the last.

        ``now_machine_s`` gives the seconds of machine time since the ready line, of which ``speed`` pass in a second.
        Entries of the same time run in the order of the file; a late one runs at once, none is left out.
        """
        waiting = [(entry.at_s, number, entry) for number, entry in enumerate(self.entries)]
        heapq.heapify(waiting)
        while waiting:
            due_s, number, entry = waiting[0]
            wait_s = (due_s - now_machine_s()) / speed
            if wait_s > 0:
                await asyncio.sleep(min(wait_s, MAX_WAIT_S))
                continue
            if entry.every_s is None:
                heapq.heappop(waiting)
            else:
                heapq.heapreplace(waiting, (due_s + entry.every_s, number, entry))
            answer = await control.execute(entry.do)
            said = {"scenario": self.path.name, "line": entry.line, "at": due_s, "do": entry.do, **answer}
            print(json.dumps(said), file=sys.stderr, flush=True)
            await asyncio.sleep(0)


def _entries(path: Path, root: Node | None) -> tuple[Entry, ...]:
    from yaml.nodes import SequenceNode

    if not isinstance(root, SequenceNode):
        line = 1 if root is None else root.start_mark.line + 1
        raise SimulatorError(f"{path}:{line}: found no list; allowed: entries like - {{ at: 60, do: cut 6 }}")
    if len(root.value) > MAX_ENTRIES:
        raise SimulatorError(f"{path}: found {len(root.value)} entries, allowed {MAX_ENTRIES}; use every:")
    return tuple(_entry(path, node) for node in root.value)


def _entry(path: Path, node: Node) -> Entry:
    from yaml.nodes import MappingNode, ScalarNode

    line = node.start_mark.line + 1
    if not isinstance(node, MappingNode):
        raise SimulatorError(f"{path}:{line}: found no entry; allowed: {{ at: SECONDS, do: COMMAND, every: SECONDS }}")
    found: dict[str, str] = {}
    for key, value in node.value:
        where, name = f"{path}:{key.start_mark.line + 1}", str(key.value)
        if name not in KEYS or name in found:
            twice = " twice" if name in found else ""
            raise SimulatorError(
                f"{where}: found the key {name[:SHOWN]!r}{twice}; allowed: {', '.join(KEYS)}, each once"
            )
        if not isinstance(value, ScalarNode):
            raise SimulatorError(f"{where}: {name}: found no single value; allowed: one, such as at: 60")
        found[name] = value.value
    for name in ("at", "do"):
        if not found.get(name, "").strip():
            raise SimulatorError(f"{path}:{line}: found no {name}; every entry has at and do")
    every_s = _seconds(f"{path}:{line}: every", found["every"], MIN_EVERY_S) if "every" in found else None
    return Entry(_seconds(f"{path}:{line}: at", found["at"], 0), found["do"].strip(), every_s, line)


def _seconds(where: str, text: str, least: float) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not least <= number <= MAX_S:
        raise SimulatorError(f"{where}: found {text[:SHOWN]!r}, allowed a number of seconds from {least:g} to {MAX_S}")
    return number
