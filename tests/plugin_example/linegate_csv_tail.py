"""Driver ``csv_tail``: a machine that appends a line to a CSV file, again and again; the last line is what is.

A whole distribution in one module: settings, driver, entry point. It never writes, and keeps no file open.
"""

from __future__ import annotations

import asyncio
import csv
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, NamedTuple

from drivers.base import DriverError, DriverType, Reading, TelemetryBlock, WriteRefusedError
from drivers.report import ReportFilter
from drivers.scaling import Scaling
from drivers.signal import SignalCommon
from gateway.core.duration import Duration, seconds
from gateway.core.model import DataValue, Status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from drivers.base import DriverContext

FORBID_UNKNOWN_KEYS: Final[dict[str, Any]] = {"extra": "forbid"}
SCAN_MIN: Final = Duration("50 ms")
#: The head and the tail of the file that are read; a line is shorter.
LINE_BYTES_MAX: Final = 4096
SHOWN_MAX_CHARS: Final = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvSignal(SignalCommon):
    """One column of the file.

    Attributes:
        column: its name in the first line.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    column: str

    def __post_init__(self) -> None:
        """What all signals have in common, and what a log cannot do."""
        self.check_common()
        if self.writable is not None:
            raise ValueError("writable: found limits, allowed nothing: a log cannot be written")


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvTailSettings:
    """A CSV file that a machine appends to.

    Attributes:
        driver: ``csv_tail``.
        file: path of the file, relative to the configuration; its first line names the columns.
        scan: time between two looks at it.
        signals: name of the signal to its column.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    driver: Literal["csv_tail"]
    file: str
    scan: Duration = Duration("1 s")
    signals: dict[str, CsvSignal] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Something to read, and not all the time."""
        if not self.signals:
            raise ValueError("signals: found none, allowed one and more")
        if self.scan < SCAN_MIN:
            raise ValueError(f"scan: found {self.scan}, allowed {SCAN_MIN} and above")


class _Item(NamedTuple):
    """A signal, prepared: its full name, what it is for, and how a number becomes its value."""

    full_name: str
    column: str
    scaling: Scaling | None
    wanted: ReportFilter
    rule: bool
    telemetry: bool


class CsvTailDriver:
    """The file's side of one source (see ``drivers.base`` for who calls what)."""

    def __init__(self, settings: CsvTailSettings, context: DriverContext) -> None:
        self._file = context.base_dir / settings.file
        self._scan_s = seconds(settings.scan)
        self._now_ns = context.now_ns
        self._items = [
            _Item(
                f"{context.source}.{name}",
                signal.column,
                Scaling.parse(signal.scale, signal.offset),
                ReportFilter(signal),
                name in context.rule_signals,
                name in context.telemetry_signals,
            )
            for name, signal in settings.signals.items()
        ]
        self._block_names = tuple(item.full_name for item in self._items if item.telemetry)
        self._problems: dict[str, str] = {}

    async def open(self) -> None:
        """See whether the file is there. Raises DriverError."""
        await asyncio.to_thread(self._last_line)

    async def readings(self) -> AsyncIterator[Reading]:
        """One reading per scan; a file that is gone raises DriverError."""
        while True:
            found = await asyncio.to_thread(self._last_line)
            yield self._reading(found)
            await asyncio.sleep(self._scan_s)

    async def close(self) -> None:
        """Nothing is kept open."""

    async def write(self, signal: str, value: object) -> None:
        """Raises WriteRefusedError."""
        raise WriteRefusedError(f"{signal}: a log cannot be written (to {value!r})")

    def problems(self) -> Mapping[str, str]:
        """Columns that are missing or hold no number."""
        return dict(self._problems)

    def notices(self) -> Mapping[str, str]:
        """Nothing."""
        return {}

    def _last_line(self) -> dict[str, str]:
        try:
            with self._file.open("rb") as file:
                head = file.readline(LINE_BYTES_MAX)
                file.seek(max(0, file.seek(0, 2) - LINE_BYTES_MAX))
                tail = file.read(LINE_BYTES_MAX)
        except OSError as error:
            raise DriverError(f"{self._file}: cannot be read ({error.strerror}); is the share mounted?") from error
        # What stands behind the last line end is still being written.
        lines = tail[: tail.rfind(b"\n") + 1].decode("utf-8", "replace").splitlines()
        names, cells = next(csv.reader([head.decode("utf-8", "replace")]), []), next(csv.reader(lines[-1:]), [])
        return dict(zip(names, cells, strict=False)) if names != cells else {}

    def _reading(self, found: Mapping[str, str]) -> Reading:
        now_ns = self._now_ns()
        values, numbers = [], []
        for item in self._items:
            value = self._value(item, found)
            status = Status.BAD if value is None else Status.GOOD
            if item.telemetry:
                numbers.append(value)
            refused_again = status is Status.BAD and item.full_name in self._problems
            if status is Status.BAD:
                cell = found.get(item.column)
                what = "no such column" if cell is None else f"found {cell[:SHOWN_MAX_CHARS]!r}"
                self._problems[item.full_name] = f"{self._file.name}, column {item.column!r}: {what}, allowed: a number"
            else:
                self._problems.pop(item.full_name, None)
            if item.rule and not refused_again and item.wanted.wants(value, status):
                values.append(DataValue(item.full_name, value, status, None, now_ns))
        blocks = (TelemetryBlock(self._block_names, numbers, now_ns),) if numbers else ()
        return Reading(tuple(values), blocks)

    @staticmethod
    def _value(item: _Item, found: Mapping[str, str]) -> int | float | None:
        text = found.get(item.column, "").strip()
        try:
            number: int | float = int(text) if text.lstrip("+-").isdecimal() else float(text)
        except ValueError:
            return None
        return number if item.scaling is None else item.scaling.apply(number)


def _build(settings: CsvTailSettings, context: DriverContext) -> CsvTailDriver:
    return CsvTailDriver(settings, context)


def _describe(settings: CsvTailSettings) -> list[str]:
    return [f"{name}: column {signal.column!r} of {settings.file}" for name, signal in settings.signals.items()]


def _cycle_ns(settings: CsvTailSettings) -> int:
    return settings.scan


DRIVER: Final = DriverType(
    name="csv_tail",
    settings=CsvTailSettings,
    build=_build,
    describe=_describe,
    cycle_ns=_cycle_ns,
    templates=Path(__file__).with_name("linegate_csv_tail_templates"),
)
