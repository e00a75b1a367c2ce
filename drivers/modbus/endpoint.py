"""How a Modbus device is reached: transport, address, serial line, TLS, time limits. Opens nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal

from gateway.core.duration import NS_PER_S, Duration

Transport = Literal["tcp", "rtu", "rtu_over_tcp", "udp", "tls"]

#: Frames on these carry no number of the request: a late answer looks like the answer to the next one.
UNNUMBERED: Final = ("rtu", "rtu_over_tcp")
PORT_DEFAULT: Final = 502
PORT_TLS_DEFAULT: Final = 802
PORT_MAX: Final = 65_535
UNIT_MAX: Final = 255
#: Units of a serial line; 0 is for everyone and never answered (Modbus over serial line 1.02, 2.2).
SERIAL_UNIT_MAX: Final = 247
BAUDRATE_MIN: Final = 300
BAUDRATE_MAX: Final = 4_000_000
TIMEOUT_MAX: Final = Duration("30 s")
PAUSE_MAX: Final = Duration("30 s")
RTS_DELAY_MAX: Final = Duration("100 ms")
#: The silence between two frames on a serial line: 3.5 characters, above 19,200 baud a fixed time (ibid. 2.5.1.1).
SILENCE_CHARACTERS: Final = 3.5
SILENCE_FAST_NS: Final = 1_750_000
FAST_BAUDRATE: Final = 19_200

FORBID_UNKNOWN_KEYS: Final[dict[str, Any]] = {"extra": "forbid"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rs485Settings:
    """Switching between sending and receiving by the kernel's serial driver (Linux TIOCSRS485).

    Leave it out for an adapter that switches by itself, as most USB adapters do.

    Attributes:
        rts_on_send: level of RTS while sending.
        rts_after_send: level of RTS otherwise.
        delay_before_send: from RTS to the first bit; the kernel takes whole milliseconds.
        delay_after_send: from the last bit until RTS is taken back; whole milliseconds.
        rx_during_tx: receive also while sending; the line then hears its own requests (set local_echo).
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    rts_on_send: bool = True
    rts_after_send: bool = False
    delay_before_send: Duration = Duration("0 s")
    delay_after_send: Duration = Duration("0 s")
    rx_during_tx: bool = False

    def __post_init__(self) -> None:
        """Delays that the kernel can express."""
        for key, found in (("delay_before_send", self.delay_before_send), ("delay_after_send", self.delay_after_send)):
            if found > RTS_DELAY_MAX or found % 1_000_000:
                raise ValueError(f"{key}: found {found}, allowed whole milliseconds up to {RTS_DELAY_MAX}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SerialSettings:
    """A serial line; both ends must agree.

    Attributes:
        baudrate: bits per second.
        parity: none, even or odd.
        stop_bits: 1 or 2; the standard wants 2 without parity, most devices take 1.
        byte_size: bits of a character; RTU needs 8.
        local_echo: the adapter hears its own requests; they are left out.
        rs485: let the kernel switch between sending and receiving.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    baudrate: int = 19_200
    parity: Literal["none", "even", "odd"] = "even"
    stop_bits: Literal[1, 2] = 1
    byte_size: Literal[7, 8] = 8
    local_echo: bool = False
    rs485: Rs485Settings | None = None

    def __post_init__(self) -> None:
        """Ranges."""
        _check_range("baudrate", self.baudrate, BAUDRATE_MIN, BAUDRATE_MAX)
        if self.byte_size != 8:  # noqa: PLR2004 - the bits of a byte
            raise ValueError("byte_size: found 7, allowed 8: RTU frames are made of whole bytes")

    @property
    def silence_ns(self) -> int:
        """The least silence between two frames."""
        if self.baudrate > FAST_BAUDRATE:
            return SILENCE_FAST_NS
        bits = 1 + self.byte_size + (self.parity != "none") + self.stop_bits
        return int(SILENCE_CHARACTERS * bits * NS_PER_S / self.baudrate)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModbusTlsSettings:
    """How the device proves who it is, and how the gateway does.

    Attributes:
        ca_file: certificates of the authority that signed the device's; default: the system's.
        cert_file: certificate of this gateway, if the device asks for one.
        key_file: private key of that certificate.
        server_name: name in the device's certificate, where it is not ``host``.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    server_name: str | None = None

    def __post_init__(self) -> None:
        """A certificate goes with its key."""
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file belong together: name both or neither")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One unit and the way to it.

    Attributes:
        transport: ``tcp``; ``rtu``: a serial line; ``rtu_over_tcp``: RTU frames through a serial device server;
            ``udp``; ``tls``: Modbus/TCP Security.
        host: name or IP address; not for rtu.
        port: default 502, with tls 802.
        device: path of the serial line, such as ``/dev/serial/by-id/...``; only for rtu.
        serial: speed and form of the characters; only for rtu.
        tls: certificates; only for tls.
        unit: unit identifier (slave address) of the device at that end.
        timeout: how long connecting and each answer may take; later means that the link is lost.
        quiet_time: rtu and rtu_over_tcp: after a missing answer the unit is not asked for this long, twice as long
            after the next and so on up to eight times; then it has to answer a check; default: as long as timeout.
        pause_after_connect: some devices need time before the first request.
        pause_between_requests: from an answer to the next request on the same connection; default none, on a serial
            line 3.5 characters.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    transport: Transport = "tcp"
    host: str | None = None
    port: int | None = None
    device: str | None = None
    serial: SerialSettings | None = None
    tls: ModbusTlsSettings | None = None
    unit: int = 1
    timeout: Duration = Duration("1 s")
    quiet_time: Duration | None = None
    pause_after_connect: Duration = Duration("0 s")
    pause_between_requests: Duration | None = None

    def __post_init__(self) -> None:
        """What belongs to the transport, and ranges."""
        self.check_endpoint()

    def check_endpoint(self) -> None:
        """What belongs to the transport, and ranges; a subclass calls it. Raises ValueError."""
        if self.transport == "rtu":
            self._check_line()
        else:
            self._check_network()
        if self.tls is not None and self.transport != "tls":
            raise ValueError(f"tls: needs transport: tls, found transport: {self.transport}")
        if self.transport in UNNUMBERED:
            _check_range("unit", self.unit, 1, SERIAL_UNIT_MAX)
        else:
            _check_range("unit", self.unit, 0, UNIT_MAX)
        if not 0 < self.timeout <= TIMEOUT_MAX:
            raise ValueError(f"timeout: found {self.timeout}, allowed more than 0 s, up to {TIMEOUT_MAX}")
        for key in ("quiet_time", "pause_after_connect", "pause_between_requests"):
            found = getattr(self, key)
            if found is not None and found > PAUSE_MAX:
                raise ValueError(f"{key}: found {found}, allowed up to {PAUSE_MAX}")
        if self.quiet_time is not None and self.transport not in UNNUMBERED:
            raise ValueError(f"quiet_time: not with transport: {self.transport}, whose answers carry a number")

    def _check_line(self) -> None:
        if self.host is not None or self.port is not None:
            raise ValueError("host and port: not with transport: rtu, which has a device (a path)")
        if not (self.device or "").strip():
            raise ValueError("device: found nothing, allowed the path of a serial line such as /dev/ttyUSB0")

    def _check_network(self) -> None:
        if self.device is not None or self.serial is not None:
            raise ValueError(f"device and serial: only with transport: rtu, found transport: {self.transport}")
        if not (self.host or "").strip():
            raise ValueError("host: found nothing, allowed a name or an IP address")
        if self.port is not None:
            _check_range("port", self.port, 1, PORT_MAX)

    @property
    def port_number(self) -> int:
        """The port, default applied."""
        return self.port or (PORT_TLS_DEFAULT if self.transport == "tls" else PORT_DEFAULT)

    @property
    def where(self) -> str:
        """The end of the wire, without the unit."""
        if self.transport == "rtu":
            return f"{self.device}"
        return f"[{self.host}]:{self.port_number}" if ":" in (self.host or "") else f"{self.host}:{self.port_number}"

    @property
    def gap_ns(self) -> int:
        """Pause between two requests, default applied."""
        if self.pause_between_requests is not None:
            return self.pause_between_requests
        return (self.serial or SerialSettings()).silence_ns if self.transport == "rtu" else 0

    @property
    def quiet_ns(self) -> int:
        """How long a unit is left alone after a missing answer; 0 where answers carry a number."""
        if self.transport not in UNNUMBERED:
            return 0
        return self.timeout if self.quiet_time is None else self.quiet_time


def _check_range(key: str, found: int, least: int, most: int) -> None:
    if not least <= found <= most:
        raise ValueError(f"{key}: found {found}, allowed {least} to {most}")
