"""SAP by IDocs: orders as LOIPRO or PPCC2RECORDER01, confirmations as PPCC2PRETTICKET."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.connectors.base import ConnectorType
from gateway.connectors.sap_idoc.settings import SapIdocSettings

if TYPE_CHECKING:
    from gateway.connectors.base import Connector, ConnectorContext


def _build(settings: SapIdocSettings, context: ConnectorContext) -> Connector:
    from gateway.connectors.sap_idoc.connector import SapIdocConnector

    return SapIdocConnector(settings, context)


def _describe(settings: SapIdocSettings) -> list[str]:
    if settings.folder is None:
        lines = ["no orders: there is no folder"]
    else:
        lines = [f"orders from {settings.folder}/{settings.orders_folder}, moved to done or error"]
    if settings.receiver is not None:
        lines.append(f"SAP may send IDocs to {settings.receiver.host}, port {settings.receiver.port}")
        if settings.receiver.is_public:
            lines.append("that port is open to other machines, in the clear: put a TLS proxy before it")
    if settings.transport == "file":
        lines.append(f"confirmations to {settings.folder}/{settings.confirmations_folder}, one file each")
    else:
        lines.append(f"confirmations to {settings.url}{settings.service} ({settings.transport}), {settings.sign_in}")
    if settings.readback is not None:
        lines.append(f"whether they are booked is asked at {settings.readback.url}")
    if settings.statuses_folder is not None:
        lines.append(f"whether they are booked is read from {settings.folder}/{settings.statuses_folder}")
    if not settings.reads_back:
        lines.append("nothing says whether SAP books them: they end as delivered")
    return lines


PLUGIN = ConnectorType(name="sap_idoc", settings=SapIdocSettings, build=_build, describe=_describe)
