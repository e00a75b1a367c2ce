"""Settings of the Dynamics 365 connector, exactly as the configuration file writes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal

from gateway.connectors.error_classes import ErrorClass, check_error_classes
from gateway.connectors.mapping.amounts import Rework
from gateway.connectors.mapping.settings import MappingSettings
from gateway.connectors.sign_in import SignIn
from gateway.connectors.url import check_url
from gateway.core.duration import Duration

PAGE_MAX: Final = 10_000
TIMEOUT_MAX_NS: Final = Duration("2 min")
OPEN_STATUSES: Final = ("Released", "StartedUp")


@dataclass(frozen=True, slots=True, kw_only=True)
class D365Settings:
    """An environment of Dynamics 365 Supply Chain Management with the MES integration switched on.

    Attributes:
        connector: ``d365``.
        url: address of the environment, such as https://contoso.operations.dynamics.com.
        company: the legal entity (dataAreaId).
        sign_in: how the gateway signs in: OAuth2 client credentials.
        mapping: our words and the ERP's; its reasons give the values of ErrorCause.
        error_classes: what further error codes mean.
        service_path: where messages are sent.
        data_path: where OData entities are read.
        message_queue: the queue of the MES integration.
        start: true sends ProdProductionOrderStart before the first confirmation of an order that is not started.
        report_finished: true reports the quantities of the last operation as finished.
        picking_list: true sends the components that a confirmation names, but for those that Dynamics flushes itself:
            with bom_consumption ``Never`` all of them are sent, with ``FlushingPrincip`` those of the principle Manual.
        flushing_field: field of ProductionOrderBillOfMaterialLines with the flushing principle of a component.
        returns: what becomes of material that was told too much and comes back with the final confirmation:
            ``refuse`` leaves the confirmation to a person, ``negative`` picks it with a quantity below 0.
        operation_completed: true marks the operation completed with its final confirmation.
        bom_consumption: AutomaticBOMConsumptionRule of Start and ReportFinished.
        route_consumption: AutomaticRouteConsumptionRule of Start and ReportFinished; the route cards tell the times.
        route_card_journal: JournalNameId of route cards; none: that of the ERP.
        report_finished_journal: JournalNameId of ReportFinished; none: that of the ERP.
        picking_list_journal: JournalNameId of picking lists; none: that of the ERP.
        message_tag: a further field of each message that carries its key, for an ERP whose messages were extended by
            one; none: no such field.
        error_causes: further values of ErrorCause, where it was extended.
        rework: what becomes of rework pieces, which have no field: ``refuse`` leaves the confirmation to a person,
            ``scrap`` tells them as scrap without a reason.
        remainder: what makes RemainingReportAsFinishedQuantity smaller: ``good_and_error``, or ``good`` alone.
        transactions_entity: entity of the posted route transactions.
        good_field: its field of good pieces.
        error_field: its field of scrapped pieces.
        hours_field: its field of hours.
        picking_entity: entity that tells posted picking lists by order; needed for ``picking_list``.
        picking_quantity_field: its field of the quantity.
        messages_entity: entity of the messages of the message processor, where one was published; none: only what was
            posted tells what became of a message.
        messages_filter: a further OData filter of it, such as ``MessageQueue eq 'JmgMES3P'``.
        message_content_field: its field of the content of a message.
        message_state_field: its field of the state: Queued, Processed, Canceled, Failed.
        message_log_field: its field of what the processor said.
        unit: unit of all orders; none: the inventory unit of the released product.
        order_filter: a further OData filter of the orders, such as ``ProductionPoolId eq 'LINE1'``.
        page_size: orders asked for at a time, 1 to 10000.
        timeout: longest wait for a complete answer, 1 s to 2 min.
        queue_time_limit: how long a message may wait in the queue before it is believed that it never came.
        ca_file: PEM file of the authority that signed the target's certificate, relative to the configuration.
        insecure: true allows plain http to another machine.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    connector: Literal["d365"]
    url: str
    company: str
    sign_in: SignIn = field(default_factory=SignIn)
    mapping: MappingSettings = field(default_factory=MappingSettings)
    error_classes: dict[str, ErrorClass] = field(default_factory=dict)
    service_path: str = "/api/services/SysMessageServices/SysMessageService/SendMessage"
    data_path: str = "/data"
    message_queue: str = "JmgMES3P"
    start: bool = True
    report_finished: bool = True
    picking_list: bool = False
    flushing_field: str = "FlushingPrinciple"
    returns: Literal["refuse", "negative"] = "refuse"
    operation_completed: bool = False
    bom_consumption: Literal["FlushingPrincip", "Always", "Never"] = "FlushingPrincip"
    route_consumption: Literal["RouteDependent", "Always", "Never"] = "Never"
    route_card_journal: str | None = None
    report_finished_journal: str | None = None
    picking_list_journal: str | None = None
    message_tag: str | None = None
    error_causes: list[str] = field(default_factory=list)
    rework: Rework = "refuse"
    remainder: Literal["good_and_error", "good"] = "good_and_error"
    transactions_entity: str = "ProductionRouteTransactions"
    good_field: str = "GoodQuantity"
    error_field: str = "ErrorQuantity"
    hours_field: str = "Hours"
    picking_entity: str | None = None
    picking_quantity_field: str = "ConsumptionBOMQuantity"
    messages_entity: str | None = None
    messages_filter: str | None = None
    message_content_field: str = "MessageContent"
    message_state_field: str = "MessageState"
    message_log_field: str = "MessageInfolog"
    unit: str | None = None
    order_filter: str | None = None
    page_size: int = 200
    timeout: Duration = Duration("30 s")
    queue_time_limit: Duration = Duration("1 h")
    ca_file: str | None = None
    insecure: bool = False

    def __post_init__(self) -> None:
        """What a class alone cannot say."""
        check_url(self.url, insecure=self.insecure)
        check_error_classes(self.error_classes)
        if not self.company.strip():
            raise ValueError("company: is empty; name the legal entity, such as usmf")
        for name in ("service_path", "data_path"):
            if not getattr(self, name).startswith("/"):
                raise ValueError(f"{name}: found {getattr(self, name)!r}, allowed: a path that starts with /")
        if self.picking_list and self.picking_entity is None:
            raise ValueError(
                "picking_entity: is missing; picking_list: true needs it, or nobody could tell whether a picking list "
                "was posted"
            )
        if self.picking_list and self.bom_consumption == "Always":
            raise ValueError(
                "bom_consumption: found Always with picking_list: true, allowed FlushingPrincip or Never: Dynamics "
                "would book the material of the picking lists once more"
            )
        if self.messages_filter is not None and self.messages_entity is None:
            raise ValueError("messages_filter: belongs to a messages_entity; name it, or leave the filter out")
        if not 1 <= self.page_size <= PAGE_MAX:
            raise ValueError(f"page_size: found {self.page_size}, allowed 1 to {PAGE_MAX}")
        if not Duration("1 s") <= self.timeout <= TIMEOUT_MAX_NS:
            raise ValueError(f"timeout: found {self.timeout}, allowed 1 s to {TIMEOUT_MAX_NS}")
