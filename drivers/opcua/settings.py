"""What the configuration may say about an OPC UA server; checks ranges, knows no protocol library."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, NamedTuple

from drivers.opcua import address
from drivers.scaling import check_decimal
from drivers.signal import SignalCommon
from gateway.core.duration import Duration
from gateway.core.host import is_loopback
from gateway.core.secret import SecretRef

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drivers.opcua.address import Address

PUBLISH_MIN: Final = Duration("10 ms")
PUBLISH_MAX: Final = Duration("1 min")
SAMPLING_MAX: Final = Duration("1 min")
SCAN_MIN: Final = Duration("10 ms")
SCAN_MAX: Final = Duration("1 h")
TIMEOUT_MAX: Final = Duration("1 min")
QUEUE_MAX: Final = 10_000
SIGNALS_MAX: Final = 20_000
#: Signals that one range of an array may stand for.
RANGE_MAX: Final = 1_000
INDEX_MAX: Final = 2**31 - 1
PERCENT_MAX: Final = 100
SCHEME: Final = "opc.tcp://"

FORBID_UNKNOWN_KEYS: Final[dict[str, Any]] = {"extra": "forbid"}

Mode = Literal["subscribe", "read"]
Security = Literal["none", "sign", "sign_and_encrypt"]
Policy = Literal["basic256sha256", "aes128_sha256_rsaoaep", "aes256_sha256_rsapss"]

_INDEX: Final = re.compile(r"\d+(?:,\d+)*|\d+:\d+")
_FIELD: Final = re.compile(r"[^.\s]+(?:\.[^.\s]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class OpcUaSignal(SignalCommon):
    """One variable of an OPC UA server, or a part of one.

    Attributes:
        node: its NodeId, best with the namespace URI: ``nsu=http://vendor/machine;s=Counter``; the index of a
            namespace (``ns=2;s=Counter``) may change when the server restarts. Either this or path.
        path: its browse path: ``/Objects/machine:Press/machine:Counter`` from the root, or without the first slash
            from the source's start; a namespace by its short name, ``{URI}`` or index.
        index: element of an array: 3, or "1,2" in a table; "0:3" stands for the signals NAME.0 to NAME.3.
        field: member of a structure, such as AccCount or Unit.UnitId; taken after index.
        enum: of an enumeration the ``number``, or the ``text`` that the server has for it.
        mode: ``subscribe`` or ``read``; default: the source's.
        sampling: how often the server looks at it; default: the source's.
        scan: how often it is read, with mode: read; default: the source's.
        queue_size: values that the server keeps between two reports; default: the source's.
        deadband_percent: as deadband, in percent of the range that the server states for it (EURange); a decimal
            number in quotes.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    node: str | None = None
    path: str | None = None
    index: int | str | None = None
    field: str | None = None
    enum: Literal["number", "text"] = "number"
    mode: Mode | None = None
    sampling: Duration | None = None
    scan: Duration | None = None
    queue_size: int | None = None
    deadband_percent: str | None = None

    def __post_init__(self) -> None:
        """One way to name it, and ranges; paths are checked by the source, which knows the namespaces."""
        self.check_common()
        if (self.node is None) == (self.path is None):
            raise ValueError("node, path: name the variable by exactly one of them")
        if self.index is not None:
            _check_index(self.index)
        if self.field is not None and not _FIELD.fullmatch(self.field):
            raise ValueError(f"field: found {self.field!r}, allowed names with dots between, such as 'Unit.UnitId'")
        _check_times(self.sampling, self.scan, self.queue_size)
        check_decimal("deadband_percent", self.deadband_percent, zero=False)
        if self.deadband_percent is not None:
            if not 0 < Decimal(self.deadband_percent) <= PERCENT_MAX:
                raise ValueError(f"deadband_percent: found {self.deadband_percent}, allowed above 0 up to 100")
            if self.deadband is not None:
                raise ValueError("deadband, deadband_percent: name one of them only")
        if self.writable is not None and (self.index is not None or self.field is not None or self.enum == "text"):
            raise ValueError("writable: only a whole variable can be written: leave out index, field and enum: text")


