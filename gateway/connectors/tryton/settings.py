"""Settings of the Tryton connector, exactly as the configuration file writes them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal

from gateway.connectors.error_classes import ErrorClass, check_error_classes
from gateway.connectors.url import check_url
from gateway.core.duration import Duration
from gateway.core.secret import SecretRef

TIMEOUT_MAX_NS: Final = Duration("2 min")
OVERLAP_MAX_NS: Final = Duration("1 h")
WORK_CENTERS_MAX: Final = 2000
_DATABASE: Final = re.compile(r"[A-Za-z0-9._-]{1,63}")

#: Times of a confirmation that may go into the duration of a cycle.
TimeName = Literal["machine_setup", "labour_setup", "machine", "labour"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrytonSettings:
    """A Tryton server with the modules production, production_routing and production_work.

    Attributes:
        connector: ``tryton``.
        url: base address of the server, such as https://tryton.example.com.
        database: name of its database.
        user: login of a user that nobody else uses: its cycles and notes are taken for the gateway's own.
        password: where the user's password is.
        language: language of the texts that Tryton answers with.
        scrap_location: code of the location that scrap goes to; none: the only waste location of the warehouse.
        work_centers: our work center to Tryton's name of it, where they differ.
        duration: times of a confirmation that are added up as the duration of its cycle.
        complete: the final confirmation of the last operation does the production; false: a person does it.
        planned: productions that wait are read, too, as planned orders.
        overlap: how far back changes are asked for again, 0 s to 1 h: transactions that end late come late.
        error_classes: code of an error to its class, before the connector's own table.
        timeout: longest wait for a complete answer, 1 s to 2 min.
        server_time_limit: how long the server may still work on a request whose answer was lost.
        ca_file: PEM file of the authority that signed the server's certificate, relative to the configuration.
        insecure: true allows plain http to another machine.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    connector: Literal["tryton"]
    url: str
    database: str
    user: str
    password: SecretRef
    language: str = "en"
    scrap_location: str | None = None
    work_centers: dict[str, str] = field(default_factory=dict)
    duration: tuple[TimeName, ...] = ("machine_setup", "machine")
    complete: bool = True
    planned: bool = False
    overlap: Duration = Duration("1 min")
    error_classes: dict[str, ErrorClass] = field(default_factory=dict)
    timeout: Duration = Duration("30 s")
    server_time_limit: Duration = Duration("30 s")
    ca_file: str | None = None
    insecure: bool = False

    def __post_init__(self) -> None:
        """What a class alone cannot say."""
        check_url(self.url, insecure=self.insecure)
        check_error_classes(self.error_classes)
        if not _DATABASE.fullmatch(self.database):
            raise ValueError(f"database: found {self.database!r}, allowed: 1 to 63 letters, digits, '.', '_' and '-'")
        if not self.user or ":" in self.user:
            raise ValueError(f"user: found {self.user!r}, allowed: a login without a colon")
        if len(set(self.duration)) < len(self.duration):
            raise ValueError(f"duration: found {', '.join(self.duration)}, allowed: each time once")
        if len(self.work_centers) > WORK_CENTERS_MAX:
            raise ValueError(f"work_centers: found {len(self.work_centers)} rows, allowed at most {WORK_CENTERS_MAX}")
        theirs = list(self.work_centers.values())
        if len(set(theirs)) < len(theirs):
            raise ValueError("work_centers: found a name of Tryton's twice, allowed: each once, orders are read by it")
        if not 0 <= self.overlap <= OVERLAP_MAX_NS:
            raise ValueError(f"overlap: found {self.overlap}, allowed 0 s to {OVERLAP_MAX_NS}")
        if not Duration("1 s") <= self.timeout <= TIMEOUT_MAX_NS:
            raise ValueError(f"timeout: found {self.timeout}, allowed 1 s to {TIMEOUT_MAX_NS}")
