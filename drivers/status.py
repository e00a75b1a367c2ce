"""What a person may know of a source, and how a driver's own words become part of it. Keeps no state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Final, Literal

from drivers.base import DriverError, WriteRefusedError
from gateway.core.model import Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from drivers.base import Driver, Reading

#: Entries of ``problems`` and ``notices`` that are shown; a source may have thousands of signals.
ENTRIES_SHOWN_MAX: Final = 200
TEXT_CHARS_MAX: Final = 500
#: Key of what the supervisor itself has to say among a driver's notices.
OF_THE_DRIVER: Final = "driver"
MORE: Final = "..."


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceStatus:
    """What a person may know of a source.

    Attributes:
        name: name of the source.
        state: ``connecting``: the first attempt is under way; ``up``: readings come; ``down``: lost, or never
            reached.
        since_ns: when this state began.
        last_value_ns: when the last good value arrived, None before the first; a bad one does not count.
        last_error: why it was lost last, with what to do; empty if it never was.
        next_retry_ns: when the next attempt starts; None while one is under way.
        reconnects: how often it came up again.
        failures: attempts in a row that did not lead to a healthy link.
        problems: signals (``source.name``) that cannot be read now, each with its reason.
        notices: what a person should know though everything is read: a short key, and a sentence.
        simulated: the values come from a simulation, not from a machine.
    """

    name: str
    state: Literal["connecting", "up", "down"]
    since_ns: int
    last_value_ns: int | None = None
    last_error: str = ""
    next_retry_ns: int | None = None
    reconnects: int = 0
    failures: int = 0
    problems: Mapping[str, str] = field(default_factory=dict)
    notices: Mapping[str, str] = field(default_factory=dict)
    simulated: bool = False


def looked_at(driver: Driver) -> tuple[dict[str, str], dict[str, str]]:
    """The driver's problems and notices, bounded. A defect in telling them is a notice, and never raises."""
    defects: dict[str, str] = {}
    problems = _asked(driver.problems, "problems", defects) if hasattr(driver, "problems") else {}
    notices = _asked(driver.notices, "notices", defects) if hasattr(driver, "notices") else {}
    return problems, {**notices, **defects}


def good_value_ns(reading: Reading) -> int | None:
    """When the reading's last good value arrived; None where it has none."""
    for value in reversed(reading.values):
        if value.status is Status.GOOD:
            return value.received_time_ns
    for block in reversed(reading.blocks):
        if any(value is not None for value in block.values):
            return block.time_ns
    return None


def carries_values(reading: Reading) -> bool:
    """Whether the device told anything; a sign of life, or nothing but bad values, is not."""
    return any(value.status is not Status.BAD for value in reading.values) or any(
        value is not None for block in reading.blocks for value in block.values
    )


def described(error: BaseException | None) -> str:
    """A driver's own words; anything else with its type, because nobody wrote it for a reader."""
    if isinstance(error, DriverError | WriteRefusedError):
        return str(error)
    return f"{type(error).__name__}: {error}"


def _asked(tell: Callable[[], Mapping[str, str]], what: str, defects: dict[str, str]) -> dict[str, str]:
    try:
        told = tell()
        shown = {str(key): str(text)[:TEXT_CHARS_MAX] for key, text in islice(told.items(), ENTRIES_SHOWN_MAX)}
        left = len(told) - len(shown)
    except Exception as error:  # noqa: BLE001 - foreign code is asked: its defect is shown, and the readings go on
        defects[OF_THE_DRIVER] = f"{what}() of the driver failed ({described(error)}); report it to its author"
        return {}
    return {**shown, MORE: f"and {left} more"} if left > 0 else shown
