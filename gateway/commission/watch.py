"""What the signals of one source did since a person began to watch. Knows no terminal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.commission.view import QUALITY, length_text, table, value_text
from gateway.core.document import utc
from gateway.core.duration import NS_PER_UNIT
from gateway.core.model import Scalar, Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from gateway.commission.target import Target
    from gateway.core.model import DataValue

HEADER: Final = ("SIGNAL", "VALUE", "QUALITY", "AGE", "CHANGES", "SLOWEST", "FASTEST")
RATE_UNITS: Final = ("s", "min", "h")


@dataclass(slots=True)
class _Seen:
    value: Scalar = None
    status: Status | None = None
    received_ns: int = 0
    stamp_ns: int = 0
    changes: int = 0
    changed_ns: int | None = None
    slowest: tuple[int, int] | None = None
    fastest: tuple[int, int] | None = None


class Watch:
    """Every wanted signal's present value and history in numbers."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._seen = {f"{target.source}.{name}": _Seen() for name in target.wanted}

    def take(self, values: Iterable[DataValue]) -> Iterator[dict[str, Any]]:
        """Keep values; yields a document for each that is new in value or quality."""
        for value in values:
            seen = self._seen.get(value.signal)
            if seen is None:
                continue
            stamp_ns = value.received_time_ns if value.source_time_ns is None else value.source_time_ns
            first = seen.status is None
            moved = (value.value, value.status) != (seen.value, seen.status)
            if moved and not first:
                self._change(seen, value, stamp_ns)
            seen.value, seen.status, seen.received_ns = value.value, value.status, value.received_time_ns
            seen.stamp_ns = stamp_ns
            if moved or first:
                yield {
                    "signal": self._target.short(value.signal),
                    "value": value.value,
                    "quality": QUALITY[value.status],
                    "time": utc(value.received_time_ns),
                    "source_time": utc(value.source_time_ns),
                    "changes": seen.changes,
                }

    def lost(self) -> None:
        """The link is lost: what was read is no longer known to be so."""
        for seen in self._seen.values():
            if seen.status is not None:
                seen.status, seen.changed_ns = Status.BAD, None

    def lines(self, now_ns: int, problems: Mapping[str, str]) -> list[str]:
        """The table of the moment, and what cannot be read."""
        rows = [
            (
                self._target.short(name),
                value_text(seen.value),
                "-" if seen.status is None else QUALITY[seen.status],
                length_text(max(0, now_ns - seen.received_ns) if seen.received_ns else None),
                str(seen.changes),
                _rate(seen.slowest),
                _rate(seen.fastest),
            )
            for name, seen in self._seen.items()
        ]
        return table(HEADER, rows) + [f"  {self._target.short(name)}: {why}" for name, why in problems.items()]

    def summary(self) -> dict[str, Any]:
        """For programs: the last state of everything."""
        return {
            self._target.short(name): {
                "value": seen.value,
                "quality": None if seen.status is None else QUALITY[seen.status],
                "changes": seen.changes,
                "slowest": None if seen.slowest is None else _rate(seen.slowest),
                "fastest": None if seen.fastest is None else _rate(seen.fastest),
            }
            for name, seen in self._seen.items()
        }

    @property
    def any_value(self) -> bool:
        """Whether anything good or uncertain came at all."""
        return any(seen.changes or seen.status in (Status.GOOD, Status.UNCERTAIN) for seen in self._seen.values())

    @staticmethod
    def _change(seen: _Seen, value: DataValue, stamp_ns: int) -> None:
        seen.changes += 1
        since_ns = None if seen.changed_ns is None else stamp_ns - seen.changed_ns
        step = 1
        if _is_count(value.value) and _is_count(seen.value):
            step = abs(int(value.value or 0) - int(seen.value or 0))
        seen.changed_ns = stamp_ns
        # The time before the first change is not known, nor is a pace from one stamp.
        if since_ns is None or since_ns <= 0 or not step:
            return
        pace = (step, since_ns)
        if seen.slowest is None or step * seen.slowest[1] < seen.slowest[0] * since_ns:
            seen.slowest = pace
        if seen.fastest is None or step * seen.fastest[1] > seen.fastest[0] * since_ns:
            seen.fastest = pace


def _is_count(value: Scalar) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _rate(pace: tuple[int, int] | None) -> str:
    if pace is None:
        return "-"
    counts, per_ns = pace
    for unit in RATE_UNITS:
        number = counts * NS_PER_UNIT[unit] / per_ns
        if number >= 2 or unit == RATE_UNITS[-1]:  # noqa: PLR2004 - below 2 the next unit is easier to read
            break
    return f"{number:.3g} /{unit}" if number < 1e6 else f"{number:.2e} /{unit}"  # noqa: PLR2004 - seven digits are no rate any more
