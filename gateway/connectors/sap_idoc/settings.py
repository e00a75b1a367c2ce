"""Settings of the SAP IDoc connector, exactly as the configuration file writes them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal

from gateway.connectors.error_classes import ErrorClass, check_error_classes
from gateway.connectors.mapping.settings import MappingSettings
from gateway.connectors.sap_idoc.log_stamp import STEP_MAX_S
from gateway.connectors.sign_in import SignIn
from gateway.connectors.url import check_url
from gateway.core.duration import Duration
from gateway.core.host import is_loopback
from gateway.core.secret import SecretRef

TIMEOUT_MAX_NS: Final = Duration("2 min")
LOG_LAG_MAX_NS: Final = Duration("31 d")
PATHS: Final = {"soap": "/sap/bc/srt/idoc", "http": "/sap/bc/idoc_xml", "file": ""}
CONFIRMATIONS_PATH: Final = "/sap/opu/odata/sap/API_PROD_ORDER_CONFIRMATION_2_SRV"
PORT_MAX: Final = 65_535
NAME_CHARS: Final = 10
USER_CHARS: Final = 12
PLANT_CHARS: Final = 4

_NAME = re.compile(r"[A-Z0-9_/]{1,30}")
_FOLDERS: Final = ("orders_folder", "confirmations_folder", "statuses_folder")


@dataclass(frozen=True, slots=True, kw_only=True)
class Partner:
    """The two ends as SAP's partner profiles (WE20) know them.

    Attributes:
        sender_port: port of the gateway (SNDPOR), up to 10 characters.
        sender: logical system of the gateway (SNDPRN).
        receiver_port: port of SAP (RCVPOR).
        receiver: logical system of SAP (RCVPRN), such as S4PCLNT100.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    sender_port: str = "LINEGATE"
    sender: str = "LINEGATE"
    receiver_port: str = ""
    receiver: str = ""

    def __post_init__(self) -> None:
        """What a class alone cannot say."""
        for name in ("sender_port", "sender", "receiver_port", "receiver"):
            found = getattr(self, name)
            if len(found) > NAME_CHARS or not found.isascii() or not found.isprintable():
                raise ValueError(f"{name}: found {found!r}, allowed: up to {NAME_CHARS} ASCII characters")


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """Where SAP sends its IDocs by HTTP. They are on the disk, in ``orders_folder``, before SAP gets its answer.

    Attributes:
        port: to listen on.
        host: to listen on; another address than this machine's own loopback only behind a TLS proxy or in a network
            of its own.
        token: where the token is that SAP must send, as bearer token or as password of HTTP basic authentication.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    port: int
    token: SecretRef
    host: str = "127.0.0.1"

    def __post_init__(self) -> None:
        """What a class alone cannot say."""
        if not 0 <= self.port <= PORT_MAX:
            raise ValueError(f"port: found {self.port}, allowed 0 (any free one) to {PORT_MAX}")
        if not self.host:
            raise ValueError("host: is empty, allowed: an address of this machine")

    @property
    def is_public(self) -> bool:
        """Whether other machines reach it."""
        return not is_loopback(self.host)


@dataclass(frozen=True, slots=True, kw_only=True)
class Readback:
    """Where SAP is asked whether a confirmation is booked: the OData service of confirmations.

    Attributes:
        url: base address of SAP, such as https://s4.example.com.
        path: of the service.
        filter_by_key: false where the system does not filter by ExternalSystemConfirmation: then all confirmations of
            the operation are read and compared here.
        sign_in: how the gateway signs in there.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    url: str
    path: str = CONFIRMATIONS_PATH
    filter_by_key: bool = True
    sign_in: SignIn = field(default_factory=SignIn)


