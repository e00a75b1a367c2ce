"""Where a runner stands still, so that its rules can be exchanged. Exchanges nothing itself."""

from __future__ import annotations

import asyncio


class Hold:
    """A runner stands still between two inputs, from ``reached`` until ``release()``: its rules may be exchanged."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.released = asyncio.Event()
        self.exchanged = False
        self.anew = False

    def release(self) -> None:
        """Let it go on; may be called more than once."""
        self.released.set()
