"""The settings of the local HTTP API, as the configuration file writes them. Opens no socket and no certificate.

What leaves the computer is encrypted: plain HTTP is refused unless the address is the computer's own.
"""

# Annotations are evaluated at once (no postponed ones): pydantic reads them.

import ipaddress
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final

from pydantic import Field

from config.bytesize import ByteSize
from config.limits import Between
from gateway.core.duration import Duration
from gateway.core.host import is_loopback
from gateway.core.rules import FORBID_UNKNOWN_KEYS

API_PORT: Final = 8420
HOSTS_MAX: Final = 16
#: Of each text: the name of a computer, with or without its domain.
HostName = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$")]

_MAX_BODY: Final = ByteSize("64 KiB")
_MAX_HEADER: Final = ByteSize("16 KiB")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiTlsSettings:
    """How the API proves which gateway it is.

    Attributes:
        cert_file: certificate of this gateway, with those in between, as PEM.
        key_file: its private key as PEM, without a passphrase.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    cert_file: Annotated[str, Field(min_length=1)]
    key_file: Annotated[str, Field(min_length=1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSettings:
    """Where the API listens, and how much it takes.

    Attributes:
        listen: address of this computer to listen at; another than its own loopback needs tls.
        port: TCP port.
        hosts: further names by which requests may call the gateway; any other name is refused.
        tls: cert_file and key_file; needed wherever requests come from another computer.
        max_body: a longer request body is refused.
        max_header: request line and headers together; more are refused.
        requests_per_minute: of one token; more are refused until it may again.
        refusals_per_minute: of one address without a token that is accepted; more are told to come later, unlooked at.
        concurrent_requests: of all together; more are refused at once, with a hint when to come again.
        waiting_requests: besides, of screens that wait for a change; more are told to ask without waiting.
        waiting_per_token: of those so many with one token, so that one screen gone wild leaves room for the others.
        request_timeout: for a request's headers, for its body, and for the answer, each; an action goes on behind it.
        idempotency_keep: so long the same Idempotency-Key gets the same answer.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    listen: Annotated[str, Field(min_length=1, max_length=45)] = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = API_PORT
    hosts: Annotated[tuple[HostName, ...], Field(max_length=HOSTS_MAX)] = ()
    tls: ApiTlsSettings | None = None
    max_body: Annotated[ByteSize, Between(ByteSize("1 KiB"), ByteSize("1 MiB"))] = _MAX_BODY
    max_header: Annotated[ByteSize, Between(ByteSize("4 KiB"), ByteSize("64 KiB"))] = _MAX_HEADER
    requests_per_minute: Annotated[int, Field(ge=1, le=60_000)] = 600
    refusals_per_minute: Annotated[int, Field(ge=1, le=60_000)] = 60
    concurrent_requests: Annotated[int, Field(ge=1, le=256)] = 32
    waiting_requests: Annotated[int, Field(ge=0, le=512)] = 64
    waiting_per_token: Annotated[int, Field(ge=1, le=512)] = 16
    request_timeout: Annotated[Duration, Between(Duration("100 ms"), Duration("60 s"))] = Duration("10 s")
    idempotency_keep: Annotated[Duration, Between(Duration("10 s"), Duration("1 d"))] = Duration("10 min")

    def __post_init__(self) -> None:
        """An address, and none of the network without encryption."""
        if self.listen != "localhost":
            try:
                ipaddress.ip_address(self.listen)
            except ValueError:
                raise ValueError(
                    f"listen: found {self.listen!r}, allowed: localhost or an address of this computer, such as "
                    "127.0.0.1, ::1 or 0.0.0.0; names by which it is called go into hosts"
                ) from None
        if self.tls is None and not is_loopback(self.listen):
            raise ValueError(
                f"listen: {self.listen!r} can be reached from other computers and tls is missing: tokens would be "
                "readable on the network; set tls: { cert_file: ..., key_file: ... }, or listen at 127.0.0.1"
            )