@dataclass(frozen=True, slots=True, kw_only=True)
class SapIdocSettings:
    """SAP ERP or S/4HANA by IDocs: orders as LOIPRO or PPCC2RECORDER01, confirmations as PPCC2PRETTICKET.

    Attributes:
        connector: ``sap_idoc``.
        transport: ``soap``: exactly once into SAP's IDoc layer, whatever is repeated; ``http``: plain XML, of which SAP
            keeps every repeat; ``file``: a folder that SAP's file port reads.
        url: base address of SAP for ``soap`` and ``http``.
        path: of the service; none: SAP's usual one for the transport.
        client: SAP's client (MANDT), three digits.
        sign_in: how the gateway signs in.
        timeout: longest wait for a complete answer or for the share, 1 s to 2 min.
        ca_file: PEM file of the authority that signed SAP's certificate, relative to the configuration.
        insecure: true allows plain http to another machine.
        folder: base folder of the files, relative to the configuration; none: no orders come in.
        orders_folder: where IDocs with orders come in; read ones move to its ``done`` or ``error``.
        confirmations_folder: where ``file`` puts confirmations, one file each.
        statuses_folder: where ALEAUD or STATUS IDocs or extracts of booked confirmations come in; none: they do not.
        keep_files: what linegate itself left in the folders is cleared away when it is older and nothing of it can be
            asked for any more: its traces, what it moved to ``done`` and ``error``; 1 d and more. null: never.
        receiver: where SAP may send its IDocs by HTTP; none: they come as files.
        partner: the two ends of the partner profile.
        plant: SAP's plant (WERKS) in confirmations; none: the name of the gateway's plant; empty: it is left out.
        basic_type: basic type of confirmations.
        header_segment: segment above the ticket, as the system's WE60 shows it; empty: there is none.
        message_code: MESCOD of the partner profile.
        message_function: MESFCT of the partner profile.
        extension: CIMTYP, an extension of the basic type.
        order_numbers: ``full`` keeps the twelve digits of an order, ``short`` leaves leading zeros out; SAP gets all
            twelve in both cases.
        skip_control_keys: control keys (STEUS) whose operations are not confirmed here.
        final: how a final confirmation is sent: ``final`` (FIN_CONF X), ``automatic`` (1: final when the quantity is
            reached) or ``partial`` (a person finishes in SAP).
        clear_reservations: true: a final confirmation that asks for it closes open reservations (CLEAR_RES).
        unit_iso: whether units are sent with their code by UN/ECE Recommendation 20 too; a system that has another
            ISO code in its unit (CUNI) refuses the ticket, see ``mapping.unit_codes``.
        entered_by: EX_CREATED_BY, up to 12 characters.
        log_step: seconds of LOGTIME that each confirmation has for itself, 1 to 32, so its tickets at most; never lower
            it while orders run.
        log_lag: how far LOGDATE and LOGTIME lie behind, so that they are not in the future, up to 31 d.
        stored_is: what a status 53 that comes back means: ``accepted`` (it waits for CO1L), or ``posted`` where SAP
            books at once (CI41: immediate update).
        readback: where SAP is asked whether a confirmation is booked; none: it is not asked.
        mapping: units, reasons, work centers, activities and time zone.
        error_classes: what further codes of SAP mean.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    connector: Literal["sap_idoc"]
    transport: Literal["soap", "http", "file"] = "soap"
    url: str | None = None
    path: str | None = None
    client: str = "100"
    sign_in: SignIn = field(default_factory=SignIn)
    timeout: Duration = Duration("30 s")
    ca_file: str | None = None
    insecure: bool = False
    folder: str | None = None
    orders_folder: str = "orders"
    confirmations_folder: str = "confirmations"
    statuses_folder: str | None = None
    keep_files: Duration | None = Duration("90 d")
    receiver: Receiver | None = None
    partner: Partner = field(default_factory=Partner)
    plant: str | None = None
    basic_type: Literal["PPCC2PRETTICKET01", "PPCC2PRETTICKET02"] = "PPCC2PRETTICKET02"
    header_segment: str = "E1PPCC2PRETTICKET"
    message_code: str = ""
    message_function: str = ""
    extension: str = ""
    order_numbers: Literal["full", "short"] = "full"
    skip_control_keys: tuple[str, ...] = ()
    final: Literal["final", "automatic", "partial"] = "final"
    clear_reservations: bool = False
    unit_iso: bool = False
    entered_by: str = "LINEGATE"
    log_step: int = 8
    log_lag: Duration = Duration("1 d")
    stored_is: Literal["accepted", "posted"] = "accepted"
    readback: Readback | None = None
    mapping: MappingSettings = field(default_factory=MappingSettings)
    error_classes: dict[str, ErrorClass] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """What a class alone cannot say."""
        self._check_places()
        self._check_names()
        for name, least, most in (
            ("timeout", Duration("1 s"), TIMEOUT_MAX_NS),
            ("log_lag", Duration("0 s"), LOG_LAG_MAX_NS),
        ):
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"{name}: found {getattr(self, name)}, allowed {least} to {most}")
        if self.keep_files is not None and self.keep_files < Duration("1 d"):
            raise ValueError(f"keep_files: found {self.keep_files}, allowed 1 d and more, or null")
        if not 1 <= self.log_step <= STEP_MAX_S:
            raise ValueError(f"log_step: found {self.log_step}, allowed 1 to {STEP_MAX_S}")
        check_error_classes(self.error_classes)

    @property
    def reads_back(self) -> bool:
        """Whether anything tells that a confirmation is booked."""
        return self.readback is not None or self.statuses_folder is not None

    @property
    def service(self) -> str:
        """The path that confirmations are sent to."""
        return self.path or PATHS[self.transport]

    def _check_places(self) -> None:
        if self.transport == "file":
            if self.folder is None:
                raise ValueError("folder: is missing; transport file needs the folder that SAP reads")
            if self.url is not None or self.path is not None:
                raise ValueError("url, path: belong to transport soap or http, found transport file; leave them out")
        elif self.url is None:
            raise ValueError(f"url: is missing; transport {self.transport} needs the base address of SAP")
        if self.folder is None and (self.receiver is not None or self.statuses_folder is not None):
            raise ValueError("folder: is missing; receiver and statuses_folder keep their files there")
        self._check_addresses()
        self._check_folders()

    def _check_folders(self) -> None:
        named = [name for one in _FOLDERS if (name := getattr(self, one)) is not None]
        for name in named:
            if not name or name.startswith(".") or set(name) & set("/\\\0"):
                raise ValueError(f"{', '.join(_FOLDERS)}: found {name!r}, allowed: the name of one sub-folder")
        if len(set(named)) < len(named):
            raise ValueError(f"{', '.join(_FOLDERS)}: found one folder twice, allowed: different folders")

    def _check_addresses(self) -> None:
        for url in (self.url, None if self.readback is None else self.readback.url):
            if url is not None:
                check_url(url, insecure=self.insecure)
        for path in (self.path, None if self.readback is None else self.readback.path):
            if path is not None and (not path.startswith("/") or not path.isascii() or set(path) & set("?# \t\r\n")):
                raise ValueError(f"path: found {path!r}, allowed: a path that starts with / and has no ?, # or space")

    def _check_names(self) -> None:
        if len(self.client) != len("100") or not self.client.isdigit() or not self.client.isascii():
            raise ValueError(f"client: found {self.client!r}, allowed: three digits")
        if self.header_segment and not _NAME.fullmatch(self.header_segment):
            raise ValueError(f"header_segment: found {self.header_segment!r}, allowed: a segment's name, or nothing")
        if self.plant is not None and (len(self.plant) > PLANT_CHARS or not self.plant.isprintable()):
            raise ValueError(f"plant: found {self.plant!r}, allowed: up to {PLANT_CHARS} characters")
        if len(self.entered_by) > USER_CHARS:
            raise ValueError(f"entered_by: found {self.entered_by!r}, allowed: up to {USER_CHARS} characters")
        for name, most in (("message_code", 3), ("message_function", 3), ("extension", 30)):
            found = getattr(self, name)
            if found and (len(found) > most or not _NAME.fullmatch(found)):
                raise ValueError(f"{name}: found {found!r}, allowed: up to {most} capitals and digits")
