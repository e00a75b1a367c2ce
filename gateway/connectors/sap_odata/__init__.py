"""SAP S/4HANA over OData V2: orders and confirmations. Importing this is cheap; httpx comes with ``build``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.connectors.base import ConnectorType
from gateway.connectors.sap_odata.settings import SapOdataSettings

if TYPE_CHECKING:
    from gateway.connectors.base import Connector, ConnectorContext


def _build(settings: SapOdataSettings, context: ConnectorContext) -> Connector:
    from gateway.connectors.sap_odata.connector import SapOdataConnector

    return SapOdataConnector(settings, context)


def _describe(settings: SapOdataSettings) -> list[str]:
    final = {"partial": "stays partial there", "automatic": "ends by SAP's rules", "final": "is final there"}
    return [
        f"{settings.orders} orders of plant {settings.plant} from {settings.url}, {settings.sign_in}",
        f"confirmations by OData; what is final {final[settings.final_confirmation]}",
        f"goods movements: {settings.goods_movements}; after an unclear end it looks the GUID up",
    ]


PLUGIN = ConnectorType(name="sap_odata", settings=SapOdataSettings, build=_build, describe=_describe)
