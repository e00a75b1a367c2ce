"""Says on standard error what takes time: one line that changes on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

#: A terminal is repainted this often at most, a file or pipe gets a line this often at most.
TERMINAL_EVERY_S: Final = 0.1
PLAIN_EVERY_S: Final = 2.0
#: A line that wraps cannot be painted over.
LINE_MAX: Final = 78


class Progress:
    """One piece of work and how far it is. The first text appears at once."""

    def __init__(self, stream: TextIO, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._monotonic = monotonic
        self._terminal = stream.isatty()
        self._next_s = 0.0
        self._painted = False

    def say(self, text: str) -> None:
        """Show the text, unless the last one is too recent."""
        now_s = self._monotonic()
        if now_s < self._next_s:
            return
        if self._terminal:
            self._next_s = now_s + TERMINAL_EVERY_S
            self._stream.write(f"\r\x1b[K{clean(text, LINE_MAX)}")
            self._painted = True
        else:
            self._next_s = now_s + PLAIN_EVERY_S
            self._stream.write(f"{clean(text)}\n")
        self._stream.flush()

    def end(self) -> None:
        """Leave nothing of it on a terminal."""
        if self._painted:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._painted = False
