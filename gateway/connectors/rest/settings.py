"""Settings of the REST connector, exactly as the configuration file writes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal

from gateway.connectors.url import check_url
from gateway.core.duration import Duration
from gateway.core.secret import SecretRef

TIMEOUT_MAX_NS: Final = Duration("2 min")
KEY_PLACEHOLDER: Final = "{key}"
ORDER_PLACEHOLDER: Final = "{order}"
PATHS: Final = (
    "orders_path",
    "confirmations_path",
    "lookup_path",
    "acknowledgements_path",
    "totals_path",
    "health_path",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RestSettings:
    """An ERP, or a service in front of it, that speaks JSON over HTTP.

    Attributes:
        connector: ``rest``.
        url: base address, such as https://erp.example.com/linegate.
        orders_path: where released orders are read.
        confirmations_path: where confirmations are posted.
        lookup_path: where a confirmation is looked up; ``{key}`` stands for its key.
        acknowledgements_path: where answers to orders are posted; none: the ERP is not told what became of them.
        totals_path: where the ERP says what it has booked of an order; ``{order}`` stands for its number; none: it
            cannot be asked, and nothing is reconciled.
        health_path: a harmless question for a probe.
        correction: how the ERP takes a correction of what it has booked. ``cancel``: it takes a booking back, given its
            key; ``negative``: it books quantities below 0; ``manual``: a person does it there, and the correction waits
            in the outbox until he has.
        token: where the bearer token is; none: no Authorization header.
        idempotent: true if the target itself books a repeated key only once; then nothing is looked up before a repeat.
        timeout: longest wait for a complete answer, 1 s to 2 min.
        server_time_limit: how long the target may still work on a request whose answer was lost.
        ca_file: PEM file of the authority that signed the target's certificate, relative to the configuration.
        insecure: true allows plain http to another machine.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    connector: Literal["rest"]
    url: str
    orders_path: str = "/orders"
    confirmations_path: str = "/confirmations"
    lookup_path: str = "/confirmations/{key}"
    acknowledgements_path: str | None = None
    totals_path: str | None = None
    health_path: str = "/health"
    correction: Literal["cancel", "negative", "manual"] = "manual"
    token: SecretRef | None = None
    idempotent: bool = False
    timeout: Duration = Duration("30 s")
    server_time_limit: Duration = Duration("30 s")
    ca_file: str | None = None
    insecure: bool = False

    def __post_init__(self) -> None:
        """What a class alone cannot say."""
        check_url(self.url, insecure=self.insecure)
        for name in PATHS:
            path = getattr(self, name)
            if path is not None and (
                not path.startswith("/") or not path.isascii() or any(character in path for character in "?# \t\r\n")
            ):
                raise ValueError(f"{name}: found {path!r}, allowed: a path that starts with / and has no ?, # or space")
        if self.lookup_path.count(KEY_PLACEHOLDER) != 1:
            raise ValueError(f"lookup_path: found {self.lookup_path!r}, allowed: a path with {KEY_PLACEHOLDER} once")
        if self.totals_path is not None and self.totals_path.count(ORDER_PLACEHOLDER) != 1:
            raise ValueError(f"totals_path: found {self.totals_path!r}, allowed: a path with {ORDER_PLACEHOLDER} once")
        if not Duration("1 s") <= self.timeout <= TIMEOUT_MAX_NS:
            raise ValueError(f"timeout: found {self.timeout}, allowed 1 s to {TIMEOUT_MAX_NS}")
