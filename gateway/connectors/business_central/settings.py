"""Settings of the Business Central connector, exactly as the configuration file writes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal

from gateway.connectors.error_classes import ErrorClass, check_error_classes
from gateway.connectors.mapping.amounts import Rework
from gateway.connectors.mapping.settings import MappingSettings
from gateway.connectors.sign_in import SignIn
from gateway.connectors.url import check_url
from gateway.core.duration import Duration

TIMEOUT_MAX_NS: Final = Duration("2 min")
PAGE_MAX: Final = 20_000
CODE_MAX: Final = 10
NAMES: Final = ("lines_page", "routing_page", "components_page", "journal_page", "capacity_page", "action")


@dataclass(frozen=True, slots=True, kw_only=True)
class BusinessCentralSettings:
    """A company of Business Central whose pages are published as OData V4 web services.

    Attributes:
        connector: ``business_central``.
        url: address down to ODataV4, such as
            https://api.businesscentral.dynamics.com/v2.0/TENANT/ENVIRONMENT/ODataV4, or
            https://server:7048/BC/ODataV4 in the house.
        company: name of the company.
        sign_in: how the gateway signs in: OAuth2 client credentials, or basic in the house.
        mapping: our words and the ERP's; its reasons give the scrap codes.
        error_classes: what further error codes mean.
        variant: ``journal`` inserts journal lines, which somebody there posts; ``extension`` calls an action
            that posts.
        journal_template: template of the output journal.
        journal_batch: batch of the output journal; each gateway has one of its own.
        lines_page: published page of the lines of production orders.
        routing_page: published page of their routing lines.
        components_page: published page of their components; none: components are not read.
        journal_page: published page of the output journal.
        capacity_page: published page of the capacity ledger entries.
        action: published procedure of the extension, as SERVICE_PROCEDURE.
        time_unit: unit in which setup and run time are written: MIN, H or S.
        capacity_unit: its code there, such as MINUTES; none: that of the routing line.
        finished: true sets Finished with the final confirmation of an operation.
        rework: what becomes of rework pieces, which have no field: ``refuse`` leaves the confirmation to a person,
            ``scrap`` tells them as scrap without a reason.
        order_filter: a further OData filter of the order lines, such as ``Location_Code eq 'EAST'``.
        page_size: rows asked for at a time, 1 to 20000.
        timeout: longest wait for a complete answer, 1 s to 2 min.
        server_time_limit: how long the server may still work on a request whose answer was lost.
        ca_file: PEM file of the authority that signed the target's certificate, relative to the configuration.
        insecure: true allows plain http to another machine.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    connector: Literal["business_central"]
    url: str
    company: str
    sign_in: SignIn = field(default_factory=SignIn)
    mapping: MappingSettings = field(default_factory=MappingSettings)
    error_classes: dict[str, ErrorClass] = field(default_factory=dict)
    variant: Literal["journal", "extension"] = "journal"
    journal_template: str = "OUTPUT"
    journal_batch: str = "LINEGATE"
    lines_page: str = "ProdOrderLines"
    routing_page: str = "ProdOrderRoutingLines"
    components_page: str | None = "ProdOrderComponents"
    journal_page: str = "OutputJournal"
    capacity_page: str = "CapacityLedgerEntries"
    action: str = "LinegatePosting_Post"
    time_unit: Literal["MIN", "H", "S"] = "MIN"
    capacity_unit: str | None = None
    finished: bool = False
    rework: Rework = "refuse"
    order_filter: str | None = None
    page_size: int = 1000
    timeout: Duration = Duration("1 min")
    server_time_limit: Duration = Duration("10 min")
    ca_file: str | None = None
    insecure: bool = False

    def __post_init__(self) -> None:
        """What a class alone cannot say."""
        check_url(self.url, insecure=self.insecure)
        check_error_classes(self.error_classes)
        if not self.company.strip():
            raise ValueError("company: is empty; name the company, such as CRONUS")
        for name in ("journal_template", "journal_batch"):
            if not 1 <= len(getattr(self, name)) <= CODE_MAX:
                raise ValueError(f"{name}: found {getattr(self, name)!r}, allowed: 1 to {CODE_MAX} characters")
        for name in NAMES:
            page = getattr(self, name)
            if page is not None and not page.replace("_", "").isalnum():
                raise ValueError(f"{name}: found {page!r}, allowed: the name of a web service, of letters and digits")
        if not 1 <= self.page_size <= PAGE_MAX:
            raise ValueError(f"page_size: found {self.page_size}, allowed 1 to {PAGE_MAX}")
        if not Duration("1 s") <= self.timeout <= TIMEOUT_MAX_NS:
            raise ValueError(f"timeout: found {self.timeout}, allowed 1 s to {TIMEOUT_MAX_NS}")
