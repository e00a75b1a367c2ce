"""What is asked of a server, and the signals that come out of it: several signals may share one variable.

Turns the library's values into ours. Asks nothing itself.
"""

from __future__ import annotations

import dataclasses
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from asyncua import ua
from asyncua.ua.status_codes import StatusCodes

from drivers.opcua.structures import UnknownStructureError
from drivers.opcua.values import UnusableValueError, scalar, severity, time_ns
from drivers.report import CLOCK_OFF_NS, ReportFilter
from drivers.scaling import Scaling
from gateway.core.model import DataValue, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from drivers.opcua.address import Address
    from drivers.opcua.settings import OpcUaSettings, OpcUaSignal, Part
    from drivers.opcua.structures import TypeBook
    from gateway.core.model import Scalar

#: No value can have changed before this (2015): a clock that says so was reset.
OLDEST_NS: Final = 1_420_070_400 * 10**9
#: Signals that a notice names one by one.
NAMES_SHOWN: Final = 5
#: Members of a structure that a reason lists.
MEMBERS_SHOWN: Final = 30
#: The node is not there (any more): it has to be found again, perhaps under another number.
NODE_GONE: Final = frozenset(
    {StatusCodes.BadNodeIdUnknown, StatusCodes.BadNodeIdInvalid, StatusCodes.BadMonitoredItemIdInvalid}
)
GONE_WORDS: Final = frozenset({"BadNodeIdUnknown", "BadNodeIdInvalid"})
#: The status is that of a value, and values before it were dropped from the queue (OPC 10000-4, 7.38).
_OVERFLOW: Final = 0x0480


class Tap:
    """One signal of a variable: which part of it, in what scale, and when it is worth reporting."""

    __slots__ = (
        "block_filter",
        "device_time",
        "element",
        "members",
        "name",
        "rule",
        "rule_filter",
        "scaling",
        "signal",
        "telemetry",
        "texts",
    )

    def __init__(self, name: str, part: Part, *, rule: bool, telemetry: bool, cyclic: bool) -> None:
        signal = part.signal
        self.name = name
        self.signal = signal
        self.element = part.element
        self.members = () if signal.field is None else tuple(signal.field.split("."))
        self.rule = rule
        self.telemetry = telemetry
        self.scaling = Scaling.parse(signal.scale, signal.offset)
        self.texts: dict[int, str] | None = None
        self.device_time = signal.timestamp == "device"
        self.rule_filter: ReportFilter | None = None
        self.block_filter: ReportFilter | None = None
        self.set_filters(signal, cyclic=cyclic)

    def set_filters(self, signal: OpcUaSignal, *, cyclic: bool) -> None:
        """Start to report anew; ``signal`` says from which step on."""
        always = ReportFilter.passes_all(signal)
        self.rule_filter = ReportFilter(signal) if self.rule and not always else None
        filtered = self.telemetry and (cyclic or signal.deadband is not None)
        self.block_filter = ReportFilter(dataclasses.replace(signal, report="change")) if filtered else None

    def set_range(self, span: float, *, cyclic: bool) -> None:
        """The range that percent are of. Raises UnusableValueError where it is none."""
        percent = self.signal.deadband_percent
        assert percent is not None, "only signals with percent ask"
        if not 0 < span < float("inf"):
            raise UnusableValueError(f"the server's EURange spans {span}; set deadband instead of deadband_percent")
        step = Fraction(Decimal(percent)) * Fraction(span) / 100
        text = str(Decimal(step.numerator) / Decimal(step.denominator))
        scale = Fraction(Decimal(self.signal.scale)) if self.signal.scale is not None else Fraction(1)
        if scale != 1:
            text = str(Decimal(text) * Decimal(abs(scale).numerator) / Decimal(scale.denominator))
        self.set_filters(dataclasses.replace(self.signal, deadband=text, deadband_percent=None), cyclic=cyclic)

    @property
    def plain(self) -> bool:
        """Whether the value goes out as it comes in."""
        signal = self.signal
        changed = self.scaling or self.element or self.members or self.rule_filter or self.block_filter
        return not changed and self.device_time and signal.enum == "number"

    def value(self, raw: Any, book: TypeBook, namespaces: Sequence[str]) -> Scalar:
        """The signal's value. Raises UnusableValueError with what was found."""
        for number in self.element:
            raw = _element(raw, number)
        for name in self.members:
            raw = _member(raw, name, book)
        if isinstance(raw, ua.ExtensionObject):
            names = ", ".join(list(book.decode(raw))[:MEMBERS_SHOWN])
            raise UnusableValueError(f"the value is a structure; set field to one of its members: {names}")
        found = scalar(raw, namespaces)
        if self.texts is not None and isinstance(found, int):
            return self.texts.get(found, str(found))
        if self.scaling is not None:
            if isinstance(found, bool) or not isinstance(found, int | float):
                raise UnusableValueError(f"the value is {found!r}, no number that can be scaled")
            return self.scaling.apply(found)
        return found


