"""The compact notation for a device and its values that no configuration names yet. Pure; opens nothing.

A device: ``modbus://HOST[:PORT][/UNIT]``, ``modbus+rtu://`` (RTU frames over TCP), ``modbus+udp://``,
``modbus+tls://HOST/UNIT?ca_file=...``, ``rtu:/dev/ttyUSB0?baudrate=9600&parity=N&unit=3``, or
``opc.tcp://HOST:PORT/PATH``. What follows ``?`` are keys of a source as in the configuration.

A value: ``holding 0 uint16``, ``40001 uint32 CDAB``, ``input 20 int16 scale=0.1 x10`` (ten in a row),
``holding 5 bit=3``, ``coil 12``; for OPC UA the node.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

TABLES: Final = ("holding", "input", "coil", "discrete")
BIT_TABLES: Final = ("coil", "discrete")
#: Keys after ``?`` that belong to the serial line.
SERIAL_KEYS: Final = ("baudrate", "parity", "stop_bits", "byte_size", "local_echo", "rs485")
#: Keys after ``?`` that belong to TLS.
TLS_KEYS: Final = ("ca_file", "cert_file", "key_file", "server_name")
#: Letters of a serial line's parity, as manuals write them.
PARITY: Final = {"N": "none", "E": "even", "O": "odd"}
#: Scheme of a network address to the source's transport; None: the default.
TRANSPORTS: Final[dict[str, str | None]] = {
    "modbus": None,
    "modbus+rtu": "rtu_over_tcp",
    "modbus+udp": "udp",
    "modbus+tls": "tls",
}
#: Keys that are texts in the configuration though they look like numbers.
TEXT_KEYS: Final = ("scale", "offset", "deadband")
REPEAT_MAX: Final = 1_000
PORT_DEFAULT: Final = 502
TLS_PORT_DEFAULT: Final = 802
EXAMPLES: Final = "modbus://192.0.2.10/1, rtu:/dev/ttyUSB0?baudrate=9600&unit=1, opc.tcp://192.0.2.20:4840"

_TRUTHS: Final = {"true": True, "false": False}
_REPEAT: Final = re.compile(r"x(\d{1,5})")
_USER_INFO: Final = re.compile(r"://[^/?#]*@")
_ORDER: Final = re.compile(r"[A-D]{4}")


class AddressError(ValueError):
    """What was written is no device or no value; says what was found and what is allowed."""


class Device(NamedTuple):
    """A device: the driver, and the keys of a source without its signals."""

    driver: str
    keys: dict[str, Any]


class Register(NamedTuple):
    """A Modbus device with a unit, and a place in one of its tables."""

    device: Device
    table: str
    address: int


class Wanted(NamedTuple):
    """One value of a Modbus device: keys of a signal, and how many follow each other."""

    keys: dict[str, Any]
    times: int


def without_secrets(text: str) -> str:
    """An address as it may be shown: a user name and password before the host are cut."""
    return _USER_INFO.sub("://...@", text)


def is_address(text: str) -> bool:
    """Whether this is meant as an address and not as the name of a source."""
    return "://" in text or text.startswith("rtu:")


def parse_device(text: str) -> Device:
    """The device of an address. Raises AddressError."""
    device, path = _split(text)
    if path:
        raise AddressError(f"{text}: found {'/'.join(path)!r} after the unit, allowed nothing")
    return device


def parse_register(text: str) -> Register:
    """``modbus://HOST/UNIT/TABLE/ADDRESS``, or table and address after ``?``. Raises AddressError."""
    device, path = _split(text)
    if device.driver != "modbus":
        raise AddressError(
            f"{text}: only a Modbus device has registers; allowed such as modbus://192.0.2.10/1/holding/0"
        )
    keys = dict(device.keys)
    table = str(path[0] if path else keys.pop("table", ""))
    address = str(path[1] if len(path) > 1 else keys.pop("address", ""))
    if table not in TABLES or not address.isdecimal() or len(path) > 2:  # noqa: PLR2004 - a table and an address
        raise AddressError(
            f"{text}: found table {table!r} and address {address!r}, allowed {', '.join(TABLES)} and a PDU address "
            f"from 0, such as modbus://192.0.2.10/1/holding/0"
        )
    return Register(Device("modbus", keys), table, int(address))


