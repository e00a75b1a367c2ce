"""The demo's processes: started, spoken to line by line, and ended, whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

READY_TIMEOUT_S: Final = 120.0
ANSWER_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 30.0
LINE_BYTES_MAX: Final = 4 * 1024 * 1024


class ProcessError(Exception):
    """A process of the demo did not start or did not answer; names its log."""


class Process:
    """One child process. ``log`` gets its error output (the daemon's: all of its output).

    ``environment``: variables besides our own.
    """

    def __init__(
        self, name: str, arguments: list[str], log: Path, environment: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self.name = name
        self.ready: dict[str, Any] = {}
        self._arguments = arguments
        self._log = log
        self._environment = environment
        self._process: asyncio.subprocess.Process | None = None
        self._speaking = asyncio.Lock()

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        running = self._process is not None and self._process.returncode is None
        return self._process.pid if running and self._process is not None else None

    @property
    def returncode(self) -> int | None:
        """Exit code, None while it runs or before it started."""
        return None if self._process is None else self._process.returncode

    async def start(self, *, speaks: bool) -> None:
        """Start it; one that speaks says it is ready with its first line. Raises ProcessError."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                "-m",
                *self._arguments,
                stdin=asyncio.subprocess.PIPE if speaks else asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE if speaks else log,
                stderr=log,
                limit=LINE_BYTES_MAX,
                env={**os.environ, **self._environment},
                start_new_session=True,  # Ctrl-C is ours to handle, in order
            )
        if speaks:
            self.ready = await self._answer(READY_TIMEOUT_S)

    async def command(self, line: str) -> dict[str, Any]:
        """Send one line, get one answer. Raises ProcessError."""
        assert self._process is not None
        assert self._process.stdin is not None
        async with self._speaking:
            try:
                self._process.stdin.write(line.encode() + b"\n")
                await self._process.stdin.drain()
            except OSError as error:
                raise ProcessError(f"{self.name}: it is gone ({error}); see {self._log}") from error
            answer = await self._answer(ANSWER_TIMEOUT_S)
        if not answer.get("ok"):
            raise ProcessError(f"{self.name}: {line}: {answer.get('error')}")
        return answer

    def kill(self) -> None:
        """SIGKILL, now."""
        if self.pid is not None and self._process is not None:
            self._process.kill()

    async def wait(self) -> int:
        """Until it has ended; its exit code."""
        assert self._process is not None
        return await self._process.wait()

    async def stop(self) -> None:
        """SIGTERM, then SIGKILL if it does not listen."""
        if self._process is None or self._process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await self._process.wait()
        except TimeoutError:
            self.kill()
            await self._process.wait()

    async def _answer(self, timeout_s: float) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(timeout_s):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise ProcessError(f"{self.name}: no answer for {timeout_s:g} s; see {self._log}") from None
        if not line:
            code = await self._process.wait()
            raise ProcessError(f"{self.name}: ended with code {code}: {_last_line(self._log)}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"nothing in {log}"