class Item:
    """One variable that is asked for; ``handle`` names it on the wire for the life of the connection."""

    __slots__ = (
        "accepted_s",
        "address",
        "bad_said",
        "cyclic",
        "handle",
        "last",
        "lost",
        "name",
        "node",
        "plain",
        "queue_size",
        "read_utc",
        "read_value",
        "refused_times",
        "retry_at_s",
        "rule",
        "sampling_ms",
        "scan_ns",
        "server_handle",
        "taps",
        "telemetry",
        "text",
        "whole",
    )

    def __init__(self, handle: int, address: Address, text: str, settings: OpcUaSettings, signal: OpcUaSignal) -> None:
        self.handle = handle
        self.address = address
        self.text = text
        self.cyclic = (signal.mode or settings.mode) == "read"
        sampling = settings.sampling if signal.sampling is None else signal.sampling
        # -1: as often as it publishes (OPC 10000-4, 7.21)
        self.sampling_ms = -1.0 if sampling is None else sampling / 1e6
        self.queue_size = signal.queue_size or settings.queue_size
        self.scan_ns = int(signal.scan or settings.scan)
        self.taps: list[Tap] = []
        self.name = ""
        self.rule = self.telemetry = self.plain = self.whole = False
        self.node: ua.NodeId | None = None
        self.server_handle = 0
        self.refused_times = 0
        self.bad_said = False  # since it was accepted last
        self.retry_at_s = 0.0  # loop time
        self.accepted_s = 0.0  # loop time
        self.lost = 0  # times that the server dropped values
        self.read_utc: datetime | None = None  # stamp of what was read out of turn and not reported yet
        self.read_value: Any = None
        self.last: Any = None  # value that came last, of a variable that feeds a rule

    def overtaken(self, data: ua.DataValue) -> bool:
        """Whether this report was on its way when its variable was read: it would set the value back."""
        read_utc, reported_utc = self.read_utc, data.SourceTimestamp
        if read_utc is None or reported_utc is None:
            return False
        raw = None if data.Value is None else data.Value.Value
        if reported_utc < read_utc or (reported_utc == read_utc and raw == self.read_value):
            return True
        self.read_utc = None
        return False

    def finish(self) -> None:
        """Settle what the signals together want; after this no signal is added."""
        first = self.taps[0]
        self.name = first.name
        self.rule = any(tap.rule for tap in self.taps)
        self.telemetry = any(tap.telemetry for tap in self.taps)
        self.plain = len(self.taps) == 1 and first.plain
        self.whole = not any(tap.element or tap.members for tap in self.taps)


def items_of(settings: OpcUaSettings, source: str, rules: frozenset[str], telemetry: frozenset[str]) -> list[Item]:
    """The variables to ask for; signals of the same variable with the same wishes share one."""
    found: dict[Any, Item] = {}
    by_part = settings.parts()
    published = {name for name in by_part if name in telemetry or name.rpartition(".")[0] in telemetry}
    for name, part in by_part.items():
        if name not in rules and name not in published:
            continue
        signal = part.signal
        address = settings.address(signal)
        apart = (signal.mode, signal.sampling, signal.scan, signal.queue_size, signal.enum, signal.deadband_percent)
        item = found.get((address, apart))
        if item is None:
            text = signal.node or str(signal.path)
            item = found[(address, apart)] = Item(len(found) + 1, address, text, settings, signal)
        full = f"{source}.{name}"
        item.taps.append(Tap(full, part, rule=name in rules, telemetry=name in published, cyclic=item.cyclic))
    for item in found.values():
        item.finish()
    return list(found.values())


