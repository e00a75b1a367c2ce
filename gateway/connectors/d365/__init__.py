"""Dynamics 365 Supply Chain Management: MES integration messages out, orders by OData in. Importing this is cheap."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.connectors.base import ConnectorType
from gateway.connectors.d365.settings import D365Settings

if TYPE_CHECKING:
    from gateway.connectors.base import Connector, ConnectorContext


def _build(settings: D365Settings, context: ConnectorContext) -> Connector:
    from gateway.connectors.d365.connector import D365Connector

    return D365Connector(settings, context)


def _describe(settings: D365Settings) -> list[str]:
    switched = {"ProdProductionOrderStart": settings.start, "ProdProductionOrderPickingList": settings.picking_list}
    sent = [name for name, on in switched.items() if on] + ["ProdProductionOrderRouteCard"]
    if settings.report_finished:
        sent.append("ProdProductionOrderReportFinished (last operation)")
    return [
        f"orders of {settings.company} from {settings.url}{settings.data_path}, {settings.sign_in}",
        f"confirmations to the queue {settings.message_queue}: {', '.join(sent)}; read back before the next one",
    ]


PLUGIN = ConnectorType(name="d365", settings=D365Settings, build=_build, describe=_describe)
