"""Which samples of a signal are worth reporting: change of value beyond a deadband, change of quality. Pure."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Final

from gateway.core.duration import NS_PER_S, NS_PER_UNIT

if TYPE_CHECKING:
    from drivers.signal import SignalCommon
    from gateway.core.model import Scalar, Status

#: Telemetry that does not change is published again this often.
TELEMETRY_REFRESH_NS: Final = 10 * NS_PER_S
#: A device's clock that is further off than this is named to a person.
CLOCK_OFF_NS: Final = NS_PER_UNIT["d"]

_NOTHING_YET = object()


class ReportFilter:
    """Remembers what was last reported of one signal; one object per signal and connection."""

    __slots__ = ("_always", "_deadband", "_status", "_value")

    def __init__(self, settings: SignalCommon) -> None:
        self._always = settings.report == "always"
        self._deadband = Fraction(settings.deadband) if settings.deadband is not None else None
        self._value: object = _NOTHING_YET
        self._status: Status | None = None

    @staticmethod
    def passes_all(settings: SignalCommon) -> bool:
        """True where no filter is needed for these settings."""
        return settings.report == "always"

    def wants(self, value: Scalar, status: Status) -> bool:
        """Whether this sample is to be reported; if so it is remembered as the last one."""
        if not self._always and status is self._status and not self._moved(value):
            return False
        self._value, self._status = value, status
        return True

    def _moved(self, value: Scalar) -> bool:
        last = self._value
        if type(value) is not type(last) and not (_is_number(value) and _is_number(last)):
            return True
        if self._deadband is None or not _is_number(value):
            return value != last
        assert isinstance(value, int | float)
        assert isinstance(last, int | float)
        # Exact, because integers beyond 2**53 must not lose their difference in a float.
        return abs(Fraction(value) - Fraction(last)) >= self._deadband and value != last


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