class Translator:
    """Values of the library into ours, with the problems of the signals; one per connection."""

    def __init__(self, where: str, problems: dict[str, str], book: TypeBook, utc_offset_ns: Callable[[], int]) -> None:
        self._where = where
        self._utc_offset_ns = utc_offset_ns
        self.problems = problems
        self._book = book
        self.namespaces: list[str] = []
        self.gone: list[Item] = []
        self._clock_off = ""

    def convert(
        self,
        item: Item,
        data: ua.DataValue,
        received_ns: int,
        values: list[DataValue],
        names: list[str],
        samples: list[Scalar],
        *,
        refresh: bool = False,
    ) -> None:
        """One value of the server into samples of all its signals; ``refresh``: telemetry even if it is the same."""
        code = data.StatusCode
        number = 0 if code is None else code.value
        status = severity(number)
        reason = ""
        if number & _OVERFLOW == _OVERFLOW:
            item.lost += 1
        if status is Status.BAD:
            assert code is not None, "no code is good"
            reason = f"the server says {code.name}: {code.doc}"
            if number in NODE_GONE:
                self.gone.append(item)
        raw = None if data.Value is None else data.Value.Value
        stamp = self.stamp_ns(data)
        for tap in item.taps:
            value, judged = self._judge(item, tap, raw, status, reason)
            if tap.telemetry and ((tap.block_filter is None or tap.block_filter.wants(value, judged)) or refresh):
                names.append(tap.name)
                samples.append(value)
            if tap.rule and (tap.rule_filter is None or tap.rule_filter.wants(value, judged)):
                values.append(DataValue(tap.name, value, judged, stamp if tap.device_time else None, received_ns))

    def read_now(
        self, item: Item, data: ua.DataValue, names: frozenset[str], received_ns: int, values: list[DataValue]
    ) -> None:
        """What was read out of turn: it is so now, whenever it became so. A report that is on its way may be older.

        A subscribed variable without a device's stamp says nothing: nobody could tell which of the two is newer.
        """
        if not item.cyclic:
            if data.SourceTimestamp is None:
                return
            item.read_utc = data.SourceTimestamp
            item.read_value = item.last = None if data.Value is None else data.Value.Value
        found: list[DataValue] = []
        code = data.StatusCode
        status = severity(0 if code is None else code.value)
        reason = "" if status is not Status.BAD or code is None else f"the server says {code.name}: {code.doc}"
        server_ns = time_ns(data.ServerTimestamp)
        stamp = None if server_ns is None else server_ns - self._utc_offset_ns()
        for tap in item.taps:
            if tap.rule and tap.name in names:
                value, judged = self._judge(item, tap, None if data.Value is None else data.Value.Value, status, reason)
                found.append(DataValue(tap.name, value, judged, stamp if tap.device_time else None, received_ns))
                if tap.rule_filter is not None:
                    tap.rule_filter.wants(value, judged)
        values += found

    def stamp_ns(self, data: ua.DataValue) -> int | None:
        """The device's own stamp, else the server's, as steady time; None without one."""
        utc_ns = time_ns(data.SourceTimestamp) or time_ns(data.ServerTimestamp)
        return None if utc_ns is None else utc_ns - self._utc_offset_ns()

    def _judge(self, item: Item, tap: Tap, raw: Any, status: Status, reason: str) -> tuple[Scalar, Status]:
        """Value and quality of one signal; keeps the problem of a bad one."""
        value: Scalar = None
        if not reason:
            try:
                value = tap.value(raw, self._book, self.namespaces)
            except UnusableValueError as error:
                reason, status = str(error), Status.BAD
                if isinstance(error, UnknownStructureError):
                    self.gone.append(item)
        if reason:
            self.problems[tap.name] = f"{self._where}: node {item.text}: {reason}"
        else:
            self.problems.pop(tap.name, None)
        return value, status

    def look_at_clock(self, data: ua.DataValue, received_ns: int) -> None:
        """Compare the server's clock with ours. The time stamp of a value may well be old: it says when it changed."""
        server_ns, source_ns = time_ns(data.ServerTimestamp), time_ns(data.SourceTimestamp)
        utc_ns, off = received_ns + self._utc_offset_ns(), None
        if server_ns is not None and abs(server_ns - utc_ns) > CLOCK_OFF_NS:
            off = data.ServerTimestamp
        elif source_ns is not None and not OLDEST_NS < source_ns <= utc_ns + CLOCK_OFF_NS:
            off = data.SourceTimestamp
        shown = "" if off is None else off.strftime("%Y-%m-%dT%H:%M:%SZ")
        self._clock_off = f"the device's clock shows {shown}; times of arrival are used" if shown else ""

    def notices(self, items: Sequence[Item]) -> dict[str, str]:
        """A clock that is off, and values that the server dropped from its queues."""
        found = {"clock": self._clock_off} if self._clock_off else {}
        losers = [item for item in items if item.lost]
        if losers:
            shown = ", ".join(f"{item.name} {item.lost} times" for item in losers[:NAMES_SHOWN])
            more = f" and {len(losers) - NAMES_SHOWN} more" if len(losers) > NAMES_SHOWN else ""
            found["queue"] = (
                f"values were lost in the server's queue: {shown}{more}; raise queue_size "
                f"(now {losers[0].queue_size}) or publish more often"
            )
        return found


def _element(raw: Any, number: int) -> Any:
    if not isinstance(raw, list | tuple | bytes):
        raise UnusableValueError(f"the value is a {type(raw).__name__}, not an array; leave index out")
    if number >= len(raw):
        raise UnusableValueError(f"the array has {len(raw)} elements, index {number} is not among them")
    return raw[number]


def _member(raw: Any, name: str, book: TypeBook) -> Any:
    if isinstance(raw, ua.ExtensionObject):
        raw = book.decode(raw)
    if isinstance(raw, list) and name.isdecimal():
        return _element(raw, int(name))
    if dataclasses.is_dataclass(raw) and not isinstance(raw, type):
        raw = {one.name: getattr(raw, one.name) for one in dataclasses.fields(raw)}
    if not isinstance(raw, dict):
        raise UnusableValueError(f"the value is a {type(raw).__name__}, not a structure; leave field out")
    if name not in raw:
        known = ", ".join(list(raw)[:MEMBERS_SHOWN])
        raise UnusableValueError(f"the structure has no member {name!r}; it has {known}")
    return raw[name]
