"""Looks after the database while the gateway runs: what is wrong with it, its reserve, its free space, its soundness.

It repairs nothing: the buffer does. Damage ends the run, so that the next start sets the file aside.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from buffer.errors import StoreError

if TYPE_CHECKING:
    from buffer.store import Store
    from gateway.parts import Parts
    from gateway.tasks import Tasks

LOOK_EVERY_S: Final = 1.0
TROUBLE: Final = "database"

log = structlog.get_logger(__name__)


class StoreRound:
    """One store."""

    def __init__(self, store: Store, parts: Parts) -> None:
        self._store = store
        self._parts = parts
        self._told = ""

    def start(self, tasks: Tasks) -> None:
        """Look after it from here on, and through it once if it is large."""
        tasks.start("outer database", self.run())
        tasks.start("outer check", self.check())

    async def run(self) -> None:
        """For ever. Raises StoreError where the file is damaged, or a repeat cannot help."""
        while True:
            if self._store.damaged is not None:
                raise self._store.damaged
            problem = self._store.problem
            try:
                await self._store.upkeep()
            except StoreError as error:
                if not error.temporary:
                    raise
                problem = problem or str(error)
            self._tell(problem)
            await asyncio.sleep(LOOK_EVERY_S)

    async def check(self) -> None:
        """Once, behind the start, and only of a large file. What it finds ``run`` hears of."""
        await self._store.check()

    def _tell(self, problem: str) -> None:
        self._parts.trouble(TROUBLE, problem)
        if problem and not self._told:
            log.warning("database in trouble", text=problem)
        elif self._told and not problem:
            log.info("database works again")
        self._told = problem
