"""Settings of the connector to SAP S/4HANA over OData, exactly as the configuration file writes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, ClassVar, Final, Literal

from gateway.connectors.error_classes import ErrorClass, check_error_classes
from gateway.connectors.mapping.settings import MappingSettings
from gateway.connectors.sign_in import SignIn
from gateway.connectors.url import check_url
from gateway.core.duration import Duration

TIMEOUT_MAX_NS: Final = Duration("1 min")  # fetching a token, sending, and both once more end within two minutes
PAGE_MAX: Final = 1000
DECIMALS_MAX: Final = 3
PLANT_MAX_CHARS: Final = 4
TOLERANCE_MAX: Final = Decimal(1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class SapOdataSettings:
    """SAP S/4HANA, its OData V2 services for production and process orders.

    Attributes:
        connector: ``sap_odata``.
        url: base address of the system, such as https://s4.example.com:44300; ``/sap/opu/odata/...`` is added.
        client: SAP client (Mandant) of three digits; none: the system's default.
        plant: SAP's plant, such as 1010: whose orders are read, and what stands in each confirmation.
        orders: which orders: ``production``, ``process`` or ``both``.
        sign_in: how the gateway signs in.
        mapping: our words and SAP's; without a time zone of its own, SAP's local time is the plant's.
        error_classes: what SAP's codes mean, such as ``RU/110: wait_precondition``; goes before the built-in table.
        iso_units: SAP's unit to its ISO code, such as ``ST: PCE``; a unit that is not listed is sent without one.
        final_confirmation: what the gateway's final confirmation is in SAP: ``partial`` (a person ends the operation
            there), ``automatic`` (SAP decides by its rules) or ``final``.
        goods_movements: who issues components: ``erp`` (SAP by its own rules), ``none`` (nobody with the confirmation)
            or ``components`` (the gateway, with what it knows of the consumption).
        issue_storage_location: where the gateway issues components from; empty: SAP finds it.
        overlap: true: an operation may begin while the one before it still runs; SAP's orders do not say it.
        over_tolerance_pct: over-delivery in percent where the order names none.
        under_tolerance_pct: under-delivery in percent where the order names none.
        orders_since: how far back changes of orders are asked for the first time.
        orders_overlap: how far behind the last change is asked again; it has to cover the hour that comes twice, where
            SAP's stamps are local time.
        orders_page: orders in one answer, 10 to 1000.
        timeout: longest wait for a complete answer, 1 s to 1 min.
        server_time_limit: how long SAP may still work on a request whose answer was lost.
        ca_file: PEM file of the authority that signed SAP's certificate, relative to the configuration.
        insecure: true allows plain http to another machine.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    connector: Literal["sap_odata"]
    url: str
    client: str | None = None
    plant: str
    orders: Literal["production", "process", "both"] = "production"
    sign_in: SignIn = field(default_factory=SignIn)
    mapping: MappingSettings = field(default_factory=MappingSettings)
    error_classes: dict[str, ErrorClass] = field(default_factory=dict)
    iso_units: dict[str, str] = field(default_factory=dict)
    final_confirmation: Literal["partial", "automatic", "final"] = "partial"
    goods_movements: Literal["erp", "none", "components"] = "erp"
    issue_storage_location: str = ""
    overlap: bool = False
    over_tolerance_pct: Decimal | None = None
    under_tolerance_pct: Decimal | None = None
    orders_since: Duration = Duration("90 d")
    orders_overlap: Duration = Duration("65 min")
    orders_page: int = 200
    timeout: Duration = Duration("30 s")
    server_time_limit: Duration = Duration("10 min")
    ca_file: str | None = None
    insecure: bool = False

    def __post_init__(self) -> None:
        """What a class alone cannot say."""
        check_url(self.url, insecure=self.insecure)
        check_error_classes(self.error_classes)
        if self.client is not None and not (len(self.client) == 3 and self.client.isdecimal()):  # noqa: PLR2004 - SAP's
            raise ValueError(f"client: found {self.client!r}, allowed: three digits, such as '100'")
        if not 1 <= len(self.plant) <= PLANT_MAX_CHARS or not self.plant.isprintable():
            raise ValueError(f"plant: found {self.plant!r}, allowed: SAP's plant, 1 to {PLANT_MAX_CHARS} characters")
        if self.mapping.quantity_decimals > DECIMALS_MAX or self.mapping.time_decimals > DECIMALS_MAX:
            raise ValueError(f"mapping: more than {DECIMALS_MAX} decimals, which no quantity of SAP has; write 0 to 3")
        if not 10 <= self.orders_page <= PAGE_MAX:  # noqa: PLR2004 - below it, pages cost more than orders
            raise ValueError(f"orders_page: found {self.orders_page}, allowed 10 to {PAGE_MAX}")
        for name in ("over_tolerance_pct", "under_tolerance_pct"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= TOLERANCE_MAX:
                raise ValueError(f"{name}: found {value}, allowed 0 to {TOLERANCE_MAX}, or nothing")
        if not Duration("1 s") <= self.timeout <= TIMEOUT_MAX_NS:
            raise ValueError(f"timeout: found {self.timeout}, allowed 1 s to {TIMEOUT_MAX_NS}")
        if self.orders_overlap < 0 or self.orders_since <= 0:
            raise ValueError("orders_since, orders_overlap: found a length below 0, allowed: 0 and above")