def parse_wanted(text: str) -> Wanted:
    """One value of a Modbus device. Raises AddressError; what a key may be is the driver's to say."""
    keys: dict[str, Any] = {}
    types: list[str] = []
    count = 1
    for word in text.split():
        if word in TABLES:
            keys["table"] = word
        elif word.isdecimal() and "address" not in keys:
            # Without a table it is a manual's number, which names the table itself.
            keys["address"] = int(word) if "table" in keys else word
        elif "=" in word:
            key, _, value = word.partition("=")
            keys[key] = _typed(key, value)
        elif (repeat := _REPEAT.fullmatch(word)) and "address" in keys:
            count = int(repeat[1])
        elif _ORDER.fullmatch(word):
            keys["order"] = word
        else:
            types.append(word)
    if len(types) > 1:
        raise AddressError(
            f"{text!r}: found {' and '.join(map(repr, types))}, allowed one type, one table ({', '.join(TABLES)}), an "
            f"address, an order such as CDAB, key=value, and x10 for ten in a row"
        )
    if types:
        keys["type"] = types[0]
    _check_wanted(text, keys, count)
    return Wanted(keys, count)


def _check_wanted(text: str, keys: dict[str, Any], count: int) -> None:
    if "address" not in keys:
        raise AddressError(f"{text!r}: found no address, allowed such as 'holding 0 uint16' or '40001 uint32 CDAB'")
    if not 1 <= count <= REPEAT_MAX:
        raise AddressError(f"{text!r}: found x{count}, allowed x1 to x{REPEAT_MAX}")
    if count > 1 and "table" not in keys:
        raise AddressError(f"{text!r}: several in a row need the table and the PDU address, such as 'holding 0 x10'")


def _split(text: str) -> tuple[Device, list[str]]:
    if text.startswith("opc.tcp://"):
        if _USER_INFO.search(text):
            raise AddressError(
                f"{without_secrets(text)}: found a user name before the host, allowed none; a source of a "
                f"configuration can log in"
            )
        return Device("opcua", {"endpoint": text, "security": "none"}), []
    if text.startswith("rtu:"):
        return _serial(text), []
    parts, port = _network(text)
    keys: dict[str, Any] = {}
    if (transport := TRANSPORTS[parts.scheme]) is not None:
        keys["transport"] = transport
    keys |= {"host": parts.hostname, "port": port or (TLS_PORT_DEFAULT if transport == "tls" else PORT_DEFAULT)}
    path = [part for part in parts.path.split("/") if part]
    if path:
        if not path[0].isdecimal():
            raise AddressError(f"{text}: found unit {path[0]!r}, allowed a number such as in modbus://192.0.2.10/1")
        keys["unit"] = int(path[0])
    tls: dict[str, Any] = {}
    for key, value in _query(text, parts.query):
        (tls if key in TLS_KEYS else keys)[key] = _typed(key, value)
    if tls:
        keys["tls"] = tls
    return Device("modbus", keys), path[1:]


def _network(text: str) -> tuple[SplitResult, int | None]:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise AddressError(f"{text}: {error}; allowed such as {EXAMPLES}") from error
    if parts.scheme not in TRANSPORTS:
        raise AddressError(f"{text}: found {parts.scheme!r} before ://, allowed {', '.join(TRANSPORTS)}, opc.tcp, rtu:")
    if parts.username is not None:
        raise AddressError(
            f"{without_secrets(text)}: found a user name before the host, allowed none: Modbus knows no log-in"
        )
    if not parts.hostname:
        raise AddressError(f"{text}: found no host, allowed such as {EXAMPLES}")
    return parts, port


def _serial(text: str) -> Device:
    path, _, query = text.removeprefix("rtu:").partition("?")
    if not path.startswith("/"):
        raise AddressError(f"{text}: found no device file, allowed such as rtu:/dev/ttyUSB0?baudrate=9600&unit=1")
    keys: dict[str, Any] = {"transport": "rtu", "device": unquote(path)}
    serial: dict[str, Any] = {}
    for key, value in _query(text, query):
        (serial if key in SERIAL_KEYS else keys)[key] = (
            PARITY.get(value, value) if key == "parity" else _typed(key, value)
        )
    if isinstance(serial.get("rs485"), bool):  # its own keys have defaults that fit most adapters
        serial["rs485"] = {} if serial["rs485"] else None
    if serial:
        keys["serial"] = serial
    return Device("modbus", keys)


def _query(text: str, query: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), max_num_fields=20)
    except ValueError as error:
        raise AddressError(f"{text}: after ? found {query!r}, allowed key=value, joined by &") from error


def _typed(key: str, value: str) -> Any:
    # Ranges and meanings are the driver's; here a number only becomes one.
    if key in TEXT_KEYS:
        return value
    if value in _TRUTHS:
        return _TRUTHS[value]
    return int(value) if value.isdecimal() else value
