"""What a driver is, and what the supervisor promises it.

Who calls what, and when:

* A driver object is made from its settings and a context. Making it does no I/O.
* ``open()`` is called once per object. It connects, or raises ``DriverError``. After a failure the object is closed and
  thrown away: the next attempt uses a fresh one.
* ``readings()`` is iterated once, after ``open()``. It yields until the link is lost and then raises ``DriverError``;
  it never retries and never sleeps to back off: that is the supervisor's job. It yields an *empty* reading as a sign
  of life when there is nothing new (an OPC UA keep-alive, an idle input); silence longer than the source's
  ``stale_after`` counts as a lost link.
* ``close()`` is always called once, also after a failed ``open()``, and must not raise.
* ``write()`` is called between ``open()`` and ``close()``, also while ``readings()`` waits, and only for signals that
  the configuration whitelists, with a value within their limits: checked before the driver sees it.
* No method is called concurrently with another, except ``problems()``, ``notices()``, ``read_now()`` and ``write()``;
  writes come one at a time.
* A driver may have ``read_now()`` (``drivers.asking``): it is called when an order is about to change, and must
  return at once. ``readings()`` then yields the answer as soon as it can. Without it the pieces between two readings
  are shared by time.

One bad node or register is not a lost link: it is delivered as BAD, listed in ``problems()`` with its reason, and
retried by the driver with its own back-off.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.core.model import DataValue, Scalar


class DriverError(Exception):
    """The link to the device is lost or could not be made; the message names the device and says what to do."""


class WriteRefusedError(Exception):
    """Surely not written: the device refuses, the driver cannot express the value, or nothing was sent. Says why."""


class WriteUnverifiedError(DriverError):
    """The device confirmed the write, but the signal reads otherwise or cannot be read back; the link may be fine."""


class TelemetryBlock(NamedTuple):
    """Many values sampled together, for MQTT only: they never pass through the core one by one.

    ``names`` is one tuple prepared at start and shared by every block of the same request. ``values`` has the same
    length; None where the value is bad.
    """

    names: tuple[str, ...]
    values: Sequence[Scalar]
    time_ns: int


class Reading(NamedTuple):
    """What one scan or one notification brought: values that feed a rule, and telemetry. Empty: a sign of life."""

    values: tuple[DataValue, ...] = ()
    blocks: tuple[TelemetryBlock, ...] = ()


def _none() -> int:
    return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverContext:
    """What a driver gets besides its settings.

    Attributes:
        source: name of the source; signals are called ``{source}.{name}``.
        now_ns: the gateway's steady clock, integer nanoseconds: every time in a reading is of this clock.
        utc_offset_ns: UTC minus steady time, as it is known now, nanoseconds: to be taken off a device's stamp in UTC,
            and added to a time that a person reads.
        rule_signals: names (without the source) that feed a rule: delivered as ``DataValue``.
        telemetry_signals: names (without the source) published as blocks. A name may be in both.
        state_dir: where a driver may keep files (certificates, local sockets).
        base_dir: where relative paths in the settings start: the folder of the configuration.
        secrets: the texts of the settings' secrets, by their dotted path (``user.password``).
    """

    source: str
    now_ns: Callable[[], int]
    rule_signals: frozenset[str]
    telemetry_signals: frozenset[str]
    state_dir: Path
    base_dir: Path = Path()
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    utc_offset_ns: Callable[[], int] = _none

    def utc_ns(self) -> int:
        """What UTC is now, as far as the gateway knows."""
        return self.now_ns() + self.utc_offset_ns()


class Driver(Protocol):
    """The protocol side of one source; see the module's text for who calls what and when."""

    async def open(self) -> None:
        """Connect. Raises DriverError."""

    def readings(self) -> AsyncIterator[Reading]:
        """Yield what arrives, until the link is lost; then raise DriverError."""

    async def close(self) -> None:
        """Release everything; never raises."""

    async def write(self, signal: str, value: Scalar) -> None:
        """Write one signal (its name without the source), and return once the device confirmed it.

        Raises WriteRefusedError where surely nothing was written (the device refuses, nothing was sent),
        WriteUnverifiedError where the device confirmed it and it reads otherwise, DriverError where the link is lost or
        no answer came: then it is not known whether it was written.
        """

    def problems(self) -> Mapping[str, str]:
        """Signals (full names) that cannot be read now, each with its reason."""

    def notices(self) -> Mapping[str, str]:
        """What a person should know though everything is read: a short key, and a sentence with its numbers.

        Such as scans left out, edges lost in the kernel, a device clock that is wrong, a certificate that expires.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverType:
    """A driver as an entry point of the group ``linegate.drivers`` names it.

    Importing the module that holds it must be cheap: heavy protocol libraries are imported by ``build``.

    Attributes:
        name: the word in the configuration's ``driver:``.
        settings: a frozen dataclass; its ``driver`` field is ``Literal[name]``, its ``signals`` a mapping of name to a
            settings object that may have ``telemetry: bool``.
        build: makes the driver object; no I/O.
        describe: one line per signal for ``linegate check`` (a Modbus signal shows its PDU address).
        cycle_ns: the longest regular silence between two readings (a scan, a publishing interval), nanoseconds.
        looked_at_ns: how often the value of a signal, named without the source, is looked at, nanoseconds; 0: every
            change is seen.
        told_every_ns: how often the value of a signal is told although it stays the same, nanoseconds; 0: it is told
            only when it changes; None: the driver does not say.
        value_type: what the values of a signal are: ``bit``, ``string``, ``uint16``, ``int32``, ``float32`` and so on;
            None: the settings do not say.
        simulated: True where these settings read a simulation instead of a machine; every status shows it.
        signals: names of all signals that rules may use, ranges and templates included, without the source.
        templates: folder with the device templates (``NAME.yaml``) that ``template: NAME`` may name; None: it has none.
    """

    name: str
    settings: type[Any]
    build: Callable[[Any, DriverContext], Driver]
    describe: Callable[[Any], Sequence[str]]
    cycle_ns: Callable[[Any], int] = lambda _settings: 0
    looked_at_ns: Callable[[Any, str], int] = lambda _settings, _signal: 0
    told_every_ns: Callable[[Any, str], int | None] = lambda _settings, _signal: None
    value_type: Callable[[Any, str], str | None] = lambda _settings, _signal: None
    simulated: Callable[[Any], bool] = lambda _settings: False
    signals: Callable[[Any], Sequence[str]] = lambda settings: tuple(settings.signals)
    templates: Path | None = None
