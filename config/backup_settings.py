"""The settings of copies of the database that are made by the clock. Made by ``gateway/rounds/backup_round.py``."""

# Annotations are evaluated at once (no postponed ones): pydantic reads them.

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field

from config.limits import Between
from gateway.core.duration import Duration
from gateway.core.rules import FORBID_UNKNOWN_KEYS


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupSettings:
    """Copies of the database that the gateway makes by itself.

    Attributes:
        folder: where they are put; it must exist, best on another disk; relative to the configuration.
        every: how long after one copy the next one is made.
        keep: so many copies stay; older ones of this gateway are deleted.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    folder: Annotated[str, Field(min_length=1)]
    every: Annotated[Duration, Between(Duration("1 min"), Duration("365 d"))] = Duration("1 d")
    keep: Annotated[int, Field(ge=1, le=1000)] = 7