class Part(NamedTuple):
    """One signal as rules know it: the settings it comes from, and which element of the array it is."""

    signal: OpcUaSignal
    element: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class UserIdentity:
    """Who the gateway is for the server: a name with a password, or a certificate with its key.

    Attributes:
        name: user name.
        password: where the password is (a file, an environment variable or a systemd credential).
        cert_file: the user's certificate, PEM or DER, relative to the configuration.
        key: where its private key is, as PEM text without a password.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    name: str | None = None
    password: SecretRef | None = None
    cert_file: str | None = None
    key: SecretRef | None = None

    def __post_init__(self) -> None:
        """Exactly one of the two kinds, whole."""
        by_name = (self.name is not None, self.password is not None)
        by_certificate = (self.cert_file is not None, self.key is not None)
        if not (all(by_name) and not any(by_certificate)) and not (all(by_certificate) and not any(by_name)):
            raise ValueError("user: allowed are name and password, or cert_file and key")


@dataclass(frozen=True, slots=True, kw_only=True)
class OpcUaSettings:
    """A server whose variables are subscribed to or read; only signals with writable are ever written.

    Attributes:
        driver: ``opcua``.
        endpoint: address of the server, ``opc.tcp://host:port/path``.
        security: ``sign_and_encrypt``, ``sign``, or ``none``: must be written down, because it is a decision.
        policy: the algorithms of sign and sign_and_encrypt.
        user: who the gateway is for the server; without it anonymous.
        insecure: allows a password over a connection that anybody can read.
        namespaces: short names of namespace URIs, for node, path and start.
        start: node or path where the paths that do not begin with a slash begin.
        mode: ``subscribe``: the server reports changes; ``read``: every variable is read with every scan.
        publish: how often the server reports what changed.
        sampling: how often the server looks at a variable; default: as often as it reports.
        queue_size: values per signal that the server keeps between two reports; telemetry keeps the latest only.
        scan: time between two reads, with mode: read.
        timeout: how long one answer may take.
        signals: name of the signal to its variable.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    driver: Literal["opcua"]
    endpoint: str
    security: Security
    policy: Policy = "basic256sha256"
    user: UserIdentity | None = None
    insecure: bool = False
    namespaces: dict[str, str] = field(default_factory=dict)
    start: str | None = None
    mode: Mode = "subscribe"
    publish: Duration = Duration("500 ms")
    sampling: Duration | None = None
    queue_size: int = 10
    scan: Duration = Duration("1 s")
    timeout: Duration = Duration("5 s")
    signals: dict[str, OpcUaSignal]

    def __post_init__(self) -> None:
        """Ranges, addresses, and something to read."""
        if not self.endpoint.startswith(SCHEME) or not self.endpoint.removeprefix(SCHEME).strip():
            raise ValueError(f"endpoint: found {self.endpoint!r}, allowed {SCHEME}host:port/path")
        if "@" in self.endpoint:
            raise ValueError("endpoint: found a user name before @, allowed an address only; set user for the name")
        if not PUBLISH_MIN <= self.publish <= PUBLISH_MAX:
            raise ValueError(f"publish: found {self.publish}, allowed {PUBLISH_MIN} to {PUBLISH_MAX}")
        _check_times(self.sampling, self.scan, self.queue_size)
        if not 0 < self.timeout <= TIMEOUT_MAX:
            raise ValueError(f"timeout: found {self.timeout}, allowed more than 0 s, up to {TIMEOUT_MAX}")
        if not 1 <= len(self.signals) <= SIGNALS_MAX:
            raise ValueError(f"signals: found {len(self.signals)}, allowed 1 to {SIGNALS_MAX}")
        self._check_password()
        self._check_addresses()

    def _check_password(self) -> None:
        host = self.endpoint.removeprefix(SCHEME).partition("/")[0].rpartition(":")[0].strip("[]")
        has_password = self.user is not None and self.user.password is not None
        if has_password and self.security == "none" and not self.insecure and not is_loopback(host):
            raise ValueError(
                f"security: found 'none' with a password, which would be readable on the network to {host!r}; set "
                f"security: sign_and_encrypt, or insecure: true if that is acceptable"
            )

    def _check_addresses(self) -> None:
        address.check_namespaces(self.namespaces)
        try:
            self.start_address()
        except ValueError as error:
            raise ValueError(f"start: {error}") from None
        for name, signal in self.signals.items():
            try:
                self.address(signal)
            except ValueError as error:
                key = "path" if signal.node is None else "node"
                raise ValueError(f"signals.{name}.{key}: {error}") from None

    def start_address(self) -> Address | None:
        """Where relative paths begin; None if the source says nothing. Raises ValueError."""
        return None if self.start is None else address.parse(self.start, self.namespaces)

    def address(self, signal: OpcUaSignal) -> Address:
        """The address of a signal's variable. Raises ValueError."""
        if signal.node is not None:
            return address.parse_node(signal.node, self.namespaces)
        return address.parse_path(signal.path or "", self.namespaces, self.start_address())

    def parts(self) -> dict[str, Part]:
        """All signals that rules may use, ranges of arrays taken apart."""
        return dict(self._parts())

    def _parts(self) -> Iterator[tuple[str, Part]]:
        for name, signal in self.signals.items():
            first, colon, last = str(signal.index).partition(":")
            if signal.index is None:
                yield name, Part(signal, ())
            elif colon:
                for number in range(int(first), int(last) + 1):
                    yield f"{name}.{number}", Part(signal, (number,))
            else:
                yield name, Part(signal, tuple(map(int, first.split(","))))


def _check_index(index: int | str) -> None:
    text = str(index)
    if isinstance(index, bool) or not _INDEX.fullmatch(text):
        raise ValueError(f'index: found {index!r}, allowed such as 3, "1,2" or the range "0:3"')
    first, colon, last = text.partition(":")
    if colon and not int(first) < int(last) < int(first) + RANGE_MAX:
        raise ValueError(f"index: found {index!r}, allowed a range of 2 to {RANGE_MAX} elements, lowest first")
    if max(map(int, re.split("[,:]", text))) > INDEX_MAX:
        raise ValueError(f"index: found {index!r}, allowed up to {INDEX_MAX}")


def _check_times(sampling: Duration | None, scan: Duration | None, queue_size: int | None) -> None:
    if sampling is not None and sampling > SAMPLING_MAX:
        raise ValueError(f"sampling: found {sampling}, allowed 0 s to {SAMPLING_MAX}")
    if scan is not None and not SCAN_MIN <= scan <= SCAN_MAX:
        raise ValueError(f"scan: found {scan}, allowed {SCAN_MIN} to {SCAN_MAX}")
    if queue_size is not None and not 1 <= queue_size <= QUEUE_MAX:
        raise ValueError(f"queue_size: found {queue_size}, allowed 1 to {QUEUE_MAX}")
