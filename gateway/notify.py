"""The service manager's side channel: ready, status, watchdog (sd_notify). It starts, stops and restarts nothing.

The watchdog is fed from real progress: every part says when it got one step further, and as soon as one part has not
for longer than its limit, feeding stops and the service manager restarts the gateway. An idle timer would prove only
that a timer runs.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.core.duration import NS_PER_S, Duration

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PARTS_MAX: Final = 1000
STATUS_CHARS_MAX: Final = 200
SEND_TIMEOUT_S: Final = 0.5
FEEDS_PER_WATCHDOG_INTERVAL: Final = 3
NS_PER_US: Final = 1000


class Notifier:
    """Messages to the service manager; without one (no NOTIFY_SOCKET) every call does nothing and returns False.

    Every call returns True once the manager's socket took the message. False is no reason to stop working: the next
    message makes up for it. Raises ValueError where NOTIFY_SOCKET is neither a path nor an abstract name.
    """

    __slots__ = ("_address", "watchdog_interval_ns")

    def __init__(self, env: Mapping[str, str]) -> None:
        self._address = _socket_address(env.get("NOTIFY_SOCKET", ""))
        #: The manager restarts the gateway after this long without ``watchdog()``, ns; None: it does not watch.
        self.watchdog_interval_ns = _watchdog_interval_ns(env)

    def ready(self, status: str = "") -> bool:
        """Start-up is complete."""
        return self._send(f"READY=1\nSTATUS={_one_line(status)}" if status else "READY=1")

    def status(self, text: str) -> bool:
        """One line for ``systemctl status``; longer text is cut."""
        return self._send(f"STATUS={_one_line(text)}")

    def watchdog(self) -> bool:
        """There was progress."""
        return self._send("WATCHDOG=1")

    def stopping(self) -> bool:
        """The orderly stop has begun."""
        return self._send("STOPPING=1")

    def _send(self, message: str) -> bool:
        if self._address is None:
            return False
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as link:
                link.settimeout(SEND_TIMEOUT_S)
                link.sendto(message.encode(), self._address)
        except OSError:
            return False
        return True


class Stalled(NamedTuple):
    """A part without progress for longer than its limit."""

    part: str
    silent_ns: int
    limit_ns: int

    def __str__(self) -> str:
        # Whole seconds: this is read by a person.
        return f"{self.part}: no progress for {self.silent_ns // NS_PER_S} s (limit {Duration(self.limit_ns)})"


class Part:
    """One part that must get on; ``beat()`` after every real step, ``done()`` when it has ended in order."""

    __slots__ = ("_forget", "_now_ns", "last_ns", "limit_ns", "name")

    def __init__(self, name: str, limit_ns: int, now_ns: Callable[[], int], forget: Callable[[str], None]) -> None:
        self.name = name
        self.limit_ns = limit_ns
        self.last_ns = now_ns()
        self._now_ns = now_ns
        self._forget = forget

    def beat(self) -> None:
        """It got one step further."""
        self.last_ns = self._now_ns()

    def done(self) -> None:
        """It has ended in order and is watched no longer."""
        self._forget(self.name)


class Progress:
    """Who must get on, and who does not. ``now_ns`` must not jump: the monotonic clock or the gateway's steady one."""

    __slots__ = ("_now_ns", "_parts")

    def __init__(self, now_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._now_ns = now_ns
        self._parts: dict[str, Part] = {}

    def part(self, name: str, limit_ns: int) -> Part:
        """Watch a part that makes a step at least every ``limit_ns``.

        Raises ValueError on a doubled name, a limit that is not positive, or more than 1000 parts.
        """
        if limit_ns <= 0:
            raise ValueError(f"part {name}: found a limit of {limit_ns} ns, allowed 1 and above")
        if name in self._parts:
            raise ValueError(f"part {name} is watched already")
        if len(self._parts) >= PARTS_MAX:
            raise ValueError(f"part {name}: {PARTS_MAX} parts are watched already, which is the limit")
        part = self._parts[name] = Part(name, limit_ns, self._now_ns, self._forget)
        return part

    def stalled(self, now_ns: int | None = None) -> tuple[Stalled, ...]:
        """Parts without progress for longer than their limit, at a time (default: now)."""
        now = self._now_ns() if now_ns is None else now_ns
        return tuple(
            Stalled(part.name, now - part.last_ns, part.limit_ns)
            for part in self._parts.values()
            if now - part.last_ns > part.limit_ns
        )

    def _forget(self, name: str) -> None:
        self._parts.pop(name, None)


async def feed_watchdog(notifier: Notifier, progress: Progress) -> None:
    """Feed the service manager's watchdog for as long as every part gets on; returns at once where nobody watches.

    A stalled part is named in the service's status, and feeding stops until it moves again.
    """
    interval_ns = notifier.watchdog_interval_ns
    if interval_ns is None:
        return
    complained = False
    while True:
        stalled = progress.stalled()
        if stalled:
            notifier.status("; ".join(map(str, stalled)))
        else:
            notifier.watchdog()
            if complained:
                notifier.status("all parts get on again")
        complained = bool(stalled)
        await asyncio.sleep(interval_ns / FEEDS_PER_WATCHDOG_INTERVAL / NS_PER_S)


def _socket_address(text: str) -> str | None:
    if not text:
        return None
    if text.startswith("@"):
        return "\0" + text[1:]
    if text.startswith("/"):
        return text
    raise ValueError(f"NOTIFY_SOCKET: found {text!r}, allowed an absolute path or @ and an abstract name")


def _watchdog_interval_ns(env: Mapping[str, str]) -> int | None:
    microseconds = env.get("WATCHDOG_USEC", "")
    if not microseconds.isdigit() or int(microseconds) == 0:
        return None
    # A child of the service inherits the variables; they are meant for the process that WATCHDOG_PID names.
    if env.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(microseconds) * NS_PER_US


def _one_line(text: str) -> str:
    return " ".join(text.split())[:STATUS_CHARS_MAX]
